"""Write and read tar archives as streams; no archive is held in memory.

GNU's format is written; ustar, GNU's format and pax are read, also compressed with gzip. The
module tarfile parses the headers, but does not limit the size and the number of pax and GNU
headers; this one does.
"""

from __future__ import annotations

import math
import stat
import tarfile
import zlib
from collections.abc import AsyncIterator

from resop.archives.byte_stream import CHUNK_BYTES, ByteStream
from resop.archives.entry import Content, TreeEntry
from resop.archives.loop_turn import LoopTurn
from resop.archives.safe_names import (
    MAX_NAME_BYTES,
    check_entry_name,
    display_name,
    invalid_archive,
)
from resop.errors import BodyTruncated

GZIP_MAGIC = b"\x1f\x8b"
MAX_HEADER_BYTES = 1 << 20
"""The largest pax or GNU header; extended attributes make it large."""
MAX_HEADER_RECORDS = 1000
"""Keywords in a pax header."""
MAX_HEADERS = 16
"""Pax and GNU headers before one entry."""
MAX_FILL_BYTES = 16 << 20
"""Bytes after the end of a compressed archive: tar fills up its last record."""
_USED_KEYWORDS = frozenset([b"path", b"linkpath", b"size", b"mtime"])
_MAX_NUMBER_BYTES = 32
_BLOCK_BYTES = tarfile.BLOCKSIZE
_KIND_OF_TYPE = {
    **dict.fromkeys((tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE), stat.S_IFREG),
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.LNKTYPE: 0,
}
_TYPE_OF_KIND = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
}


async def write_archive(entries: AsyncIterator[tuple[TreeEntry, Content]]) -> AsyncIterator[bytes]:
    """Yield the chunks of an archive of these entries."""
    async for entry, content in entries:
        info = tarfile.TarInfo(_to_text(entry.name) or ".")
        info.type, info.mode, info.size = _TYPE_OF_KIND[entry.kind], entry.mode, entry.size
        info.mtime, info.linkname = entry.modified, _to_text(entry.target)
        yield info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        async for chunk in content:
            yield chunk
        yield bytes(-entry.size % _BLOCK_BYTES)
    yield bytes(2 * _BLOCK_BYTES)


async def read_archive(
    archive: ByteStream, limit: float = math.inf
) -> AsyncIterator[tuple[TreeEntry, Content]]:
    """Yield the entries; the content of each must be read before the next.

    `limit` is the maximum size in bytes of a compressed archive when uncompressed. Raises
    BodyTruncated, or InvalidOptions for a stream that is not a tar archive or contains anything
    but files, folders and links.
    """
    max_fill = math.inf
    if await archive.peek(2) == GZIP_MAGIC:
        archive = ByteStream(_decompress(archive, limit))
        max_fill = MAX_FILL_BYTES
    keywords: dict[bytes, bytes] = {}
    headers, turn = 0, LoopTurn()
    while any(header := await archive.read(_BLOCK_BYTES)):
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise invalid_archive(f"is not a tar archive: {error}") from None
        await turn.end_if_long()
        headers += 1
        if headers > MAX_HEADERS:
            raise invalid_archive(f"has more than {MAX_HEADERS} headers before an entry")
        if info.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            keywords |= _parse_keywords(info.type, await _read_header(archive, info))
        elif info.type == tarfile.XGLTYPE:
            await _read_header(archive, info)
        else:
            entry = _to_entry(info, keywords)
            keywords, headers = {}, 0
            yield entry, archive.read_chunks(entry.size)
            await archive.read(-entry.size % _BLOCK_BYTES)
    async for fill in archive.rest():
        max_fill -= len(fill)
        if max_fill < 0:
            raise invalid_archive("continues after its end")


async def _decompress(archive: ByteStream, limit: float) -> AsyncIterator[bytes]:
    gzip, turn = zlib.decompressobj(zlib.MAX_WBITS | 16), LoopTurn()
    try:
        async for chunk in archive.rest():
            while chunk:
                await turn.end_if_long()
                output = gzip.decompress(chunk, CHUNK_BYTES)
                limit -= len(output)
                if limit < 0:
                    raise invalid_archive("is too large when uncompressed")
                yield output
                chunk = gzip.unconsumed_tail
    except zlib.error as error:
        raise invalid_archive(f"is not valid gzip: {error}") from None
    yield gzip.flush()
    if not gzip.eof:
        raise BodyTruncated("the archive ended early")


async def _read_header(archive: ByteStream, info: tarfile.TarInfo) -> bytes:
    """Read the content of a pax or GNU header."""
    if info.size > MAX_HEADER_BYTES:
        raise invalid_archive(f"has a header of {info.size} bytes")
    content = await archive.read(info.size)
    await archive.read(-info.size % _BLOCK_BYTES)
    return content


def _parse_keywords(kind: bytes, content: bytes) -> dict[bytes, bytes]:
    """Return what a header says about the next entry, by the keywords of pax."""
    if kind != tarfile.XHDTYPE:
        keyword = b"path" if kind == tarfile.GNUTYPE_LONGNAME else b"linkpath"
        return {keyword: content.partition(b"\0")[0]}
    keywords, at, records = {}, 0, 0
    while at < len(content):
        # A record is its own length in digits, a space, a keyword, "=", a value, a line feed.
        space = content.find(b" ", at, at + _MAX_NUMBER_BYTES)
        digits = content[at : max(space, at)]
        end = at + int(digits) if digits.isdigit() else 0
        records += 1
        if not space < end <= len(content) or records > MAX_HEADER_RECORDS:
            raise invalid_archive("has an invalid pax header")
        equals = content.find(b"=", space, end)
        if equals < 0:
            raise invalid_archive("has an invalid pax header")
        if (keyword := content[space + 1 : equals]) in _USED_KEYWORDS:
            keywords[keyword] = content[equals + 1 : end].removesuffix(b"\n")
        elif keyword.startswith(b"GNU.sparse"):
            keywords[b"GNU.sparse"] = b""
        at = end
    return keywords


def _to_entry(info: tarfile.TarInfo, keywords: dict[bytes, bytes]) -> TreeEntry:
    kind = _KIND_OF_TYPE.get(info.type)
    name = keywords.get(b"path", _to_bytes(info.name))
    if kind is None or b"GNU.sparse" in keywords:
        raise invalid_archive(
            f"contains something that is not a file, folder or link: {display_name(name)}"
        )
    try:
        size = int(_number(keywords, b"size", info.size)) if kind == stat.S_IFREG else 0
        modified = int(float(_number(keywords, b"mtime", info.mtime)))
    except (ValueError, OverflowError):
        raise invalid_archive(f"has an invalid header: {display_name(name)}") from None
    target = keywords.get(b"linkpath", _to_bytes(info.linkname))
    if size < 0 or b"\0" in name + target or len(target) > MAX_NAME_BYTES:
        raise invalid_archive(f"has an invalid header: {display_name(name)}")
    name = check_entry_name(name)
    if not name and kind != stat.S_IFDIR:
        raise invalid_archive("contains an entry without a name")
    return TreeEntry(
        name, kind, info.mode, size, modified, target if kind else check_entry_name(target)
    )


def _number(keywords: dict[bytes, bytes], keyword: bytes, default: float) -> bytes | float:
    """Return a number of a pax header, not yet parsed. Raises ValueError for a very long one."""
    number = keywords.get(keyword, default)
    if isinstance(number, bytes) and len(number) > _MAX_NUMBER_BYTES:
        raise ValueError
    return number


def _to_text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _to_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
