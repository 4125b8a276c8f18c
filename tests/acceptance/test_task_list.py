"""The task list: search by tag, text and time; later labels; export."""

import csv
import io
import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from resop.storage.database import Database
from resop.storage.models import State, Task
from resop.storage.tasks import TaskStore
from tests.support.ids import id_of
from tests.support.service import Caller, Service, failure


@pytest.fixture
def mark() -> str:
    return f"mark-{secrets.token_hex(6)}"


def run(caller: Caller, line: str, *tags: str) -> str:
    answer = caller.run(line, query=[("tag", tag) for tag in tags])
    return str(answer.json()["task"])


def found(caller: Caller, **query: Any) -> list[str]:
    answer = caller.http.get("/tasks", params=query)
    assert answer.status_code == 200, answer.text
    return [each["task"] for each in answer.json()["tasks"]]


def label(caller: Caller, task: str, labels: dict[str, Any]) -> Any:
    answer = caller.http.patch(f"/tasks/{task}", json=labels)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("tag", ["plain", "b c", 'x",', "é😀", "%", "back\\slash", "it's"])
def test_tasks_are_found_by_their_tags(alice: Caller, mark: str, tag: str) -> None:
    first, second = run(alice, "true", mark, tag), run(alice, "true", mark)
    assert found(alice, tag=mark) == [second, first]
    assert found(alice, tag=[mark, tag]) == [first]
    assert found(alice, tag=[mark, tag + "x"]) == found(alice, tag=mark[:-1]) == []


def test_tasks_are_found_by_text(alice: Caller, mark: str) -> None:
    quoted = run(alice, f": '{mark} \"50%\" a_b'")
    command = alice.post("utils/cmd/echo", {"input": [f"{mark} é"]}).json()["task"]
    noted = run(alice, "true")
    label(alice, noted, {"note": f"the {mark} run"})
    assert found(alice, text=mark) == [noted, command, quoted]
    assert found(alice, text=mark.upper(), operator="utils") == [command]
    for text, wanted in [(f'{mark} "50%" a_b', [quoted]), (f"{mark} é", [command])]:
        assert found(alice, text=text) == wanted
    assert found(alice, text=f"{mark}_%") == []


def test_tasks_are_found_by_time(alice: Caller, mark: str) -> None:
    first, second = run(alice, "true", mark), run(alice, "true", mark)
    made = alice.task(second)["created_at"]
    moment = datetime.fromisoformat(made)
    elsewhere = moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    assert found(alice, tag=mark, since=elsewhere) in ([second], [second, first])
    assert found(alice, tag=mark, since="2026-01-01T00:00:00+02:00") == [second, first]
    assert found(alice, tag=mark, until="2026-01-01T00:00:00Z") == []
    for wrong in ("yesterday", "2026-01-01T00:00:00"):
        [fault] = failure(alice.http.get("/tasks", params={"since": wrong}), 422)["faults"]
        assert fault["field"] == "since"


def test_labels_are_set_later_and_nothing_else_changes(alice: Caller, mark: str) -> None:
    task = run(alice, "echo kept", mark)
    before = alice.task(task)
    noted = label(alice, task, {"note": "the good one 😀"})
    assert (noted["task"], noted["note"], noted["tags"]) == (task, "the good one 😀", [mark])
    tagged = label(alice, task, {"tags": ["other", mark], "note": None})
    assert (tagged["note"], tagged["tags"]) == (None, ["other", mark])
    assert label(alice, task, {}) == tagged
    assert alice.task(task) == {**before, "tags": ["other", mark]}
    assert found(alice, tag="other", text="kept")[0] == task


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ({"tags": [""]}, "tags.0"),
        ({"tags": "a"}, "tags"),
        ({"tags": None}, "tags"),
        ({"note": "x" * 4097}, "note"),
        ({"state": "failed"}, "state"),
    ],
)
def test_wrong_labels_are_refused(alice: Caller, labels: dict[str, Any], field: str) -> None:
    task = run(alice, "true")
    before = alice.task(task)
    answer = alice.http.patch(f"/tasks/{task}", content=json.dumps(labels))
    assert field in [each["field"] for each in failure(answer, 422)["faults"]]
    assert alice.task(task) == before


def test_tasks_of_others_are_neither_found_nor_labelled_nor_exported(
    service: Service, alice: Caller, bob: Caller, mark: str
) -> None:
    task = run(alice, f": {mark}", mark)
    failure(bob.http.patch(f"/tasks/{task}", json={"note": "mine"}), 404)
    assert alice.task(task)["note"] is None
    assert found(bob, tag=mark) == found(bob, text=mark) == []
    for name in ("export.ndjson", "export.csv"):
        assert mark not in bob.http.get(f"/tasks/{name}").text
        failure(service.caller().http.get(f"/tasks/{name}"), 401)


def test_export_has_every_task_with_its_output(alice: Caller, mark: str) -> None:
    text = 'é😀 "quoted", and\ntwo lines'
    made = [alice.post("utils/cmd/cat", {"stdin": text}, query={"tag": mark}) for _ in range(25)]
    made += [alice.run("echo out; exit 3", query={"tag": mark})]
    tasks = [each.json()["task"] for each in made[::-1]]
    answer = alice.http.get("/tasks/export.ndjson", params={"tag": mark})
    assert answer.headers["content-type"] == "application/x-ndjson"
    exported = [json.loads(line) for line in answer.text.splitlines()]
    assert [each["task"] for each in exported] == tasks
    shown = alice.task(tasks[-1])
    del shown["steps"], shown["notification"], shown["approval"]
    assert exported[-1] == shown and shown["output"] == text

    answer = alice.http.get("/tasks/export.csv", params={"tag": mark})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [each["task"] for each in rows] == tasks
    assert (rows[-1]["command"], rows[-1]["output"], rows[-1]["exit_code"]) == ("cat", text, "0")
    assert json.loads(rows[0]["tags"]) == [mark] and rows[0]["state"] == "failed"
    assert json.loads(rows[0]["error"])["type"] == "CommandFailed"
    failed = alice.http.get("/tasks/export.csv", params={"tag": mark, "state": "lost"})
    assert len(failed.text.splitlines()) == 1


@pytest.mark.parametrize("engine", ["SQLite", "MariaDB"])
def test_old_tasks_are_deleted_on_every_database(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    # A database of its own: the workers of a service delete old tasks as well.
    url = f"sqlite:///{tmp_path}/tasks.db"
    if engine == "MariaDB":
        url = request.getfixturevalue("mariadb").database("old_tasks")
    database = Database(url)
    database.create_tables()
    task_store = TaskStore(database)
    made = datetime(2001, 2, 3, tzinfo=UTC)
    old = [
        Task(
            id=id_of(made + timedelta(seconds=number)),
            kind="command",
            operator="utils",
            action="id",
            username="nobody",
            cluster="hpc",
            credential="c",
            options={},
            time_limit=9,
            state=state,
        )
        for number, state in enumerate([State.SUCCEEDED, State.LOST, State.RUNNING] * 3)
    ]
    for each in old:
        task_store.add(each)
    before = made + timedelta(days=1)
    assert [task_store.delete_ended(before, 4) for _ in range(3)] == [4, 2, 0]
    left = [each.id for each in old if task_store.get(each.id)]
    assert left == [each.id for each in old if each.state == State.RUNNING]
    for task_id in left:
        task_store.end(task_id, State.LOST)
    assert task_store.delete_ended(before, 4) == 3
    database.close()
