"""Read where the content of a sparse file lies, since a tar archive does not store the holes.

GNU tar has four formats for that: a list in the header of its old format, and the versions 0.0, 0.1
and 1.0 of keywords for pax, the last of which has the list before the content. See its manual,
"Storing Sparse Files".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from resop.archives.byte_stream import ByteStream
from resop.archives.entry import Extent
from resop.archives.pax_header import SPARSE_MAP
from resop.archives.safe_names import display_name, invalid_archive
from resop.archives.tar_header import BLOCK_BYTES, MAX_SIZE, TarHeader, parse_number

MAX_EXTENTS = 50_000
"""Parts of a sparse file: all are kept in memory."""
GNU_SPARSE = b"S"
_PART = 24
"""Bytes of one part in GNU's old format: its offset and its size."""
_NUMBER = re.compile(rb"[0-9]{1,19}")
_MAX_LINE_BYTES = 20


class SparseContent:
    """The parts of a sparse file, and how many bytes of content the archive stores."""

    def __init__(self, extents: Sequence[Extent], size: int, stored: int) -> None:
        """Raise ValueError unless the parts are in order and lie within `size` bytes."""
        end = 0
        for extent in extents:
            if extent.offset < end or extent.size < 0:
                raise ValueError
            end = extent.offset + extent.size
        if not end <= size <= MAX_SIZE or sum(extent.size for extent in extents) != stored:
            raise ValueError
        self.extents = tuple(extents)
        self.size = size
        self.stored = stored


async def read_sparse_content(
    archive: ByteStream, header: TarHeader, block: bytes, keywords: Mapping[bytes, bytes]
) -> SparseContent | None:
    """Return the parts of a sparse file, or None for another file.

    `block` is the header. What the archive has before the content is read. Raises InvalidOptions
    for a list that is invalid or in another format, or BodyTruncated.
    """
    if b"SUN.holesdata" in keywords:
        raise invalid_archive(
            "contains a sparse file in Solaris's format, which is not supported: "
            + display_name(header.name)
        )
    try:
        if header.kind == GNU_SPARSE:
            return await _old_gnu(archive, header, block)
        if SPARSE_MAP in keywords:
            numbers = [_integer(digits) for digits in _split(keywords[SPARSE_MAP], b",")]
            return SparseContent(_pairs(numbers), _size(keywords), header.size)
        if b"GNU.sparse.major" in keywords:
            return await _listed_before_content(archive, header, keywords)
    except ValueError:
        raise invalid_archive(
            "contains a sparse file whose list of parts is invalid: " + display_name(header.name)
        ) from None
    return None


async def _old_gnu(archive: ByteStream, header: TarHeader, block: bytes) -> SparseContent:
    extents, is_continued = [*_parts(block[386:482])], block[482]
    size = parse_number(block[483:495])
    while is_continued:
        block = await archive.read(BLOCK_BYTES)
        extents += _parts(block[:504])
        is_continued = block[504]
        if len(extents) > MAX_EXTENTS:
            raise ValueError
    return SparseContent(extents, size, header.size)


def _parts(field: bytes) -> Iterator[Extent]:
    for at in range(0, len(field), _PART):
        if not field[at + 12]:
            return
        offset, size = field[at : at + 12], field[at + 12 : at + _PART]
        yield Extent(parse_number(offset), parse_number(size))


async def _listed_before_content(
    archive: ByteStream, header: TarHeader, keywords: Mapping[bytes, bytes]
) -> SparseContent:
    """Read the list of version 1.0: numbers, each on a line, the first of which is their number."""
    if (keywords[b"GNU.sparse.major"], keywords.get(b"GNU.sparse.minor")) != (b"1", b"0"):
        raise ValueError
    text = bytearray(await archive.read(BLOCK_BYTES))
    count = 1 + 2 * _integer(bytes(text[:_MAX_LINE_BYTES]).partition(b"\n")[0])
    if count > 1 + 2 * MAX_EXTENTS:
        raise ValueError
    lines = text.count(b"\n")
    while lines < count:
        block = await archive.read(BLOCK_BYTES)
        lines += block.count(b"\n")
        text += block
        if len(text) > count * _MAX_LINE_BYTES + BLOCK_BYTES:
            raise ValueError
    numbers = [_integer(line) for line in bytes(text).split(b"\n", count)[1:count]]
    return SparseContent(_pairs(numbers), _size(keywords), header.size - len(text))


def _split(text: bytes, separator: bytes) -> list[bytes]:
    if text.count(separator) >= 2 * MAX_EXTENTS:
        raise ValueError
    return text.split(separator) if text else []


def _pairs(numbers: Sequence[int]) -> list[Extent]:
    return [Extent(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]


def _size(keywords: Mapping[bytes, bytes]) -> int:
    return _integer(keywords.get(b"GNU.sparse.realsize", keywords.get(b"GNU.sparse.size", b"")))


def _integer(digits: bytes) -> int:
    if not _NUMBER.fullmatch(digits):
        raise ValueError
    return int(digits)
