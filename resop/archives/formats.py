"""Recognize what an uploaded file is by its first bytes, to name it in an error message."""

from __future__ import annotations

from resop.errors import UnsupportedBody

SUPPORTED = "a tar archive, plain or compressed with gzip, bzip2, xz, lzma or zstd"
_SIGNATURES = (
    (b"PK\3\4", "zip"),
    (b"PK\5\6", "zip"),
    (b"PK\7\10", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x1f\x9d", "compress (.Z)"),
    (b"\x1f\xa0", "compress (.Z)"),
    (b"\x1f\x1e", "pack (.z)"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"LZIP", "lzip"),
    (b"\x89LZO\0\r\n\x1a\n", "lzop"),
    (b"LRZI", "lrzip"),
    (b"\xff\x06\0\0sNaPpY", "Snappy"),
    (b"070701", "cpio"),
    (b"070702", "cpio"),
    (b"070707", "cpio"),
    (b"\xc7\x71", "cpio"),
    (b"\x71\xc7", "cpio"),
    (b"!<arch>\n", "ar (such as .deb or .a)"),
    (b"\xed\xab\xee\xdb", "RPM"),
    (b"xar!", "xar"),
    (b"MSCF", "Cabinet"),
    (b"hsqs", "SquashFS"),
    (b"\x60\xea", "ARJ"),
    (b"**ACE**", "ACE"),
    (b"ITSF", "CHM"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"%PDF-", "PDF"),
)


def format_name(head: bytes) -> str | None:
    """Return the name of the format of a file that begins with `head`, if it is a known one."""
    if head[2:5] == b"-lh" and head[6:7] == b"-":
        return "LHA"
    return next((name for signature, name in _SIGNATURES if head.startswith(signature)), None)


def unsupported_format(name: str) -> UnsupportedBody:
    """Return the error for a file in another format than tar or zip."""
    return UnsupportedBody(
        f"this is a file in the format {name}, which cannot be unpacked here: send {SUPPORTED}, "
        "or (to /folders) a zip archive",
        format=name,
    )
