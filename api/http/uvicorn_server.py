"""Everything that relies on undocumented details of uvicorn.

tests/integration/api/http/test_uvicorn.py fails when one of them changes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from uvicorn.config import STARTUP_FAILURE

__all__ = ["STARTUP_FAILURE", "StreamEndingServer"]


class StreamEndingServer(uvicorn.Server):
    """A server that ends its event streams before it waits for open connections.

    Uvicorn would otherwise wait for every client that watches a task. Those clients reconnect by
    themselves and continue where their stream ended.
    """

    def __init__(self, config: uvicorn.Config, end_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_streams = end_streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the event streams, then shut down."""
        self._end_streams()
        await super().shutdown(sockets)
