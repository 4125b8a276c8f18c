"""Read licenses: of the cluster, and in the requests of jobs and reservations."""

from __future__ import annotations

import re

from operators.slurm import listings
from operators.slurm.client import unreadable
from operators.slurm.parsing import parse_text
from resop import Shell

_RECORD = re.compile(r"^(?=LicenseName=)", re.MULTILINE)
_COUNT = re.compile(r"([^,;|]+?)(?:[:*]([0-9]+))?(?:[,;|]|$)")
_REQUIRED = frozenset(["LicenseName", "Total", "Used", "Free", "Reserved", "Remote"])


def parse_licenses(text: str) -> dict[str, int]:
    """Parse `matlab:4,ansys@flex1:2`; a license without a number is one."""
    counts: dict[str, int] = {}
    for name, number in _COUNT.findall(parse_text(text) or ""):
        counts[name] = counts.get(name, 0) + int(number or 1)
    return counts


def read_licenses(shell: Shell) -> list[listings.TableRow]:
    """Return the licenses of the cluster, ordered by name, as scontrol prints them."""
    text = listings.scontrol(shell, "--oneliner", "show", "licenses")
    _, *found = _RECORD.split("\n" + text)
    rows = listings.records(found)
    if not all(row.keys() >= _REQUIRED for row in rows):
        raise unreadable("scontrol", text)
    return rows
