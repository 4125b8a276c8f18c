"""Read the directory at the end of a zip archive in parts, so that a long one needs little memory.

The module zipfile makes an object for each entry of an archive at once. So it is given one small
archive after the other: each has the same content, and a part of the directory. The format is
described in PKWARE's APPNOTE.TXT, sections 4.3.12 to 4.3.16.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from resop.archives.seekable import SeekableReader

PART_ENTRIES = 1000
PART_BYTES = 1 << 20
_ENTRY = struct.Struct("<4s24x3H12x")
_ENTRY_SIGNATURE = b"PK\1\2"
_SIGNATURE_64 = b"PK\6\6"
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")


def directory_parts(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """Yield archives that have the entries of the archive in `file`, some in each. Blocks.

    Raises zipfile.BadZipFile.
    """
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if not end:
        raise zipfile.BadZipFile("File is not a zip file")
    signature, size, offset, location = end[0], end[5], end[6], end[9]
    if signature == _SIGNATURE_64:
        location -= _END_64.size + _LOCATOR_64.size
    start = location - size
    if not 0 <= offset <= start:
        raise zipfile.BadZipFile("Bad offset for central directory")
    for count, records in _split(file, start, location):
        trailer = _trailer(count, len(records), offset)
        yield zipfile.ZipFile(_PartialFile(file, start, records + trailer))


def _split(file: BinaryIO, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield the entries of a directory, some at a time, with their number."""
    while at < end:
        file.seek(at)  # the content of other entries has been read meanwhile
        records, size = list[bytes](), 0
        while at + size < end and len(records) < PART_ENTRIES and size < PART_BYTES:
            records.append(_read_record(file))
            size += len(records[-1])
        yield len(records), b"".join(records)
        at += size


def _read_record(file: BinaryIO) -> bytes:
    """Read one entry of a directory, which has a name, extra fields and a comment."""
    head = file.read(_ENTRY.size)
    if len(head) < _ENTRY.size:
        raise zipfile.BadZipFile("Truncated central directory")
    signature, *lengths = _ENTRY.unpack(head)
    if signature != _ENTRY_SIGNATURE:
        raise zipfile.BadZipFile("Bad magic number for central directory")
    return head + file.read(sum(lengths))


def _trailer(count: int, size: int, offset: int) -> bytes:
    """Return the end of an archive whose directory has `size` bytes, in the format for any size."""
    end = _END_64.pack(_SIGNATURE_64, 44, 45, 45, 0, 0, count, count, size, offset)
    locator = _LOCATOR_64.pack(b"PK\6\7", 0, offset + size, 1)
    most = 0xFFFF
    return end + locator + _END.pack(b"PK\5\6", 0, 0, most, most, 0xFFFFFFFF, 0xFFFFFFFF, 0)


class _PartialFile(SeekableReader):
    """The beginning of a file up to `size`, followed by other content."""

    def __init__(self, file: BinaryIO, size: int, content: bytes) -> None:
        super().__init__(size + len(content))
        self._file = file
        self._size = size
        self._content = content

    def readinto(self, buffer: object) -> int:
        assert isinstance(buffer, bytearray | memoryview)
        if self._offset < self._size:
            self._file.seek(self._offset)
            found = self._file.read(min(len(buffer), self._size - self._offset))
        else:
            start = self._offset - self._size
            found = self._content[start : start + len(buffer)]
        buffer[: len(found)] = found
        self._offset += len(found)
        return len(found)
