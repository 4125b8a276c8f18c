"""People and groups as the directory keeps them (RFC 2307), and the numbers they get."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Annotated

from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from operators.ldap import client
from operators.ldap.ldif import Entry, escaped
from resop import Shell

EPOCH = date(1970, 1, 1)
SUSPENDED = date(1970, 1, 2)
"""When an account that is suspended expired (shadowExpire 1; 0 would mean never to some)."""
NEVER = -1
LAST_DAY = 2_900_000  # in the year 9909; a date has four digits
ATTEMPTS = 5
GAP = 50
"""How far those who took the same number at the same time spread for their next attempt."""
NOBODY = (65534, 65535, 2**32 - 2, 2**32 - 1)
"""Numbers that mean nobody, or an error, to some (nobody(5); setreuid(2) has -1)."""

AsciiPath = Annotated[str, Field(pattern=r"^/[!-9;-~]*$", max_length=1024)]
"""A path that can stand in a passwd entry: no blank, no ':', ASCII."""
FullName = Annotated[
    str, Field(pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$", max_length=256)
]
GroupName = Annotated[
    str, StringConstraints(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$"), Field(description="POSIX group")
]
Mail = Annotated[str, Field(pattern=r"^[!-?A-~]+@[!-?A-~]+$", max_length=254)]
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]


class User(TypedDict):
    """A person of the directory."""

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
    """Day from which on no login is let in (shadowExpire)."""
    suspended: bool


USER_ATTRIBUTES = (
    *("uid", "uidNumber", "gidNumber", "cn", "givenName", "sn", "mail", "homeDirectory"),
    *("loginShell", "shadowExpire"),
)


def people(shell: Shell) -> str:
    """Where the people are: the setting LDAP_PEOPLE."""
    return shell.setting("LDAP_PEOPLE")


def groups(shell: Shell) -> str:
    """Where the groups are: the setting LDAP_GROUPS."""
    return shell.setting("LDAP_GROUPS")


def user_of(entry: Entry) -> User:
    """A person as answers show it."""
    first = entry.first
    expires = _day(int(first("shadowExpire") or NEVER))
    return User(
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
        suspended=expires == SUSPENDED,
    )


def _day(number: int) -> date | None:
    return EPOCH + timedelta(number) if 0 < number < LAST_DAY else None


def find(shell: Shell, username: str) -> User | None:
    """The person of that user name, or None."""
    query = f"(&(objectClass=posixAccount)(uid={escaped(username)}))"
    found = client.search(shell, people(shell), query, *USER_ATTRIBUTES)
    if len(found) > 1:
        shell.fail(f"{username} stands in the directory {len(found)} times")
    return user_of(found[0]) if found else None


def existing(shell: Shell, username: str) -> User:
    """The person of that user name; OperationFailed when there is none."""
    user = find(shell, username)
    return user or shell.fail(f"there is no user {username} in the directory")


def let_in(shell: Shell, user: User, until: date | None) -> None:
    """Let a person log in until a day, or for ever, where PAM heeds shadowExpire (shadow(5)).

    Registered to be undone.
    """
    before, after = _expiry(user["expires"]), _expiry(until)
    client.modify(shell, user["dn"], [after], undo=[before])


def _expiry(day: date | None) -> client.Change:
    return ("replace", "shadowExpire", [str((day - EPOCH).days)] if day else [])


def refuse_unknown(shell: Shell, usernames: Sequence[str]) -> None:
    """OperationFailed when one of them is nobody of the directory."""
    anybody = "".join(f"(uid={escaped(name)})" for name in usernames)
    found = client.search(shell, people(shell), f"(|{anybody})", "uid") if usernames else []
    known = {name for entry in found for name in entry.attributes.get("uid", [])}
    if unknown := [name for name in usernames if name not in known]:
        shell.fail(f"the directory does not know {', '.join(unknown)}")


def existing_group(shell: Shell, name: str) -> Entry:
    """The group of that name, with gidNumber and memberUid; OperationFailed when there is none."""
    query = f"(&(objectClass=posixGroup)(cn={escaped(name)}))"
    found = client.search(shell, groups(shell), query, "gidNumber", "memberUid")
    return found[0] if found else shell.fail(f"there is no group {name} in the directory")


def owners(shell: Shell, folder: str) -> dict[str, int]:
    """The numbers of those who own what is in a folder, by its name there."""
    listing = ("find", folder, "-mindepth", 1, "-maxdepth", 1, "-printf", "%U %f\\0")
    found = shell.run(*listing, check=False, max_output=client.LONGEST_ANSWER)
    rows = found.stdout.split("\0")
    return {name: int(number) for number, _, name in (row.partition(" ") for row in rows if row)}


def free_number(
    shell: Shell, base: str, attribute: str, floor: str, others: Iterable[int] = ()
) -> int:
    """A number above all in use, those of `others` too; at least that of the setting `floor`."""
    entries = client.search(shell, base, f"({attribute}=*)", attribute)
    used = [*others, *(int(entry.first(attribute) or 0) for entry in entries)]
    above = (number + 1 for number in used if number not in NOBODY)
    free = max([int(shell.setting(floor)), *above])
    return free if free not in NOBODY else NOBODY[1] + 1


def settled_number(
    shell: Shell, dn: str, base: str, attribute: str, floor: str, number: int
) -> int:
    """The number of a new entry: another one where somebody else took the same at the same time."""
    for attempt in range(1, ATTEMPTS + 1):
        if len(client.search(shell, base, f"({attribute}={number})", "1.1")) <= 1:
            break
        number = free_number(shell, base, attribute, floor) + random.randrange(GAP * attempt)
        client.modify(shell, dn, [("replace", attribute, [str(number)])])
    else:
        shell.fail(f"no free {attribute} was found in {ATTEMPTS} attempts")
    return number
