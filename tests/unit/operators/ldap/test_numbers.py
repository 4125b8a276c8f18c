"""Ids of users and groups: above all in use, and never given before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from operators.ldap import client, numbers
from operators.ldap.ldif import LdapEntry
from resop.errors import OperationFailed
from resop.testing import FakeShell

DN = "uid=ada,dc=x"
LAST = "cn=last-n,dc=x"


class Directory:
    """A directory with these ids, which somebody else adds to before each change."""

    def __init__(self, used: dict[str, int], last: int | None = None, rivals: int = 0) -> None:
        self.used = used
        self.last = last
        self.rivals = rivals
        self.given: list[int] = []
        """The ids that were recorded as the last one."""

    def search(self, shell: FakeShell, base: str, query: str, *names: str) -> list[LdapEntry]:
        entries = []
        if "(n=" in query:
            wanted = query.partition("(n=")[2].partition(")")[0]
            entries = [
                LdapEntry(dn, {"n": [str(number)]})
                for dn, number in self.used.items()
                if wanted in ("*", str(number))
            ]
        if "(cn=last-n)" in query and self.last is not None:
            entries.append(LdapEntry(LAST, {"serialNumber": [str(self.last)]}))
        return entries

    def modify(self, shell: FakeShell, dn: str, changes: list[tuple[Any, str, list[str]]]) -> None:
        [(_, _, [number])] = changes
        self.used[dn] = int(number)
        if self.rivals:
            self.rivals -= 1
            self.used[f"uid=rival{self.rivals},dc=x"] = int(number)

    def add_if_missing(self, shell: FakeShell, dn: str, attributes: dict[str, list[str]]) -> bool:
        assert dn == LAST
        return self._record(None, int(attributes["serialNumber"][0]))

    def replace_value(self, shell: FakeShell, dn: str, name: str, old: str, new: str) -> bool:
        assert (dn, name) == (LAST, "serialNumber")
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
        for name in ("search", "modify", "add_if_missing", "replace_value"):
            monkeypatch.setattr(client, name, getattr(directory, name))
        return directory

    return used


def reserve(others: list[int] | None = None) -> int:
    shell = FakeShell(settings={"FIRST": "20000"})
    return numbers.reserve_number(shell, "dc=x", "n", "FIRST", others or [])


@pytest.mark.parametrize(
    ("used", "others", "last", "number"),
    [
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
    ],
)
def test_id_is_above_all_in_use_and_all_given_before(
    use: Use, used: list[int], others: list[int], last: int | None, number: int
) -> None:
    directory = use(Directory({f"uid={each},dc=x": each for each in used}, last))
    assert reserve(others) == number
    assert directory.given == [number]


def test_concurrent_requests_get_different_ids(use: Use) -> None:
    directory = use(Directory({}, 20000, rivals=3))
    assert reserve() == 20004
    assert directory.given == [20004]


def test_id_of_a_deleted_user_is_recorded(use: Use) -> None:
    directory = use(Directory({DN: 20005}, 20003))
    numbers.record_number(FakeShell(), "dc=x", "n", 20005)
    del directory.used[DN]
    assert reserve() == 20006


def test_lower_id_changes_nothing(use: Use) -> None:
    directory = use(Directory({DN: 20001}, 20003))
    numbers.record_number(FakeShell(), "dc=x", "n", 20001)
    assert directory.given == []


def test_id_that_another_program_gave_meanwhile_is_given_up(use: Use) -> None:
    directory = use(Directory({DN: 20000, "uid=bob,dc=x": 20000}, 20000))
    shell = FakeShell(settings={"FIRST": "20000"})
    number = numbers.resolve_number_conflict(shell, DN, "dc=x", "n", "FIRST", 20000)
    assert directory.used[DN] == number == 20001


def test_request_ends_where_somebody_is_always_quicker(use: Use) -> None:
    use(Directory({DN: 20000, "uid=bob,dc=x": 20000}, rivals=100))
    with pytest.raises(OperationFailed, match="no free n was found in 20 attempts"):
        reserve()
