"""Add a user to the portal; undone where the operation that calls this one fails."""

from typing import Annotated

from pydantic import Field

from operators.db.statement import Value
from operators.db.users import Email, FullName, Role, User, users
from operators.linux_user.hashes import Password, hashed
from resop import Shell, Username, operation


@operation(
    examples=[
        {"username": "ada", "email": "ada@hpc.example", "full_name": "Ada Example"},
        {
            "username": "ada",
            "email": "ada@hpc.example",
            "full_name": "Ada Example",
            "password": "correct horse",
            "role": "admin",
        },
    ]
)
def create_user(
    shell: Shell,
    username: Username,
    email: Annotated[Email, Field(description="mail address")],
    full_name: Annotated[FullName, Field(description="as people write it")],
    password: Annotated[
        Password | None, Field(description="password of the portal's own; kept as SHA-512 crypt")
    ] = None,
    role: Annotated[
        Role | None, Field(description="what the user may do; the table's default when not given")
    ] = None,
    enabled: Annotated[bool, Field(description="whether the user may use the portal")] = True,
) -> User:
    """Return the user as the portal has it now; a name that is taken is refused."""
    table = users(shell)
    row: dict[str, Value] = {"username": username, "email": email, "full_name": full_name}
    if table.find(username=username):
        shell.fail(f"the portal has a user {username} already")
    if role is not None:
        row["role"] = role
    if not enabled:
        row["enabled"] = enabled
    if password is not None:
        row["password_hash"] = hashed(shell, password)
    table.add(row)
    shell.log(f"{username} is in the portal")
    return table.existing(username)
