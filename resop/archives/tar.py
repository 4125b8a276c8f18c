"""Write and read tar archives as streams; no archive is held in memory.

GNU's format is written. V7, ustar, pax, and the formats of GNU and star are read, also compressed.
Unlike the module tarfile, this one limits the size and the number of pax and GNU headers.
"""

from __future__ import annotations

import dataclasses
import math
import stat
import tarfile
from collections.abc import AsyncIterator

from resop.archives.byte_stream import ByteStream
from resop.archives.compression import Codec, codec_of, decompress
from resop.archives.entry import Content, TreeEntry
from resop.archives.formats import SUPPORTED, format_name, unsupported_format
from resop.archives.loop_turn import LoopTurn
from resop.archives.pax_header import parse_pax_header, pax_number
from resop.archives.safe_names import (
    MAX_NAME_BYTES,
    check_entry_name,
    display_name,
    invalid_archive,
)
from resop.archives.sparse import GNU_SPARSE, SparseContent, read_sparse_content
from resop.archives.tar_header import (
    BLOCK_BYTES,
    MAX_SIZE,
    TarHeader,
    invalid_header,
    is_header,
    parse_header,
)

MAX_HEADER_BYTES = 1 << 20
"""The largest pax or GNU header; extended attributes make it large."""
MAX_HEADERS = 16
"""Pax and GNU headers before one entry."""
MAX_FILL_BYTES = 16 << 20
"""Bytes after the end of a compressed archive: tar fills up its last record."""
_SOLARIS_ACL, _GNU_FOLDER, _GNU_LABEL, _GNU_VOLUME = b"A", b"D", b"V", b"M"
_PAX_HEADERS = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG_NAMES = {tarfile.GNUTYPE_LONGNAME: b"path", tarfile.GNUTYPE_LONGLINK: b"linkpath"}
_IGNORED_HEADERS = (tarfile.XGLTYPE, _SOLARIS_ACL, _GNU_LABEL)
_KIND_OF_TYPE = {
    **dict.fromkeys((tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE), stat.S_IFREG),
    GNU_SPARSE: stat.S_IFREG,
    **dict.fromkeys((tarfile.DIRTYPE, _GNU_FOLDER), stat.S_IFDIR),
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.LNKTYPE: 0,
}
_UNSUPPORTED_TYPES = {
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
    _GNU_VOLUME: "the rest of a file from an earlier volume (unpack all volumes with tar -M)",
    b"N": "names in the format of an early GNU tar",
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
        yield bytes(-entry.size % BLOCK_BYTES)
    yield bytes(2 * BLOCK_BYTES)


async def read_archive(
    archive: ByteStream, limit: float = math.inf
) -> AsyncIterator[tuple[TreeEntry, Content]]:
    """Yield the entries; the content of each must be read before the next.

    `limit` is the maximum size in bytes of a compressed archive when uncompressed. What follows the
    end of the archive is ignored, as tar does. Raises BodyTruncated, UnsupportedBody for another
    format, LimitReached, or InvalidOptions for an archive that is damaged or contains anything but
    files, folders and links.
    """
    archive, max_fill = await _open(archive, limit)
    entry: TreeEntry | None = None
    async for header, sparse in _headers(archive):
        entry = _to_entry(header, sparse)
        stored = sparse.stored if sparse else await _stored_bytes(archive, header)
        content = archive.read_chunks(stored)
        if entry.kind != stat.S_IFREG:
            async for _ in content:
                pass
        yield entry, content
        await archive.read(-stored % BLOCK_BYTES)
    async for fill in archive.rest():
        if entry is None and any(fill):
            raise invalid_archive(f"is not a tar archive: send {SUPPORTED}")  # such as a disk image
        max_fill -= len(fill)
        if max_fill < 0:
            raise invalid_archive("continues after its end")


async def _open(archive: ByteStream, limit: float) -> tuple[ByteStream, float]:
    """Return the uncompressed archive, and how much may follow its end.

    Raises UnsupportedBody or InvalidOptions for another file than a tar archive.
    """
    max_fill = math.inf
    head = await archive.peek(BLOCK_BYTES)
    codec = None if is_header(head) else codec_of(head)
    if codec is not None:
        archive, max_fill = ByteStream(decompress(archive, codec, limit)), MAX_FILL_BYTES
        head = await archive.peek(BLOCK_BYTES)
    if not is_header(head) and (len(head) < BLOCK_BYTES or any(head)):
        raise _not_tar(head, codec)
    return archive, max_fill


def _not_tar(head: bytes, codec: Codec | None) -> Exception:
    compressed = f"is compressed with {codec.name}, but its content " if codec else ""
    if name := format_name(head):
        return unsupported_format(f"{name}, compressed with {codec.name}" if codec else name)
    if not head:
        return invalid_archive(f"{compressed}is empty: send {SUPPORTED}")
    return invalid_archive(f"{compressed}is not a tar archive: send {SUPPORTED}")


async def _headers(archive: ByteStream) -> AsyncIterator[tuple[TarHeader, SparseContent | None]]:
    """Yield the header of each entry, with what pax and GNU headers before it say."""
    keywords: dict[bytes, bytes] = {}
    headers, turn = 0, LoopTurn()
    while any(block := await archive.read(BLOCK_BYTES)):
        await turn.end_if_long()
        if not is_header(block):
            raise invalid_archive("is damaged: a header was expected where there is none")
        header = parse_header(block)
        headers += 1
        if headers > MAX_HEADERS:
            raise invalid_archive(f"has more than {MAX_HEADERS} headers before an entry")
        if header.kind in _PAX_HEADERS:
            keywords |= parse_pax_header(await _read_content(archive, header))
        elif keyword := _LONG_NAMES.get(header.kind):
            keywords[keyword] = (await _read_content(archive, header)).partition(b"\0")[0]
        elif header.kind in _IGNORED_HEADERS:
            _check_volume(await _read_content(archive, header))
        else:
            header, sparse = _with_keywords(header, keywords), None
            if _KIND_OF_TYPE.get(header.kind) == stat.S_IFREG:
                sparse = await read_sparse_content(archive, header, block, keywords)
            yield header, sparse
            keywords, headers = {}, 0


async def _read_content(archive: ByteStream, header: TarHeader) -> bytes:
    """Read the content of a pax or GNU header."""
    if header.size > MAX_HEADER_BYTES:
        raise invalid_archive(f"has a header of {header.size} bytes")
    content = await archive.read(header.size)
    await archive.read(-header.size % BLOCK_BYTES)
    return content


def _check_volume(global_header: bytes) -> None:
    """Raise InvalidOptions for a later volume of an archive."""
    if b"GNU.volume.offset=" in global_header:
        raise invalid_archive(f"contains {_UNSUPPORTED_TYPES[_GNU_VOLUME]}")


async def _stored_bytes(archive: ByteStream, header: TarHeader) -> int:
    """Return how many bytes of content the archive has for an entry.

    Links and folders have a size in some archives, and no content, with two exceptions: GNU lists
    a folder in an incremental archive, and pax can store a file once more for each hard link.
    """
    if header.kind in (tarfile.SYMTYPE, tarfile.DIRTYPE):
        return 0
    if header.kind == tarfile.LNKTYPE and header.size:
        following = await archive.peek(BLOCK_BYTES)
        return 0 if is_header(following) or not any(following) else header.size
    return header.size


def _with_keywords(header: TarHeader, keywords: dict[bytes, bytes]) -> TarHeader:
    """Return the header with the values of a pax header in place of its own."""
    if header.size and keywords.get(b"size", b"") == keywords.get(b"GNU.sparse.realsize"):
        # bsdtar can write the size with the holes, where pax has the size without them.
        keywords = {key: keywords[key] for key in keywords if key != b"size"}
    name = keywords.get(b"GNU.sparse.name", keywords.get(b"path", header.name))
    target = keywords.get(b"linkpath", header.target)
    try:
        size = int(pax_number(keywords, b"size", header.size))
        modified = int(float(pax_number(keywords, b"mtime", header.modified)))
    except (ValueError, OverflowError):
        raise invalid_header(name) from None
    if not 0 <= size <= MAX_SIZE or b"\0" in name + target or len(target) > MAX_NAME_BYTES:
        raise invalid_header(name)
    return dataclasses.replace(header, name=name, target=target, size=size, modified=modified)


def _to_entry(header: TarHeader, sparse: SparseContent | None) -> TreeEntry:
    kind = _KIND_OF_TYPE.get(header.kind)
    if kind is None:
        unknown = f"an entry of the unknown type {header.kind!r}"
        raise invalid_archive(
            f"contains {_UNSUPPORTED_TYPES.get(header.kind, unknown)}: {display_name(header.name)}"
        )
    if kind == stat.S_IFREG and header.name.endswith(b"/"):
        kind = stat.S_IFDIR  # V7 has no other sign
    name = check_entry_name(header.name)
    if not name and kind != stat.S_IFDIR:
        raise invalid_archive("contains an entry without a name")
    size = 0
    if kind == stat.S_IFREG:
        size = sparse.size if sparse else header.size
    target = header.target if kind else check_entry_name(header.target)
    extents = sparse.extents if sparse else None
    return TreeEntry(name, kind, header.mode, size, header.modified, target, extents)


def _to_text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
