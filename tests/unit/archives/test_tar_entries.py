"""Tar archives as other programs make them: formats, kinds of entries, sparse files."""

from __future__ import annotations

import stat
import tarfile

import pytest

from resop.archives.entry import TreeEntry
from resop.archives.sparse import MAX_EXTENTS
from resop.archives.validation import check_archive
from resop.errors import BodyTruncated, InvalidOptions, ResopError, UnsupportedBody
from tests.support.archives import (
    TAR_END,
    patch_header,
    pax_header,
    pax_records,
    read_tar,
    tar_block,
)

FILE = tar_block(content=b"content")


def entry_of(archive: bytes) -> TreeEntry:
    [(entry, _)] = read_tar(archive + TAR_END)
    return entry


def test_headers_of_all_formats_are_read() -> None:
    atime = b"14371261022\0" * 2
    star = b"\0" + b"14371261022 " * 2 + bytes(8) + b"tar\0"
    cases = [
        (patch_header(FILE, at_257=bytes(8)), b"x"),  # V7
        (patch_header(FILE, at_257=bytes(8), at_345=b"garbage"), b"x"),
        (patch_header(FILE, at_345=atime), b"x"),  # GNU, made with --incremental
        (patch_header(FILE, at_257=b"ustar\x0000", at_345=b"folder"), b"folder/x"),
        (patch_header(FILE, at_257=b"ustar\x0000", at_345=b"folder", at_475=star), b"folder/x"),
        (patch_header(FILE, at_108=b"        ", at_116=b"no \xff\0", at_329=b"?"), b"x"),
        (pax_header(path="日".encode()) + FILE, "日".encode()),
        (tar_block(tarfile.SOLARIS_XHDTYPE, b"10 path=y\n") + FILE, b"y"),
        (tar_block(tarfile.XGLTYPE, b"10 path=y\n", "pax_global_header") + FILE, b"x"),
        (tar_block(b"V", name="a label") + FILE, b"x"),
        (tar_block(b"A", b"user::rwx") + FILE, b"x"),  # Solaris's ACLs
    ]
    for archive, name in cases:
        [(entry, content)] = read_tar(archive + TAR_END)
        assert (entry.name, content) == (name, b"content"), archive[:512]


def test_numbers_are_octal_or_of_base_256() -> None:
    def modified(field: bytes) -> int:
        return entry_of(patch_header(FILE, at_136=field)).modified

    assert modified(b"     17     ") == 15
    assert modified(b"00000000017\0") == 15
    assert modified(bytes(12)) == 0
    assert modified(b"\x80" + bytes(6) + (1 << 33).to_bytes(5, "big")) == 1 << 33
    assert modified((-86_400).to_bytes(12, "big", signed=True)) == -86_400
    assert entry_of(pax_header(mtime=b"-1.5") + FILE).modified == -1
    size = b"\x80" + (7).to_bytes(11, "big")
    assert entry_of(patch_header(FILE, at_124=size)).size == 7
    for field in (b"8888888\0", b"x", b"\xff" * 12):
        with pytest.raises(InvalidOptions, match="an invalid header: x"):
            entry_of(patch_header(FILE, at_124=field))


def test_kinds_of_entries_are_those_of_tar() -> None:
    listing = b"Yx\0Ny\0\0"
    folders = [
        tar_block(tarfile.DIRTYPE, name="d/"),
        tar_block(name="d/"),  # V7
        patch_header(tar_block(name="d/"), at_156=b"\0"),
        tar_block(b"D", listing, "d/"),  # GNU, made with --incremental
        patch_header(tar_block(tarfile.DIRTYPE, name="d/"), at_124=b"00000010000\0"),
    ]
    for folder in folders:
        [(entry, _), (file, content)] = read_tar(folder + FILE + TAR_END)
        assert (entry.name, entry.kind, entry.size) == (b"d", stat.S_IFDIR, 0), folder
        assert (file.name, content) == (b"x", b"content")
    link = tar_block(tarfile.LNKTYPE, name="h", target="x")
    with_size = patch_header(link, at_124=b"00000000007\0")
    for after in (with_size, with_size + b"content" + bytes(505)):  # the latter by pax
        for last in (b"", FILE):
            entries = [entry for entry, _ in read_tar(FILE + after + last + TAR_END)]
            hard_link = entries[1]
            assert (hard_link.kind, hard_link.size, hard_link.target) == (0, 0, b"x")
            assert len(entries) == 2 + bool(last)
    kinds = {
        tarfile.CHRTYPE: "a character device: dev/x",
        tarfile.BLKTYPE: "a block device: dev/x",
        tarfile.FIFOTYPE: "a named pipe: dev/x",
        b"M": "from an earlier volume",
        b"Z": "the unknown type b'Z': dev/x",
    }
    for kind, words in kinds.items():
        with pytest.raises(InvalidOptions, match=f"contains .*{words}"):
            read_tar(tar_block(kind, name="dev/x") + TAR_END)


def test_what_follows_the_end_is_ignored_and_what_lacks_is_missed() -> None:
    assert read_tar(TAR_END) == []
    assert len(read_tar(FILE + TAR_END + b"garbage")) == 1
    assert len(read_tar(FILE + TAR_END + FILE + TAR_END)) == 1  # as tar without --ignore-zeros
    assert len(read_tar(FILE + bytes(512))) == 1
    assert len(read_tar(tar_block(name="PKGBUILD") + TAR_END)) == 1
    assert len(read_tar(tar_block(name="BZh9") + TAR_END)) == 1
    for archive in (FILE, FILE[:-1], FILE[:600], FILE + bytes(511)):
        with pytest.raises(BodyTruncated):
            read_tar(archive)
    with pytest.raises(InvalidOptions, match="is damaged"):
        read_tar(FILE + b"\1" * 512 + TAR_END)


def old_gnu(*parts: tuple[int, int], size: int, content: bytes, more: bytes = b"") -> bytes:
    """Build a sparse file in the old format: four parts in the header, others in blocks."""
    fields = b"".join(b"%011o\0%011o\0" % part for part in parts[:4]).ljust(96, b"\0")
    fields += bytes([bool(parts[4:])]) + b"%011o\0" % size
    block = patch_header(tar_block(b"S", content), at_386=fields)
    others = b"".join(b"%011o\0%011o\0" % part for part in parts[4:])
    extension = (others.ljust(512, b"\0") if others else b"") + more
    return block[:512] + extension + block[512:]


def listed(*numbers: int) -> bytes:
    text = b"".join(b"%d\n" % number for number in numbers)
    return text.ljust(-(-len(text) // 512) * 512, b"\0")


def version(major: int, **others: bytes) -> bytes:
    return pax_records(
        *((f"GNU.sparse.{name}".encode(), value) for name, value in others.items()),
        (b"GNU.sparse.major", b"%d" % major),
        (b"GNU.sparse.minor", b"0"),
    )


def test_sparse_files_have_zeros_for_their_holes() -> None:
    whole = b"ab" + bytes(98) + b"cd" + bytes(98)
    parts = [(0, 2), (100, 2), (200, 0)]
    many = [(10 * number, 1) for number in range(20)]
    numbers = [number for part in parts for number in part]
    pairs = [
        (b"GNU.sparse." + name, b"%d" % number)
        for part in parts
        for name, number in zip((b"offset", b"numbytes"), part, strict=True)
    ]
    stored = tar_block(content=b"abcd", name="GNUSparseFile.0/x")
    name = {"name": b"x"}
    archives = [
        old_gnu(*parts, size=200, content=b"abcd"),
        pax_records((b"GNU.sparse.size", b"200"), *pairs) + tar_block(content=b"abcd"),
        version(0, size=b"200", map=b"0,2,100,2,200,0", **name) + stored,
        version(1, realsize=b"200", **name) + tar_block(content=listed(3, *numbers) + b"abcd"),
    ]
    archives.append(pax_records((b"size", b"200")) + archives[-1])  # bsdtar of macOS
    for archive in archives:
        [(entry, content), (after, _)] = read_tar(archive + FILE + TAR_END)
        assert (entry.name, entry.size, content) == (b"x", 200, whole)
        assert after.size == 7
    [(entry, content)] = read_tar(old_gnu(*many, size=300, content=b"x" * 20) + TAR_END)
    assert content == (b"x" + bytes(9)) * 20 + bytes(100)
    [(entry, content)] = read_tar(version(0, size=b"9", map=b"") + tar_block() + TAR_END)
    assert content == bytes(9)


def test_invalid_lists_of_parts_are_refused_early() -> None:
    def mapped(text: bytes, size: bytes = b"10", content: bytes = b"ab") -> bytes:
        return pax_header(GNU_sparse_size=size, GNU_sparse_map=text) + tar_block(content=content)

    def before(content: bytes) -> bytes:
        return version(1, realsize=b"10") + tar_block(content=content)

    invalid = [
        mapped(b"0,1,1"),
        mapped(b"0,1"),
        mapped(b"0,2,1,1", content=b"abc"),
        mapped(b"5,1,0,1"),
        mapped(b"9,2"),
        mapped(b"0,2,-1,0"),
        mapped(b"0,2", size=b"9" * 19),
        mapped(b"0,2", size=b"9" * 30),
        mapped(b",".join([b"1"] * 2 * (MAX_EXTENTS + 1))),
        old_gnu((0, 1), (5, 3), size=7, content=b"abcd"),
        old_gnu((0, 9), size=7, content=b"abcd"),
        old_gnu(*[(0, 0)] * 5, size=7, content=b"", more=(b"\0" * 504 + b"\1" + bytes(7)) * 3),
        before(listed(1, 0)),
        before(listed(10**15)),
        before(b"x" * 512),
        before(b"1" * 512),
        before(b"1\n" + b"9" * 60_000),
        version(2, realsize=b"10") + tar_block(content=b"ab"),
        pax_header(SUN_holesdata=b" 0 5 10") + FILE,
    ]
    for archive in invalid:
        with pytest.raises(InvalidOptions, match=r"invalid|Solaris|is damaged"):
            read_tar(archive + TAR_END)


def test_other_formats_are_named() -> None:
    named = {
        "7-Zip": b"7z\xbc\xaf\x27\x1c\0\4",
        "RAR": b"Rar!\x1a\x07\1\0",
        "lz4": b"\x04\x22\x4d\x18",
        "compress": b"\x1f\x9d\x90",
        "lzip": b"LZIP\1",
        "lzop": b"\x89LZO\0\r\n\x1a\n",
        "cpio": b"070701",
        "ar ": b"!<arch>\ndebian-binary",
        "RPM": b"\xed\xab\xee\xdb",
        "LHA": b"\x21\xc6-lh5-",
        "format zip": b"PK\3\4",
    }
    for name, signature in named.items():
        for filling in (b"", bytes(2000)):
            with pytest.raises(UnsupportedBody, match=f"{name}.*: send a tar archive, plain or"):
                read_tar(signature + filling)
    disk_image = bytes(32_769) + b"CD001"
    for content, message in (
        *((b"", "is empty"), (b"{}", "not a tar"), (b"x" * 999, "not a tar")),
        (disk_image, "not a tar"),
    ):
        with pytest.raises(InvalidOptions, match=message):
            read_tar(content)
    with pytest.raises(InvalidOptions) as refused:
        check_archive(b"Rar!\x1a\x07" + bytes(600))
    assert refused.value.details["faults"][0]["field"] == "content"


def test_no_error_of_an_archive_invites_to_try_again() -> None:
    for content in (b"", b"7z\xbc\xaf\x27\x1c", b"x" * 999, FILE):
        with pytest.raises(ResopError) as refused:
            read_tar(content)
        assert not refused.value.retryable
