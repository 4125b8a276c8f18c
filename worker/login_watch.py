"""Ends what runs on logins that have ended: a thread of each worker, which needs no message.

Each statement is conditional in the database, so all workers do the same and none is needed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from resop.access.ended_logins import LOOK_SECONDS, EndedLogins
from resop.access.login_administration import work_messages
from resop.errors import QueueUnavailable, RecordsUnavailable
from resop.messaging.publisher import EventPublisher
from resop.storage.login_ends import EndedWork, LoginEnds
from resop.storage.models import now

log = logging.getLogger(__name__)

FRESH = timedelta(seconds=15)
"""The tasks of a login that ended earlier are looked for at each LOOKS_PER_SEARCH-th look only."""
LOOKS_PER_SEARCH = 10


class LoginWatch:
    """A thread that looks for ended logins every LOOK_SECONDS, or at once when woken."""

    def __init__(
        self,
        ends: LoginEnds,
        publisher: EventPublisher,
        *,
        on_ended: Callable[[Sequence[str]], None],
        cancel_marked: Callable[[], None],
        dispatch_batches: Callable[[], None],
    ) -> None:
        """Set up; the callables are called at each look, and must be short.

        `on_ended` gets the ids of logins that have ended, each many times; `cancel_marked` cancels
        the running tasks that are marked in the database.
        """
        self._ends = ends
        self._ended_logins = EndedLogins(ends)
        self._publisher = publisher
        self._on_ended = on_ended
        self._cancel_marked = cancel_marked
        self._dispatch_batches = dispatch_batches
        self._looks = 0
        self._woken = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="login-watch", daemon=True)

    def start(self) -> None:
        """Start to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; a look that has begun is finished."""
        self._stopping = True
        self._woken.set()
        self._thread.join()

    def wake(self) -> None:
        """Look soon: a login may have ended. Returns at once."""
        self._woken.set()

    def look(self) -> None:
        """End what runs on the logins that have ended. Raises RecordsUnavailable."""
        self._ends.end_blocked()
        ended = [each for each in self._ended_logins.look() if not each.keeps_running]
        search_all = self._looks % LOOKS_PER_SEARCH == 0
        self._looks += 1
        fresh = now() - FRESH
        work = self._ends.end_work([each for each in ended if search_all or each.at > fresh])
        self._cancel_marked()
        if ended:
            self._on_ended([each.id for each in ended])
        if work.cancelled:
            log.warning("%d queued tasks were cancelled: their logins have ended", work.cancelled)
            self._dispatch_batches()  # which ends the batches without further tasks
        self._publish(work)  # last: it may take seconds to find that Redis is unavailable
        if search_all:
            self._ends.forget_keys()

    def _publish(self, work: EndedWork) -> None:
        try:
            if messages := work_messages(work):
                self._publisher.publish(*messages)
        except QueueUnavailable:
            log.warning("the end of tasks was not published: Redis is unavailable")

    def _work(self) -> None:
        while not self._stopping:
            try:
                self.look()
            except RecordsUnavailable as fault:
                log.warning("ended logins are looked for again soon: %s", fault.message)
            except Exception:
                log.exception("ended logins: a fault of the service")
            self._woken.wait(LOOK_SECONDS)
            self._woken.clear()
