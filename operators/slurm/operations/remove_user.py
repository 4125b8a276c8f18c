"""Remove a user from a Slurm account, or from all; past usage stays in the reports."""

import textwrap
import time
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.associations import AccountName, accounts_of, modify
from operators.slurm.client import ask
from resop import CommandFailed, Shell, Username, operation

JOBS_END_TIMEOUT = 60
"""Seconds to wait for cancelled jobs; Slurm kills a job that ignores TERM after KillWait (30 s)."""
ACCOUNTING_LAG = 20
"""Seconds that slurmdbd may take to learn that a job has ended."""
POLL_INTERVAL = 1.0


class MembershipRemoval(TypedDict):
    """The user, and the accounts the user was removed from."""

    user: str
    accounts: list[str]


@operation(dry_run=True, examples=[{"user": "ada", "account": "project9", "cancel_jobs": True}])
def remove_user(
    shell: Shell,
    user: Username,
    account: Annotated[
        AccountName | None, Field(description="account to remove the user from (default: all)")
    ] = None,
    cancel_jobs: Annotated[
        bool,
        Field(description="cancel the user's jobs there, which otherwise prevent the removal"),
    ] = False,
) -> MembershipRemoval:
    """Return the accounts the user was removed from. Requires a Slurm administrator's rights."""
    accounts = list(accounts_of(shell, user, account))
    if not accounts:
        where = f"the Slurm account {account}" if account else "any Slurm account"
        shell.fail(f"{user} is not in {where}")
    _end_jobs(shell, user, account, cancel_jobs)
    summary = f"remove {user} from the Slurm account {', '.join(accounts)}"
    _delete_user(
        shell, f"name={user}", *([f"account={account}"] if account else []), summary=summary
    )
    shell.log(f"removed {user} from the Slurm account {', '.join(accounts)}")
    return MembershipRemoval(user=user, accounts=accounts)


def _delete_user(shell: Shell, *conditions: str, summary: str) -> None:
    """Delete associations; retry while slurmdbd still counts a job that has ended as active."""
    deadline = time.monotonic() + ACCOUNTING_LAG
    while True:
        try:
            modify(shell, "delete", "user", *conditions, summary=summary)
            return
        except CommandFailed as fault:
            is_active = "Job(s) active" in fault.details["step"]["stderr"]
            if not is_active or time.monotonic() > deadline:
                raise
        time.sleep(POLL_INTERVAL)


def _end_jobs(shell: Shell, user: str, account: str | None, cancel: bool) -> None:
    """Return when the queue has no job of the user; slurmdbd learns of new jobs too late."""
    filters = [f"--user={user}", *([f"--account={account}"] if account else [])]
    deadline = time.monotonic() + JOBS_END_TIMEOUT
    while jobs := _job_ids(shell, filters):
        if not cancel:
            shell.fail(
                f"{user} has jobs in Slurm: {_shorten(jobs)}; wait for them, or set cancel_jobs"
            )
        if time.monotonic() > deadline:
            shell.fail(f"{user} still has jobs in Slurm: {_shorten(jobs)}; try again later")
        ask(shell, "scancel", "--quiet", *filters, summary=f"cancel {_count(jobs)} of {user}")
        if shell.dry_run:
            return
        time.sleep(POLL_INTERVAL)


def _count(jobs: list[str]) -> str:
    return "1 job" if len(jobs) == 1 else f"{len(jobs)} jobs"


def _shorten(jobs: list[str]) -> str:
    return textwrap.shorten(", ".join(jobs), 100)


def _job_ids(shell: Shell, filters: list[str]) -> list[str]:
    # For a user name that no longer exists, squeue reports an error and lists nothing.
    return ask(shell, "squeue", "--noheader", "--all", "--format=%i", *filters).lines
