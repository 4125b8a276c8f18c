"""Give a user of the portal another password of the portal's own; for good."""

from typing import Annotated

from pydantic import Field

from operators.db.users import users
from operators.linux_user.hashes import Password, hashed
from resop import Shell, Username, operation


@operation(examples=[{"username": "ada", "password": "correct horse"}])
def change_password(
    shell: Shell,
    username: Username,
    password: Annotated[Password, Field(description="the new one; kept as SHA-512 crypt")],
) -> None:
    """Return nothing; the old hash is not kept, so that nothing can undo it."""
    if not users(shell).set_password_hash(username, hashed(shell, password)):
        shell.fail(f"the portal has no user {username}")
    shell.log(f"{username} has a new password in the portal")
