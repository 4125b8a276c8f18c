"""Read the nodes from `scontrol show node`, whatever their comments and reasons contain."""

from __future__ import annotations

import re
from typing import NamedTuple

from operators.slurm import listings, parsing
from operators.slurm.client import ask, unreadable
from operators.slurm.generic_resources import ResourceCounts, count_by_name
from operators.slurm.node_states import NodeState
from resop import Shell

MEGABYTE = 1 << 20

_RECORD = re.compile(r"^(?=NodeName=)", re.MULTILINE)
_LINE = re.compile(r"\n   (?=\S)")
# The fields behind a node's reason; src/api/node_info.c of Slurm 26.05.
_LATER_FIELDS = (
    r"Comment|Extra|InstanceId|InstanceType|ReservationName|TLSCertTokenSet|TLSCertLastRenewal"
    r"|Topology|Parameters"
)
_LATER_FIELD = re.compile(rf"(?:{_LATER_FIELDS})=")
_AUTHOR = re.compile(r" \[(?P<by>[^\[\]\s]+)@(?P<when>[^@\[\]\s]+)\]")


class Reason(NamedTuple):
    """Why a node is out of service, by whom and since when."""

    text: str
    by: str | None
    since: str | None


class NodeRecord(NamedTuple):
    """A node, as slurmctld knows it."""

    fields: listings.TableRow
    """The values of `scontrol show node` that are words: CPUTot, RealMemory, …"""
    state: NodeState
    reason: Reason | None

    @property
    def name(self) -> str:
        """The node's name."""
        return self.fields["NodeName"]

    @property
    def partitions(self) -> list[str]:
        """The names of the partitions that the node is in."""
        return parsing.split_names(self.fields.get("Partitions", ""))

    @property
    def resources(self) -> dict[str, ResourceCounts]:
        """The generic resources by `name` or `name:type`."""
        return count_by_name(self.fields.get("Gres", ""), self.fields.get("GresUsed", ""))

    def count(self, name: str) -> int:
        """Return a number among the fields; 0 if there is none."""
        return parsing.parse_int(self.fields.get(name, "")) or 0

    def bytes(self, name: str) -> int:
        """Return a number of megabytes among the fields, in bytes."""
        return self.count(name) * MEGABYTE


def read_nodes(shell: Shell, names: str | None = None) -> list[NodeRecord]:
    """Return the nodes, or only the `names` such as `cn[01-04]`, ordered by name."""
    # Not --oneliner: where each field has its own line, a reason ends where its line does.
    words = ("--all", "--details", "show", "node", *([names] if names else []))
    answer = ask(shell, "scontrol", *words, check=False)
    if answer.exit_code != 0:
        unknown = [line for line in answer.lines if line.endswith(" not found")]
        shell.fail("; ".join(unknown) or answer.failure().message)
    _, *found = _RECORD.split("\n" + answer.stdout)
    try:
        return [parse_node(text) for text in found]
    except (KeyError, ValueError):
        raise unreadable("scontrol", answer.stdout) from None


def parse_node(text: str) -> NodeRecord:
    """Parse the record of one node, on one line or on several."""
    lines = _LINE.split(text.rstrip("\n"))
    # A comment may look like a field, so only the lines before it and the reason count.
    later = [n for n, line in enumerate(lines) if re.match(rf"Reason=|{_LATER_FIELDS}=", line)]
    first = lines[: later[0]] if later else lines
    fields: listings.TableRow = {}
    for line in first:
        beginning = re.split(rf" (?=(?:Reason|{_LATER_FIELDS})=)", line)[0]
        fields |= {
            name: value
            for record in listings.records([beginning])
            for name, value in record.items()
            if name not in fields
        }
    reason = next((line for line in lines[len(first) :] if line.startswith("Reason=")), None)
    if reason is None and len(lines) == 1:
        reason = _reason_on_one_line(text)
    return NodeRecord(fields, NodeState.parse(fields["State"]), _parse_reason(reason))


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


def _parse_reason(line: str | None) -> Reason | None:
    """Parse `Reason=disk full [root@1700000000]`, which further lines of the text may follow."""
    if line is None:
        return None
    first, newline, rest = line.removeprefix("Reason=").partition("\n")
    by, since, found = None, None, [*_AUTHOR.finditer(first)][-1:]
    for author in found:
        by, since = author["by"], parsing.parse_time(author["when"])
        first = first[: author.start()] + first[author.end() :]
    text = " ".join(f"{first}{newline}{rest}".split())
    return Reason(text, by, since) if text or by else None
