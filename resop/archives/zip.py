"""Write zip archives as streams, uncompressed; read them from a file, as their list is at the end.

The module zipfile reads and decompresses in threads, so that the event loop is not blocked.
"""

from __future__ import annotations

import asyncio
import calendar
import contextlib
import io
import stat
import time
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import IO, Protocol

from resop.archives.entry import SMALL_FILE_BYTES, Content, TreeEntry
from resop.archives.safe_names import check_entry_name, display_name, invalid_archive
from resop.archives.seekable import SeekableReader
from resop.archives.zip_directory import directory_parts

MAX_LINK_TARGET_BYTES = 4096

# A zip archive stores times from 1980 to 2107 only.
_EARLIEST_TIME, _LATEST_TIME = 315_532_800, 4_354_819_198


async def write_archive(entries: AsyncIterator[tuple[TreeEntry, Content]]) -> AsyncIterator[bytes]:
    r"""Yield the chunks of an archive of these entries; bytes that are not UTF-8 become \xNN."""
    buffer = _ChunkBuffer()
    with zipfile.ZipFile(buffer, "w") as archive:
        async for entry, content in entries:
            if not entry.name:
                continue  # the folder itself
            with archive.open(_info(entry), "w", force_zip64=entry.size >= 1 << 31) as file:
                file.write(entry.target)
                async for chunk in content:
                    file.write(chunk)
                    yield buffer.drain()
            yield buffer.drain()
    yield buffer.drain()


class RandomAccessFile(Protocol):
    """A file that can be read at any offset, such as one on the cluster."""

    async def read(self, size: int, offset: int) -> bytes:
        """Read at most `size` bytes from `offset`; empty at the end of the file."""


async def read_archive(
    file: RandomAccessFile, size: int
) -> AsyncIterator[tuple[TreeEntry, Content]]:
    """Yield the entries of an archive of `size` bytes; read the content of each before the next.

    Raises InvalidOptions for a file that is not a zip archive, is encrypted, or contains anything
    but files, folders and links.
    """
    reader = io.BufferedReader(
        _BlockingReader(file, size, asyncio.get_running_loop()), SMALL_FILE_BYTES
    )
    parts = directory_parts(reader)
    while True:
        with _translate_zip_errors():
            archive = await asyncio.to_thread(next, parts, None)
        if archive is None:
            return
        for info in archive.infolist():
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise invalid_archive("is compressed with a method other than deflate")
            with _translate_zip_errors():
                content = await asyncio.to_thread(archive.open, info)
                entry = await _to_entry(info, content)
            with content:
                yield entry, _read_content(content)


@contextlib.contextmanager
def _translate_zip_errors() -> Iterator[None]:
    """Turn errors of zipfile into InvalidOptions; it raises RuntimeError if encrypted."""
    try:
        yield
    except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, zlib.error) as error:
        raise invalid_archive(f"cannot be unpacked: {error}") from None


async def _to_entry(info: zipfile.ZipInfo, content: IO[bytes]) -> TreeEntry:
    mode, name = info.external_attr >> 16, info.filename.encode()
    kind = stat.S_IFMT(mode) or (stat.S_IFDIR if info.is_dir() else stat.S_IFREG)
    if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        raise invalid_archive(
            f"contains something that is not a file, folder or link: {display_name(name)}"
        )
    target = b""
    if kind == stat.S_IFLNK:
        target = await asyncio.to_thread(content.read, MAX_LINK_TARGET_BYTES)
        if b"\0" in target or not target:
            raise invalid_archive(f"contains a link without a valid target: {display_name(name)}")
    name = check_entry_name(name)
    if not name and kind != stat.S_IFDIR:
        raise invalid_archive("contains an entry without a name")
    size = info.file_size if kind == stat.S_IFREG else 0
    mode = stat.S_IMODE(mode) or (0o755 if kind == stat.S_IFDIR else 0o644)
    return TreeEntry(name, kind, mode, size, calendar.timegm(info.date_time), target)


async def _read_content(content: IO[bytes]) -> Content:
    while True:
        with _translate_zip_errors():
            chunk = await asyncio.to_thread(content.read, SMALL_FILE_BYTES)
        if not chunk:
            return
        yield chunk


class _BlockingReader(SeekableReader):
    """A file on the cluster, read by zipfile in another thread than the event loop's."""

    def __init__(self, file: RandomAccessFile, size: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(size)
        self._file = file
        self._size = size
        self._loop = loop

    def readinto(self, buffer: object) -> int:
        assert isinstance(buffer, bytearray | memoryview)
        chunk = asyncio.run_coroutine_threadsafe(self._read(len(buffer)), self._loop).result()
        buffer[: len(chunk)] = chunk
        self._offset += len(chunk)
        return len(chunk)

    async def _read(self, size: int) -> bytes:
        chunk: bytes = await self._file.read(size, self._offset)
        return chunk


class _ChunkBuffer(io.RawIOBase):
    """A buffer between zipfile, which writes, and the stream."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        assert isinstance(content, bytes | bytearray | memoryview)
        self._chunks.append(bytes(content))
        return len(content)

    def drain(self) -> bytes:
        """Return what was written since the last call."""
        content, self._chunks = b"".join(self._chunks), []
        return content


def _info(entry: TreeEntry) -> zipfile.ZipInfo:
    name = entry.name.decode("utf-8", "backslashreplace")
    modified = time.gmtime(max(_EARLIEST_TIME, min(entry.modified, _LATEST_TIME)))
    is_folder = entry.kind == stat.S_IFDIR
    info = zipfile.ZipInfo(f"{name}/" if is_folder else name, modified[:6])
    info.create_system = 3  # Unix, so that the mode counts
    info.external_attr = (entry.kind | entry.mode) << 16 | (0x10 if is_folder else 0)
    return info
