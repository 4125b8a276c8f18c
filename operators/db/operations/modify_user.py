"""Change what the portal knows of a user."""

from typing import Annotated

from pydantic import Field

from operators.db.statement import SqlValue
from operators.db.users import PortalFullName, PortalRole, PortalUser, user_table
from operators.ldap.people import MailAddress
from resop import Shell, Username, operation


@operation(dry_run=True, examples=[{"username": "ada", "mail": "ada@new.example"}])
def modify_user(
    shell: Shell,
    username: Username,
    mail: Annotated[MailAddress | None, Field(description="mail address")] = None,
    full_name: Annotated[PortalFullName | None, Field(description="full name")] = None,
    role: Annotated[PortalRole | None, Field(description="role")] = None,
    enabled: Annotated[
        bool | None, Field(description="allow the user to log in to the portal")
    ] = None,
) -> PortalUser:
    """Return the user after the change. Options that are not given change nothing."""
    table = user_table(shell)
    user = table.get(username)
    wanted: dict[str, SqlValue] = {
        "mail": mail,
        "full_name": full_name,
        "role": role,
        "enabled": enabled,
    }
    before = {**user}
    different = {
        name: value
        for name, value in wanted.items()
        if value is not None and before.get(name) != value
    }
    table.change(user, different)
    changed = ", ".join(different)
    shell.log(f"changed {changed} of {username} in the portal" if changed else "unchanged")
    if shell.dry_run:
        return {**user, **different}  # type: ignore[typeddict-item]
    return table.get(username)
