"""Let a user into the portal, or keep the user out of it; undone where a later step fails."""

from typing import Annotated

from pydantic import Field

from operators.db.users import User, users
from resop import Shell, Username, operation


@operation(examples=[{"username": "ada"}, {"username": "ada", "enabled": False}])
def enable_user(
    shell: Shell,
    username: Username,
    enabled: Annotated[bool, Field(description="false: keep the user out")] = True,
) -> User:
    """Return the user as the portal has it now."""
    table = users(shell)
    user = table.existing(username)
    table.enable(user, enabled)
    return User({**user, "enabled": enabled})
