"""Choose ids for users and groups that were never given to anybody before.

What a deleted user leaves behind must not become the next user's. So an entry of the directory
keeps the highest id that was given, below the entry of the users or groups:

    dn: cn=last-uidNumber,ou=People,dc=example
    objectClass: device
    serialNumber: 20107
"""

from __future__ import annotations

from collections.abc import Iterable

from operators.ldap import client
from resop import Shell

MAX_ATTEMPTS = 20
RESERVED_IDS = (65534, 65535, 2**32 - 2, 2**32 - 1)
"""Ids that some programs take as nobody or as an error (nobody(5); -1 in setreuid(2))."""


def reserve_number(
    shell: Shell, base: str, attribute: str, floor: str, others: Iterable[int] = ()
) -> int:
    """Return the id after the highest ever given, in use, or in `others`.

    It is at least the setting `floor`, and stays reserved even if the entry is not created.
    """
    for _ in range(MAX_ATTEMPTS):
        used, last = _numbers(shell, base, attribute)
        number = _above([*used, *others, last or 0], int(shell.setting(floor)))
        if _replace_last(shell, base, attribute, last, number):
            return number
    return shell.fail(f"no free {attribute} was found in {MAX_ATTEMPTS} attempts: try again")


def record_number(shell: Shell, base: str, attribute: str, number: int) -> None:
    """Make sure that an id, which others may have given, is never chosen again."""
    for _ in range(MAX_ATTEMPTS):
        _, last = _numbers(shell, base, attribute, everything=False)
        if number <= (last or 0) or _replace_last(shell, base, attribute, last, number):
            return
    shell.fail(f"{_last_entry(base, attribute)} keeps changing: try again")


def resolve_number_conflict(
    shell: Shell, dn: str, base: str, attribute: str, floor: str, number: int
) -> int:
    """Return a new entry's id, changed if another program gave the same at the same time."""
    for _ in range(MAX_ATTEMPTS):
        if len(client.search(shell, base, f"({attribute}={number})", "1.1")) <= 1:
            return number
        number = reserve_number(shell, base, attribute, floor)
        client.modify(shell, dn, [("replace", attribute, [str(number)])])
    return shell.fail(f"no free {attribute} was found in {MAX_ATTEMPTS} attempts: try again")


def _numbers(
    shell: Shell, base: str, attribute: str, *, everything: bool = True
) -> tuple[list[int], int | None]:
    """Return the ids in use, if `everything` is asked for, and the last one that was given."""
    name = f"last-{attribute}"
    query = f"(&(objectClass=device)(cn={name}))"
    if everything:
        query = f"(|({attribute}=*){query})"
    used: list[int] = []
    last = None
    for entry in client.search(shell, base, query, attribute, "serialNumber"):
        if number := entry.first(attribute):
            used.append(int(number))
        elif number := entry.first("serialNumber"):
            last = int(number)
    return used, last


def _above(numbers: Iterable[int], floor: int) -> int:
    free = max([floor, *(number + 1 for number in numbers if number not in RESERVED_IDS)])
    return free if free not in RESERVED_IDS else RESERVED_IDS[1] + 1


def _replace_last(shell: Shell, base: str, attribute: str, last: int | None, number: int) -> bool:
    """Record the last id; return False if another request has recorded one meanwhile."""
    dn = _last_entry(base, attribute)
    if last is not None:
        return client.replace_value(shell, dn, "serialNumber", str(last), str(number))
    attributes = {
        "objectClass": ["device"],
        "cn": [f"last-{attribute}"],
        "serialNumber": [str(number)],
        "description": [f"The highest {attribute} ever given: the next one is above it"],
    }
    return client.add_if_missing(shell, dn, attributes)


def _last_entry(base: str, attribute: str) -> str:
    return f"cn=last-{attribute},{base}"
