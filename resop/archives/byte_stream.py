"""A stream of bytes in pieces of any size, read in sizes that are wanted."""

from __future__ import annotations

from collections.abc import AsyncIterator

from resop.errors import BodyTruncated

CHUNK_BYTES = 64 << 10


class ByteStream:
    """What is left of a stream."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._held = b""

    async def read(self, size: int) -> bytes:
        """So many bytes; BodyTruncated when there are fewer."""
        return b"".join([piece async for piece in self.read_chunks(size)])

    async def read_chunks(self, size: int) -> AsyncIterator[bytes]:
        """The same in pieces."""
        while size > 0:
            held = self._held
            while not held:
                try:
                    held = await anext(self._stream)
                except StopAsyncIteration:
                    raise BodyTruncated("the archive ended early") from None
            piece, self._held = held[:size], held[size:]
            size -= len(piece)
            yield piece

    async def peek(self, size: int) -> bytes:
        """Its first bytes, which are still there to be read; fewer when there are no more."""
        while len(self._held) < size:
            more = await anext(self._stream, b"")
            if not more:
                break
            self._held += more
        return self._held[:size]

    async def rest(self) -> AsyncIterator[bytes]:
        """All that is left."""
        held, self._held = self._held, b""
        yield held
        async for piece in self._stream:
            yield piece


def stream_bytes(content: bytes) -> ByteStream:
    """Return a stream of bytes that are in memory already."""

    async def sliced() -> AsyncIterator[bytes]:
        for start in range(0, len(content), CHUNK_BYTES):
            yield content[start : start + CHUNK_BYTES]

    return ByteStream(sliced())


async def rechunk(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same stream without small pieces: each costs a message of its own."""
    held = bytearray()
    async for piece in stream:
        held += piece
        if len(held) >= CHUNK_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
