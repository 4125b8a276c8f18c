"""Create a group in the directory."""

from typing import Annotated

from pydantic import Field

from operators.ldap import client
from operators.ldap.groups import (
    CLASSES_WITH_DNS,
    NAME_ATTRIBUTE,
    DirectoryGroup,
    GroupMember,
    get_group,
    group_from_entry,
    member_attributes,
    needs_member,
    placeholder_member,
)
from operators.ldap.ldif import LdapEntry, escape_filter
from operators.ldap.numbers import add_numbered, group_ids
from operators.ldap.operations.add_to_group import add_to_group
from operators.ldap.people import (
    DirectoryGroupName,
    ExistingName,
    IdNumber,
    find_users,
    groups_base,
)
from operators.ldap.settings import words_setting
from resop import ErrorMessage, Outcome, Shell, operation


class NewDirectoryGroup(DirectoryGroup):
    """A group in the directory, and whether it was created."""

    outcome: Outcome


@operation(dry_run=True, examples=[{"name": "project9", "members": ["ada"]}])
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
        list[ExistingName] | None, Field(description="user names of the members")
    ] = None,
    ensure: Annotated[
        bool,
        Field(description="succeed if the group exists with this id and has these members"),
    ] = False,
    update: Annotated[
        bool, Field(description="with `ensure`: add the members that are missing")
    ] = False,
) -> NewDirectoryGroup:
    """Return the new group, which has the object classes of the existing groups."""
    if client.search(shell, groups_base(shell), f"(cn={escape_filter(name)})", "1.1"):
        if ensure:
            return _settle(shell, name, gid_number, members or [], update=update)
        shell.fail(f"the directory already has a group {name}")
    usernames = list(dict.fromkeys(members or []))
    entries = find_users(shell, usernames)
    users = [GroupMember.of(entry, each) for entry, each in zip(entries, usernames, strict=True)]
    ids = group_ids(shell)
    if gid_number and client.search(shell, ids.base, f"(gidNumber={gid_number})", "1.1"):
        shell.fail(f"gid_number {gid_number} belongs to another group")
    dn = f"cn={name},{groups_base(shell)}"
    fixed = _entry(shell, dn, name, description, users)

    def attributes(number: int) -> dict[str, client.AttributeValues]:
        return {**fixed, "gidNumber": [str(number)]}

    number = add_numbered(shell, ids, dn, attributes, gid_number)
    shell.log(f"created the group {name} with gidNumber {number}")
    names = [each.names[0] for each in users]
    return NewDirectoryGroup(dn=dn, name=name, gid_number=number, members=names, outcome="created")


def _settle(
    shell: Shell, name: str, gid_number: int | None, members: list[str], *, update: bool
) -> NewDirectoryGroup:
    group = group_from_entry(shell, get_group(shell, name), name)
    if gid_number not in (None, group["gid_number"]):
        shell.fail(
            f"the directory already has a group {name}, with gidNumber {group['gid_number']}"
        )
    missing = [each for each in members if each not in group["members"]]
    if missing and update:
        changed = add_to_group(shell, group=name, usernames=missing)
        return {**changed, "outcome": "changed"}
    if missing:
        shell.fail(
            f"the group {name} lacks {', '.join(missing)}: add them with add_to_group, or set "
            "update"
        )
    shell.log(f"the group {name} is in the directory already: unchanged")
    return {**group, "outcome": "unchanged"}


def _entry(
    shell: Shell, dn: str, name: str, description: str | None, users: list[GroupMember]
) -> dict[str, list[str]]:
    classes = words_setting(shell, "LDAP_GROUP_CLASSES") or _usual_classes(shell)
    entry = {
        "objectClass": classes,
        "cn": [name],
        "description": [description] if description else [],
    }
    group = LdapEntry(dn, entry)
    for attribute in member_attributes(shell, group):
        values = [each.value(attribute) for each in users]
        is_dn = attribute != NAME_ATTRIBUTE
        entry[attribute] = values or (
            [placeholder_member(shell)] if is_dn and needs_member(group) else []
        )
    return entry


def _usual_classes(shell: Shell) -> list[str]:
    """Return the object classes for a new group, judged by an existing one."""
    query = "(objectClass=posixGroup)"
    found, _ = client.search_limited(shell, groups_base(shell), query, 1, "objectClass")
    classes = [each for group in found for each in group.values("objectClass")]
    usual = [each for each in classes if each.lower() in CLASSES_WITH_DNS]
    return [*usual, "posixGroup"]
