"""Read the states of nodes: a base state, flags, and one status that sums up both.

The words are those of `scontrol show node` for state and flags, and those of sinfo for the status;
Slurm's source has both in src/common/slurm_protocol_defs.c (22.05 to 26.05).
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Literal, NamedTuple, Self

BASE_STATES = ("ALLOCATED", "DOWN", "ERROR", "FUTURE", "IDLE", "MIXED", "UNKNOWN")

FLAGS = (
    *("BLOCKED", "CLOUD", "COMPLETING", "DRAIN", "DYNAMIC_FUTURE", "DYNAMIC_NORM", "EXTERNAL"),
    *("FAIL", "INVALID_REG", "MAINTENANCE", "NOT_RESPONDING", "PERFCTRS", "PLANNED"),
    *("POWERED_DOWN", "POWERING_DOWN", "POWERING_UP", "POWER_DOWN", "POWER_DRAIN", "POWER_UP"),
    *("REBOOT_CANCEL", "REBOOT_ISSUED", "REBOOT_REQUESTED", "RESERVED", "RESUME", "UNDRAIN"),
)

NodeStateWord = Literal[
    "ALLOCATED",
    "BLOCKED",
    "CLOUD",
    "COMPLETING",
    "DOWN",
    "DRAIN",
    "DRAINED",
    "DRAINING",
    "DYNAMIC_FUTURE",
    "DYNAMIC_NORM",
    "ERROR",
    "EXTERNAL",
    "FAIL",
    "FAILING",
    "FUTURE",
    "IDLE",
    "INVAL",
    "INVALID_REG",
    "MAINT",
    "MAINTENANCE",
    "MIXED",
    "NOT_RESPONDING",
    "PERFCTRS",
    "PLANNED",
    "POWERED_DOWN",
    "POWERING_DOWN",
    "POWERING_UP",
    "POWER_DOWN",
    "POWER_DRAIN",
    "POWER_UP",
    "REBOOT",
    "REBOOT_CANCEL",
    "REBOOT_ISSUED",
    "REBOOT_REQUESTED",
    "RESERVED",
    "RESUME",
    "UNDRAIN",
    "UNKNOWN",
]
"""The words that a request can filter nodes by: statuses, states and flags."""

# The characters that sinfo, and scontrol before 22.05, append to a state (sinfo(1), NODE STATE
# CODES).
_SUFFIXES = {
    "*": "NOT_RESPONDING",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "!": "POWER_DOWN",
    "%": "POWERING_DOWN",
    "$": "MAINTENANCE",
    "@": "REBOOT_REQUESTED",
    "^": "REBOOT_ISSUED",
    "-": "PLANNED",
}
# The words of sinfo that stand for a base state with a flag.
_SUMMARIES = {
    "DRAINED": ("IDLE", "DRAIN"),
    "DRAINING": ("ALLOCATED", "DRAIN"),
    "FAILING": ("ALLOCATED", "FAIL"),
    "INVAL": ("IDLE", "INVALID_REG"),
    "MAINT": ("IDLE", "MAINTENANCE"),
    "REBOOT": ("IDLE", "REBOOT_REQUESTED"),
    "CANCEL_REBOOT": ("IDLE", "REBOOT_CANCEL"),
}
_POWER = ("POWERING_DOWN", "POWERED_DOWN", "POWER_DOWN", "POWERING_UP")
_WITH_JOBS = ("ALLOCATED", "MIXED")
# The flags that a node's status names instead of its base state; the first one counts.
_TELLING = {
    "ALLOCATED": ("NOT_RESPONDING",),
    "MIXED": ("NOT_RESPONDING", "COMPLETING"),
    "IDLE": (
        *("NOT_RESPONDING", *_POWER, "COMPLETING", "RESERVED", "BLOCKED", "EXTERNAL", "PLANNED"),
    ),
}
# A powered-down node is started for a job, and a planned one takes short jobs.
_REFUSING = frozenset(
    [
        *("BLOCKED", "DRAIN", "EXTERNAL", "FAIL", "INVALID_REG", "MAINTENANCE", "NOT_RESPONDING"),
        *("POWERING_DOWN", "POWER_DOWN", "POWER_DRAIN", "REBOOT_ISSUED", "REBOOT_REQUESTED"),
        *("RESERVED", "DYNAMIC_FUTURE"),
    ]
)


class NodeState(NamedTuple):
    """The state of a node, parsed."""

    base: str
    """ALLOCATED, DOWN, IDLE, MIXED, …"""
    flags: tuple[str, ...]
    """DRAIN, COMPLETING, NOT_RESPONDING, MAINTENANCE, …"""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `IDLE+DRAIN`, `DOWN*+DRAIN` or a word of sinfo such as `drained*`."""
        words = re.findall(r"[A-Z_]+", text.upper()) or ["UNKNOWN"]
        suffixes = [_SUFFIXES[mark] for mark in text if mark in _SUFFIXES]
        base, *flags = words
        if base in _SUMMARIES:
            base, flag = _SUMMARIES[base]
            flags.insert(0, flag)
        elif base not in BASE_STATES and base in FLAGS:
            base, flags = "IDLE", words
        if text.endswith("+"):  # allocated+: some of its jobs are completing
            flags.append("COMPLETING")
        return cls(base, tuple(dict.fromkeys([*flags, *suffixes])))

    @property
    def status(self) -> str:
        """The word that sums up state and flags, as sinfo does; IDLE only if it is free.

        What sinfo shows as `idle*` or `idle~` is NOT_RESPONDING or POWERED_DOWN.
        """
        has_jobs = self.base in _WITH_JOBS
        if "INVALID_REG" in self.flags:
            return "INVAL"
        if self._is("MAINTENANCE") and not (self._is("DRAIN") or has_jobs or self.base == "DOWN"):
            return "MAINT"
        if self._is("REBOOT_REQUESTED", "REBOOT_ISSUED") and not has_jobs:
            return "REBOOT"
        ending = has_jobs or self._is("COMPLETING")
        if self._is("DRAIN"):
            return "DRAINING" if ending else "DRAINED"
        if self._is("FAIL"):
            return "FAILING" if ending else "FAIL"
        return self._working_status()

    def _working_status(self) -> str:
        """Return the status of a node that is neither drained nor failing."""
        if self.base not in ("IDLE", *_WITH_JOBS):
            return self.base
        return next((flag for flag in _TELLING[self.base] if flag in self.flags), self.base)

    @property
    def has_jobs(self) -> bool:
        """True if jobs run on the node, or are ending there."""
        return self.base in _WITH_JOBS or self._is("COMPLETING")

    @property
    def is_in_service(self) -> bool:
        """True if the node's idle CPUs count as idle: it is neither down nor drained."""
        return self.base in ("IDLE", *_WITH_JOBS) and not self._is("DRAIN", "FAIL", "INVALID_REG")

    @property
    def accepts_jobs(self) -> bool:
        """True if the node starts further jobs of anybody, now or as soon as it has room."""
        return self.base in ("IDLE", *_WITH_JOBS) and not _REFUSING.intersection(self.flags)

    def matches(self, words: Set[str]) -> bool:
        """Return True if one of the words names the node's status, a flag, or why it is down.

        IDLE, MIXED and ALLOCATED are statuses only: a drained node is not IDLE.
        """
        own = {self.status, *self.flags}
        if self.base not in ("IDLE", *_WITH_JOBS):
            own.add(self.base)
        if "MAINTENANCE" in own:
            own.add("MAINT")
        return not own.isdisjoint(words)

    def _is(self, *flags: str) -> bool:
        return not set(flags).isdisjoint(self.flags)
