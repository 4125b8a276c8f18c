"""Users of the site's files, each on a cluster."""

from __future__ import annotations

import pytest

from resop.config.name_patterns import NamePatterns, read_identities
from resop.security.identity import Identity


def test_administrators_are_users_of_a_cluster() -> None:
    two = ["main", "devbox"]
    assert read_identities("hpcadmin@main, carol@devbox,", two) == {
        Identity("hpcadmin", "main"),
        Identity("carol", "devbox"),
    }
    assert Identity("hpcadmin", "main") in read_identities("hpcadmin", ["main"])
    assert Identity("hpcadmin", "main") in read_identities("hpcadmin@main", ["main"])
    assert Identity("a@corp.example", "main") in read_identities("a@corp.example", ["main"])
    assert read_identities("", two) == frozenset()


@pytest.mark.parametrize("name", ["hpcadmin", "hpcadmin@mian", "*@", "@main"])
def test_with_several_clusters_an_administrator_without_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"names none of the 2 clusters: write .*@main or .*@b"):
        read_identities(f"ada@main, {name}", ["main", "b"])


def test_no_glob_makes_an_administrator() -> None:
    assert Identity("ada", "main") not in read_identities("*@main", ["main", "b"])
    assert Identity("ada", "main") not in read_identities("*", ["main"])


def test_a_name_of_another_cluster_cannot_imitate_a_pattern() -> None:
    patterns = NamePatterns(["hpcadmin@main"], ["main", "devbox"])
    assert patterns.matches("hpcadmin", "main")
    for name in ("hpcadmin", "hpcadmin@main", "x@hpcadmin@main"):
        assert not patterns.matches(name, "devbox")
