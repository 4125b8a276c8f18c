"""Write zip archives as streams, uncompressed; read them from a file, as their list is at the end.

The module zipfile writes them. It does not read them, because it tells neither the bytes of a name
nor the exact time of an entry, refuses archives that unzip unpacks, and awaits nothing.
"""

from __future__ import annotations

import io
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import AsyncIterator

from resop.archives.byte_stream import CHUNK_BYTES, ByteStream
from resop.archives.compression import BZIP2, DEFLATE, LZMA, XZ, ZSTD, decompress_part
from resop.archives.entry import Content, TreeEntry
from resop.archives.loop_turn import LoopTurn
from resop.archives.safe_names import (
    MAX_NAME_BYTES,
    check_entry_name,
    display_name,
    invalid_archive,
)
from resop.archives.tar_header import is_header
from resop.archives.zip_directory import (
    ENCRYPTED,
    RandomAccessFile,
    Window,
    ZipRecord,
    extra_fields,
    invalid_zip,
    read_directory,
)
from resop.archives.zip_names import UNIX_HOSTS, entry_name
from resop.archives.zip_times import extended_timestamp, modified_time
from resop.errors import BodyTruncated

# A zip archive stores times from 1980 to 2107 only.
_EARLIEST_TIME, _LATEST_TIME = 315_532_800, 4_354_819_198
_LOCAL_HEADER = struct.Struct("<4s22x2H")
_LOCAL_SIGNATURE = b"PK\3\4"
_SIGNATURES = (b"PK\3\4", b"PK\5\6", b"PK\7\10", b"PK00PK", b"MZ", b"\x7fELF", b"#!")
_DOS_FOLDER = 0x10
_LZMA_END_MARKER = 0x2
_LZMA_PROPERTIES_BYTES = 5
_AES = 99
_CODECS = {
    zipfile.ZIP_DEFLATED: DEFLATE,
    zipfile.ZIP_BZIP2: BZIP2,
    zipfile.ZIP_LZMA: LZMA,
    20: ZSTD,  # its number before 2020
    93: ZSTD,
    95: XZ,
}
_UNSUPPORTED_METHODS = {
    1: "shrink",
    **dict.fromkeys((2, 3, 4, 5), "reduce"),
    6: "implode",
    9: "deflate64",
    10: "PKWARE implode",
    18: "IBM TERSE",
    19: "IBM LZ77",
    94: "MP3",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
}
_UNSUPPORTED_KINDS = {
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


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


async def read_archive(
    file: RandomAccessFile, size: int, charset: str | None = None
) -> AsyncIterator[tuple[TreeEntry, Content]]:
    """Yield the entries of an archive of `size` bytes; read the content of each before the next.

    `charset` is the character set of names of which the archive does not tell theirs. Raises
    LimitReached, or InvalidOptions for a file that is not a zip archive, is encrypted or damaged,
    is compressed with an unsupported method, or contains anything but files, folders and links.
    """
    window, turn = Window(file, size), LoopTurn()
    async for record in read_directory(file, size):
        await turn.end_if_long()
        name = entry_name(record, charset)
        kind = _kind(record, name)
        local = await window.read(record.offset, _LOCAL_HEADER.size)
        signature, name_size, extra_size = _LOCAL_HEADER.unpack(local)
        if signature != _LOCAL_SIGNATURE:
            raise invalid_zip("its directory is damaged")
        extra_at = record.offset + _LOCAL_HEADER.size + name_size
        extra = extra_fields(await window.read(extra_at, extra_size))
        content = _content(window, record, extra_at + extra_size, display_name(name))
        target = await _link_target(content, name) if kind == stat.S_IFLNK else b""
        modified = modified_time(record.dos_date, record.dos_time, record.extra, extra)
        yield _to_entry(record, name, kind, modified, target), content


def is_archive(head: bytes) -> bool:
    """Return True if a file that begins with `head` is a zip archive, or a program that may be one.

    A program can unpack itself; whether it does, the end of the file tells.
    """
    return not is_header(head) and head.startswith(_SIGNATURES)


def _kind(record: ZipRecord, name: bytes) -> int:
    """Return the type of an entry as in stat(2)."""
    mode = record.attributes >> 16
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFLNK:
        return kind
    if name.endswith(b"/") or kind == stat.S_IFDIR:
        return stat.S_IFDIR
    if record.attributes & _DOS_FOLDER and not mode and not record.size:
        return stat.S_IFDIR
    if record.host in UNIX_HOSTS and kind not in (0, stat.S_IFREG):
        what = _UNSUPPORTED_KINDS.get(kind, "an entry of an unknown type")
        raise invalid_zip(f"it contains {what}: {display_name(name)}")
    return stat.S_IFREG


async def _link_target(content: Content, name: bytes) -> bytes:
    target = b""
    async for chunk in content:
        target += chunk
        if len(target) > MAX_NAME_BYTES:
            break
    if b"\0" in target or not 0 < len(target) <= MAX_NAME_BYTES:
        raise invalid_archive(f"contains a link without a valid target: {display_name(name)}")
    return target


def _to_entry(record: ZipRecord, name: bytes, kind: int, modified: int, target: bytes) -> TreeEntry:
    if b"\0" in name:
        raise invalid_zip(f"a name contains a NUL byte: {display_name(name)}")
    name = check_entry_name(name)
    if not name and kind != stat.S_IFDIR:
        raise invalid_archive("contains an entry without a name")
    size = record.size if kind == stat.S_IFREG else 0
    mode = record.attributes >> 16 or (0o755 if kind == stat.S_IFDIR else 0o644)
    return TreeEntry(name, kind, stat.S_IMODE(mode), size, modified, target)


async def _content(window: Window, record: ZipRecord, at: int, name: str) -> Content:
    """Yield the content of an entry, which is checked against its size and checksum."""
    if record.flags & ENCRYPTED or record.method == _AES:
        raise invalid_zip(f"{name} is encrypted: make the archive without a password")
    if record.method != zipfile.ZIP_STORED and record.method not in _CODECS:
        method = _UNSUPPORTED_METHODS.get(record.method, f"the unknown method {record.method}")
        raise invalid_zip(
            f"{name} is compressed with {method}: use deflate (the default of most programs), "
            "bzip2, LZMA, xz or zstd"
        )
    size = crc = 0
    async for chunk in _uncompressed(window, record, at):
        size, crc = size + len(chunk), zlib.crc32(chunk, crc)
        if size > record.size:
            break
        yield chunk
    if (size, crc) != (record.size, record.crc):
        raise invalid_zip(f"{name} is damaged: its size or checksum is not the recorded one")


async def _uncompressed(window: Window, record: ZipRecord, at: int) -> Content:
    stored = _stored(window, at, record.stored)
    if record.method == zipfile.ZIP_STORED or not record.stored:
        async for chunk in stored:
            yield chunk
        return
    if record.method == zipfile.ZIP_LZMA:
        stored = _as_lzma_file(ByteStream(stored), record)
    try:
        async for chunk in decompress_part(ByteStream(stored), _CODECS[record.method]):
            yield chunk
    except BodyTruncated:
        raise invalid_zip("compressed content ends early") from None


async def _stored(window: Window, at: int, size: int) -> Content:
    end = at + size
    while at < end:
        chunk = await window.read(at, min(CHUNK_BYTES, end - at))
        yield chunk
        at += len(chunk)


async def _as_lzma_file(stored: ByteStream, record: ZipRecord) -> Content:
    """Yield LZMA content with the header of an .lzma file in place of that of a zip archive."""
    _, properties_size = struct.unpack("<2H", await stored.read(4))
    has_end_marker = record.flags & _LZMA_END_MARKER
    if properties_size != _LZMA_PROPERTIES_BYTES:
        raise invalid_zip("its LZMA content is damaged")
    yield await stored.read(properties_size)
    yield struct.pack("<q", -1 if has_end_marker else record.size)
    async for chunk in stored.rest():
        yield chunk


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
    info.external_attr = (entry.kind | entry.mode) << 16 | (_DOS_FOLDER if is_folder else 0)
    info.extra = extended_timestamp(entry.modified)  # exact, and with a time zone
    return info
