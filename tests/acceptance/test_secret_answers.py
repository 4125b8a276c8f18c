"""Secrets of an answer, such as a generated password: shown once, to the login that asked."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import ACCOUNTS
from tests.acceptance.secrecy import places_of
from tests.acceptance.test_batches import counts, get_batch
from tests.support.service import Caller, Distributed, Service, failure
from tests.support.services import MariaDB

ISSUE = "mysite/opn/issue"
MASKED = {"password": "********", "parts": ["********"]}
PASSWORD = re.compile("pw-[0-9a-f]{24}")


def of(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["output"]


def revealed(output: Any) -> str:
    """Check that an output shows its password in all places, and return it."""
    password = output["password"]
    assert PASSWORD.fullmatch(password) and output["parts"] == [password]
    return str(password)


def table(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_secret_answer_is_shown_once_to_its_login_and_is_found_nowhere(
    service: Service, alice: Caller, bob: Caller, request: pytest.FixtureRequest
) -> None:
    other = service.log_in(ACCOUNTS["alice"])
    answer = alice.post(ISSUE, {"name": "ada"})
    passwords = [revealed(of(answer))]
    task = answer.json()["task"]
    assert alice.task(task)["output"] == {"name": "ada", **MASKED}
    assert of(alice.http.post(f"/tasks/{task}/secrets")) == {"name": "ada", **MASKED}

    late = alice.begin(ISSUE, {"name": "bea"})
    ended = alice.task(late, wait=20)
    assert (ended["state"], ended["output"]) == ("succeeded", {"name": "bea", **MASKED})
    for caller, status in ((bob, 404), (service.caller(), 401)):
        failure(caller.http.post(f"/tasks/{late}/secrets"), status)
    assert of(other.http.post(f"/tasks/{late}/secrets"))["password"] == "********"
    assert alice.http.head(f"/tasks/{late}").status_code == 200
    passwords.append(revealed(of(alice.http.post(f"/tasks/{late}/secrets"))))
    assert of(alice.http.post(f"/tasks/{late}/secrets"))["password"] == "********"

    failed = alice.post(ISSUE, {"name": "cy", "exit_code": 3}).json()
    assert (failed["output"], failed["error"]["type"]) == (None, "CommandFailed")
    assert_nowhere(passwords, service, request)


def assert_nowhere(passwords: list[str], service: Service, request: pytest.FixtureRequest) -> None:
    """Search all stored data: Redis, database files, logs."""
    folders: list[Path] = []
    if isinstance(service, Distributed):
        mariadb: MariaDB = request.getfixturevalue("mariadb")
        folders.append(mariadb.folder)
    assert places_of(passwords, service, *folders) == []


def test_table_with_secrets_is_shown_once_and_names_bad_rows(
    service: Service, alice: Caller, request: pytest.FixtureRequest
) -> None:
    rows = "name;exit_code\nada;\nbea;x\n=cy();\ndora;3\neve\n"
    kind = {"Content-Type": "text/csv; charset=utf-8"}
    refused = failure(alice.http.post(f"/{ISSUE}/batch", content=rows, headers=kind), 422)
    assert [each["field"] for each in refused["faults"]] == ["line 3, exit_code", "line 6"]

    query = {"keep_going": "true", "at_once": "2"}
    answer = alice.http.post(f"/{ISSUE}/batch", content=rows, headers=kind, params=query)
    assert answer.status_code == 202, answer.text
    batch = answer.json()["batch"]
    shown = get_batch(alice, batch, wait=30)
    assert (shown["size"], shown["at_once"]) == (5, 2)
    assert (shown["state"], counts(shown)) == ("ended", {"succeeded": 2, "failed": 3})

    columns = {"column": ["password", "parts"]}
    masked = table(alice.http.get(f"/batches/{batch}/results.csv", params=columns))
    assert [row["password"] for row in masked] == ["********", "", "********", "", ""]
    faults = [json.loads(row["error"])["message"] if row["error"] else "" for row in masked]
    assert faults[1] == "line 3, exit_code: must be a whole number"
    assert faults[4] == "line 6: has 1 cell, but the header has 2 columns"
    assert [row["name"] for row in masked] == ["ada", "bea", "'=cy()", "dora", ""]

    full = table(alice.http.post(f"/batches/{batch}/results.csv", params=columns))
    passwords = [row["password"] for row in full if row["state"] == "succeeded"]
    assert all(map(PASSWORD.fullmatch, passwords)) and len({*passwords}) == 2
    assert json.loads(full[0]["output"])["parts"] == [passwords[0]]
    assert table(alice.http.post(f"/batches/{batch}/results.csv", params=columns)) == masked
    lines = alice.http.post(f"/batches/{batch}/results.ndjson").text.splitlines()
    whole = alice.http.get(f"/batches/{batch}/results.json").json()
    assert whole == [json.loads(line) for line in lines]
    assert_nowhere(passwords, service, request)


def test_json_lines_are_a_batch_and_bad_rows_do_not_stop_others(alice: Caller) -> None:
    lines = '{"command": "true"}\n\n{"command": 5}\n{"command": "true", "extra": "word"}\n'
    kind = {"Content-Type": "application/x-ndjson"}
    path, query = "/core/opn/run/batch", {"keep_going": "true"}
    broken = failure(alice.http.post(path, content=lines + "{", headers=kind, params=query), 422)
    assert broken["faults"][0]["field"] == "line 5, column 1"
    batch = alice.http.post(path, content=lines, headers=kind, params=query).json()["batch"]
    assert counts(get_batch(alice, batch, wait=30)) == {"succeeded": 1, "failed": 2}
    rows = alice.http.get(f"/batches/{batch}/results.json").json()
    assert [bool(row["error"]) for row in rows] == [False, True, True]
    assert rows[2]["item"] == {"command": "true", "extra": "********"}
    assert rows[2]["error"]["message"].startswith("line 4, extra: nothing uses it")
    again = failure(alice.http.post(f"/batches/{batch}/retry"), 422)
    assert len(again["faults"]) == 2
    wrong = alice.http.post(
        path, content=b"a", headers={"Content-Type": "text/csv; charset=latin1"}
    )
    assert failure(wrong, 415)["type"] == "UnsupportedBody"
