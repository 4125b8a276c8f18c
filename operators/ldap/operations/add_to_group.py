"""Make people members of a group of the directory."""

from typing import Annotated

from pydantic import Field

from operators.ldap import client
from operators.ldap.operations.create_group import Group
from operators.ldap.people import GroupName, existing_group, refuse_unknown
from resop import Shell, Username, operation


@operation(examples=[{"group": "project9", "usernames": ["ada"]}])
def add_to_group(
    shell: Shell,
    group: GroupName,
    usernames: Annotated[list[Username], Field(min_length=1, description="whom")],
) -> Group:
    """Return the group as it is now; who was a member before stays one."""
    refuse_unknown(shell, usernames)
    entry = existing_group(shell, group)
    members = entry.attributes.get("memberUid", [])
    new = [name for name in dict.fromkeys(usernames) if name not in members]
    if new:
        member = ("memberUid", new)
        client.modify(shell, entry.dn, [("add", *member)], undo=[("delete", *member)])
    shell.log(f"new in {group}: {', '.join(new) or 'nobody'}")
    number = int(entry.first("gidNumber") or -1)
    return Group(dn=entry.dn, name=group, gid_number=number, members=[*members, *new])
