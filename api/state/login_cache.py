"""Which logins are live: the record is asked once, then trusted until word that one has ended."""

from __future__ import annotations

import time

from starlette.concurrency import run_in_threadpool

from resop.messaging.messages import LoggedOut, Resync
from resop.security.tokens import Token
from resop.storage.credentials import CredentialStore

TRUST_SECONDS = 60.0
MOST = 10_000


class LoginCache:
    """Remembers live logins in one API process."""

    def __init__(self, credentials: CredentialStore) -> None:
        self._credentials = credentials
        self._live: dict[str, float] = {}

    async def live(self, token: Token, *, trusted: bool) -> bool:
        """Whether a token's login has not been ended.

        `trusted` says that word of a logout would have been heard; without it the record is
        asked each time.
        """
        if trusted and self._live.get(token.credential, 0.0) > time.monotonic():
            return True
        # Before the record is asked: a logout heard meanwhile takes the mark away again.
        if len(self._live) >= MOST:
            self._live.clear()
        self._live[token.credential] = time.monotonic() + TRUST_SECONDS
        found = await run_in_threadpool(self._credentials.get, token.credential)
        if found is None:
            self._live.pop(token.credential, None)
        return found is not None

    def on_logout(self, message: LoggedOut | Resync) -> None:
        """Forget a login that has ended; all logins for Resync."""
        if isinstance(message, LoggedOut):
            self._live.pop(message.credential, None)
        else:
            self._live.clear()
