"""Suspend users of the directory, and resume them as they were before.

LDAP_SUSPEND_ATTRIBUTE is the attribute that ends logins: shadowExpire, which PAM checks for
passwords and SSH keys alike; pwdAccountLockedTime of OpenLDAP's ppolicy; or nsAccountLock of 389
Directory Server and FreeIPA. A description of the user keeps its former value:

    description: suspended, before: shadowExpire 25000
"""

from __future__ import annotations

from operators.ldap import client
from operators.ldap.ldif import LdapEntry
from operators.ldap.settings import choice_setting
from resop import Shell

LOCKED_VALUES = {
    "shadowExpire": "1",  # 1970-01-02: some programs take 0 as "never"
    "pwdAccountLockedTime": "000001010000Z",
    "nsAccountLock": "TRUE",
}
"""The value of each attribute that ends all logins."""
SHADOW_CLASS = "shadowAccount"
MARK = "suspended, before: "
NOTHING = "none"


def suspend_attribute(shell: Shell) -> str:
    """Return the attribute by which users are suspended: LDAP_SUSPEND_ATTRIBUTE."""
    return choice_setting(shell, "LDAP_SUSPEND_ATTRIBUTE", tuple(LOCKED_VALUES))


def is_suspended(entry: LdapEntry, attribute: str) -> bool:
    """Return True if the entry has the value that ends all logins."""
    return (entry.first(attribute) or "").lower() == LOCKED_VALUES[attribute].lower()


def suspend(shell: Shell, dn: str) -> bool:
    """End logins of a user; registered to be undone. Return False if they were ended before."""
    attribute = suspend_attribute(shell)
    entry = _read(shell, dn, attribute)
    before = entry.values(attribute)
    if _mark(entry, attribute) or (attribute == "shadowExpire" and is_suspended(entry, attribute)):
        return False
    changes: list[client.AttributeChange] = [
        ("replace", attribute, [LOCKED_VALUES[attribute]]),
        ("add", "description", [_mark_text(attribute, before)]),
    ]
    undo: list[client.AttributeChange] = [
        ("replace", attribute, before),
        ("delete", "description", [_mark_text(attribute, before)]),
    ]
    change_with_class(shell, entry, changes, undo, SHADOW_CLASS, attribute == "shadowExpire")
    return True


def resume(shell: Shell, dn: str) -> bool:
    """Permit logins again, as before the suspension; registered to be undone.

    Return False if the user is not suspended.
    """
    attribute = suspend_attribute(shell)
    entry = _read(shell, dn, attribute)
    mark = _mark(entry, attribute)
    if not mark and not is_suspended(entry, attribute):
        return False
    former = (mark or "").rpartition(" ")[2]
    before = [former] if former and former != NOTHING else []
    changes: list[client.AttributeChange] = [("replace", attribute, before)]
    undo: list[client.AttributeChange] = [("replace", attribute, entry.values(attribute))]
    if mark:
        changes.append(("delete", "description", [mark]))
        undo.append(("add", "description", [mark]))
    client.modify(shell, dn, changes, undo)
    return True


def change_with_class(
    shell: Shell,
    entry: LdapEntry,
    changes: list[client.AttributeChange],
    undo: list[client.AttributeChange],
    object_class: str | None,
    needed: bool,
) -> None:
    """Change an entry, with a further object class if it is `needed` and the entry lacks it.

    `entry` has its objectClass.
    """
    has = {each.lower() for each in entry.values("objectClass")}
    if needed and object_class and object_class.lower() not in has:
        changes = [("add", "objectClass", [object_class]), *changes]
        undo = [*undo, ("delete", "objectClass", [object_class])]
    client.modify(shell, entry.dn, changes, undo)


def _read(shell: Shell, dn: str, attribute: str) -> LdapEntry:
    entry = client.read(shell, dn, "objectClass", "description", attribute)
    return entry or shell.fail(f"the directory no longer has {dn}")


def _mark_text(attribute: str, before: list[str]) -> str:
    return f"{MARK}{attribute} {before[0] if before else NOTHING}"


def _mark(entry: LdapEntry, attribute: str) -> str | None:
    """Return the description of a suspended user that keeps the former value, or None."""
    beginning = f"{MARK}{attribute} "
    return next((each for each in entry.values("description") if each.startswith(beginning)), None)
