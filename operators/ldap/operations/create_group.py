"""Create a group in the directory."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.ldap import client
from operators.ldap.ldif import escaped
from operators.ldap.people import (
    GroupName,
    Number,
    free_number,
    groups,
    refuse_unknown,
    settled_number,
)
from resop import Shell, Username, operation


class Group(TypedDict):
    """A group of the directory, and the user names of its members."""

    dn: str
    name: str
    gid_number: int
    members: list[str]


@operation(examples=[{"name": "project9", "members": ["ada"]}])
def create_group(
    shell: Shell,
    name: GroupName,
    gid_number: Annotated[
        Number | None, Field(description="the next above all in use when not given")
    ] = None,
    description: Annotated[
        str | None, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=1024, description="free text")
    ] = None,
    members: Annotated[list[Username] | None, Field(description="people of the directory")] = None,
) -> Group:
    """Return the group as the directory has it now."""
    if client.search(shell, groups(shell), f"(cn={escaped(name)})", "1.1"):
        shell.fail(f"the group {name} is in the directory already")
    chosen = list(dict.fromkeys(members or []))
    refuse_unknown(shell, chosen)
    number = gid_number or free_number(shell, groups(shell), "gidNumber", "LDAP_FIRST_GID")
    if gid_number and client.search(shell, groups(shell), f"(gidNumber={number})", "1.1"):
        shell.fail(f"the number {number} is another group's")
    dn = f"cn={name},{groups(shell)}"
    group = Group(dn=dn, name=name, gid_number=number, members=chosen)
    attributes = {
        "objectClass": ["posixGroup"],
        "cn": [name],
        "gidNumber": [str(number)],
        "description": [description] if description else [],
        "memberUid": group["members"],
    }
    client.add(shell, group["dn"], attributes)
    if gid_number is None:
        group["gid_number"] = settled_number(
            shell, group["dn"], groups(shell), "gidNumber", "LDAP_FIRST_GID", number
        )
    shell.log(f"the group {name} is in the directory, with number {group['gid_number']}")
    return group
