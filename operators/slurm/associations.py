"""Change accounts and associations (a user's membership of an account) with sacctmgr(1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Annotated

from pydantic import Field, StringConstraints

from operators.slurm import listings, parsing
from operators.slurm.client import CONNECTION_BROKEN, ask
from resop import CommandFailed, ContactLost, ErrorMessage, NotPermitted, Result, Shell

# The third since 23.11, and where DisableCoordDBD is set.
PERMISSION_DENIED = r"Access/permission denied|doesn't have privilege|\b[Oo]nly admins\b"

NOTHING_CHANGED = ("Nothing deleted", "Nothing modified")
"""Messages of sacctmgr if it finds nothing to change."""

AccountName = Annotated[
    str,
    # Lower case, since Slurm stores names so; a comma or '=' would be special to sacctmgr.
    StringConstraints(pattern=r"^[a-z0-9_][a-z0-9_.-]{0,63}$"),
    ErrorMessage(
        "must be an account's name: up to 64 of a-z, 0-9, '_', '.' and '-', "
        "beginning with a letter, a digit or '_'"
    ),
    Field(description="Slurm account"),
]
Fairshare = Annotated[
    int, Field(ge=0, le=2**31 - 1, description="fair-share weight, relative to its siblings")
]
JobLimit = Annotated[int, Field(ge=0, le=2**31 - 1)]


def modify(shell: Shell, *words: str) -> Result:
    """Have sacctmgr make a change without asking for confirmation.

    An exit code of 1 without an error message also means that nothing changed. Raises NotPermitted
    if the user is not a Slurm administrator; DaemonUnavailable; ContactLost if the change may have
    been made; CommandFailed with sacctmgr's message for any other failure.
    """
    result = ask(shell, *_argv(*words), changes=True, check=False)
    said = result.stderr.strip() or result.stdout  # where 23.11 and newer have some reasons
    messages = [line.strip(" .") for line in said.splitlines() if line.strip()]
    if result.exit_code == 0:
        return result
    if re.search(PERMISSION_DENIED, result.stderr):
        raise NotPermitted(f"only administrators of Slurm may do this, and {shell.username} is not")
    failure = result.failure()
    if re.search(CONNECTION_BROKEN, result.stderr):
        raise ContactLost(f"sacctmgr lost slurmdbd: {messages[-1]}", **failure.details)
    if not messages:
        raise failure
    raise CommandFailed(f"sacctmgr: {'; '.join(messages)}", **failure.details)


def undone_by(shell: Shell, *words: str) -> AbstractContextManager[None]:
    """Register the change that undoes the one made in the context."""
    return shell.undone_by(
        *_argv(*words), what=_in_words(words), where="Slurm's accounting", absent=NOTHING_CHANGED
    )


def accounts_of(shell: Shell, user: str, account: str | None = None) -> dict[str, int | None]:
    """Return a user's accounts, each with the user's own MaxSubmitJobs there (None: no limit).

    MaxSubmitJobs limits pending and running jobs together. With `account`, only that one.
    """
    where = [f"user={user}", *([f"account={account}"] if account else [])]
    rows = listings.sacctmgr(shell, ["account", "maxsubmitjobs"], "associations", *where)
    return {row["account"]: parsing.parse_int(row["maxsubmitjobs"]) for row in rows}


def has_account(shell: Shell, account: str) -> bool:
    """Return True if Slurm has an account of that name."""
    return bool(listings.sacctmgr(shell, ["account"], "account", f"name={account}"))


def _in_words(words: Sequence[str]) -> str:
    """Return what a change does: "delete user ada account project9"."""
    shown = [word.removeprefix("name=").replace("=", " ") for word in words if word != "where"]
    return " ".join(shown)


def _argv(*words: str) -> tuple[str, ...]:
    return ("sacctmgr", "--immediate", *words)
