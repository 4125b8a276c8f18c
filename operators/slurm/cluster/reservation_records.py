"""Read the reservations from `scontrol show reservation`."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass

from operators.slurm import listings, parsing
from operators.slurm.client import unreadable
from resop import Shell

_RECORD = re.compile(r"^(?=ReservationName=)", re.MULTILINE)
# The comment is the last field. It may have several lines, which look like fields.
_COMMENT = re.compile(r"\n   Comment=")
# A line for each node of which only some cores are reserved; src/api/reservation_info.c.
_CORES = re.compile(r"^ +NodeName=\S+ CoreIDs=\S*$\n?", re.MULTILINE)
_ACTIVE = "ACTIVE"
_REQUIRED = frozenset(
    ["ReservationName", "StartTime", "EndTime", "Nodes", "Users", "Accounts", "State"]
)


@dataclass(frozen=True)
class ReservationAccess:
    """Who may use a reservation, as far as one list of names tells."""

    allowed: list[str]
    """Only these, if there are any."""
    denied: list[str]

    @classmethod
    def parse(cls, text: str) -> ReservationAccess:
        """Parse `alice,bob`, or `-alice,-bob` for everybody else."""
        names = parsing.split_names(text)
        return cls(
            [name for name in names if not name.startswith("-")],
            [name.removeprefix("-") for name in names if name.startswith("-")],
        )

    @property
    def is_open(self) -> bool:
        """True if the list excludes nobody."""
        return not (self.allowed or self.denied)

    def admits(self, names: Set[str]) -> bool:
        """Return True for somebody who is known by any of these names."""
        if names & {*self.denied}:
            return False
        return not self.allowed or bool(names & {*self.allowed})


@dataclass(frozen=True)
class ReservationRecord:
    """A reservation, as slurmctld knows it."""

    fields: listings.TableRow
    """The values of `scontrol show reservation`: ReservationName, StartTime, …"""
    comment: str | None

    @property
    def name(self) -> str:
        """The reservation's name."""
        return self.fields["ReservationName"]

    @property
    def is_active(self) -> bool:
        """True if it has begun and not ended."""
        return self.fields["State"] == _ACTIVE

    @property
    def flags(self) -> list[str]:
        """The words of `Flags=MAINT,SPEC_NODES`."""
        return self.names("Flags")

    @property
    def users(self) -> ReservationAccess:
        """The users that may, or may not, use it."""
        return ReservationAccess.parse(self.fields["Users"])

    @property
    def accounts(self) -> ReservationAccess:
        """The accounts whose jobs may, or may not, use it."""
        return ReservationAccess.parse(self.fields["Accounts"])

    @property
    def groups(self) -> ReservationAccess:
        """The groups whose members may use it."""
        return ReservationAccess.parse(self.fields.get("Groups", ""))

    def text(self, name: str) -> str | None:
        """Return a value among the fields; None if there is none."""
        return parsing.parse_text(self.fields.get(name, ""))

    def names(self, name: str) -> list[str]:
        """Return the words of a list among the fields."""
        return parsing.split_names(self.fields.get(name, ""))

    def count(self, name: str) -> int:
        """Return a number among the fields; 0 if there is none."""
        return parsing.parse_int(self.fields.get(name, "")) or 0


def read_reservations(shell: Shell) -> list[ReservationRecord]:
    """Return the reservations that the cluster shows to the user, in slurmctld's order."""
    text = listings.scontrol(shell, "show", "reservation")
    _, *found = _RECORD.split("\n" + text)
    records = [parse_reservation(each) for each in found]
    if not all(each.fields.keys() >= _REQUIRED for each in records):
        raise unreadable("scontrol", text)
    return records


def parse_reservation(text: str) -> ReservationRecord:
    """Parse the record of one reservation."""
    first, *comment = _COMMENT.split(text.strip("\n"), maxsplit=1)
    (fields,) = listings.records([_CORES.sub("", first)])
    return ReservationRecord(fields, comment[0].strip() if comment else None)
