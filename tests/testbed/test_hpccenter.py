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
from tests.support.centre import logged_in, output
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
        # nslcd tries again at intervals, and refuses every login until then.
        assert eventually(lambda: bed.machine.succeeds(["getent", "passwd", "alice"]))


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


def test_resumed_person_has_what_was_before_and_what_was_changed_since(
    admin: Caller, bed: Testbed
) -> None:
    name = "be.fore"
    with somebody(admin, bed, name) as made:
        dn = f"uid={name},{bed.site.ldap.people}"
        output(admin, "ldap/opn/modify_user", username=name, expires="2038-06-13")
        output(admin, "slurm/opn/add_user", user=name, account="research", max_jobs=3)
        limit(bed, name, "project1", "maxsubmitjobs=7 maxwall=60")
        rows(bed, f"update users set enabled = false where username = '{name}'")
        before = state_of(bed, name)

        for _ in range(2):  # a second suspension changes nothing
            output(admin, "hpccenter/opn/suspend_user", username=name)
            closed = state_of(bed, name)
            assert closed["ldap"] == ["1"]
            assert [line.split("|")[1] for line in closed["slurm"]] == ["0", "0"]
            with pytest.raises(RuntimeError, match=r"[Ll]imit"):
                submit(bed, made["user"])
        output(admin, "hpccenter/opn/suspend_user", username=name, resume=True)
        assert state_of(bed, name) == before
        assert submit(bed, made["user"]).isdecimal()

        output(admin, "hpccenter/opn/suspend_user", username=name)
        change = f"dn: {dn}\nchangetype: modify\nreplace: shadowExpire\nshadowExpire: 26000\n"
        modify(bed, change)
        limit(bed, name, "project1", "maxsubmitjobs=-1 grpsubmitjobs=5")
        rows(bed, f"update users set enabled = true where username = '{name}'")
        again = output(admin, "hpccenter/opn/suspend_user", username=name)
        assert sorted(again["accounts"]) == ["project1", "research"]
        assert state_of(bed, name)["ldap"] == ["1"]
        output(admin, "hpccenter/opn/suspend_user", username=name, resume=True)
        after = state_of(bed, name)
        assert (after["ldap"], after["portal"], after["marks"]) == (["26000"], ["t"], [])
        assert after["slurm"] == [before["slurm"][0].replace("||7|", "|5||"), before["slurm"][1]]


def submit(bed: Testbed, user: dict[str, Any]) -> str:
    """Submit a job as a user of the directory who does not log in; return its id."""
    who = [f"--reuid={user['uid_number']}", f"--regid={user['gid_number']}", "--clear-groups"]
    job = ["sbatch", "--parsable", "--chdir=/tmp", "--account=project1", "--wrap=true"]
    return bed.machine.run(["setpriv", *who, "--", *job]).strip()


def limit(bed: Testbed, username: str, account: str, words: str) -> None:
    """Set limits of a user's association as a site's administrator does."""
    where = ["where", f"name={username}", f"account={account}", "set", *words.split()]
    bed.machine.run(["sacctmgr", "-i", "modify", "user", *where])


def modify(bed: Testbed, ldif: str) -> None:
    """Change the directory as a site's administrator does."""
    ldap = bed.site.ldap
    bind = ["-x", "-H", ldap.uri, "-D", ldap.bind_dn, "-w", ldap.password]
    bed.machine.run(["sh", "-c", 'printf %s "$0" | ldapmodify "$@"', ldif, *bind])


def state_of(bed: Testbed, username: str) -> dict[str, list[str]]:
    """Return what a suspension may change, as the systems have it."""
    ldap = bed.site.ldap
    base = f"uid={username},{ldap.people}"
    entry = ["ldapsearch", "-x", "-LLL", "-o", "ldif-wrap=no", "-H", ldap.uri, "-b", base]
    lines = bed.machine.run([*entry, "-D", ldap.bind_dn, "-w", ldap.password]).splitlines()
    columns = "account,grpsubmitjobs,maxsubmitjobs,maxjobs,maxwall"
    show = ["sacctmgr", "-nP", "show", "associations", f"user={username}", "WOPLimits"]
    return {
        "ldap": [line.split()[1] for line in lines if line.startswith("shadowExpire: ")],
        "marks": [line for line in lines if line.startswith("description: ")],
        "slurm": sorted(bed.machine.run([*show, f"format={columns}"]).split()),
        "portal": [rows(bed, f"select enabled from users where username = '{username}'")],
    }


@pytest.mark.parametrize(
    ("daemon", "named"),
    [("slapd", "LDAP server"), ("slurmdbd", "slurmdbd"), ("postgresql", "PostgreSQL")],
)
def test_nothing_is_begun_where_a_daemon_is_away(
    admin: Caller, running: Embedded, bed: Testbed, daemon: str, named: str
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
    assert error["needs_repair"] == error["undone"] == answer.json()["log"] == []
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
        assert (error["daemon"], error["undone"], error["needs_repair"]) == ("PostgreSQL", [], [])
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


def test_what_cannot_be_undone_is_listed_and_then_repaired(admin: Caller, bed: Testbed) -> None:
    """The portal makes the creation wait; meanwhile all three systems go away."""
    name, left = "stu.ck", {"ldap", "slurm"}
    with locked_portal(bed), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(admin.post, "hpccenter/opn/create_user", about(name))
        assert eventually(lambda: in_slurm(bed, name), PATIENCE)
        time.sleep(1)  # the portal is asked next
        with away(bed, "slapd", "slurmdbd", "postgresql"):
            answer = asked.result()
    try:
        error = failure(answer, 502)
        found = (error["type"], error["retryable"], error["undone"])
        assert found == ("ContactLost", False, [])
        portal, slurm, ldap = error["needs_repair"]
        assert f"# remove {name} from the portal: " in portal
        assert slurm.startswith(f"sacctmgr --immediate delete user name={name} account=project1: ")
        assert f"uid={name},ou=People,dc=hpc,dc=example: " in ldap
        assert [(item["what"], item["state"]) for item in error["repair"]] == [
            (f"remove {name} from the portal", "failed"),
            (f"delete user {name} account project1", "failed"),
            (f"delete uid={name},ou=People,dc=hpc,dc=example", "failed"),
        ]
        assert bed.site.ldap.password not in answer.text
        assert where(bed, name) == left

        task = answer.json()["task"]
        with away(bed, "slapd"):
            half = failure(admin.http.post(f"/tasks/{task}/repair"), 424)
        assert (len(half["undone"]), len(half["needs_repair"])) == (
            1,
            1,
        )  # no row was in the portal
        assert where(bed, name) == {"ldap"}
        moved = admin.task(task)["error"]
        assert moved["needs_repair"] == [] and moved["repaired_by"]
        done = admin.http.post(f"/tasks/{task}/repair")
        assert done.status_code == 200 and len(done.json()["output"]["undone"]) == 1, done.text
        assert where(bed, name) == set()
        again = admin.http.post(f"/tasks/{task}/repair")
        assert (again.status_code, again.json()["output"]["undone"]) == (200, [])
    finally:
        if where(bed, name):
            output(admin, "hpccenter/opn/delete_user", username=name)


def test_who_may_repair(admin: Caller, alice: Caller) -> None:
    failed = failure(admin.post("hpccenter/opn/create_user", about("by.x", account="nowhere")), 424)
    assert failed["needs_repair"] == []
    task = admin.newest("task")[0]
    for unknown in (task, "nosuch"):
        failure(alice.http.post(f"/tasks/{unknown}/repair"), 404)
    answer = admin.http.post(f"/tasks/{task}/repair")
    assert (answer.status_code, answer.json()["output"]) == (200, {"task": task, "undone": []})
    own = alice.run("false").json()["task"]
    shown = admin.http.post(f"/tasks/{own}/repair", params={"dry_run": True})
    assert (shown.status_code, shown.json()["repair"]) == (200, [])
    assert admin.http.post(f"/tasks/{own}/repair").status_code == 200


@contextlib.contextmanager
def locked_portal(bed: Testbed) -> Iterator[None]:
    """Make changes of the portal's users wait, but not queries."""
    lock = "begin; lock table users in share mode; select pg_sleep(100)"
    with ThreadPoolExecutor(1) as pool:
        locking = pool.submit(rows, bed, lock)
        try:
            yield
        finally:
            ended = "select pg_terminate_backend(pid) from pg_stat_activity where query like '%s%%'"
            rows(bed, ended % "begin; lock table users")
            with contextlib.suppress(Exception):
                locking.result()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"username": "alice"}, "alice is already in the Slurm account|already has a user alice"),
        ({"account": "nowhere"}, "Slurm has no account nowhere"),
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
