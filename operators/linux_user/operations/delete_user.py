"""Permanently delete a local account on the login node."""

import contextlib
from typing import Annotated

from pydantic import Field

from operators.linux_user.accounts import FIRST_USER_UID, LocalAccount, get_account, run_as_root
from resop import NotPermitted, Shell, Username, operation


@operation(dry_run=True, examples=[{"username": "ada"}, {"username": "ada", "remove_home": True}])
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

    With `force`, the user's processes keep running: userdel does not end them. If the caller is one
    of ADMINISTRATORS, the user's logins to this service end, with everything that runs on them.
    """
    account = get_account(shell, username)
    if account["uid"] < FIRST_USER_UID:
        shell.fail(f"{username} is a system account (UID {account['uid']}): it is not deleted")
    flags = ["--remove"] if remove_home else []
    flags += ["--force"] if force else []
    summary = f"delete the local account {username}"
    run_as_root(shell, "userdel", *flags, username, summary=summary)
    with contextlib.suppress(NotPermitted):  # root on the cluster may be nobody in this service
        shell.end_logins(username)
    shell.log(f"deleted the local account {username}")
    return account
