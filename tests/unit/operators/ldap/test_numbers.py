"""Numbers of people and groups: above all in use, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from operators.ldap import client, people
from operators.ldap.ldif import LdapEntry
from resop.errors import OperationFailed
from resop.testing import FakeShell

DN = "uid=ada,dc=x"


class Directory:
    """A directory with these numbers, which somebody else adds to before each change."""

    def __init__(self, numbers: dict[str, int], rivals: int = 0) -> None:
        self.numbers = numbers
        self.rivals = rivals

    def search(self, shell: FakeShell, base: str, query: str, *names: str) -> list[LdapEntry]:
        wanted = query.strip("()").partition("=")[2]
        found = [(dn, str(number)) for dn, number in self.numbers.items()]
        return [LdapEntry(dn, {"n": [each]}) for dn, each in found if wanted in ("*", each)]

    def modify(self, shell: FakeShell, dn: str, changes: list[tuple[Any, str, list[str]]]) -> None:
        [(_, _, [number])] = changes
        self.numbers[dn] = int(number)
        if self.rivals:
            self.rivals -= 1
            self.numbers[f"uid=rival{self.rivals},dc=x"] = int(number)


Use = Callable[[Directory], Directory]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    def used(directory: Directory) -> Directory:
        monkeypatch.setattr(client, "search", directory.search)
        monkeypatch.setattr(client, "modify", directory.modify)
        return directory

    return used


@pytest.mark.parametrize(
    ("used", "others", "number"),
    [
        ([], [], 20000),
        ([5, 1000], [], 20000),
        ([20000, 20007], [], 20008),
        ([20000], [20300], 20301),
        ([20000, 65534], [65534, 2**32 - 2], 20001),
        ([65533], [], 65536),
    ],
)
def test_number_is_above_all_in_use(
    use: Use, used: list[int], others: list[int], number: int
) -> None:
    use(Directory({f"uid={each},dc=x": each for each in used}))
    shell = FakeShell(settings={"FIRST": "20000"})
    assert people.next_free_number(shell, "dc=x", "n", "FIRST", others) == number


def test_number_that_somebody_else_took_meanwhile_is_given_up(use: Use) -> None:
    directory = use(Directory({DN: 20000, "uid=bob,dc=x": 20000}, rivals=2))
    shell = FakeShell(settings={"FIRST": "20000"})
    number = people.resolve_number_conflict(shell, DN, "dc=x", "n", "FIRST", 20000)
    assert directory.numbers[DN] == number
    assert list(directory.numbers.values()).count(number) == 1


def test_somebody_who_is_always_quicker_is_told_of(use: Use) -> None:
    use(Directory({DN: 20000, "uid=bob,dc=x": 20000}, rivals=100))
    shell = FakeShell(settings={"FIRST": "20000"})
    with pytest.raises(OperationFailed, match="no free n was found in 5 attempts"):
        people.resolve_number_conflict(shell, DN, "dc=x", "n", "FIRST", 20000)
