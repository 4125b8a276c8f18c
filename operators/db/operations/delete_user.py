"""Remove a user from the portal, with what its tables delete along with it; for good."""

from operators.db.users import User, users
from resop import Shell, Username, operation


@operation(examples=[{"username": "ada"}])
def delete_user(shell: Shell, username: Username) -> User:
    """Return the user as the portal had it."""
    table = users(shell)
    user = table.existing(username)
    table.remove(username)
    shell.log(f"{username} is no longer in the portal")
    return user
