"""The audit log: one entry for each acting request, even if refused; no entry can be changed."""

import contextlib
import json
import secrets
from pathlib import Path
from typing import Any

import pymysql
import pytest
from sqlalchemy import make_url

from tests.acceptance.conftest import ACCOUNTS
from tests.support.service import Caller, Distributed, failure, run_resop

ACTING = ("POST", "PATCH", "PUT", "DELETE")
FORM = "/core/opn/script/submit"


@pytest.fixture
def client(guarded: Distributed) -> Caller:
    """Create a caller with an address of which there are no other entries."""
    caller = guarded.caller()
    address = f"2001:db8::{secrets.token_hex(2)}:{secrets.token_hex(2)}"
    caller.http.headers["X-Forwarded-For"] = address
    return caller


@pytest.fixture(scope="module")
def owner(folder: Path, guarded: Distributed) -> Path:
    """Return the folder in which the database's owner runs `resop audit`."""
    return folder / "owner"


def entries(owner: Path, client: Caller, *options: str) -> list[dict[str, Any]]:
    """Return the audit entries of one client, oldest first."""
    done = run_resop(owner, "audit", "--format", "ndjson", *options)
    assert done.returncode == 0, done.stderr
    found = map(json.loads, done.stdout.splitlines())
    address = client.http.headers["X-Forwarded-For"]
    return [each for each in found if each["address"] == address and each["method"] in ACTING][::-1]


def test_each_acting_request_has_one_entry(client: Caller, owner: Path) -> None:
    secret, wrong = f"marker-{secrets.token_hex(8)}", f"wrong-{secrets.token_hex(8)}"
    client.post("core/opn/run", {"command": "id"})
    client.post("auth/opn/login", {"username": "tina", "password": [wrong]})
    client.login("tina", wrong)
    token = client.login("tina", ACCOUNTS["tina"].password).json()["output"]["token"]
    client.http.headers["Authorization"] = f"Bearer {token}"
    hello = {"names": ["ada"], "password": secret}
    client.post("template/opn/hello", hello, query={"dry_run": "true"})
    done = client.post("template/opn/hello", hello).json()["task"]
    client.post("template/opn/hello", {"names": ["ada"], "pasword": secret})
    failed = client.run("exit 3").json()["task"]
    client.post("core/opn/script", {"script": f"#!/bin/sh\n{secret}"})
    client.http.patch(f"/tasks/{done}", json={"note": secret})
    client.http.delete(f"/tasks/{failed}")
    client.http.delete("/tasks/none")
    client.http.post(FORM, data={"script": secret}, headers={"Cookie": f"resop={token}"})
    client.post("auth/opn/logout")
    client.post("no/such/path", {"secret": secret})
    for path in ("/tasks", "/", f"/tasks/{done}"):
        client.http.get(path)

    found = entries(owner, client)
    summaries = [
        (each["username"], each["action"] or f"{each['method']} {each['path']}", each["outcome"])
        for each in found
    ]
    assert summaries == [
        ("", "POST /core/opn/run", "refused"),
        ("", "auth:login", "refused"),
        ("tina", "auth:login", "refused"),
        ("tina", "auth:login", "done"),
        ("tina", "template:hello", "accepted"),
        ("tina", "template:hello", "refused"),
        ("tina", "core:run", "accepted"),
        ("tina", "core:script", "refused"),
        ("tina", f"PATCH /tasks/{done}", "done"),
        ("tina", f"DELETE /tasks/{failed}", "done"),
        ("tina", "DELETE /tasks/none", "refused"),
        ("tina", "core:script", "refused"),
        ("tina", "auth:logout", "done"),
    ]
    assert [each["error"] for each in found if each["error"]] == [
        *("NotLoggedIn", "InvalidOptions", "LoginRefused"),
        *("InvalidOptions", "Forbidden", "UnknownTask", "Forbidden"),
    ]
    assert [each["task"] for each in found if each["task"]] == [done, failed]
    assert found[2]["options"] == {"username": "tina", "password": "********"}
    assert found[4]["options"]["password"] == "********"
    assert found[6]["options"] == {"command": "exit 3"}
    assert [each["options"] for each in found if each["error"] == "InvalidOptions"] == [None, None]
    written = json.dumps(found)
    assert not any(text in written for text in (secret, wrong, ACCOUNTS["tina"].password, token))


def test_dry_run_that_a_worker_runs_is_recorded_as_checked(client: Caller, owner: Path) -> None:
    token = client.login("tina", ACCOUNTS["tina"].password).json()["output"]["token"]
    client.http.headers["Authorization"] = f"Bearer {token}"
    query = {"dry_run": "true"}
    answer = client.post("slurm/opn/create_account", {"account": "ice"}, query=query)
    assert failure(answer, 424)["message"]  # the login node has no Slurm
    [entry] = [each for each in entries(owner, client) if each["action"] == "slurm:create_account"]
    assert (entry["outcome"], entry["options"]) == ("checked", {"account": "ice"})
    assert entry["task"] == answer.json()["task"]


def test_address_and_id_are_not_the_clients_choice_without_trusted_proxies(
    guarded: Distributed, client: Caller, owner: Path
) -> None:
    with guarded.additional_api(TRUSTED_PROXIES="") as plain:
        caller, name = guarded.caller(api=plain), f"check-{secrets.token_hex(8)}"
        headers = {"X-Forwarded-For": "192.0.2.9", "X-Request-Id": name}
        assert caller.http.post("/utils/cmd/id", headers=headers).status_code == 401
    lines = run_resop(owner, "audit", "--format", "ndjson", "--outcome", "refused").stdout
    [entry] = [
        each for each in map(json.loads, lines.splitlines()) if each["client_request"] == name
    ]
    assert entry["address"] == "127.0.0.1" and entry["request"] != name


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET username = 'x'",
        "DELETE FROM audit",
        "REPLACE INTO audit (id) VALUES ('x')",
        "INSERT INTO audit (id) VALUES ('x') ON DUPLICATE KEY UPDATE username = 'x'",
        "TRUNCATE TABLE audit",
        "DROP TABLE audit",
        "ALTER TABLE audit DROP COLUMN username",
        "RENAME TABLE audit TO other",
        "CREATE TRIGGER t BEFORE INSERT ON audit FOR EACH ROW SET NEW.username = 'x'",
        "SELECT username FROM audit",
    ],
)
def test_service_database_user_can_only_add_audit_entries(
    guarded: Distributed, statement: str
) -> None:
    url = pymysql_address(guarded)
    with (
        contextlib.closing(pymysql.connect(**url)) as connection,
        connection.cursor() as cursor,
        pytest.raises(pymysql.err.OperationalError, match="command denied"),
    ):
        cursor.execute(statement)


def pymysql_address(guarded: Distributed) -> dict[str, Any]:
    url = make_url(guarded.settings.database_url)
    return {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "database": url.database,
    }
