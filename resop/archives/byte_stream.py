"""Read a stream of chunks of any size in the sizes that a reader needs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from resop.errors import BodyTruncated

CHUNK_BYTES = 64 << 10


class ByteStream:
    """The unread rest of a stream."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = b""
        self._at = 0
        """Bytes of the buffer that have been read; to cut them off would copy the rest."""

    async def read(self, size: int) -> bytes:
        """Read exactly `size` bytes. Raises BodyTruncated if the stream ends early."""
        return b"".join([chunk async for chunk in self.read_chunks(size)])

    async def read_chunks(self, size: int) -> AsyncIterator[bytes]:
        """Read exactly `size` bytes in chunks. Raises BodyTruncated if the stream ends early."""
        while size > 0:
            chunk = await self.read_some(size)
            if not chunk:
                raise BodyTruncated("the archive ended early")
            size -= len(chunk)
            yield chunk

    async def read_some(self, size: int = CHUNK_BYTES) -> bytes:
        """Read at least one byte and at most `size`; empty at the end of the stream."""
        while self._at == len(self._buffer):
            try:
                self._buffer, self._at = await anext(self._chunks), 0
            except StopAsyncIteration:
                return b""
        chunk = self._buffer[self._at : self._at + size]
        self._at += len(chunk)
        return chunk

    def unread(self, size: int) -> None:
        """Put back the last `size` bytes that `read_some` has just returned."""
        self._at -= size

    async def peek(self, size: int) -> bytes:
        """Return the next `size` bytes without consuming them; fewer at the end of the stream."""
        if len(self._buffer) - self._at < size:
            self._buffer, self._at = self._buffer[self._at :], 0
        while len(self._buffer) - self._at < size:
            chunk = await anext(self._chunks, b"")
            if not chunk:
                break
            self._buffer += chunk
        return self._buffer[self._at : self._at + size]

    async def rest(self) -> AsyncIterator[bytes]:
        """Read everything up to the end of the stream, in chunks."""
        buffer, self._buffer, self._at = self._buffer[self._at :], b"", 0
        yield buffer
        async for chunk in self._chunks:
            yield chunk


def stream_bytes(content: bytes) -> ByteStream:
    """Return a stream of bytes that are in memory."""

    async def slices() -> AsyncIterator[bytes]:
        for start in range(0, len(content), CHUNK_BYTES):
            yield content[start : start + CHUNK_BYTES]

    return ByteStream(slices())


async def rechunk(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join small chunks, because each costs a separate message."""
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        if len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)
