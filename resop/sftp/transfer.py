"""The content of a remote file as a stream: in order, with several requests on their way.

One request at a time would wait for the way there and back with each of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Coroutine
from typing import Any

import asyncssh

from resop.errors import PathFailed

MAX_IN_FLIGHT = 16
"""Requests; of 255 KiB with OpenSSH, so that 4 MiB are held at most."""
SMALLEST_BLOCK = 32 << 10


async def read_blocks(
    file: asyncssh.SFTPClientFile, path: str, start: int, size: int
) -> AsyncIterator[bytes]:
    """`size` bytes from `start` on; PathFailed when there are fewer of them."""
    block, end = file.read_len or SMALLEST_BLOCK, start + size
    pending: deque[asyncio.Task[bytes]] = deque()
    try:
        while start < end or pending:
            while start < end and len(pending) < MAX_IN_FLIGHT:
                length = min(block, end - start)
                pending.append(_begun(_read(file, path, start, length)))
                start += length
            yield await pending.popleft()
    finally:
        for each in pending:
            each.cancel()


async def _read(file: asyncssh.SFTPClientFile, path: str, start: int, size: int) -> bytes:
    """Exactly so many bytes: a server may send fewer at a time."""
    read: bytes = await file.read(size, start)
    while len(read) < size:
        more: bytes = await file.read(size - len(read), start + len(read))
        if not more:
            raise PathFailed(path, "failed", "was cut shorter while it was read")
        read += more
    return read


class BlockWriter:
    """Writes a stream to an open file."""

    def __init__(self, file: asyncssh.SFTPClientFile, offset: int = 0) -> None:
        self._file = file
        self._block = file.write_len or SMALLEST_BLOCK
        self._pending: deque[tuple[int, asyncio.Task[int]]] = deque()
        self._offset = offset
        self.committed_offset = offset
        """Everything up to here is in the file."""

    async def write(self, content: AsyncIterable[bytes]) -> None:
        """Write all of it; nothing is on its way any more when this returns or raises."""
        held = bytearray()
        try:
            async for part in content:
                held += part
                while len(held) >= self._block:
                    await self._send(bytes(held[: self._block]))
                    del held[: self._block]
            if held:
                await self._send(bytes(held))
            while self._pending:
                await self._oldest()
        except BaseException:
            await self._settle()
            raise

    async def _send(self, block: bytes) -> None:
        if len(self._pending) == MAX_IN_FLIGHT:
            await self._oldest()
        writing = _begun(self._file.write(block, self._offset))
        self._offset += len(block)
        self._pending.append((self._offset, writing))

    async def _oldest(self) -> None:
        end, writing = self._pending.popleft()
        await writing
        self.committed_offset = end

    async def _settle(self) -> None:
        """Wait for what is on its way; count what arrived in one piece with all before it."""
        if not self._pending:
            return
        await asyncio.wait([writing for _, writing in self._pending])
        for end, writing in self._pending:
            if writing.cancelled() or writing.exception():
                break
            self.committed_offset = end


def _begun(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    task = asyncio.ensure_future(work)
    # Looked at, since of several that fail only the first is waited for.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
