"""Remember which logins are valid, so that the database is not read for every request."""

from __future__ import annotations

import time

from starlette.concurrency import run_in_threadpool

from api.state.subscription import Subscription
from resop.messaging.messages import LoggedOut, Resync
from resop.security.tokens import Token
from resop.storage.credentials import CredentialStore

TRUST_SECONDS = 60.0
"""How long a login is trusted without reading the database."""
MAX_TRUSTED_LOGINS = 10_000


class LoginCache:
    """The logins of one API process that were found valid.

    A login is trusted only while this process is subscribed, and so learns of every logout.
    """

    def __init__(self, credentials: CredentialStore, subscription: Subscription) -> None:
        self._credentials = credentials
        self._subscription = subscription
        self._trusted_until: dict[str, float] = {}
        """By credential; times of time.monotonic."""

    async def is_valid(self, token: Token) -> bool:
        """Return True unless the token's login has ended."""
        if self._subscription.connected:
            if self._trusted_until.get(token.credential, 0.0) > time.monotonic():
                return True
            # Before the database is read, so that a logout meanwhile removes the entry again.
            if len(self._trusted_until) >= MAX_TRUSTED_LOGINS:
                self._trusted_until.clear()
            self._trusted_until[token.credential] = time.monotonic() + TRUST_SECONDS
        found = await run_in_threadpool(self._credentials.get, token.credential)
        if found is None:
            self._trusted_until.pop(token.credential, None)
        return found is not None

    def on_logout(self, message: LoggedOut | Resync) -> None:
        """Forget a login that has ended; all logins for Resync."""
        if isinstance(message, LoggedOut):
            self._trusted_until.pop(message.credential, None)
        else:
            self._trusted_until.clear()
