"""Add a user to an account, who can then submit jobs that are charged to it."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.associations import Account, Fairshare, Limit, accounts_of, change, undone_by
from resop import Shell, Username, operation


class Added(TypedDict):
    """The user, and the account."""

    user: str
    account: str


@operation(examples=[{"user": "ada", "account": "project9"}])
def add_user(
    shell: Shell,
    user: Username,
    account: Account,
    default: Annotated[
        bool, Field(description="charge the user's jobs to it unless they say otherwise")
    ] = False,
    fairshare: Fairshare | None = None,
    max_jobs: Annotated[Limit | None, Field(description="that may run at once")] = None,
    max_submit_jobs: Annotated[
        Limit | None, Field(description="that may wait and run at once")
    ] = None,
) -> Added:
    """Return who is now in which account; for administrators of Slurm.

    A user's first account is the default one. Slurm does not need to know the user otherwise.
    """
    if accounts_of(shell, user, account):
        shell.fail(f"{user} is in Slurm's account {account} already")
    settings = {
        "defaultaccount": account if default else None,
        "fairshare": fairshare,
        "maxjobs": max_jobs,
        "maxsubmitjobs": max_submit_jobs,
    }
    given = [f"{name}={value}" for name, value in settings.items() if value is not None]
    member = (f"name={user}", f"account={account}")
    with undone_by(shell, "delete", "user", *member):
        change(shell, "add", "user", *member, *given)
    shell.log(f"{user} is in Slurm's account {account}")
    return Added(user=user, account=account)
