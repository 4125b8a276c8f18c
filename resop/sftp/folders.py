"""A folder of the cluster over SFTP: walked for an archive, and made from one.

Symbolic links stay what they are. None is followed: not while a folder is read, nor while one is
written, whoever made it.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import secrets
import stat
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import asyncssh

from resop.archives import tar
from resop.archives.byte_stream import stream_bytes
from resop.archives.entry import SMALL_FILE_BYTES, Content, TransferStats, TreeEntry, file_too_large
from resop.errors import PathFailed
from resop.limits import TRANSFER_LIMIT
from resop.sftp.client import display_path, mode_of, to_bytes, translate_sftp_errors
from resop.sftp.files import Target, publish, temporary_file, translate_disk_full
from resop.sftp.transfer import BlockWriter, read_blocks

AT_ONCE = 64
"""So many of them, which hold 4 MiB at most: each takes several ways there and back."""
RMTREE_SECONDS = 60.0


EntryFilter = Callable[[bytes, bool], bool]
"""Whether a member is wanted, by its name and whether it is a folder."""


async def walk(
    sftp: asyncssh.SFTPClient, top: bytes, wanted: EntryFilter
) -> AsyncIterator[TreeEntry]:
    """The folder, and all that is wanted in it, each folder before what is in it.

    Sockets and the like are left out; what is in a folder that is not wanted is not looked at.
    """
    with translate_sftp_errors(top):
        yield await _member(sftp, top, b"", stat.S_IFDIR, await sftp.stat(top))
    folders = [b""]
    while folders:
        folder = folders.pop()
        with translate_sftp_errors(posixpath.join(top, folder)):
            async for entry in sftp.scandir(posixpath.join(top, folder)):
                assert isinstance(entry.filename, bytes)  # as the folder's own
                name = posixpath.join(folder, entry.filename)
                kind = stat.S_IFMT(entry.attrs.permissions or 0)
                if entry.filename in (b".", b"..") or not wanted(name, kind == stat.S_IFDIR):
                    continue
                if kind == stat.S_IFDIR:
                    folders.append(name)
                if kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                    yield await _member(sftp, top, name, kind, entry.attrs)


async def _member(
    sftp: asyncssh.SFTPClient, top: bytes, name: bytes, kind: int, attributes: asyncssh.SFTPAttrs
) -> TreeEntry:
    target, size = b"", 0
    if kind == stat.S_IFLNK:
        target = await sftp.readlink(posixpath.join(top, name))
    elif kind == stat.S_IFREG:
        size = attributes.size or 0
    return TreeEntry(name, kind, mode_of(attributes), size, attributes.mtime or 0, target)


async def with_content(
    sftp: asyncssh.SFTPClient, top: bytes, members: AsyncIterator[TreeEntry]
) -> AsyncIterator[tuple[TreeEntry, Content]]:
    """Each member with its content, which is to be read before the next; several are opened ahead.

    Raises PathFailed for a file that cannot be read, or has become shorter.
    """
    ahead: deque[tuple[TreeEntry, asyncio.Task[_Begun] | None]] = deque()

    async def content(member: TreeEntry, opening: asyncio.Task[_Begun] | None) -> Content:
        if opening is None:
            return
        path = posixpath.join(top, member.name)
        with translate_sftp_errors(path):
            begun = await opening
            yield begun.first
            if begun.rest:
                start = len(begun.first)
                async with begun.file:
                    async for block in read_blocks(
                        begun.file, display_path(path), start, begun.rest
                    ):
                        yield block

    try:
        async for member in members:
            opening = None
            if member.size:
                opening = asyncio.create_task(
                    _begin(sftp, posixpath.join(top, member.name), member)
                )
                opening.add_done_callback(lambda done: done.cancelled() or done.exception())
            ahead.append((member, opening))
            if len(ahead) > AT_ONCE:
                member, opening = ahead.popleft()
                yield member, content(member, opening)
        while ahead:
            member, opening = ahead.popleft()
            yield member, content(member, opening)
    finally:
        for _, opening in ahead:
            if opening is not None:
                opening.cancel()


@dataclass(frozen=True, slots=True)
class _Begun:
    """A file that was opened, its beginning, and how much is left; closed when nothing is."""

    file: asyncssh.SFTPClientFile
    first: bytes
    rest: int


async def _begin(sftp: asyncssh.SFTPClient, path: bytes, member: TreeEntry) -> _Begun:
    file = await sftp.open(path, "rb")
    blocks = read_blocks(file, display_path(path), 0, min(member.size, SMALL_FILE_BYTES))
    first = b"".join([block async for block in blocks])
    if len(first) == member.size:
        await file.close()
    return _Begun(file, first, member.size - len(first))


class FolderWriter:
    """Members of an archive become files in a folder: `async with`, so that it is finished."""

    def __init__(self, sftp: asyncssh.SFTPClient, top: bytes, *, merge: bool = False) -> None:
        """`top` is a folder, with no link on the way to it; its own mode stays in a `merge`."""
        self._sftp = sftp
        self._top = top
        self._merge = merge
        self._folders = {b""}
        self._attributes: dict[bytes, asyncssh.SFTPAttrs] = {}
        self._writing: dict[bytes, asyncio.Task[None]] = {}
        self.files = 0
        self.bytes = 0

    async def add(self, member: TreeEntry, content: Content) -> None:
        """Make one; what was there and is no folder is replaced. Its name was checked before.

        Raises PathFailed, also where a link, or a file, stands in place of a folder.
        """
        target = self._target(member.name)
        with translate_sftp_errors(member.name):
            async with translate_disk_full(self._sftp, target, member.size):
                if member.name in self._writing:
                    await self._settle()
                if member.kind == stat.S_IFDIR:
                    await self._folder(member.name)
                    self._attributes[member.name] = _attributes(member)
                    return
                await self._folder(posixpath.dirname(member.name))
                if member.kind == stat.S_IFREG:
                    await self._file(member, content)
                else:
                    await self._link(member)
        self.files += 1
        self.bytes += member.size

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                await self._finish()
        finally:
            await self._abandon()

    async def _finish(self) -> None:
        """Wait for what is being written; give folders their permissions and times at last."""
        with translate_sftp_errors(self._top):
            await self._settle()
            if self._merge:
                self._attributes.pop(b"", None)
            for name, attributes in reversed(self._attributes.items()):
                await self._sftp.setstat(self._place(name), attributes)

    async def _abandon(self) -> None:
        """Stop writing what is still being written."""
        for each in self._writing.values():
            each.cancel()
        await asyncio.gather(*self._writing.values(), return_exceptions=True)

    def _place(self, name: bytes) -> bytes:
        return posixpath.join(self._top, name).rstrip(b"/") or b"/"

    def _target(self, name: bytes) -> Target:
        return Target(name, self._place(name), None)

    async def _folder(self, name: bytes) -> None:
        """See to it that a folder is there, and not a link, through which one gets anywhere."""
        if name in self._folders:
            return
        await self._folder(posixpath.dirname(name))
        place = self._place(name)
        try:
            await self._sftp.mkdir(place)
        except asyncssh.SFTPFailure:
            if not await self._sftp.lexists(place):
                raise
            if not stat.S_ISDIR((await self._sftp.lstat(place)).permissions or 0):
                raise PathFailed(display_path(name), "not_folder") from None
        self._folders.add(name)

    async def _file(self, member: TreeEntry, content: Content) -> None:
        if member.size > SMALL_FILE_BYTES:
            await self._write(member, content)
            return
        held = b"".join([piece async for piece in content])
        await self._begin(member, _one(held))

    async def _begin(self, member: TreeEntry, content: Content) -> None:
        """Write one while others are being written."""
        if len(self._writing) == AT_ONCE:
            await self._oldest()
        self._writing[member.name] = asyncio.create_task(self._write(member, content))

    async def _write(self, member: TreeEntry, content: Content) -> None:
        target = self._target(member.name)
        with translate_sftp_errors(member.name):
            async with temporary_file(self._sftp, target, member.size) as (beside, file):
                await self._fill(file, member, content)
                await file.setstat(_attributes(member))
                await file.close()
                await publish(self._sftp, target, beside, overwrite=True)

    async def _fill(
        self, file: asyncssh.SFTPClientFile, member: TreeEntry, content: Content
    ) -> None:
        await BlockWriter(file).write(content)

    async def _link(self, member: TreeEntry) -> None:
        place = self._place(member.name)
        with contextlib.suppress(asyncssh.SFTPNoSuchFile):
            if stat.S_ISDIR((await self._sftp.lstat(place)).permissions or 0):
                raise PathFailed(display_path(member.name), "is_folder")
            await self._sftp.remove(place)
        if member.kind == stat.S_IFLNK:
            await self._sftp.symlink(member.target, place)
            with contextlib.suppress(asyncssh.SFTPOpUnsupported):
                await self._sftp.setstat(place, _times(member), follow_symlinks=False)
            return
        await self._settle()  # what it is to be another name of may just be written
        await self._folder(posixpath.dirname(member.target))
        await self._sftp.link(self._place(member.target), place)

    async def _oldest(self) -> None:
        name = next(iter(self._writing))
        writing = self._writing.pop(name)
        await writing

    async def _settle(self) -> None:
        while self._writing:
            await self._oldest()


@contextlib.asynccontextmanager
async def writable_folder(
    sftp: asyncssh.SFTPClient, path: bytes, *, merge: bool
) -> AsyncIterator[tuple[bytes, bytes]]:
    """Where to unpack, and where the folder is in the end: one that is there, or a new one."""
    if merge:
        place = await resolve_folder(sftp, path)
        yield place, place
    else:
        async with new_folder(sftp, path) as places:
            yield places


@contextlib.asynccontextmanager
async def new_folder(sftp: asyncssh.SFTPClient, path: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
    """A new folder beside its place, and that place; renamed when all went well, else gone."""
    # With a slash at its end it would have to be there.
    place = await sftp.realpath(path.rstrip(b"/") or b"/")
    if await sftp.lexists(place):
        raise PathFailed(display_path(path), "exists")
    beside = posixpath.join(posixpath.dirname(place), f".{secrets.token_hex(8)}.part".encode())
    await sftp.mkdir(beside, asyncssh.SFTPAttrs(permissions=0o700))
    try:
        yield beside, place
        try:
            await sftp.rename(beside, place)
        except asyncssh.SFTPFailure:
            raise PathFailed(display_path(path), "exists") from None
    except BaseException:
        with contextlib.suppress(OSError, asyncssh.Error):
            async with asyncio.timeout(RMTREE_SECONDS):
                await sftp.rmtree(beside, ignore_errors=True)
        raise


async def resolve_folder(sftp: asyncssh.SFTPClient, path: bytes) -> bytes:
    """A folder that is there, with symbolic links followed; PathFailed for what is none."""
    place = await sftp.realpath(path)
    if not stat.S_ISDIR((await sftp.stat(place)).permissions or 0):
        raise PathFailed(display_path(path), "not_folder")
    return place


def _attributes(member: TreeEntry) -> asyncssh.SFTPAttrs:
    attributes = _times(member)
    attributes.permissions = member.mode & 0o777
    return attributes


def _times(member: TreeEntry) -> asyncssh.SFTPAttrs:
    time = max(0, min(member.modified, 0xFFFFFFFF))  # what SFTP can say
    return asyncssh.SFTPAttrs(atime=time, mtime=time)


async def _one(piece: bytes) -> Content:
    yield piece


async def read_folder(sftp: asyncssh.SFTPClient, path: str, limit: int) -> bytes:
    """Pack a folder whose archive has at most `limit` bytes. Raises PathFailed, ContactLost."""
    archive = bytearray()
    with translate_sftp_errors(path):
        top = await resolve_folder(sftp, to_bytes(path))
        members = with_content(sftp, top, walk(sftp, top, lambda name, folder: True))
        async for piece in tar.write_archive(members):
            archive += piece
            if len(archive) > limit:
                raise file_too_large(path, limit)
    return bytes(archive)


async def write_folder(
    sftp: asyncssh.SFTPClient, content: bytes, path: str, merge: bool
) -> TransferStats:
    """Unpack into a new folder, complete or not there, or with `merge` into one that is there.

    Raises PathFailed, ContactLost.
    """
    with translate_sftp_errors(path):
        async with (
            writable_folder(sftp, to_bytes(path), merge=merge) as (top, _),
            FolderWriter(sftp, top, merge=merge) as made,
        ):
            async for member, each in tar.read_archive(stream_bytes(content), TRANSFER_LIMIT):
                await made.add(member, each)
    return TransferStats(made.files, made.bytes)
