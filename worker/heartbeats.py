"""Write this worker's heartbeat, and decide which others are dead by this process's own clock."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from resop.errors import RecordsUnavailable
from resop.storage.workers import WorkerStore

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10


class Heartbeat:
    """A thread that does nothing but write this worker's heartbeat.

    What else a worker does now and then may have to wait for Redis or for the network. Without
    heartbeats it would count as dead meanwhile, and its tasks as lost.
    """

    def __init__(self, worker: str, workers: WorkerStore) -> None:
        self._worker = worker
        self._workers = workers
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="heartbeat", daemon=True)
        self.written_at = time.monotonic()
        """When the database took the last heartbeat (time.monotonic)."""

    def start(self) -> None:
        """Write the first heartbeat, then start the thread."""
        self._workers.heartbeat(self._worker)
        self.written_at = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Stop, and record that this worker has ended."""
        self._stopping.set()
        self._thread.join()
        try:
            self._workers.delete(self._worker)
        except RecordsUnavailable:
            log.warning("the end of this worker is not recorded: the database is unavailable")

    def _work(self) -> None:
        while not self._stopping.wait(HEARTBEAT_SECONDS):
            try:
                self._workers.heartbeat(self._worker)
                self.written_at = time.monotonic()
            except RecordsUnavailable as fault:
                log.warning("the heartbeat is not written: %s", fault.message)
            except Exception:
                log.exception("heartbeat: a fault of the service")


class _Seen(NamedTuple):
    """A heartbeat, and when it was seen first."""

    heartbeat: object
    at: float


class HeartbeatWatch:
    """Notes when heartbeats change.

    A worker is dead when its heartbeat has been the same for long while this process looked. What
    the heartbeat says does not matter: it may have been written by a clock that is wrong or jumps.
    """

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        """Set up; `elapsed` returns seconds, and is not set by anybody."""
        self._elapsed = elapsed
        self._seen: dict[str, _Seen] = {}
        self._looked_at = 0.0

    def look(self, read: Callable[[], Mapping[str, object]]) -> None:
        """Read the heartbeats of all workers, and note which of them are new."""
        # Before: this process may be suspended while it reads, and the others continue.
        self._looked_at = present = self._elapsed()
        heartbeats = read()
        self._seen = {
            worker: known
            if (known := self._seen.get(worker)) and known.heartbeat == heartbeat
            else _Seen(heartbeat, present)
            for worker, heartbeat in heartbeats.items()
        }

    def silent(self, seconds: float) -> list[str]:
        """Return the workers whose heartbeat was the same for at least this long, at the look."""
        before = self._looked_at - seconds
        return [worker for worker, seen in self._seen.items() if seen.at <= before]

    def forget(self) -> None:
        """Begin again: for a time, this process or the workers could not do their part."""
        self._seen.clear()
