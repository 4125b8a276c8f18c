"""Limit the requests that stay open for long: per user, and in all of one API process."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

from resop.config.settings import Settings
from resop.errors import LimitReached, ServiceBusy
from resop.security.identity import Identity
from resop.security.tokens import Token


class LongRequest(StrEnum):
    """The kinds of such requests, in the words of messages."""

    STREAM = "event streams"
    WAIT = "waiting requests"
    TRANSFER = "downloads, uploads and exports"


class OpenRequests:
    """The open requests of one API process, by kind and user."""

    def __init__(self, settings: Settings) -> None:
        self._per_user = {
            LongRequest.STREAM: settings.STREAMS_PER_USER,
            LongRequest.WAIT: settings.WAITS_PER_USER,
            LongRequest.TRANSFER: settings.TRANSFERS_PER_USER,
        }
        self.in_all = max(1, settings.CONNECTIONS // 2)
        """The limit of each kind, for all users together: half of the connections stay free."""
        self._open: Counter[LongRequest] = Counter()
        self._by_user: Counter[tuple[LongRequest, Identity]] = Counter()

    @contextlib.contextmanager
    def hold(self, kind: LongRequest, token: Token) -> Iterator[None]:
        """Count a request while it is open. Raises LimitReached, ServiceBusy.

        The logins of a user count together, so that more logins are no more requests.
        """
        user = kind, token.identity
        limit = self._per_user[kind]
        if self._by_user[user] >= limit:
            raise LimitReached(
                f"you have {limit} {kind} open, which is the limit: end one, or try again later"
            )
        if self._open[kind] >= self.in_all:
            raise ServiceBusy(f"too many {kind} of all users are open: try again later")
        self._open[kind] += 1
        self._by_user[user] += 1
        try:
            yield
        finally:
            self._open[kind] -= 1
            self._by_user[user] -= 1
            if not self._by_user[user]:
                del self._by_user[user]
