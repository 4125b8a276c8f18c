"""People of an HPC centre on real OpenLDAP, Slurm and PostgreSQL, daemons away and all.

What an answer says is compared with what the three systems hold, asked directly.
"""

import base64
import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.secrecy import places_of
from tests.support.centre import logged_in, output, service
from tests.support.service import Caller, Embedded, failure
from tests.support.services import eventually
from tests.support.testbed import Testbed

pytestmark = pytest.mark.timeout(180)

PASSWORD = '-it\'s "two" wörds $(id) \\ '
PATIENCE = 60.0


def about(username: str, **others: Any) -> dict[str, Any]:
    """Return the options that create this person."""
    return {
        "username": username,
        "full_name": "Zoë O'Brien; drop",
        "mail": f"{username}@hpc.example",
        "password": PASSWORD,
        "account": "project1",
        **others,
    }


@contextlib.contextmanager
def somebody(admin: Caller, bed: Testbed, username: str) -> Iterator[dict[str, Any]]:
    """Create a person, and delete the person at the end."""
    made = output(admin, "hpccenter/opn/create_user", **about(username))
    try:
        yield made
    finally:
        admin.post("hpccenter/opn/delete_user", {"username": username})
        assert where(bed, username) == set()
        bed.machine.run(["rm", "-rf", f"/home/{username}"])


@contextlib.contextmanager
def away(bed: Testbed, *daemons: str) -> Iterator[None]:
    """Daemons that are down for a while."""
    for daemon in daemons:
        bed.daemon("stop", daemon)
    try:
        yield
    finally:
        for daemon in reversed(daemons):
            bed.daemon("start", daemon)


def rows(bed: Testbed, query: str) -> str:
    """Query the portal's database as its administrator."""
    port = str(bed.site.postgresql.port)
    command = ["psql", "-p", port, "-d", "portal", "-Atc", query]
    return bed.machine.run(command, user="postgres").strip()


def in_ldap(bed: Testbed, username: str) -> bool:
    """Return True if the directory has the user."""
    ldap = bed.site.ldap
    entry = ["ldapsearch", "-x", "-LLL", "-H", ldap.uri, "-b", ldap.base, f"(uid={username})"]
    return bool(bed.machine.run(entry).strip())


def in_slurm(bed: Testbed, username: str) -> bool:
    """Return True if the user is in a Slurm account."""
    member = ["sacctmgr", "-nP", "show", "associations", f"user={username}", "format=account"]
    return bool(bed.machine.run(member).strip())


def in_portal(bed: Testbed, username: str) -> bool:
    """Return True if the portal's table has the user."""
    return bool(rows(bed, f"select id from users where username = '{username}'"))


def where(bed: Testbed, username: str) -> set[str]:
    """Return the systems that know a person."""
    systems = {"ldap": in_ldap, "slurm": in_slurm, "portal": in_portal}
    return {name for name, knows in systems.items() if knows(bed, username)}


def completes(caller: Caller) -> None:
    """Submit a job, and see it complete."""
    job = output(caller, "slurm/opn/sbatchd", script="#!/bin/sh\nid -un\n")
    shown = ""
    deadline = time.monotonic() + PATIENCE
    while shown.split()[:1] != ["COMPLETED"]:
        assert time.monotonic() < deadline, f"job {job}: {shown}"
        time.sleep(0.5)
        options = {"jobs": job, "noheader": True, "format": "State%20", "allocations": True}
        shown = output(caller, "slurm/cmd/sacct", **options)


def test_who_is_created_logs_in_and_runs_a_job_and_who_is_deleted_does_not(
    admin: Caller, running: Embedded, bed: Testbed
) -> None:
    name = "n.ew-user"
    began = time.monotonic()
    made = output(admin, "hpccenter/opn/create_user", **about(name))
    assert where(bed, name) == {"ldap", "slurm", "portal"}
    row = rows(bed, f"select email, full_name, enabled from users where username = '{name}'")
    assert row == f"{name}@hpc.example|Zoë O'Brien; drop|t"
    with logged_in(running, name, PASSWORD) as caller:
        assert output(caller, "utils/cmd/id", user=True).strip() == str(made["user"]["uid_number"])
        completes(caller)
        assert time.monotonic() - began < 30
        output(caller, "slurm/opn/sbatchd", script="#!/bin/sh\nsleep 300\n")
        gone = output(admin, "hpccenter/opn/delete_user", username=name)
    assert gone == {
        "username": name,
        "accounts": ["project1"],
        "directory": True,
        "groups": [],
        "portal": True,
        "home": f"/home/{name}",
    }
    assert where(bed, name) == set()
    assert str(made["user"]["uid_number"]) not in bed.machine.run(["squeue", "-ho", "%U"])
    failure(running.caller().login(name, PASSWORD), 401)
    assert bed.machine.run(["ls", f"/home/{name}"])
    bed.machine.run(["rm", "-rf", f"/home/{name}"])
    error = failure(admin.post("hpccenter/opn/delete_user", {"username": name}), 424)
    assert error["message"] == f"neither the directory nor Slurm nor the portal has a user {name}"


def test_delete_goes_on_where_one_system_has_forgotten(admin: Caller, bed: Testbed) -> None:
    with somebody(admin, bed, "part.ly"):
        output(admin, "slurm/opn/remove_user", user="part.ly")
        gone = output(admin, "hpccenter/opn/delete_user", username="part.ly")
        assert (gone["accounts"], gone["directory"], gone["portal"]) == ([], True, True)
    with somebody(admin, bed, "part.ly2"):
        output(admin, "ldap/opn/delete_user", username="part.ly2")
        gone = output(admin, "hpccenter/opn/delete_user", username="part.ly2")
        assert (gone["accounts"], gone["directory"], gone["home"]) == (["project1"], False, None)


def test_suspended_person_is_out_and_then_in_again(
    admin: Caller, running: Embedded, bed: Testbed
) -> None:
    name = "susp.end"
    with somebody(admin, bed, name), logged_in(running, name, PASSWORD) as caller:
        output(caller, "slurm/opn/sbatchd", script="#!/bin/sh\nsleep 300\n")
        options = {"username": name, "cancel_jobs": True}
        said = output(admin, "hpccenter/opn/suspend_user", **options)
        state = {"username": name, "suspended": True, "accounts": ["project1"], "portal": True}
        assert said == state
        failure(running.caller().login(name, PASSWORD), 401)
        assert eventually(lambda: caller.http.get("/tasks").status_code == 401, PATIENCE)
        failure(caller.post("slurm/opn/sbatchd", {"script": "#!/bin/sh\n"}), 401)
        assert rows(bed, f"select enabled from users where username = '{name}'") == "f"
        assert output(admin, "ldap/opn/find_user", username=name)["users"][0]["suspended"]

        again = output(admin, "hpccenter/opn/suspend_user", username=name, resume=True)
        assert again == {**state, "suspended": False}
        with logged_in(running, name, PASSWORD) as back:
            completes(back)
        assert rows(bed, f"select enabled from users where username = '{name}'") == "t"


@pytest.mark.parametrize(
    ("daemon", "named", "undone"),
    [
        ("slapd", "LDAP server", []),
        ("slurmdbd", "slurmdbd", ["ldapdelete"]),
        ("postgresql", "PostgreSQL", ["sacctmgr", "ldapdelete"]),
    ],
)
def test_nobody_is_created_where_a_daemon_is_away(
    admin: Caller, running: Embedded, bed: Testbed, daemon: str, named: str, undone: list[str]
) -> None:
    name = f"no.{daemon}"
    with away(bed, daemon):
        answer = admin.post("hpccenter/opn/create_user", about(name))
    error = failure(answer, 424)
    assert (error["type"], error["daemon"], error["retryable"]) == (
        "DaemonUnavailable",
        named,
        True,
    )
    assert error["needs_repair"] == []
    assert len(error["undone"]) == len(undone)
    assert all(word in step for word, step in zip(undone, error["undone"], strict=True))
    assert len(answer.json()["log"]) == len(undone)
    assert where(bed, name) == set()
    failure(running.caller().login(name, PASSWORD), 401)
    with somebody(admin, bed, name):
        pass  # asked again, it succeeds


def test_controller_that_is_away_is_no_hindrance(
    admin: Caller, running: Embedded, bed: Testbed
) -> None:
    with contextlib.ExitStack() as stack:
        with away(bed, "slurmctld"):
            stack.enter_context(somebody(admin, bed, "no.ctld"))
            assert where(bed, "no.ctld") == {"ldap", "slurm", "portal"}
        with logged_in(running, "no.ctld", PASSWORD) as caller:
            completes(caller)


def test_suspension_that_fails_leaves_all_as_it_was(
    admin: Caller, running: Embedded, bed: Testbed
) -> None:
    with somebody(admin, bed, "half"):
        with away(bed, "postgresql"):
            error = failure(admin.post("hpccenter/opn/suspend_user", {"username": "half"}), 424)
        assert (error["daemon"], len(error["undone"]), error["needs_repair"]) == (
            "PostgreSQL",
            2,
            [],
        )
        with logged_in(running, "half", PASSWORD) as caller:
            completes(caller)


def test_deletion_that_fails_says_how_far_it_came(admin: Caller, bed: Testbed) -> None:
    with somebody(admin, bed, "st.ay"):
        with away(bed, "postgresql"):
            answer = admin.post("hpccenter/opn/delete_user", {"username": "st.ay"})
        error = failure(answer, 424)
        assert (error["daemon"], error["undone"], error["needs_repair"]) == ("PostgreSQL", [], [])
        assert len(answer.json()["log"]) == 2
        assert where(bed, "st.ay") == {"portal"}
        again = output(admin, "hpccenter/opn/delete_user", username="st.ay")
        assert (again["accounts"], again["directory"], again["portal"]) == ([], False, True)


def test_what_cannot_be_undone_is_said(admin: Caller, bed: Testbed) -> None:
    """PostgreSQL hangs; while it is waited for, the other two go away as well."""
    with hanging_portal(bed), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(admin.post, "hpccenter/opn/create_user", about("stu.ck"))
        assert eventually(lambda: in_slurm(bed, "stu.ck"), PATIENCE)
        with away(bed, "slapd", "slurmdbd"):
            answer = asked.result()
    try:
        error = failure(answer, 424)
        found = (error["daemon"], error["retryable"], error["undone"])
        assert found == ("PostgreSQL", False, [])
        slurm, ldap = error["needs_repair"]
        assert slurm.startswith("sacctmgr --immediate delete user name=stu.ck account=project1: ")
        assert ldap.startswith("ldapdelete -H ")
        assert "uid=stu.ck,ou=People,dc=hpc,dc=example: " in ldap
        assert bed.site.ldap.password not in answer.text
        assert where(bed, "stu.ck") == {"ldap", "slurm"}
    finally:
        output(admin, "hpccenter/opn/delete_user", username="stu.ck")


def test_killed_worker_leaves_what_the_task_says(bed: Testbed) -> None:
    """The worker is killed while it asks PostgreSQL: two changes are made, no third one."""
    admin = bed.site.admin
    with service(bed.site) as own, logged_in(own, admin.name, admin.password) as caller:
        with hanging_portal(bed):
            task = caller.begin("hpccenter/opn/create_user", about("or.phan"))
            assert eventually(lambda: in_slurm(bed, "or.phan"), PATIENCE)
            assert eventually(lambda: len(commands(caller, task)) == 3, PATIENCE)
            own.kill("worker.main")
        try:
            seen = caller.task(task, 60)
            assert (seen["state"], seen["error"]["type"]) == ("lost", "ContactLost")
            changes = commands(caller, task)
            assert changes["ldapadd"] == changes["sacctmgr"] == 0
            # Its question to the portal survives it, and may be answered; the change is not sent.
            assert changes["psql"] in (0, None)
            assert where(bed, "or.phan") == {"ldap", "slurm"}
        finally:
            output(caller, "hpccenter/opn/delete_user", username="or.phan")
    assert where(bed, "or.phan") == set()


def commands(caller: Caller, task: str) -> dict[str, int | None]:
    """Return the exit codes of a task's changing steps, by program; None if unknown."""
    changes = {"ldapadd": r"^ldapadd .* # uid=", "sacctmgr": " add user ", "psql": " psql "}
    return {
        program: step["exit_code"]
        for step in caller.task(task)["steps"]
        for program, mark in changes.items()
        if re.search(mark, step["command"])
    }


@contextlib.contextmanager
def hanging_portal(bed: Testbed) -> Iterator[None]:
    """PostgreSQL takes connections and says nothing."""
    send = "kill -{} $(head -n 1 /srv/postgresql/postmaster.pid)"
    bed.machine.run(["sh", "-c", send.format("STOP")])
    try:
        yield
    finally:
        bed.machine.run(["sh", "-c", send.format("CONT")])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"username": "alice"}, "the directory already has a user"),
        # The second is that of Slurm 23.11 and newer.
        ({"account": "nowhere"}, "This account 'nowhere' doesn't exist|No account nowhere on"),
    ],
)
def test_request_that_cannot_be_met_leaves_no_trace(
    admin: Caller, bed: Testbed, options: dict[str, str], reason: str
) -> None:
    before = where(bed, "alice")
    wanted = about("no.trace") | options
    error = failure(admin.post("hpccenter/opn/create_user", wanted), 424)
    assert re.search(reason, error["message"])
    assert error["needs_repair"] == []
    assert where(bed, "alice") == before
    assert where(bed, "no.trace") == set()


def test_row_of_somebody_else_in_the_portal_stays(admin: Caller, bed: Testbed) -> None:
    insert = "insert into users (username, email, full_name) values ('ro.w', 'old', 'old')"
    rows(bed, insert)
    try:
        error = failure(admin.post("hpccenter/opn/create_user", about("ro.w")), 424)
        assert error["message"] == "the portal already has a user ro.w"
        assert where(bed, "ro.w") == {"portal"}
        assert rows(bed, "select email from users where username = 'ro.w'") == "old"
    finally:
        rows(bed, "delete from users where username = 'ro.w'")


def test_who_is_no_administrator_changes_nothing(running: Embedded, bed: Testbed) -> None:
    alice = bed.site.users[0]
    with logged_in(running, alice.name, alice.password) as caller:
        error = failure(caller.post("hpccenter/opn/create_user", about("by.alice")), 403)
    assert error["type"] == "NotPermitted"
    assert where(bed, "by.alice") == set()


def test_no_password_is_kept_or_seen(admin: Caller, running: Embedded, bed: Testbed) -> None:
    secrets = [PASSWORD.strip(), bed.site.ldap.password, bed.site.postgresql.password]
    name, done = "sec.ret", threading.Event()
    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(command_lines, [*secrets, f"name={name}"], done)
        try:
            with somebody(admin, bed, name):
                hashes = [stored_hash(bed, name)]
                output(admin, "hpccenter/opn/suspend_user", username=name)
                output(admin, "ldap/opn/change_password", username=name, password=PASSWORD)
                hashes.append(stored_hash(bed, name))
        finally:
            done.set()
    lines = seen.result()
    assert any(f"name={name}" in line for line in lines)
    assert not [line for line in lines if any(secret in line for secret in secrets)]
    assert all(each.startswith("$6$") for each in hashes) and len(set(hashes)) == 2
    kept = places_of([*secrets, *hashes], running)
    assert kept == [str(running.config)]  # where the site itself has written its own


def stored_hash(bed: Testbed, username: str) -> str:
    """Return the hash of a password, as the directory's files contain it."""
    query = ["slapcat", "-f", "/etc/ldap/slapd.conf", "-a", f"(uid={username})"]
    lines = bed.machine.run(query).replace("\n ", "").splitlines()
    [encoded] = [line.split(":: ")[1] for line in lines if line.startswith("userPassword:: ")]
    return base64.b64decode(encoded).decode().removeprefix("{CRYPT}")


def command_lines(texts: list[str], done: threading.Event) -> set[str]:
    """Return all command lines of this machine and the testbed that show one of the texts."""
    found = set()
    while not done.is_set():
        for process in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                line = Path("/proc", process, "cmdline").read_text(errors="replace")
                found |= {line} if any(text in line for text in texts) else set()
    return found
