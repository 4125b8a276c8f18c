"""Turn what the database says of a task into numbered events."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from api.state.task_watchers import TaskSnapshot, has_ended
from resop.errors import InvalidOptions
from resop.limits import PIECE
from resop.storage.models import State, Step
from resop.storage.serializers import iso_time, step_json, task_summary
from resop.storage.step_output import OutputPair, StepOutputStore
from resop.types import ActionKind

STREAMS = {1: "stdout", 2: "stderr"}


_OVER = frozenset(state for state in State if state.ended)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a watcher has come; `str` of it is the id of the event that it came to last."""

    state: str = ""
    log: int = 0
    begun: int = 0
    """Steps begin in the order of their numbers ..."""
    ended: tuple[int, ...] = (0,)
    """... but may end in any: all up to the first number here have, and the others named."""
    progress: str = ""
    printed: int = 0
    """The row of output that was told last."""
    part: tuple[int, int] = (0, 0)
    """A step without rows, and how many pieces of its output were told before its end."""

    def __str__(self) -> str:
        ended = ",".join(map(str, self.ended))
        output = f"{self.printed}/{self.part[0]}.{self.part[1]}"
        return f"{self.state}/{self.log}/{self.begun}/{ended}/{self.progress}/{output}"

    @property
    def over(self) -> bool:
        """Whether no event comes after it."""
        return self.state in _OVER

    @classmethod
    def read(cls, text: str) -> Cursor:
        """What `str` made; InvalidOptions for anything else."""
        try:
            state, log, begun, numbers, progress, printed, part = text.split("/")
            ended = tuple(map(int, numbers.split(",")))
            step, pieces = map(int, part.split("."))
            place = cls(state, int(log), int(begun), ended, progress, int(printed), (step, pieces))
        except ValueError:
            fault = {"field": "Last-Event-ID", "message": "is not the id of an event of a task"}
            raise InvalidOptions([fault]) from None
        return place

    def with_end(self, number: int) -> Cursor:
        """The place after the end of a step."""
        settled, *others = sorted({*self.ended, number})
        while others and others[0] == settled + 1:
            settled = others.pop(0)
        return replace(self, ended=(settled, *others), part=(0, 0))


class Event(NamedTuple):
    """Something that happened, and the place after it."""

    kind: str
    data: dict[str, Any]
    place: Cursor

    def __str__(self) -> str:
        data = json.dumps(self.data, ensure_ascii=False)
        return f"id: {self.place}\nevent: {self.kind}\ndata: {data}\n\n"


def events_after(seen: TaskSnapshot, place: Cursor, printed: StepOutputStore) -> Iterator[Event]:
    """What has happened to a task beyond `place`, in order; `done` is the last there ever is.

    Blocks: what steps have printed is read as it is told.
    """
    if place.over:
        return
    task, over = seen.task, State(seen.task.state).ended
    for state, at in ((State.QUEUED, task.created_at), (State.RUNNING, task.started_at)):
        if at is not None and place.state in _EARLIER[state]:
            place = replace(place, state=state)
            yield Event("state", {"state": state, "at": iso_time(at)}, place)
    after_steps = yield from _of_steps(seen, place, printed)
    if after_steps is None:
        return
    place = yield from _rows(seen, after_steps, printed, max(seen.output_rows.values(), default=0))
    place = yield from _lines(task.log, place)
    progress = task.progress and f"{task.progress['done']}:{task.progress['total']}"
    if task.progress and progress and progress != place.progress:
        place = replace(place, progress=progress)
        yield Event("progress", task.progress, place)
    if over:
        place = yield from _pieces(0, _of_command(seen), place)
        cut = {"truncated": True} if task.truncated else {}
        yield Event("done", task_summary(task.model_dump()) | cut, replace(place, state=task.state))


_EARLIER = {State.QUEUED: ("",), State.RUNNING: ("", State.QUEUED)}


_BEGINS_WITH = ("command", "undo", "started_at")


_ENDS_WITH = ("exit_code", "seconds", "truncated", "error")


EventStream = Generator[Event, None, Cursor]
"""Events, and then the place after them."""


def _of_steps(
    seen: TaskSnapshot, place: Cursor, printed: StepOutputStore
) -> Generator[Event, None, Cursor | None]:
    """What steps did, and what those that have ended printed; None when lines are to come first."""
    log, moments = seen.task.log, _moments(seen.steps, place)
    whole = [number for _, number, ends, _ in moments if ends and number not in seen.output_rows]
    outputs = printed.outputs(seen.task.id, whole)
    for _, number, ends, step in moments:
        if ends:
            if (last := seen.output_rows.get(number)) is not None:
                place = yield from _rows(seen, place, printed, last)
            else:
                place = yield from _pieces(number, next(outputs), place)
            place = place.with_end(number)
            yield Event("step_ended", _some(step, "number", *_ENDS_WITH), place)
        elif len(log) < step.log_lines and not State(seen.task.state).ended:
            return None  # what was logged before it is on its way
        else:
            place = yield from _lines(log[: step.log_lines], place)
            place = replace(place, begun=number)
            yield Event("step", _some(step, "number", *_BEGINS_WITH), place)
    return place


def _moments(steps: list[Step], place: Cursor) -> list[tuple[datetime, int, bool, Step]]:
    """What steps did beyond `place`, in order: (time, number, whether it ended then, step)."""
    moments = []
    settled, *others = place.ended
    for step in steps[bisect_right(steps, settled, key=_number) :]:
        if step.number > place.begun:
            moments.append((step.started_at, step.number, False, step))
        if has_ended(step) and step.number not in others:
            at = step.started_at + timedelta(seconds=step.seconds or 0)
            moments.append((at, step.number, True, step))
    # What was told in part is told to its end first.
    return sorted(moments, key=lambda each: (not each[2] or each[1] != place.part[0], *each[:3]))


def _number(step: Step) -> int:
    return step.number


def _lines(log: list[str], place: Cursor) -> EventStream:
    for number, text in enumerate(log[place.log :], place.log + 1):
        place = replace(place, log=number)
        yield Event("log", {"line": number, "text": text}, place)
    return place


def _pieces(step: int, whole: OutputPair, place: Cursor) -> EventStream:
    """The output of a step that has ended and has no rows; 0 is a command's only one."""
    told = place.part[1] if place.part[0] == step else 0
    pieces = [
        (stream, text[at : at + PIECE])
        for stream, text in enumerate(whole, 1)
        if text
        for at in range(0, len(text), PIECE)
    ]
    for number, (stream, text) in enumerate(pieces[told:], told + 1):
        place = replace(place, part=(step, number))
        yield _piece(step, stream, text, place)
    return place


def _of_command(seen: TaskSnapshot) -> OutputPair:
    task = seen.task
    if task.kind != ActionKind.COMMAND or seen.output_rows:
        return None, None
    text = task.output is None or isinstance(task.output, str)
    return task.output if text else json.dumps(task.output, ensure_ascii=False), task.stderr


def _rows(seen: TaskSnapshot, place: Cursor, printed: StepOutputStore, until: int) -> EventStream:
    """Output that was recorded while steps ran, up to that row."""
    while place.printed < until and (
        rows := printed.rows(seen.task.id, after=place.printed, until=until)
    ):
        for row in rows:
            if row.step > place.begun:
                return place
            place = replace(place, printed=row.number)
            yield _piece(row.step, row.stream, row.text, place)
    return place


def _piece(step: int, stream: int, text: str, place: Cursor) -> Event:
    return Event("output", {"step": step, "stream": STREAMS[stream], "text": text}, place)


def _some(step: Step, *names: str) -> dict[str, Any]:
    shown = step_json(step)
    return {name: shown[name] for name in names}
