"""Stream the content of a remote file in order, with several requests in flight.

One request at a time would pay the round trip for each block.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable
from typing import Any

import asyncssh

from resop.archives.byte_stream import ByteStream
from resop.archives.entry import Extent
from resop.errors import PathFailed

MAX_IN_FLIGHT = 16
"""Requests; OpenSSH takes 255 KiB in each, so that at most 4 MiB are held in memory."""
MIN_BLOCK_BYTES = 32 << 10
"""The block size if the server does not tell its own."""


async def read_blocks(
    file: asyncssh.SFTPClientFile, path: str, start: int, size: int
) -> AsyncIterator[bytes]:
    """Yield `size` bytes from offset `start`. Raises PathFailed if the file ends before."""
    block_size, end = file.read_len or MIN_BLOCK_BYTES, start + size
    pending: deque[asyncio.Task[bytes]] = deque()
    try:
        while start < end or pending:
            while start < end and len(pending) < MAX_IN_FLIGHT:
                length = min(block_size, end - start)
                pending.append(_start(_read_exactly(file, path, start, length)))
                start += length
            yield await pending.popleft()
    finally:
        for task in pending:
            task.cancel()


async def _read_exactly(file: asyncssh.SFTPClientFile, path: str, start: int, size: int) -> bytes:
    """Read exactly `size` bytes: a server may send fewer at a time."""
    content: bytes = await file.read(size, start)
    while len(content) < size:
        more: bytes = await file.read(size - len(content), start + len(content))
        if not more:
            raise PathFailed(path, "failed", "became shorter while it was read")
        content += more
    return content


class BlockWriter:
    """Writes a stream to an open file."""

    def __init__(self, file: asyncssh.SFTPClientFile, offset: int = 0) -> None:
        self._file = file
        self._block_size = file.write_len or MIN_BLOCK_BYTES
        self._pending: deque[tuple[int, asyncio.Task[int]]] = deque()
        self._offset = offset
        self.committed_offset = offset
        """The offset up to which everything is in the file."""

    async def write(self, content: AsyncIterable[bytes]) -> None:
        """Write all of `content`; no request is in flight when this returns or raises."""
        try:
            await self._send_all(content)
            while self._pending:
                await self._commit_oldest()
        except BaseException:
            await self._settle()
            raise

    async def write_extents(self, content: AsyncIterator[bytes], extents: Iterable[Extent]) -> None:
        """Write `content` to its places in a sparse file; what is between them is not touched."""
        stream = ByteStream(content)
        try:
            for extent in extents:
                self._offset = extent.offset
                await self._send_all(stream.read_chunks(extent.size))
            while self._pending:
                await self._commit_oldest()
        except BaseException:
            await self._settle()
            raise

    async def _send_all(self, content: AsyncIterable[bytes]) -> None:
        buffer = bytearray()
        async for chunk in content:
            buffer += chunk
            while len(buffer) >= self._block_size:
                await self._send(bytes(buffer[: self._block_size]))
                del buffer[: self._block_size]
        if buffer:
            await self._send(bytes(buffer))

    async def _send(self, block: bytes) -> None:
        if len(self._pending) == MAX_IN_FLIGHT:
            await self._commit_oldest()
        task = _start(self._file.write(block, self._offset))
        self._offset += len(block)
        self._pending.append((self._offset, task))

    async def _commit_oldest(self) -> None:
        end, task = self._pending.popleft()
        await task
        self.committed_offset = end

    async def _settle(self) -> None:
        """Wait for the requests in flight; commit the blocks before the first failed one."""
        if not self._pending:
            return
        await asyncio.wait([task for _, task in self._pending])
        for end, task in self._pending:
            if task.cancelled() or task.exception():
                break
            self.committed_offset = end


def _start(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    task = asyncio.ensure_future(work)
    # Retrieve the exception: only the first failed task is awaited, asyncio would warn about the
    # others.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
