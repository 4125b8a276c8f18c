"""Create a Slurm account, to which jobs can be charged."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.associations import AccountName, Fairshare, has_account, modify, undone_by
from resop import ErrorMessage, Shell, operation

AccountText = Annotated[
    str,
    Field(pattern=r"^[^\x00-\x1f\x7f\"'`]+$", max_length=255),
    ErrorMessage("must be one line of 1 to 255 characters, without quotes and backticks"),
]


class NewAccount(TypedDict):
    """The new account, and its parent."""

    account: str
    parent: str


@operation(examples=[{"account": "project9", "parent": "research", "description": "Storms"}])
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
) -> NewAccount:
    """Return the new account. Requires the rights of a Slurm administrator."""
    if has_account(shell, account):
        shell.fail(f"Slurm already has an account {account}")
    settings = {"description": description, "organization": organization, "fairshare": fairshare}
    words = [f"{name}={value}" for name, value in settings.items() if value is not None]
    with undone_by(shell, "delete", "account", f"name={account}"):
        modify(shell, "add", "account", f"name={account}", f"parent={parent}", *words)
    shell.log(f"created the Slurm account {account} in {parent}")
    return NewAccount(account=account, parent=parent)
