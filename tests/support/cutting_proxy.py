"""A TCP proxy that cuts connections while they carry data."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self

from tests.support.ports import HOST

CHUNK_BYTES = 1 << 16


class CuttingProxy:
    """Passes connections on to a port, and cuts the first ones after some bytes."""

    def __init__(self, port: int, *, cuts: int, after_bytes: int) -> None:
        """Cut `cuts` connections, each after `after_bytes` in either direction."""
        self._target = port
        self._after_bytes = after_bytes
        self.cuts_left = cuts
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        passed = 0
        with (
            client,
            socket.create_connection((HOST, self._target)) as server,
            selectors.DefaultSelector() as selector,
            contextlib.suppress(OSError),
        ):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    source, target = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    if not (chunk := source.recv(CHUNK_BYTES)):
                        return
                    passed += len(chunk)
                    if passed > self._after_bytes and self.cuts_left > 0:
                        self.cuts_left -= 1
                        return
                    target.sendall(chunk)
