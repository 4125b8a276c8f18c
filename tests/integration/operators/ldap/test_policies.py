"""Directories that check passwords, unique values and limits, or have entries of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import slapd
from tests.support.directory import PERSON, create, failure, output
from tests.support.needs import need
from tests.support.slapd import BASE, GROUPS, PEOPLE, SERVICE, group_entry, user_entry

need(slapd.reason_unavailable())

LOCKED = "000001010000Z"


@pytest.mark.parametrize("quality", [1, 2])
def test_policy_of_the_server_decides_on_passwords(tmp_path: Path, quality: int) -> None:
    entries = group_entry() + slapd.policy_entry(quality)
    with slapd.slapd(
        tmp_path,
        database=slapd.POLICY,
        entries=entries,
        LDAP_SUSPEND_ATTRIBUTE="pwdAccountLockedTime",
    ) as server:
        error = failure(server, "create_user", username="ada", **{**PERSON, "password": "short"})
        assert error["message"] == (
            "the directory refuses the password: Password fails quality checking policy"
        )
        assert (len(error["undone"]), error["needs_repair"]) == (1, [])
        assert server.search("(uid=ada)", "1.1") == []
        made = create(server, "ada")
        assert server.accepts(made["dn"], PERSON["password"])
        error = failure(server, "change_password", username="ada", password="y")
        assert "refuses the password" in error["message"]
        output(server, "change_password", username="ada", password="Another-g00d ü one")
        assert server.accepts(made["dn"], "Another-g00d ü one")
        # A lock of the policy itself, or of another program, is the same after a suspension.
        for before in ("", "20300101000000Z"):
            if before:
                server.change(
                    f"dn: {made['dn']}\nchangetype: modify\nreplace: pwdAccountLockedTime\n"
                    f"pwdAccountLockedTime: {before}\n"
                )
            assert output(server, "suspend_user", username="ada")["suspended"]
            assert server.values("(uid=ada)", "pwdAccountLockedTime") == [LOCKED]
            assert not server.accepts(made["dn"], "Another-g00d ü one")
            assert not output(server, "suspend_user", username="ada", resume=True)["suspended"]
            assert server.values("(uid=ada)", "pwdAccountLockedTime") == [before] * bool(before)


def test_number_that_a_constraint_refuses_is_followed_by_the_next(tmp_path: Path) -> None:
    service = user_entry("daemon9", 20000, dn=f"uid=daemon9,ou=Services,{BASE}")
    entries = (
        f"dn: ou=Services,{BASE}\nobjectClass: organizationalUnit\nou: Services\n\n"
        f"{group_entry()}{service}{user_entry('taken', 20100)}"
    )
    database = (
        f"overlay unique\nunique_uri ldap:///{BASE}?uidNumber?sub\n"
        f"unique_uri ldap:///{BASE}?mail?sub\n"
        "overlay constraint\nconstraint_attribute gidNumber regex ^(20000|3000[2-9])$\n"
    )
    with slapd.slapd(tmp_path, database=database, entries=entries, LDAP_LAST_UID="20050") as server:
        assert create(server, "ada")["uid_number"] == 20001  # 20000 is in use beside the people
        assert output(server, "create_group", name="project9")["gid_number"] == 30002
        error = failure(
            server, "create_user", username="eve", **{**PERSON, "mail": "taken@hpc.example"}
        )
        assert "taken has the mail address taken@hpc.example" in error["message"]
        error = failure(server, "create_user", username="eve", uid_number=20100, **PERSON)
        assert error["message"] == "uid_number 20100 belongs to another user"
        assert server.search("(uid=eve)", "1.1") == []


def test_server_that_returns_500_entries_has_700_users(tmp_path: Path) -> None:
    people = "".join(user_entry(f"old{n}", 20000 + n) for n in range(700))
    hard = f'limits dn.exact="{SERVICE}" size.soft=500 size.hard=500\n'
    with slapd.slapd(tmp_path, database=hard, entries=group_entry() + people) as server:
        assert create(server, "ada")["uid_number"] == 20700
        found = output(server, "find_user", limit=1000)
        assert (len(found["users"]), found["complete"]) == (500, False)
        assert output(server, "find_user", username="old69*")["complete"]
        error = failure(server, "list_groups", member="nobody9")
        assert error["message"] == "the directory has no user nobody9"


def test_users_of_other_programs_are_found_whatever_their_name(tmp_path: Path) -> None:
    odd = f"cn=O'Neill\\, Shaun+uid=JSmith,{PEOPLE}"
    names = ["12345", "j.o'neill", "müller", "q" * 40, "qa7$", "Two Words"]
    people = "".join(user_entry(name, 20100 + n) for n, name in enumerate(names))
    odd_user = user_entry("JSmith", 20050, dn=odd).replace("cn: JSmith", "cn: O'Neill, Shaun")
    group = group_entry("project9", 30001, memberUid="JSmith")
    with slapd.slapd(tmp_path, entries=group_entry() + group + people + odd_user) as server:
        for name in [*names, "jsmith"]:
            before = output(server, "show_user", username=name)
            output(server, "suspend_user", username=name)  # without shadowAccount
            shown = output(server, "show_user", username=name)
            assert (shown["username"], shown["suspended"]) == (
                name if name in names else "JSmith",
                True,
            )
            output(server, "suspend_user", username=name, resume=True)
            assert output(server, "show_user", username=name) == before
            changed = output(server, "modify_user", username=name, mail="new@hpc.example")
            assert changed == {**before, "mail": "new@hpc.example"}
            output(server, "delete_user", username=name)
        assert server.search("(objectClass=posixAccount)", "1.1") == []
        assert server.values("(cn=project9)", "memberUid") == []
        assert create(server, "jsmith")["dn"] == f"uid=jsmith,{PEOPLE}"


def test_freeipa_and_389_schema_is_a_matter_of_settings(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "LDAP_USER_CLASSES": "inetOrgPerson, posixAccount, ipaObject",
        "LDAP_USER_ATTRIBUTES": '{"ipaUniqueID": "id-{uid_number}", "gecos": "{full_name}"}',
        "LDAP_MAIL_ALIAS_ATTRIBUTE": "mailAlternateAddress",
        "LDAP_MAIL_ALIAS_CLASS": "mailRecipient",
        "LDAP_SUSPEND_ATTRIBUTE": "nsAccountLock",
        "LDAP_SHELL": "/bin/sh",
        "LDAP_HOME": "/srv/home/{initial}/{username}",
        "LDAP_PASSWORD_MODIFY": "yes",
    }
    group = group_entry("hpcusers", slapd.GROUP, "groupOfNames", "nestedGroup", member=SERVICE)
    with slapd.slapd(tmp_path, auxiliary_groups=True, entries=group, **settings) as server:
        made = create(server, "ada", mail_aliases=["al@hpc.example"], ssh_keys=["ssh-rsa AAAA a"])
        entry = set(server.search("(uid=ada)"))
        assert {
            f"ipaUniqueID: id-{made['uid_number']}",
            "gecos: Ada Example",
            "mailAlternateAddress: al@hpc.example",
            "homeDirectory: /srv/home/a/ada",
            "loginShell: /bin/sh",
            "sshPublicKey: ssh-rsa AAAA a",
            "mail: ada@hpc.example",
        } <= entry
        assert server.accepts(made["dn"], PERSON["password"])
        shown = output(server, "show_user", username="ada")
        assert (shown["mail_aliases"], shown["ssh_keys"]) == (
            ["al@hpc.example"],
            ["ssh-rsa AAAA a"],
        )
        output(server, "create_group", name="project9", members=["ada"])
        dn = f"cn=project9,{GROUPS}"
        assert f"member: {made['dn']}" in server.search("(cn=project9)")
        assert output(server, "suspend_user", username="ada")["suspended"]
        assert server.values("(uid=ada)", "nsAccountLock") == ["TRUE"]
        output(server, "suspend_user", username="ada", resume=True)
        assert server.values("(uid=ada)", "nsAccountLock") == []
        assert output(server, "delete_group", name="project9")["dn"] == dn
        error = failure(server, "delete_group", name="hpcusers")
        assert error["message"].startswith("hpcusers is the primary group of ada")


def test_who_exists_already_and_is_equal_is_unchanged(tmp_path: Path) -> None:
    with slapd.slapd(tmp_path, entries=group_entry()) as server:
        made = create(server, "ada")
        before = server.search("(uid=ada)", "*", "+")
        assert create(server, "ada", ensure=True) == {**made, "outcome": "unchanged"}
        assert server.search("(uid=ada)", "*", "+") == before
        error = failure(server, "create_user", username="ada", ensure=True, home="/x", **PERSON)
        assert f"whose home is {made['home']}" in error["message"]
        group = output(server, "create_group", name="project9", members=["ada"], ensure=True)
        again = output(server, "create_group", name="project9", ensure=True)
        assert again == {**group, "outcome": "unchanged"}
        error = failure(server, "create_group", name="project9", gid_number=7, ensure=True)
        assert "with gidNumber 30000" in error["message"]
