"""Accounts and associations (a user's share of an account), changed by sacctmgr(1)."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import Annotated

from pydantic import Field, StringConstraints

from operators.slurm import listings, parsing
from operators.slurm.client import BROKEN_OFF, ask
from resop import CommandFailed, ContactLost, NotPermitted, Result, Shell

DENIED = r"Access/permission denied|doesn't have privilege"

Account = Annotated[
    str,
    # Lower case, as Slurm makes it; a comma or '=' would mean something to sacctmgr.
    StringConstraints(pattern=r"^[a-z0-9_][a-z0-9_.-]{0,63}$"),
    Field(description="account, as reports name it"),
]
Fairshare = Annotated[int, Field(ge=0, le=2**31 - 1, description="shares, beside its siblings")]
Limit = Annotated[int, Field(ge=0, le=2**31 - 1)]


def change(shell: Shell, *words: str) -> Result:
    """Have sacctmgr change something, without a question; its exit code is 1 for no change, too.

    Raises NotPermitted for who is no administrator of Slurm's, DaemonUnavailable, ContactLost where
    nobody knows what became of it, CommandFailed with what it said.
    """
    result = ask(shell, *_argv(*words), changes=True, check=False)
    said = [line.strip(" .") for line in result.stderr.splitlines() if line.strip()]
    if result.exit_code == 0:
        return result
    if re.search(DENIED, result.stderr):
        raise NotPermitted(f"Slurm lets its administrators alone do this, not {shell.username}")
    failed = result.failure()
    if re.search(BROKEN_OFF, result.stderr):
        raise ContactLost(f"sacctmgr lost slurmdbd: {said[-1]}", **failed.details)
    if not said:
        raise failed
    raise CommandFailed(f"sacctmgr: {'; '.join(said)}", **failed.details)


def undone_by(shell: Shell, *words: str) -> AbstractContextManager[None]:
    """Register the change that takes back the one inside."""
    return shell.undone_by(*_argv(*words))


def accounts_of(shell: Shell, user: str, account: str | None = None) -> dict[str, int | None]:
    """The accounts that a user is in, each with the user's own limit of jobs at a time (None: no).

    Jobs here are those that wait and those that run (MaxSubmitJobs). Only `account` when given.
    """
    which = [f"user={user}", *([f"account={account}"] if account else [])]
    rows = listings.sacctmgr(shell, ["account", "maxsubmitjobs"], "associations", *which)
    return {row["account"]: parsing.whole(row["maxsubmitjobs"]) for row in rows}


def limit_jobs(shell: Shell, user: str, limit: int | None) -> list[str]:
    """Limit a user's jobs at a time in every account (None: no limit of the user's own).

    Returns the accounts. Registered to be undone.
    """
    before = accounts_of(shell, user)
    for account, old in before.items():
        who = ("modify", "user", "where", f"name={user}", f"account={account}", "set")
        with undone_by(shell, *who, _limit(old)):
            change(shell, *who, _limit(limit))
    return list(before)


def _limit(jobs: int | None) -> str:
    return f"maxsubmitjobs={-1 if jobs is None else jobs}"


def has_account(shell: Shell, account: str) -> bool:
    """Whether there is an account of that name."""
    return bool(listings.sacctmgr(shell, ["account"], "account", f"name={account}"))


def _argv(*words: str) -> tuple[str, ...]:
    return ("sacctmgr", "--immediate", *words)
