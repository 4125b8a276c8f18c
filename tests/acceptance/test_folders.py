"""Folders as archives through HTTP on a real OpenSSH: exact, and with no effect outside."""

import bz2
import gzip
import io
import lzma
import os
import random
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from backports import zstd

from tests.acceptance.conftest import only_embedded
from tests.acceptance.test_files import NAMES, until
from tests.acceptance.test_files import put as send
from tests.support.archives import ZipEntry
from tests.support.archives import build_zip as zip_entries
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, failure

pytestmark = [only_embedded, pytest.mark.timeout(120)]


@pytest.fixture
def place(ssh: OpenSSH) -> Iterator[Path]:
    """Make alice's folder ~/place and return the host's path of it."""
    folder = ssh.home("alice") / "place"
    folder.mkdir(mode=0o700)
    os.chown(folder, ssh.uid("alice"), ssh.uid("alice"))
    yield folder
    shutil.rmtree(folder)


def build_tar(*members: tarfile.TarInfo | str, form: int = tarfile.GNU_FORMAT) -> bytes:
    """Build a tar archive; a text becomes a file with that name and content."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=form) as tar:
        for each in members:
            info = member(each) if isinstance(each, str) else each
            content = info.name.encode("utf-8", "surrogateescape") if info.isreg() else b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return archive.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> Any:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def put(caller: Caller, path: str, archive: Any, **query: Any) -> httpx.Response:
    return caller.http.put(f"/folders/place/{path}", content=archive, params=query)


def list_tree(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*")}


TREE = """set -e; cd "$1"; mkdir -p a/b a/empty a/.hidden
echo x >a/b/x; chmod 750 a/b; chmod 400 a/b/x
ln -s /etc/passwd a/absolute; ln -s ../.. a/up; ln -s nowhere "a/dangling'"; mkfifo a/pipe
head -c 3000000 /dev/urandom >a/large; head -c 65536 /dev/urandom >a/exact; : >a/none
touch -d 2001-02-03 a/b/x a/.hidden; mkdir -p "a/$(printf '%0200d/%0200d' 1 2)"
for n in $(seq 40); do echo $n >a/.hidden/$n; done
"""
LOOK = """cd "$1"; find . ! -name pipe -printf '%P|%y|%m|%l|%s\\n' | grep -v '|d|.*||' | sort
find . -type f -printf '%P %Ts\\n' | sort; find . -type f -print0 | sort -z | xargs -0 md5sum"""


def shell(script: str, folder: Path) -> bytes:
    return subprocess.run(
        ["sh", "-c", script, "sh", folder], check=True, capture_output=True
    ).stdout


def test_folder_comes_back_as_it_was(alice: Caller, ssh: OpenSSH, place: Path) -> None:
    shell(TREE, place)
    for name in NAMES:
        (place / "a" / os.fsdecode(name)).write_bytes(name)
    owner = ssh.uid("alice")
    for each in [place, *place.rglob("*")]:
        os.chown(each, owner, owner, follow_symlinks=False)
    archive = alice.http.get("/folders/place/a")
    assert archive.headers["content-type"] == "application/x-tar"
    for path, content in (("b", archive.content), ("c", gzip.compress(archive.content))):
        sent = put(alice, path, content)
        assert sent.status_code == 201, sent.text
        assert sent.json()["files"] == 40 + len(NAMES) + 7
        assert shell(LOOK, place / path) == shell(LOOK, place / "a")
        assert (place / path / "b").stat().st_uid == owner
    assert os.listdir(place) and {each.name for each in place.iterdir()} == {"a", "b", "c"}
    by_tar = place / "by-tar"
    by_tar.mkdir()
    subprocess.run(["tar", "xf", "-", "-C", by_tar], input=archive.content, check=True)
    assert shell(LOOK, by_tar) == shell(LOOK, place / "a")


def test_archives_of_other_programs_are_read(alice: Caller, place: Path) -> None:
    shell(TREE + "rm a/pipe; ln a/large a/hard", place)
    for form in ("gnu", "pax", "ustar"):
        if form == "ustar":  # ustar cannot store such names
            shutil.rmtree(next((place / "a").glob("000*")))
            shell('rm -rf "$1"/gnu "$1"/pax', place)
        command = ["tar", "cf", "-", f"--format={form}", "-C", str(place / "a"), "."]
        archive = subprocess.run(command, check=True, capture_output=True).stdout
        sent = put(alice, form, archive)
        assert sent.status_code == 201, sent.text
        assert shell(LOOK, place / form) == shell(LOOK, place / "a")
        assert (place / form / "hard").samefile(place / form / "large")


def test_zip_has_the_same_content_as_tar(alice: Caller, ssh: OpenSSH, place: Path) -> None:
    shell(TREE, place)
    shell(f'chown -R {ssh.uid("alice")} "$1"', place)
    answer = alice.http.get("/folders/place/a", params={"format": "zip"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = {each.rstrip("/") for each in archive.namelist()}
        assert names == list_tree(place / "a") - {"pipe"}
        assert archive.read("large") == (place / "a" / "large").read_bytes()
        link = archive.getinfo("absolute")
        assert (archive.read(link), link.external_attr >> 28) == (b"/etc/passwd", 0o12)
        assert archive.getinfo("b/x").date_time == (2001, 2, 3, 0, 0, 0)


def build_zip(*members: tuple[str, int, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Build a zip archive of (name, st_mode, content)."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as file:
        for name, mode, content in members:
            info = zipfile.ZipInfo(name, (2001, 2, 3, 4, 5, 6))
            info.external_attr = mode << 16
            file.writestr(info, content, method)
    return archive.getvalue()


def test_zip_becomes_a_folder(alice: Caller, ssh: OpenSSH, place: Path) -> None:
    shell(TREE, place)
    shell(f'chown -R {ssh.uid("alice")} "$1"', place)
    own = alice.http.get("/folders/place/a", params={"format": "zip"}).content
    assert put(alice, "b", own).status_code == 201
    assert shell(LOOK, place / "b") == shell(LOOK, place / "a")
    large = random.Random(1).randbytes(500_000) * 2
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        members = [("d/ü", 0, large), ("run.sh", 0o100755, b"x"), ("l", 0o120777, b"d/\xc3\xbc")]
        sent = put(alice, "c", build_zip(*members, method=method), merge=(place / "c").exists())
        assert sent.status_code == 201, sent.text
        assert list_tree(place / "c") == {"d", "d/ü", "run.sh", "l"}
        assert (place / "c" / "l").readlink() == Path("d/ü")
        assert (place / "c" / "l").read_bytes() == large
        assert (place / "c" / "run.sh").stat().st_mode & 0o777 == 0o755
        assert (place / "c" / "run.sh").stat().st_mtime == 981173106


def test_names_and_times_in_a_zip_are_those_of_unzip(alice: Caller, place: Path) -> None:
    japanese = "日本.txt"
    archive = zip_entries(
        ZipEntry(b"u/" + japanese.encode(), host=3, date=0),
        ZipEntry(b"w\\\x81"),
    )
    assert put(alice, "a", archive).status_code == 201
    assert list_tree(place / "a") >= {f"u/{japanese}", "w", "w/ü"}
    assert (place / "a/u" / japanese).stat().st_mtime == 315_446_400  # 1979-12-31
    archive = zip_entries(ZipEntry("s/日本".encode("cp932"), date=21 << 9 | 2 << 5 | 31))
    assert put(alice, "b", archive, charset="shift_jis").status_code == 201
    assert (place / "b/s/日本").stat().st_mtime == 983_577_600  # March 3
    for charset in ("utf-16", "no such"):
        assert failure(put(alice, "c", archive, charset=charset), 422)["faults"] == [
            {
                "field": "charset",
                "message": "must be a character set that extends ASCII, such as shift_jis, gbk or "
                "cp850",
            }
        ]


def test_format_of_an_archive_is_found_in_its_content(alice: Caller, place: Path) -> None:
    archive = build_tar("a", "d/b", "PKGBUILD")
    compressed = {
        "gzip": gzip.compress(archive[:700]) + gzip.compress(archive[700:]),
        "bzip2": bz2.compress(archive),
        "xz": lzma.compress(archive, preset=9),
        "lzma": lzma.compress(archive, lzma.FORMAT_ALONE),
        "zstd": zstd.compress(archive),
        "plain, first name": build_tar("PKGBUILD", "a", "d/b"),
    }
    for name, content in compressed.items():
        for declared in (None, "application/zip"):
            headers = {"Content-Type": declared} if declared else {}
            sent = alice.http.put(
                f"/folders/place/{name}",
                content=content,
                headers=headers,
                params={"merge": bool(declared)},
            )
            assert sent.status_code == 201, (name, sent.text)
        assert list_tree(place / name) == {"a", "d", "d/b", "PKGBUILD"}
    before = list_tree(place)
    for name, signature in {"7-Zip": b"7z\xbc\xaf\x27\x1c", "lz4": b"\x04\x22\x4d\x18"}.items():
        error = failure(put(alice, "other", signature + bytes(20)), 415)
        assert (error["type"], error["format"]) == ("UnsupportedBody", name)
        assert "gzip, bzip2, xz, lzma or zstd" in error["message"] and name in error["message"]
    for content in (b"", b"<html>", b"#!/bin/sh\n", lzma.compress(b"no archive")):
        assert failure(put(alice, "other", content), 422)["retryable"] is False
    assert list_tree(place) == before


def test_sparse_file_keeps_its_holes(alice: Caller, place: Path) -> None:
    make = """set -e; cd "$1"; mkdir a; truncate -s 30000000 a/sparse
    for at in 0 7 500 299; do echo $at | dd of=a/sparse bs=100000 seek=$at conv=notrunc; done"""
    shell(make, place)
    for version in ("--format=gnu", "--format=pax"):
        command = ["tar", "c", "--sparse", version, "-C", str(place / "a"), "."]
        archive = subprocess.run(command, check=True, capture_output=True).stdout
        assert len(archive) < 200_000
        sent = put(alice, version, archive)
        assert sent.status_code == 201, sent.text
        shell('cmp "$1"/a/sparse "$1"/--format=*/sparse', place)
        found = (place / version / "sparse").stat()
        assert (found.st_size, found.st_blocks < 2000) == (50_000_004, True)
        shutil.rmtree(place / version)


def test_times_that_sftp_does_not_have_become_the_nearest(alice: Caller, place: Path) -> None:
    early, late = member("early"), member("late")
    early.mtime, late.mtime = -315_619_200, 7_258_118_400  # 1960 and 2200
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert put(alice, "a", build_tar(early, late, form=form)).status_code == 201
        times = [(place / "a" / name).stat().st_mtime for name in ("early", "late")]
        assert times == [0, 0xFFFFFFFF]
        shutil.rmtree(place / "a")


def test_accepted_type_chooses_the_format(alice: Caller, place: Path) -> None:
    (place / "a").mkdir(mode=0o755)
    for accept, query, media_type in (
        ("application/zip", {}, "application/zip"),
        ("application/zip;q=0.9, */*", {}, "application/zip"),
        ("application/x-tar, application/zip", {}, "application/x-tar"),
        ("application/json", {}, "application/x-tar"),
        ("application/zip", {"format": "tar"}, "application/x-tar"),
        ("application/octet-stream", {}, "application/octet-stream"),
    ):
        answer = alice.http.get("/folders/place/a", headers={"Accept": accept}, params=query)
        assert answer.headers["content-type"] == media_type
        assert "accept" in answer.headers["vary"].lower()
    refused = alice.http.get("/folders/place/a", params={"format": "tar.gz"})
    assert failure(refused, 422)["message"] == "format: must be 'tar' or 'zip'"


def test_hostile_zip_reaches_nothing_outside(alice: Caller, place: Path) -> None:
    good = ("good", 0, b"x")
    refused = [
        *([("../x", 0, b"")], [("/home/alice/place/x", 0, b"")], [("x", 0o20666, b"")]),
        *([("l", 0o120777, b"")], [(".", 0o100644, b"")]),
    ]
    for members in refused:
        assert failure(put(alice, "new", build_zip(good, *members)), 422)["faults"]
    through = build_zip(("l", 0o120777, b".."), ("l/x", 0, b""))
    assert failure(put(alice, "new", through), 409)["reason"] == "not_folder"
    whole = build_zip(good, method=zipfile.ZIP_STORED)
    broken = whole.replace(b"goodx", b"goody")  # its CRC no longer matches
    listed_as = b"PK\x01\x02\x14\x03\x14\x00"
    encrypted = whole.replace(listed_as + b"\x00", listed_as + b"\x01")
    assert len({whole, broken, encrypted}) == 3
    for archive in (b"PK", whole[:-1], broken, encrypted):
        assert failure(put(alice, "new", archive), 422)["faults"]
    assert list_tree(place) == set()


def test_patterns_select_entries(alice: Caller, ssh: OpenSSH, place: Path) -> None:
    for name in ("a.csv", "b.txt", "plots/a.csv", "plots/old/a.csv", "old/b.csv", ".git/x"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
    shell(f'chown -R {ssh.uid("alice")} "$1"', place)

    def chosen(**query: Any) -> set[str]:
        answer = alice.http.get("/folders/place", params=query)
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
            return {each.name for each in archive if not each.isdir()}

    everything = list_tree(place) - {"plots", "plots/old", "old", ".git"}
    assert chosen() == everything
    assert chosen(include="*.csv", exclude="old") == {"a.csv", "plots/a.csv"}
    assert chosen(exclude=["plots/*", ".git"]) == {"a.csv", "b.txt", "old/b.csv"}
    assert chosen(include="plots/*") == {"plots/a.csv", "plots/old/a.csv"}
    assert failure(alice.http.get("/folders/place", params={"include": [""]}), 422)


HOSTILE = {
    "absolute": [member("/home/alice/place/out/x")],
    "dots": [member("../out/x")],
    "dots within": [member("a/../../out/x")],
    "hard link out": [member("x", tarfile.LNKTYPE, "../out/there")],
    "absolute hard link": [member("x", tarfile.LNKTYPE, "/home/alice/place/out/there")],
    "device": [member("x", tarfile.CHRTYPE)],
    "disk": [member("x", tarfile.BLKTYPE)],
    "pipe": [member("x", tarfile.FIFOTYPE)],
    "no name": [member(".")],
}
THROUGH = {
    "link": [member("l", tarfile.SYMTYPE, "../out"), member("l/x")],
    "absolute link": [member("l", tarfile.SYMTYPE, "/home/alice/place/out"), member("l/x")],
    "link in a folder": [member("a/l", tarfile.SYMTYPE, "../../out"), member("a//./l/x")],
    "folder that becomes a link": [
        *(member("l/", tarfile.DIRTYPE), member("l", tarfile.SYMTYPE, "../out"), member("l/x")),
    ],
    "link that becomes a folder": [
        *(member("l", tarfile.SYMTYPE, "../out"), member("l/", tarfile.DIRTYPE), member("l/x")),
    ],
    "hard link to a link": [
        *(member("l", tarfile.SYMTYPE, "../out"), member("h", tarfile.LNKTYPE, "l")),
        member("h/x"),
    ],
    "hard link through a link": [
        *(member("l", tarfile.SYMTYPE, "../out"), member("h", tarfile.LNKTYPE, "l/there")),
    ],
}


@pytest.mark.parametrize("merge", [False, True])
def test_hostile_archive_reaches_nothing_outside(
    alice: Caller, ssh: OpenSSH, place: Path, merge: bool
) -> None:
    for folder in ("out", "in"):
        (place / folder).mkdir()
        os.chown(place / folder, ssh.uid("alice"), ssh.uid("alice"))
    (place / "out" / "there").write_text("before")
    path = "in" if merge else "new"
    for name, members in HOSTILE.items():
        answer = put(alice, path, build_tar("good", *members), merge=merge)
        assert failure(answer, 422)["faults"][0]["field"] == "body", name
    for name, members in THROUGH.items():
        answer = put(alice, path, build_tar("good", *members), merge=merge)
        assert failure(answer, 409)["reason"] in ("not_folder", "is_folder"), name
        shell('rm -rf "$1"/*', place / "in")
    # An entry that replaces a link replaces the link itself, not its target.
    written = [member("l", tarfile.SYMTYPE, "../out/there"), member("l")]
    assert put(alice, path, build_tar(*written), merge=merge).status_code == 201
    assert (place / path / "l").read_text() == "l"
    assert list_tree(place / "out") == {"there"}
    assert (place / "out" / "there").read_text() == "before"


CUT = {
    "nothing": b"",
    "no archive": b"no archive" * 100,
    "in a file": build_tar("a" * 90)[:550],
    "no end": build_tar("a")[:1024],
    "in a long name": build_tar("a", "b" * 300)[:1600],
    "no gzip": b"\x1f\x8b\x08xx",
    "in a gzip": gzip.compress(build_tar("a"))[:-20],
}


@pytest.mark.parametrize("archive", CUT.values(), ids=CUT.keys())
def test_incomplete_archive_leaves_nothing(alice: Caller, place: Path, archive: bytes) -> None:
    answer = put(alice, "new", archive)
    assert failure(answer, answer.status_code)["type"] in ("InvalidOptions", "BodyTruncated")
    assert answer.status_code in (400, 422)
    assert list_tree(place) == set()


def test_missing_folders_above_are_created_on_request(alice: Caller, place: Path) -> None:
    for path in ("place/a/b/c", "~/place/a/d/c", "%2Fhome/alice/place/e/f/g", "place/x"):
        assert send(alice, path, b"x", params={"parents": "true"}).status_code == 201, path
    assert {str(each.relative_to(place)) for each in place.rglob("*") if each.is_file()} == {
        *("a/b/c", "a/d/c", "e/f/g", "x"),
    }
    assert put(alice, "h/i", build_tar("j"), parents=True).status_code == 201
    assert (place / "h/i/j").read_text() == "j"
    assert not send(alice, "place/x/y", b"", params={"parents": "true"}).is_success
    assert failure(send(alice, "%2Fetc/a/b", b"", params={"parents": "true"}), 403)


def test_merge_replaces_files_and_keeps_others(alice: Caller, place: Path) -> None:
    assert put(alice, "a/", build_tar("x", "d/y")).status_code == 201
    merged = build_tar(
        member("./", tarfile.DIRTYPE, mode=0o777), "d/z", member("x", tarfile.SYMTYPE, "d")
    )
    assert put(alice, "a", merged, merge=True).json()["files"] == 2
    assert list_tree(place / "a") == {"x", "d", "d/y", "d/z"}
    assert (place / "a").stat().st_mode & 0o777 == 0o700
    assert failure(put(alice, "a", merged), 409)["reason"] == "exists"
    assert failure(put(alice, "b", merged, merge=True), 404)["reason"] == "missing"
    assert failure(put(alice, "a/d/y", merged, merge=True), 409)["reason"] == "not_folder"
    without_parent = failure(put(alice, "b/c", merged), 404)
    assert without_parent["reason"] == "missing"
    assert without_parent["message"] == "place/b/c: there is no folder place/b: create it first"


def test_unreadable_folder_is_reported(alice: Caller, ssh: OpenSSH, place: Path) -> None:
    (place / "a").mkdir(mode=0o700)
    (place / "file").touch()
    wanted = {"a": (403, "denied"), "nowhere": (404, "missing"), "file": (409, "not_folder")}
    for name, (status, reason) in wanted.items():
        assert failure(alice.http.get(f"/folders/place/{name}"), status)["reason"] == reason
    (place / "b").mkdir()
    (place / "b" / "secret").write_text("x")
    (place / "b" / "secret").chmod(0o600)
    assert failure(alice.http.get("/folders/place/b"), 403)["path"].endswith("/secret")


def test_download_breaks_off_at_an_unreadable_file(
    alice: Caller, ssh: OpenSSH, place: Path
) -> None:
    (place / "large").write_bytes(bytes(1_000_000))
    os.chown(place / "large", ssh.uid("alice"), ssh.uid("alice"))
    (place / "b").mkdir()  # the content of a folder follows the entries beside the folder
    (place / "b" / "secret").write_text("x")
    (place / "b" / "secret").chmod(0o600)
    with pytest.raises(httpx.RemoteProtocolError):
        alice.http.get("/folders/place")


def test_expensive_headers_hold_up_nobody(alice: Caller, bob: Caller, place: Path) -> None:
    """Some kilobytes, compressed: the headers were once cut one copy at a time, for 33 s."""
    info = member("x", tarfile.XHDTYPE)
    records = b"6 a=b\n" * 170_000
    info.size = len(records)
    header = info.tobuf() + records + bytes(-len(records) % 512)
    archive = gzip.compress(header * 2 + build_tar("file"))
    assert len(archive) < 10_000
    error = failure(put(alice, "new", archive), 422)
    assert "has an invalid pax header" in error["message"]
    assert not list_tree(place)


def test_interrupted_upload_leaves_no_folder(alice: Caller, place: Path) -> None:
    def part() -> Iterator[bytes]:
        yield build_tar("a", "b")[:1500]
        until(lambda: "a" in {name.rpartition("/")[2] for name in list_tree(place)})
        raise InterruptedError

    with pytest.raises(InterruptedError):
        put(alice, "new", part())
    until(lambda: list_tree(place) == set())
