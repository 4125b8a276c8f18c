"""Zip archives: written as a stream, not compressed; read from a file, as the end has the list.

zipfile waits for what it reads, and unpacks, in threads: the event loop goes on.
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

MAX_LIST = 64 << 20
"""Bytes of the list at the end of a zip that is read: some 600,000 members."""
MAX_TARGET = 4096

_FIRST, _LAST = 315_532_800, 4_354_819_198  # 1980 and 2107: a zip knows no other times


async def write_archive(members: AsyncIterator[tuple[TreeEntry, Content]]) -> AsyncIterator[bytes]:
    """An archive of them; a byte of a name that is not UTF-8 is written as \\xNN."""
    sink = _ChunkBuffer()
    with zipfile.ZipFile(sink, "w") as archive:
        async for member, content in members:
            if not member.name:
                continue  # the folder itself
            with archive.open(_info(member), "w", force_zip64=member.size >= 1 << 31) as file:
                file.write(member.target)
                async for block in content:
                    file.write(block)
                    yield sink.taken()
            yield sink.taken()
    yield sink.taken()


class RandomAccessFile(Protocol):
    """A file that is read at any offset, such as one on the cluster."""

    async def read(self, size: int, offset: int) -> bytes:
        """Return at most `size` bytes from `offset` on; none at the end of the file."""


async def read_archive(
    file: RandomAccessFile, size: int
) -> AsyncIterator[tuple[TreeEntry, Content]]:
    """The members of an archive of `size` bytes; each one's content is to be read before the next.

    InvalidOptions for what is none, is encrypted, or holds what is no file, folder or link.
    """
    remote = io.BufferedReader(
        _BlockingReader(file, size, asyncio.get_running_loop()), SMALL_FILE_BYTES
    )
    with _refusals():
        archive = await asyncio.to_thread(zipfile.ZipFile, remote)
    for info in archive.infolist():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise invalid_archive("is compressed in another way than deflate")
        with _refusals():
            content = await asyncio.to_thread(archive.open, info)
            member = await _member(info, content)
        with content:
            yield member, _content(content)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What zipfile raises for an archive that it cannot read; RuntimeError for an encrypted one."""
    try:
        yield
    except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, zlib.error) as fault:
        raise invalid_archive(f"cannot be unpacked: {fault}") from None


async def _member(info: zipfile.ZipInfo, content: IO[bytes]) -> TreeEntry:
    mode, name = info.external_attr >> 16, info.filename.encode()
    kind = stat.S_IFMT(mode) or (stat.S_IFDIR if info.is_dir() else stat.S_IFREG)
    if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        raise invalid_archive(f"holds what is neither file, folder nor link: {display_name(name)}")
    target = b""
    if kind == stat.S_IFLNK:
        target = await asyncio.to_thread(content.read, MAX_TARGET)
        if b"\0" in target or not target:
            raise invalid_archive(f"has a link that leads nowhere: {display_name(name)}")
    name = check_entry_name(name)
    if not name and kind != stat.S_IFDIR:
        raise invalid_archive("has a member without a name")
    size = info.file_size if kind == stat.S_IFREG else 0
    mode = stat.S_IMODE(mode) or (0o755 if kind == stat.S_IFDIR else 0o644)
    return TreeEntry(name, kind, mode, size, calendar.timegm(info.date_time), target)


async def _content(content: IO[bytes]) -> Content:
    while True:
        with _refusals():
            block = await asyncio.to_thread(content.read, SMALL_FILE_BYTES)
        if not block:
            return
        yield block


class _BlockingReader(io.RawIOBase):
    """A file of the cluster as zipfile reads it, in another thread than the event loop's."""

    def __init__(self, file: RandomAccessFile, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self._file = file
        self._size = size
        self._loop = loop
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: object) -> int:
        assert isinstance(buffer, bytearray | memoryview)
        if len(buffer) > MAX_LIST:
            raise ValueError("it lists too many members")
        read = asyncio.run_coroutine_threadsafe(self._read(len(buffer)), self._loop).result()
        buffer[: len(read)] = read
        self._at += len(read)
        return len(read)

    async def _read(self, size: int) -> bytes:
        read: bytes = await self._file.read(size, self._at)
        return read


class _ChunkBuffer(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        assert isinstance(content, bytes | bytearray | memoryview)
        self._kept.append(bytes(content))
        return len(content)

    def taken(self) -> bytes:
        """What was written since the last time."""
        taken, self._kept = b"".join(self._kept), []
        return taken


def _info(member: TreeEntry) -> zipfile.ZipInfo:
    name = member.name.decode("utf-8", "backslashreplace")
    when = time.gmtime(max(_FIRST, min(member.modified, _LAST)))
    folder = member.kind == stat.S_IFDIR
    info = zipfile.ZipInfo(f"{name}/" if folder else name, when[:6])
    info.create_system = 3  # Unix, so that the mode counts
    info.external_attr = (member.kind | member.mode) << 16 | (0x10 if folder else 0)
    return info
