"""Add users to a group in the directory."""

from typing import Annotated

from pydantic import Field

from operators.ldap import client
from operators.ldap.operations.create_group import DirectoryGroup
from operators.ldap.people import DirectoryGroupName, check_users_exist, get_group
from resop import Shell, Username, operation


@operation(examples=[{"group": "project9", "usernames": ["ada"]}])
def add_to_group(
    shell: Shell,
    group: DirectoryGroupName,
    usernames: Annotated[list[Username], Field(min_length=1, description="users to add")],
) -> DirectoryGroup:
    """Return the group with all its members."""
    check_users_exist(shell, usernames)
    entry = get_group(shell, group)
    members = entry.attributes.get("memberUid", [])
    new = [name for name in dict.fromkeys(usernames) if name not in members]
    if new:
        member = ("memberUid", new)
        client.modify(shell, entry.dn, [("add", *member)], undo=[("delete", *member)])
    shell.log(f"added to {group}: {', '.join(new) or 'nobody'}")
    number = int(entry.first("gidNumber") or -1)
    return DirectoryGroup(dn=entry.dn, name=group, gid_number=number, members=[*members, *new])
