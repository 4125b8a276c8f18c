"""Set the password of a local account on the login node."""

from typing import Annotated

from pydantic import Field

from operators.linux_user.accounts import as_root, get_account
from operators.linux_user.hashes import Password
from resop import Secret, Shell, Username, operation


def set_password(shell: Shell, username: str, password: Secret) -> None:
    """Set a password with chpasswd, which hashes it as the system is configured."""
    shell.run(*as_root(shell, "chpasswd"), input=[f"{username}:", password, "\n"])


@operation(examples=[{"username": "ada", "password": "correct horse"}])
def change_password(
    shell: Shell,
    username: Username,
    password: Annotated[Password, Field(description="new password")],
) -> None:
    """Return nothing. The change cannot be undone, since the old password is unknown."""
    get_account(shell, username)
    set_password(shell, username, password)
    shell.log(f"changed the password of {username}")
