"""Tasks: wait for them, read their events, cancel them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx2

from resop_client._async.connection import AsyncConnection
from resop_client.clock import asleep, growing_pauses
from resop_client.errors import ConnectionFailed, ServiceError, error_of
from resop_client.record import Record, read_json

WAIT_SECONDS = 50.0
"""How long one request waits for the end of a task."""
SILENCE_SECONDS = 45.0
"""The service sends something every 15 s while nothing happens."""
MAX_CUTS = 20
"""Connections in a row that bring no event before following a task is given up."""
ENDED = ("succeeded", "failed", "cancelled", "timed_out", "lost")


class TaskEvent(NamedTuple):
    """Something that happened to a task."""

    kind: str
    """state, log, step, output, step_ended, progress or done."""
    data: Record


class AsyncTask:
    """One task of the service, as it was when it was last looked at."""

    def __init__(self, connection: AsyncConnection, body: Record) -> None:
        """`body` is the task as the service describes it."""
        self._connection = connection
        self.body = body

    @property
    def id(self) -> str:
        """The id of the task."""
        return str(self.body["task"])

    @property
    def action(self) -> str:
        """The action, as `operator:name`."""
        return str(self.body["action"])

    @property
    def state(self) -> str:
        """queued, running, succeeded, failed, cancelled, timed_out or lost."""
        return str(self.body["state"])

    @property
    def ended(self) -> bool:
        """True if the task had ended when it was last looked at."""
        return self.state in ENDED

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.action} {self.state}>"

    async def refresh(self, wait: float = 0) -> AsyncTask:
        """Look at the task again; wait up to `wait` seconds for its end."""
        self.body = await self._connection.get(f"/tasks/{self.id}", wait=wait)
        return self

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the task; return False if it has not ended after `timeout` s."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.ended:
            left = WAIT_SECONDS if end is None else end - time.monotonic()
            if left <= 0:
                break
            await self.refresh(min(WAIT_SECONDS, left))
        return self.ended

    async def result(self, timeout: float | None = None) -> Any:
        """Return the output of the task when it has ended. Raises its error, or TimeoutError."""
        if not await self.wait(timeout):
            raise TimeoutError(f"task {self.id} is still {self.state} after {timeout:g} s")
        if self.state != "succeeded":
            raise error_of(424, self.body["error"] or {}, self.id)
        return self.body.get("output")

    async def cancel(self, wait: float = 10) -> AsyncTask:
        """Cancel the task, and wait up to `wait` seconds for its end."""
        self.body = await self._connection.delete(f"/tasks/{self.id}", wait=wait)
        return self

    async def label(self, *, tags: list[str] | None = None, note: str | None = None) -> AsyncTask:
        """Replace the tags of the task, its note, or both."""
        labels = {"tags": tags, "note": note}
        given = {name: value for name, value in labels.items() if value is not None}
        self.body |= await self._connection.patch(f"/tasks/{self.id}", given)
        return self

    async def events(self) -> AsyncIterator[TaskEvent]:
        """Yield what happens to the task, from its beginning, each event once.

        After a cut connection it continues where it was.
        """
        last, cuts, pauses = "", 0, growing_pauses()
        while True:
            try:
                async for event_id, event in self._events_after(last):
                    last, cuts, pauses = event_id, 0, growing_pauses()
                    yield event
                    if event.kind == "done":
                        return
            except (ConnectionFailed, ServiceError):
                if cuts >= MAX_CUTS:
                    raise
            cuts += 1
            await asleep(next(pauses))

    async def _events_after(self, last: str) -> AsyncIterator[tuple[str, TaskEvent]]:
        """Yield the events of one connection, each with its id."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        async with self._connection.stream(
            "GET", f"/tasks/{self.id}/events", headers=headers, silence=SILENCE_SECONDS
        ) as response:
            fields: dict[str, str] = {}
            async for line in self._lines(response):
                name, _, value = line.partition(":")
                if line and name:
                    fields[name] = value.removeprefix(" ")
                elif not line and "data" in fields:
                    event = TaskEvent(fields.get("event", ""), read_json(fields["data"]))
                    yield fields.get("id", last), event
                    fields = {}

    async def _lines(self, response: httpx2.Response) -> AsyncIterator[str]:
        """Yield the lines of a stream; output may contain what Unicode takes for a line's end."""
        rest = b""
        async for chunk in response.aiter_bytes():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode()
