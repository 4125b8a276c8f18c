"""Permanently remove a user from the portal, with rows that its database deletes along."""

from operators.db.users import PortalUser, user_table
from resop import Shell, Username, operation


@operation(dry_run=True, examples=[{"username": "ada"}])
def delete_user(shell: Shell, username: Username) -> PortalUser:
    """Return the removed user."""
    table = user_table(shell)
    user = table.get(username)
    table.remove(username)
    shell.log(f"removed {username} from the portal")
    return user
