"""Operators' settings: a secret goes to the clusters that it is bound to, and to no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from resop.actions.catalog import Catalog
from resop.actions.context import ServiceContext
from resop.actions.shell import Shell
from resop.config.settings import Settings, load_settings
from resop.errors import Forbidden, InvalidSettings, NotPermitted
from resop.security.identity import Identity
from resop.testing import FakeExecutor

TWO = """\
- {name: main, address: a, secrets: [BIND_PASSWORD]}
- {name: devbox, address: b, settings: {LDAP_BASE: "dc=dev", PORT: 389, OWN_PASSWORD: of-devbox}}
"""


def read(folder: Path, clusters: str, *lines: str) -> Settings:
    (folder / "clusters.yml").write_text(clusters)
    file = folder / "config.env"
    own = ["BIND_PASSWORD=marker", "OWN_PASSWORD=of-all", "LDAP_BASE=dc=main", *lines]
    file.write_text("\n".join([f"CLUSTERS_FILE={folder / 'clusters.yml'}", *own]))
    return load_settings(file, {})


def shell(settings: Settings, user: str) -> Shell:
    identity = Identity.parse(user)
    assert identity is not None
    context = ServiceContext(Catalog([]), settings)
    return Shell(*identity, FakeExecutor(), context, "ldap")


def test_a_secret_is_for_the_administrators_of_its_cluster(tmp_path: Path) -> None:
    settings = read(tmp_path, TWO, "ADMINISTRATORS=hpcadmin@main")
    assert shell(settings, "hpcadmin@main").secret("BIND_PASSWORD").get_secret_value() == "marker"
    for user in ("hpcadmin@devbox", "hpcadmin@main@devbox", "alice@main"):
        with pytest.raises(NotPermitted):
            shell(settings, user).secret("BIND_PASSWORD")


def test_a_secret_is_not_sent_to_another_cluster_even_for_an_administrator(tmp_path: Path) -> None:
    settings = read(tmp_path, TWO, "ADMINISTRATORS=hpcadmin@main, hpcadmin@devbox")
    for read_it in (Shell.secret, Shell.setting):
        with pytest.raises(Forbidden, match=r"may not be sent to devbox: .* 'secrets' of main$"):
            read_it(shell(settings, "hpcadmin@devbox"), "BIND_PASSWORD")
    with pytest.raises(Forbidden, match=r"may not be sent to main: .* 'secrets' of no cluster$"):
        shell(settings, "hpcadmin@main").secret("OWN_PASSWORD")


def test_a_cluster_can_have_settings_of_its_own(tmp_path: Path) -> None:
    settings = read(tmp_path, TWO, "ADMINISTRATORS=hpcadmin@devbox")
    there = shell(settings, "hpcadmin@devbox")
    assert there.secret("OWN_PASSWORD").get_secret_value() == "of-devbox"
    assert (there.setting("LDAP_BASE"), there.setting("PORT")) == ("dc=dev", "389")
    assert shell(settings, "alice@main").setting("LDAP_BASE") == "dc=main"


def test_with_one_cluster_nothing_needs_to_be_bound(tmp_path: Path) -> None:
    settings = read(tmp_path, "- {name: main, address: a}", "ADMINISTRATORS=hpcadmin")
    assert shell(settings, "hpcadmin@main").secret("OWN_PASSWORD").get_secret_value() == "of-all"


def test_with_several_clusters_a_plain_administrator_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as refused:
        read(tmp_path, TWO, "ADMINISTRATORS=hpcadmin")
    assert refused.value.message == (
        "ADMINISTRATORS: 'hpcadmin' names none of the 2 clusters: "
        "write hpcadmin@main or hpcadmin@devbox"
    )


@pytest.mark.parametrize("entry", ["secrets: BIND", "secrets: ['a b']", "settings: {A: [1]}"])
def test_a_fault_in_a_cluster_is_named(tmp_path: Path, entry: str) -> None:
    key = entry.partition(":")[0]
    with pytest.raises(InvalidSettings, match=rf"CLUSTERS_FILE: .*: {key}"):
        read(tmp_path, f"- {{name: main, address: a, {entry}}}")
