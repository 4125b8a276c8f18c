"""The LDAP operator on a real OpenLDAP, whose people log in over a real sshd."""

import base64
import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.centre import created, logged_in, output
from tests.support.service import Caller, Embedded, failure
from tests.support.testbed import Testbed

pytestmark = pytest.mark.timeout(120)

PASSWORD = "-n 'it''s' \"quoted\" $(id) \\ üß€"


@contextlib.contextmanager
def somebody(
    admin: Caller, bed: Testbed, username: str, **options: Any
) -> Iterator[dict[str, Any]]:
    """Create a temporary user of the directory, and remove the home folder at the end."""
    about = {"full_name": "Some Body", "mail": "some@hpc.example", "password": PASSWORD}
    made = output(admin, "ldap/opn/create_user", username=username, **about | options)
    try:
        yield created(made)
    finally:
        output(admin, "ldap/opn/delete_user", username=username)
        bed.machine.run(["rm", "-rf", f"/home/{username}"])


def asked(bed: Testbed, query: str, *attributes: str) -> str:
    """Search the directory directly, without resop."""
    where = ("-x", "-LLL", "-o", "ldif-wrap=no", "-H", bed.site.ldap.uri, "-b", bed.site.ldap.base)
    return bed.machine.run(["ldapsearch", *where, query, *attributes])


@pytest.mark.parametrize("scheme", ["SSHA", "CRYPT"])
def test_who_was_created_logs_in_at_once(
    admin: Caller, running: Embedded, bed: Testbed, scheme: str
) -> None:
    with somebody(admin, bed, "n.ew-1_x", scheme=scheme) as made:
        assert f"uidNumber: {made['uid_number']}\n" in asked(bed, "(uid=n.ew-1_x)")
        with logged_in(running, "n.ew-1_x", PASSWORD) as caller:
            said = output(caller, "utils/cmd/id")
            assert said.startswith(f"uid={made['uid_number']}(n.ew-1_x) gid=20000(hpcusers)")
    failure(running.caller().login("n.ew-1_x", PASSWORD), 401)
    assert asked(bed, "(uid=n.ew-1_x)") == ""


def test_home_that_was_left_is_handed_over_on_demand_only(
    admin: Caller, running: Embedded, bed: Testbed
) -> None:
    about = {"username": "left", "full_name": "A", "mail": "a@b", "password": PASSWORD}
    made = created(output(admin, "ldap/opn/create_user", **about))
    with logged_in(running, "left", PASSWORD):
        output(admin, "ldap/opn/delete_user", username="left")
    with somebody(admin, bed, "next") as other:
        assert other["uid_number"] > made["uid_number"]
    error = failure(admin.post("ldap/opn/create_user", about), 424)
    assert f"/home/left exists and belongs to UID {made['uid_number']}" in error["message"]
    with somebody(admin, bed, "left", uid_number=made["uid_number"]) as back:
        assert back == {**made, "full_name": "Some Body", "surname": "Body", "mail": back["mail"]}


def test_id_of_a_deleted_user_is_not_given_again(admin: Caller, bed: Testbed) -> None:
    numbers = []
    for name in ("first", "second", "third"):
        with somebody(admin, bed, name) as made:
            numbers.append(made["uid_number"])
    assert numbers == sorted(set(numbers))
    last = asked(bed, "(cn=last-uidNumber)", "serialNumber")
    assert f"serialNumber: {numbers[-1]}\n" in last


def test_names_arrive_as_they_were_written(admin: Caller, bed: Testbed) -> None:
    name = ' Zoë "Ö" O\'Brien, <x>; $(id) \U0001f600: '
    with somebody(
        admin, bed, "zoe", full_name=name, given_name="Zoë", mail="z'o+e@hpc.example"
    ) as made:
        assert made["full_name"] == name.strip()
        shown = asked(bed, "(uid=zoe)", "cn")
        assert base64.b64encode(name.strip().encode()).decode() in shown
        for query in ({"full_name": "*(id)*"}, {"username": "z*e"}, {"mail": "z'o+e@*"}):
            found = output(admin, "ldap/opn/find_user", **query)
            assert found == {"users": [made], "complete": True}
        assert output(admin, "ldap/opn/find_user", full_name="*)(uid=alice")["users"] == []
        assert output(admin, "ldap/opn/find_user", full_name="Zo*Y*")["users"] == []


def test_people_found_are_no_more_than_asked_for(admin: Caller) -> None:
    found = output(admin, "ldap/opn/find_user", limit=2)
    assert (len(found["users"]), found["complete"]) == (2, False)


def test_people_created_at_the_same_time_have_numbers_of_their_own(
    admin: Caller, bed: Testbed
) -> None:
    names = [f"twin{number}" for number in range(6)]
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(names)) as pool:
        made = list(pool.map(lambda name: stack.enter_context(somebody(admin, bed, name)), names))
        numbers = {user["uid_number"] for user in output(admin, "ldap/opn/find_user")["users"]}
        assert len({user["uid_number"] for user in made}) == len(names)
        assert {user["uid_number"] for user in made} <= numbers


def test_name_that_is_taken_is_refused(admin: Caller) -> None:
    about = {"full_name": "A", "mail": "a@b", "password": PASSWORD}
    for name, reason in (
        ("alice", "the directory already has a user"),
        ("daemon", "local account"),
    ):
        error = failure(admin.post("ldap/opn/create_user", {"username": name, **about}), 424)
        assert reason in error["message"]
        assert error["undone"] == error["needs_repair"] == []


def test_same_name_at_the_same_time_is_created_once(admin: Caller, bed: Testbed) -> None:
    about = {"username": "double", "full_name": "A", "mail": "a@b", "password": PASSWORD}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: admin.post("ldap/opn/create_user", about), range(4)))
    try:
        assert sorted(answer.status_code for answer in answers) == [200, 424, 424, 424]
        assert "uid: double\n" in asked(bed, "(uid=double)")
    finally:
        output(admin, "ldap/opn/delete_user", username="double")


def test_new_password_counts_and_the_old_one_no_more(
    admin: Caller, running: Embedded, bed: Testbed
) -> None:
    with somebody(admin, bed, "chang.ed"):
        output(admin, "ldap/opn/change_password", username="chang.ed", password="s3cond ü")
        failure(running.caller().login("chang.ed", PASSWORD), 401)
        with logged_in(running, "chang.ed", "s3cond ü") as caller:
            assert "(chang.ed)" in output(caller, "utils/cmd/id")


def test_hash_can_be_made_again_with_its_salt(admin: Caller, bed: Testbed) -> None:
    for scheme in ("SSHA", "CRYPT"):
        made = output(admin, "ldap/opn/passwd", password=PASSWORD, scheme=scheme)
        assert made.startswith(f"{{{scheme}}}")
        if scheme == "SSHA":
            salt = output(admin, "ldap/opn/extract_salt", hash=made)
        else:
            salt = made.split("$")[2]
        again = {"password": PASSWORD, "scheme": scheme, "salt": salt}
        assert output(admin, "ldap/opn/passwd", **again) == made


@pytest.mark.parametrize("scheme", ["SSHA", "CRYPT"])
def test_hash_that_is_put_into_the_directory_is_accepted_at_login(
    admin: Caller, running: Embedded, bed: Testbed, scheme: str
) -> None:
    made = output(admin, "ldap/opn/passwd", password="other ü", scheme=scheme)
    ldap = bed.site.ldap
    output(admin, "core/opn/run", command=f"umask 077; printf %s {ldap.password} >.ldap")
    with somebody(admin, bed, "hash.ed") as user:
        change = f"dn: {user['dn']}\nchangetype: modify\nreplace: userPassword\n"
        bind = {"bind_dn": ldap.bind_dn, "password_file": ".ldap"}
        output(admin, "ldap/cmd/ldapmodify", **bind, stdin=f"{change}userPassword: {made}\n")
        with logged_in(running, "hash.ed", "other ü") as caller:
            assert "(hash.ed)" in output(caller, "utils/cmd/id")


def test_group_takes_members_who_are_then_in_it(
    admin: Caller, running: Embedded, bed: Testbed
) -> None:
    about = {"name": "proj.9", "description": "ü", "members": ["bob"]}
    made = created(output(admin, "ldap/opn/create_group", **about))
    try:
        with somebody(admin, bed, "memb.er"):
            many = {"group": "proj.9", "usernames": ["bob", "memb.er", "memb.er"]}
            both = output(admin, "ldap/opn/add_to_group", **many)
            assert both == {**made, "members": ["bob", "memb.er"]}
            with logged_in(running, "memb.er", PASSWORD) as caller:
                assert "proj.9" in output(caller, "utils/cmd/id", groups=True, name=True)
            nobody = {"group": "proj.9", "usernames": ["alice", "nobody1"]}
            error = failure(admin.post("ldap/opn/add_to_group", nobody), 424)
            assert error["message"] == "the directory has no user nobody1"
        assert asked(bed, "(cn=proj.9)", "memberUid").splitlines()[1:] == ["memberUid: bob", ""]
    finally:
        ldap = {"bind_dn": bed.site.ldap.bind_dn, "password": bed.site.ldap.password}
        output(admin, "ldap/cmd/ldapdelete", **ldap, input=[made["dn"]])


def test_only_administrators_may(running: Embedded, bed: Testbed) -> None:
    alice = bed.site.users[0]
    with logged_in(running, alice.name, alice.password) as caller:
        options = {"username": "alice", "password": "mine"}
        error = failure(caller.post("ldap/opn/change_password", options), 403)
        assert error["type"] == "NotPermitted"
        assert bed.site.ldap.password not in str(error)
    with logged_in(running, alice.name, alice.password):
        pass  # the password is what it was


@pytest.mark.parametrize("how", ["down", "stuck"])
def test_directory_that_is_away_is_named(admin: Caller, bed: Testbed, how: str) -> None:
    signal = "kill -{} $(cat /run/slapd/pid)"
    if how == "down":
        bed.daemon("stop", "slapd")
    else:
        bed.machine.run(["sh", "-c", signal.format("STOP")])
    began = time.monotonic()
    try:
        error = failure(admin.post("ldap/opn/find_user", {"username": "alice"}), 424)
    finally:
        if how == "down":
            bed.daemon("start", "slapd")
        else:
            bed.machine.run(["sh", "-c", signal.format("CONT")])
    assert time.monotonic() - began < 20
    assert (error["type"], error["daemon"]) == ("DaemonUnavailable", "LDAP server")
    assert bed.site.ldap.uri in error["message"]


def test_commands_bind_as_the_caller_says(admin: Caller, bed: Testbed) -> None:
    ldap = bed.site.ldap
    bind = {"bind_dn": ldap.bind_dn, "password": ldap.password}
    assert output(admin, "ldap/cmd/ldapwhoami", **bind) == f"dn:{ldap.bind_dn}\n"
    shown = output(admin, "ldap/cmd/ldapsearch", base=ldap.people, input=["(uid=bob)", "cn"])
    assert shown == f"dn: uid=bob,{ldap.people}\ncn: bob\n\n"
    refused = admin.post("ldap/cmd/ldapwhoami", {**bind, "password": "wrong"})
    assert "Invalid credentials" in failure(refused, 424)["message"]


def test_commands_change_what_ldif_tells(admin: Caller, running: Embedded, bed: Testbed) -> None:
    line = "umask 077; printf %s ldap-admin-pw >.ldap"
    output(admin, "core/opn/run", command=line)
    bind = {"bind_dn": bed.site.ldap.bind_dn, "password_file": ".ldap"}
    dn = f"ou=Sites,{bed.site.ldap.base}"
    entry = f"dn: {dn}\nobjectClass: organizationalUnit\nou: Sites\n"
    output(admin, "ldap/cmd/ldapadd", **bind, stdin=entry)
    change = f"dn: {dn}\nchangetype: modify\nadd: description\ndescription: x\n"
    output(admin, "ldap/cmd/ldapmodify", **bind, stdin=change)
    assert "description: x\n" in asked(bed, "(ou=Sites)")
    with somebody(admin, bed, "pass.wd") as made:
        new = {"new_password": "ny tt", "input": [made["dn"]]}
        output(admin, "ldap/cmd/ldappasswd", **bind, **new)
        with logged_in(running, "pass.wd", "ny tt"):
            pass
    away = {"bind_dn": bed.site.ldap.bind_dn, "password": bed.site.ldap.password}
    output(admin, "ldap/cmd/ldapdelete", **away, input=[dn])
    assert asked(bed, "(ou=Sites)") == ""
