"""Decompress gzip, bzip2, xz, lzma and zstd as they arrive, within a limit of memory.

A compressed file may consist of several parts, such as pigz, pbzip2 and `cat` make them. Zeros
after a part are ignored, and so is anything else after the last one, as gzip and bzip2 do.
"""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import importlib
import lzma
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from resop.archives.byte_stream import CHUNK_BYTES, ByteStream
from resop.archives.loop_turn import LoopTurn
from resop.archives.safe_names import invalid_archive
from resop.errors import BodyTruncated, LimitReached, UnsupportedBody

MEMORY_LIMITS = (10 << 20, 66 << 20, 130 << 20)
"""Bytes that a decoder may use, tried in this order.

They suffice for a dictionary of 8 MiB (the default of xz), 64 MiB (`xz -9`) and 128 MiB
(`zstd --long`; without an option, `zstd -d` uses no more either).
"""
MAX_RESERVED_BYTES = 2 * MEMORY_LIMITS[-1]
"""Memory of all decoders of this process together that use more than the first limit."""
HEADER_BYTES = 2048
"""More than any header that tells how much memory is needed: xz has the longest."""


class Decoder(Protocol):
    """A decoder of one part, as the modules bz2 and lzma have them."""

    @property
    def eof(self) -> bool:
        """True after the end of the part."""

    @property
    def needs_input(self) -> bool:
        """True if `decompress` returns nothing more without further data."""

    @property
    def unused_data(self) -> bytes:
        """The data after the end of the part."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Decompress `data`, and return at most `max_length` bytes."""


class Inflater:
    """The decoder of zlib, with the interface of the others."""

    def __init__(self, window_bits: int) -> None:
        """Decode what `window_bits` stands for in zlib."""
        self._zlib = zlib.decompressobj(window_bits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        """True after the end of the part."""
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        """The data after the end of the part."""
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Decompress `data`, and return at most `max_length` bytes."""
        output = self._zlib.decompress(data or self._zlib.unconsumed_tail, max_length)
        # zlib can hold back output that it has no room for, even if it has consumed all input.
        self.needs_input = len(output) < max_length and not self._zlib.unconsumed_tail
        return output


@dataclass(frozen=True, slots=True)
class Codec:
    """A compression method."""

    name: str
    signatures: tuple[bytes, ...]
    """The bytes that a file begins with."""
    new_decoder: Callable[[int], Decoder]
    """Return a decoder; the argument limits its memory, in bytes."""
    in_thread: bool = False
    """True if the decoder needs long for a chunk."""

    def matches(self, head: bytes) -> bool:
        """Return True if a file that begins with `head` is compressed with this method."""
        return head.startswith(self.signatures)


def _import_zstd() -> Any:
    """Return the module of Python 3.14 or the backport of it, or None."""
    for name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    return None


_zstd_module = _import_zstd()
_ERRORS: tuple[type[Exception], ...] = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)
if _zstd_module is not None:
    _ERRORS += (_zstd_module.ZstdError,)


def _zstd_decoder(memory: int) -> Decoder:
    if _zstd_module is None:
        raise UnsupportedBody("zstd cannot be decompressed here: backports.zstd is not installed")
    options = {_zstd_module.DecompressionParameter.window_log_max: memory.bit_length() - 1}
    decoder: Decoder = _zstd_module.ZstdDecompressor(options=options)
    return decoder


GZIP = Codec("gzip", (b"\x1f\x8b",), lambda _: Inflater(zlib.MAX_WBITS | 16))
DEFLATE = Codec("deflate", (), lambda _: Inflater(-zlib.MAX_WBITS))
BZIP2 = Codec("bzip2", (b"BZh",), lambda _: bz2.BZ2Decompressor(), in_thread=True)
XZ = Codec(
    "xz",
    (b"\xfd7zXZ\0",),
    lambda memory: lzma.LZMADecompressor(lzma.FORMAT_XZ, memory),
    in_thread=True,
)
LZMA = Codec(
    "lzma",
    (b"\x5d\0\0",),
    lambda memory: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memory),
    in_thread=True,
)
_SKIPPABLE_FRAMES = tuple(bytes([0x50 + number]) + b"\x2a\x4d\x18" for number in range(16))
ZSTD = Codec("zstd", (b"\x28\xb5\x2f\xfd", *_SKIPPABLE_FRAMES), _zstd_decoder)


def codec_of(head: bytes) -> Codec | None:
    """Return how a file that begins with `head` is compressed, or None."""
    return next((each for each in (GZIP, BZIP2, XZ, LZMA, ZSTD) if each.matches(head)), None)


async def decompress(stream: ByteStream, codec: Codec, limit: float) -> AsyncIterator[bytes]:
    """Yield the content of all parts of a compressed stream, `limit` bytes at most.

    Raises BodyTruncated, LimitReached, or InvalidOptions for invalid data.
    """
    is_part = True
    while is_part:
        async for chunk in decompress_part(stream, codec):
            limit -= len(chunk)
            if limit < 0:
                raise invalid_archive("is too large when uncompressed")
            yield chunk
        await _skip_zeros(stream)
        is_part = codec.matches(await stream.peek(6))
    async for _ in stream.rest():
        pass


async def decompress_part(stream: ByteStream, codec: Codec) -> AsyncIterator[bytes]:
    """Yield the content of one part, and read nothing behind it."""
    turn = LoopTurn()
    await stream.peek(HEADER_BYTES)
    with _Memory() as memory:
        decoder, output = await _begin(codec, await stream.read_some(), memory)
        while True:
            if output:
                yield output
            if decoder.eof:
                break
            await turn.end_if_long()
            chunk = b""
            if decoder.needs_input and not (chunk := await stream.read_some()):
                raise BodyTruncated("the archive ended early")
            try:
                output = await _decode(codec, decoder, chunk)
            except _ERRORS as error:
                raise _invalid(codec, error) from None
        stream.unread(len(decoder.unused_data))


async def _begin(codec: Codec, chunk: bytes, memory: _Memory) -> tuple[Decoder, bytes]:
    """Decode the first chunk with as little memory as possible."""
    for limit in MEMORY_LIMITS:
        if limit > MEMORY_LIMITS[0]:
            memory.reserve(limit)
        decoder = codec.new_decoder(limit)
        try:
            return decoder, await _decode(codec, decoder, chunk)
        except _ERRORS as error:
            # "Memory usage limit exceeded" of lzma; "requires too much memory" of zstd
            if "emory" not in str(error):
                raise _invalid(codec, error) from None
    raise invalid_archive(
        f"needs more than {MEMORY_LIMITS[-1] >> 20} MiB of memory to be decompressed: compress it "
        "with a smaller dictionary"
    )


async def _decode(codec: Codec, decoder: Decoder, chunk: bytes) -> bytes:
    if codec.in_thread:
        return await asyncio.to_thread(decoder.decompress, chunk, CHUNK_BYTES)
    return decoder.decompress(chunk, CHUNK_BYTES)


async def _skip_zeros(stream: ByteStream) -> None:
    turn = LoopTurn()
    while chunk := await stream.read_some():
        if rest := chunk.lstrip(b"\0"):
            stream.unread(len(rest))
            return
        await turn.end_if_long()


def _invalid(codec: Codec, error: Exception) -> Exception:
    return invalid_archive(f"is not valid {codec.name}: {error}")


class _Memory:
    """The memory of one decoder, counted in the total of the process."""

    _total: ClassVar[int] = 0
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self._reserved = 0

    def reserve(self, size: int) -> None:
        """Raise what is reserved to `size` bytes. Raises LimitReached."""
        with self._lock:
            total = _Memory._total + size - self._reserved
            if total > MAX_RESERVED_BYTES:
                raise LimitReached(
                    "other archives are being unpacked that need much memory, as this one does: "
                    "try again later"
                )
            _Memory._total, self._reserved = total, size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            _Memory._total -= self._reserved
