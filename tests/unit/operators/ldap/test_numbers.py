"""Ids of users and groups: above all in use, and never given before."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from operators.ldap import client, numbers
from operators.ldap.diagnosis import DirectoryRefusal
from operators.ldap.ldif import LdapEntry
from resop.errors import OperationFailed
from resop.testing import FakeShell

DN = "uid=ada,dc=x"
LAST = "cn=last-n,dc=x"
LIMIT = 500


class Directory:
    """A directory with these ids, which somebody else adds to before each change."""

    def __init__(self, used: dict[str, int], last: int | None = None, rivals: int = 0) -> None:
        self.used = used
        self.last = last
        self.rivals = rivals
        self.given: list[int] = []
        """The ids that were recorded as the last one."""
        self.compares = True
        """False for a server that does not compare ids, so that `>=` matches none."""
        self.refused: set[int] = set()
        """Ids that a constraint refuses."""

    def search(self, shell: FakeShell, base: str, query: str, *names: str) -> list[LdapEntry]:
        if "(cn=last-n)" in query:
            values = [] if self.last is None else [str(self.last)]
            return [LdapEntry(LAST, {"serialNumber": [value]}) for value in values]
        return self.search_within_limits(shell, base, query, *names)[0]

    def search_within_limits(
        self, shell: FakeShell, base: str, query: str, *names: str
    ) -> tuple[list[LdapEntry], bool]:
        lowest = re.search(r"n>=(\d+)", query)
        equal = set(map(int, re.findall(r"\(n=(\d+)\)", query)))
        entries = [
            LdapEntry(dn, {"n": [str(number)]})
            for dn, number in self.used.items()
            if number in equal or (lowest and self.compares and number >= int(lowest[1]))
        ]
        return entries[:LIMIT], len(entries) <= LIMIT

    def modify(self, shell: FakeShell, dn: str, changes: list[tuple[Any, str, list[str]]]) -> None:
        [(_, _, [number])] = changes
        self.used[dn] = int(number)
        if self.rivals:
            self.rivals -= 1
            self.used[f"uid=rival{self.rivals},dc=x"] = int(number)

    def add(self, shell: FakeShell, dn: str, attributes: dict[str, list[str]]) -> None:
        number = int(attributes["n"][0])
        if number in self.refused:
            raise DirectoryRefusal("refused", 19, "add breaks constraint on N")
        self.used[dn] = number

    def add_if_missing(
        self, shell: FakeShell, dn: str, attributes: dict[str, list[str]], summary: str
    ) -> bool:
        assert dn == LAST and summary
        return self._record(None, int(attributes["serialNumber"][0]))

    def replace_value(
        self, shell: FakeShell, dn: str, name: str, old: str, new: str, summary: str
    ) -> bool:
        assert (dn, name) == (LAST, "serialNumber") and summary
        return self._record(int(old), int(new))

    def _record(self, old: int | None, new: int) -> bool:
        if self.rivals:  # another request of this service is quicker
            self.rivals -= 1
            self.last = new
        if self.last != old:
            return False
        self.last = new
        self.given.append(new)
        return True


Use = Callable[[Directory], Directory]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    def used(directory: Directory) -> Directory:
        for name in (
            *("search", "search_within_limits", "modify", "add"),
            *("add_if_missing", "replace_value"),
        ):
            monkeypatch.setattr(client, name, getattr(directory, name))
        return directory

    return used


def shell() -> FakeShell:
    return FakeShell(settings={"LDAP_URI": "ldap://x"})


def ids(last: int = numbers.HIGHEST_ID) -> numbers.IdRange:
    return numbers.IdRange("dc=x", "n", 20000, last, "LAST", "dc=x")


def reserve(others: list[int] | None = None) -> int:
    return numbers.reserve_number(shell(), ids(), others or [])


def add(number: int | None = None) -> int:
    return numbers.add_numbered(shell(), ids(), DN, lambda n: {"n": [str(n)]}, number)


def test_id_is_above_all_in_use_and_all_given_before(use: Use) -> None:
    cases: list[tuple[list[int], list[int], int | None, int]] = [
        ([], [], None, 20000),
        ([5, 1000], [], None, 20000),
        ([20000, 20007], [], None, 20008),
        ([20000], [20300], None, 20301),
        ([20000, 65534], [65534, 2**32 - 2], None, 20001),
        ([65533], [], None, 65536),
        ([20000], [], 20007, 20008),
        ([], [], 20000, 20001),
        ([20010], [], 20007, 20011),
        ([], [], 65533, 65536),
        (list(range(20000, 21700)), [], None, 21700),
    ]
    for used, others, last, number in cases:
        directory = use(Directory({f"uid={each},dc=x": each for each in used}, last))
        assert reserve(others) == number
        assert directory.given == [number]


def test_server_that_compares_no_ids_is_asked_for_each(use: Use) -> None:
    directory = use(Directory({f"uid={each},dc=x": each for each in range(20000, 20100)}))
    directory.compares = False
    assert reserve() == 20100


def test_range_ends_where_the_site_says(use: Use) -> None:
    use(Directory({DN: 20001}))
    with pytest.raises(OperationFailed, match="no n is left up to 20001: see LAST"):
        numbers.reserve_number(shell(), ids(20001))
    use(Directory({DN: 30000}, 20004))  # beyond the range: another program's
    assert numbers.reserve_number(shell(), ids(20005), [30001]) == 20005


def test_concurrent_requests_get_different_ids(use: Use) -> None:
    directory = use(Directory({}, 20000, rivals=32))
    assert reserve() == 20033
    assert directory.given == [20033]


def test_id_of_a_deleted_user_is_recorded(use: Use) -> None:
    directory = use(Directory({DN: 20005}, 20003))
    numbers.record_number(shell(), ids(), 20005)
    del directory.used[DN]
    assert reserve() == 20006


def test_lower_id_changes_nothing(use: Use) -> None:
    directory = use(Directory({DN: 20001}, 20003))
    numbers.record_number(shell(), ids(), 20001)
    assert directory.given == []


def test_id_that_another_program_gave_meanwhile_is_given_up(use: Use) -> None:
    directory = use(Directory({"uid=bob,dc=x": 20001}, 20000))
    directory.compares = False
    directory.search_within_limits = lambda *_: ([], True)  # type: ignore[method-assign]
    use(directory)
    found = [2, 1]  # users with the same id: bob is seen after the entry is made
    directory.search = lambda *a: (  # type: ignore[method-assign]
        [LdapEntry(LAST, {"serialNumber": [str(directory.last)]})]
        if "last-n" in a[2]
        else [LdapEntry(DN)] * found.pop(0)
    )
    use(directory)
    assert add() == directory.used[DN] == 20002


def test_id_that_a_constraint_refuses_is_followed_by_the_next(use: Use) -> None:
    directory = use(Directory({}))
    directory.refused = {20000, 20001}
    assert add() == directory.used[DN] == 20002
    with pytest.raises(DirectoryRefusal):
        add(20001)  # that the caller wants


def test_request_ends_where_somebody_is_always_quicker(use: Use) -> None:
    use(Directory({DN: 20000, "uid=bob,dc=x": 20000}, rivals=1000))
    with pytest.raises(OperationFailed, match="no free n was found in 100 attempts"):
        reserve()
