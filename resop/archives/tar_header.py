"""Parse the header of a tar archive's entry: V7, ustar, pax, and GNU's and star's formats.

The module tarfile parses headers, too, but takes GNU's access time for a part of the name and
refuses a header for fields that nobody reads. The formats are described in pax(1p) of POSIX and in
the manual of GNU tar, "Basic Tar Format".
"""

from __future__ import annotations

from dataclasses import dataclass

from resop.archives.safe_names import display_name, invalid_archive

BLOCK_BYTES = 512
MAX_SIZE = (1 << 63) - 1
"""The largest size of a file: SFTP and Linux have no larger offset."""


@dataclass(frozen=True, slots=True)
class TarHeader:
    """The fields of a header that matter here, about its entry or about the next one."""

    kind: bytes
    """The typeflag: one byte."""
    name: bytes
    target: bytes
    mode: int
    size: int
    """The bytes of content that follow the header."""
    modified: int
    """In seconds since 1970; may be negative."""


def is_header(block: bytes) -> bool:
    """Return True if the block has the size and the checksum of a header."""
    if len(block) != BLOCK_BYTES:
        return False
    try:
        expected = parse_number(block[148:156])
    except ValueError:
        return False
    others = block[:148] + block[156:]
    total = sum(others) + 8 * ord(" ")
    # Some old programs add up signed bytes.
    return expected == total or expected == total - 256 * sum(byte > 127 for byte in others)


def parse_header(block: bytes) -> TarHeader:
    """Parse a block that is a header. Raises InvalidOptions for invalid numbers."""
    name = _name(block)
    try:
        mode, size = parse_number(block[100:108]), parse_number(block[124:136])
        modified = parse_number(block[136:148])
    except ValueError:
        raise invalid_header(name) from None
    if not 0 <= size <= MAX_SIZE:
        raise invalid_header(name)
    return TarHeader(block[156:157], name, _text(block[157:257]), mode & 0o7777, size, modified)


def parse_number(field: bytes) -> int:
    """Return a number that is stored in octal digits, or with the first bit set in base 256."""
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        number = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return number - (1 << bits) if number >> (bits - 1) else number
    digits = _text(field).strip()
    return int(digits, 8) if digits else 0


def invalid_header(name: bytes) -> Exception:
    """Return the error for an entry whose header is invalid."""
    return invalid_archive(f"has an invalid header: {display_name(name)}")


def _name(block: bytes) -> bytes:
    name = _text(block[:100])
    if block[257:263] != b"ustar\0":  # GNU has times in place of the prefix, and V7 has nothing
        return name
    prefix = _text(block[345 : 476 if block[508:512] == b"tar\0" else 500])
    return prefix + b"/" + name if prefix else name


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]
