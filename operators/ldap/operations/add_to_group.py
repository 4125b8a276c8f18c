"""Add users to a group in the directory."""

from typing import Annotated

from pydantic import Field

from operators.ldap.groups import (
    DirectoryGroup,
    GroupMember,
    add_members,
    get_group,
    group_from_entry,
)
from operators.ldap.people import ExistingGroup, ExistingName, find_users
from resop import Shell, operation


@operation(dry_run=True, examples=[{"group": "project9", "usernames": ["ada"]}])
def add_to_group(
    shell: Shell,
    group: ExistingGroup,
    usernames: Annotated[list[ExistingName], Field(min_length=1, description="users to add")],
) -> DirectoryGroup:
    """Return the group with all its members."""
    found = find_users(shell, usernames)
    members = [GroupMember.of(entry, name) for entry, name in zip(found, usernames, strict=True)]
    entry = get_group(shell, group)
    new = add_members(shell, entry, members)
    shell.log(f"added to {group}: {', '.join(new) or 'nobody'}")
    answer = group_from_entry(shell, entry, group)
    names = [*answer["members"], *(each.names[0] for each in members)]
    answer["members"] = list(dict.fromkeys(names))
    return answer
