"""Know the API keys that were used lately, so that the database is not read for every request."""

from __future__ import annotations

import hmac
import logging
import time
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from resop.clock import unix_time
from resop.errors import RecordsUnavailable, TokenRefused
from resop.messaging.messages import LoggedOut, Resync
from resop.security.api_keys import ApiKeyText
from resop.security.scope import Scope
from resop.security.tokens import Token
from resop.storage.api_keys import ApiKeyStore
from resop.storage.models import ApiKey, now

log = logging.getLogger(__name__)

MAX_KNOWN_KEYS = 10_000
USE_SECONDS = 600.0
"""How often the last use of a key is recorded."""


@dataclass(slots=True)
class _KnownKey:
    digest: str
    token: Token
    note_at: float = 0.0
    """When its use is recorded next, a time of time.monotonic."""


class ApiKeyCache:
    """The API keys of one API process that were found in the database.

    Whether a key is still valid is a question for the login cache, as with any other login.
    """

    def __init__(self, store: ApiKeyStore) -> None:
        self._store = store
        self._known: dict[str, _KnownKey] = {}
        """By id."""

    async def token_of(self, text: str) -> Token:
        """Return what a key stands for. Raises TokenRefused if it is unknown or has expired."""
        key = ApiKeyText.parse(text)
        known = self._known.get(key.id) or await self._read(key)
        if known is None or not hmac.compare_digest(known.digest, key.digest):
            raise TokenRefused("there is no such API key; it may have been deleted or have expired")
        if known.token.expires <= unix_time():
            raise TokenRefused("the API key has expired: make a new one")
        await self._note_use(key.id, known)
        return known.token

    def on_logout(self, message: LoggedOut | Resync) -> None:
        """Forget a key that was deleted; all keys for Resync."""
        if isinstance(message, LoggedOut):
            self._known.pop(message.credential, None)
        else:
            self._known.clear()

    async def _read(self, key: ApiKeyText) -> _KnownKey | None:
        found = await run_in_threadpool(self._store.get, key.id)
        if found is None or not hmac.compare_digest(found.digest, key.digest):
            return None  # and not kept: anybody can invent an id
        if len(self._known) >= MAX_KNOWN_KEYS:
            self._known.clear()
        known = self._known[key.id] = _KnownKey(found.digest, _token(found, key.key_share))
        return known

    async def _note_use(self, key_id: str, known: _KnownKey) -> None:
        if known.note_at > time.monotonic():
            return
        known.note_at = time.monotonic() + USE_SECONDS
        try:
            await run_in_threadpool(self._store.note_use, key_id, now())
        except RecordsUnavailable:
            log.warning("the use of API key %s was not recorded", key_id)


def _token(key: ApiKey, key_share: str) -> Token:
    return Token(
        key.username,
        key.cluster,
        key.id,
        key_share,
        int(key.expires_at.timestamp()),
        scope=Scope.from_json(key.scope),
        api_key=True,
    )
