"""Attacks on the audit log: filling it, forging lines, reading unnoticed, changing its entries."""

import contextlib
import csv
import io
import itertools
import json
import re
import secrets
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from resop.storage.database import Database
from tests.acceptance.conftest import ACCOUNTS
from tests.support.hostile_text import FORGED_LINE
from tests.support.openssh import OpenSSH
from tests.support.ports import HOST
from tests.support.service import (
    Caller,
    Distributed,
    Embedded,
    Service,
    cluster_settings,
    failure,
    run_resop,
)
from tests.support.services import eventually


def new_address() -> str:
    """Return an address in a network of its own."""
    return f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}::1"


def entries(service: Service, *options: str) -> list[dict[str, Any]]:
    """Return audit entries, newest first."""
    done = run_resop(service.folder, "audit", "--format", "ndjson", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def verified(service: Service) -> tuple[int, str]:
    done = run_resop(service.folder, "audit", "verify")
    return done.returncode, done.stdout + done.stderr


def audit_bytes(service: Service) -> int:
    done = run_resop(service.folder, "audit", "--format", "ndjson", "--marks")
    return len(done.stdout)


# -- filling the log


def test_strangers_with_long_paths_cannot_fill_the_log(service: Service) -> None:
    stranger = service.caller()
    stranger.http.headers["X-Forwarded-For"] = address = new_address()
    rows, log = audit_bytes(service), len(service.log())
    for number in range(200):
        path = f"/{'a' * 60_000}{number}/opn/x"
        assert stranger.http.post(path).status_code in (401, 414)
    assert audit_bytes(service) - rows < 100 * 1024
    assert len(service.log()) - log < 200 * 1024
    found = [each for each in entries(service) if each["address"] == address]
    assert all(len(each["path"]) < 600 for each in found)


def test_tried_logins_beyond_a_limit_are_counted(service: Service) -> None:
    stranger = service.caller()
    stranger.http.headers["X-Forwarded-For"] = address = new_address()
    for number in range(60):
        answer = stranger.post(
            "auth/opn/login", {"username": f"nobody{number}"}, query={"dry_run": "true"}
        )
        assert answer.status_code == 422, answer.text  # no password
    found = [each for each in entries(service) if each["address"] == address]
    assert 1 <= len(found) <= 20


def test_dry_run_of_a_login_has_an_entry_without_its_password(service: Service) -> None:
    stranger = service.caller()
    stranger.http.headers["X-Forwarded-For"] = address = new_address()
    secret = secrets.token_hex(16)
    answer = stranger.post(
        "auth/opn/login", {"username": "alice", "password": secret}, query={"dry_run": "true"}
    )
    assert answer.status_code == 200
    [entry] = [each for each in entries(service) if each["address"] == address]
    assert (entry["username"], entry["outcome"]) == ("alice", "checked")
    assert secret not in json.dumps(entry)


# -- forging lines


def test_no_request_forges_a_line_of_the_log(service: Service, alice: Caller) -> None:
    marker = secrets.token_hex(8)
    forged = f"{FORGED_LINE}{marker}"
    caller = service.caller(alice.token)
    for line_break in ("%0A", "%0D%0A", "%E2%80%A8", "%C2%85", "%1B[2K", "%E2%80%AE"):
        caller.http.get(f"/files/x{line_break}{forged}")
        caller.http.post(f"/x{line_break}{forged}/opn/y")
    for name in (f"x\n{forged}", f"x\u2028{forged}", f"x\x1b[1A{forged}"):
        caller.post("auth/opn/login", {"username": name[:64], "password": "x"})
        caller.http.get("/tasks", headers={"X-Request-Id": "x" * 60, "User-Agent": "x"})
    caller.run(f"printf 'x\\n{forged}\\n' >&2; exit 1")
    lines = [line for line in service.log().splitlines() if marker in line]
    assert lines
    for line in lines:
        assert not line.startswith(FORGED_LINE) and line.isascii() and line.isprintable()


# -- reading unnoticed


def test_reads_are_entries(service: Service, alice: Caller, bob: Caller) -> None:
    reader = service.caller(alice.token)
    other = service.caller(bob.token)
    address = new_address()
    for caller in (reader, other):
        caller.http.headers["X-Forwarded-For"] = address
    name = f"read-{secrets.token_hex(4)}"
    assert reader.http.put(f"/files/{name}", content=b"x").status_code in (200, 201)
    task = reader.run("true").json()["task"]
    paths = [
        *(f"/files/{name}", "/folders/~", "/tasks", "/tasks/export.csv", "/tasks/export.ndjson"),
        *(f"/tasks/{task}", f"/tasks/{task}/events"),
    ]
    for path in paths:
        assert reader.http.get(path).status_code == 200, path
    failure(other.http.get(f"/tasks/{task}"), 404)
    failure(reader.http.get("/files/none-of-this-name"), 404)

    def found() -> dict[tuple[str, str], str]:
        return {
            (each["username"], each["path"]): each["outcome"]
            for each in entries(service)
            if each["address"] == address and each["method"] == "GET"
        }

    expected = {("alice", path): "done" for path in paths}
    expected[("bob", f"/tasks/{task}")] = "refused"
    expected[("alice", "/files/none-of-this-name")] = "refused"
    assert eventually(lambda: found() == expected, 30), found()


def test_batch_names_what_each_item_did(service: Service, alice: Caller) -> None:
    secret = secrets.token_hex(8)
    items = [{"who": f"user{number}"} for number in range(5)]
    answer = alice.http.post(
        "/core/opn/run/batch", json={"options": {"command": "echo {{who}}"}, "items": items}
    )
    assert answer.status_code == 202, answer.text
    batch = answer.json()["batch"]
    alice.http.get(f"/batches/{batch}", params={"wait": 50})
    [entry] = entries(service, "--task", batch)
    assert entry["items"]["count"] == 5 and entry["items"]["first"] == items
    assert entry["task_state"] == "5 succeeded"
    shown = run_resop(service.folder, "audit", "--batch", batch).stdout
    assert all(f'{{"who": "user{number}"}}' in shown for number in range(5))
    assert "5 items, as accepted" in shown and secret not in shown
    task = alice.http.get(f"/batches/{batch}/tasks").json()["tasks"][3]["task"]
    assert "3 " in (one := run_resop(service.folder, "audit", "--task", task).stdout)
    assert "user3" in one and "echo {{who}}" in one
    with changed(service, "task", 'parameters = \'{"who":"x"}\'', f"id = '{task}'"):
        shown = run_resop(service.folder, "audit", "--batch", batch).stdout
        assert "NOT THOSE ACCEPTED" in shown


def test_end_of_a_task_is_shown_with_its_entry(service: Service, alice: Caller) -> None:
    failed = alice.run("exit 3").json()["task"]
    assert "(failed CommandFailed)" in run_resop(service.folder, "audit", "--task", failed).stdout


def test_what_a_worker_refuses_is_refused(service: Service, alice: Caller) -> None:
    answer = alice.post("db/opn/list_users")
    error = failure(answer, 403)
    assert error["type"] == "NotPermitted"

    def refusals() -> list[dict[str, Any]]:
        found = entries(service, "--action", "db:list_users", "--outcome", "refused")
        return [each for each in found if each["method"] == "TASK"]

    assert eventually(refusals, 30)
    refusal = refusals()[0]
    assert (refusal["username"], refusal["error"]) == ("alice", "NotPermitted")
    [accepted] = [
        each for each in entries(service, "--task", refusal["task"]) if each["method"] == "POST"
    ]
    assert accepted["request"] == refusal["request"]


# -- changing entries


@contextlib.contextmanager
def database_of(service: Service) -> Iterator[Database]:
    """Open the service's database, as its thief."""
    with contextlib.closing(Database(service.settings.database_url)) as database:
        yield database


@contextlib.contextmanager
def changed(service: Service, table: str, change: str, where: str) -> Iterator[None]:
    """Change rows, and restore them."""
    with database_of(service) as database:
        rows = _rows(database, table, where)
        assert rows
        _execute(database, f"UPDATE {table} SET {change} WHERE {where}")
        try:
            yield
        finally:
            _execute(database, f"DELETE FROM {table} WHERE id IN :ids", ids=[r["id"] for r in rows])
            _restore(database, table, rows)


@contextlib.contextmanager
def deleted(service: Service, table: str, where: str) -> Iterator[None]:
    """Delete rows, and restore them."""
    with database_of(service) as database:
        rows = _rows(database, table, where)
        assert rows
        _execute(database, f"DELETE FROM {table} WHERE {where}")
        try:
            yield
        finally:
            _restore(database, table, rows)


def _rows(database: Database, table: str, where: str) -> list[dict[str, Any]]:
    with database.read() as db:
        rows = db.execute(text(f"SELECT * FROM {table} WHERE {where}"))
        return [dict(row._mapping) for row in rows]


def _execute(database: Database, statement: str, *, ids: list[str] | None = None) -> None:
    if ids is not None:
        statement = statement.replace(":ids", "({})".format(", ".join(f"'{id}'" for id in ids)))
    with database.write() as db:
        assert db.execute(text(statement)).rowcount


def _restore(database: Database, table: str, rows: list[dict[str, Any]]) -> None:
    names = ", ".join(f"`{name}`" for name in rows[0])
    values = ", ".join(f":{name}" for name in rows[0])
    with database.write() as db:
        db.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), rows)


def test_tampering_with_the_database_is_found(service: Service, alice: Caller) -> None:
    def write(number: int) -> None:
        caller = service.caller(alice.token, api=number % len(service.ports))
        assert caller.run(f"echo {number}").status_code == 200
        caller.http.get("/tasks")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(24)))
    code, report = verified(service)
    assert code == 0 and "the audit log: ok" in report, report
    ran = entries(service, "--user", "alice", "--action", "core:run")
    # Not the last of its chain: the loss of that one is found with the next entry or checkpoint.
    newest: dict[str, int] = {}
    for each in ran:
        newest.setdefault(each["writer"], each["sequence"])
    entry = next(
        each for each in ran if each["options"] and each["sequence"] < newest[each["writer"]]
    )
    writer, number = entry["writer"], entry["sequence"]
    mine = f"writer = '{writer}' AND sequence"
    attacks = [
        (changed(service, "audit", "username = 'bob'", f"{mine} = {number}"), f"entry {number} of"),
        (changed(service, "audit", "options = NULL", f"{mine} = {number}"), f"entry {number} of"),
        (deleted(service, "audit", f"{mine} = {number}"), f"entry {number} is missing"),
        (deleted(service, "audit", f"{mine} <= {number}"), f"entries 1 to {number} are missing"),
        (
            changed(service, "audit", "writer = NULL", f"{mine} = {number}"),
            f"entry {number} is missing",
        ),
    ]
    for attack, expected in attacks:
        with attack:
            code, report = verified(service)
            assert code == 1 and "BROKEN" in report, report
            assert writer in report and expected in report, report
    code, report = verified(service)
    assert code == 0, report
    if isinstance(service, Distributed):
        writers = {each["writer"] for each in entries(service) if each["action"] == "core:run"}
        assert len(writers) >= 2  # both API processes wrote at once


# -- auditors, streams and retention, on a service of their own


@pytest.fixture(scope="module")
def syslog() -> Iterator[socket.socket]:
    """Receive what is sent to a syslog server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((HOST, 0))
        receiver.settimeout(30)
        yield receiver


@pytest.fixture(scope="module")
def audited(folder: Path, ssh: OpenSSH, syslog: socket.socket) -> Iterator[Embedded]:
    """Start a service with an auditor and both streams."""
    settings = {
        **cluster_settings(ssh),
        "AUDITORS": "bob@hpc",
        "AUDIT_FILE": folder / "audited.ndjson",
        "AUDIT_SYSLOG": f"udp://{HOST}:{syslog.getsockname()[1]}",
    }
    with Embedded(folder / "audited", settings) as started:
        yield started
    assert not re.search(r"^Traceback", started.log(), re.MULTILINE)


@pytest.fixture(scope="module")
def auditor(audited: Embedded) -> Caller:
    return audited.log_in(ACCOUNTS["bob"])


@pytest.fixture(scope="module")
def user(audited: Embedded) -> Caller:
    return audited.log_in(ACCOUNTS["alice"])


def test_auditor_reads_masked_records_and_each_read_is_an_entry(
    audited: Embedded, auditor: Caller, user: Caller
) -> None:
    output = f"output-{secrets.token_hex(8)}"
    task = user.run(f"echo {output[:7]}''{output[7:]}; echo {output[:7]}''{output[7:]} >&2; exit 3")
    task_id = task.json()["task"]
    assert output in task.text
    one = auditor.http.get(f"/tasks/{task_id}")
    many = auditor.http.get("/tasks", params={"user": "alice@hpc"})
    assert one.status_code == many.status_code == 200
    assert output not in one.text + many.text
    record = one.json()
    assert record["username"] == "alice" and record["state"] == "failed"
    assert record["options"]["command"] and record["error"] == {"type": "CommandFailed"}
    assert not {"output", "stderr", "log", "steps", "note"} & set(record)
    assert record in many.json()["tasks"]
    log = auditor.http.get("/audit", params={"user": "alice@hpc", "action": "core:*"}).json()
    assert log["entries"][0]["task"] == task_id
    assert log["entries"][0]["task_state"] == "failed CommandFailed"

    def reads() -> set[tuple[str, str]]:
        return {
            (each["path"], json.dumps(each["options"]))
            for each in entries(audited, "--user", "bob")
            if each["method"] == "GET"
        }

    expected = {
        (f"/tasks/{task_id}", '{"user": "alice@hpc"}'),
        ("/tasks", '{"user": "alice@hpc"}'),
        ("/audit", '{"user": "alice@hpc", "action": "core:*"}'),
    }
    assert eventually(lambda: expected <= reads(), 30), reads()


def test_auditor_may_only_read(auditor: Caller, user: Caller) -> None:
    task = user.begin("core/opn/run", {"command": "sleep 5"})
    failure(auditor.http.delete(f"/tasks/{task}"), 404)
    failure(auditor.http.patch(f"/tasks/{task}", json={"note": "x"}), 404)
    failure(auditor.http.get(f"/tasks/{task}/events"), 404)
    user.http.delete(f"/tasks/{task}", params={"wait": 30})


def test_everybody_else_reads_nothing(audited: Embedded, auditor: Caller, user: Caller) -> None:
    task = auditor.run("true").json()["task"]
    for path in ("/audit", "/audit/export.csv", "/tasks?user=bob@hpc"):
        assert failure(user.http.get(path), 403)["type"] == "NotPermitted"
    failure(user.http.get(f"/tasks/{task}"), 404)
    assert user.http.get("/tasks?user=alice@hpc").status_code == 200
    for path in ("/audit", "/audit/export.csv"):
        failure(audited.caller().http.get(path), 401)


def test_pages_of_the_log_continue_where_they_ended_and_csv_has_no_formulas(
    audited: Embedded, auditor: Caller
) -> None:
    stranger = audited.caller()
    for _ in range(3):
        stranger.login("=1+1", "x")
    params: dict[str, Any] = {"outcome": "refused", "action": "auth:login", "limit": 2}
    first = auditor.http.get("/audit", params=params).json()
    second = auditor.http.get("/audit", params={**params, "cursor": first["next"]}).json()
    ids = [each["id"] for each in first["entries"] + second["entries"]]
    assert len(ids) >= 3 and ids == sorted(set(ids), reverse=True)
    table = auditor.http.get("/audit/export.csv", params={"outcome": "refused"})
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert rows and all(
        not value.startswith(("=", "+", "@")) for row in rows for value in row.values()
    )


def test_streams_have_every_entry_in_the_order_of_its_chain(
    audited: Embedded, user: Caller, syslog: socket.socket, folder: Path
) -> None:
    task = user.run("true").json()["task"]
    file = folder / "audited.ndjson"
    assert eventually(lambda: task in file.read_text(), 30)
    assert file.stat().st_mode & 0o777 == 0o600
    chains: dict[str, list[int]] = {}
    for line in file.read_text().splitlines():
        entry = json.loads(line)
        chains.setdefault(entry["writer"], []).append(entry["sequence"])
    assert len(chains) == 2  # of the API process and the worker
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in chains.values())
    message = ""
    while task not in message:
        message = syslog.recv(1 << 16).decode("ascii")
    pattern = r"<86>1 \d{4}-\d\d-\d\dT[\d:.]+Z \S+ resop \d+ audit - (\{.*\})"
    matched = re.fullmatch(pattern, message)
    assert matched and json.loads(matched[1])["task"] == task
    done = run_resop(audited.folder, "audit", "verify", str(file))
    assert done.returncode == 0 and done.stdout.count(": ok,") == 2, done.stdout
    # Logrotate renames the file, and sends no signal.
    file.rename(old := file.with_suffix(".1"))
    later = user.run("true").json()["task"]
    assert eventually(lambda: file.exists() and later in file.read_text(), 30)
    done = run_resop(audited.folder, "audit", "verify", str(old), str(file))
    assert done.returncode == 0, done.stdout


def test_rollback_of_the_whole_database_is_found_with_the_file(
    audited: Embedded, user: Caller, folder: Path
) -> None:
    task = user.run("true").json()["task"]
    file = folder / "audited.ndjson"
    assert eventually(lambda: task in file.read_text(), 30)
    lines = map(json.loads, file.read_text().splitlines())
    entry = next(each for each in lines if each["task"] == task)
    rolled_back = f"writer = '{entry['writer']}' AND sequence >= {entry['sequence']}"
    with deleted(audited, "audit", rolled_back):
        done = run_resop(audited.folder, "audit", "verify", str(file))
        assert done.returncode == 1 and "were noted in the file" in done.stdout, done.stdout


def test_old_entries_are_pruned_only_after_a_verified_export(
    audited: Embedded, user: Caller, folder: Path
) -> None:
    for _ in range(5):
        user.run("true")
    with database_of(audited) as database, database.read() as db:
        at = db.execute(text("SELECT max(at) FROM audit WHERE action = 'core:run'")).scalar()
    before, file = f"{at}", folder / "exported.ndjson"
    prune = ("audit", "prune", "--before", before)
    refused = run_resop(audited.folder, *prune)
    assert refused.returncode == 1 and "run `resop audit export`" in refused.stderr
    done = run_resop(audited.folder, "audit", "export", "--before", before, "--to", str(file))
    assert done.returncode == 0, done.stderr
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"alice"', b'"mary"', 1))
    refused = run_resop(audited.folder, *prune)
    assert refused.returncode == 1 and "was changed" in refused.stderr
    file.write_bytes(content)

    def old() -> list[dict[str, Any]]:
        """Return the old entries that no younger entry of their chain precedes."""
        remaining: dict[str, list[dict[str, Any]]] = {}
        for each in entries(audited, "--marks"):
            remaining.setdefault(each["writer"], []).append(each)
        moment = before.replace(" ", "T")
        return [
            each
            for chain in remaining.values()
            for each in itertools.takewhile(
                lambda each: each["at"] < moment, sorted(chain, key=itemgetter("sequence"))
            )
        ]

    assert len(old()) > 2
    done = run_resop(audited.folder, *prune)
    assert done.returncode == 0, done.stderr
    assert old() == []
    user.run("true")
    assert verified(audited)[0] == 0, verified(audited)
