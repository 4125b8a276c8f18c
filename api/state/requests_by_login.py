"""The requests that are being served, by login, so that they end with it.

Whatever a request does at that moment (waiting for a task, streaming events, receiving an upload,
sending a download), its asyncio task is cancelled: what it has begun is cleaned up as after any
fault, and its connection to the cluster is free again.
"""

from __future__ import annotations

import asyncio

from resop.messaging.messages import LoggedOut, Resync

_Serving = asyncio.Task[object]


class RequestsByLogin:
    """The open requests of one API process, by the asyncio tasks that serve them."""

    def __init__(self) -> None:
        self._credentials: dict[_Serving, str] = {}
        """The credential of each request's token; empty before that is known."""
        self._ended: set[_Serving] = set()

    def begin(self, serving: _Serving) -> None:
        """Note that a request is being served."""
        self._credentials[serving] = ""

    def finish(self, serving: _Serving) -> None:
        """Note that a request has been served."""
        self._credentials.pop(serving, None)
        self._ended.discard(serving)

    def end_with(self, credential: str) -> None:
        """Let the present request end with this login. Call before the token is accepted."""
        serving = asyncio.current_task()
        if serving in self._credentials:
            self._credentials[serving] = credential

    def outlive_login(self) -> None:
        """Let the present request be answered after the end of its login, which it ends itself."""
        self.end_with("")

    def was_ended(self, serving: _Serving) -> bool:
        """Return True if a request is being cancelled because its login has ended."""
        return serving in self._ended

    def on_logout(self, message: LoggedOut | Resync) -> None:
        """Cancel the requests of a login that has ended, each once."""
        if not isinstance(message, LoggedOut):
            return
        for serving, credential in list(self._credentials.items()):
            if credential == message.credential and serving not in self._ended:
                self._ended.add(serving)
                serving.cancel()
