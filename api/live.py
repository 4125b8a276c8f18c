"""A task as server-sent events, each once and resumable.

Nothing is kept for it: events are what the record has beyond the place that a watcher has
reached, and their ids are such places. So they can be had after the end as well, from any API
process, whatever became of Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Header
from fastapi.responses import Response, StreamingResponse

from api.answers import shown_time, step_view, summary
from api.deps import Here, LoggedIn, still_logged_in
from api.feeds import Seen, has_ended
from api.services import Services
from api.tasks import own_task
from resop.errors import InvalidOptions, ResopError
from resop.records import State, Step
from resop.tokens import Token

router = APIRouter(prefix="/tasks", tags=["tasks"])

HEARTBEAT_SECONDS = 15.0
QUEUED_SECONDS = 1.0
"""No word comes of a task that begins to run: so often is looked for it."""
RETRY_MILLISECONDS = 1000
_OVER = frozenset(state for state in State if state.ended)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a watcher has come; `str` of it is the id of the event that it came to last."""

    state: str = ""
    log: int = 0
    begun: int = 0
    """Steps begin in the order of their numbers ..."""
    ended: tuple[int, ...] = (0,)
    """... but may end in any: all up to the first number here have, and the others named."""
    progress: str = ""

    def __str__(self) -> str:
        ended = ",".join(map(str, self.ended))
        return f"{self.state}/{self.log}/{self.begun}/{ended}/{self.progress}"

    @property
    def over(self) -> bool:
        """Whether no event comes after it."""
        return self.state in _OVER

    @classmethod
    def read(cls, text: str) -> Place:
        """What `str` made; InvalidOptions for anything else."""
        try:
            state, log, begun, ended, progress = text.split("/")
            place = cls(state, int(log), int(begun), tuple(map(int, ended.split(","))), progress)
        except ValueError:
            fault = {"field": "Last-Event-ID", "message": "is not the id of an event of a task"}
            raise InvalidOptions([fault]) from None
        return place

    def with_end(self, number: int) -> Place:
        """The place after the end of a step."""
        settled, *others = sorted({*self.ended, number})
        while others and others[0] == settled + 1:
            settled = others.pop(0)
        return replace(self, ended=(settled, *others))


class Event(NamedTuple):
    """Something that happened, and the place after it."""

    kind: str
    data: dict[str, Any]
    place: Place

    def __str__(self) -> str:
        data = json.dumps(self.data, ensure_ascii=False)
        return f"id: {self.place}\nevent: {self.kind}\ndata: {data}\n\n"


def news(seen: Seen, place: Place) -> Iterator[Event]:
    """What has happened to a task beyond `place`, in order; `done` is the last there ever is."""
    if place.over:
        return
    task, over = seen.task, State(seen.task.state).ended
    for state, at in ((State.QUEUED, task.created_at), (State.RUNNING, task.started_at)):
        if at is not None and place.state in _EARLIER[state]:
            place = replace(place, state=state)
            yield Event("state", {"state": state, "at": shown_time(at)}, place)
    for _, number, ends, step in _moments(seen.steps, place):
        if ends:
            place = place.with_end(number)
            yield Event("step_ended", _some(step, "number", *_ENDS_WITH), place)
            continue
        if len(task.log) < step.log_lines and not over:
            return  # what was logged before it is on its way
        for event in _lines(task.log[: step.log_lines], place):
            place = event.place
            yield event
        place = replace(place, begun=number)
        yield Event("step", _some(step, "number", *_BEGINS_WITH), place)
    for event in _lines(task.log, place):
        place = event.place
        yield event
    progress = task.progress and f"{task.progress['done']}:{task.progress['total']}"
    if task.progress and progress and progress != place.progress:
        place = replace(place, progress=progress)
        yield Event("progress", task.progress, place)
    if over:
        yield Event("done", summary(task.model_dump()), replace(place, state=task.state))


_EARLIER = {State.QUEUED: ("",), State.RUNNING: ("", State.QUEUED)}
_BEGINS_WITH = ("command", "undo", "started_at")
_ENDS_WITH = ("exit_code", "seconds", "truncated", "error")


def _moments(steps: list[Step], place: Place) -> list[tuple[datetime, int, bool, Step]]:
    """What steps did beyond `place`, in order: (time, number, whether it ended then, step)."""
    moments = []
    settled, *others = place.ended
    for step in steps[bisect_right(steps, settled, key=_number) :]:
        if step.number > place.begun:
            moments.append((step.started_at, step.number, False, step))
        if has_ended(step) and step.number not in others:
            at = step.started_at + timedelta(seconds=step.seconds or 0)
            moments.append((at, step.number, True, step))
    return sorted(moments, key=lambda moment: moment[:3])


def _number(step: Step) -> int:
    return step.number


def _lines(log: list[str], place: Place) -> Iterator[Event]:
    for number, text in enumerate(log[place.log :], place.log + 1):
        yield Event("log", {"line": number, "text": text}, replace(place, log=number))


def _some(step: Step, *names: str) -> dict[str, Any]:
    shown = step_view(step)
    return {name: shown[name] for name in names}


def _said(seen: Seen, place: Place) -> tuple[str, Place]:
    """The news as text, and the place after them; most who watch a task are at the same place."""
    if place not in seen.said:
        events = list(news(seen, place))
        seen.said[place] = "".join(map(str, events)), events[-1].place if events else place
    return seen.said[place]


@router.get(
    "/{task_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"description": "events as they happen", "content": {"text/event-stream": {}}},
        204: {"description": "all events were received"},
    },
)
async def watch_task(
    task_id: str,
    services: Here,
    token: LoggedIn,
    last_event_id: Annotated[str | None, Header(max_length=16_384)] = None,
) -> Response:
    """A task as server-sent events: state, log, step, step_ended, progress, done.

    All of them from the first on, or those after `Last-Event-ID`; then as they happen, until it
    is done.
    """
    await own_task(services, token, task_id)
    place = Place.read(last_event_id) if last_event_id else Place()
    if place.over:
        return Response(status_code=204)  # so that a browser does not come back
    return StreamingResponse(
        _stream(services, token, task_id, place),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _stream(
    services: Services, token: Token, task_id: str, place: Place
) -> AsyncIterator[str]:
    """Events until the last, or until the watcher has to come again."""
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    with services.feeds.feed(task_id) as feed, contextlib.suppress(ResopError):
        quiet_since = time.monotonic()
        while not services.feeds.closed and await still_logged_in(services, token):
            changed = feed.changed
            seen = await feed.look()
            said, place = _said(seen, place)
            if not said and time.monotonic() - quiet_since >= HEARTBEAT_SECONDS:
                said = ": nothing new\n\n"
            if said:
                quiet_since = time.monotonic()
                yield said
            if place.over:
                return
            queued = seen.task.state == State.QUEUED
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUEUED_SECONDS if queued else HEARTBEAT_SECONDS):
                    await changed.wait()
                    continue
            feed.refresh()
