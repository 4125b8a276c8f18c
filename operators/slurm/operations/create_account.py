"""Create an account, to which jobs are charged."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.associations import Account, Fairshare, change, has_account, undone_by
from resop import Shell, operation

Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f\"'`]+$", max_length=255)]


class Created(TypedDict):
    """The new account, and the one that it is part of."""

    account: str
    parent: str


@operation(examples=[{"account": "project9", "parent": "research", "description": "Storms"}])
def create_account(
    shell: Shell,
    account: Account,
    parent: Annotated[Account, Field(description="account that it is part of")] = "root",
    description: Annotated[
        Text | None, Field(description="what it is for; Slurm keeps it in lower case")
    ] = None,
    organization: Annotated[Text | None, Field(description="whose it is")] = None,
    fairshare: Fairshare | None = None,
) -> Created:
    """Return the account as Slurm has it now; for administrators of Slurm."""
    if has_account(shell, account):
        shell.fail(f"Slurm has an account {account} already")
    settings = {"description": description, "organization": organization, "fairshare": fairshare}
    given = [f"{name}={value}" for name, value in settings.items() if value is not None]
    with undone_by(shell, "delete", "account", f"name={account}"):
        change(shell, "add", "account", f"name={account}", f"parent={parent}", *given)
    shell.log(f"Slurm has an account {account} in {parent}")
    return Created(account=account, parent=parent)
