"""Batches: one action with many sets of options, one task for each."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from resop_client._async.connection import AsyncConnection
from resop_client._async.tasks import WAIT_SECONDS, AsyncTask
from resop_client.progress import Progress, progress_of
from resop_client.record import Record, read_json
from resop_client.table import Table, table_of
from resop_client.transport import answer_error

PROGRESS_SECONDS = 2.0
"""How often the progress of a batch is looked at."""
FIXED_COLUMNS = ("number", "state", "exit_code", "output", "stderr", "error", "seconds", "task")


class BatchState(NamedTuple):
    """How many tasks of a batch have ended."""

    done: int
    total: int


class AsyncBatch:
    """One batch, as it was when it was last looked at."""

    def __init__(self, connection: AsyncConnection, body: Record) -> None:
        """`body` is the batch as the service describes it."""
        self._connection = connection
        self.body = body

    @property
    def id(self) -> str:
        """The id of the batch."""
        return str(self.body["batch"])

    @property
    def ended(self) -> bool:
        """True if all tasks had ended when the batch was last looked at."""
        return bool(self.body["state"] == "ended")

    @property
    def succeeded(self) -> bool:
        """True if all tasks have succeeded."""
        return bool(self.body["success"])

    @property
    def state(self) -> BatchState:
        """How many tasks had ended when the batch was last looked at."""
        counts, size = self.body["counts"], int(self.body["size"])
        return BatchState(size - counts["queued"] - counts["running"], size)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.body['action']} {self.body['state']}>"

    async def refresh(self, wait: float = 0) -> AsyncBatch:
        """Look at the batch again; wait up to `wait` seconds for the end of its last task."""
        self.body = await self._connection.get(f"/batches/{self.id}", wait=wait)
        return self

    async def progress(self) -> AsyncIterator[BatchState]:
        """Yield how many tasks have ended whenever that changes, until all have."""
        shown = self.state
        yield shown
        while not self.ended:
            await self.refresh(PROGRESS_SECONDS)
            if self.state != shown:
                shown = self.state
                yield shown

    async def wait(
        self, timeout: float | None = None, *, progress: Progress | bool = False
    ) -> bool:
        """Wait until all tasks have ended; return False if some have not after `timeout` s.

        `progress`: show a line on the terminal, or call this function.
        """
        show = progress_of(progress, f"batch {self.id[:8]}")
        end = None if timeout is None else time.monotonic() + timeout
        most = PROGRESS_SECONDS if progress else WAIT_SECONDS
        while True:
            show(*self.state)
            left = most if end is None else end - time.monotonic()
            if self.ended or left <= 0:
                return self.ended
            await self.refresh(min(most, left))

    async def results(self, *states: str) -> Table:
        """Return a row for each item: number, parameters, state, output, …

        `states`: only the tasks in these. The result of `core:run` has columns `stdout`, `stderr`
        and `exit_code`.
        """
        response = await self._connection.request(
            "GET", f"/batches/{self.id}/results.ndjson", params={"state": list(states)}
        )
        if response.status_code >= 400:
            raise answer_error(response)
        lines = response.content.split(b"\n")
        return table_of(_row(read_json(line)) for line in lines if line)

    async def tasks(self) -> list[AsyncTask]:
        """Return the tasks of the batch, in the order of its items."""
        tasks: list[AsyncTask] = []
        query: dict[str, object] = {"limit": 500}
        while True:
            page = await self._connection.get(f"/batches/{self.id}/tasks", params=query)
            tasks += [AsyncTask(self._connection, each) for each in page["tasks"]]
            if page["next"] is None:
                return tasks
            query["cursor"] = page["next"]

    async def cancel(self, wait: float = 10) -> AsyncBatch:
        """Cancel all tasks, and wait up to `wait` seconds for their end."""
        self.body = await self._connection.delete(f"/batches/{self.id}", wait=wait)
        return self

    async def retry(self, states: Sequence[str] = ()) -> AsyncBatch:
        """Launch a new batch of the items that failed, timed out or were cancelled.

        `states`: those of the tasks to repeat instead, such as `lost`.
        """
        body = await self._connection.post(
            f"/batches/{self.id}/retry",
            {},
            params={"state": list(states)} if states else None,
            headers={"Idempotency-Key": str(uuid.uuid4())},
            repeatable=True,
        )
        return AsyncBatch(self._connection, body)


def _row(result: dict[str, object]) -> dict[str, object]:
    """Return the row of one item: its parameters, and the members of a command's output."""
    item = result.pop("item") or {}
    assert isinstance(item, dict)
    output = result["output"]
    if isinstance(output, dict) and {"stdout", "stderr", "exit_code"} <= output.keys():
        del result["output"]
        result |= {name: output[name] for name in ("exit_code", "stdout", "stderr")}
    number = result.pop("number")
    names = {name: f"item.{name}" if name in FIXED_COLUMNS else name for name in item}
    return {"number": number, **{names[name]: value for name, value in item.items()}, **result}
