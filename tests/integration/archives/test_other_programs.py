"""Archives that other programs make are read as unzip, GNU tar and bsdtar unpack them."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from resop.archives.entry import TreeEntry
from resop.errors import InvalidOptions
from tests.support.archives import ZipEntry, build_zip, extra_field, read_tar, read_zip
from tests.support.needs import need

PROGRAMS = ("tar", "bsdtar", "zip", "unzip", "xz", "zstd", "bzip2")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
need(f"needs {', '.join(MISSING)}: see scripts/packages" if MISSING else None)

ENVIRONMENT = {"PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C.UTF-8"}
TREE = """set -e; mkdir -p a/b a/empty a/日本
echo x >a/b/x; echo 1 >a/日本/ü; printf %0200000d 7 >a/long; : >a/none; chmod 400 a/b/x
ln -s ../long a/b/link; chmod 750 a/b
truncate -s 3000000 a/holes; for at in 0 700 1400 2100 2800 2900; do
printf data | dd of=a/holes bs=1000 seek=$at conv=notrunc status=none; done
find a ! -type l -exec touch -d 2001-02-03T04:05:06 {} +; touch -d 2050-01-01 a/none
"""
Tree = dict[str, tuple[Any, ...]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    run("sh", "-c", TREE, cwd=folder)
    return folder


def run(*command: str, cwd: Path, **environment: str) -> bytes:
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT | environment, capture_output=True, check=False
    )
    assert not done.returncode, (command, done.stderr)
    return done.stdout


def tree(folder: Path, exact_times: bool = True) -> Tree:
    """Return what a folder contains, as `tree_of` does for an archive."""
    return {
        os.fsencode(path.relative_to(folder)).decode("utf-8", "replace"): described(
            path.lstat().st_mode,
            int(path.lstat().st_mtime) if exact_times else 0,
            path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes(),
        )
        for path in folder.rglob("*")
    }


def tree_of(entries: Iterable[tuple[TreeEntry, bytes]], exact_times: bool = True) -> Tree:
    found = {}
    for entry, content in entries:
        if entry.name:
            found[entry.name.decode("utf-8", "replace")] = described(
                entry.kind | entry.mode,
                entry.modified if exact_times else 0,
                Path(os.fsdecode(entry.target))
                if entry.target
                else stat.S_ISREG(entry.kind) and content,
            )
    return found


def described(mode: int, modified: int, content: object) -> tuple[Any, ...]:
    if stat.S_ISLNK(mode):
        return "link", content
    if stat.S_ISDIR(mode):
        return "folder", stat.S_IMODE(mode), modified
    return "file", stat.S_IMODE(mode), modified, content


TAR = ("tar", "c", "-C", "a", ".")
SPARSE = (*TAR, "--sparse")
TARS = {
    "V7": (*TAR, "--format=v7"),
    "old GNU": (*TAR, "--format=oldgnu"),
    "ustar": (*TAR, "--format=ustar"),
    "pax": (*TAR, "--format=pax"),
    "sparse": (*SPARSE, "--format=gnu"),
    "sparse 0.0": (*SPARSE, "--format=pax", "--sparse-version=0.0"),
    "sparse 0.1": (*SPARSE, "--format=pax", "--sparse-version=0.1"),
    "sparse 1.0": (*SPARSE, "--format=pax", "--sparse-version=1.0"),
    "with a label": (*TAR, "--label=a label"),
    "with a label, pax": (*TAR, "--label=a label", "--format=pax"),
    "incremental": (*TAR, "--listed-incremental=1.snar"),
    "incremental, pax": (*TAR, "--listed-incremental=2.snar", "--format=pax"),
    "bsdtar": ("bsdtar", "c", "-C", "a", "."),
    "bsdtar, sparse": ("bsdtar", "c", "--format=pax", "--read-sparse", "-C", "a", "."),
    "bsdtar, ustar": ("bsdtar", "c", "--format=ustar", "-C", "a", "."),
    "bsdtar, V7": ("bsdtar", "c", "--format=v7tar", "-C", "a", "."),
    "gzip": (*TAR, "--gzip"),
    "bzip2": (*TAR, "--bzip2"),
    "xz": (*TAR, "--xz"),
    "xz -9": (*TAR, "--use-compress-program=xz -9"),
    "lzma": (*TAR, "--lzma"),
    "zstd": (*TAR, "--zstd"),
    "zstd --long": (*TAR, "--use-compress-program=zstd --long --ultra -20 -T1"),
    "zstd with a checksum": (*TAR, "--use-compress-program=zstd --check -1"),
}


def test_tar_archives_are_read_as_they_were_made(folder: Path) -> None:
    expected = tree(folder / "a")
    for name, command in TARS.items():
        assert tree_of(read_tar(run(*command, cwd=folder))) == expected, name
    for archive, added in (("1.tar", "b"), ("2.tar", "日本")):
        run("tar", "cf", archive, "-C", "a", added, cwd=folder)
    run("tar", "Af", "1.tar", "2.tar", cwd=folder)  # concatenated
    names = set(tree_of(read_tar((folder / "1.tar").read_bytes())))
    assert names == {"b", "b/x", "b/link", "日本", "日本/ü"}


def test_volumes_of_a_tar_archive_are_named(folder: Path) -> None:
    for form in ("gnu", "pax"):
        volumes = ["--tape-length=100K", *(f"--file={form}{number}.tar" for number in range(3))]
        run("tar", "c", "--multi-volume", f"--format={form}", *volumes, "a/long", cwd=folder)
        with pytest.raises(InvalidOptions, match="the rest of a file from an earlier volume"):
            read_tar((folder / f"{form}1.tar").read_bytes())


def zip_with(*options: str, locale: str = "C.UTF-8") -> tuple[str, ...]:
    make = f"LC_ALL={locale} zip -qry {' '.join(options)} ../made.zip ."
    return ("sh", "-c", f"set -e; cd a; {make}; cat ../made.zip; rm ../made.zip")


ZIPS = {
    "Info-ZIP": zip_with(),
    "Info-ZIP in the locale C": zip_with(locale="C"),
    "Info-ZIP, stored": zip_with("-0"),
    "Info-ZIP, bzip2": zip_with("-Z", "bzip2"),
    "bsdtar": ("bsdtar", "c", "--format=zip", "-C", "a", "."),
    "bsdtar, stored": (
        "bsdtar",
        "c",
        "--format=zip",
        "--options=compression=store",
        "-C",
        "a",
        ".",
    ),
}


def test_zip_archives_are_read_as_they_were_made(folder: Path, tmp_path: Path) -> None:
    expected = tree(folder / "a")
    for name, command in ZIPS.items():
        assert tree_of(read_zip(run(*command, cwd=folder)).values()) == expected, name
    streamed = run("sh", "-c", "zip -qr - holes long 日本 | cat", cwd=folder / "a")
    assert b"PK\7\10" in streamed  # the sizes follow the content
    assert tree_of(read_zip(streamed).values()).items() < expected.items()
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
            for path in (folder / "a").rglob("*"):
                if not path.is_symlink():
                    archive.write(path, path.relative_to(folder / "a"))
        found = tree_of(read_zip((tmp_path / "x.zip").read_bytes()).values())
        assert found == {name: entry for name, entry in expected.items() if "link" not in entry}
    run("zip", "-qs", "64k", "-0", "split.zip", "a/long", cwd=folder)
    run("zip", "-qP", "secret", "encrypted.zip", "a/long", cwd=folder)
    for name, message in {
        "split.zip": "join the parts",
        "split.z01": "part of a split archive",
        "encrypted.zip": "a/long is encrypted",
    }.items():
        with pytest.raises(InvalidOptions, match=message):
            read_zip((folder / name).read_bytes())


def test_unusual_zip_entries_are_read_as_unzip_unpacks_them(tmp_path: Path) -> None:
    path = struct.pack("<BL", 1, zlib.crc32(b"\x93\xfa")) + "日".encode()
    path_field = extra_field(0x7075, path)
    time_field = extra_field(0x5455, struct.pack("<BL", 1, 981_173_107))
    day = 21 << 9 | 2 << 5 | 3
    entries = [
        ZipEntry("日本".encode(), flags=0x800, host=3, mode=0o100644, date=day),
        ZipEntry("ü".encode(), host=3, mode=0o100604, date=day),
        ZipEntry(b"\x93\xfa", extra=path_field, local_extra=path_field, date=day),
        ZipEntry(b"d\\e\\f", date=day),
        ZipEntry(b"g\\h", host=3, mode=0o100604, date=day),
        ZipEntry(b"zero", date=0),
        ZipEntry(b"february", date=21 << 9 | 2 << 5 | 31, time=4 << 11),
        ZipEntry(b"second", date=day, time=31),
        ZipEntry(b"timestamp", date=day, extra=time_field, local_extra=time_field),
        ZipEntry(b"unix/", b"", host=3, mode=0o040710, date=day),
        ZipEntry(b"unix/file", host=3, mode=0o100640, date=day),
        ZipEntry(b"unix/none", host=3, mode=0o100000, date=day),
        ZipEntry(b"descriptor", flags=8, descriptor=b"PK\7\10" + bytes(12), date=day),
        ZipEntry(b"other name", local_name=b"another", date=day),
    ]
    archive = build_zip(*entries, prefix=b"MZ" + bytes(100), comment=b"a comment")
    (tmp_path / "x.zip").write_bytes(archive)
    shutil.rmtree(tmp_path / "to", ignore_errors=True)
    subprocess.run(
        ["sh", "-c", "umask 022; exec unzip -q -d to x.zip"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
    )  # it warns of some
    by_unzip, by_us = tree(tmp_path / "to"), tree_of(read_zip(archive).values())
    assert {name: entry for name, entry in by_unzip.items() if name in by_us} == by_us
    assert len(by_us) == len(entries)
