"""One life of a user in directories of each kind; what ldapsearch shows is what was answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.support import slapd
from tests.support.centre import created
from tests.support.directory import PERSON, create, failure, output
from tests.support.needs import need
from tests.support.ports import HOST
from tests.support.slapd import BASE, PEOPLE, SERVICE, Slapd, group_entry, user_entry

need(slapd.reason_unavailable())

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFgk7Jq3lZ0hJm8 ada@laptop"
UNIQUE = (
    f"overlay unique\nunique_uri ldap:///{PEOPLE}?uidNumber?sub\n"
    f"unique_uri ldap:///{PEOPLE}?mail?sub\n"
)
REFINT = "overlay refint\nrefint_attributes member uniqueMember\n"
MEMBER_OF = "overlay memberof\nmemberof-refint true\n"


@contextmanager
def rfc2307(folder: Path) -> Iterator[Slapd]:
    """Run a server with groups of user names, whose service account gets 500 of 700 entries."""
    limits = f'limits dn.exact="{SERVICE}" size.soft=500 size.hard=500\n'
    people = "".join(user_entry(f"old{n}", 20000 + n) for n in range(700))
    with slapd.slapd(folder, database=limits + UNIQUE, entries=group_entry() + people) as server:
        yield server


@contextmanager
def rfc2307bis(folder: Path) -> Iterator[Slapd]:
    """Run a server with groups of DNs and memberOf, which repairs references itself."""
    group = group_entry("hpcusers", slapd.GROUP, "groupOfNames", member=SERVICE)
    overlays = UNIQUE + REFINT + MEMBER_OF
    with slapd.slapd(folder, auxiliary_groups=True, database=overlays, entries=group) as server:
        yield server


@contextmanager
def both(folder: Path) -> Iterator[Slapd]:
    """Run a server with groups that list each member twice, by DN and by name."""
    group = group_entry("hpcusers", slapd.GROUP, "groupOfUniqueNames", uniqueMember=SERVICE)
    with slapd.slapd(
        folder,
        auxiliary_groups=True,
        entries=group,
        LDAP_GROUP_MEMBERS="uniqueMember memberUid",
        LDAP_EMPTY_MEMBER=f"cn=nobody,{BASE}",
    ) as server:
        yield server


@contextmanager
def without_shadow(folder: Path) -> Iterator[Slapd]:
    """Run a server whose users are no shadowAccount until they expire or are suspended."""
    people = user_entry("old", 20000)
    with slapd.slapd(
        folder, entries=group_entry() + people, LDAP_USER_CLASSES="inetOrgPerson posixAccount"
    ) as server:
        yield server
        assert "shadowAccount" not in server.values("(uid=twin1)", "objectClass")


@contextmanager
def ppolicy(folder: Path, quality: int) -> Iterator[Slapd]:
    """Run a server that checks and hashes passwords, reached by TLS with a private CA."""
    group, policy = group_entry(), slapd.policy_entry(quality)
    with slapd.slapd(folder, tls=True, database=slapd.POLICY, entries=group + policy) as server:
        server.settings["LDAP_URI"] = f"ldaps://{HOST}:{server.tls_port}"
        server.settings["LDAP_TLS_CACERT"] = str(server.folder / "ca.pem")
        yield server


KINDS: dict[str, Callable[[Path], AbstractContextManager[Slapd]]] = {
    **{each.__name__: each for each in (rfc2307, rfc2307bis, both, without_shadow)},
    **{f"ppolicy{quality}": partial(ppolicy, quality=quality) for quality in (1, 2)},
}


@pytest.fixture(scope="module", params=KINDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Slapd]:
    with KINDS[request.param](tmp_path_factory.mktemp(request.param)) as started:
        yield started


def groups_of(server: Slapd, username: str) -> set[str]:
    """Return the groups that list a user, by name or DN, as the server knows them."""
    dn = f"uid={username},{PEOPLE}"
    query = f"(|(memberUid={username})(member={dn})(uniqueMember={dn}))"
    return set(server.values(query, "cn"))


def test_user_is_created_changed_renamed_suspended_resumed_and_deleted(server: Slapd) -> None:
    made = create(server, "ada", given_name="Ada", surname="Example")
    entry = server.search("(uid=ada)")
    assert f"uidNumber: {made['uid_number']}" in entry
    assert {"mail: ada@hpc.example", "gidNumber: 20000", "loginShell: /bin/bash"} <= set(entry)
    assert server.accepts(made["dn"], PERSON["password"])
    assert failure(server, "create_user", username="Ada".lower(), **PERSON)["message"] == (
        "the directory already has a user ada"
    )
    project = created(output(server, "create_group", name="project9", members=["ada"]))
    assert groups_of(server, "ada") == {"project9"}
    changed = output(
        server,
        "modify_user",
        username="ada",
        full_name="Ada Lovelace",
        mail="lovelace@hpc.example",
        mail_aliases=["al@hpc.example"],
        login_shell="/bin/zsh",
        expires="2038-06-13",
        ssh_keys=[KEY],
    )
    entry = server.search("(uid=ada)")
    expected = {"cn: Ada Lovelace", "mail: al@hpc.example", "shadowExpire: 25000"}
    assert expected | {f"sshPublicKey: {KEY}", "loginShell: /bin/zsh"} <= set(entry)
    assert changed["groups"] == ["project9"]
    assert changed == output(server, "show_user", username="ADA")
    renamed = output(server, "rename_user", username="ada", new_name="countess")
    assert renamed["dn"] == f"uid=countess,{PEOPLE}"
    assert (groups_of(server, "ada"), groups_of(server, "countess")) == (set(), {"project9"})
    assert output(server, "list_groups", member="countess")["groups"][0]["members"] == ["countess"]
    assert output(server, "suspend_user", username="countess")["suspended"]
    assert server.values("(uid=countess)", "shadowExpire") == ["1"]
    assert output(server, "suspend_user", username="countess")["suspended"]  # unchanged
    resumed = output(server, "suspend_user", username="countess", resume=True)
    assert (resumed["suspended"], resumed["expires"]) == (False, "2038-06-13")
    assert server.values("(uid=countess)", "description") == []
    gone = output(server, "delete_user", username="countess")
    assert (gone["groups"], server.search("(uid=countess)", "1.1")) == (["project9"], [])
    again = create(server, "countess")
    assert again["uid_number"] > made["uid_number"]
    assert groups_of(server, "countess") == set()
    assert output(server, "list_groups", name="project9")["groups"] == [{**project, "members": []}]
    output(server, "delete_user", username="countess")
    output(server, "delete_group", name="project9")
    assert server.search("(cn=project9)", "1.1") == []


def test_users_created_at_once_have_numbers_of_their_own(server: Slapd) -> None:
    many = 32  # how many tasks of batches a cluster has in flight
    names = [f"twin{number}" for number in range(many)]
    with ThreadPoolExecutor(many) as pool:
        made = list(pool.map(lambda name: create(server, name), names))
    numbers = sorted(user["uid_number"] for user in made)
    assert numbers == sorted(map(int, server.values("(uid=twin*)", "uidNumber")))
    everybody = server.values("(objectClass=posixAccount)", "uidNumber")
    assert len(set(everybody)) == len(everybody) >= many


def test_namesake_inherits_no_membership(server: Slapd) -> None:
    group = created(output(server, "create_group", name="left-over"))
    create(server, "former")
    output(server, "add_to_group", group="left-over", usernames=["former"])
    assert groups_of(server, "former") == {"left-over"}
    server.change(f"dn: uid=former,{PEOPLE}\nchangetype: delete\n")  # by another program
    create(server, "former")
    assert groups_of(server, "former") == set()
    output(server, "add_to_group", group="left-over", usernames=["former", "former"])
    left = output(server, "remove_from_group", group="left-over", usernames=["former", "nobody1"])
    assert (left, groups_of(server, "former")) == (group, set())
    output(server, "delete_user", username="former")
    output(server, "delete_group", name="left-over")


def test_member_whose_dn_has_no_user_name_is_named(server: Slapd) -> None:
    dn = f"cn=Shaun O'Neill,{PEOPLE}"
    server.change(user_entry("shaun", 20900, dn=dn).replace("cn: shaun", "cn: Shaun O'Neill"))
    made = output(server, "create_group", name="named", members=["shaun", "shaun"])
    group = created(made)
    assert group["members"] == ["shaun"]
    assert output(server, "list_groups", name="named")["groups"] == [group]
    renamed = output(server, "rename_user", username="shaun", new_name="oneill")
    assert (renamed["dn"], renamed["username"]) == (dn, "oneill")
    assert output(server, "show_user", username="oneill")["groups"] == ["named"]
    assert output(server, "list_groups", name="named")["groups"][0]["members"] == ["oneill"]
    output(server, "delete_user", username="oneill")
    output(server, "delete_group", name="named")
