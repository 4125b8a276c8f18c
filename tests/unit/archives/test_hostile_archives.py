"""Archives that are made to be expensive: refused, or read in many short turns."""

from __future__ import annotations

import asyncio
import gzip
import io
import struct
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import AsyncIterator

import pytest

from resop.archives import tar
from resop.archives.byte_stream import ByteStream, stream_bytes
from resop.archives.entry import TreeEntry
from resop.archives.pax_header import MAX_HEADER_RECORDS
from resop.archives.safe_names import MAX_NAME_BYTES, MAX_NAME_DEPTH
from resop.archives.tar import MAX_FILL_BYTES, MAX_HEADERS
from resop.archives.validation import check_archive
from resop.archives.zip_directory import read_directory
from resop.errors import InvalidOptions
from tests.support.archives import MemoryFile, read_zip

pytestmark = pytest.mark.slow

END = bytes(1024)


def block(kind: bytes, content: bytes = b"", name: str = "x", target: str = "") -> bytes:
    """Return a header with its content, filled up to whole blocks."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(content), target
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def pax(*records: bytes) -> bytes:
    return block(tarfile.XHDTYPE, b"".join(records))


def record(keyword: bytes, value: bytes) -> bytes:
    size = len(keyword) + len(value) + 3
    length = size + len(str(size))
    length = size + len(str(length))
    return b"%d %s=%s\n" % (length, keyword, value)


async def entries_of(content: bytes) -> list[TreeEntry]:
    found = []
    async for entry, chunks in tar.read_archive(stream_bytes(content)):
        found.append(entry)
        async for _ in chunks:
            pass
    return found


def read(content: bytes) -> list[TreeEntry]:
    return asyncio.run(entries_of(content))


FILE = block(tarfile.REGTYPE)
REFUSED = {
    "a million records": pax(b"6 a=b\n" * 174_000),
    "one record too many": pax(*[b"6 a=b\n"] * (MAX_HEADER_RECORDS + 1)),
    "records without equals signs": pax(b"4 a\n" * 260_000),
    "a length of a million digits": pax(b"9" * (1 << 20)),
    "a length without end": pax(b"99999999999999999999 a=b\n"),
    "a record of no length": pax(b"0 a=b\n" * 100),
    "a large header": pax(record(b"comment", bytes(1 << 20))),
    "many pax headers": pax(record(b"comment", b"x")) * (MAX_HEADERS + 1),
    "many long names": block(tarfile.GNUTYPE_LONGNAME, b"n") * 1000,
    "many global headers": block(tarfile.XGLTYPE, record(b"comment", b"x")) * 1000,
    "a size of a thousand digits": pax(record(b"size", b"1" * 1000)),
    "a time of a thousand digits": pax(record(b"mtime", b"1" * 1000)),
    "no time": pax(record(b"mtime", b"nan")),
    "an endless time": pax(record(b"mtime", b"inf")),
    "a long name": pax(record(b"path", b"n" * (MAX_NAME_BYTES + 1))),
    "a long name of GNU": block(tarfile.GNUTYPE_LONGNAME, b"n" * 100_000),
    "a deep name": pax(record(b"path", b"/".join([b"d"] * (MAX_NAME_DEPTH + 1)))),
    "slashes": pax(record(b"path", b"/" * 1_000_000)),
    "a long target": block(tarfile.GNUTYPE_LONGLINK, b"t" * 100_000)
    + block(tarfile.SYMTYPE, target="t"),
}


@pytest.mark.parametrize("archive", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("compress", [False, True], ids=["tar", "tar.gz"])
def test_expensive_headers_are_refused_early(archive: bytes, compress: bool) -> None:
    content = archive + FILE + END
    began = time.process_time()
    with pytest.raises(InvalidOptions):
        read(gzip.compress(content) if compress else content)
    assert time.process_time() - began < 1.0  # with one copy for each record it was 9


def test_headers_within_the_limits_are_read() -> None:
    path = b"/".join([b"d"] * MAX_NAME_DEPTH)
    xattrs = [record(b"SCHILY.xattr.user.%d" % n, bytes(600)) for n in range(900)]
    archive = pax(record(b"path", path), record(b"mtime", b"1700000000.123456789"), *xattrs)
    [entry] = read(archive + FILE + END)
    assert (entry.name, entry.modified) == (path, 1_700_000_000)
    longest = b"n" * MAX_NAME_BYTES
    assert read(block(tarfile.GNUTYPE_LONGNAME, longest) + FILE + END)[0].name == longest


def test_compressed_archive_may_be_filled_up_but_not_without_end() -> None:
    assert len(read(gzip.compress(FILE + END + bytes(10_240)))) == 1
    with pytest.raises(InvalidOptions, match="continues after its end"):
        read(gzip.compress(FILE + END + bytes(MAX_FILL_BYTES + 1), 1))


@pytest.mark.parametrize(
    "archive",
    [
        block(tarfile.DIRTYPE, name="d") * 10_000 + END,
        (block(tarfile.XGLTYPE, b"") * (MAX_HEADERS - 1) + block(tarfile.DIRTYPE)) * 700 + END,
        FILE + END + bytes(MAX_FILL_BYTES - 1024),
    ],
    ids=["the same folder again and again", "headers", "fill"],
)
def test_other_tasks_run_while_an_archive_in_memory_is_read(archive: bytes) -> None:
    content = gzip.compress(archive, 1)

    async def one_chunk() -> AsyncIterator[bytes]:
        yield content

    async def count_turns() -> tuple[int, float]:
        turns = 0

        async def read_it() -> None:
            async for _, chunks in tar.read_archive(ByteStream(one_chunk())):
                async for _ in chunks:
                    pass

        began = time.process_time()
        reading = asyncio.create_task(read_it())
        while not reading.done():
            await asyncio.sleep(0)
            turns += 1
        await reading
        return turns, time.process_time() - began

    turns, seconds = asyncio.run(count_turns())
    assert turns > seconds / 0.05  # a turn for every 50 ms at least; it is meant to be for 5


def test_small_reads_do_not_copy_the_rest_of_the_buffer() -> None:
    """A chunk of 16 MiB in blocks of 512 bytes: copying the rest each time took minutes."""

    async def one_chunk() -> AsyncIterator[bytes]:
        yield bytes(16 << 20)

    async def read_blocks() -> int:
        stream, blocks = ByteStream(one_chunk()), 0
        while await stream.peek(1):
            blocks += len([chunk async for chunk in stream.read_chunks(512 << 7)])
        return blocks

    async def read_all() -> int:
        stream = ByteStream(one_chunk())
        return sum([len(await stream.read(512)) for _ in range(1 << 15)])

    began = time.process_time()
    assert asyncio.run(read_all()) == 16 << 20
    assert asyncio.run(read_blocks()) == 256
    assert time.process_time() - began < 5.0


def test_deep_names_are_checked_against_links_in_linear_time() -> None:
    deep = b"/".join([b"d" * 15] * 240)
    archive = b"".join(
        block(tarfile.GNUTYPE_LONGNAME, b"%04d/%s" % (number, deep)[:3900]) + FILE
        for number in range(3000)
    )
    began = time.process_time()
    check_archive(archive + END)
    with pytest.raises(InvalidOptions, match="leads through a link or a file: 0007/d"):
        check_archive(archive + block(tarfile.SYMTYPE, name="0007", target="/etc") + END)
    assert time.process_time() - began < 10.0


def make_zip(count: int, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(count):
            archive.writestr(f"d{number % 7}/f{number}", f"content {number}")
        archive.comment = comment
    return buffer.getvalue()


@pytest.mark.parametrize("count", [0, 1, 3000])
@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n"], ids=["plain", "prefixed"])
@pytest.mark.parametrize("comment", [b"", b"a comment"], ids=["", "comment"])
def test_zip_is_read_as_zipfile_reads_it(count: int, before: bytes, comment: bytes) -> None:
    content = before + make_zip(count, comment)
    found = {name.decode(): content for name, (_, content) in read_zip(content).items()}
    whole = zipfile.ZipFile(io.BytesIO(content))
    assert found == {info.filename: whole.read(info) for info in whole.infolist()}


def test_zip_with_a_directory_of_64_bits_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 10)
    content = make_zip(20)
    assert b"PK\6\6" in content
    assert len(read_zip(content)) == 20
    assert len(read_zip(b"MZ" + content)) == 20


def test_long_zip_directory_takes_little_memory() -> None:
    """400,000 entries took 134 MB as one list; these would take 4 MB."""
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 1, 0) + b"a"
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    directory = (entry + b"a") * 12_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 12_000, 12_000, len(directory), len(local), 0)
    content = local + directory + end

    async def count() -> int:
        return len([0 async for _ in read_directory(MemoryFile(content), len(content))])

    tracemalloc.start()
    try:
        found = asyncio.run(count())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == 12_000
    assert peak < 2 << 20


@pytest.mark.parametrize(
    "content",
    [
        b"PK\3\4" + bytes(100),
        make_zip(3)[:-30],
        make_zip(3).replace(b"PK\1\2", b"PK\1\3"),
        make_zip(3)[:-6] + struct.pack("<L", 0xFFFFFFF0) + bytes(2),
    ],
)
def test_damaged_zip_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidOptions, match="cannot be unpacked"):
        read_zip(content)
