"""Delete a person from the directory, and from its groups."""

from typing_extensions import TypedDict

from operators.ldap import client
from operators.ldap.ldif import escaped
from operators.ldap.people import User, existing, groups
from resop import Shell, Username, operation


class Deleted(TypedDict):
    """Who was deleted, and the groups that had the person as a member."""

    user: User
    groups: list[str]


@operation(examples=[{"username": "ada"}])
def delete_user(shell: Shell, username: Username) -> Deleted:
    """Return who was deleted; the home folder stays.

    The groups come first. If that is as far as it goes, asked again it does the rest.
    """
    user = existing(shell, username)
    query = f"(&(objectClass=posixGroup)(memberUid={escaped(username)}))"
    found = client.search(shell, groups(shell), query, "cn")
    for group in found:
        client.modify(shell, group.dn, [("delete", "memberUid", [username])])
    client.delete(shell, user["dn"])
    shell.log(f"{username} is no longer in the directory; the home folder {user['home']} stays")
    return Deleted(user=user, groups=[group.first("cn") or group.dn for group in found])
