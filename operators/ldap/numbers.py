"""Choose ids for users and groups that were never given to anybody before.

What a deleted user leaves behind must not become the next user's. So an entry of the directory
keeps the highest id that was given, below the entry of the users or groups:

    dn: cn=last-uidNumber,ou=People,dc=example
    objectClass: device
    serialNumber: 20107
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from operators.ldap import client
from operators.ldap.diagnosis import CONSTRAINT_VIOLATION, SIZE_LIMIT_EXCEEDED, DirectoryRefusal
from operators.ldap.dn import parent
from operators.ldap.settings import number_setting
from resop import Shell

MAX_ATTEMPTS = 100
"""More than the requests that run at once: in each round one of them gets its id."""
MAX_REFUSALS = 20
BLOCK = 32
RESERVED_IDS = (65534, 65535, 2**32 - 2, 2**32 - 1)
"""Ids that some programs take as nobody or as an error (nobody(5); -1 in setreuid(2))."""
MAX_TURN_SECONDS = 60.0
_TURNS: dict[tuple[str, str], threading.Lock] = {}
HIGHEST_ID = 2**32 - 3


@dataclass(frozen=True, slots=True)
class IdRange:
    """The ids of users or of groups."""

    base: str
    """The entry below which all that have such an id are."""
    attribute: str
    first: int
    last: int
    setting: str
    """The setting for `last`."""
    counters: str
    """The entry below which the highest id that was given is recorded."""

    @property
    def counter(self) -> str:
        """The DN of the entry with the highest id that was given."""
        return f"cn={self.counter_name},{self.counters}"

    @property
    def counter_name(self) -> str:
        """The name of that entry."""
        return f"last-{self.attribute}"


def user_ids(shell: Shell) -> IdRange:
    """Return the ids of users: the settings LDAP_FIRST_UID and LDAP_LAST_UID."""
    return _id_range(shell, "LDAP_PEOPLE", "uidNumber", "UID")


def group_ids(shell: Shell) -> IdRange:
    """Return the ids of groups: the settings LDAP_FIRST_GID and LDAP_LAST_GID."""
    return _id_range(shell, "LDAP_GROUPS", "gidNumber", "GID")


def _id_range(shell: Shell, place: str, attribute: str, kind: str) -> IdRange:
    base = shell.setting(place)
    first = number_setting(shell, f"LDAP_FIRST_{kind}")
    last = number_setting(shell, f"LDAP_LAST_{kind}", HIGHEST_ID)
    counters = shell.setting("LDAP_COUNTERS", base)
    return IdRange(base, attribute, first, last, f"LDAP_LAST_{kind}", counters)


def reserve_number(shell: Shell, ids: IdRange, others: Iterable[int] = ()) -> int:
    """Return the id after the highest ever given, in use, or in `others`.

    It stays reserved even if the entry is not created.
    """
    last = _last(shell, ids)
    number = _first_unused(shell, ids, max([ids.first, *_following([*others, last or 0], ids)]))
    with _taking_turns(shell.setting("LDAP_URI"), ids.counter):
        for _ in range(MAX_ATTEMPTS):
            summary = f"reserve {ids.attribute} {number}, which is the next free one now"
            if _replace_last(shell, ids, last, number, summary):
                return number
            last = _last(shell, ids)
            number = _skip_reserved(max(number, (last or 0) + 1), ids, shell)
    return shell.fail(
        f"no free {ids.attribute} was found in {MAX_ATTEMPTS} attempts: {ids.counter} keeps "
        "changing, try again"
    )


@contextlib.contextmanager
def _taking_turns(uri: str, counter: str) -> Iterator[None]:
    """Let the requests of this process change a counter one after the other.

    Those of other processes make a change fail, which is then repeated. Each of many requests at
    once would fail as often as there are others.
    """
    turn = _TURNS.setdefault((uri, counter), threading.Lock())
    has_turn = turn.acquire(timeout=MAX_TURN_SECONDS)
    try:
        yield
    finally:
        if has_turn:
            turn.release()


def record_number(shell: Shell, ids: IdRange, number: int) -> None:
    """Make sure that an id, which others may have given, is never chosen again."""
    for _ in range(MAX_ATTEMPTS):
        last = _last(shell, ids)
        summary = f"record that {ids.attribute} {number} was given"
        if number <= (last or 0) or _replace_last(shell, ids, last, number, summary):
            return
    shell.fail(f"{ids.counter} keeps changing: try again")


def add_numbered(
    shell: Shell,
    ids: IdRange,
    dn: str,
    attributes: Callable[[int], Mapping[str, client.AttributeValues]],
    number: int | None,
    others: Iterable[int] = (),
) -> int:
    """Add an entry with an id and return the id: `number`, or one that is chosen.

    A chosen one that the server refuses, because it has to be unique or within other limits, is
    replaced by a higher one.
    """
    if number is not None:
        client.add(shell, dn, attributes(number))
        return number
    refusals = 0
    while True:
        chosen = reserve_number(shell, ids, others)
        try:
            client.add(shell, dn, attributes(chosen))
        except DirectoryRefusal as refusal:
            refusals += 1
            if refusals == MAX_REFUSALS or not _concerns_number(shell, ids, refusal, chosen):
                raise
        else:
            return _resolve_conflict(shell, ids, dn, chosen)


def _concerns_number(shell: Shell, ids: IdRange, refusal: DirectoryRefusal, number: int) -> bool:
    """Return True if the server refused an entry because of its id."""
    if refusal.code != CONSTRAINT_VIOLATION:
        return False
    if ids.attribute.lower() in refusal.info.lower():
        return True
    # slapo-unique names no attribute, and may look beyond the entries of the users or groups.
    around = parent(ids.base) or ids.base
    found, _ = client.search_within_limits(shell, around, f"({ids.attribute}={number})", "1.1")
    return bool(found)


def _resolve_conflict(shell: Shell, ids: IdRange, dn: str, number: int) -> int:
    """Return a new entry's id, changed if another program gave the same at the same time."""
    for _ in range(MAX_REFUSALS):
        if len(client.search(shell, ids.base, f"({ids.attribute}={number})", "1.1")) <= 1:
            return number
        number = reserve_number(shell, ids)
        client.modify(shell, dn, [("replace", ids.attribute, [str(number)])])
    return shell.fail(f"no free {ids.attribute} was found in {MAX_REFUSALS} attempts: try again")


def _first_unused(shell: Shell, ids: IdRange, number: int) -> int:
    """Return the first id from `number` on that is above all that are in use.

    Only ids from `number` on are asked for, so that the server's limits, which cut a long answer
    short, do not matter. A server that cannot compare ids finds those of the next block only.
    """
    while True:
        number = _skip_reserved(number, ids, shell)
        used, complete = _used_from(shell, ids, number)
        if not used and complete:
            return number
        if not used:
            shell.fail(
                f"the server's limits do not permit the search for a free {ids.attribute} "
                f"({SIZE_LIMIT_EXCEEDED}): raise them for LDAP_BIND_DN, or choose the id"
            )
        number = max(used) + 1


def _used_from(shell: Shell, ids: IdRange, number: int) -> tuple[list[int], bool]:
    name = ids.attribute
    block = "".join(f"({name}={each})" for each in range(number, number + BLOCK))
    within = f"({name}>={number})"
    if ids.last < HIGHEST_ID:
        within = f"(&{within}({name}<={ids.last}))"
    found, complete = client.search_within_limits(shell, ids.base, f"(|{within}{block})", name)
    used = [int(value) for entry in found for value in entry.values(name)]
    return [each for each in used if each not in RESERVED_IDS and each <= ids.last], complete


def _following(numbers: Iterable[int], ids: IdRange) -> list[int]:
    return [number + 1 for number in numbers if number <= ids.last and number not in RESERVED_IDS]


def _skip_reserved(number: int, ids: IdRange, shell: Shell) -> int:
    while number in RESERVED_IDS:
        number += 1
    if number > ids.last:
        shell.fail(f"no {ids.attribute} is left up to {ids.last}: see {ids.setting}")
    return number


def _last(shell: Shell, ids: IdRange) -> int | None:
    """Return the last id that was given, or None if there is no record of it yet."""
    query = f"(&(objectClass=device)(cn={ids.counter_name}))"
    found = client.search(shell, ids.counters, query, "serialNumber")
    return next((int(entry.first("serialNumber") or 0) for entry in found), None)


def _replace_last(shell: Shell, ids: IdRange, last: int | None, number: int, summary: str) -> bool:
    """Record the last id; return False if another request has recorded one meanwhile."""
    if last is not None:
        old, new = str(last), str(number)
        return client.replace_value(shell, ids.counter, "serialNumber", old, new, summary)
    attributes = {
        "objectClass": ["device"],
        "cn": [ids.counter_name],
        "serialNumber": [str(number)],
        "description": [f"The highest {ids.attribute} ever given: the next one is above it"],
    }
    return client.add_if_missing(shell, ids.counter, attributes, summary)
