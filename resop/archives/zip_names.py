"""Decide what the name of a zip archive's entry is: the format leaves its character set open.

In this order, as Info-ZIP's unzip and libarchive do: the Unicode Path field; the flag for UTF-8;
the character set that the user has named; UTF-8, if the name is valid UTF-8; the bytes as they are,
if the archive was made on Unix; and the character set of DOS.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from encodings.aliases import aliases

from resop.archives.safe_names import display_name
from resop.archives.zip_directory import UTF8_NAME, ZipRecord, invalid_zip

UNIX_HOSTS = (3, 16, 19)
"""Unix, BeOS and macOS."""
DOS_HOSTS = (0, 6, 10, 11, 14)
"""FAT, HPFS, NTFS (as PKWARE and as Info-ZIP count) and VFAT."""
_DOS_CHARSET = "cp437"
_UNICODE_PATH = 0x7075
_ASCII = bytes(range(128))
_KNOWN_CHARSETS = {*aliases, *aliases.values()}


def check_charset(name: str) -> str:
    """Return the name of a character set. Raises ValueError unless it is one that extends ASCII."""
    if name.lower().replace("-", "_") in _KNOWN_CHARSETS:
        with contextlib.suppress(LookupError, ValueError):
            if _ASCII.decode(name) == _ASCII.decode("ascii"):
                return name
    raise ValueError("must be a character set that extends ASCII, such as shift_jis, gbk or cp850")


def entry_name(record: ZipRecord, charset: str | None = None) -> bytes:
    """Return the name of an entry as the cluster stores it: UTF-8, or the bytes of a Unix system.

    `charset` is that of names without a hint. Raises InvalidOptions for a name that is not in it.
    """
    name = _decoded_name(record, charset)
    # Old versions of .NET and PowerShell separate folders as Windows does.
    if record.host in DOS_HOSTS and b"/" not in name:
        name = name.replace(b"\\", b"/")
    return name


def _decoded_name(record: ZipRecord, charset: str | None) -> bytes:
    raw = record.raw_name
    if unicode_path := _unicode_path(record):
        return unicode_path
    if raw.isascii() or (record.flags & UTF8_NAME and _is_utf8(raw)):
        return raw
    if charset is not None:
        try:
            return raw.decode(charset).encode()
        except ValueError:
            raise invalid_zip(f"a name is not valid {charset}: {display_name(raw)}") from None
    if _is_utf8(raw) or record.host in UNIX_HOSTS:
        return raw
    return raw.decode(_DOS_CHARSET).encode()


def _unicode_path(record: ZipRecord) -> bytes | None:
    """Return the name in the Unicode Path field, if that belongs to the name in the header."""
    field = record.extra.get(_UNICODE_PATH, b"")
    if len(field) <= 5 or field[0] != 1 or not _is_utf8(field[5:]):
        return None
    crc: int = struct.unpack_from("<L", field, 1)[0]
    return field[5:] if crc == zlib.crc32(record.raw_name) else None


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except ValueError:
        return False
    return True
