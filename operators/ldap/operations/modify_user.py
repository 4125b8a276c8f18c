"""Change what the directory knows of a user."""

from typing import Annotated, Literal

from pydantic import Field

from operators.ldap import client, schema
from operators.ldap.groups import GroupMember, find_memberships, primary_filter, primary_number
from operators.ldap.ldif import LdapEntry
from operators.ldap.people import (
    AsciiPath,
    DirectoryFullName,
    DirectoryUserDetails,
    ExistingUser,
    ExpiryDate,
    IdNumber,
    MailAddress,
    PublicKey,
    details_from_entry,
    expiry_values,
    get_entry,
    groups_base,
    user_from_entry,
)
from operators.ldap.suspension import SHADOW_CLASS, suspend_attribute
from resop import Shell, operation


@operation(
    dry_run=True, examples=[{"username": "ada", "mail": "ada@new.example", "expires": "2030-01-01"}]
)
def modify_user(
    shell: Shell,
    username: ExistingUser,
    full_name: Annotated[DirectoryFullName | None, Field(description="full name")] = None,
    given_name: Annotated[DirectoryFullName | None, Field(description="given names")] = None,
    surname: Annotated[DirectoryFullName | None, Field(description="surname")] = None,
    mail: Annotated[MailAddress | None, Field(description="mail address")] = None,
    mail_aliases: Annotated[
        list[MailAddress] | None, Field(description="all further mail addresses")
    ] = None,
    gid_number: Annotated[IdNumber | None, Field(description="primary group's id")] = None,
    home: Annotated[AsciiPath | None, Field(description="home folder, which is not moved")] = None,
    login_shell: Annotated[AsciiPath | None, Field(description="login shell")] = None,
    expires: Annotated[
        ExpiryDate | Literal["never"] | None,
        Field(description="date from which the account is expired, or never"),
    ] = None,
    ssh_keys: Annotated[list[PublicKey] | None, Field(description="all public SSH keys")] = None,
) -> DirectoryUserDetails:
    """Return the user after the change. Options that are not given change nothing."""
    entry = get_entry(shell, username)
    before = details_from_entry(shell, entry, username, [])
    is_expiry = suspend_attribute(shell) == "shadowExpire"
    if expires and before["suspended"] and is_expiry:
        shell.fail(f"{username} is suspended: resume the account before you change its expiry")
    if gid_number:
        primary = primary_filter(str(gid_number))
        found = client.search(shell, groups_base(shell), primary, "cn", "gidNumber")
        primary_number(shell, str(gid_number), found, "gid_number")
    wanted: dict[str, list[str] | None] = {
        "cn": [full_name.strip(), *entry.values("cn")[1:]] if full_name else None,
        "givenName": _one(given_name),
        "sn": _one(surname),
        "gidNumber": _one(gid_number),
        "homeDirectory": _one(home),
        "loginShell": _one(login_shell),
    }
    if expires:
        wanted["shadowExpire"] = expiry_values(None if expires == "never" else expires)
    if ssh_keys is not None:
        wanted[schema.key_attribute(shell).name] = list(dict.fromkeys(ssh_keys))
    wanted |= _addresses(shell, before, mail, mail_aliases)
    given = {name: values for name, values in wanted.items() if values is not None}
    _change(shell, entry, given)
    member = GroupMember.of(entry, username)
    groups = sorted(each.first("cn") or each.dn for each in find_memberships(shell, member))
    after = _with_values(entry, given) if shell.dry_run else get_entry(shell, username)
    return details_from_entry(shell, after, username, groups)


def _one(value: str | int | None) -> list[str] | None:
    return None if value is None else [str(value)]


def _addresses(
    shell: Shell, before: DirectoryUserDetails, mail: str | None, aliases: list[str] | None
) -> dict[str, list[str] | None]:
    """Return the values of the attributes with the address and its aliases."""
    name = schema.alias_attribute(shell).name
    if name.lower() != "mail":
        return {"mail": _one(mail), name: aliases}
    if mail is None and aliases is None:
        return {}
    first = [address for address in (mail or before["mail"],) if address]
    further = before["mail_aliases"] if aliases is None else aliases
    return {"mail": list(dict.fromkeys([*first, *further]))}


def _change(shell: Shell, entry: LdapEntry, wanted: dict[str, list[str]]) -> None:
    """Replace the attributes that differ, in one modification; registered to be undone."""
    different = {name: new for name, new in wanted.items() if entry.values(name) != new}
    if not different:
        shell.log("unchanged")
        return
    has = {each.lower() for each in entry.values("objectClass")}
    classes = [each for each in _classes(shell, different) if each.lower() not in has]
    changes: list[client.AttributeChange] = []
    undo: list[client.AttributeChange] = []
    if classes:
        changes.append(("add", "objectClass", classes))
        undo.append(("delete", "objectClass", classes))
    for name, new in different.items():
        changes.append(("replace", name, new))
        undo.append(("replace", name, entry.values(name)))
    client.modify(shell, entry.dn, changes, undo)
    user = user_from_entry(shell, entry)
    shell.log(f"changed {', '.join(different)} of {user['username']}")


def _with_values(entry: LdapEntry, given: dict[str, list[str]]) -> LdapEntry:
    """Return the entry as it will be when its attributes have these values."""
    replaced = {name.lower() for name in given}
    kept = {
        name: values for name, values in entry.attributes.items() if name.lower() not in replaced
    }
    return LdapEntry(entry.dn, kept | given)


def _classes(shell: Shell, different: dict[str, list[str]]) -> list[str]:
    """Return the auxiliary classes that these attributes need."""
    known = [schema.key_attribute(shell), schema.alias_attribute(shell)]
    needed = {each.name: each.object_class for each in known} | {"shadowExpire": SHADOW_CLASS}
    found = [needed.get(name) for name, new in different.items() if new]
    return list(dict.fromkeys(each for each in found if each))
