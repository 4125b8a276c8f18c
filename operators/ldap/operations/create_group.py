"""Create a group in the directory."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.ldap import client
from operators.ldap.ldif import escape_filter
from operators.ldap.numbers import reserve_number, resolve_number_conflict
from operators.ldap.people import (
    DirectoryGroupName,
    IdNumber,
    check_users_exist,
    groups_base,
)
from resop import ErrorMessage, Shell, Username, operation


class DirectoryGroup(TypedDict):
    """A group in the directory, and the user names of its members."""

    dn: str
    name: str
    gid_number: int
    members: list[str]


@operation(examples=[{"name": "project9", "members": ["ada"]}])
def create_group(
    shell: Shell,
    name: DirectoryGroupName,
    gid_number: Annotated[
        IdNumber | None,
        Field(description="group id (default: the next after the highest ever given)"),
    ] = None,
    description: Annotated[
        Annotated[
            str,
            Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=1024),
            ErrorMessage("must be one line of 1 to 1024 characters"),
        ]
        | None,
        Field(description="description of the group"),
    ] = None,
    members: Annotated[
        list[Username] | None, Field(description="user names of the members")
    ] = None,
) -> DirectoryGroup:
    """Return the new group."""
    if client.search(shell, groups_base(shell), f"(cn={escape_filter(name)})", "1.1"):
        shell.fail(f"the directory already has a group {name}")
    user_names = list(dict.fromkeys(members or []))
    check_users_exist(shell, user_names)
    number = gid_number or reserve_number(shell, groups_base(shell), "gidNumber", "LDAP_FIRST_GID")
    if gid_number and client.search(shell, groups_base(shell), f"(gidNumber={number})", "1.1"):
        shell.fail(f"gid_number {number} belongs to another group")
    dn = f"cn={name},{groups_base(shell)}"
    group = DirectoryGroup(dn=dn, name=name, gid_number=number, members=user_names)
    attributes = {
        "objectClass": ["posixGroup"],
        "cn": [name],
        "gidNumber": [str(number)],
        "description": [description] if description else [],
        "memberUid": group["members"],
    }
    client.add(shell, group["dn"], attributes)
    if gid_number is None:
        group["gid_number"] = resolve_number_conflict(
            shell, group["dn"], groups_base(shell), "gidNumber", "LDAP_FIRST_GID", number
        )
    shell.log(f"created the group {name} with gidNumber {group['gid_number']}")
    return group
