"""Events of a task: each once and in order, wherever a watcher begins or continues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.state.task_watchers import TaskSnapshot
from api.tasks.event_stream import Cursor, Event, EventStream
from resop.errors import InvalidOptions
from resop.limits import OUTPUT_CHUNK
from resop.storage.models import State, Step, StepOutput, Task
from resop.storage.step_output import OutputPair, StepOutputStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def second(number: float) -> datetime:
    return NOON + timedelta(seconds=number)


def task(state: State, **values: Any) -> Task:
    wanted: dict[str, Any] = {
        "id": "t1",
        "kind": "operation",
        "operator": "utils",
        "action": "x",
        "username": "ada",
        "cluster": "hpc",
        "credential": "c",
        "options": {},
        "time_limit": 60.0,
        "created_at": second(0),
        "started_at": None if state == State.QUEUED else second(1),
        "state": state,
    }
    return Task(**wanted | values)


def step(number: int, begun: float, seconds: float | None = None, log_lines: int = 0) -> Step:
    exit_code = None if seconds is None else 0
    return Step(
        task="t1",
        number=number,
        command=f"step {number}",
        started_at=second(begun),
        seconds=seconds,
        exit_code=exit_code,
        log_lines=log_lines,
    )


class FakePrinted(StepOutputStore):
    """The output of a task's steps, in rows or as a whole."""

    def __init__(
        self,
        rows: list[tuple[int, int, str]] | None = None,
        whole: dict[int, OutputPair] | None = None,
    ) -> None:
        """`rows` are (step, stream, text), numbered from 1 on."""
        self._rows = [
            StepOutput(task="t1", number=number, step=step, stream=stream, text=text)
            for number, (step, stream, text) in enumerate(rows or [], 1)
        ]
        self._whole = whole or {}

    def rows(self, task_id: str, *, after: int, until: int) -> list[StepOutput]:
        return [row for row in self._rows if after < row.number <= until][:2]

    def outputs(self, task_id: str, steps: Sequence[int]) -> Iterator[OutputPair]:
        yield from (self._whole.get(step, (None, None)) for step in steps)


def events_of(
    seen: TaskSnapshot, place: Cursor, printed: StepOutputStore | None = None
) -> list[Event]:
    return list(EventStream(seen, place, printed or FakePrinted()))


def told(event: Event) -> str:
    """Return an event in a few words."""
    match event.kind:
        case "output":
            return f"{event.data['stream']} {event.data['step']}: {event.data['text']}"
        case "log":
            return f"log {event.data['line']}"
        case "step" | "step_ended":
            return f"{event.kind} {event.data['number']}"
        case "state":
            return str(event.data["state"])
    return event.kind


# A routine's record as it grows: two steps at once, a line that is shown later than the step after
# it, a step without an end. Steps 2 and 4 run for long, and print.
PRINTED = FakePrinted(
    [(2, 1, "a"), (2, 2, "b"), (2, 1, "c"), (2, 1, "d"), (4, 1, "e")],
    {1: ("one", "two"), 2: ("not read", None), 3: (None, "three")},
)
GROWING = [
    TaskSnapshot(task(State.QUEUED), []),
    TaskSnapshot(task(State.RUNNING), []),
    TaskSnapshot(task(State.RUNNING), [step(1, 2, log_lines=1)]),
    TaskSnapshot(
        task(State.RUNNING, log=["one"], progress={"done": 1, "total": 4}),
        [step(1, 2, log_lines=1)],
    ),
    TaskSnapshot(
        task(State.RUNNING, log=["one", "two"], progress={"done": 1, "total": 4}),
        [step(1, 2, 1, 1), step(2, 4, None, 2), step(3, 4.5, 0.2, 2)],
        {2: 3},
    ),
    TaskSnapshot(
        task(State.RUNNING, log=["one", "two"], progress={"done": 3, "total": 4}),
        [step(1, 2, 1, 1), step(2, 4, 9, 2), step(3, 4.5, 0.2, 2), step(4, 14, None, 2)],
        {2: 4},
    ),
    TaskSnapshot(
        task(State.LOST, log=["one", "two", "three"], progress={"done": 3, "total": 4}),
        [step(1, 2, 1, 1), step(2, 4, 9, 2), step(3, 4.5, 0.2, 2), step(4, 14, None, 2)],
        {2: 4, 4: 5},
    ),
]
EVENTS = [
    *("queued", "running", "log 1", "step 1", "progress", "stdout 1: one", "stderr 1: two"),
    *("step_ended 1", "log 2", "step 2", "step 3", "stderr 3: three", "step_ended 3"),
    *("stdout 2: a", "stderr 2: b", "stdout 2: c", "stdout 2: d", "step_ended 2", "step 4"),
    *("progress", "stdout 4: e", "log 3", "done"),
]
OUTPUT = [word for word in EVENTS if ": " in word]


def watch(snapshots: list[TaskSnapshot], place: Cursor) -> Iterator[Event]:
    for seen in snapshots:
        for event in EventStream(seen, place, PRINTED):
            place = event.cursor
            yield event


def test_watcher_from_the_beginning_is_told_all_in_order() -> None:
    assert [told(event) for event in watch(GROWING, Cursor())] == EVENTS


def test_who_comes_after_the_end_is_told_the_same_but_for_progress_that_was_overtaken() -> None:
    events = [told(event) for event in EventStream(GROWING[-1], Cursor(), PRINTED)]
    once = [word for word in EVENTS if word != "progress"]
    assert events == [*once[:-1], "progress", "done"]


def test_watcher_is_told_that_a_task_waits_for_approval_and_when_it_is_queued() -> None:
    waits = task(State.PENDING_APPROVAL, approval="a1", started_at=None)
    approved = {"approval": "a1", "approved_at": second(9)}
    queued = task(State.QUEUED, **approved)
    running = task(State.RUNNING, **approved, started_at=second(10))
    refused = task(State.FAILED, approval="a1", started_at=None)
    everything = [TaskSnapshot(each, []) for each in (waits, queued, running)]
    events = list(watch(everything, Cursor()))
    assert [told(event) for event in events] == ["pending_approval", "queued", "running"]
    assert [event.data["at"][17:19] for event in events] == ["00", "09", "10"]
    assert [told(event) for event in watch(everything[-1:], events[0].cursor)] == [
        "queued",
        "running",
    ]
    refused_events = watch([TaskSnapshot(waits, []), TaskSnapshot(refused, [])], Cursor())
    assert [told(event) for event in refused_events] == ["pending_approval", "done"]


@given(st.lists(st.integers(0, len(GROWING) - 1), min_size=0, max_size=7), st.data())
def test_no_event_is_missing_or_told_twice_however_often_a_watcher_comes_back(
    looks: list[int], data: st.DataObject
) -> None:
    events: list[Event] = []
    for look in [*sorted(looks), len(GROWING) - 1]:
        place = Cursor.parse(str(events[-1].cursor)) if events else Cursor()
        new = list(EventStream(GROWING[look], place, PRINTED))
        # The connection breaks before the last of them arrive.
        arrived = data.draw(st.integers(0, len(new))) if look < len(GROWING) - 1 else len(new)
        events += new[:arrived]
    words = [told(event) for event in events if event.kind != "progress"]
    assert len(words) == len(set(words))
    assert set(words) == {word for word in EVENTS if word != "progress"}
    progress = [event.data for event in events if event.kind == "progress"]
    assert progress[-1] == {"done": 3, "total": 4}
    assert all(progress[n] != progress[n + 1] for n in range(len(progress) - 1))
    assert [word for word in words if ": " in word and " 3" not in word] == [
        word for word in OUTPUT if " 3" not in word
    ]
    for number in (1, 2, 3):
        mine = [words.index(word) for word in OUTPUT if f" {number}: " in word]
        assert words.index(f"step {number}") < mine[0]
        assert mine[-1] < words.index(f"step_ended {number}")
    for line, before in ((1, 1), (2, 2), (2, 3)):
        assert words.index(f"log {line}") < words.index(f"step {before}")


def test_step_waits_for_the_lines_before_it_unless_they_never_come() -> None:
    steps = [step(1, 2, 1, log_lines=2)]
    running = [
        told(event) for event in events_of(TaskSnapshot(task(State.RUNNING), steps), Cursor())
    ]
    assert running == ["queued", "running"]
    lost = [told(event) for event in events_of(TaskSnapshot(task(State.LOST), steps), Cursor())]
    assert lost == ["queued", "running", "step 1", "step_ended 1", "done"]


def test_step_waits_for_the_begin_of_its_task() -> None:
    seen = [
        told(event) for event in events_of(TaskSnapshot(task(State.QUEUED), [step(1, 2)]), Cursor())
    ]
    assert seen == ["queued"]


@pytest.mark.parametrize(
    ("output", "text"),
    [("a\nb", "a\nb"), ([{"é": 1}], '[{"é": 1}]'), (None, ""), ("x" * (OUTPUT_CHUNK + 1), None)],
)
def test_output_of_a_short_command_comes_with_its_end(output: Any, text: str | None) -> None:
    ended = task(State.FAILED, kind="command", output=output, stderr="oh", truncated=True)
    seen = events_of(TaskSnapshot(ended, []), Cursor())[:1]
    while not seen[-1].cursor.is_last:  # the connection breaks after every event
        seen += events_of(TaskSnapshot(ended, []), Cursor.parse(str(seen[-1].cursor)))[:1]
    shown = {"stdout": "", "stderr": ""}
    for event in seen[2:-1]:
        assert (event.kind, event.data["step"]) == ("output", 0)
        shown[event.data["stream"]] += event.data["text"]
    assert shown == {"stdout": output if text is None else text, "stderr": "oh"}
    assert len(seen) == 4 + (len(shown["stdout"]) + OUTPUT_CHUNK - 1) // OUTPUT_CHUNK
    assert seen[-1].data["truncated"] is True


def test_output_of_a_long_command_comes_as_it_is_printed() -> None:
    printed = FakePrinted([(0, 1, "a"), (0, 2, "b"), (0, 1, "c")])
    runs = task(State.RUNNING, kind="command")
    *_, first, last = events_of(TaskSnapshot(runs, [], {0: 2}), Cursor(), printed)
    assert [told(first), told(last)] == ["stdout 0: a", "stderr 0: b"]
    ended = task(State.SUCCEEDED, kind="command", output="ac", stderr="b")
    left = events_of(TaskSnapshot(ended, [], {0: 3}), last.cursor, printed)
    assert [told(event) for event in left] == ["stdout 0: c", "done"]


def test_output_of_a_step_that_is_not_seen_yet_waits_for_it() -> None:
    printed = FakePrinted([(1, 1, "a"), (2, 1, "b")])
    seen = TaskSnapshot(task(State.RUNNING), [step(1, 2)], {1: 1, 2: 2})
    *_, last = events_of(seen, Cursor(), printed)
    assert told(last) == "stdout 1: a"
    seen = TaskSnapshot(task(State.RUNNING), [step(1, 2), step(2, 3)], {1: 1, 2: 2})
    assert [told(event) for event in events_of(seen, last.cursor, printed)] == [
        *("step 2", "stdout 2: b")
    ]


def test_thousands_of_steps_leave_an_id_short() -> None:
    steps = [step(number, number, 0.5) for number in range(1, 3001)]
    *_, last = events_of(TaskSnapshot(task(State.SUCCEEDED), steps), Cursor())
    assert str(last.cursor) == "succeeded/0/3000/3000//0/0.0"
    assert events_of(TaskSnapshot(task(State.SUCCEEDED), steps), last.cursor) == []


def test_event_reads_as_the_standard_says() -> None:
    seen = TaskSnapshot(task(State.RUNNING, log=["two\nlines \u2028 é\r"]), [])
    text = str(events_of(seen, Cursor())[-1])
    assert text == (
        "id: running/1/0/0//0/0.0\nevent: log\n"
        'data: {"line": 1, "text": "two\\nlines \u2028 é\\r"}\n\n'
    )


def test_done_tells_how_it_ended_without_the_output() -> None:
    ended = task(State.FAILED, output="x" * 100, error={"type": "CommandFailed"})
    *_, done = events_of(TaskSnapshot(ended, []), Cursor())
    assert (done.kind, done.data["state"], done.data["success"]) == ("done", "failed", False)
    assert done.data["error"] == {"type": "CommandFailed"} and "output" not in done.data
    assert done.cursor.is_last


@pytest.mark.parametrize(
    "text",
    ["", "x", "1/2/3", "running/x/0/0//0/0.0", "a/1/2/3/4/5", "q/1/1///0/0.0", "q/1/1/1//0/0"],
)
def test_id_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidOptions):
        Cursor.parse(text)


@given(st.permutations(range(1, 8)))
def test_ends_in_any_order_come_to_the_same_place(order: list[int]) -> None:
    place = Cursor()
    for number in order:
        place = place.after_end_of(number)
        assert Cursor.parse(str(place)) == place
    assert place.ended == (7,)
