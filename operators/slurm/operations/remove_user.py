"""Remove a user from an account, or from all; what was used stays in the reports."""

import textwrap
import time
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.associations import Account, accounts_of, change
from operators.slurm.client import ask
from resop import CommandFailed, Shell, Username, operation

ENDING_SECONDS = 60
"""A job that ignores TERM is killed after Slurm's KillWait, 30 s by default."""
BEHIND_SECONDS = 20
"""slurmdbd hears of a job's end some seconds after the queue does."""
PAUSE = 1.0


class Removed(TypedDict):
    """The user, and the accounts that the user was in."""

    user: str
    accounts: list[str]


@operation(examples=[{"user": "ada", "account": "project9", "cancel_jobs": True}])
def remove_user(
    shell: Shell,
    user: Username,
    account: Annotated[Account | None, Field(description="every account when not given")] = None,
    cancel_jobs: Annotated[
        bool, Field(description="cancel the jobs that would be in the way")
    ] = False,
) -> Removed:
    """Return where the user was removed from; for administrators of Slurm."""
    accounts = list(accounts_of(shell, user, account))
    if not accounts:
        where = f"Slurm's account {account}" if account else "any account of Slurm"
        shell.fail(f"{user} is not in {where}")
    _end_jobs(shell, user, account, cancel_jobs)
    _delete(shell, f"name={user}", *([f"account={account}"] if account else []))
    shell.log(f"{user} is no longer in Slurm's {', '.join(accounts)}")
    return Removed(user=user, accounts=accounts)


def _delete(shell: Shell, *whom: str) -> None:
    """Delete; slurmdbd may be behind and still take a job for active that the queue saw end."""
    ends = time.monotonic() + BEHIND_SECONDS
    while True:
        try:
            change(shell, "delete", "user", *whom)
            return
        except CommandFailed as fault:
            if "Job(s) active" not in fault.details["step"]["stderr"] or time.monotonic() > ends:
                raise
        time.sleep(PAUSE)


def _end_jobs(shell: Shell, user: str, account: str | None, cancel: bool) -> None:
    """Return when the user has no job there; slurmdbd knows of a new one too late to be asked."""
    which = [f"--user={user}", *([f"--account={account}"] if account else [])]
    ends = time.monotonic() + ENDING_SECONDS
    while jobs := _jobs(shell, which):
        if not cancel:
            shell.fail(f"{user} has jobs in Slurm: {_some(jobs)}; see cancel_jobs")
        if time.monotonic() > ends:
            shell.fail(f"{user} still has jobs in Slurm: {_some(jobs)}")
        ask(shell, "scancel", "--quiet", *which)
        time.sleep(PAUSE)


def _some(jobs: list[str]) -> str:
    return textwrap.shorten(", ".join(jobs), 100)


def _jobs(shell: Shell, which: list[str]) -> list[str]:
    # Of a name that is nobody's any more squeue says so, and lists nothing.
    return ask(shell, "squeue", "--noheader", "--all", "--format=%i", *which).lines
