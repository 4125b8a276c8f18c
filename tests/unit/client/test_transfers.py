"""Files: in parts that are checked, and never sent or fetched twice."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import httpx2
import pytest

from resop_client import LoginStore, errors
from resop_client._sync import connection, files
from tests.unit.client.fake_service import FakeService, answer, failure
from tests.unit.client.test_events import CutStream

CONTENT = bytes(range(256)) * 10


class StoredUpload:
    """A service that takes the parts of one upload, and loses connections now and then."""

    def __init__(self, cuts: int) -> None:
        self.content = b""
        self.cuts = cuts
        self.sent = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "HEAD":
            if not self.content:
                return httpx2.Response(404)
            return httpx2.Response(204, headers={"Upload-Offset": str(len(self.content))})
        part = request.content
        digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
        assert request.headers["content-digest"] == f"sha-256=:{digest}:"
        start = int(request.headers["content-range"].split()[1].partition("-")[0])
        if start != len(self.content):
            return failure("UploadMismatch", 409, received=len(self.content))
        self.sent += len(part)
        self.content += part
        if self.cuts:
            self.cuts -= 1
            raise httpx2.ReadError("cut")
        if len(self.content) < len(CONTENT):
            return answer({"success": True, "received": len(self.content)}, 202)
        return answer({"success": True, "path": "/x", "size": len(self.content)}, 201)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 1000)
    for module in (connection, files):
        monkeypatch.setattr(module, "sleep", lambda seconds: None)


def test_an_upload_continues_where_it_was_cut(tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.write_bytes(CONTENT)
    stored, shown = StoredUpload(cuts=2), list[float]()
    service = FakeService(*[stored] * 20)
    written = service.client(LoginStore(tmp_path)).files.upload(
        source, "/x", parents=True, progress=lambda done, total: shown.append(done)
    )
    assert stored.content == CONTENT and written.size == len(CONTENT)
    assert stored.sent == len(CONTENT)  # nothing twice
    assert shown[-1] == len(CONTENT) and shown == sorted(shown)
    ids = {each.url.params["upload"] for each in service.requests}
    assert len(ids) == 1


def test_a_short_file_is_one_request(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"abc")
    service = FakeService(answer({"success": True, "size": 3}, 201))
    service.client(LoginStore(tmp_path)).files.upload(tmp_path / "data", "~/x", mode="0640")
    (request,) = service.requests
    assert dict(request.url.params) == {"path": "~/x", "mode": "0640"}
    assert request.content == b"abc"


def stat_of(content: bytes, etag: str) -> httpx2.Response:
    headers = {"ETag": etag, "Content-Length": str(len(content)), "X-File-Mode": "0600"}
    return httpx2.Response(200, headers=headers)


def test_a_download_continues_where_it_was_cut(tmp_path: Path) -> None:
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    checked = httpx2.Response(200, headers={"Repr-Digest": f"sha-256=:{digest}:"})
    service = FakeService(
        stat_of(CONTENT, '"1"'),
        httpx2.Response(200, stream=CutStream(CONTENT[:700])),
        stat_of(CONTENT, '"1"'),
        httpx2.ConnectError("refused"),
        stat_of(CONTENT, '"1"'),
        httpx2.Response(206, content=CONTENT[700:]),
        checked,
    )
    hpc = service.client(LoginStore(tmp_path / "logins"))
    target = hpc.files.download("/data/out.nc", tmp_path, checksum=True)
    assert target == tmp_path / "out.nc" and target.read_bytes() == CONTENT
    assert service.requests[5].headers["range"] == "bytes=700-"
    assert service.requests[5].headers["if-range"] == '"1"'
    assert [each.name for each in tmp_path.iterdir()] == ["out.nc"]


def test_a_file_that_changes_meanwhile_is_fetched_anew(tmp_path: Path) -> None:
    service = FakeService(
        stat_of(CONTENT, '"1"'),
        httpx2.Response(200, stream=CutStream(CONTENT[:700])),
        stat_of(b"new", '"2"'),
        httpx2.Response(200, content=b"new"),
    )
    hpc = service.client(LoginStore(tmp_path / "logins"))
    assert hpc.files.download("x", tmp_path / "y").read_bytes() == b"new"


def test_a_damaged_download_is_told(tmp_path: Path) -> None:
    wrong = httpx2.Response(200, headers={"Repr-Digest": "sha-256=:AAAA:"})
    service = FakeService(stat_of(b"abc", '"1"'), httpx2.Response(200, content=b"abc"), wrong)
    hpc = service.client(LoginStore(tmp_path / "logins"))
    with pytest.raises(errors.DigestMismatch):
        hpc.files.download("x", tmp_path / "y", checksum=True)
    assert not (tmp_path / "y").exists()


def test_a_missing_file_is_told_in_the_words_of_the_service(tmp_path: Path) -> None:
    missing = failure("PathFailed", 404, reason="missing")
    service = FakeService(httpx2.Response(404), missing, httpx2.Response(416), missing)
    hpc = service.client(LoginStore(tmp_path))
    with pytest.raises(errors.PathFailed, match="this is PathFailed") as caught:
        hpc.files.stat("x")
    assert caught.value.reason == "missing"
    assert hpc.files.read("x", 100, 200) == b""
    with pytest.raises(errors.PathFailed):
        hpc.files.read("x")
