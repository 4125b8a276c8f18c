"""Turn the database's view of a task into numbered events."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from api.state.task_watchers import TaskSnapshot, has_ended
from resop.errors import InvalidOptions
from resop.limits import OUTPUT_CHUNK
from resop.storage.models import NOT_BEGUN, State, Step
from resop.storage.serializers import iso_time, step_json, task_summary
from resop.storage.step_output import OutputPair, StepOutputStore
from resop.types import ActionKind

STREAM_NAMES = {1: "stdout", 2: "stderr"}
STEP_BEGIN_KEYS = ("number", "command", "undo", "started_at")
STEP_END_KEYS = ("number", "exit_code", "seconds", "truncated", "error")
_MAX_DIGITS = 10
_END_STATES = frozenset(state for state in State if state.ended)
_STATES_BEFORE = {
    State.PENDING_APPROVAL: ("",),
    State.QUEUED: ("", State.PENDING_APPROVAL),
    State.RUNNING: ("", *NOT_BEGUN),
}


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a watcher has read a task's events; its text is the id of the last event."""

    state: str = ""
    log_lines: int = 0
    begun: int = 0
    """The last step that has begun: steps begin in the order of their numbers."""
    ended: tuple[int, ...] = (0,)
    """Steps may end in any order: all up to the first number have ended, and the others listed."""
    progress: str = ""
    row: int = 0
    """The last row of recorded output."""
    chunk: tuple[int, int] = (0, 0)
    """A step without rows, and how many chunks of its output were sent before its end."""

    def __str__(self) -> str:
        ended = ",".join(map(str, self.ended))
        output = f"{self.row}/{self.chunk[0]}.{self.chunk[1]}"
        return f"{self.state}/{self.log_lines}/{self.begun}/{ended}/{self.progress}/{output}"

    @property
    def is_last(self) -> bool:
        """True if no event follows."""
        return self.state in _END_STATES

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Return the cursor with this text. Raises InvalidOptions if it is not one."""
        try:
            state, log_lines, begun, numbers, progress, row, chunk = text.split("/")
            ended = tuple(map(_position, numbers.split(",")))
            step, chunks = map(_position, chunk.split("."))
            lines, last_begun, last_row = map(_position, (log_lines, begun, row))
            return cls(state, lines, last_begun, ended, progress, last_row, (step, chunks))
        except ValueError:
            message = "must be the id of one of the events"
            raise InvalidOptions.of("Last-Event-ID", message) from None

    def after_end_of(self, step: int) -> Cursor:
        """Return the cursor after the end of a step."""
        settled, *others = sorted({*self.ended, step})
        while others and others[0] == settled + 1:
            settled = others.pop(0)
        return replace(self, ended=(settled, *others), chunk=(0, 0))


def _position(text: str) -> int:
    """Return a number of lines, steps, rows or chunks. Raises ValueError for anything else."""
    if len(text) > _MAX_DIGITS or not text.isdecimal():
        raise ValueError
    return int(text)


class Event(NamedTuple):
    """One event of a task, and the cursor after it."""

    kind: str
    data: dict[str, Any]
    cursor: Cursor

    def __str__(self) -> str:
        data = json.dumps(self.data, ensure_ascii=False)
        return f"id: {self.cursor}\nevent: {self.kind}\ndata: {data}\n\n"


class _Transition(NamedTuple):
    """The begin or the end of a step."""

    time: datetime
    number: int
    is_end: bool
    step: Step


class EventStream:
    """The events of a task snapshot after a cursor. Blocks: output is read while iterating."""

    def __init__(self, snapshot: TaskSnapshot, cursor: Cursor, outputs: StepOutputStore) -> None:
        self.cursor = cursor
        """The cursor after the last event that was yielded."""
        self._task = snapshot.task
        self._steps = snapshot.steps
        self._last_rows = snapshot.output_rows
        self._outputs = outputs
        self._whole_outputs: Iterator[OutputPair] = iter(())

    def __iter__(self) -> Iterator[Event]:
        """Yield the events in order; `done` is the last one that a task ever has."""
        if self.cursor.is_last:
            return
        yield from self._state_events()
        for transition in self._transitions():
            if self._is_newer_than_task(transition):
                return  # what precedes it is not in this snapshot
            yield from self._step_events(transition)
        yield from self._row_events(max(self._last_rows.values(), default=0))
        yield from self._log_events(len(self._task.log))
        yield from self._progress_events()
        if State(self._task.state).ended:
            yield from self._chunk_events(0, self._command_output())
            truncated = {"truncated": True} if self._task.truncated else {}
            data = task_summary(self._task.model_dump()) | truncated
            yield self._event("done", data, state=self._task.state)

    def _event(self, kind: str, data: dict[str, Any], **cursor: Any) -> Event:
        self.cursor = replace(self.cursor, **cursor)
        return Event(kind, data, self.cursor)

    def _state_events(self) -> Iterator[Event]:
        task = self._task
        moments = [(State.QUEUED, task.created_at), (State.RUNNING, task.started_at)]
        if task.approval is not None:
            moments[:1] = [
                (State.PENDING_APPROVAL, task.created_at),
                (State.QUEUED, task.approved_at),
            ]
        for state, at in moments:
            if at is not None and self.cursor.state in _STATES_BEFORE[state]:
                yield self._event("state", {"state": state, "at": iso_time(at)}, state=state)

    def _transitions(self) -> Iterator[_Transition]:
        """Yield the begins and ends of steps after the cursor, in the order of their times."""
        transitions = []
        settled, others = self.cursor.ended[0], set(self.cursor.ended[1:])
        for step in self._steps[bisect_right(self._steps, settled, key=_number) :]:
            if step.number > self.cursor.begun:
                transitions.append(_Transition(step.started_at, step.number, False, step))
            if has_ended(step) and step.number not in others:
                at = step.started_at + timedelta(seconds=step.seconds or 0)
                transitions.append(_Transition(at, step.number, True, step))
        # A step whose output was sent in part comes first.
        partial = self.cursor.chunk[0]
        transitions.sort(key=lambda each: (not each.is_end or each.number != partial, *each[:3]))
        ends = [each.number for each in transitions if each.is_end]
        self._whole_outputs = self._outputs.outputs(
            self._task.id, [number for number in ends if number not in self._last_rows]
        )
        yield from transitions

    def _is_newer_than_task(self, transition: _Transition) -> bool:
        """Return True if the task was read before the step began: steps are read after it."""
        task = self._task
        if transition.is_end or State(task.state).ended:
            return False
        return task.started_at is None or len(task.log) < transition.step.log_lines

    def _step_events(self, transition: _Transition) -> Iterator[Event]:
        number, step = transition.number, step_json(transition.step)
        if not transition.is_end:
            yield from self._log_events(transition.step.log_lines)
            yield self._event("step", {key: step[key] for key in STEP_BEGIN_KEYS}, begun=number)
            return
        if (last_row := self._last_rows.get(number)) is not None:
            yield from self._row_events(last_row)
        else:
            yield from self._chunk_events(number, next(self._whole_outputs))
        self.cursor = self.cursor.after_end_of(number)
        yield self._event("step_ended", {key: step[key] for key in STEP_END_KEYS})

    def _log_events(self, until: int) -> Iterator[Event]:
        start = self.cursor.log_lines
        for number, text in enumerate(self._task.log[start:until], start + 1):
            yield self._event("log", {"line": number, "text": text}, log_lines=number)

    def _progress_events(self) -> Iterator[Event]:
        if self._task.progress:
            progress = f"{self._task.progress['done']}:{self._task.progress['total']}"
            if progress != self.cursor.progress:
                yield self._event("progress", self._task.progress, progress=progress)

    def _row_events(self, until: int) -> Iterator[Event]:
        """Yield output that was recorded while steps ran, up to the row `until`."""
        while self.cursor.row < until and (
            rows := self._outputs.rows(self._task.id, after=self.cursor.row, until=until)
        ):
            for row in rows:
                if row.step > self.cursor.begun:
                    return
                yield self._output_event(row.step, row.stream, row.text, row=row.number)

    def _chunk_events(self, step: int, output: OutputPair) -> Iterator[Event]:
        """Yield the output of an ended step without rows; 0 is the only step of a command."""
        sent = self.cursor.chunk[1] if self.cursor.chunk[0] == step else 0
        chunks = [
            (stream, text[start : start + OUTPUT_CHUNK])
            for stream, text in enumerate(output, 1)
            if text
            for start in range(0, len(text), OUTPUT_CHUNK)
        ]
        for number, (stream, text) in enumerate(chunks[sent:], sent + 1):
            yield self._output_event(step, stream, text, chunk=(step, number))

    def _output_event(self, step: int, stream: int, text: str, **cursor: Any) -> Event:
        data = {"step": step, "stream": STREAM_NAMES[stream], "text": text}
        return self._event("output", data, **cursor)

    def _command_output(self) -> OutputPair:
        task = self._task
        if task.kind != ActionKind.COMMAND or self._last_rows:
            return None, None
        is_text = task.output is None or isinstance(task.output, str)
        output = task.output if is_text else json.dumps(task.output, ensure_ascii=False)
        return output, task.stderr


def _number(step: Step) -> int:
    return step.number
