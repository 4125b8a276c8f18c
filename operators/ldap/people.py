"""Find and change users and groups in the directory (RFC 2307)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Annotated

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from operators.ldap import client, schema
from operators.ldap.ldif import LdapEntry, escape_filter
from operators.ldap.suspension import is_suspended, suspend_attribute
from operators.linux_user.accounts import GroupName
from resop import ErrorMessage, Shell

EPOCH = date(1970, 1, 1)
NO_EXPIRY = -1
NAME_SUFFIX = re.compile(
    r",?\s+(?:Jr|Sr|I{1,3}|IV|Ph\.? ?D|M\.? ?D|M\.? ?Sc|B\.? ?Sc|MBA|Esq)\.?$", re.IGNORECASE
)
"""Titles and generations after a surname, such as ", Ph.D."."""
FIRST_EXPIRY = date(1970, 1, 2)  # earlier ones mean "never" or a suspension in shadowExpire
MAX_EXPIRY_DAYS = 2_900_000  # in the year 9909: a date has four-digit years


def _check_expiry(day: date) -> date:
    if day <= FIRST_EXPIRY:
        raise ValueError(f"must be after {FIRST_EXPIRY}")
    return day


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
ExistingName = Annotated[
    str,
    Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=256),
    ErrorMessage("must be a name of 1 to 256 characters, without control characters"),
]
ExistingUser = Annotated[ExistingName, Field(description="user in the directory")]
"""The name of a user whom the directory has, whatever it permits as a name."""
ClusterUser = Annotated[
    str,
    Field(pattern=r"^\w[\w.@+$'-]*$", max_length=256, description="user name"),
    ErrorMessage("must be a user name, in which letters, digits and . @ + $ ' - may be"),
]
"""The name of an existing user, without what is special to Slurm's programs."""
ExistingGroup = Annotated[ExistingName, Field(description="group in the directory")]
ExpiryDate = Annotated[
    date, AfterValidator(_check_expiry), Field(description="date from which it is expired")
]
PublicKey = Annotated[
    str,
    Field(
        pattern=r"^(?:ssh|ecdsa|sk)-[!-~]+ [A-Za-z0-9+/]+={0,2}(?: [^\x00-\x1f\x7f]*)?$",
        max_length=16_384,
    ),
    ErrorMessage("must be a public key on one line, such as ssh-ed25519 AAAA… ada@laptop"),
]
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


class DirectoryUserDetails(DirectoryUser):
    """A user in the directory with everything that resop can set."""

    mail_aliases: list[str]
    ssh_keys: list[str]
    groups: list[str]
    """The groups that list the user as a member, besides the primary group."""


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


def user_attributes(shell: Shell) -> tuple[str, ...]:
    """Return the attributes that a DirectoryUser is made of."""
    return tuple(dict.fromkeys([*USER_ATTRIBUTES, suspend_attribute(shell)]))


def user_from_entry(shell: Shell, entry: LdapEntry, username: str = "") -> DirectoryUser:
    """Return the user that an entry describes; of several names, the one that was asked for."""
    first = entry.first
    names = entry.values("uid")
    same = [name for name in names if name.lower() == username.lower()]
    return DirectoryUser(
        dn=entry.dn,
        username=next(iter([*same, *names]), ""),
        uid_number=int(first("uidNumber") or -1),
        gid_number=int(first("gidNumber") or -1),
        full_name=first("cn") or "",
        given_name=first("givenName"),
        surname=first("sn"),
        mail=first("mail"),
        home=first("homeDirectory") or "",
        login_shell=first("loginShell"),
        expires=_day(int(first("shadowExpire") or NO_EXPIRY)),
        suspended=is_suspended(entry, suspend_attribute(shell)),
    )


def _day(number: int) -> date | None:
    return EPOCH + timedelta(number) if 0 < number < MAX_EXPIRY_DAYS else None


def find_entry(shell: Shell, username: str, *attributes: str) -> LdapEntry | None:
    """Return the entry of the user of that name, or None."""
    query = f"(&(objectClass=posixAccount)(uid={escape_filter(username)}))"
    found = client.search(shell, people_base(shell), query, *attributes)
    found += [each for each in client.planned_entries(shell) if username in each.values("uid")]
    if len(found) > 1:
        shell.fail(f"the directory has {len(found)} users {username}")
    return next(iter(found), None)


def find(shell: Shell, username: str) -> DirectoryUser | None:
    """Return the user of that name, or None."""
    entry = find_entry(shell, username, *user_attributes(shell))
    return user_from_entry(shell, entry, username) if entry else None


def get_user(shell: Shell, username: str) -> DirectoryUser:
    """Return the user of that name; OperationFailed if there is none."""
    user = find(shell, username)
    return user or shell.fail(f"there is no user {username} in the directory")


def get_entry(shell: Shell, username: str) -> LdapEntry:
    """Return a user's entry with all that resop can set; OperationFailed if there is none."""
    further = (schema.key_attribute(shell).name, schema.alias_attribute(shell).name)
    attributes = ("objectClass", *user_attributes(shell), *further)
    entry = find_entry(shell, username, *dict.fromkeys(attributes))
    return entry or shell.fail(f"there is no user {username} in the directory")


def details_from_entry(
    shell: Shell, entry: LdapEntry, username: str, groups: list[str]
) -> DirectoryUserDetails:
    """Return the user that an entry of `get_entry` describes."""
    user = user_from_entry(shell, entry, username)
    aliases = schema.alias_attribute(shell).name
    skipped = 1 if aliases.lower() == "mail" else 0
    return {
        **user,
        "mail_aliases": entry.values(aliases)[skipped:],
        "ssh_keys": entry.values(schema.key_attribute(shell).name),
        "groups": groups,
    }


def expiry_values(day: date | None) -> list[str]:
    """Return the values of shadowExpire for the date an account expires (None: never)."""
    return [str((day - EPOCH).days)] if day else []


def guess_surname(full_name: str) -> str:
    """Return the last word of a full name, without what follows it, such as "Ph.D."."""
    name = full_name.strip()
    while NAME_SUFFIX.search(name):
        name = NAME_SUFFIX.sub("", name)
    return name.rstrip(",").split()[-1]


def find_users(shell: Shell, usernames: Sequence[str]) -> list[LdapEntry]:
    """Return the entries of users with their uid, in this order.

    Raises OperationFailed unless the directory has all of them.
    """
    anybody = "".join(f"(uid={escape_filter(name)})" for name in usernames)
    found = client.search(shell, people_base(shell), f"(|{anybody})", "uid") if usernames else []
    found += client.planned_entries(shell)
    known = {name.lower(): entry for entry in found for name in entry.values("uid")}
    if unknown := [name for name in usernames if name.lower() not in known]:
        shell.fail(f"the directory has no user {', '.join(unknown)}")
    return [known[name.lower()] for name in usernames]


def folder_owners(shell: Shell, folder: str) -> dict[str, int]:
    """Return the UIDs of the owners of a folder's entries, by name."""
    listing = ("find", folder, "-mindepth", 1, "-maxdepth", 1, "-printf", "%U %f\\0")
    limit = client.MAX_ANSWER_BYTES
    found = shell.run(*listing, check=False, max_output=limit, reads=True)
    rows = found.stdout.split("\0")
    return {name: int(number) for number, _, name in (row.partition(" ") for row in rows if row)}
