"""Everything that relies on undocumented details of uvicorn, with uvicorn_protocol.py.

tests/integration/api/http/test_uvicorn.py fails when one of them changes.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
import uvloop
from uvicorn.config import STARTUP_FAILURE

from api.http.connection_register import ConnectionRegister
from api.http.uvicorn_protocol import LimitedProtocol

__all__ = ["LOOP", "STARTUP_FAILURE", "ApiServer", "HandshakeLoop"]

SWEEP_SECONDS = 1.0
HANDSHAKE_SECONDS = 10.0
"""How long a TLS handshake may take; by default a minute."""
LOOP = f"{__name__}:HandshakeLoop"
"""The event loop, as uvicorn imports it."""


class HandshakeLoop(uvloop.Loop):
    """The event loop of the server, which gives up slow TLS handshakes."""

    async def create_server(  # type: ignore[override]
        self, *arguments: Any, **named: Any
    ) -> asyncio.AbstractServer:
        """Limit the handshakes of a server with TLS."""
        if named.get("ssl") is not None:
            named.setdefault("ssl_handshake_timeout", HANDSHAKE_SECONDS)
        return await super().create_server(*arguments, **named)


class ApiServer(uvicorn.Server):
    """A server that limits its connections, and ends its event streams when it stops.

    Uvicorn would otherwise wait for every client that watches a task. Those clients reconnect by
    themselves and continue where their stream ended.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        register: ConnectionRegister,
        end_streams: Callable[[], None],
    ) -> None:
        config.http = functools.partial(LimitedProtocol, register=register)  # type: ignore[assignment]
        super().__init__(config)
        self._register = register
        self._end_streams = end_streams
        self._sweeper: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve and to look after the connections."""
        await super().startup(sockets)
        self._sweeper = asyncio.create_task(self._sweep())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the event streams, then shut down."""
        self._end_streams()
        await super().shutdown(sockets)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for connection in list(self.server_state.connections):
                if isinstance(connection, LimitedProtocol):
                    connection.sweep(loop.time())
            self._register.report(loop.time())
