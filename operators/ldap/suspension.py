"""Suspend users of the directory, and resume them as they were before.

LDAP_SUSPEND_ATTRIBUTE is the attribute that ends logins: shadowExpire, which PAM checks for
passwords and SSH keys alike; pwdAccountLockedTime of OpenLDAP's ppolicy; or nsAccountLock of 389
Directory Server and FreeIPA. Descriptions of the user keep what was before:

    description: suspended, before: shadowExpire 25000
"""

from __future__ import annotations

from collections.abc import Sequence

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


def suspend(shell: Shell, dn: str, notes: Sequence[str] = ()) -> bool:
    """End logins of a user; registered to be undone. Return False if they were ended before.

    `notes` say what else was before the suspension, for `suspension_notes`.
    """
    attribute = suspend_attribute(shell)
    entry = _read(shell, dn, attribute)
    before, marks = entry.values(attribute), _marks(entry)
    is_marked = any(mark.startswith(_mark_of(attribute)) for mark in marks)
    if is_suspended(entry, attribute) and (is_marked or attribute == "shadowExpire"):
        return False
    # A mark of before is one of a suspension that somebody has ended without resop.
    new_marks = [_mark_text(attribute, before), *(MARK + note for note in notes)]
    changes: list[client.AttributeChange] = [
        ("replace", attribute, [LOCKED_VALUES[attribute]]),
        *_exchange(marks, new_marks),
    ]
    undo: list[client.AttributeChange] = [
        ("replace", attribute, before),
        *_exchange(new_marks, marks),
    ]
    change_with_class(shell, entry, changes, undo, SHADOW_CLASS, attribute == "shadowExpire")
    return True


def resume(shell: Shell, dn: str) -> bool:
    """Permit logins again, as before the suspension; registered to be undone.

    What somebody else has set since the suspension stays. Return False if the user is not
    suspended.
    """
    attribute = suspend_attribute(shell)
    entry = _read(shell, dn, attribute)
    marks, locked = _marks(entry), is_suspended(entry, attribute)
    if not marks and not locked:
        return False
    changes: list[client.AttributeChange] = []
    undo: list[client.AttributeChange] = []
    if locked:
        changes.append(("replace", attribute, _former_values(attribute, marks)))
        undo.append(("replace", attribute, entry.values(attribute)))
    client.modify(shell, dn, [*changes, *_exchange(marks, [])], [*undo, *_exchange([], marks)])
    return True


def suspension_notes(shell: Shell, dn: str) -> list[str]:
    """Return the notes of a user's suspension; none if the user is not suspended."""
    entry = client.read(shell, dn, "description")
    marks = _marks(entry) if entry else []
    return [mark.removeprefix(MARK) for mark in marks]


def forget_note(shell: Shell, dn: str, note: str) -> None:
    """Remove a note of a user's suspension, if there is one; registered to be undone."""
    if note in suspension_notes(shell, dn):
        mark = [f"{MARK}{note}"]
        client.modify(shell, dn, _exchange(mark, []), _exchange([], mark))


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


def _mark_of(attribute: str) -> str:
    return f"{MARK}{attribute} "


def _mark_text(attribute: str, before: list[str]) -> str:
    return f"{_mark_of(attribute)}{before[0] if before else NOTHING}"


def _marks(entry: LdapEntry) -> list[str]:
    """Return the descriptions of a suspended user that keep what was before."""
    return [each for each in entry.values("description") if each.startswith(MARK)]


def _former_values(attribute: str, marks: Sequence[str]) -> list[str]:
    """Return the values that the marks of a suspension keep."""
    former = [mark.rpartition(" ")[2] for mark in marks if mark.startswith(_mark_of(attribute))]
    return [value for value in former if value != NOTHING]


def _exchange(old: Sequence[str], new: Sequence[str]) -> list[client.AttributeChange]:
    """Return the changes that put new marks in the place of old ones."""
    added, removed = [m for m in new if m not in old], [m for m in old if m not in new]
    changes: list[client.AttributeChange] = []
    if removed:
        changes.append(("delete", "description", removed))
    if added:
        changes.append(("add", "description", added))
    return changes
