"""List groups of the directory, with their members."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.ldap import client
from operators.ldap.groups import (
    GROUP_ATTRIBUTES,
    DirectoryGroup,
    GroupMember,
    group_from_entry,
    membership_filter,
)
from operators.ldap.ldif import match_filter
from operators.ldap.operations.find_user import SearchPattern
from operators.ldap.people import ExistingName, find_users, groups_base
from resop import Shell, operation


class DirectoryGroupPage(TypedDict):
    """The matching groups, ordered by name; `complete` if there are no more."""

    groups: list[DirectoryGroup]
    complete: bool


@operation(dry_run=True, examples=[{"member": "ada"}, {"name": "project*"}])
def list_groups(
    shell: Shell,
    name: Annotated[
        SearchPattern | None, Field(description="group name; * matches any text")
    ] = None,
    member: Annotated[
        ExistingName | None, Field(description="user whom the groups list as a member")
    ] = None,
    limit: Annotated[int, Field(ge=1, le=10_000, description="maximum number of groups")] = 100,
) -> DirectoryGroupPage:
    """Return the groups that match all filters; without filters, all groups.

    A group lists no users whose primary group it is.
    """
    tests = [match_filter("cn", name)] if name else []
    if member:
        [entry] = find_users(shell, [member])
        tests.append(membership_filter(GroupMember.of(entry, member)))
    query = f"(&(objectClass=posixGroup){''.join(tests)})"
    base = groups_base(shell)
    found, complete = client.search_limited(shell, base, query, limit, *GROUP_ATTRIBUTES)
    groups = [group_from_entry(shell, entry) for entry in found]
    return DirectoryGroupPage(groups=sorted(groups, key=_name), complete=complete)


def _name(group: DirectoryGroup) -> str:
    return group["name"]
