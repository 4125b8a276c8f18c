"""Write and read tar archives as streams; no archive is held in memory.

GNU's format is written; ustar, GNU's format and pax are read, also compressed with gzip. The
module tarfile parses the headers, but does not limit the size of a pax or GNU header; this one
does.
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

GZIP_MAGIC = b"\x1f\x8b"
MAX_HEADER_BYTES = 1 << 20
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
    if await archive.peek(2) == GZIP_MAGIC:
        archive = ByteStream(_decompress(archive, limit))
    keywords: dict[bytes, bytes] = {}
    while any(header := await archive.read(_BLOCK_BYTES)):
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise invalid_archive(f"is not a tar archive: {error}") from None
        if info.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            keywords |= _parse_keywords(info.type, await _read_header(archive, info))
        elif info.type == tarfile.XGLTYPE:
            await _read_header(archive, info)
        else:
            entry = _to_entry(info, keywords)
            keywords = {}
            yield entry, archive.read_chunks(entry.size)
            await archive.read(-entry.size % _BLOCK_BYTES)
    async for _ in archive.rest():
        pass  # tar fills up its last record


async def _decompress(archive: ByteStream, limit: float) -> AsyncIterator[bytes]:
    gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        async for chunk in archive.rest():
            while chunk:
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
    keywords = {}
    while content:
        length, _, _ = content.partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(content):
            raise invalid_archive("has an invalid pax header")
        record, content = content[: int(length)], content[int(length) :]
        keyword, _, value = record[len(length) + 1 :].removesuffix(b"\n").partition(b"=")
        keywords[keyword] = value
    return keywords


def _to_entry(info: tarfile.TarInfo, keywords: dict[bytes, bytes]) -> TreeEntry:
    kind = _KIND_OF_TYPE.get(info.type)
    name = keywords.get(b"path", _to_bytes(info.name))
    if kind is None or any(keyword.startswith(b"GNU.sparse") for keyword in keywords):
        raise invalid_archive(
            f"contains something that is not a file, folder or link: {display_name(name)}"
        )
    try:
        size = int(keywords.get(b"size", info.size)) if kind == stat.S_IFREG else 0
        modified = int(float(keywords.get(b"mtime", info.mtime)))
    except (ValueError, OverflowError):
        raise invalid_archive(f"has an invalid header: {display_name(name)}") from None
    target = keywords.get(b"linkpath", _to_bytes(info.linkname))
    if size < 0 or b"\0" in name + target:
        raise invalid_archive(f"has an invalid header: {display_name(name)}")
    name = check_entry_name(name)
    if not name and kind != stat.S_IFDIR:
        raise invalid_archive("contains an entry without a name")
    return TreeEntry(
        name, kind, info.mode, size, modified, target if kind else check_entry_name(target)
    )


def _to_text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _to_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
