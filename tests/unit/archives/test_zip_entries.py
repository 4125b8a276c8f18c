"""Zip archives as other programs make them: names, times, kinds, and what is compressed how."""

from __future__ import annotations

import bz2
import calendar
import lzma
import stat
import struct
import zlib

import pytest

from resop.archives.zip_names import check_charset
from resop.errors import InvalidOptions
from tests.support.archives import ZipEntry, build_zip, extra_field, read_zip

JAPANESE = "日本.txt"
UTF8 = JAPANESE.encode()
SJIS = JAPANESE.encode("shift_jis")
GBK_WITH_BACKSLASH = "陰謀誠".encode("gbk") + "乗".encode("gbk")
UNIX, DARWIN, DOS, NTFS = 3, 19, 0, 10


def unicode_path(raw: bytes, name: bytes, version: int = 1) -> bytes:
    return extra_field(0x7075, struct.pack("<BL", version, zlib.crc32(raw)) + name)


def name_of(entry: ZipEntry, charset: str | None = None) -> bytes:
    [name] = read_zip(build_zip(entry), charset)
    return name


def test_name_is_decoded_by_what_the_archive_tells_of_it() -> None:
    nfd = "ü".encode().replace(b"\xc3\xbc", b"u\xcc\x88")
    cases = [
        (ZipEntry(UTF8, flags=0x800), UTF8),
        (ZipEntry(UTF8, host=UNIX), UTF8),  # Info-ZIP where the locale is C or C.UTF-8
        (ZipEntry(UTF8, host=DOS), UTF8),  # Java 6
        (ZipEntry(nfd, host=DARWIN), nfd),  # macOS
        (ZipEntry(b"\x81", host=DOS), "ü".encode()),  # PKZIP
        (ZipEntry(b"\x81", host=NTFS), "ü".encode()),
        (ZipEntry(b"\xfc", host=UNIX), b"\xfc"),  # Latin-1 on Unix
        (ZipEntry(b"\x81", flags=0x800), "ü".encode()),  # the flag is wrong
        (ZipEntry(SJIS, extra=unicode_path(SJIS, UTF8)), UTF8),  # Info-ZIP, WinRAR
        (ZipEntry(b"#U65e5", extra=unicode_path(b"#U65e5", UTF8)), UTF8),
        (ZipEntry(b"\x81", extra=unicode_path(b"other", UTF8)), "ü".encode()),  # renamed later
        (ZipEntry(b"\x81", extra=unicode_path(b"\x81", b"\xff")), "ü".encode()),
        (ZipEntry(b"\x81", extra=unicode_path(b"\x81", UTF8, 2)), "ü".encode()),
        (ZipEntry(b"a", local_name=b"b"), b"a"),  # unzip goes by the directory, too
    ]
    for entry, name in cases:
        assert name_of(entry) == name, entry


def test_charset_is_that_of_names_without_a_hint() -> None:
    assert name_of(ZipEntry(SJIS), "Shift_JIS") == UTF8
    assert name_of(ZipEntry(SJIS, host=UNIX), "cp932") == UTF8
    assert name_of(ZipEntry("目录".encode("gbk")), "gbk") == "目录".encode()  # is valid UTF-8
    assert name_of(ZipEntry(b"\x84\xe2"), "cp866") == "Дт".encode()
    assert name_of(ZipEntry(UTF8, flags=0x800), "shift_jis") == UTF8
    assert name_of(ZipEntry(SJIS, extra=unicode_path(SJIS, UTF8)), "gbk") == UTF8
    # The second byte of this character is a backslash, which separates nothing.
    assert name_of(ZipEntry("a\\ソ".encode("cp932")), "cp932") == "a/ソ".encode()
    with pytest.raises(InvalidOptions, match="not valid gbk"):
        name_of(ZipEntry(b"\x80\xff"), "gbk")
    for name in ("shift_jis", "GBK", "gb18030", "Big5", "EUC-KR", "cp850", "iso-8859-1", "utf-8"):
        assert check_charset(name) == name
    for name in ("utf-16", "utf-7", "hex", "rot13", "idna", "no", "", "cp037", "unicode_escape"):
        with pytest.raises(ValueError, match="extends ASCII"):
            check_charset(name)


def test_backslashes_of_windows_separate_folders() -> None:
    cases = [
        (ZipEntry(b"d\\e\\f", host=DOS), b"d/e/f"),
        (ZipEntry(b"d\\f", host=NTFS, flags=0x800), b"d/f"),
        (ZipEntry(b"d/e\\f", host=DOS), b"d/e\\f"),
        (ZipEntry(b"d\\f", host=UNIX), b"d\\f"),
    ]
    for entry, name in cases:
        assert name_of(entry) == name, entry
    [folder] = read_zip(build_zip(ZipEntry(b"d\\", b""))).values()
    assert (folder[0].name, folder[0].kind) == (b"d", stat.S_IFDIR)
    with pytest.raises(InvalidOptions, match="leads out of the folder"):
        read_zip(build_zip(ZipEntry(b"..\\x")))


def test_folders_and_modes_are_those_of_unzip() -> None:
    cases = [
        (ZipEntry(b"d/", b""), stat.S_IFDIR, 0o755),
        (ZipEntry(b"d/", b"", host=UNIX, mode=0o100600), stat.S_IFDIR, 0o600),
        (ZipEntry(b"d", b"", attributes=0x10), stat.S_IFDIR, 0o755),  # without a slash
        (ZipEntry(b"d", b"", mode=0o040700), stat.S_IFDIR, 0o700),
        (ZipEntry(b"f", attributes=0x20), stat.S_IFREG, 0o644),
        (ZipEntry(b"f", host=UNIX, mode=0o100000), stat.S_IFREG, 0),
        (ZipEntry(b"f", host=UNIX, mode=0o640), stat.S_IFREG, 0o640),
        (ZipEntry(b"l", b"to", host=UNIX, mode=0o120777), stat.S_IFLNK, 0o777),
    ]
    for stored, kind, mode in cases:
        [(entry, _)] = read_zip(build_zip(stored)).values()
        assert (entry.kind, entry.mode) == (kind, mode), stored
    kinds = {0o010644: "a named pipe", 0o020644: "a character device", 0o060644: "a block device"}
    for mode, words in {**kinds, 0o140644: "a socket"}.items():
        with pytest.raises(InvalidOptions, match=f"contains {words}: dev/x"):
            read_zip(build_zip(ZipEntry(b"dev/x", host=UNIX, mode=mode)))


def timestamp(seconds: int) -> bytes:
    return extra_field(0x5455, struct.pack("<BL", 1, seconds & 0xFFFFFFFF))


def test_time_is_the_most_exact_one_that_the_archive_has() -> None:
    def dos(
        year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0
    ) -> dict[str, int]:
        date = (year - 1980) << 9 | month << 5 | day
        return {"date": date, "time": hour << 11 | minute << 5 | second // 2}

    def utc(*parts: int) -> int:
        return calendar.timegm((*parts, 0, 0, 0)[:6])

    ntfs = struct.pack("<L2H3Q", 0, 1, 24, (981_173_107 + 11_644_473_600) * 10**7, 0, 0)
    other_tag = struct.pack("<L2HL", 0, 7, 4, 0) + ntfs[4:]
    old_unix = struct.pack("<2l", 5, 981_173_109)
    day = dos(2001, 2, 3, 4, 5, 6)
    cases = [
        ({"date": 0, "time": 0}, utc(1979, 12, 31)),
        (dos(2001, 2, 31), utc(2001, 3, 3)),
        (dos(2001, 0, 1), utc(2001, 1, 1)),
        (dos(2001, 13, 1), utc(2002, 1, 1)),
        (dos(2001, 5, 0), utc(2001, 4, 30)),
        (dos(2001, 1, 1, 24, 60, 62), utc(2001, 1, 2, 1, 1, 2)),
        ({"date": 0xFFFF, "time": 0xFFFF}, utc(2108, 4, 1, 8, 4, 2)),
        (day, 981_173_106),
        (day | {"extra": timestamp(981_173_107)}, 981_173_107),
        (day | {"local_extra": timestamp(981_173_107)}, 981_173_107),
        (day | {"extra": timestamp(5), "local_extra": timestamp(6)}, 5),
        (day | {"extra": extra_field(0x5455, b"\0")}, 981_173_106),  # only other times
        (day | {"extra": extra_field(0x5455, b"\1\0")}, 981_173_106),
        (day | {"extra": timestamp(-5)}, -5),
        (dos(2050, 1, 1) | {"extra": timestamp(utc(2050, 1, 1))}, utc(2050, 1, 1)),
        (day | {"extra": extra_field(0x000A, ntfs)}, 981_173_107),
        (day | {"extra": extra_field(0x000A, other_tag)}, 981_173_107),
        (day | {"extra": extra_field(0x000A, ntfs[:14])}, 981_173_106),
        (day | {"extra": extra_field(0x000A, bytes(4) + ntfs[4:8] + bytes(24))}, 981_173_106),
        (day | {"extra": extra_field(0x5855, old_unix)}, 981_173_109),
        (day | {"extra": extra_field(0x000D, old_unix)}, 981_173_109),
        (day | {"extra": extra_field(0x5855, old_unix) + timestamp(7)}, 7),
        (day | {"extra": bytes(3) + b"\xff"}, 981_173_106),  # zipalign fills up with zeros
        (day | {"extra": bytes(8) + timestamp(7) + bytes(2)}, 7),
        (day | {"extra": struct.pack("<2H", 0x5455, 900)}, 981_173_106),
    ]
    for fields, modified in cases:
        [(entry, _)] = read_zip(build_zip(ZipEntry(b"x", **fields))).values()  # type: ignore[arg-type]
        assert entry.modified == modified, fields


def zip_lzma(content: bytes, end_marker: bool) -> bytes:
    """Compress as method 14: without the header of an .lzma file, and with one of its own."""
    alone = lzma.compress(content, lzma.FORMAT_ALONE)
    stored = struct.pack("<2H", 0x0509, 5) + alone[:5] + alone[13:]
    return stored if end_marker else stored[:-6]


def deflate(content: bytes) -> bytes:
    return zlib.compress(content, wbits=-15)


def test_content_is_read_however_it_is_compressed() -> None:
    plain = b"content " * 40_000
    stored = [
        ZipEntry(b"stored", plain),
        ZipEntry(b"streamed", plain, flags=8, descriptor=b"PK\7\10" + bytes(12)),
        ZipEntry(b"deflate", deflate(plain), plain, 8),
        ZipEntry(b"deflate, streamed", deflate(plain), plain, 8, flags=8, descriptor=bytes(12)),
        ZipEntry(b"bzip2", bz2.compress(plain), plain, 12),
        ZipEntry(b"lzma", zip_lzma(plain, True), plain, 14, flags=2),
        ZipEntry(b"xz", lzma.compress(plain), plain, 95),
        ZipEntry(b"empty", b"", method=8),
        ZipEntry(b"deflated emptiness", deflate(b""), b"", 8),
    ]
    for prefix, comment in ((b"", b""), (b"MZ" + bytes(3000), b"c PK\5\6 " + bytes(50))):
        found = read_zip(build_zip(*stored, prefix=prefix, comment=comment))
        assert {name: content for name, (_, content) in found.items()} == {
            each.name: each.content if each.plain is None else each.plain for each in stored
        }


def listed_twice(archive: bytes) -> bytes:
    """Return an archive whose directory lists the content of its only entry once more."""
    start = archive.index(b"PK\1\2")
    directory = 2 * archive[start:-22]
    return (
        archive[:start]
        + directory
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, len(directory), start, 0)
    )


def test_what_cannot_be_read_is_named() -> None:
    one = build_zip(ZipEntry(b"x", b"content" * 9))
    compressed = ZipEntry(b"x", deflate(b"content" * 9), b"content" * 9, 8)
    cases = {
        "x is encrypted": build_zip(ZipEntry(b"x", flags=1)),
        "y is encrypted": build_zip(ZipEntry(b"y", method=99, flags=1)),
        "z is encrypted": build_zip(ZipEntry(b"z", flags=0x40)),
        "compressed with deflate64": build_zip(ZipEntry(b"x", method=9)),
        "compressed with PPMd": build_zip(ZipEntry(b"x", method=98)),
        "compressed with implode": build_zip(ZipEntry(b"x", method=6)),
        "the unknown method 77": build_zip(ZipEntry(b"x", method=77)),
        "one part of a split archive: join": b"PK\7\10" + one[4:-22],
        "part of a split archive$": one[:-22],
        "split archive: join the parts": one[:-18] + b"\2\0" + one[-16:],
        "x is damaged": one.replace(b"content", b"CONTENT"),
        "NUL byte": build_zip(ZipEntry(b"a\0b")),
        "ends early": build_zip(ZipEntry(b"x", compressed.content[:-4], b"content" * 9, 8)),
        "not valid deflate": build_zip(ZipEntry(b"x", b"\xff" * 9, b"c", 8)),
        "LZMA content is damaged": build_zip(ZipEntry(b"x", b"\0\0\7\0" * 9, b"c", 14)),
        "its directory is damaged": one.replace(b"PK\3\4", b"PK\3\5"),
        "not where its end says": one[60:],
        "a program without a zip archive": b"#!/bin/sh\necho\n",
        "entries overlap": listed_twice(build_zip(ZipEntry(b"x", b"c" * 999))),
    }
    for message, archive in cases.items():
        with pytest.raises(InvalidOptions, match=message):
            read_zip(archive)
