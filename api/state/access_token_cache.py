"""The logins of the issuer's access tokens that this API process has seen, by digest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from resop.clock import unix_time
from resop.messaging.messages import LoggedOut, Resync
from resop.security.tokens import Token

MAX_KNOWN_TOKENS = 10_000


class AccessTokenCache:
    """Remembers the login of each access token, and lets many requests wait for one exchange."""

    def __init__(self) -> None:
        self._known: dict[bytes, Token] = {}
        self._exchanges: dict[bytes, asyncio.Task[Token]] = {}

    def get(self, digest: bytes) -> Token | None:
        """Return the login of a token that was exchanged before and has not expired."""
        found = self._known.get(digest)
        return found if found is not None and found.expires > unix_time() else None

    async def once(self, digest: bytes, exchange: Callable[[], Awaitable[Token]]) -> Token:
        """Exchange a token, or wait for the exchange of the same token that is under way."""
        running = self._exchanges.get(digest)
        if running is None:
            running = asyncio.ensure_future(self._run(digest, exchange))
            self._exchanges[digest] = running
        return await asyncio.shield(running)

    def on_logout(self, message: LoggedOut | Resync) -> None:
        """Forget the token of a login that has ended; all tokens for Resync."""
        if isinstance(message, Resync):
            self._known.clear()
            return
        for digest, token in list(self._known.items()):
            if token.credential == message.credential:
                del self._known[digest]

    async def _run(self, digest: bytes, exchange: Callable[[], Awaitable[Token]]) -> Token:
        try:
            token = await exchange()
        finally:
            del self._exchanges[digest]
        if len(self._known) >= MAX_KNOWN_TOKENS:
            self._known.clear()
        self._known[digest] = token
        return token
