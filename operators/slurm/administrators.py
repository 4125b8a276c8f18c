"""Find out in a dry run whether Slurm would permit a user a change of accounts; sacctmgr(1)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from operators.slurm import listings, parsing
from operators.slurm.client import ask
from resop import NotPermitted, Shell

_ADMIN_LEVELS = ("Operator", "Administrator")
_SLURM_USER = re.compile(r"^SlurmUserId\s*= (\S+?)\([0-9]+\)$", re.MULTILINE)


def not_permitted(shell: Shell) -> NotPermitted:
    """Return the error for a user who is not a Slurm administrator."""
    return NotPermitted(f"only administrators of Slurm may do this, and {shell.username} is not")


def check_rights(shell: Shell, accounts: Iterable[str]) -> None:
    """Raise NotPermitted for a user who may not change these accounts, by all that Slurm shows.

    A coordinator's rights also extend to the accounts below, and depend on slurmdbd.conf: only the
    change itself shows whether they suffice.
    """
    columns = ("AdminLevel", "Coord")
    where = (f"name={shell.username}", "withcoord")
    rows = listings.sacctmgr(shell, columns, "user", *where)
    if any(row["AdminLevel"] in _ADMIN_LEVELS for row in rows) or _is_slurm_user(shell):
        return
    coordinated = {name for row in rows for name in parsing.split_names(row["Coord"])}
    if not coordinated:
        raise not_permitted(shell)
    if not coordinated.issuperset(accounts):
        shell.log(
            f"{shell.username} coordinates {', '.join(sorted(coordinated))}: whether this suffices "
            "is known only when the change is made"
        )


def _is_slurm_user(shell: Shell) -> bool:
    """Return True for root and for the user that slurmdbd runs as, who may do anything."""
    if shell.username == "root":
        return True
    shown = ask(shell, "sacctmgr", "--readonly", "show", "configuration", check=False).stdout
    found = _SLURM_USER.search(shown)
    return found is not None and found[1] == shell.username
