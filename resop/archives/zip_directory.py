"""Read the directory at the end of a zip archive, one entry at a time.

The module zipfile reads it as a whole, refuses all entries if it cannot decode the name of one, and
gives access to no name as it is stored. The format is described in PKWARE's APPNOTE.TXT, sections
4.3.12 to 4.3.16.
"""

from __future__ import annotations

import re
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from resop.archives.safe_names import invalid_archive

WINDOW_BYTES = 256 << 10
"""How much is read at once; the entries of small files follow one another."""
ENCRYPTED = 0x41
"""The flags of encrypted content: the old way, and the strong one."""
UTF8_NAME = 0x800
_RECORD = struct.Struct("<4s4B4HL2L5H2L")
_RECORD_SIGNATURE = b"PK\1\2"
_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\5\6"
_LOCATOR_64 = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_MAX_COMMENT_BYTES = 0xFFFF
_IN_ZIP64 = 0xFFFFFFFF
_ZIP64_FIELD = 0x0001


class RandomAccessFile(Protocol):
    """A file that can be read at any offset, such as one on the cluster."""

    async def read(self, size: int, offset: int) -> bytes:
        """Read at most `size` bytes from `offset`; empty at the end of the file."""


class Window:
    """The part of a file that was read last."""

    def __init__(self, file: RandomAccessFile, size: int) -> None:
        """Read from a file of `size` bytes."""
        self._file = file
        self.size = size
        self._start = 0
        self._content = b""

    async def read(self, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes. Raises InvalidOptions for bytes outside the file."""
        if not 0 <= offset <= offset + size <= self.size:
            raise invalid_zip("it refers to content that it does not have")
        if not self._start <= offset <= offset + size <= self._start + len(self._content):
            self._start, self._content = offset, await self._read(offset, size)
        at = offset - self._start
        return self._content[at : at + size]

    async def _read(self, offset: int, size: int) -> bytes:
        wanted = min(max(size, WINDOW_BYTES), self.size - offset)
        content: bytes = await self._file.read(wanted, offset)
        while len(content) < wanted:
            more = await self._file.read(wanted - len(content), offset + len(content))
            if not more:
                raise invalid_zip("it became shorter while it was read")
            content += more
        return content


@dataclass(frozen=True, slots=True)
class ZipRecord:
    """An entry as the directory lists it."""

    raw_name: bytes
    extra: dict[int, bytes]
    """The extra fields by their ids."""
    host: int
    """The system on which the entry was made: 0 for DOS and Windows, 3 for Unix, …"""
    flags: int
    method: int
    """How the content is compressed."""
    dos_time: int
    dos_date: int
    crc: int
    stored: int
    """The size of the compressed content."""
    size: int
    attributes: int
    """DOS attributes in the lower half, and the st_mode of Unix in the upper one."""
    offset: int
    """Where the entry begins in the file."""


class _Directory(NamedTuple):
    start: int
    end: int
    shift: int
    """Bytes before the archive, such as the program of one that unpacks itself."""


def invalid_zip(fault: str) -> Exception:
    """Return the error for a zip archive that cannot be read."""
    return invalid_archive(f"cannot be unpacked: {fault}")


def extra_fields(extra: bytes) -> dict[int, bytes]:
    """Return the extra fields by their ids; what is not a field, such as padding, is ignored."""
    fields, at = dict[int, bytes](), 0
    while at + 4 <= len(extra):
        number, size = struct.unpack_from("<2H", extra, at)
        if at + 4 + size > len(extra):
            break
        fields.setdefault(number, extra[at + 4 : at + 4 + size])
        at += 4 + size
    return fields


async def read_directory(file: RandomAccessFile, size: int) -> AsyncIterator[ZipRecord]:
    """Yield the entries of the archive in a file of `size` bytes. Raises InvalidOptions."""
    window = Window(file, size)
    directory = await _find_directory(window)
    at, stored = directory.start, 0
    while at < directory.end:
        head = await window.read(at, _RECORD.size)
        if not head.startswith(_RECORD_SIGNATURE):
            raise invalid_zip("its directory is damaged")
        name_size, extra_size, comment_size = struct.unpack_from("<3H", head, 28)
        names = await window.read(at + _RECORD.size, name_size + extra_size)
        record = _parse(head, names[:name_size], names[name_size:], directory.shift)
        stored += record.stored
        if stored > size:
            raise invalid_zip("its entries overlap")  # a small file that unpacks into a huge one
        yield record
        at += _RECORD.size + name_size + extra_size + comment_size


def _parse(head: bytes, name: bytes, extra: bytes, shift: int) -> ZipRecord:
    _, _, host, _, _, flags, method, dos_time, dos_date, crc, *sizes = _RECORD.unpack(head)
    stored, size, attributes, offset = sizes[0], sizes[1], sizes[7], sizes[8]
    fields = extra_fields(extra)
    size, stored, offset = _with_zip64((size, stored, offset), fields.get(_ZIP64_FIELD, b""))
    return ZipRecord(
        *(name, fields, host, flags, method, dos_time, dos_date, crc),
        *(stored, size, attributes, offset + shift),
    )


def _with_zip64(numbers: tuple[int, int, int], field: bytes) -> list[int]:
    """Return the numbers, with those from the extra field that 32 bits cannot store."""
    large = [number for (number,) in struct.iter_unpack("<Q", field[: len(field) // 8 * 8])]
    if not large:
        return [*numbers]
    if numbers.count(_IN_ZIP64) > len(large):
        raise invalid_zip("its directory is damaged")
    return [large.pop(0) if number == _IN_ZIP64 else number for number in numbers]


async def _find_directory(window: Window) -> _Directory:
    tail_size = min(window.size, _END.size + _MAX_COMMENT_BYTES)
    tail = await window.read(window.size - tail_size, tail_size)
    found = [match.start() for match in re.finditer(_END_SIGNATURE, tail)]
    found = [at for at in found if at + _END.size <= len(tail)]
    if not found:
        raise invalid_zip(await _why_without_directory(window))
    # A comment can contain the signature, and something else can follow the archive.
    exact = [at for at in found if at + _END.size + _comment_size(tail, at) == len(tail)]
    at = (exact or found)[-1]
    _, disk, first_disk, _, _, size, offset, _ = _END.unpack_from(tail, at)
    end = window.size - tail_size + at
    if end >= _LOCATOR_64.size:
        locator = await window.read(end - _LOCATOR_64.size, _LOCATOR_64.size)
        if locator.startswith(b"PK\6\7"):
            end, disk, first_disk, size, offset = await _read_end_64(window, end, locator)
    if disk or first_disk:
        raise invalid_zip(_SPLIT)
    start = end - size
    if not 0 <= offset <= start:
        raise invalid_zip("its directory is not where its end says")
    return _Directory(start, end, start - offset)


async def _read_end_64(window: Window, end: int, locator: bytes) -> tuple[int, int, int, int, int]:
    """Return where the directory ends, and the numbers of the end record for any size."""
    _, _, offset, _ = _LOCATOR_64.unpack(locator)
    # In front of an archive something may have been put later, which moved the record.
    for at in (end - _LOCATOR_64.size - _END_64.size, offset):
        if 0 <= at <= end - _END_64.size:
            record = await window.read(at, _END_64.size)
            if record.startswith(b"PK\6\6"):
                *_, disk, first_disk, _, _, size, start = _END_64.unpack(record)
                return at, disk, first_disk, size, start
    raise invalid_zip("its directory is damaged")


def _comment_size(tail: bytes, at: int) -> int:
    size: int = struct.unpack_from("<H", tail, at + _END.size - 2)[0]
    return size


async def _why_without_directory(window: Window) -> str:
    head = await window.read(0, min(4, window.size))
    if head == b"PK\7\10":
        return _SPLIT
    if head.startswith(b"PK"):
        return "it has no directory at its end: it is incomplete, or one part of a split archive"
    return "it is a program without a zip archive at its end"


_SPLIT = "it is one part of a split archive: join the parts first (zip -s 0 PART.zip --out ALL.zip)"
