"""A user's tasks: searched, labelled, deleted when old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from resop.storage.changes import Change
from resop.storage.database import Database
from resop.storage.models import TASK_TAG, State, Step, StepOutput, Task, now
from resop.storage.step_output import StepOutputStore
from resop.storage.task_search import TaskFilter, TaskSearch
from resop.storage.tasks import TaskStore
from tests.support.ids import id_of
from tests.support.tasks import new_task

HOUR = timedelta(hours=1)


@pytest.fixture
def search(database: Database) -> TaskSearch:
    return TaskSearch(database)


def task(made: datetime | None = None, **values: Any) -> Task:
    """Return a task; with `made`, its id is of that time."""
    return new_task(**({"id": id_of(made)} if made else {}) | values)


def ids(search: TaskSearch, **wanted: Any) -> list[str]:
    """Return the ids of the matching tasks, oldest first."""
    found = search.page("ada", "tango", limit=50, matching=TaskFilter(**wanted)).tasks
    whole = search.whole_tasks("ada", "tango", TaskFilter(**wanted))
    assert [each["id"] for each in found] == [each.id for each in whole]
    return [each["id"] for each in reversed(found)]


def test_pages_of_tasks_have_no_gap_and_no_repetition(
    task_store: TaskStore, search: TaskSearch
) -> None:
    mine = sorted((task() for _ in range(7)), key=lambda task: task.id)
    for each in mine:
        task_store.add(each)
        task_store.add(task(username="eve"))
        task_store.add(task(cluster="waltz"))
    seen: list[str] = []
    while page := search.page("ada", "tango", limit=3, before=seen[-1] if seen else None).tasks:
        assert len(page) <= 3
        seen += [each["id"] for each in page]
        task_store.add(task())  # a new one does not move the pages
    assert seen == [each.id for each in reversed(mine)]


def test_page_of_long_options_ends_early_and_leads_to_the_next(
    task_store: TaskStore, search: TaskSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resop.storage.task_search.MAX_PAGE_CHARACTERS", 10_000)
    sizes = [10, 4000, 4000, 4000, 20_000, 10, 4000]
    mine = sorted((task(options={"a": "x" * size}) for size in sizes), key=lambda task: task.id)
    for each in mine:
        task_store.add(each)
    cursor: str | None = None
    pages: list[list[str]] = []
    while not pages or cursor is not None:
        found = search.page("ada", "tango", limit=3, before=cursor)
        cursor = found.next
        pages.append([each["id"] for each in found.tasks])
    newest_first = [each.id for each in reversed(mine)]
    assert [id for page in pages for id in page] == newest_first
    lengths = {each.id: len(each.options["a"]) for each in mine}
    assert all(len(page) == 1 or sum(lengths[id] for id in page) < 10_000 for page in pages)


def test_whole_tasks_are_read_page_by_page(task_store: TaskStore, search: TaskSearch) -> None:
    mine = sorted((task() for _ in range(45)), key=lambda task: task.id)
    for each in mine:
        task_store.add(each)
    assert list(search.whole_tasks("ada", "tango", TaskFilter())) == mine[::-1]
    assert list(search.whole_tasks("eve", "tango", TaskFilter())) == []


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({}, 4),
        ({"state": "queued"}, 3),
        ({"state": "running"}, 1),
        ({"operator": "slurm"}, 1),
        ({"operator": "utils", "action": "cp"}, 1),
        ({"operator": "slurm", "action": "cp"}, 0),
    ],
)
def test_list_is_filtered(
    task_store: TaskStore, search: TaskSearch, wanted: dict[str, str], count: int
) -> None:
    task_store.add(task(operator="slurm"))
    task_store.add(task(action="cp"))
    task_store.add(task(state=State.RUNNING))
    task_store.add(task())
    assert len(ids(search, **wanted)) == count


def test_list_has_neither_output_nor_encrypted_payload(
    task_store: TaskStore, search: TaskSearch
) -> None:
    added = task()
    task_store.add(added)
    (listed,) = search.page("ada", "tango", limit=10).tasks
    assert not {"output", "stderr", "log", "encrypted_payload"} & set(listed)
    assert listed["options"] == added.options
    assert listed["created_at"] == added.created_at


@pytest.mark.parametrize("tag", ["a", "b c", ",", '","', 'x",', "é😀", "%", "_", "\\", "'"])
def test_tag_is_found_only_as_a_whole(task_store: TaskStore, search: TaskSearch, tag: str) -> None:
    tagged, both = task(tags=["other", tag, "last"]), task(tags=[tag, "night"])
    others = [[], [f"{tag}x"], [f"x{tag}"], ["b", "c"], ["day", "night"]]
    for each in (tagged, both, *(task(tags=tags) for tags in others)):
        task_store.add(each)
    assert ids(search, tag=[tag]) == [tagged.id, both.id]
    assert ids(search, tag=[tag, "night"]) == [both.id]


@pytest.mark.parametrize(
    "text",
    ["sim", "SIM", "--T 280", 'say "hi"', "50%", "a_b", "x/y", "back\\slash", "two\nlines", "é😀"],
)
def test_text_is_found_in_command_line_options_and_note(
    task_store: TaskStore, search: TaskSearch, text: str
) -> None:
    said = f"begin {text.lower()} end"
    found = [
        task(command=said),
        task(options={"script": said}),
        task(options={"list": [{"in": said}]}),
        task(note=said),
    ]
    for each in (*found, task(command="50 a-b xy backslash"), task(tags=[said], log=[said])):
        task_store.add(each)
    assert ids(search, text=text) == [each.id for each in found]


def test_time_range_includes_its_beginning_and_not_its_end(
    task_store: TaskStore, search: TaskSearch
) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    made = [task(noon + number * HOUR) for number in range(4)]
    for each in made:
        task_store.add(each)
    all_ids = [each.id for each in made]
    assert ids(search, since=noon + HOUR) == all_ids[1:]
    assert ids(search, until=noon + 2 * HOUR) == all_ids[:2]
    assert ids(search, since=noon + HOUR, until=noon + 3 * HOUR) == all_ids[1:3]
    just_after = noon + timedelta(milliseconds=1)
    assert ids(search, since=noon, until=just_after) == all_ids[:1]
    assert ids(search, since=just_after, until=noon + HOUR) == []
    early, late = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert ids(search, since=early, until=late) == all_ids


def test_labels_are_set_in_any_state_and_nothing_else_changes(
    task_store: TaskStore, search: TaskSearch
) -> None:
    added, other = task(tags=["a"]), task(tags=["a"])
    for each in (added, other):
        task_store.add(each)
        task_store.claim(each.id, "w")
    task_store.apply([Change.ended(added.id, State.SUCCEEDED, output="x")], "w")
    before = task_store.get(added.id)
    assert before is not None
    task_store.label(added.id, note="the good run 😀")
    task_store.label(added.id)
    assert task_store.get(added.id) == before.model_copy(update={"note": "the good run 😀"})
    task_store.label(added.id, tags=["b", "c"], note=None)
    assert task_store.get(added.id) == before.model_copy(update={"tags": ["b", "c"]})
    left = task_store.get(other.id)
    assert left is not None and (left.tags, left.note) == (["a"], None)
    assert [ids(search, tag=[tag]) for tag in "abc"] == [[other.id], [added.id], [added.id]]
    task_store.label(added.id, tags=[])
    assert [ids(search, tag=[tag]) for tag in "abc"] == [[other.id], [], []]
    task_store.label(new_task().id, tags=["b"])
    assert ids(search, tag=["b"]) == []


def test_tag_belongs_to_its_user_and_combines_with_all_other_conditions(
    task_store: TaskStore, search: TaskSearch
) -> None:
    long_ago, moment = now() - 48 * HOUR, now() - 24 * HOUR
    tagged = [task(made, tags=["x", "y", "x"]) for made in (long_ago, None, None)]
    for each in (*tagged, task(tags=["x"], username="eve"), task(tags=["x"], cluster="waltz")):
        task_store.add(each)
    task_store.add(task(tags=["X", "y "]))
    old, *young = (each.id for each in tagged)
    task_store.claim(young[0], "w")
    assert ids(search, tag=["x"]) == ids(search, tag=["x", "y"]) == [old, *young]
    assert ids(search, tag=["x", "z"]) == []
    assert ids(search, tag=["x"], since=moment) == young
    assert ids(search, tag=["x", "y"], until=moment) == [old]
    assert ids(search, tag=["x"], state=State.RUNNING) == young[:1]
    assert ids(search, tag=["x"], text="no such text") == []
    last = search.page("ada", "tango", limit=2, matching=TaskFilter(tag=["x"])).tasks[-1]["id"]
    page = search.page("ada", "tango", limit=2, before=last, matching=TaskFilter(tag=["x"])).tasks
    assert [each["id"] for each in page] == [old]


def test_old_ended_tasks_are_deleted_with_their_steps_a_few_at_a_time(
    task_store: TaskStore, database: Database, search: TaskSearch
) -> None:
    long_ago, moment = now() - 48 * HOUR, now() - 24 * HOUR
    old = [task(long_ago, state=State.FAILED, tags=["x"]) for _ in range(5)]
    kept = [task(long_ago, tags=["x"]), task(long_ago, state=State.RUNNING), task(state=State.LOST)]
    for each in (*old, *kept):
        task_store.add(each)
        task_store.apply(
            [
                Change.step_begun(Step(task=each.id, number=1, command="id", started_at=now())),
                Change.printed(
                    each.id, [StepOutput(task=each.id, number=1, step=1, stream=1, text="x")]
                ),
            ],
            "w",
        )
    printed = StepOutputStore(database)
    assert [task_store.delete_ended(moment, 3) for _ in range(3)] == [3, 2, 0]
    assert [each for each in old if task_store.get(each.id) or task_store.steps(each.id)] == []
    assert [each for each in (*old, *kept) if printed.ends(each.id)] == kept
    assert [each for each in kept if task_store.get(each.id) and task_store.steps(each.id)] == kept
    with database.read() as db:
        assert db.execute(select(TASK_TAG.c.task)).scalars().all() == [kept[0].id]
