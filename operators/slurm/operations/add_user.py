"""Add a user to a Slurm account, so that the user's jobs can be charged to it."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.associations import (
    AccountName,
    Fairshare,
    JobLimit,
    accounts_of,
    modify,
    undone_by,
)
from resop import Shell, Username, operation


class Membership(TypedDict):
    """A user and the account."""

    user: str
    account: str


@operation(examples=[{"user": "ada", "account": "project9"}])
def add_user(
    shell: Shell,
    user: Username,
    account: AccountName,
    default: Annotated[
        bool,
        Field(description="make it the account that the user's jobs are charged to by default"),
    ] = False,
    fairshare: Fairshare | None = None,
    max_jobs: Annotated[
        JobLimit | None, Field(description="maximum number of running jobs")
    ] = None,
    max_submit_jobs: Annotated[
        JobLimit | None, Field(description="maximum number of pending and running jobs")
    ] = None,
) -> Membership:
    """Return the user and the account. Requires the rights of a Slurm administrator.

    A user's first account becomes the default one. The user need not exist in Slurm before.
    """
    if accounts_of(shell, user, account):
        shell.fail(f"{user} is already in the Slurm account {account}")
    settings = {
        "defaultaccount": account if default else None,
        "fairshare": fairshare,
        "maxjobs": max_jobs,
        "maxsubmitjobs": max_submit_jobs,
    }
    words = [f"{name}={value}" for name, value in settings.items() if value is not None]
    member = (f"name={user}", f"account={account}")
    with undone_by(shell, "delete", "user", *member):
        modify(shell, "add", "user", *member, *words)
    shell.log(f"added {user} to the Slurm account {account}")
    return Membership(user=user, account=account)
