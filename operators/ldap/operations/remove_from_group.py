"""Remove users from a group in the directory."""

from typing import Annotated

from pydantic import Field

from operators.ldap.groups import (
    DirectoryGroup,
    GroupMember,
    get_group,
    group_from_entry,
    remove_members,
)
from operators.ldap.people import ExistingGroup, ExistingName, find_entry, people_base
from resop import Shell, operation


@operation(dry_run=True, examples=[{"group": "project9", "usernames": ["ada"]}])
def remove_from_group(
    shell: Shell,
    group: ExistingGroup,
    usernames: Annotated[list[ExistingName], Field(min_length=1, description="users to remove")],
) -> DirectoryGroup:
    """Return the group with the members who are left.

    Users who are no members are no error, and users who no longer exist can be removed, too.
    """
    entry = get_group(shell, group)
    members = [_member(shell, name) for name in dict.fromkeys(usernames)]
    before = group_from_entry(shell, entry, group)
    remove_members(shell, entry, members)
    gone = {name for each in members for name in each.names}
    left = [name for name in before["members"] if name not in gone]
    removed = [name for name in before["members"] if name in gone]
    shell.log(f"removed from {group}: {', '.join(removed) or 'nobody'}")
    return DirectoryGroup(
        dn=before["dn"], name=before["name"], gid_number=before["gid_number"], members=left
    )


def _member(shell: Shell, username: str) -> GroupMember:
    entry = find_entry(shell, username, "uid")
    if entry is None:
        return GroupMember(f"uid={username},{people_base(shell)}", [username])
    member = GroupMember.of(entry, username)
    return GroupMember(member.dn, list(dict.fromkeys([*member.names, username])))
