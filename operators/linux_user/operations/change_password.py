"""Set the password of a local account of the login node."""

from typing import Annotated

from pydantic import Field

from operators.linux_user.accounts import as_root, existing
from operators.linux_user.hashes import Password
from resop import Secret, Shell, Username, operation


def set_password(shell: Shell, username: str, password: Secret) -> None:
    """Have chpasswd hash and keep a password, as the system is set up."""
    shell.run(*as_root(shell, "chpasswd"), input=[f"{username}:", password, "\n"])


@operation(examples=[{"username": "ada", "password": "correct horse"}])
def change_password(
    shell: Shell,
    username: Username,
    password: Annotated[Password, Field(description="the new one")],
) -> None:
    """Return nothing; the old password is not known, so that nothing can undo it."""
    existing(shell, username)
    set_password(shell, username, password)
    shell.log(f"{username} has a new password")
