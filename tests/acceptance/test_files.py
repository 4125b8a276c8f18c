"""Files through HTTP on a real OpenSSH: complete or missing, never partial, with any name."""

import base64
import contextlib
import hashlib
import os
import random
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.acceptance.conftest import only_embedded
from tests.support.openssh import OpenSSH
from tests.support.ports import HOST
from tests.support.service import Caller, Service, failure

pytestmark = [only_embedded, pytest.mark.timeout(120)]

DATA = random.Random(1).randbytes(3_000_000)
WAIT_SECONDS = 60.0

NAMES = [
    *(b"a'; touch pwned; '", b"-rf", b"two  words", b" ", b"new\nline\n", b'quo"te', b"$(id)`id`"),
    *(b"*?[", b"back\\slash", b"tab\t\x01\x7f", "ü😀".encode(), b"caf\xe9 \xff\xfe", b"%41%", b"~"),
    *(b"?a=b&c", b"#x", b";x=y", b"+", b"...", b"x" * 255),
]


@pytest.fixture
def home(ssh: OpenSSH) -> Iterator[Path]:
    """Return the host's path of alice's home; remove the test's files afterwards."""
    folder = ssh.home("alice")
    NAMES_BEFORE[folder] = set(os.listdir(os.fsencode(folder))) | {b".bash_history"}
    before = set(folder.iterdir())
    yield folder
    for file in set(folder.iterdir()) - before:
        file.unlink()


NAMES_BEFORE: dict[Path, set[bytes]] = {}
"""The names in each home before the current test."""


def names(home: Path) -> set[bytes]:
    """Return the names that the test has created in a home."""
    return set(os.listdir(os.fsencode(home))) - NAMES_BEFORE[home]


def until(condition: Any) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def address(name: bytes) -> str:
    # After '~/' a name may start with '~' or dots, which then have no special meaning.
    return f"/files/~/{quote(name, safe='')}"


def put(caller: Caller, path: str, content: Any, **how: Any) -> httpx.Response:
    return caller.http.put(f"/files/{path}", content=content, **how)


def send_some(
    service: Service, caller: Caller, path: str, size: int, headers: str = "", *, start: int = 0
) -> None:
    """Start to upload DATA from offset `start`, and disconnect after `size` bytes."""
    head = (
        f"PUT /files/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {caller.token}\r\n"
        f"Content-Length: {len(DATA) - start}\r\n{headers}\r\n"
    )
    with socket.create_connection((HOST, service.ports[0])) as connection:
        connection.sendall(head.encode() + DATA[start : start + size])


# -- names and paths


def test_each_name_is_written_read_and_removed_byte_for_byte(alice: Caller, home: Path) -> None:
    for name in NAMES:
        made = alice.http.put(address(name), content=b"it is " + name)
        assert made.status_code == 201, made.text
    assert names(home) == set(NAMES)
    for name in NAMES:
        read = alice.http.get(address(name))
        assert read.content == b"it is " + name
        assert alice.http.delete(address(name)).status_code == 204
    assert names(home) == set()


def test_path_starts_at_home_or_at_the_root(alice: Caller, home: Path) -> None:
    put(alice, "a", b"x")
    for path in ("a", "~/a", "/home/alice/a", "%2Fhome/alice/a", "./a", "~//a", "-/home/alice/a"):
        assert alice.http.get(f"/files/{path}").content == b"x", path
    for path in ("a", "~/a", "/home/alice/a", "../alice/a"):
        assert alice.http.get("/files", params={"path": path}).content == b"x", path
    assert failure(alice.http.get("/files"), 422)["faults"][0]["field"] == "path"
    assert "path" in failure(alice.http.get("/files/a%00b"), 422)["faults"][0]["field"]


# -- reading


def test_range_is_one_part_of_the_file(alice: Caller, home: Path) -> None:
    put(alice, "a", DATA)
    wanted = {
        "bytes=0-0": DATA[:1],
        "bytes=1000000-1999999": DATA[1_000_000:2_000_000],
        "bytes=2999990-": DATA[-10:],
        "bytes=-5": DATA[-5:],
        "bytes=2999999-9999999": DATA[-1:],
    }
    for asked, content in wanted.items():
        answer = alice.http.get("/files/a", headers={"Range": asked})
        assert (answer.status_code, answer.content) == (206, content)
        first, _, last = answer.headers["content-range"].removeprefix("bytes ").partition("-")
        assert last == f"{int(first) + len(content) - 1}/{len(DATA)}"
    for ignored in ("bytes=0-1,3-4", "lines=1-2", "bytes=5-4", "bytes=-", "x"):
        assert alice.http.get("/files/a", headers={"Range": ignored}).content == DATA
    outside = alice.http.get("/files/a", headers={"Range": "bytes=3000000-"})
    assert failure(outside, 416)["size"] == len(DATA)
    assert outside.headers["content-range"] == f"bytes */{len(DATA)}"


def test_head_has_the_headers_of_get_and_the_digest(alice: Caller, home: Path) -> None:
    put(alice, "a", DATA, params={"mode": "0640", "modified": "2001-02-03T04:05:06Z"})
    head = alice.http.head("/files/a", params={"checksum": "sha256"})
    get = alice.http.get("/files/a", params={"checksum": "sha256"})
    volatile = {"date", "x-request-id"}
    told = [{k: v for k, v in each.headers.items() if k not in volatile} for each in (head, get)]
    assert told[0] == told[1]
    assert head.headers["content-length"] == str(len(DATA))
    assert head.headers["x-file-mode"] == "0640"
    assert head.headers["last-modified"] == "Sat, 03 Feb 2001 04:05:06 GMT"
    digest = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    assert head.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert "attachment" in get.headers["content-disposition"]
    assert alice.http.get("/files//proc/version").content == Path("/proc/version").read_bytes()
    for size in (0, 1):
        put(alice, "small", b"x" * size)
        assert alice.http.get("/files/small").content == b"x" * size


def test_each_error_has_its_own_status_and_type(alice: Caller, bob: Caller, home: Path) -> None:
    put(alice, "a", b"x")
    folder = alice.http.get("/files/~")
    assert failure(folder, 409)["reason"] == "is_folder"
    assert "/folders returns it as an archive" in failure(folder, 409)["message"]
    assert failure(alice.http.get("/files//dev/null"), 409)["reason"] == "not_file"
    assert failure(alice.http.get("/files/nowhere"), 404)["reason"] == "missing"
    assert failure(alice.http.get("/files/a/b"), 404)["reason"] == "missing"
    for uploaded in (put(alice, "nowhere/b", b""), put(alice, "nowhere/b/c", b"")):
        assert failure(uploaded, 404)["reason"] == "missing"
        assert ": there is no folder nowhere" in failure(uploaded, 404)["message"]
    assert failure(bob.http.get("/files/%2Fhome/alice/a"), 404)["reason"] == "hidden"
    assert failure(put(bob, "%2Fhome/alice/a", b""), 404)["reason"] == "hidden"
    assert failure(put(alice, "%2Fetc/a", b""), 403)["reason"] == "denied"
    assert failure(alice.http.delete("/files//etc/hostname"), 403)["reason"] == "denied"
    assert failure(put(alice, "~", b""), 409)["reason"] == "is_folder"
    assert failure(alice.http.delete("/files/~"), 409)["reason"] == "is_folder"
    assert failure(alice.http.delete("/files/nowhere"), 404)["reason"] == "missing"
    assert failure(alice.http.get("/files/a", headers={"Authorization": ""}), 401)
    assert failure(put(alice, "a", b"", params={"overwite": "false"}), 422)["faults"]


# -- conditions


def test_conditions_protect_a_file_from_replacement(alice: Caller, home: Path) -> None:
    made = put(alice, "a", b"one", headers={"If-None-Match": "*"})
    tag = made.headers["etag"]
    assert made.json()["etag"] == tag == alice.http.get("/files/a").headers["etag"]
    assert failure(put(alice, "a", b"two", headers={"If-None-Match": "*"}), 412)["etag"] == tag
    assert failure(put(alice, "a", b"two", params={"overwrite": False}), 409)["reason"] == "exists"
    assert failure(put(alice, "a", b"two", headers={"If-Match": '"other"'}), 412)
    assert failure(put(alice, "b", b"two", headers={"If-Match": "*"}), 412)
    assert failure(alice.http.delete("/files/a", headers={"If-Match": '"other"'}), 412)
    assert alice.http.get("/files/a").content == b"one"
    assert alice.http.get("/files/a", headers={"If-None-Match": tag}).status_code == 304
    ranged = {"Range": "bytes=0-0", "If-Range": '"other"'}
    assert alice.http.get("/files/a", headers=ranged).status_code == 200
    replaced = put(alice, "a", b"three", headers={"If-Match": f'"x", {tag}'})
    assert replaced.status_code == 200
    assert names(home) == {b"a"}


def test_dates_protect_a_file_as_tags_do(alice: Caller, home: Path) -> None:
    put(alice, "a", b"one", params={"modified": "1994-11-06T08:49:37Z"})
    same, before = "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT"
    late = {"If-Unmodified-Since": before}
    assert failure(put(alice, "a", b"two", headers=late), 412)["etag"]
    assert failure(alice.http.delete("/files/a", headers=late), 412)
    assert failure(alice.http.get("/files/a", headers=late), 412)
    assert alice.http.head("/files/a", headers=late).status_code == 412
    for method in (alice.http.get, alice.http.head):
        assert method("/files/a", headers={"If-Modified-Since": same}).status_code == 304
        assert method("/files/a", headers={"If-Modified-Since": before}).status_code == 200
    ranged = {"Range": "bytes=0-0", "If-Range": same}
    assert alice.http.get("/files/a", headers=ranged).content == b"o"
    assert alice.http.get("/files/a", headers=ranged | {"If-Range": before}).content == b"one"
    assert alice.http.delete("/files/a", headers={"If-Unmodified-Since": same}).status_code == 204
    assert put(alice, "a", b"new", headers=late).status_code == 201  # there is no file, and no time


def test_digest_of_the_client_is_checked(alice: Caller, home: Path) -> None:
    right = f"sha-256=:{base64.b64encode(hashlib.sha256(DATA).digest()).decode()}:"
    wrong = f"sha-512=:{base64.b64encode(hashlib.sha512(b'').digest()).decode()}:"
    for header in ("Content-Digest", "Repr-Digest"):
        assert (
            failure(put(alice, "a", DATA, headers={header: wrong}), 422)["type"] == "DigestMismatch"
        )
        assert failure(put(alice, "a", DATA, headers={header: "md5=:AA==:"}), 422)["faults"]
        assert names(home) == set()
        assert put(alice, "a", DATA, headers={header: right}).headers["repr-digest"] == right
        alice.http.delete("/files/a")


# -- writing


def test_form_with_one_file_is_accepted(alice: Caller, home: Path) -> None:
    tricky = b"\r\n--x\r\n" * 50_000 + DATA
    made = alice.http.put(
        "/files/a", files={"any": ("name", tricky)}, params={"checksum": "sha512"}
    )
    assert made.json()["sha512"] == hashlib.sha512(tricky).hexdigest()
    assert (home / "a").read_bytes() == tricky
    two = [("a", ("a", b"1")), ("b", ("b", b"2"))]
    assert failure(alice.http.put("/files/b", files=two), 422)["faults"][0]["field"] == "b"
    mixed = alice.http.put("/files/b", files={"f": ("f", b"1")}, data={"mode": "0600"})
    assert failure(mixed, 422)["faults"][0]["field"] == "mode"
    cut = put(alice, "b", b"--x\r\n", headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert failure(cut, 400)["type"] == "BodyTruncated"
    assert names(home) == {b"a"}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_interrupted_upload_leaves_the_previous_file(
    service: Service, alice: Caller, home: Path, seed: int
) -> None:
    put(alice, "a", b"before")
    for _ in range(3):
        send_some(service, alice, "a", random.Random(seed).randrange(len(DATA)))
    put(alice, "b", b"")
    until(lambda: names(home) == {b"a", b"b"})
    assert (home / "a").read_bytes() == b"before"


def test_broken_connection_is_reported_and_the_next_transfer_works(
    alice: Caller, ssh: OpenSSH, home: Path
) -> None:
    put(alice, "a", b"before")

    def content() -> Iterator[bytes]:
        yield DATA
        until(lambda: any(part.stat().st_size for part in home.glob(".*.part")))
        ssh.drop_connections()
        yield DATA

    assert failure(put(alice, "a", content()), 502)["type"] == "ContactLost"
    assert (home / "a").read_bytes() == b"before"
    assert put(alice, "a", DATA).status_code == 200
    assert alice.http.get("/files/a").content == DATA


def test_of_two_uploads_to_one_target_one_remains(alice: Caller, home: Path) -> None:
    contents = [bytes([number]) * len(DATA) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda content: put(alice, "a", content), contents))
        assert {answer.status_code for answer in answers} <= {200, 201}
        assert (home / "a").read_bytes() in contents
        answers = list(
            pool.map(
                lambda content: put(alice, "b", content, params={"overwrite": False}), contents
            )
        )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert names(home) == {b"a", b"b"}


# -- in parts


def send_part(caller: Caller, start: int, end: int, **how: Any) -> httpx.Response:
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(DATA)}", **how.pop("headers", {})}
    params = {"upload": "u", **how.pop("params", {})}
    return put(caller, "a", DATA[start:end], headers=headers, params=params, **how)


def upload_offset(caller: Caller) -> int:
    answer = caller.http.head("/files/a", params={"upload": "u"})
    assert answer.headers["upload-complete"] == "?0"
    return int(answer.headers["upload-offset"])


def stable_offset(caller: Caller, before: int = 0) -> int:
    """Return the offset of an interrupted upload once it no longer changes."""

    def is_stable() -> bool:
        with contextlib.suppress(KeyError):
            seen = upload_offset(caller)
            time.sleep(0.2)
            return seen == upload_offset(caller) > before
        return False

    until(is_stable)
    return upload_offset(caller)


@pytest.mark.parametrize("seed", [5, 6])
def test_repeatedly_interrupted_upload_is_complete_in_the_end(
    service: Service, alice: Caller, home: Path, seed: int
) -> None:
    points, at = random.Random(seed), 0
    for _ in range(3):
        part = f"Content-Range: bytes {at}-{len(DATA) - 1}/{len(DATA)}\r\n"
        some = points.randrange(500_000, 900_000)
        send_some(service, alice, "a?upload=u", some, part, start=at)
        at = stable_offset(alice, at)
    digest = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    done = send_part(alice, at, len(DATA), headers={"Repr-Digest": f"sha-256=:{digest}:"})
    assert done.status_code == 201
    assert (home / "a").read_bytes() == DATA
    assert names(home) == {b"a"}


def test_two_uploads_in_parts_to_one_target_do_not_mix(alice: Caller, home: Path) -> None:
    contents = {"u": DATA, "v": DATA[::-1]}
    for start, end in ((0, 1_000_000), (1_000_000, len(DATA))):
        for upload, content in contents.items():
            made = put(
                alice,
                "a",
                content[start:end],
                headers={"Content-Range": f"bytes {start}-{end - 1}/{len(DATA)}"},
                params={"upload": upload},
            )
            assert made.status_code in (200, 201, 202)
            if made.status_code != 202:
                assert (home / "a").read_bytes() == content
    assert names(home) == {b"a"}


def test_interrupted_upload_continues_at_its_offset(
    service: Service, alice: Caller, home: Path
) -> None:
    put(alice, "a", b"before", params={"mode": "0640"})
    points = random.Random(4)
    everything = f"Content-Range: bytes 0-{len(DATA) - 1}/{len(DATA)}\r\n"
    send_some(service, alice, "a?upload=u", points.randrange(600_000, 2_000_000), everything)

    at = stable_offset(alice)
    middle = points.randrange(at + 1, len(DATA))
    elsewhere = send_part(alice, at + 1, middle)
    assert failure(elsewhere, 409)["received"] == at
    assert elsewhere.headers["upload-offset"] == str(at)
    wrong = {"Content-Digest": "sha-256=:AAAA:"}
    assert failure(send_part(alice, at, middle, headers=wrong), 422)["type"] == "DigestMismatch"
    assert upload_offset(alice) == at
    arrived = send_part(alice, at, middle)
    assert (arrived.status_code, arrived.json()["received"]) == (202, middle)
    assert (home / "a").read_bytes() == b"before"
    done = send_part(alice, middle, len(DATA), params={"checksum": "sha256"})
    assert (done.status_code, done.json()["mode"]) == (200, "0640")
    assert done.json()["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert (home / "a").read_bytes() == DATA
    assert names(home) == {b"a"}
    assert failure(send_part(alice, 10, 20), 409)["received"] == 0


def test_upload_with_wrong_digest_or_cancelled_leaves_nothing(alice: Caller, home: Path) -> None:
    send_part(alice, 0, 1000)
    wrong = {"Repr-Digest": "sha-256=:AAAA:"}
    assert failure(send_part(alice, 1000, len(DATA), headers=wrong), 422)
    assert names(home) == set()
    send_part(alice, 0, 1000)
    assert alice.http.delete("/files/a", params={"upload": "u"}).status_code == 204
    assert names(home) == set()
    assert alice.http.head("/files/a", params={"upload": "u"}).status_code == 404


def test_partial_upload_is_deleted_after_a_day(alice: Caller, home: Path) -> None:
    send_part(alice, 0, 1000)
    (kept,) = home.glob(".resop-*.upload")
    os.utime(kept, (time.time() - 90_000,) * 2)
    assert failure(send_part(alice, 1000, 2000), 409)["received"] == 0
    put(alice, "b", b"x", params={"upload": "v"}, headers={"Content-Range": "bytes 0-0/1"})
    assert names(home) == {b"b"}


def test_inconsistent_parts_are_refused(alice: Caller, home: Path) -> None:
    for given in ("bytes 0-9/5", "bytes 5-4/9", "bytes 0-9", "x", "bytes */9"):
        how: Any = {"headers": {"Content-Range": given}, "params": {"upload": "u"}}
        assert failure(put(alice, "a", b"0123456789", **how), 422)["faults"]
    assert failure(put(alice, "a", b"", params={"upload": "u"}), 422)["faults"]
    assert failure(put(alice, "a", b"", headers={"Content-Range": "bytes 0-9/10"}), 422)["faults"]
    for content in (b"012345678", b"01234567890"):
        how = {"headers": {"Content-Range": "bytes 0-9/10"}, "params": {"upload": "u"}}
        assert failure(put(alice, "a", iter([content]), **how), 422)["faults"]
    assert not (home / "a").exists()
