# Generated from ../_async/tasks.py by scripts/make_sync.py: edit that file instead.

"""Tasks: wait for them, read their events, cancel them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx2

from resop_client._sync.connection import Connection
from resop_client.clock import growing_pauses, sleep
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


class Task:
    """One task of the service, as it was when it was last looked at."""

    def __init__(self, connection: Connection, body: Record) -> None:
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

    def refresh(self, wait: float = 0) -> Task:
        """Look at the task again; wait up to `wait` seconds for its end."""
        self.body = self._connection.get(f"/tasks/{self.id}", wait=wait)
        return self

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the task; return False if it has not ended after `timeout` s."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.ended:
            left = WAIT_SECONDS if end is None else end - time.monotonic()
            if left <= 0:
                break
            self.refresh(min(WAIT_SECONDS, left))
        return self.ended

    def result(self, timeout: float | None = None) -> Any:
        """Return the output of the task when it has ended. Raises its error, or TimeoutError."""
        if not self.wait(timeout):
            raise TimeoutError(f"task {self.id} is still {self.state} after {timeout:g} s")
        if self.state != "succeeded":
            raise error_of(424, self.body["error"] or {}, self.id)
        return self.body.get("output")

    def cancel(self, wait: float = 10) -> Task:
        """Cancel the task, and wait up to `wait` seconds for its end."""
        self.body = self._connection.delete(f"/tasks/{self.id}", wait=wait)
        return self

    def label(self, *, tags: list[str] | None = None, note: str | None = None) -> Task:
        """Replace the tags of the task, its note, or both."""
        labels = {"tags": tags, "note": note}
        given = {name: value for name, value in labels.items() if value is not None}
        self.body |= self._connection.patch(f"/tasks/{self.id}", given)
        return self

    def events(self) -> Iterator[TaskEvent]:
        """Yield what happens to the task, from its beginning, each event once.

        After a cut connection it continues where it was.
        """
        last, cuts, pauses = "", 0, growing_pauses()
        while True:
            try:
                for event_id, event in self._events_after(last):
                    last, cuts, pauses = event_id, 0, growing_pauses()
                    yield event
                    if event.kind == "done":
                        return
            except (ConnectionFailed, ServiceError):
                if cuts >= MAX_CUTS:
                    raise
            cuts += 1
            sleep(next(pauses))

    def _events_after(self, last: str) -> Iterator[tuple[str, TaskEvent]]:
        """Yield the events of one connection, each with its id."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        with self._connection.stream(
            "GET", f"/tasks/{self.id}/events", headers=headers, silence=SILENCE_SECONDS
        ) as response:
            fields: dict[str, str] = {}
            for line in self._lines(response):
                name, _, value = line.partition(":")
                if line and name:
                    fields[name] = value.removeprefix(" ")
                elif not line and "data" in fields:
                    event = TaskEvent(fields.get("event", ""), read_json(fields["data"]))
                    yield fields.get("id", last), event
                    fields = {}

    def _lines(self, response: httpx2.Response) -> Iterator[str]:
        """Yield the lines of a stream; output may contain what Unicode takes for a line's end."""
        rest = b""
        for chunk in response.iter_bytes():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode()
