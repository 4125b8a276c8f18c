"""Groups of the directory, whose members are user names or DNs.

RFC 2307 lists user names (memberUid of posixGroup). In rfc2307bis, 389 Directory Server and
FreeIPA, posixGroup is auxiliary, and the members are the DNs of a groupOfNames or another class.
Some sites keep both. A group is changed in the way that it is kept, unless LDAP_GROUP_MEMBERS names
the attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from typing_extensions import TypedDict

from operators.ldap import client, dn
from operators.ldap.ldif import LdapEntry, escape_filter
from operators.ldap.people import groups_base, people_base
from operators.ldap.settings import words_setting
from resop import Shell

NAME_ATTRIBUTE = "memberUid"
DN_ATTRIBUTES = ("member", "uniqueMember")
CLASSES_WITH_DNS = {
    "groupofnames": "member",
    "groupofmembers": "member",
    "groupofentries": "member",
    "nestedgroup": "member",
    "ipausergroup": "member",
    "groupofuniquenames": "uniqueMember",
}
"""Object classes whose members are DNs, each with its attribute; names are in lower case."""
GROUP_ATTRIBUTES = ("objectClass", "cn", "gidNumber", NAME_ATTRIBUTE, *DN_ATTRIBUTES)


class DirectoryGroup(TypedDict):
    """A group in the directory, and the user names of its members."""

    dn: str
    name: str
    gid_number: int
    members: list[str]


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A user as groups list one."""

    dn: str
    names: list[str]
    """The user's names; the first one is listed in memberUid."""

    @classmethod
    def of(cls, entry: LdapEntry, username: str = "") -> GroupMember:
        """Return the member that a user's entry describes, with the name that was asked for."""
        names = entry.values("uid")
        return cls(entry.dn, sorted(names, key=lambda name: name.lower() != username.lower()))

    def matches(self, attribute: str, value: str) -> bool:
        """Return True if the value of a group's attribute means this user."""
        if attribute == NAME_ATTRIBUTE:
            return value in self.names
        return dn.normalize(value) == dn.normalize(self.dn)

    def value(self, attribute: str) -> str:
        """Return the value by which a group's attribute lists this user."""
        return self.names[0] if attribute == NAME_ATTRIBUTE else self.dn


def member_attributes(shell: Shell, group: LdapEntry) -> list[str]:
    """Return the attributes in which a group lists its members."""
    if chosen := words_setting(shell, "LDAP_GROUP_MEMBERS"):
        return chosen
    classes = {each.lower() for each in group.values("objectClass")}
    by_dn = [name for kind, name in CLASSES_WITH_DNS.items() if kind in classes]
    if not by_dn:
        return [NAME_ATTRIBUTE]
    by_name = [NAME_ATTRIBUTE] if group.values(NAME_ATTRIBUTE) else []
    return [*dict.fromkeys(by_dn), *by_name]


def get_group(shell: Shell, name: str) -> LdapEntry:
    """Return a group with GROUP_ATTRIBUTES; OperationFailed if there is none."""
    query = f"(&(objectClass=posixGroup)(cn={escape_filter(name)}))"
    found = client.search(shell, groups_base(shell), query, *GROUP_ATTRIBUTES)
    for entry in client.planned_entries(shell):
        if name in entry.values("cn") and "posixGroup" in entry.values("objectClass"):
            found.append(entry)
    if len(found) > 1:
        shell.fail(f"the directory has {len(found)} groups {name}")
    return found[0] if found else shell.fail(f"there is no group {name} in the directory")


def group_from_entry(shell: Shell, entry: LdapEntry, name: str = "") -> DirectoryGroup:
    """Return the group that an entry describes; of several names, the one that was asked for."""
    names = entry.values("cn")
    same = [each for each in names if each.lower() == name.lower()]
    return DirectoryGroup(
        dn=entry.dn,
        name=next(iter([*same, *names]), name),
        gid_number=int(entry.first("gidNumber") or -1),
        members=member_names(shell, entry),
    )


def member_names(shell: Shell, group: LdapEntry) -> list[str]:
    """Return the user names of a group's members, without the placeholder of an empty group."""
    empty = dn.normalize(placeholder_member(shell))
    dns = [value for name in DN_ATTRIBUTES for value in group.values(name)]
    members = [value for value in dns if value and dn.normalize(value) != empty]
    names = [*group.values(NAME_ATTRIBUTE), *(_name_of(shell, value) for value in members)]
    return list(dict.fromkeys(names))


def membership_filter(member: GroupMember, *others: str) -> str:
    """Return the filter for groups that list a user, or match one of the `others`."""
    names = [f"({NAME_ATTRIBUTE}={escape_filter(name)})" for name in member.names]
    dns = [f"({name}={escape_filter(member.dn)})" for name in DN_ATTRIBUTES]
    return f"(|{''.join([*names, *dns, *others])})"


def find_memberships(shell: Shell, member: GroupMember, *others: str) -> list[LdapEntry]:
    """Return the groups that list a user, and groups that match one of the filters `others`."""
    query = membership_filter(member, *others)
    return client.search(shell, groups_base(shell), query, *GROUP_ATTRIBUTES)


def primary_filter(group: str) -> str:
    """Return the filter for a primary group, given by its id or its name."""
    attribute = "gidNumber" if group.isdecimal() else "cn"
    return f"(&(objectClass=posixGroup)({attribute}={escape_filter(group)}))"


def primary_number(shell: Shell, group: str, found: Iterable[LdapEntry], option: str) -> int:
    """Return the id of a primary group, one of the found groups or a local one.

    Raises OperationFailed, with the name of the `option`, if there is no such group.
    """
    for entry in found:
        number = entry.first("gidNumber")
        if number and group in (number, *entry.values("cn")):
            return int(number)
    fields = shell.run("getent", "group", group, check=False, reads=True).stdout.strip().split(":")
    if len(fields) > 2 and fields[2].isdecimal():  # name:password:id:members (getent(1))
        return int(fields[2])
    return shell.fail(f"{option} is {group}, but neither the directory nor the login node has it")


def add_members(shell: Shell, group: LdapEntry, members: Sequence[GroupMember]) -> list[str]:
    """Add users to a group, registered to be undone; return the names of the new ones."""
    changes: list[client.AttributeChange] = []
    undo: list[client.AttributeChange] = []
    new: list[str] = []
    for attribute in member_attributes(shell, group):
        there = group.values(attribute)
        added = [each for each in members if not any(each.matches(attribute, v) for v in there)]
        values = list(dict.fromkeys(each.value(attribute) for each in added))
        empty = [value for value in there if _is_placeholder(shell, attribute, value)]
        if values:
            changes += _exchange(attribute, values, empty)
            undo[:0] = _exchange(attribute, empty, values)
            new += [each.names[0] for each in added]
    if changes:
        client.modify(shell, group.dn, changes, undo)
    return list(dict.fromkeys(new))


def remove_members(
    shell: Shell, group: LdapEntry, members: Sequence[GroupMember], *, undone: bool = True
) -> bool:
    """Remove users from a group; return False if it lists none of them.

    The change is registered to be undone, if `undone`. A group that must have a member gets a
    placeholder when the last one is removed.
    """
    changes: list[client.AttributeChange] = []
    undo: list[client.AttributeChange] = []
    for attribute in (NAME_ATTRIBUTE, *DN_ATTRIBUTES):
        there = group.values(attribute)
        gone = [v for v in there if any(each.matches(attribute, v) for each in members)]
        if gone:
            emptied = attribute in DN_ATTRIBUTES and len(gone) == len(there)
            filler = [placeholder_member(shell)] if emptied and needs_member(group) else []
            changes += _exchange(attribute, filler, gone)
            undo[:0] = _exchange(attribute, gone, filler)
    if changes:
        client.modify(shell, group.dn, changes, undo if undone else None)
    return bool(changes)


def needs_member(group: LdapEntry) -> bool:
    """Return True if the group must not be without a member (RFC 4519)."""
    classes = {each.lower() for each in group.values("objectClass")}
    return bool(classes & {"groupofnames", "groupofuniquenames"})


def placeholder_member(shell: Shell) -> str:
    """Return the DN in a group without members: LDAP_EMPTY_MEMBER, or the account that binds."""
    return shell.setting("LDAP_EMPTY_MEMBER", "") or shell.setting("LDAP_BIND_DN", "")


def _is_placeholder(shell: Shell, attribute: str, value: str) -> bool:
    return attribute != NAME_ATTRIBUTE and dn.normalize(value) == dn.normalize(
        placeholder_member(shell)
    )


def _exchange(
    attribute: str, new: Iterable[str], old: Iterable[str]
) -> list[client.AttributeChange]:
    changes: list[client.AttributeChange] = []
    if added := list(new):
        changes.append(("add", attribute, added))
    if removed := list(old):
        changes.append(("delete", attribute, removed))
    return changes


def _name_of(shell: Shell, member: str) -> str:
    """Return the user name of a member: in the DN, or in the entry; else the DN."""
    name = dn.rdn_value(member, "uid")
    if name is None and dn.normalize(member).endswith(dn.normalize(people_base(shell))):
        entry = client.read(shell, member, "uid")
        name = entry.first("uid") if entry else None
    return member if name is None else name
