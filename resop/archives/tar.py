"""Tar archives as streams (GNU's format written; ustar, GNU's and pax read), held nowhere.

What is read may be compressed by gzip.

tarfile knows the headers; what it reads of a pax or GNU header has no limit there, and has here.
"""

from __future__ import annotations

import math
import stat
import tarfile
import zlib
from collections.abc import AsyncIterator

from resop.archives.byte_stream import CHUNK_BYTES, ByteStream
from resop.archives.entry import Content, TreeEntry
from resop.archives.safe_names import check_entry_name, display_name, invalid_archive
from resop.errors import BodyTruncated

BLOCK = tarfile.BLOCKSIZE
GZIP = b"\x1f\x8b"
MAX_HEADER = 1 << 20
_KINDS = {
    **dict.fromkeys((tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE), stat.S_IFREG),
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.LNKTYPE: 0,
}
_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
}


async def write_archive(members: AsyncIterator[tuple[TreeEntry, Content]]) -> AsyncIterator[bytes]:
    """An archive of them."""
    async for member, content in members:
        info = tarfile.TarInfo(_text(member.name) or ".")
        info.type, info.mode, info.size = _TYPES[member.kind], member.mode, member.size
        info.mtime, info.linkname = member.modified, _text(member.target)
        yield info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        async for block in content:
            yield block
        yield bytes(-member.size % BLOCK)
    yield bytes(2 * BLOCK)


async def read_archive(
    archive: ByteStream, limit: float = math.inf
) -> AsyncIterator[tuple[TreeEntry, Content]]:
    """The members; each one's content is to be read before the next.

    `limit` is how many bytes a compressed archive may become.

    Raises BodyTruncated, or InvalidOptions for what is no archive, or holds what is no file, folder
    or link.
    """
    if await archive.peek(2) == GZIP:
        archive = ByteStream(_gunzipped(archive, limit))
    said: dict[bytes, bytes] = {}
    while any(header := await archive.read(BLOCK)):
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as fault:
            raise invalid_archive(f"is no tar archive: {fault}") from None
        if info.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            said |= _said(info.type, await _further(archive, info))
        elif info.type == tarfile.XGLTYPE:
            await _further(archive, info)
        else:
            member = _member(info, said)
            said = {}
            yield member, archive.read_chunks(member.size)
            await archive.read(-member.size % BLOCK)
    async for _ in archive.rest():
        pass  # tar fills up its last record


async def _gunzipped(archive: ByteStream, limit: float) -> AsyncIterator[bytes]:
    gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        async for piece in archive.rest():
            while piece:
                part = gzip.decompress(piece, CHUNK_BYTES)
                limit -= len(part)
                if limit < 0:
                    raise invalid_archive("holds more bytes than are unpacked here")
                yield part
                piece = gzip.unconsumed_tail
    except zlib.error as fault:
        raise invalid_archive(f"is no gzip: {fault}") from None
    yield gzip.flush()
    if not gzip.eof:
        raise BodyTruncated("the archive ended early")


async def _further(archive: ByteStream, info: tarfile.TarInfo) -> bytes:
    """The content of a header."""
    if info.size > MAX_HEADER:
        raise invalid_archive(f"has a header of {info.size} bytes")
    content = await archive.read(info.size)
    await archive.read(-info.size % BLOCK)
    return content


def _said(kind: bytes, content: bytes) -> dict[bytes, bytes]:
    """What a header says of the member after it, by pax's keywords."""
    if kind != tarfile.XHDTYPE:
        keyword = b"path" if kind == tarfile.GNUTYPE_LONGNAME else b"linkpath"
        return {keyword: content.partition(b"\0")[0]}
    said = {}
    while content:
        length, _, _ = content.partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(content):
            raise invalid_archive("has a pax header that cannot be read")
        record, content = content[: int(length)], content[int(length) :]
        keyword, _, value = record[len(length) + 1 :].removesuffix(b"\n").partition(b"=")
        said[keyword] = value
    return said


def _member(info: tarfile.TarInfo, said: dict[bytes, bytes]) -> TreeEntry:
    kind = _KINDS.get(info.type)
    name = said.get(b"path", _bytes(info.name))
    if kind is None or any(each.startswith(b"GNU.sparse") for each in said):
        raise invalid_archive(f"holds what is neither file, folder nor link: {display_name(name)}")
    try:
        size = int(said.get(b"size", info.size)) if kind == stat.S_IFREG else 0
        modified = int(float(said.get(b"mtime", info.mtime)))
    except (ValueError, OverflowError):
        raise invalid_archive(f"has a header that cannot be read: {display_name(name)}") from None
    target = said.get(b"linkpath", _bytes(info.linkname))
    if size < 0 or b"\0" in name + target:
        raise invalid_archive(f"has a header that cannot be read: {display_name(name)}")
    name = check_entry_name(name)
    if not name and kind != stat.S_IFDIR:
        raise invalid_archive("has a member without a name")
    return TreeEntry(
        name, kind, info.mode, size, modified, target if kind else check_entry_name(target)
    )


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
