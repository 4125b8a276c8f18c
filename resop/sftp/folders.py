"""Read a folder on the cluster over SFTP for an archive, and write one from an archive.

Symbolic links stay links. No link is followed, neither while a folder is read nor while one is
written, whichever user made the link.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import secrets
import stat
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

import asyncssh

from resop.archives import tar
from resop.archives.byte_stream import stream_bytes
from resop.archives.entry import SMALL_FILE_BYTES, Content, TransferStats, TreeEntry, file_too_large
from resop.archives.safe_names import invalid_archive
from resop.errors import ClusterError, PathFailed
from resop.limits import TRANSFER_LIMIT
from resop.sftp.client import display_path, mode_of, to_bytes, translate_sftp_errors
from resop.sftp.publish import FileAttributes, FilePublisher
from resop.sftp.target import Target, missing_folder, temporary_file, translate_disk_full
from resop.sftp.transfer import BlockWriter, read_blocks
from resop.ssh.session import Session

MAX_OPEN_FILES = 64
"""Small files in progress at once, 4 MiB in all: each costs several round trips."""
MAX_FOLDERS = 100_000
MAX_FOLDER_NAME_BYTES = 16 << 20
"""How many folders an archive may make, and how long their names may be together: both are kept."""
RMTREE_TIMEOUT = 60.0
"""Seconds to wait for the removal of an incomplete folder."""

EntryFilter = Callable[[bytes, bool], bool]
"""Selects an entry by its name; the flag is True for a folder."""


def select_all(name: bytes, is_folder: bool) -> bool:
    """Select every entry of a folder."""
    return True


async def walk(
    sftp: asyncssh.SFTPClient, top: bytes, select: EntryFilter
) -> AsyncIterator[TreeEntry]:
    """Yield the folder and its selected entries, each folder before its content.

    Sockets, pipes and devices are left out; the content of an unselected folder is not read.
    Raises ClusterError for a name that no file can have, such as `../x`: an archive would lead out
    of the folder that it is unpacked into.
    """
    with translate_sftp_errors(top):
        yield await _to_entry(sftp, top, b"", stat.S_IFDIR, await sftp.stat(top))
    folders = [b""]
    while folders:
        folder = folders.pop()
        with translate_sftp_errors(posixpath.join(top, folder)):
            async for found in sftp.scandir(posixpath.join(top, folder)):
                assert isinstance(found.filename, bytes)  # as the folder's own path
                _check_listed(found.filename)
                name = posixpath.join(folder, found.filename)
                kind = stat.S_IFMT(found.attrs.permissions or 0)
                if found.filename in (b".", b"..") or not select(name, kind == stat.S_IFDIR):
                    continue
                if kind == stat.S_IFDIR:
                    folders.append(name)
                if kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                    yield await _to_entry(sftp, top, name, kind, found.attrs)


def _check_listed(name: bytes) -> None:
    if not name or b"/" in name or b"\0" in name:
        raise ClusterError(f"the login node lists a file with an impossible name: {name[:200]!r}")


async def _to_entry(
    sftp: asyncssh.SFTPClient, top: bytes, name: bytes, kind: int, attributes: asyncssh.SFTPAttrs
) -> TreeEntry:
    target, size = b"", 0
    if kind == stat.S_IFLNK:
        target = await sftp.readlink(posixpath.join(top, name))
    elif kind == stat.S_IFREG:
        size = attributes.size or 0
    return TreeEntry(name, kind, mode_of(attributes), size, attributes.mtime or 0, target)


async def with_content(
    sftp: asyncssh.SFTPClient, top: bytes, entries: AsyncIterator[TreeEntry]
) -> AsyncIterator[tuple[TreeEntry, Content]]:
    """Yield each entry with its content, which must be read before the next entry.

    Several files are opened ahead. Raises PathFailed for a file that cannot be read or has become
    shorter.
    """
    ahead: deque[tuple[TreeEntry, asyncio.Task[_OpenFile] | None]] = deque()
    try:
        async for entry in entries:
            ahead.append((entry, _open_ahead(sftp, top, entry)))
            if len(ahead) > MAX_OPEN_FILES:
                entry, opening = ahead.popleft()
                yield entry, _read_open(posixpath.join(top, entry.name), opening)
        while ahead:
            entry, opening = ahead.popleft()
            yield entry, _read_open(posixpath.join(top, entry.name), opening)
    finally:
        for _, opening in ahead:
            if opening is not None:
                opening.cancel()


@dataclass(frozen=True, slots=True)
class _OpenFile:
    """A file whose beginning has been read; closed if `remaining` is 0."""

    file: asyncssh.SFTPClientFile
    beginning: bytes
    remaining: int


def _open_ahead(
    sftp: asyncssh.SFTPClient, top: bytes, entry: TreeEntry
) -> asyncio.Task[_OpenFile] | None:
    """Begin to open a file and read its beginning; None for an entry without content."""
    if not entry.size:
        return None
    opening = asyncio.create_task(_open(sftp, posixpath.join(top, entry.name), entry))
    # Retrieve the exception: asyncio would warn about a task that nobody awaits.
    opening.add_done_callback(lambda done: done.cancelled() or done.exception())
    return opening


async def _open(sftp: asyncssh.SFTPClient, path: bytes, entry: TreeEntry) -> _OpenFile:
    file = await sftp.open(path, "rb")
    blocks = read_blocks(file, display_path(path), 0, min(entry.size, SMALL_FILE_BYTES))
    beginning = b"".join([block async for block in blocks])
    if len(beginning) == entry.size:
        await file.close()
    return _OpenFile(file, beginning, entry.size - len(beginning))


async def _read_open(path: bytes, opening: asyncio.Task[_OpenFile] | None) -> Content:
    if opening is None:
        return
    with translate_sftp_errors(path):
        opened = await opening
        yield opened.beginning
        if not opened.remaining:
            return
        start = len(opened.beginning)
        async with opened.file:
            async for block in read_blocks(
                opened.file, display_path(path), start, opened.remaining
            ):
                yield block


class _PendingWrites:
    """Files that are being written at the same time, at most MAX_OPEN_FILES."""

    def __init__(self) -> None:
        self._tasks: dict[bytes, asyncio.Task[None]] = {}

    def __contains__(self, name: bytes) -> bool:
        return name in self._tasks

    async def start(self, name: bytes, write: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start to write a file; wait for the oldest first if there are too many."""
        if len(self._tasks) == MAX_OPEN_FILES:
            await self._finish_oldest()
        self._tasks[name] = asyncio.create_task(write())

    async def finish(self) -> None:
        """Wait until all files are written."""
        while self._tasks:
            await self._finish_oldest()

    async def cancel(self) -> None:
        """Stop writing, and wait until every task has ended."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _finish_oldest(self) -> None:
        await self._tasks.pop(next(iter(self._tasks)))


class FolderWriter:
    """Writes the entries of an archive into a folder; `async with` finishes the folder."""

    def __init__(
        self, sftp: asyncssh.SFTPClient, session: Session, top: bytes, *, merge: bool = False
    ) -> None:
        """Write into the folder `top`, a path without symbolic links.

        With `merge`, `top` and the files that are replaced keep their own permissions.
        """
        self._sftp = sftp
        self._publisher = FilePublisher(sftp, session)
        self._top = top
        self._merge = merge
        self._folders: dict[bytes, TreeEntry | None] = {b"": None}
        """The folders that exist, in their order, with what the archive says of them."""
        self._name_bytes = 0
        self._writes = _PendingWrites()
        self.files = 0
        self.bytes = 0

    async def add(self, entry: TreeEntry, content: Content) -> None:
        """Write one entry, whose name was checked before; replace an existing file or link.

        Raises PathFailed, also if a link or a file exists in place of a folder.
        """
        target = self._target(entry.name)
        with translate_sftp_errors(entry.name):
            async with translate_disk_full(self._sftp, target, entry.size):
                if entry.name in self._writes:
                    await self._writes.finish()
                if entry.kind == stat.S_IFDIR:
                    await self._make_folder(entry.name)
                    self._folders[entry.name] = entry
                    return
                await self._make_folder(posixpath.dirname(entry.name))
                if entry.kind == stat.S_IFREG:
                    await self._add_file(entry, content)
                else:
                    await self._make_link(entry)
        self.files += 1
        self.bytes += entry.size

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                await self._finish()
        finally:
            await self._writes.cancel()

    async def _finish(self) -> None:
        """Wait for pending writes, then set the permissions and times of the folders."""
        with translate_sftp_errors(self._top):
            await self._writes.finish()
            if self._merge:
                self._folders.pop(b"", None)
            for name, entry in reversed(self._folders.items()):
                if entry is not None:
                    await self._sftp.setstat(self._path(name), _attributes(entry))

    def _path(self, name: bytes) -> bytes:
        return posixpath.join(self._top, name).rstrip(b"/") or b"/"

    def _target(self, name: bytes) -> Target:
        return Target(name, self._path(name), None)

    async def _make_folder(self, name: bytes) -> None:
        """Make sure that a folder and those around it exist, and are not links."""
        missing: list[bytes] = []
        while name not in self._folders:
            missing.append(name)
            name = posixpath.dirname(name)
        for folder in reversed(missing):
            await self._make_one_folder(folder)
            self._folders[folder] = None
            self._name_bytes += len(folder)
            if len(self._folders) > MAX_FOLDERS or self._name_bytes > MAX_FOLDER_NAME_BYTES:
                raise invalid_archive(
                    f"has more than {MAX_FOLDERS} folders, or folders whose names have more than "
                    f"{MAX_FOLDER_NAME_BYTES >> 20} MiB together"
                )

    async def _make_one_folder(self, name: bytes) -> None:
        """Make a folder unless it exists. Raises PathFailed for a link, which may lead anywhere."""
        path = self._path(name)
        try:
            await self._sftp.mkdir(path)
        except asyncssh.SFTPFailure:
            if not await self._sftp.lexists(path):
                raise
            if not stat.S_ISDIR((await self._sftp.lstat(path)).permissions or 0):
                raise PathFailed(display_path(name), "not_folder") from None

    async def _add_file(self, entry: TreeEntry, content: Content) -> None:
        """Write a large file at once, a small one while others are being written."""
        if entry.size > SMALL_FILE_BYTES:
            await self._write(entry, content)
            return
        buffer = b"".join([chunk async for chunk in content])
        await self._writes.start(entry.name, partial(self._write, entry, _single_chunk(buffer)))

    async def _write(self, entry: TreeEntry, content: Content) -> None:
        target = self._target(entry.name)
        with translate_sftp_errors(entry.name):
            async with temporary_file(self._sftp, target, entry.size) as (temp_path, file):
                await self._write_content(file, entry, content)
                await file.close()
                attributes = FileAttributes(new_mode=entry.mode & 0o777, modified=_time(entry))
                await self._publisher.publish(target, temp_path, attributes, overwrite=True)

    async def _write_content(
        self, file: asyncssh.SFTPClientFile, entry: TreeEntry, content: Content
    ) -> None:
        if entry.extents is None:
            await BlockWriter(file).write(content)
        else:
            await BlockWriter(file).write_extents(content, entry.extents)
            await file.truncate(entry.size)  # a hole at the end

    async def _make_link(self, entry: TreeEntry) -> None:
        path = self._path(entry.name)
        with contextlib.suppress(asyncssh.SFTPNoSuchFile):
            if stat.S_ISDIR((await self._sftp.lstat(path)).permissions or 0):
                raise PathFailed(display_path(entry.name), "is_folder")
            await self._sftp.remove(path)
        if entry.kind == stat.S_IFLNK:
            await self._sftp.symlink(entry.target, path)
            with contextlib.suppress(asyncssh.SFTPOpUnsupported):
                await self._sftp.setstat(path, _times(entry), follow_symlinks=False)
            return
        await self._writes.finish()  # the file that a hard link names may still be written
        await self._make_folder(posixpath.dirname(entry.target))
        await self._sftp.link(self._path(entry.target), path)


@contextlib.asynccontextmanager
async def writable_folder(
    sftp: asyncssh.SFTPClient, path: bytes, *, merge: bool
) -> AsyncIterator[tuple[bytes, bytes]]:
    """Yield the folder to write into and its final path: with `merge`, the existing folder twice.

    Without `merge`, this is `new_folder`.
    """
    if merge:
        folder = await resolve_folder(sftp, path)
        yield folder, folder
    else:
        async with new_folder(sftp, path) as paths:
            yield paths


@contextlib.asynccontextmanager
async def new_folder(sftp: asyncssh.SFTPClient, path: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
    """Create a temporary folder beside `path`; yield it and the final path.

    The folder is renamed at the end of the block, or removed if an error leaves the block.
    """
    name = f".{secrets.token_hex(8)}.part".encode()
    try:
        # A path with a slash at its end would have to exist.
        final_path = await sftp.realpath(path.rstrip(b"/") or b"/")
        if await sftp.lexists(final_path):
            raise PathFailed(display_path(path), "exists")
        temp_path = posixpath.join(posixpath.dirname(final_path), name)
        await sftp.mkdir(temp_path, asyncssh.SFTPAttrs(permissions=0o700))
    except asyncssh.SFTPNoSuchFile as error:
        raise missing_folder(path) from error
    try:
        yield temp_path, final_path
        try:
            await sftp.rename(temp_path, final_path)
        except asyncssh.SFTPFailure:
            raise PathFailed(display_path(path), "exists") from None
    except BaseException:
        with contextlib.suppress(OSError, asyncssh.Error):
            async with asyncio.timeout(RMTREE_TIMEOUT):
                await sftp.rmtree(temp_path, ignore_errors=True)
        raise


async def resolve_folder(sftp: asyncssh.SFTPClient, path: bytes) -> bytes:
    """Return the path of an existing folder with symbolic links followed. Raises PathFailed."""
    real_path = await sftp.realpath(path)
    if not stat.S_ISDIR((await sftp.stat(real_path)).permissions or 0):
        raise PathFailed(display_path(path), "not_folder")
    return real_path


def _attributes(entry: TreeEntry) -> asyncssh.SFTPAttrs:
    attributes = _times(entry)
    attributes.permissions = entry.mode & 0o777
    return attributes


def _times(entry: TreeEntry) -> asyncssh.SFTPAttrs:
    return asyncssh.SFTPAttrs(atime=_time(entry), mtime=_time(entry))


def _time(entry: TreeEntry) -> int:
    return max(0, min(entry.modified, 0xFFFFFFFF))  # the range of SFTP


async def _single_chunk(chunk: bytes) -> Content:
    yield chunk


async def read_folder(sftp: asyncssh.SFTPClient, path: str, limit: int) -> bytes:
    """Return a folder as a tar archive of at most `limit` bytes. Raises PathFailed, ContactLost."""
    archive = bytearray()
    with translate_sftp_errors(path):
        top = await resolve_folder(sftp, to_bytes(path))
        entries = with_content(sftp, top, walk(sftp, top, select_all))
        async for chunk in tar.write_archive(entries):
            archive += chunk
            if len(archive) > limit:
                raise file_too_large(path, limit)
    return bytes(archive)


async def write_folder(
    sftp: asyncssh.SFTPClient, session: Session, content: bytes, path: str, merge: bool
) -> TransferStats:
    """Unpack a tar archive into a new folder, completely or not at all.

    With `merge`, unpack it into the existing folder. Raises PathFailed or ContactLost.
    """
    with translate_sftp_errors(path):
        async with (
            writable_folder(sftp, to_bytes(path), merge=merge) as (top, _),
            FolderWriter(sftp, session, top, merge=merge) as writer,
        ):
            async for entry, chunks in tar.read_archive(stream_bytes(content), TRANSFER_LIMIT):
                await writer.add(entry, chunks)
    return TransferStats(writer.files, writer.bytes)
