"""Permanently replace a user's password for the portal."""

from typing import Annotated

from pydantic import Field

from operators.db.users import user_table
from operators.linux_user.hashes import Password, hash_password
from resop import Alias, Shell, Username, operation


@operation(dry_run=True, examples=[{"username": "ada", "password": "correct horse"}])
def change_password(
    shell: Shell,
    username: Username,
    password: Annotated[
        Password,
        Alias("new_password"),
        Field(description="new password; stored as SHA-512 crypt"),
    ],
) -> None:
    """Return nothing. The change cannot be undone: the old hash is not kept."""
    if not user_table(shell).set_password_hash(username, hash_password(shell, password)):
        shell.fail(f"the portal has no user {username}")
    shell.log(f"changed the password of {username} in the portal")
