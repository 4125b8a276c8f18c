"""Build archives byte by byte, and read them as the service does, without a cluster."""

from __future__ import annotations

import asyncio
import struct
import tarfile
import zlib
from dataclasses import dataclass

from resop.archives import tar, zip
from resop.archives.byte_stream import stream_bytes
from resop.archives.entry import Extent, TreeEntry

TAR_END = bytes(1024)


class MemoryFile:
    """An archive in memory, read as one on the cluster."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, size: int, offset: int) -> bytes:
        """Return at most `size` bytes from `offset`, and never as many as a large read asks for."""
        return self._content[offset : offset + min(size, 50_000)]


@dataclass(frozen=True)
class ZipEntry:
    """An entry of a zip archive, as it is stored; the defaults are those of a program on DOS."""

    name: bytes
    content: bytes = b"x"
    """The content as it is stored, so compressed if there is a `method`."""
    plain: bytes | None = None
    """The uncompressed content, if that is another."""
    method: int = 0
    flags: int = 0
    host: int = 0
    mode: int = 0
    attributes: int = 0
    date: int = 33
    """The DOS date; that of January 1, 1980."""
    time: int = 0
    extra: bytes = b""
    local_name: bytes | None = None
    local_extra: bytes = b""
    descriptor: bytes = b""
    """The sizes after the content, in an archive that was written as a stream."""


def extra_field(number: int, content: bytes) -> bytes:
    return struct.pack("<2H", number, len(content)) + content


def build_zip(*entries: ZipEntry, comment: bytes = b"", prefix: bytes = b"") -> bytes:
    """Build a zip archive; `prefix` is the program of one that unpacks itself."""
    body, directory = b"", b""
    for each in entries:
        plain = each.content if each.plain is None else each.plain
        fields = (each.flags, each.method, each.time, each.date, zlib.crc32(plain))
        sizes = len(each.content), len(plain)
        attributes = each.mode << 16 | each.attributes
        directory += struct.pack("<4s4B4H3L", b"PK\1\2", 20, each.host, 20, 0, *fields, *sizes)
        directory += struct.pack(
            "<5H2L", len(each.name), len(each.extra), 0, 0, 0, attributes, len(body)
        )
        directory += each.name + each.extra
        local_name = each.name if each.local_name is None else each.local_name
        local = (*fields[:4], 0, 0, 0) if each.descriptor else (*fields, *sizes)
        body += struct.pack(
            "<4s2B4H3L2H", b"PK\3\4", 20, 0, *local, len(local_name), len(each.local_extra)
        )
        body += local_name + each.local_extra + each.content + each.descriptor
    count = len(entries)
    end = struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), len(comment)
    )
    return prefix + body + directory + end + comment


def read_zip(content: bytes, charset: str | None = None) -> dict[bytes, tuple[TreeEntry, bytes]]:
    """Return the entries of an archive by their names, each with its content."""

    async def read() -> dict[bytes, tuple[TreeEntry, bytes]]:
        found = {}
        async for entry, chunks in zip.read_archive(MemoryFile(content), len(content), charset):
            found[entry.name] = entry, b"".join([chunk async for chunk in chunks])
        return found

    return asyncio.run(read())


def tar_block(
    kind: bytes = tarfile.REGTYPE, content: bytes = b"", name: str = "x", target: str = ""
) -> bytes:
    """Return a header with its content, filled up to whole blocks."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(content), target
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def patch_header(block: bytes, **fields: bytes) -> bytes:
    """Change fields of the first header, named as `at_OFFSET`, and its checksum with them."""
    header = bytearray(block[:512])
    for place, value in fields.items():
        at = int(place.removeprefix("at_"))
        header[at : at + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + block[512:]


def pax_header(**keywords: bytes) -> bytes:
    """Return a pax header; an underscore in a keyword stands for a dot."""
    return pax_records(*[(key.replace("_", ".").encode(), keywords[key]) for key in keywords])


def pax_records(*records: tuple[bytes, bytes]) -> bytes:
    return tar_block(tarfile.XHDTYPE, b"".join(pax_record(*each) for each in records))


def pax_record(keyword: bytes, value: bytes) -> bytes:
    size = len(keyword) + len(value) + 3
    length = size + len(str(size))
    length = size + len(str(length))
    return b"%d %s=%s\n" % (length, keyword, value)


def read_tar(content: bytes) -> list[tuple[TreeEntry, bytes]]:
    """Return the entries of an archive; sparse files with zeros for their holes."""

    async def read() -> list[tuple[TreeEntry, bytes]]:
        found = []
        async for entry, chunks in tar.read_archive(stream_bytes(content)):
            stored = b"".join([chunk async for chunk in chunks])
            found.append((entry, stored if entry.extents is None else fill(entry, stored)))
        return found

    return asyncio.run(read())


def fill(entry: TreeEntry, stored: bytes) -> bytes:
    whole, at = bytearray(entry.size), 0
    for extent in entry.extents or ():
        assert isinstance(extent, Extent)
        whole[extent.offset : extent.offset + extent.size] = stored[at : at + extent.size]
        at += extent.size
    assert at == len(stored)
    return bytes(whole)
