"""One account, one name: the simplest spelling that the cluster's sshd accepts."""

from __future__ import annotations

import pytest

from api.state.canonical_names import CanonicalNames


class Directory:
    """The accounts behind an sshd, which accepts the key of one of them."""

    def __init__(self, *accepted: str, ignores_case: bool = False) -> None:
        self._accepted = accepted
        self._ignores_case = ignores_case
        self.asked: list[str] = []

    async def accepts(self, name: str) -> bool:
        self.asked.append(name)
        return (name.lower() if self._ignores_case else name) in self._accepted


@pytest.mark.parametrize("spelling", ["alice", "Alice", "ALICE", "aLiCe"])
async def test_where_case_is_ignored_every_spelling_is_the_lower_case_name(spelling: str) -> None:
    directory = Directory("alice", ignores_case=True)
    assert await CanonicalNames().find("main", spelling, directory.accepts) == "alice"


@pytest.mark.parametrize("spelling", ["alice", "CORP\\alice", "corp\\Alice", "Alice@corp.example"])
async def test_where_a_domain_may_be_left_out_it_is_left_out(spelling: str) -> None:
    directory = Directory("alice", "corp\\alice", "alice@corp.example", ignores_case=True)
    assert await CanonicalNames().find("main", spelling, directory.accepts) == "alice"


async def test_where_case_matters_two_people_stay_two() -> None:
    names = CanonicalNames()
    assert await names.find("main", "sfCase", Directory("sfCase").accepts) == "sfCase"
    assert await names.find("main", "sfcase", Directory("sfcase").accepts) == "sfcase"


@pytest.mark.parametrize("name", ["CORP\\bob", "bob@corp.example", "CORP+bob"])
async def test_where_the_domain_belongs_to_the_name_it_stays(name: str) -> None:
    assert await CanonicalNames().find("main", name, Directory(name).accepts) == name


async def test_a_name_that_sshd_does_not_accept_is_none() -> None:
    for name in ("hpcadmin", "Alice", "CORP\\alice"):
        assert await CanonicalNames().find("main", name, Directory("eve").accepts) is None


async def test_a_refused_spelling_is_not_tried_again() -> None:
    names = CanonicalNames()
    for name in ("CORP\\Bob", "CORP\\Bob"):
        assert await names.find("main", name, Directory(name).accepts) == name
    directory = Directory("CORP\\eve")
    assert await names.find("main", "CORP\\eve", directory.accepts) == "CORP\\eve"
    assert directory.asked == ["corp\\eve", "CORP\\eve"]
    elsewhere = Directory("CORP\\Bob")
    await names.find("other", "CORP\\Bob", elsewhere.accepts)
    assert elsewhere.asked == ["bob", "corp\\bob", "CORP\\Bob"]


async def test_a_failed_login_teaches_nothing() -> None:
    names = CanonicalNames()
    assert await names.find("main", "Alice", Directory().accepts) is None
    directory = Directory("alice", ignores_case=True)
    assert await names.find("main", "Alice", directory.accepts) == "alice"
