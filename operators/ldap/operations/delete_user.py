"""Delete a user from the directory, and from its groups."""

from typing_extensions import TypedDict

from operators.ldap import client, groups
from operators.ldap.numbers import record_number, user_ids
from operators.ldap.people import (
    DirectoryUser,
    ExistingUser,
    find_entry,
    user_attributes,
    user_from_entry,
)
from resop import Shell, operation


class DirectoryDeletion(TypedDict):
    """The deleted user, and the groups the user was a member of."""

    user: DirectoryUser
    groups: list[str]


@operation(dry_run=True, examples=[{"username": "ada"}])
def delete_user(shell: Shell, username: ExistingUser) -> DirectoryDeletion:
    """Return the deleted user, whose logins to this service end. The home folder remains.

    The UID is not given again. The user is removed from the groups first; after a failure, repeat
    the request to finish.
    """
    entry = find_entry(shell, username, *user_attributes(shell))
    if entry is None:
        shell.fail(f"there is no user {username} in the directory")
    user = user_from_entry(shell, entry, username)
    member = groups.GroupMember.of(entry, username)
    found = groups.find_memberships(shell, member)
    for group in found:
        # Nothing is undone later: a deleted user must not become a member again.
        groups.remove_members(shell, group, [member], undone=False)
    record_number(shell, user_ids(shell), user["uid_number"])
    client.delete(shell, user["dn"])
    shell.end_logins(user["username"])
    shell.log(f"deleted {username} from the directory; the home folder {user['home']} remains")
    return DirectoryDeletion(user=user, groups=[group.first("cn") or group.dn for group in found])
