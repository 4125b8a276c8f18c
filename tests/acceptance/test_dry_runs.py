"""Dry runs of operations over HTTP: a worker runs what only reads, and a task records it."""

import csv
import io
import secrets
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import only_embedded
from tests.support.service import Caller, failure

pytestmark = only_embedded

PRUNE = "mysite/opn/prune"
DRY = {"dry_run": "true"}


@pytest.fixture
def folder_of(alice: Caller) -> str:
    name = f"dry-{secrets.token_hex(4)}"
    alice.run(f"mkdir {name} && touch {name}/a {name}/b").raise_for_status()
    return name


def names_in(alice: Caller, folder: str) -> list[str]:
    """Return the names of the files in a folder."""
    return str(alice.run(f"ls {folder}").json()["output"]["stdout"]).split()


def dry_run(caller: Caller, folder: str, status: int = 200, **options: Any) -> dict[str, Any]:
    """Dry-run the operation, and return the answer."""
    answer = caller.post(PRUNE, {"folder": folder, **options}, query=DRY)
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_plan_has_what_was_run_and_what_would_be(alice: Caller, folder_of: str) -> None:
    secret = f"marker-{secrets.token_hex(8)}"
    answer = dry_run(alice, folder_of, password=secret)
    reads, changes = answer["plan"][:2], answer["plan"][2:]
    assert [(step["command"], step["exit_code"]) for step in reads] == [
        ("sleep 0", 0),
        (f"ls {folder_of}", 0),
    ]
    assert changes == [
        {
            "changes": True,
            "summary": f"remove {name}",
            "command": f"rm {folder_of}/{name}",
            "stdin": "********",
            "exit_code": None,
        }
        for name in "ab"
    ]
    assert answer["undo"] == [f"touch {folder_of}/b", f"touch {folder_of}/a"]
    assert (answer["success"], answer["dry_run"], answer["output"]) == (True, True, ["a", "b"])
    assert answer["action"] == answer["operation"] == "mysite:prune"
    assert answer["log"] == ["would log: removed 2 files"]
    assert answer["options"] == {"folder": folder_of, "password": "********"}
    assert names_in(alice, folder_of) == ["a", "b"]
    task = alice.task(answer["task"])
    assert (task["dry_run"], task["operation"], task["state"]) == (
        True,
        "mysite:prune",
        "succeeded",
    )
    assert [step["command"] for step in task["steps"]] == ["sleep 0", f"ls {folder_of}"]
    assert secret not in str(task) + str(answer)


def test_refusal_has_the_status_and_the_words_of_a_real_run(alice: Caller, folder_of: str) -> None:
    for options in ({"folder": "/no/such"}, {"folder": folder_of, "limit": 1}):
        dry = alice.post(PRUNE, options, query=DRY)
        said = failure(dry, dry.status_code)
        assert names_in(alice, folder_of) == ["a", "b"]
        assert dry.json()["dry_run"] is True and dry.json()["plan"]
        real = alice.post(PRUNE, options)
        error = failure(real, dry.status_code)
        assert (said["type"], said["message"]) == (error["type"], error["message"])
        assert said["undone"] == []
        assert len(error["undone"]) == (2 if "limit" in options else 0)
        alice.run(f"touch {folder_of}/a {folder_of}/b")


def test_dry_run_is_no_run_for_keys_lists_and_exports(alice: Caller, folder_of: str) -> None:
    headers = {"Idempotency-Key": secrets.token_hex(8), "Prefer": "respond-async"}
    begun = alice.http.post(
        f"/{PRUNE}", json={"folder": folder_of, "seconds": 0.5}, params=DRY, headers=headers
    )
    assert begun.status_code == 202 and begun.json()["dry_run"] is True
    dry = alice.task(begun.json()["task"], wait=30)
    assert dry["success"] is True and len(dry["plan"]) == 4
    real = alice.http.post(
        f"/{PRUNE}",
        json={"folder": folder_of, "seconds": 0.5},
        headers={"Idempotency-Key": headers["Idempotency-Key"]},
    )
    assert real.json()["output"] == ["a", "b"] and "dry_run" not in real.json()
    assert real.json()["task"] != dry["task"]
    assert names_in(alice, folder_of) == []
    listed = alice.http.get("/tasks", params={"action": "prune", "limit": 2}).json()["tasks"]
    assert [each.get("dry_run") for each in listed] == [None, True]
    exported = alice.http.get("/tasks/export.csv", params={"action": "prune"}).text
    rows = {row["task"]: row for row in csv.DictReader(io.StringIO(exported))}
    assert [rows[each["task"]]["dry_run"] for each in (dry, real.json())] == ["True", ""]


def test_time_limit_and_cancel_end_a_dry_run(alice: Caller, folder_of: str) -> None:
    options = {"folder": folder_of, "seconds": 4711}
    late = alice.post(PRUNE, options, query={**DRY, "timeout": 1})
    assert failure(late, 504)["type"] == "StepTimedOut"
    begun = alice.post(PRUNE, options, query=DRY, prefer="respond-async").json()["task"]
    alice.http.delete(f"/tasks/{begun}")
    assert alice.task(begun, wait=30)["state"] == "cancelled"
    assert names_in(alice, folder_of) == ["a", "b"]


def test_page_shows_the_plan(alice: Caller, folder_of: str) -> None:
    path = f"/{PRUNE}/submit"
    with httpx.Client(
        base_url=alice.http.base_url, cookies={"resop": alice.token}, trust_env=False, timeout=60
    ) as browser:
        form = browser.get(path).text
        guard = form.partition('name=":guard" value="')[2].partition('"')[0]
        fields = {":guard": guard, ":dry_run": "true", "folder": folder_of, "limit": "1"}
        sent = browser.post(path, data=fields)
        assert sent.status_code == 303, sent.text
        page = browser.get(sent.headers["location"]).text
        tasks = browser.get("/pages/tasks").text
    assert "Dry run of mysite:prune" in page and "Nothing was changed" in page
    assert "would run</strong>: remove a" in page and f"rm {folder_of}/a" in page
    assert "has more than 1 files" in page
    assert "(dry run)" in tasks
    assert names_in(alice, folder_of) == ["a", "b"]
