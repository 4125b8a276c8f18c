"""Events of a task: each once and in order, wherever a watcher comes in or goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.feeds import Seen
from api.live import Event, Place, news
from resop.errors import InvalidOptions
from resop.records import State, Step, Task

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


def told(event: Event) -> str:
    """An event in a word."""
    match event.kind:
        case "log":
            return f"log {event.data['line']}"
        case "step" | "step_ended":
            return f"{event.kind} {event.data['number']}"
        case "state":
            return str(event.data["state"])
    return event.kind


# A routine's record as it grows: two steps at once, a line that is shown later than the step after
# it, a step without an end.
GROWING = [
    Seen(task(State.QUEUED), []),
    Seen(task(State.RUNNING), []),
    Seen(task(State.RUNNING), [step(1, 2, log_lines=1)]),
    Seen(
        task(State.RUNNING, log=["one"], progress={"done": 1, "total": 4}),
        [step(1, 2, log_lines=1)],
    ),
    Seen(
        task(State.RUNNING, log=["one", "two"], progress={"done": 1, "total": 4}),
        [step(1, 2, 1, 1), step(2, 4, None, 2), step(3, 4.5, 0.2, 2)],
    ),
    Seen(
        task(State.RUNNING, log=["one", "two"], progress={"done": 3, "total": 4}),
        [step(1, 2, 1, 1), step(2, 4, 9, 2), step(3, 4.5, 0.2, 2), step(4, 14, None, 2)],
    ),
    Seen(
        task(State.LOST, log=["one", "two", "three"], progress={"done": 3, "total": 4}),
        [step(1, 2, 1, 1), step(2, 4, 9, 2), step(3, 4.5, 0.2, 2), step(4, 14, None, 2)],
    ),
]
EVENTS = [
    *("queued", "running", "log 1", "step 1", "progress", "step_ended 1", "log 2", "step 2"),
    *("step 3", "step_ended 3", "step_ended 2", "step 4", "progress", "log 3", "done"),
]


def watch(snapshots: list[Seen], place: Place) -> Iterator[Event]:
    for seen in snapshots:
        for event in news(seen, place):
            place = event.place
            yield event


def test_watcher_from_the_beginning_is_told_all_in_order() -> None:
    assert [told(event) for event in watch(GROWING, Place())] == EVENTS


def test_who_comes_after_the_end_is_told_the_same_but_for_progress_that_was_overtaken() -> None:
    events = [told(event) for event in news(GROWING[-1], Place())]
    assert events == [
        *("queued", "running", "log 1", "step 1", "step_ended 1", "log 2", "step 2", "step 3"),
        *("step_ended 3", "step_ended 2", "step 4", "log 3", "progress", "done"),
    ]


@given(st.lists(st.integers(0, len(GROWING) - 1), min_size=0, max_size=7), st.data())
def test_no_event_is_missing_or_told_twice_however_often_a_watcher_comes_back(
    looks: list[int], data: st.DataObject
) -> None:
    events: list[Event] = []
    for look in [*sorted(looks), len(GROWING) - 1]:
        place = Place.read(str(events[-1].place)) if events else Place()
        new = list(news(GROWING[look], place))
        # The connection breaks before the last of them arrive.
        arrived = data.draw(st.integers(0, len(new))) if look < len(GROWING) - 1 else len(new)
        events += new[:arrived]
    words = [told(event) for event in events if event.kind != "progress"]
    assert len(words) == len(set(words))
    assert set(words) == {word for word in EVENTS if word != "progress"}
    progress = [event.data for event in events if event.kind == "progress"]
    assert progress[-1] == {"done": 3, "total": 4}
    assert all(progress[n] != progress[n + 1] for n in range(len(progress) - 1))
    for number in (1, 2, 3):
        assert words.index(f"step {number}") < words.index(f"step_ended {number}")
    for line, before in ((1, 1), (2, 2), (2, 3)):
        assert words.index(f"log {line}") < words.index(f"step {before}")


def test_step_waits_for_the_lines_before_it_unless_they_never_come() -> None:
    steps = [step(1, 2, 1, log_lines=2)]
    running = [told(event) for event in news(Seen(task(State.RUNNING), steps), Place())]
    assert running == ["queued", "running"]
    lost = [told(event) for event in news(Seen(task(State.LOST), steps), Place())]
    assert lost == ["queued", "running", "step 1", "step_ended 1", "done"]


def test_thousands_of_steps_leave_an_id_short() -> None:
    steps = [step(number, number, 0.5) for number in range(1, 3001)]
    *_, last = news(Seen(task(State.SUCCEEDED), steps), Place())
    assert str(last.place) == "succeeded/0/3000/3000/"
    assert list(news(Seen(task(State.SUCCEEDED), steps), last.place)) == []


def test_event_reads_as_the_standard_says() -> None:
    seen = Seen(task(State.RUNNING, log=["two\nlines \u2028 é\r"]), [])
    text = str(list(news(seen, Place()))[-1])
    assert text == (
        'id: running/1/0/0/\nevent: log\ndata: {"line": 1, "text": "two\\nlines \u2028 é\\r"}\n\n'
    )


def test_done_tells_how_it_ended_without_the_output() -> None:
    ended = task(State.FAILED, output="x" * 100, error={"type": "CommandFailed"})
    *_, done = news(Seen(ended, []), Place())
    assert (done.kind, done.data["state"], done.data["success"]) == ("done", "failed", False)
    assert done.data["error"] == {"type": "CommandFailed"} and "output" not in done.data
    assert done.place.over


@pytest.mark.parametrize("text", ["", "x", "1/2/3", "running/x/0/0/", "a/1/2/3/4/5", "q/1/1//"])
def test_id_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidOptions):
        Place.read(text)


@given(st.permutations(range(1, 8)))
def test_ends_in_any_order_come_to_the_same_place(order: list[int]) -> None:
    place = Place()
    for number in order:
        place = place.with_end(number)
        assert Place.read(str(place)) == place
    assert place.ended == (7,)
