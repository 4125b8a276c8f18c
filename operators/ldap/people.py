"""Find and change users and groups in the directory (RFC 2307)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.ldap import client
from operators.ldap.ldif import LdapEntry, escape_filter
from operators.linux_user.accounts import GroupName
from resop import ErrorMessage, Shell

EPOCH = date(1970, 1, 1)
SUSPENDED_SINCE = date(1970, 1, 2)
"""The expiry date of a suspended account: shadowExpire 1, since some take 0 as "never"."""
NO_EXPIRY = -1
MAX_EXPIRY_DAYS = 2_900_000  # in the year 9909: a date has four-digit years

AsciiPath = Annotated[
    str,
    Field(pattern=r"^/[!-9;-~]*$", max_length=1024),
    ErrorMessage("must be an absolute path in ASCII without spaces and ':' (at most 1024)"),
]
"""A path that a passwd entry can contain."""
DirectoryFullName = Annotated[
    str,
    Field(pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$", max_length=256),
    ErrorMessage("must be a name of 1 to 256 characters, without control characters"),
]
MailAddress = Annotated[
    str,
    Field(pattern=r"^[!-?A-~]+@[!-?A-~]+$", max_length=254),
    ErrorMessage("must be an address such as ada@hpc.example"),
]
DirectoryGroupName = Annotated[GroupName, Field(description="group in the directory")]
IdNumber = Annotated[int, Field(ge=1, le=2**31 - 1)]


class DirectoryUser(TypedDict):
    """A user in the directory."""

    dn: str
    username: str
    uid_number: int
    gid_number: int
    full_name: str
    given_name: str | None
    surname: str | None
    mail: str | None
    home: str
    login_shell: str | None
    expires: date | None
    """The date from which the account is expired (shadowExpire)."""
    suspended: bool


USER_ATTRIBUTES = (
    *("uid", "uidNumber", "gidNumber", "cn", "givenName", "sn", "mail", "homeDirectory"),
    *("loginShell", "shadowExpire"),
)


def people_base(shell: Shell) -> str:
    """Return the entry that contains the users: the setting LDAP_PEOPLE."""
    return shell.setting("LDAP_PEOPLE")


def groups_base(shell: Shell) -> str:
    """Return the entry that contains the groups: the setting LDAP_GROUPS."""
    return shell.setting("LDAP_GROUPS")


def user_from_entry(entry: LdapEntry) -> DirectoryUser:
    """Return the user that an entry describes."""
    first = entry.first
    expires = _day(int(first("shadowExpire") or NO_EXPIRY))
    return DirectoryUser(
        dn=entry.dn,
        username=first("uid") or "",
        uid_number=int(first("uidNumber") or -1),
        gid_number=int(first("gidNumber") or -1),
        full_name=first("cn") or "",
        given_name=first("givenName"),
        surname=first("sn"),
        mail=first("mail"),
        home=first("homeDirectory") or "",
        login_shell=first("loginShell"),
        expires=expires,
        suspended=expires == SUSPENDED_SINCE,
    )


def _day(number: int) -> date | None:
    return EPOCH + timedelta(number) if 0 < number < MAX_EXPIRY_DAYS else None


def find(shell: Shell, username: str) -> DirectoryUser | None:
    """Return the user of that name, or None."""
    query = f"(&(objectClass=posixAccount)(uid={escape_filter(username)}))"
    found = client.search(shell, people_base(shell), query, *USER_ATTRIBUTES)
    if len(found) > 1:
        shell.fail(f"the directory has {len(found)} users {username}")
    return user_from_entry(found[0]) if found else None


def get_user(shell: Shell, username: str) -> DirectoryUser:
    """Return the user of that name; OperationFailed if there is none."""
    user = find(shell, username)
    return user or shell.fail(f"there is no user {username} in the directory")


def set_expiry(shell: Shell, user: DirectoryUser, until: date | None) -> None:
    """Set the date an account expires (None: never); registered to be undone.

    Effective if PAM checks shadowExpire (shadow(5)).
    """
    before, after = _expiry(user["expires"]), _expiry(until)
    client.modify(shell, user["dn"], [after], undo=[before])


def _expiry(day: date | None) -> client.AttributeChange:
    return ("replace", "shadowExpire", [str((day - EPOCH).days)] if day else [])


def check_users_exist(shell: Shell, usernames: Sequence[str]) -> None:
    """Raise OperationFailed unless the directory has all of these users."""
    anybody = "".join(f"(uid={escape_filter(name)})" for name in usernames)
    found = client.search(shell, people_base(shell), f"(|{anybody})", "uid") if usernames else []
    known = {name for entry in found for name in entry.attributes.get("uid", [])}
    if unknown := [name for name in usernames if name not in known]:
        shell.fail(f"the directory has no user {', '.join(unknown)}")


def get_group(shell: Shell, name: str) -> LdapEntry:
    """Return a group with gidNumber and memberUid; OperationFailed if there is none."""
    query = f"(&(objectClass=posixGroup)(cn={escape_filter(name)}))"
    found = client.search(shell, groups_base(shell), query, "gidNumber", "memberUid")
    return found[0] if found else shell.fail(f"there is no group {name} in the directory")


def folder_owners(shell: Shell, folder: str) -> dict[str, int]:
    """Return the UIDs of the owners of a folder's entries, by name."""
    listing = ("find", folder, "-mindepth", 1, "-maxdepth", 1, "-printf", "%U %f\\0")
    found = shell.run(*listing, check=False, max_output=client.MAX_ANSWER_BYTES)
    rows = found.stdout.split("\0")
    return {name: int(number) for number, _, name in (row.partition(" ") for row in rows if row)}
