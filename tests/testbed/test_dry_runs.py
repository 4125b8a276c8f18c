"""Dry runs of administration, on real OpenLDAP, Slurm, PostgreSQL and local accounts.

Whatever is dry-run, the systems are dumped before and after, and are the same.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from resop.actions.catalog import load_catalog
from resop.actions.command import Command
from resop.actions.operation import Operation
from tests.support.centre import output
from tests.support.service import Caller, failure
from tests.support.services import eventually
from tests.support.testbed import Testbed

pytestmark = pytest.mark.timeout(180)

CATALOG = load_catalog()
DRY = {"dry_run": "true"}
PASSWORD = "Dry-run-passw0rd!"
READING = {
    *("ldapsearch", "getent", "find", "id", "test", "openssl passwd", "date"),
    *("squeue", "sacct", "sreport", "sshare", "sprio", "scontrol show", "sacctmgr --readonly"),
    *("psql", "mariadb", "sudo --list", "sftp: get"),
}
"""Programs that a dry run may run; the database's clients in a read-only transaction."""


class Case(NamedTuple):
    """A dry run of an operation: its options, and what its plan must have, or its refusal."""

    action: str
    options: dict[str, Any]
    changes: tuple[str, ...] = ()
    """Beginnings of the changes in words, in order."""
    refused: str = ""
    """A part of the message."""


def person(username: str, **others: Any) -> dict[str, Any]:
    """Return the options that create a person."""
    about = {"username": username, "full_name": "Dry Run", "mail": f"{username}@hpc.example"}
    return {**about, **others}


def named(username: str, **others: Any) -> dict[str, Any]:
    return {"username": username, **others}


PEOPLE = "ou=People,dc=hpc,dc=example"
CASES = (
    Case(
        "ldap/opn/create_user",
        person("dry2", password=PASSWORD),
        ("reserve uidNumber ", "add uid=dry2,"),
    ),
    Case(
        "ldap/opn/create_user",
        person("dry2", password=PASSWORD, uid_number=29999, ssh_keys=["ssh-rsa AAAA x"]),
        ("add uid=dry2,",),
    ),
    Case("ldap/opn/create_user", person("dry1", password=PASSWORD), refused="already has a user"),
    Case("ldap/opn/create_user", person("root", password=PASSWORD), refused="a local account root"),
    Case(
        "ldap/opn/create_user",
        person("dry2", password=PASSWORD, uid_number=20001),
        refused="uid_number 20001 belongs to another user",
    ),
    Case(
        "ldap/opn/create_user",
        person("dry2", password=PASSWORD, gid_number=3),
        ("reserve uidNumber ", "add uid=dry2,"),
    ),
    Case(
        "ldap/opn/create_user",
        person("dry2", password=PASSWORD, gid_number=29998),
        refused="gid_number is 29998, but neither",
    ),
    Case("ldap/opn/modify_user", named("dry1", mail="new@hpc.example"), ("replace mail new@",)),
    Case("ldap/opn/modify_user", named("dry9", mail="a@b"), refused="there is no user dry9"),
    Case(
        "ldap/opn/rename_user",
        named("dry1", new_name="dry2"),
        ("uid=dry1,", "delete memberUid", "end the logins of dry1"),
    ),
    Case("ldap/opn/rename_user", named("dry1", new_name="alice"), refused="a user alice"),
    Case("ldap/opn/change_password", named("dry1", password=PASSWORD), ("replace userPassword",)),
    Case("ldap/opn/change_password", named("dry9", password=PASSWORD), refused="no user dry9"),
    Case("ldap/opn/suspend_user", named("dry1"), ("replace shadowExpire 1",)),
    Case("ldap/opn/suspend_user", named("dry1", resume=True)),
    Case("ldap/opn/suspend_user", named("dry9"), refused="no user dry9"),
    Case(
        "ldap/opn/delete_user",
        named("dry1"),
        ("delete memberUid", "delete uid=dry1,", "end the logins of dry1"),
    ),
    Case("ldap/opn/delete_user", named("dry9"), refused="there is no user dry9"),
    Case("ldap/opn/show_user", named("dry1")),
    Case("ldap/opn/find_user", named("dry*")),
    Case("ldap/opn/list_groups", {"name": "dry*"}),
    Case("ldap/opn/passwd", {"password": PASSWORD}),
    Case("ldap/opn/passwd", {"password": PASSWORD, "scheme": "CRYPT"}),
    Case("ldap/opn/extract_salt", {"hash": "{SSHA}LhKrkM9Fy+zlstjdD7Kv2s6QvhBzYWx0"}),
    Case(
        "ldap/opn/create_group",
        {"name": "drygroup2", "members": ["dry1"]},
        ("reserve gidNumber ", "add cn=drygroup2,"),
    ),
    Case("ldap/opn/create_group", {"name": "drygroup"}, refused="already has a group drygroup"),
    Case(
        "ldap/opn/create_group", {"name": "drygroup2", "members": ["dry9"]}, refused="no user dry9"
    ),
    Case(
        "ldap/opn/add_to_group",
        {"group": "drygroup", "usernames": ["alice"]},
        ("add memberUid alice of cn=drygroup",),
    ),
    Case("ldap/opn/add_to_group", {"group": "drygroup", "usernames": ["dry1"]}),
    Case(
        "ldap/opn/add_to_group", {"group": "nosuch", "usernames": ["dry1"]}, refused="group nosuch"
    ),
    Case(
        "ldap/opn/remove_from_group",
        {"group": "drygroup", "usernames": ["dry1"]},
        ("delete memberUid dry1 of cn=drygroup",),
    ),
    Case(
        "ldap/opn/remove_from_group",
        {"group": "nosuch", "usernames": ["a"]},
        refused="group nosuch",
    ),
    Case("ldap/opn/delete_group", {"name": "drygroup"}, ("delete cn=drygroup,",)),
    Case("ldap/opn/delete_group", {"name": "hpcusers"}, refused="is the primary group of"),
    Case("slurm/opn/accounts", {}),
    Case("slurm/opn/budget", {}),
    Case("slurm/opn/fairshare", {}),
    Case("slurm/opn/qos", {}),
    Case("slurm/opn/report", {"type": "utilization", "start": "2024-05-01"}),
    Case("slurm/opn/usage", {"by": "account", "start": "2024-05-01", "end": "2024-05-31"}),
    Case(
        "slurm/opn/create_account",
        {"account": "dryaccount", "parent": "project1"},
        ("create the Slurm account dryaccount in project1",),
    ),
    Case("slurm/opn/create_account", {"account": "project1"}, refused="already has an account"),
    Case(
        "slurm/opn/create_account",
        {"account": "dryaccount", "parent": "nosuch"},
        refused="Slurm has no account nosuch",
    ),
    Case(
        "slurm/opn/add_user",
        {"user": "dry1", "account": "research"},
        ("add dry1 to the Slurm account research",),
    ),
    Case(
        "slurm/opn/add_user",
        {"user": "dry1", "account": "project1"},
        refused="already in the Slurm",
    ),
    Case(
        "slurm/opn/add_user",
        {"user": "dry1", "account": "nosuch"},
        refused="Slurm has no account nosuch",
    ),
    Case(
        "slurm/opn/modify_user",
        {"user": "dry1", "fairshare": 5, "qos": ["normal"], "default_account": "project1"},
        ("set fairshare=5 qoslevel=normal of dry1 in the Slurm account project1",),
    ),
    Case(
        "slurm/opn/modify_user",
        {"user": "dry1", "account": "project1", "max_wall": 60, "clear": ["max_jobs"]},
        ("set maxwall=1 of dry1 in the Slurm account project1",),
    ),
    Case(
        "slurm/opn/modify_user",
        {"user": "dry1", "default_account": "research"},
        refused="dry1 is not in the Slurm account research",
    ),
    Case(
        "slurm/opn/modify_user",
        {"user": "dry1", "default_qos": "nosuch"},
        refused="Slurm has no quality of service nosuch",
    ),
    Case("slurm/opn/modify_user", {"user": "dry9", "fairshare": 1}, refused="not in any Slurm"),
    Case(
        "slurm/opn/add_user",
        {"user": "dry1", "account": "research", "qos": ["nosuch"]},
        refused="Slurm has no quality of service nosuch",
    ),
    Case("slurm/opn/remove_user", {"user": "dry1"}, ("remove dry1 from the Slurm account proj",)),
    Case(
        "slurm/opn/remove_user",
        {"user": "alice", "cancel_jobs": True},
        ("cancel 1 job of alice", "remove alice from the Slurm account"),
    ),
    Case("slurm/opn/remove_user", {"user": "alice"}, refused="alice has jobs in Slurm"),
    Case("slurm/opn/remove_user", {"user": "dry9"}, refused="dry9 is not in any Slurm account"),
    Case("db/opn/create_user", person("dry2", password=PASSWORD), ("add dry2 to the portal",)),
    Case("db/opn/create_user", person("dry1"), refused="the portal already has a user dry1"),
    Case("db/opn/enable_user", named("dry1", enabled=False), ("disable dry1 in the portal",)),
    Case("db/opn/enable_user", named("dry9"), refused="the portal has no user dry9"),
    Case(
        "db/opn/modify_user",
        named("dry1", full_name="Other"),
        ("change full_name of dry1 in the portal",),
    ),
    Case("db/opn/modify_user", named("dry9", role="x"), refused="the portal has no user dry9"),
    Case("db/opn/change_password", named("dry1", password=PASSWORD), ("set the portal's",)),
    Case("db/opn/change_password", named("dry9", password=PASSWORD), refused="no user dry9"),
    Case("db/opn/delete_user", named("dry1"), ("remove dry1 from the portal",)),
    Case("db/opn/delete_user", named("dry9"), refused="the portal has no user dry9"),
    Case("db/opn/list_users", {}),
    Case("db/opn/query", {"sql": "SELECT nextval('users_id_seq')"}, ("query the portal",)),
    Case("db/opn/query", {"sql": "SELECT nosuch FROM users"}, refused='"nosuch" does not exist'),
    Case(
        "linux_user/opn/create_user",
        named("dryl", password=PASSWORD, groups=["staff"]),
        ("create the local account dryl", "set the password of dryl"),
    ),
    Case("linux_user/opn/create_user", named("alice"), refused="the user alice already exists"),
    Case("linux_user/opn/change_password", named("hpcadmin", password=PASSWORD), ("set the pass",)),
    Case("linux_user/opn/change_password", named("dry9", password=PASSWORD), refused="no local"),
    Case(
        "linux_user/opn/delete_user",
        named("hpcadmin"),
        ("delete the local account hpcadmin", "end the logins of hpcadmin"),
    ),
    Case("linux_user/opn/delete_user", named("root"), refused="root is a system account"),
    Case("linux_user/opn/hash", {"password": PASSWORD}),
)
HPCCENTER = (
    Case(
        "hpccenter/opn/create_user",
        person("dry2", password=PASSWORD, account="research"),
        (
            *("reserve uidNumber ", "add uid=dry2,", "add dry2 to the Slurm account research"),
            *("add dry2 to the portal", "let dry2 log in to this service"),
        ),
    ),
    Case(
        "hpccenter/opn/create_user",
        person("dry1", password=PASSWORD, account="project1"),
        refused="dry1",
    ),
    Case(
        "hpccenter/opn/suspend_user",
        named("dry1"),
        (
            *(
                "replace shadowExpire 1",
                "set grpsubmitjobs=0 of dry1 in the Slurm",
                "disable dry1 in the portal",
            ),
            "end the logins of dry1 to this service, and refuse",
        ),
    ),
    Case("hpccenter/opn/suspend_user", named("dry9"), refused="no user dry9"),
    Case(
        "hpccenter/opn/modify_user",
        named("dry1", mail="new@hpc.example"),
        ("replace mail new@", "change mail of dry1 in the portal"),
    ),
    Case("hpccenter/opn/show_user", named("dry1")),
    Case(
        "hpccenter/opn/delete_user",
        named("dry1"),
        (
            *("end the logins of dry1", "remove dry1 from the Slurm account project1"),
            *("delete memberUid dry1 of cn=drygroup", "delete uid=dry1,", "end the logins of dry1"),
            "remove dry1 from the portal",
        ),
    ),
    Case("hpccenter/opn/delete_user", named("dry9"), refused="has a user dry9"),
)
ADMINISTRATORS_ONLY = (
    ("ldap/opn/create_user", person("dry2", password=PASSWORD)),
    ("ldap/opn/delete_user", named("dry1")),
    ("slurm/opn/create_account", {"account": "dryaccount"}),
    ("slurm/opn/add_user", {"user": "bob", "account": "research"}),
    ("slurm/opn/modify_user", {"user": "dry1", "fairshare": 9}),
    ("slurm/opn/remove_user", {"user": "dry1"}),
    ("db/opn/create_user", person("dry2")),
    ("db/opn/delete_user", named("dry1")),
)


def dump(bed: Testbed) -> dict[str, str]:
    """Return what the systems hold, with all times of changes."""
    ldap, run = bed.site.ldap, bed.machine.run
    bound = ["-x", "-H", ldap.uri, "-D", ldap.bind_dn, "-w", ldap.password, "-b", ldap.base]
    port = str(bed.site.postgresql.port)
    slurm = ("associations", "account", "user", "qos", "transactions")
    return {
        "directory": run(["ldapsearch", "-LLL", *bound, "(objectClass=*)", "*", "+"]),
        # Without the random words of newer releases.
        "portal": re.sub(
            r"(?m)^\\(un)?restrict .*$",
            "",
            run(["pg_dump", "-p", port, "portal"], user="postgres"),
        ),
        "accounts": run(["cat", "/etc/passwd", "/etc/shadow", "/etc/group"]),
        "homes": run(["ls", "-la", "/home"]),
        "jobs": run(["squeue", "--noheader", "--all", "--format=%i %T %u"]),
        **{kind: run(["sacctmgr", "-nP", "show", kind]) for kind in slurm},
    }


@pytest.fixture(scope="module", autouse=True)
def dry1(admin: Caller, alice: Caller, bed: Testbed) -> Iterator[None]:
    """Create a person in all systems, a group, and a job."""
    about = person("dry1", password=PASSWORD, account="project1")
    output(admin, "hpccenter/opn/create_user", **about)
    output(admin, "ldap/opn/create_group", name="drygroup", members=["dry1"])
    output(alice, "slurm/opn/sbatchd", script="#!/bin/sh\nsleep 600\n")
    running = ["squeue", "--noheader", "--states=RUNNING", "--user", "alice"]
    assert eventually(lambda: bed.machine.run(running))
    yield
    bed.machine.run(["scancel", "--user", "alice"])
    output(admin, "ldap/opn/delete_group", name="drygroup")
    output(admin, "hpccenter/opn/delete_user", username="dry1")


@pytest.fixture(scope="module")
def before(dry1: None, bed: Testbed) -> dict[str, str]:
    return dump(bed)


def check_steps(caller: Caller, task: str) -> None:
    """Check that the steps that were run can change nothing."""
    for step in caller.task(task)["steps"]:
        words = shlex.split(step["command"].partition("  # ")[0])
        program, flags = words[0].rpartition("/")[2], words[1:]
        verbs = [f"{program} {flag}" for flag in flags]
        known = {program, *verbs} | ({*flags} if program == "sh" else set())
        assert known & READING, step["command"]


def check(admin: Caller, case: Case) -> None:
    """Check one dry run, and that what it refuses is refused by a real run in the same words."""
    answer = admin.post(case.action, case.options, query=DRY)
    assert PASSWORD not in answer.text and answer.json()["dry_run"] is True, answer.text
    check_steps(admin, answer.json()["task"])
    changes = [str(step["summary"]) for step in answer.json()["plan"] if step["changes"]]
    if case.refused:
        said = failure(answer, answer.status_code)
        assert case.refused in said["message"] and not changes, answer.text
        error = failure(admin.post(case.action, case.options), answer.status_code)
        assert (said["type"], said["message"]) == (error["type"], error["message"])
        return
    assert answer.status_code == 200, answer.text
    assert len(changes) == len(case.changes), changes
    for words, beginning in zip(changes, case.changes, strict=True):
        assert words.startswith(beginning), changes


@pytest.mark.parametrize("cases", [CASES, HPCCENTER], ids=["single", "saga"])
def test_every_case_changes_nothing_and_refuses_as_a_real_run_does(
    admin: Caller, bed: Testbed, before: dict[str, str], cases: tuple[Case, ...]
) -> None:
    faults = []
    for case in cases:
        try:
            check(admin, case)
        except AssertionError as fault:
            faults.append(f"{case.action} {case.options}: {fault}"[:1000])
    assert not faults, "\n".join(faults)
    assert dump(bed) == before


def test_every_operation_with_dry_runs_has_a_case() -> None:
    able = {
        each.path.removeprefix("/")
        for each in CATALOG
        if isinstance(each, Operation) and each.dry_run
    }
    assert able == {case.action for case in (*CASES, *HPCCENTER)}
    operators = ("ldap", "db", "hpccenter")
    assert not [
        each.path
        for each in CATALOG
        if isinstance(each, Operation) and not each.dry_run
        if each.operator in operators or changes_accounts(each)
    ]


def changes_accounts(action: Operation[..., Any]) -> bool:
    """Return True for an operation with one of the functions that change Slurm's accounting."""
    source = Path(action.function.__code__.co_filename).read_text()
    return re.search(r"^from operators\.slurm\.association(s|_options)\b", source, re.M) is not None


def test_who_may_not_is_told_so(alice: Caller, bed: Testbed, before: dict[str, str]) -> None:
    for action, options in ADMINISTRATORS_ONLY:
        said = failure(alice.post(action, options, query=DRY), 403)
        error = failure(alice.post(action, options), 403)
        assert said["type"] == error["type"] == "NotPermitted", action
        assert said["message"] == error["message"], action
    dry = alice.post("linux_user/opn/create_user", named("dryl"), query=DRY)
    real = alice.post("linux_user/opn/create_user", named("dryl"))
    assert failure(dry, 424)["message"] == failure(real, 424)["message"]
    assert dump(bed) == before


def test_examples_of_all_shipped_actions_change_nothing(
    admin: Caller, bed: Testbed, before: dict[str, str]
) -> None:
    for action in CATALOG:
        if action.in_api:
            continue
        for example in action.examples:
            answer = admin.post(action.path.removeprefix("/"), example, query=DRY)
            body = answer.json()
            assert answer.status_code < 500, f"{action.path}: {answer.text}"
            if action.dry_run:
                check_steps(admin, body["task"])
            else:
                assert "task" not in body, action.path
            if isinstance(action, Command):
                assert body["command"], action.path
    assert dump(bed) == before


def test_id_that_would_be_given_is_the_next_free_one(admin: Caller, bed: Testbed) -> None:
    options = person("dry2", password=PASSWORD)
    answer = admin.post("ldap/opn/create_user", options, query=DRY).json()
    number = answer["output"]["uid_number"]
    [reserved] = [each for each in answer["plan"] if "reserve uidNumber" in str(each["summary"])]
    assert reserved["summary"] == f"reserve uidNumber {number}, which is the next free one now"
    [added] = [each for each in answer["plan"] if str(each["summary"]).startswith("add uid=")]
    assert f"uidNumber: {number}\n" in added["stdin"] and "userPassword: ********" in added["stdin"]
    assert added["command"].startswith("ldapadd ")
    assert answer["undo"][0].startswith("delete uid=dry2,")
    assert json.dumps(answer).count(PASSWORD) == 0
    made = output(admin, "ldap/opn/create_user", **options)
    try:
        assert made == answer["output"]
    finally:
        output(admin, "ldap/opn/delete_user", username="dry2")
