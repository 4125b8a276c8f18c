"""Enable or disable a user of the portal; undone if a later step fails."""

from typing import Annotated

from pydantic import Field

from operators.db.users import PortalUser, user_table
from resop import Shell, Username, operation


@operation(dry_run=True, examples=[{"username": "ada"}, {"username": "ada", "enabled": False}])
def enable_user(
    shell: Shell,
    username: Username,
    enabled: Annotated[
        bool, Field(description="true: allow logins to the portal; false: refuse them")
    ] = True,
) -> PortalUser:
    """Return the user after the change."""
    table = user_table(shell)
    user = table.get(username)
    table.enable(user, enabled)
    return PortalUser({**user, "enabled": enabled})
