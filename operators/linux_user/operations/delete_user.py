"""Permanently delete a local account on the login node."""

from typing import Annotated

from pydantic import Field

from operators.linux_user.accounts import FIRST_USER_UID, LocalAccount, as_root, get_account
from resop import Shell, Username, operation


@operation(examples=[{"username": "ada"}, {"username": "ada", "remove_home": True}])
def delete_user(
    shell: Shell,
    username: Username,
    remove_home: Annotated[
        bool, Field(description="also delete the home folder and the mail spool")
    ] = False,
    force: Annotated[
        bool, Field(description="delete the account even if the user is logged in")
    ] = False,
) -> LocalAccount:
    """Return the deleted account. Fails for system accounts.

    With `force`, the user's processes keep running: userdel does not end them.
    """
    account = get_account(shell, username)
    if account["uid"] < FIRST_USER_UID:
        shell.fail(f"{username} is a system account (UID {account['uid']}): it is not deleted")
    flags = ["--remove"] if remove_home else []
    flags += ["--force"] if force else []
    shell.run(*as_root(shell, "userdel", *flags, username))
    shell.log(f"deleted the local account {username}")
    return account
