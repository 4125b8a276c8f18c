"""Read the nodes from `scontrol show node`, whatever their comments and reasons contain."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from operators.slurm import listings, parsing
from operators.slurm.client import ask, unreadable
from operators.slurm.cluster.node_states import NodeState
from operators.slurm.resources.generic_resources import ResourceCounts, count_by_name
from resop import Shell

MEGABYTE = 1 << 20

# The fields that are read, which are single words.
_FIELDS = (
    *("NodeName", "State", "Partitions", "ActiveFeatures", "Gres", "GresUsed", "Version"),
    *("CPUAlloc", "CPUEfctv", "CPUTot", "CPULoad", "Sockets", "CoresPerSocket", "ThreadsPerCore"),
    *("RealMemory", "AllocMem", "FreeMem", "MemSpecLimit", "BootTime"),
)
_RECORD = re.compile(r"^(?=NodeName=)", re.MULTILINE)
_LINE = re.compile(r"\n   (?=\S)")
# The fields behind a node's reason; src/api/node_info.c of Slurm 26.05.
_LATER_FIELDS = (
    r"Comment|Extra|InstanceId|InstanceType|ReservationName|TLSCertTokenSet|TLSCertLastRenewal"
    r"|Topology|Parameters"
)
_LATER_FIELD = re.compile(rf"(?:{_LATER_FIELDS})=")
_LATER_LINE = re.compile(rf"\n   (?=(?:Reason|{_LATER_FIELDS})=)")
_LATER_WORD = re.compile(rf" (?=(?:Reason|{_LATER_FIELDS})=)")
_FIELD = re.compile(rf"(?<!\S)({'|'.join(_FIELDS)})=(\S*)")
_NUMBER = re.compile(r"([0-9]+)")
_AUTHOR = re.compile(r" \[(?P<by>[^\[\]\s]+)@(?P<when>[^@\[\]\s]+)\]")

# Thousands of nodes have few different states.
_parse_state = lru_cache(maxsize=1024)(NodeState.parse)


class NodeReason(NamedTuple):
    """Why a node is out of service, by whom and since when."""

    text: str
    by: str | None
    since: str | None


@dataclass(frozen=True)
class NodeRecord:
    """A node, as slurmctld knows it."""

    fields: listings.TableRow
    """The values of `scontrol show node` that are words: CPUTot, RealMemory, …"""
    state: NodeState
    reason: NodeReason | None

    @property
    def name(self) -> str:
        """The node's name."""
        return self.fields["NodeName"]

    @cached_property
    def partitions(self) -> list[str]:
        """The names of the partitions that the node is in."""
        return parsing.split_names(self.fields.get("Partitions", ""))

    @cached_property
    def resources(self) -> dict[str, ResourceCounts]:
        """The generic resources by `name` or `name:type`."""
        return count_by_name(
            self.fields.get("Gres", ""),
            self.fields.get("GresUsed", ""),
            accepts_jobs=self.state.accepts_jobs,
        )

    @property
    def has_jobs(self) -> bool:
        """True if jobs run on the node, or are ending there."""
        return self.state.has_jobs or self.count("CPUAlloc") > 0

    @property
    def available_cpus(self) -> int:
        """The CPUs that jobs can get: none where the node accepts no jobs.

        CPUs that are set aside for the system (CoreSpecCount) are not available.
        """
        usable = self.count("CPUEfctv") or self.count("CPUTot")
        return self._available(usable - self.count("CPUAlloc"))

    @property
    def available_memory(self) -> int:
        """The bytes that jobs can get, without those for the system (MemSpecLimit)."""
        usable = self.count("RealMemory") - self.count("MemSpecLimit")
        return self._available(usable - self.count("AllocMem")) * MEGABYTE

    def count(self, name: str) -> int:
        """Return a number among the fields; 0 if there is none."""
        return parsing.parse_int(self.fields.get(name, "")) or 0

    def bytes(self, name: str) -> int:
        """Return a number of megabytes among the fields, in bytes."""
        return self.count(name) * MEGABYTE

    def _available(self, number: int) -> int:
        return max(0, number) if self.state.accepts_jobs else 0


def by_partition(nodes: Iterable[NodeRecord]) -> dict[str, list[NodeRecord]]:
    """Return the nodes of each partition; none for a partition without nodes."""
    members = defaultdict[str, list[NodeRecord]](list)
    for node in nodes:
        for name in node.partitions:
            members[name].append(node)
    return members


def read_nodes(shell: Shell, names: str | None = None) -> list[NodeRecord]:
    """Return the nodes, or only the `names` such as `cn[01-04]`, ordered by name."""
    # Not --oneliner: where each field has its own line, a reason ends where its line does.
    words = ("--all", "--details", "show", "node", *([names] if names else []))
    answer = ask(shell, "scontrol", *words, check=False)
    if answer.exit_code != 0:
        unknown = [line for line in answer.lines if line.endswith(" not found")]
        shell.fail("; ".join(unknown) or answer.failure().message)
    _, *found = _RECORD.split("\n" + answer.stdout)
    if found and not answer.stdout.endswith("\n"):
        raise unreadable("scontrol", answer.stdout)
    try:
        nodes = [parse_node(text) for text in found]
        return sorted(nodes, key=lambda node: _name_key(node.name))
    except (KeyError, ValueError):
        raise unreadable("scontrol", answer.stdout) from None


def _name_key(name: str) -> list[str | int]:
    """Return the key of the order in which cn2 comes before cn10."""
    return [int(part) if part.isdecimal() else part for part in _NUMBER.split(name)]


def parse_node(text: str) -> NodeRecord:
    """Parse the record of one node, on one line or on several."""
    has_lines = "\n   " in text
    # A comment may look like a field, so only what is before it and the reason counts.
    end = (_LATER_LINE if has_lines else _LATER_WORD).search(text)
    first = text[: end.start()] if end else text
    # In reverse order, since of several with the same name the first one counts.
    fields = dict(_FIELD.findall(first)[::-1])
    reason = None
    if end and has_lines:
        lines = _LINE.split(text[end.start() :].rstrip("\n"))
        reason = next((line for line in lines if line.startswith("Reason=")), None)
    elif end:
        reason = _reason_on_one_line(text)
    return NodeRecord(fields, _parse_state(fields["State"]), _parse_reason(reason))


def _reason_on_one_line(text: str) -> str | None:
    """Return `Reason=…` without the fields that --oneliner puts behind it on the same line."""
    found = re.search(r"(?:^| )(Reason=.*)", text, re.DOTALL)
    if not found:
        return None
    line = found[1]
    # The author of the reason is named after its first line; next may be a field of a newer
    # release. Further lines of the reason are indented by eight spaces.
    author = next(iter(_AUTHOR.finditer(line)), None)
    if author and re.match(r" (?! )[A-Z]\w*=", line[author.end() :]):
        return line[: author.end()]
    return re.split(rf" +(?={_LATER_FIELD.pattern})", line)[0]


def _parse_reason(line: str | None) -> NodeReason | None:
    """Parse `Reason=disk full [root@1700000000]`, which further lines of the text may follow."""
    if line is None:
        return None
    first, newline, rest = line.removeprefix("Reason=").partition("\n")
    by, since, found = None, None, [*_AUTHOR.finditer(first)][-1:]
    for author in found:
        by, since = author["by"], parsing.parse_time(author["when"])
        first = first[: author.start()] + first[author.end() :]
    text = " ".join(f"{first}{newline}{rest}".split())
    return NodeReason(text, by, since) if text or by else None
