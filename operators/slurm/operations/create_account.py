"""Create a Slurm account, to which jobs can be charged."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import listings
from operators.slurm.associations import (
    PLANNED,
    AccountName,
    Fairshare,
    has_account,
    modify,
    undone_by,
)
from resop import ErrorMessage, Outcome, Shell, operation

AccountText = Annotated[
    str,
    Field(pattern=r"^[^\x00-\x1f\x7f\"'`]+$", max_length=255),
    ErrorMessage("must be one line of 1 to 255 characters, without quotes and backticks"),
]


class NewAccount(TypedDict):
    """The account and its parent, and whether it was created."""

    account: str
    parent: str
    outcome: Outcome


@operation(
    dry_run=True,
    examples=[{"account": "project9", "parent": "research", "description": "Storms"}],
)
def create_account(
    shell: Shell,
    account: AccountName,
    parent: Annotated[AccountName, Field(description="parent account")] = "root",
    description: Annotated[
        AccountText | None, Field(description="purpose; Slurm stores it in lower case")
    ] = None,
    organization: Annotated[
        AccountText | None, Field(description="organization the account belongs to")
    ] = None,
    fairshare: Fairshare | None = None,
    ensure: Annotated[
        bool, Field(description="succeed if the account exists with this parent")
    ] = False,
) -> NewAccount:
    """Return the new account. Requires the rights of a Slurm administrator."""
    if has_account(shell, account):
        if not ensure:
            shell.fail(f"Slurm already has an account {account}")
        _check_equal(shell, account, parent, fairshare)
        shell.log(f"Slurm has the account {account} already: unchanged")
        return NewAccount(account=account, parent=parent, outcome="unchanged")
    settings = {"description": description, "organization": organization, "fairshare": fairshare}
    words = [f"{name}={value}" for name, value in settings.items() if value is not None]
    with undone_by(shell, "delete", "account", f"name={account}"):
        summary = f"create the Slurm account {account} in {parent}"
        place = (f"name={account}", f"parent={parent}")
        modify(shell, "add", "account", *place, *words, summary=summary)
    if shell.dry_run:
        shell.planned[PLANNED, account] = parent
    shell.log(f"created the Slurm account {account} in {parent}")
    return NewAccount(account=account, parent=parent, outcome="created")


def _check_equal(shell: Shell, account: str, parent: str, fairshare: int | None) -> None:
    """Raise OperationFailed for an account with another parent or another fair share."""
    columns, where = ["parentname", "share", "user"], f"account={account}"
    rows = listings.sacctmgr(shell, columns, "associations", where)
    own = next((row for row in rows if not row["user"]), None)
    if own is None:
        shell.fail(f"Slurm has the account {account}, but not on this cluster")
    is_equal = fairshare is None or own["share"] == str(fairshare)
    if own["parentname"] != parent or not is_equal:
        shell.fail(
            f"Slurm already has an account {account}, whose parent is {own['parentname']} and "
            f"whose fairshare is {own['share']}"
        )
