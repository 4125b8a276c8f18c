"""The cluster's nodes: hardware, load, state, and what is allocated on them."""

import re
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.client import ask
from operators.slurm.job_types import Bytes, Names, Time
from resop import Shell, operation

MEGABYTE = 1 << 20
_SINCE = re.compile(r" \[([^@\[\]\s]+)@([0-9]+)\]")
_GPU = re.compile(r"gpu(?::([^:(,]+))?:([0-9]+)(?:\([^)]*\))?")

NodeList = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.,\[\]-]+$", max_length=4096)]


class Gpus(TypedDict):
    """GPUs of one type (`gpu` where it has none)."""

    total: int
    allocated: int


class Reason(TypedDict):
    """Why a node is out of service."""

    text: str
    by: str | None
    since: Time | None


class Node(TypedDict):
    """A node."""

    name: str
    state: str
    """ALLOCATED, DOWN, IDLE, MIXED, …"""
    flags: list[str]
    """What holds besides: DRAIN, COMPLETING, NOT_RESPONDING, MAINTENANCE, …"""
    reason: Reason | None
    partitions: list[str]
    features: list[str]
    cpus: int
    allocated_cpus: int
    sockets: int
    cores_per_socket: int
    threads_per_core: int
    memory: Bytes
    allocated_memory: Bytes
    """Promised to jobs."""
    free_memory: Bytes | None
    """What the node's own system has free."""
    gpus: dict[str, Gpus]
    """By type."""
    load: float | None
    booted: Time | None
    version: str | None
    """Of its slurmd."""


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
    names: Annotated[NodeList | None, Field(description="only these: cn[01-04],gpu01")] = None,
    partitions: Annotated[Names | None, Field(description="only nodes in these partitions")] = None,
    states: Annotated[
        list[Annotated[str, Field(pattern="^[A-Z_]+$", max_length=32)]] | None,
        Field(min_length=1, description="only nodes with one of these as state or flag: IDLE, …"),
    ] = None,
) -> list[Node]:
    """Return nodes by name, those that fit every filter given."""
    which = [names] if names else []
    how = ("--all", "--details", "--oneliner")
    answer = ask(shell, "scontrol", *how, "show", "node", *which, check=False)
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
    about, _, _ = line.partition(" Reason=")
    (told,) = listings.records([about])
    state, *flags = told["State"].split("+")
    if "*" in state:
        flags.append("NOT_RESPONDING")
    return Node(
        name=told["NodeName"],
        state=re.sub(r"[^A-Z_]", "", state),
        flags=[re.sub(r"[^A-Z_]", "", flag) for flag in flags],
        reason=_reason(line),
        partitions=parsing.words(told.get("Partitions", "")),
        features=parsing.words(told.get("ActiveFeatures", "")),
        cpus=_count(told, "CPUTot"),
        allocated_cpus=_count(told, "CPUAlloc"),
        sockets=_count(told, "Sockets"),
        cores_per_socket=_count(told, "CoresPerSocket"),
        threads_per_core=_count(told, "ThreadsPerCore"),
        memory=_count(told, "RealMemory") * MEGABYTE,
        allocated_memory=_count(told, "AllocMem") * MEGABYTE,
        free_memory=parsing.memory(told.get("FreeMem", "")),
        gpus=_gpus(told.get("Gres", ""), told.get("GresUsed", "")),
        load=parsing.decimal(told.get("CPULoad", "")),
        booted=parsing.time(told.get("BootTime", "")),
        version=parsing.given(told.get("Version", "")),
    )


def _count(told: listings.Row, name: str) -> int:
    return parsing.whole(told.get(name, "")) or 0


def _reason(line: str) -> Reason | None:
    """`Reason=disk full [root@1700000000]`; a second line of the text stands behind that."""
    _, _, rest = line.partition(" Reason=")
    text = re.split(r" (?:Comment|Extra)=", rest)[0]
    if not text:
        return None
    since = [*_SINCE.finditer(text)][-1:]
    for found in since:
        text = text[: found.start()] + text[found.end() :]
    by, when = since[0].groups() if since else (None, "")
    return Reason(text=" ".join(text.split()), by=by, since=parsing.time(when))


def _gpus(there: str, used: str) -> dict[str, Gpus]:
    """`gpu:a100:2(S:0-1)` and `gpu:a100:1(IDX:0)` by type."""
    total, allocated = _by_type(there), _by_type(used)
    return {kind: Gpus(total=n, allocated=allocated.get(kind, 0)) for kind, n in total.items()}


def _by_type(gres: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for kind, number in _GPU.findall(gres):
        counts[kind or "gpu"] = counts.get(kind or "gpu", 0) + int(number)
    return counts
