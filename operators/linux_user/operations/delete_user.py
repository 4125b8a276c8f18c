"""Delete a local account of the login node, for good."""

from typing import Annotated

from pydantic import Field

from operators.linux_user.accounts import FIRST, Account, as_root, existing
from resop import Shell, Username, operation


@operation(examples=[{"username": "ada"}, {"username": "ada", "remove_home": True}])
def delete_user(
    shell: Shell,
    username: Username,
    remove_home: Annotated[
        bool, Field(description="delete the home folder and the mail, too")
    ] = False,
    force: Annotated[bool, Field(description="even where the user is logged in")] = False,
) -> Account:
    """Return the account as it was. Accounts of the system itself are refused.

    Of one that is deleted by `force`, processes go on; userdel ends none.
    """
    account = existing(shell, username)
    if account["uid"] < FIRST:
        shell.fail(f"{username} is an account of the system, with number {account['uid']}")
    flags = ["--remove"] if remove_home else []
    flags += ["--force"] if force else []
    shell.run(*as_root(shell, "userdel", *flags, username))
    shell.log(f"{username} is no longer an account of the login node")
    return account
