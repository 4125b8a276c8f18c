"""Read the partitions from `scontrol show partition`."""

from __future__ import annotations

from typing import NamedTuple

from operators.slurm import listings
from operators.slurm.client import unreadable
from resop import Shell

# What every release prints of a partition.
_REQUIRED = frozenset(
    [
        *("PartitionName", "Default", "Hidden", "State", "Nodes", "TotalNodes"),
        *("MaxTime", "DefaultTime", "MinNodes", "MaxNodes", "MaxCPUsPerNode"),
        *("PriorityTier", "OverSubscribe", "PreemptMode"),
    ]
)


class PartitionRecord(NamedTuple):
    """A partition, as slurmctld knows it."""

    fields: listings.TableRow
    """The values of `scontrol show partition`: PartitionName, State, MaxTime, …"""

    @property
    def name(self) -> str:
        """The partition's name."""
        return self.fields["PartitionName"]

    @property
    def state(self) -> str:
        """UP, DOWN, DRAIN or INACTIVE."""
        return self.fields["State"]

    @property
    def is_default(self) -> bool:
        """True for the partition of jobs that name none."""
        return self.fields["Default"] == "YES"

    @property
    def is_hidden(self) -> bool:
        """True if Slurm's own programs list it only on request."""
        return self.fields["Hidden"] == "YES"


def read_partitions(shell: Shell) -> list[PartitionRecord]:
    """Return the partitions in the site's order, including hidden ones."""
    text = listings.scontrol(shell, "--all", "--oneliner", "show", "partition")
    lines = [line for line in text.split("\n") if line.startswith("PartitionName=")]
    found = [PartitionRecord(fields) for fields in listings.records(lines)]
    if not all(each.fields.keys() >= _REQUIRED for each in found):
        raise unreadable("scontrol", text)
    return found
