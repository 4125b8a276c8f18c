"""Batches on the real service: each task runs once, in turn with other batches.

Also: cancelling, repeating failed items, results as a table, and secrets.
"""

import csv
import io
import json
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import only_embedded
from tests.acceptance.secrecy import places_of
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, Distributed, Service, failure
from tests.support.services import MariaDB, eventually


@pytest.fixture
def file() -> str:
    return f"batch-{secrets.token_hex(6)}"


def post_batch(
    caller: Caller, body: dict[str, Any], action: str = "core/opn/run", **how: Any
) -> httpx.Response:
    return caller.http.post(f"/{action}/batch", json=body, **how)


def launch_batch(
    caller: Caller, body: dict[str, Any], action: str = "core/opn/run", **how: Any
) -> str:
    """Launch a batch and return its ID."""
    answer = post_batch(caller, body, action, **how)
    assert answer.status_code == 202, answer.text
    batch = str(answer.json()["batch"])
    assert answer.headers["location"] == f"/batches/{batch}"
    return batch


def get_batch(caller: Caller, batch: str, wait: float = 0) -> Any:
    answer = caller.http.get(f"/batches/{batch}", params={"wait": wait})
    assert answer.status_code == 200, answer.text
    return answer.json()


def counts(batch: Any) -> dict[str, int]:
    """Return the number of tasks in each state, without zeros."""
    return {state: count for state, count in batch["counts"].items() if count}


def appending_batch(file: str, size: int) -> dict[str, Any]:
    """Return a batch that appends a line to a file per item, so that tests can count its runs."""
    return {
        "options": {"command": f"echo {{{{n}}}} >>{file}"},
        "sweep": {"n": {"start": 1, "stop": size}},
    }


def lines(ssh: OpenSSH, user: str, file: str) -> list[int]:
    found: Path = ssh.home(user) / file
    return sorted(map(int, found.read_text().split())) if found.exists() else []


def test_batches_of_two_users_take_turns_and_a_waiting_command_overtakes_them(
    ssh: OpenSSH, alice: Caller, bob: Caller, file: str
) -> None:
    size = 200
    mine = launch_batch(alice, appending_batch(file, size))
    others = launch_batch(bob, appending_batch(file, size))
    assert bob.run("echo first").json()["output"]["stdout"] == "first\n"
    for caller, batch in ((alice, mine), (bob, others)):
        assert get_batch(caller, batch)["state"] != "ended", "it has overtaken both"
    ended_at = {}
    for caller, batch in ((bob, others), (alice, mine)):
        shown = get_batch(caller, batch, wait=60)
        assert (counts(shown), shown["success"]) == ({"succeeded": size}, True)
        assert shown["rate"] > 0 and shown["expected_end"] is None
        ended_at[batch] = shown["ended_at"]
    for user in ("alice", "bob"):
        assert lines(ssh, user, file) == list(range(1, size + 1))
    tasks = alice.http.get(f"/batches/{mine}/tasks", params={"limit": 500}).json()["tasks"]
    begun = [each["started_at"] for each in tasks]
    # They took turns: neither waited for the end of the other.
    assert min(begun) < ended_at[others]
    theirs = bob.http.get(f"/batches/{others}/tasks", params={"limit": 500}).json()["tasks"]
    assert min(each["started_at"] for each in theirs) < max(begun)


def test_batch_limits_its_concurrent_tasks(alice: Caller, file: str) -> None:
    line = f"mkdir {file}-{{{{n}}}}; ls -d {file}-* | wc -l; sleep 0.05; rmdir {file}-{{{{n}}}}"
    body = {"options": {"command": line}, "sweep": {"n": list(range(12))}, "at_once": 2}
    batch = launch_batch(alice, body)
    assert counts(get_batch(alice, batch, wait=60)) == {"succeeded": 12}
    results = alice.http.get(f"/batches/{batch}/results.ndjson").text.splitlines()
    assert {json.loads(each)["output"]["stdout"].strip() for each in results} <= {"1", "2"}


def test_cancelled_batch_ends_running_tasks_and_never_starts_the_rest(
    ssh: OpenSSH, alice: Caller, file: str
) -> None:
    line = f"echo {{{{n}}}} >>{file}; exec sleep 4747"
    body = {"options": {"command": line}, "sweep": {"n": {"start": 1, "stop": 60}}, "at_once": 4}
    batch = launch_batch(alice, body, params={"tag": "storms"})
    assert eventually(lambda: len(lines(ssh, "alice", file)) == 4)
    queued = alice.http.get(f"/batches/{batch}/tasks", params={"state": "queued"}).json()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(alice.task, queued["tasks"][-1]["task"], 30)
        answer = alice.http.delete(f"/batches/{batch}", params={"wait": 30})
        assert waiting.result()["state"] == "cancelled"
    assert answer.status_code == 200
    assert (answer.json()["state"], counts(answer.json())) == ("ended", {"cancelled": 60})
    assert not any("4747" in each for each in ssh.processes("alice"))
    errors = [json.loads(line)["error"] for line in results(alice, batch).splitlines()]
    assert all(each["type"] == "TaskCancelled" and each["ended"] for each in errors)
    assert len(lines(ssh, "alice", file)) == 4
    assert counts(alice.http.delete(f"/batches/{batch}").json()) == {"cancelled": 60}


def results(caller: Caller, batch: str, kind: str = "ndjson", **query: Any) -> str:
    answer = caller.http.get(f"/batches/{batch}/results.{kind}", params=query)
    assert answer.status_code == 200
    return answer.text


def test_failed_items_are_repeated_in_a_new_batch(ssh: OpenSSH, alice: Caller, file: str) -> None:
    line = f"test -e {file} || test {{{{n}}}} -lt {{{{limit}}}}"
    body = {"options": {"command": line}, "sweep": {"n": [1, 2, 3, 4], "limit": [3]}}
    first = launch_batch(alice, body, params={"tag": "storms"})
    assert counts(get_batch(alice, first, wait=30)) == {"succeeded": 2, "failed": 2}
    (ssh.home("alice") / file).touch()
    headers = {"Idempotency-Key": file}
    again = [alice.http.post(f"/batches/{first}/retry", headers=headers) for _ in range(2)]
    assert [each.status_code for each in again] == [202, 202]
    assert again[0].json()["batch"] == again[1].json()["batch"]
    second = get_batch(alice, again[0].json()["batch"], wait=30)
    assert counts(second) == {"succeeded": 2}
    assert (second["retry_of"], second["tags"]) == (first, ["storms"])
    rows = [json.loads(line) for line in results(alice, second["batch"]).splitlines()]
    assert [row["item"] for row in rows] == [{"n": 3, "limit": 3}, {"n": 4, "limit": 3}]
    nothing = alice.http.post(f"/batches/{second['batch']}/retry")
    assert "no task of this batch is failed" in failure(nothing, 422)["message"]
    queued = alice.http.post(f"/batches/{first}/retry", params={"state": "queued"})
    assert failure(queued, 422)["faults"][0]["field"] == "state.0"


def test_results_are_a_table_of_parameters_and_outcomes(alice: Caller) -> None:
    items: list[dict[str, Any]] = [
        {"word": 'é😀 "q",\nb', "state": 1},
        {"word": ["a", "b"], "state": None},
        {"word": "-", "state": 0.5, "stdin": "x"},
    ]
    body = {"options": {"input": ["{{state}}", "{{word}}"]}, "items": items}
    answer = post_batch(alice, body, "utils/cmd/echo")
    [fault, *_] = failure(answer, 422)["faults"]
    assert fault["field"].startswith("items.1.input")
    items[1] |= {"word": "b", "state": "null"}
    batch = launch_batch(alice, body, "utils/cmd/echo")
    get_batch(alice, batch, wait=30)
    rows = list(csv.DictReader(io.StringIO(results(alice, batch, "csv"), newline="")))
    assert list(rows[0])[:5] == ["number", "word", "item.state", "stdin", "state"]
    assert [(row["number"], row["item.state"], row["word"], row["stdin"]) for row in rows] == [
        ("0", "1", 'é😀 "q",\nb', ""),
        ("1", "null", "b", ""),
        ("2", "0.5", "-", "x"),
    ]
    assert {(row["state"], row["exit_code"]) for row in rows} == {("succeeded", "0")}
    assert rows[2]["output"] == "0.5 -\n"
    lines = [json.loads(line) for line in results(alice, batch).splitlines()]
    assert [line["item"] for line in lines] == items
    assert [line["task"] for line in lines] == [row["task"] for row in rows]
    assert results(alice, batch, state="failed") == ""
    task = alice.task(lines[2]["task"])
    assert (task["batch"], task["number"], task["item"]) == (batch, 2, items[2])


def test_tasks_of_a_batch_are_paged_in_order_and_listed_among_all_tasks(alice: Caller) -> None:
    batch = launch_batch(alice, {"sweep": {"command": ["true", "false", "true", "true"]}})
    get_batch(alice, batch, wait=30)
    seen: list[int] = []
    query: dict[str, Any] = {"limit": 2, "state": "succeeded"}
    for _ in range(9):
        page = alice.http.get(f"/batches/{batch}/tasks", params=query).json()
        seen += [each["number"] for each in page["tasks"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen == [0, 2, 3]
    found = alice.http.get("/tasks", params={"batch": batch, "state": "failed"}).json()["tasks"]
    assert [(each["number"], each["item"]) for each in found] == [(1, {"command": "false"})]


def test_batches_are_listed_newest_first_and_only_to_their_user(
    service: Service, alice: Caller, bob: Caller
) -> None:
    mine = [launch_batch(alice, {"items": [{"command": "true"}]}) for _ in range(2)]
    page = alice.http.get("/batches", params={"limit": 1}).json()
    assert [each["batch"] for each in page["batches"]] == [mine[1]]
    rest = alice.http.get("/batches", params={"limit": 1, "cursor": page["next"]}).json()
    assert [each["batch"] for each in rest["batches"]] == [mine[0]]
    asked = [
        bob.http.get(f"/batches/{mine[0]}"),
        bob.http.get(f"/batches/{mine[0]}/tasks"),
        bob.http.get(f"/batches/{mine[0]}/results.csv"),
        bob.http.get(f"/batches/{mine[0]}/results.ndjson"),
        bob.http.delete(f"/batches/{mine[0]}"),
        bob.http.post(f"/batches/{mine[0]}/retry"),
    ]
    assert {failure(each, 404)["type"] for each in asked} == {"UnknownBatch"}
    assert bob.http.get("/tasks", params={"batch": mine[0]}).json()["tasks"] == []
    failure(service.caller().http.get("/batches"), 401)
    assert mine[0] not in bob.http.get("/batches").text


def test_batch_with_a_bad_item_is_refused_with_the_item(alice: Caller) -> None:
    items: list[dict[str, Any]] = [{"input": "x"} for _ in range(60)]
    items[7], items[41] = {"input": "'"}, {"stdin": 5, "other": 1}
    before = alice.newest("batch")
    error = failure(post_batch(alice, {"items": items}, "utils/cmd/echo"), 422)
    assert [each["field"] for each in error["faults"]] == ["items.7.input", "items.41.other"]
    bad = post_batch(alice, {"items": [{"input": {}}] * 60}, "utils/cmd/echo")
    error = failure(bad, 422)
    assert error["faults"][0]["field"] == "items.0.input"
    assert (len(error["faults"]), error["message"][-18:]) == (20, "and 40 more faults")
    body = {"options": {"command": "{{a}} {{b}}"}, "sweep": {"a": [1], "c": [1]}}
    fields = [each["field"] for each in failure(post_batch(alice, body), 422)["faults"]]
    assert fields == ["sweep.b", "sweep.c"]
    huge = {"sweep": {name: {"start": 1, "stop": 10**6} for name in "abc"}}
    message = failure(post_batch(alice, huge), 422)["message"]
    assert "gives 1000000000000000000 sets of parameters" in message
    long = {
        "options": {"command": "{{n}}" + "x" * 100_000},
        "sweep": {"n": {"start": 1, "stop": 5000}},
    }
    assert "more than 64 MiB" in failure(post_batch(alice, long), 422)["message"]
    for action in ("core/opn/nosuch", "auth/opn/login", "nosuch/cmd/x"):
        assert failure(post_batch(alice, {"items": [{}]}, action), 404)["type"] == "UnknownAction"
    assert alice.newest("batch") == before


def test_dry_run_shows_the_first_items_and_runs_nothing(alice: Caller, file: str) -> None:
    before = alice.newest("batch")
    body = {"options": {"input": ["{{n}}"]}, "sweep": {"n": {"start": 1, "stop": 900}}}
    shown = post_batch(alice, body, "utils/cmd/ls", params={"dry_run": True}).json()
    assert (shown["dry_run"], shown["size"], len(shown["items"])) == (True, 900, 5)
    assert shown["items"][1] == {"item": {"n": 2}, "command": "ls 2", "options": {"input": ["2"]}}
    assert alice.newest("batch") == before
    described = alice.http.get("/utils/cmd/ls").json()
    assert described["batch"] == "/utils/cmd/ls/batch"


@only_embedded
def test_repeated_request_returns_its_first_batch(ssh: OpenSSH, alice: Caller, file: str) -> None:
    headers = {"Idempotency-Key": file}
    start = threading.Barrier(4)

    def send(_: int) -> httpx.Response:
        start.wait()
        return post_batch(alice, appending_batch(file, 50), headers=headers)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, range(4)))
    assert {each.status_code for each in answers} == {202}
    [batch] = {each.json()["batch"] for each in answers}
    get_batch(alice, batch, wait=30)
    assert lines(ssh, "alice", file) == list(range(1, 51))
    assert post_batch(alice, appending_batch(file, 50), headers=headers).json()["batch"] == batch
    other = post_batch(alice, appending_batch(file, 51), headers=headers)
    assert failure(other, 422)["type"] == "IdempotencyKeyReused"
    single = alice.http.post("/core/opn/run", json={"command": "true"}, headers=headers)
    assert failure(single, 422)["type"] == "IdempotencyKeyReused"


def test_secrets_of_a_batch_are_found_nowhere_and_prevent_a_repeat(
    service: Service, alice: Caller, request: pytest.FixtureRequest
) -> None:
    words = [f"marker-{secrets.token_hex(12)}" for _ in range(3)]
    options = {"line": "cat; echo {{note}}; exit {{code}}", "secret": "{{word}}"}
    body: dict[str, Any] = {
        "options": options,
        "items": [
            {"word": words[0], "note": "a", "code": 0},
            {"word": words[1], "note": words[1], "code": 1},
            {"word": words[2], "note": "c", "code": 1},
        ],
    }
    shown = [post_batch(alice, body, "mysite/opn/whisper", params={"dry_run": True}).text]
    swept = {
        "options": {**options, "secret": "{{word}}-end"},
        "sweep": {"word": words, "note": [1], "code": [0]},
    }
    batches = [launch_batch(alice, each, "mysite/opn/whisper") for each in (body, swept)]
    for batch in batches:
        shown.append(json.dumps(get_batch(alice, batch, wait=30)))
        shown += [results(alice, batch), results(alice, batch, "csv")]
        error = failure(alice.http.post(f"/batches/{batch}/retry"), 422)
        assert "secret" in error["message"]
    wrong = {**body, "items": [{"word": words[0], "note": 1, "code": [words[0]]}]}
    shown.append(post_batch(alice, wrong, "mysite/opn/whisper").text)
    items = [json.loads(line)["item"] for line in shown[2].splitlines()]
    assert items[0] == {"word": "********", "note": "a", "code": 0}
    assert get_batch(alice, batches[1])["sweep"]["word"] == "********"
    assert not [word for word in words for text in shown if word in text]
    folders = []
    if isinstance(service, Distributed):
        mariadb: MariaDB = request.getfixturevalue("mariadb")
        folders.append(mariadb.folder)
    assert places_of(words, service, *folders) == []
