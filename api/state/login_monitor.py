"""Learn from the database which logins have ended, and record there which ones are used.

Messages announce the ends of logins at once, but may be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from starlette.concurrency import run_in_threadpool

from resop.access.ended_logins import LOOK_SECONDS, OVERLAP, EndedLogins
from resop.errors import RecordsUnavailable
from resop.messaging.messages import LoggedOut
from resop.storage.credentials import CredentialStore
from resop.storage.login_ends import LoginEnds
from resop.storage.models import now

log = logging.getLogger(__name__)

OnLogout = Callable[[LoggedOut], None]


class LoginUse:
    """The logins used in the present minute that are not recorded as such yet."""

    def __init__(self) -> None:
        self._minute: datetime | None = None
        self._used: set[str] = set()
        self._recorded: set[str] = set()

    def note(self, credential: str) -> None:
        """Note that the token of a credential was accepted."""
        self._used.add(credential)

    def take(self) -> tuple[datetime, set[str]]:
        """Return the minute, and the credentials to be recorded."""
        minute = now().replace(second=0, microsecond=0)
        if minute != self._minute:
            self._minute, self._recorded = minute, set()
        new, self._used = self._used - self._recorded, set()
        self._recorded |= new
        return minute, new


class LoginMonitor:
    """Looks every LOOK_SECONDS, on the event loop of one API process."""

    def __init__(
        self,
        credentials: CredentialStore,
        ends: LoginEnds,
        use: LoginUse,
        on_logout: Sequence[OnLogout],
    ) -> None:
        """Set up; each of `on_logout` is called with every login that has ended, many times."""
        self._credentials = credentials
        self._ended = EndedLogins(ends, since=now() - OVERLAP)
        self._use = use
        self._on_logout = on_logout
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to look."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Stop, and record the last uses."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        with contextlib.suppress(RecordsUnavailable):
            await self._record_use()

    async def look(self) -> None:
        """Pass on the logins that have ended. Raises RecordsUnavailable."""
        for ended in await run_in_threadpool(self._ended.look):
            for each in self._on_logout:
                each(LoggedOut(ended.id))
        await self._record_use()

    async def _record_use(self) -> None:
        minute, used = self._use.take()
        if used:
            await run_in_threadpool(self._credentials.note_use, used, minute)

    async def _work(self) -> None:
        while True:
            try:
                await self.look()
            except RecordsUnavailable as fault:
                log.warning("ended logins are looked for again soon: %s", fault.message)
            except Exception:
                log.exception("ended logins: a fault of the service")
            await asyncio.sleep(LOOK_SECONDS)
