"""Delete a user from the directory, and from its groups."""

from typing_extensions import TypedDict

from operators.ldap import client
from operators.ldap.ldif import escape_filter
from operators.ldap.numbers import record_number
from operators.ldap.people import DirectoryUser, get_user, groups_base, people_base
from resop import Shell, Username, operation


class DirectoryDeletion(TypedDict):
    """The deleted user, and the groups the user was a member of."""

    user: DirectoryUser
    groups: list[str]


@operation(examples=[{"username": "ada"}])
def delete_user(shell: Shell, username: Username) -> DirectoryDeletion:
    """Return the deleted user, whose logins to this service end. The home folder remains.

    The UID is not given again. The user is removed from the groups first; after a failure, repeat
    the request to finish.
    """
    user = get_user(shell, username)
    query = f"(&(objectClass=posixGroup)(memberUid={escape_filter(username)}))"
    found = client.search(shell, groups_base(shell), query, "cn")
    for group in found:
        client.modify(shell, group.dn, [("delete", "memberUid", [username])])
    record_number(shell, people_base(shell), "uidNumber", user["uid_number"])
    client.delete(shell, user["dn"])
    shell.end_logins(username)
    shell.log(f"deleted {username} from the directory; the home folder {user['home']} remains")
    return DirectoryDeletion(user=user, groups=[group.first("cn") or group.dn for group in found])
