"""Compressed tar archives: the formats, several parts, and bounds of memory and size."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import lzma
import random
import time
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from resop.archives import compression
from resop.archives.byte_stream import ByteStream, stream_bytes
from resop.archives.compression import MEMORY_LIMITS, codec_of, decompress
from resop.archives.validation import check_archive
from resop.errors import BodyTruncated, InvalidOptions, LimitReached, UnsupportedBody
from tests.support.archives import TAR_END, read_tar, tar_block

zstd: Any = pytest.importorskip("backports.zstd")
ARCHIVE = tar_block(content=random.Random(1).randbytes(100_000)) + TAR_END
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    "zstd": zstd.compress,
}


async def join(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def uncompressed(content: bytes, limit: float = 1 << 30, chunk_bytes: int = 1 << 30) -> bytes:
    async def slices() -> AsyncIterator[bytes]:
        for at in range(0, len(content), chunk_bytes):
            yield content[at : at + chunk_bytes]

    codec = codec_of(content)
    assert codec is not None
    return asyncio.run(join(decompress(ByteStream(slices()), codec, limit)))


def test_all_formats_are_read_in_chunks_of_any_size() -> None:
    for name, compress in COMPRESSORS.items():
        content = compress(ARCHIVE)
        codec = codec_of(content)
        assert codec is not None and codec.name == name
        [(entry, _)] = read_tar(content)
        assert entry.size == 100_000
        small = compress(ARCHIVE[:5000])
        assert uncompressed(small, chunk_bytes=7) == ARCHIVE[:5000], name


def test_all_parts_are_read_and_what_follows_them_is_ignored() -> None:
    parts = [ARCHIVE[:70_000], b"", ARCHIVE[70_000:]]
    for name, compress in COMPRESSORS.items():
        if name == "lzma":
            continue  # has no parts
        several = b"".join(map(compress, parts))
        assert uncompressed(several) == ARCHIVE, name
        assert uncompressed(several, chunk_bytes=999) == ARCHIVE, name
        assert uncompressed(several + bytes(1024)) == ARCHIVE, name
        assert uncompressed(compress(parts[0]) + bytes(8) + compress(parts[2])) == ARCHIVE, name
        assert uncompressed(several + b"garbage" * 10_000) == ARCHIVE, name
    skippable = b"\x50\x2a\x4d\x18" + b"\4\0\0\0size"  # pzstd puts one before each part
    assert uncompressed(skippable + zstd.compress(ARCHIVE)) == ARCHIVE


def test_incomplete_and_damaged_content_is_told_apart() -> None:
    for name, compress in COMPRESSORS.items():
        content = compress(ARCHIVE)
        for cut in (20, 3000, len(content) - 1):
            with pytest.raises(BodyTruncated):
                uncompressed(content[:cut])
        if name in ("gzip", "bzip2", "xz"):  # the others need have no checksum
            with pytest.raises(InvalidOptions, match=f"is not valid {name}"):
                uncompressed(content[:3000] + bytes(64) + content[3064:])
        with pytest.raises(InvalidOptions, match=f"{name}, but its content is not a tar archive"):
            read_tar(compress(b"something else"))
        with pytest.raises(UnsupportedBody, match=f"RAR, compressed with {name}"):
            read_tar(compress(b"Rar!\x1a\x07" + bytes(600)))


def test_zstd_is_refused_where_no_module_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_zstd_module", None)
    with pytest.raises(UnsupportedBody, match=r"backports\.zstd is not installed"):
        read_tar(zstd.compress(ARCHIVE))


def with_dictionary(content: bytes, size: int) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": size}]
    return lzma.compress(content, filters=filters, check=lzma.CHECK_CRC32)


def as_lzma(content: bytes, size: int) -> bytes:
    """Change the header of an .lzma file to one with another dictionary."""
    whole = lzma.compress(content, lzma.FORMAT_ALONE)
    return whole[:1] + size.to_bytes(4, "little") + whole[5:]


def with_window(log: int) -> bytes:
    """Return a frame of zstd whose window has 2**log bytes."""
    raw_block = (1 | 4 << 3).to_bytes(3, "little") + b"text"
    return b"\x28\xb5\x2f\xfd\0" + bytes([(log - 10) << 3]) + raw_block


def test_memory_of_decoders_is_limited() -> None:
    for content in (with_dictionary(b"text", 1 << 16), with_window(23), with_window(27)):
        assert uncompressed(content) == b"text"
    expensive = [as_lzma(b"text", 1 << 31), with_window(28), with_window(31)]
    xz = bytearray(with_dictionary(b"text", 1 << 16))
    xz[16] = 40  # 4 GiB, in the header of the first block, whose checksum follows
    xz[20:24] = zlib.crc32(xz[12:20]).to_bytes(4, "little")
    for content in (*expensive, bytes(xz)):
        with pytest.raises(InvalidOptions, match="more than 130 MiB of memory"):
            uncompressed(content)


def test_decoders_that_need_much_memory_are_few_at_once() -> None:
    async def begin() -> list[AsyncIterator[bytes]]:
        decoders = []
        for _ in range(2):
            chunks = decompress(stream_bytes(with_window(27) * 2), compression.ZSTD, 1 << 30)
            assert await anext(chunks) == b"text"
            decoders.append(chunks)
        return decoders

    async def check() -> None:
        decoders = await begin()
        with pytest.raises(LimitReached):
            await begin()
        assert await join(decompress(stream_bytes(with_window(23)), compression.ZSTD, 9)) == b"text"
        for chunks in decoders:
            assert await join(chunks) == b"text"
        await begin()

    asyncio.run(check())
    asyncio.run(check())
    assert compression._Memory._total == 0
    assert MEMORY_LIMITS[-1] * 2 == compression.MAX_RESERVED_BYTES


@pytest.mark.slow
def test_other_tasks_run_while_an_archive_is_decompressed() -> None:
    async def count_turns(content: bytes) -> tuple[int, float]:
        codec = codec_of(content)
        assert codec is not None
        began, turns = time.process_time(), 0
        reading = asyncio.create_task(join(decompress(stream_bytes(content), codec, 1 << 30)))
        while not reading.done():
            await asyncio.sleep(0)
            turns += 1
        assert await reading == zeros
        return turns, time.process_time() - began

    zeros = bytes(3 << 20)
    for name, compress in COMPRESSORS.items():
        turns, seconds = asyncio.run(count_turns(compress(zeros)))
        assert turns > seconds / 0.05, name


@pytest.mark.slow
def test_bombs_end_at_the_limit() -> None:
    zeros = bytes(8 << 20)
    for name, compress in COMPRESSORS.items():
        content = compress(zeros)
        began = time.process_time()
        with pytest.raises(InvalidOptions, match="too large when uncompressed"):
            uncompressed(content, limit=1 << 20)
        assert time.process_time() - began < 1.0, name
    huge = gzip.compress(tar_block()[:512] + bytes(70 << 20), 1)
    with pytest.raises(InvalidOptions, match=r"content: (is too large|continues after)"):
        check_archive(huge)
