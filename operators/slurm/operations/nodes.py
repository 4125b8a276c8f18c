"""List the nodes: hardware, load, state and allocated resources."""

import re
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.client import ask
from operators.slurm.job_types import Bytes, NameList, Timestamp
from resop import ErrorMessage, Shell, operation

MEGABYTE = 1 << 20
_SINCE = re.compile(r" \[([^@\[\]\s]+)@([0-9]+)\]")
_GPU = re.compile(r"gpu(?::([^:(,]+))?:([0-9]+)(?:\([^)]*\))?")

NodeListExpression = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_.,\[\]-]+$", max_length=4096),
    ErrorMessage("must be a list of nodes such as cn[01-04],gpu01 (at most 4096 characters)"),
]
NodeState = Annotated[
    str,
    Field(pattern="^[A-Z_]+$", max_length=32),
    ErrorMessage("must be a state or flag of a node, such as IDLE or DRAIN"),
]


class GpuCounts(TypedDict):
    """The GPUs of one type (`gpu` if they have none)."""

    total: int
    allocated: int


class OutageReason(TypedDict):
    """Why a node is out of service."""

    text: str
    by: str | None
    since: Timestamp | None


class Node(TypedDict):
    """A compute node."""

    name: str
    state: str
    """ALLOCATED, DOWN, IDLE, MIXED, …"""
    flags: list[str]
    """Further states: DRAIN, COMPLETING, NOT_RESPONDING, MAINTENANCE, …"""
    reason: OutageReason | None
    partitions: list[str]
    features: list[str]
    cpus: int
    allocated_cpus: int
    sockets: int
    cores_per_socket: int
    threads_per_core: int
    memory: Bytes
    allocated_memory: Bytes
    """The memory allocated to jobs."""
    free_memory: Bytes | None
    """The free memory, as the node's operating system reports it."""
    gpus: dict[str, GpuCounts]
    """The GPUs by type."""
    load: float | None
    booted: Timestamp | None
    version: str | None
    """The version of the node's slurmd."""


@operation(
    share_for=5,
    examples=[
        {},
        {"partitions": ["batch"], "states": ["IDLE", "MIXED"]},
        {"names": "cn[01-04],gpu01"},
    ],
)
def nodes(
    shell: Shell,
    names: Annotated[
        NodeListExpression | None, Field(description="only these nodes: cn[01-04],gpu01")
    ] = None,
    partitions: Annotated[
        NameList | None, Field(description="only nodes in these partitions")
    ] = None,
    states: Annotated[
        list[NodeState] | None,
        Field(min_length=1, description="only nodes with one of these states or flags: IDLE, …"),
    ] = None,
) -> list[Node]:
    """Return the nodes that match all filters, ordered by name."""
    name_filter = [names] if names else []
    flags = ("--all", "--details", "--oneliner")
    answer = ask(shell, "scontrol", *flags, "show", "node", *name_filter, check=False)
    if answer.exit_code != 0:
        unknown = [line for line in answer.lines if line.endswith(" not found")]
        shell.fail("; ".join(unknown) or answer.failure().message)
    found = [_node(line) for line in answer.lines if line.startswith("NodeName=")]
    return [
        node
        for node in found
        if (partitions is None or {*partitions} & {*node["partitions"]})
        and (states is None or {*states} & {node["state"], *node["flags"]})
    ]


def _node(line: str) -> Node:
    beginning, _, _ = line.partition(" Reason=")
    (fields,) = listings.records([beginning])
    state, *flags = fields["State"].split("+")
    if "*" in state:
        flags.append("NOT_RESPONDING")
    return Node(
        name=fields["NodeName"],
        state=re.sub(r"[^A-Z_]", "", state),
        flags=[re.sub(r"[^A-Z_]", "", flag) for flag in flags],
        reason=_reason(line),
        partitions=parsing.split_names(fields.get("Partitions", "")),
        features=parsing.split_names(fields.get("ActiveFeatures", "")),
        cpus=_count(fields, "CPUTot"),
        allocated_cpus=_count(fields, "CPUAlloc"),
        sockets=_count(fields, "Sockets"),
        cores_per_socket=_count(fields, "CoresPerSocket"),
        threads_per_core=_count(fields, "ThreadsPerCore"),
        memory=_count(fields, "RealMemory") * MEGABYTE,
        allocated_memory=_count(fields, "AllocMem") * MEGABYTE,
        free_memory=parsing.parse_size(fields.get("FreeMem", "")),
        gpus=_gpus(fields.get("Gres", ""), fields.get("GresUsed", "")),
        load=parsing.parse_float(fields.get("CPULoad", "")),
        booted=parsing.parse_time(fields.get("BootTime", "")),
        version=parsing.parse_text(fields.get("Version", "")),
    )


def _count(fields: listings.TableRow, name: str) -> int:
    return parsing.parse_int(fields.get(name, "")) or 0


def _reason(line: str) -> OutageReason | None:
    """Parse `Reason=disk full [root@1700000000]`, which a second line of the text may follow."""
    _, _, rest = line.partition(" Reason=")
    text = re.split(r" (?:Comment|Extra)=", rest)[0]
    if not text:
        return None
    since = [*_SINCE.finditer(text)][-1:]
    for found in since:
        text = text[: found.start()] + text[found.end() :]
    by, when = since[0].groups() if since else (None, "")
    return OutageReason(text=" ".join(text.split()), by=by, since=parsing.parse_time(when))


def _gpus(available: str, used: str) -> dict[str, GpuCounts]:
    """Count the GPUs by type in `gpu:a100:2(S:0-1)` (total) and `gpu:a100:1(IDX:0)` (used)."""
    total, allocated = _count_by_type(available), _count_by_type(used)
    return {kind: GpuCounts(total=n, allocated=allocated.get(kind, 0)) for kind, n in total.items()}


def _count_by_type(gres: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for kind, number in _GPU.findall(gres):
        counts[kind or "gpu"] = counts.get(kind or "gpu", 0) + int(number)
    return counts
