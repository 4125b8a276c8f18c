"""Find out when a zip archive's entry was changed: DOS time, or the time of Unix or NTFS beside it.

The extra fields are described in PKWARE's APPNOTE.TXT, section 4.5, and in Info-ZIP's extrafld.txt.
"""

from __future__ import annotations

import calendar
import struct
from collections.abc import Mapping

EXTENDED_TIMESTAMP = 0x5455
_OLD_UNIX, _PKWARE_UNIX, _NTFS = 0x5855, 0x000D, 0x000A
_NTFS_TIMES = 1
_NTFS_EPOCH = 11_644_473_600
"""Seconds from 1601 to 1970."""
_WRAP = 1 << 32


def modified_time(dos_date: int, dos_time: int, *extras: Mapping[int, bytes]) -> int:
    """Return the time in seconds since 1970, from the first extra fields that contain one.

    DOS has no time zone: its time is taken as UTC. A date that does not exist is counted on from
    one that does, as unzip does: February 31 is a day in March.
    """
    from_dos = _from_dos(dos_date, dos_time)
    for extra in extras:
        if (field := extra.get(EXTENDED_TIMESTAMP, b"")) and field[0] & 1 and len(field) >= 5:
            return _nearest(struct.unpack_from("<l", field, 1)[0], from_dos)
    for extra in extras:
        for unix in (_OLD_UNIX, _PKWARE_UNIX):
            if len(field := extra.get(unix, b"")) >= 8:
                return _nearest(struct.unpack_from("<l", field, 4)[0], from_dos)
        if (ntfs := _from_ntfs(extra.get(_NTFS, b""))) is not None:
            return ntfs
    return from_dos


def extended_timestamp(modified: int) -> bytes:
    """Return the extra field with a time, or nothing for a time that does not fit."""
    if not 0 <= modified < _WRAP // 2:
        return b""
    return struct.pack("<HHBl", EXTENDED_TIMESTAMP, 5, 1, modified)


def _from_dos(date: int, time: int) -> int:
    year, month, day = 1980 + (date >> 9), max(1, date >> 5 & 15), date & 31
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    return calendar.timegm((year, month, day, time >> 11, time >> 5 & 63, 2 * (time & 31)))


def _nearest(seconds: int, other: int) -> int:
    """Return a signed time, or the same bits as an unsigned one if that is nearer to the other."""
    if seconds >= 0 or abs(seconds - other) < abs(seconds + _WRAP - other):
        return seconds
    return seconds + _WRAP


def _from_ntfs(field: bytes) -> int | None:
    at = 4
    while at + 4 <= len(field):
        tag, size = struct.unpack_from("<2H", field, at)
        if tag == _NTFS_TIMES and size >= 8 and at + 12 <= len(field):
            ticks: int = struct.unpack_from("<Q", field, at + 4)[0]
            return ticks // 10_000_000 - _NTFS_EPOCH if ticks else None
        at += 4 + size
    return None
