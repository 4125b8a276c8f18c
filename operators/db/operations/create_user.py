"""Add a user to the portal; undone if an operation that calls this one fails later."""

from typing import Annotated

from pydantic import Field

from operators.db.statement import SqlValue
from operators.db.users import PortalFullName, PortalRole, PortalUser, user_table
from operators.ldap.people import MailAddress
from operators.linux_user.hashes import Password, hash_password
from resop import Shell, Username, operation


@operation(
    examples=[
        {"username": "ada", "mail": "ada@hpc.example", "full_name": "Ada Example"},
        {
            "username": "ada",
            "mail": "ada@hpc.example",
            "full_name": "Ada Example",
            "password": "correct horse",
            "role": "admin",
        },
    ]
)
def create_user(
    shell: Shell,
    username: Username,
    mail: Annotated[MailAddress, Field(description="mail address")],
    full_name: Annotated[PortalFullName, Field(description="full name")],
    password: Annotated[
        Password | None, Field(description="password for the portal; stored as SHA-512 crypt")
    ] = None,
    role: Annotated[
        PortalRole | None, Field(description="role (default: that of the table)")
    ] = None,
    enabled: Annotated[bool, Field(description="allow the user to log in to the portal")] = True,
) -> PortalUser:
    """Return the new user. Fails if the portal already has a user of that name."""
    table = user_table(shell)
    row: dict[str, SqlValue] = {"username": username, "mail": mail, "full_name": full_name}
    if table.find(username=username):
        shell.fail(f"the portal already has a user {username}")
    if role is not None:
        row["role"] = role
    if not enabled:
        row["enabled"] = enabled
    if password is not None:
        row["password_hash"] = hash_password(shell, password)
    table.add(row)
    shell.log(f"added {username} to the portal")
    return table.get(username)
