"""Set the password of a local account on the login node."""

from typing import Annotated

from pydantic import Field

from operators.linux_user.accounts import get_account, run_as_root
from operators.linux_user.hashes import Password
from resop import Secret, Shell, Username, operation


def set_password(shell: Shell, username: str, password: Secret) -> None:
    """Set a password with chpasswd, which hashes it as the system is configured."""
    summary = f"set the password of {username}"
    run_as_root(shell, "chpasswd", summary=summary, input=[f"{username}:", password, "\n"])


@operation(dry_run=True, examples=[{"username": "ada", "password": "correct horse"}])
def change_password(
    shell: Shell,
    username: Username,
    password: Annotated[Password, Field(description="new password")],
) -> None:
    """Return nothing. The change cannot be undone, since the old password is unknown."""
    get_account(shell, username)
    set_password(shell, username, password)
    shell.log(f"changed the password of {username}")
