"""A task's events: each once, also when the connection is cut between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from resop_client import LoginStore, errors
from resop_client._sync import tasks
from tests.unit.client.fake_service import FakeService, answer

TASK = {"task": "1", "action": "core:run", "state": "running"}


def event(number: int, kind: str, data: str) -> bytes:
    return f"id: {number}\nevent: {kind}\ndata: {data}\n\n".encode()


class CutStream(httpx2.SyncByteStream):
    """Some bytes, then the connection is lost."""

    def __init__(self, *chunks: bytes, whole: bool = False) -> None:
        self._chunks = chunks
        self._whole = whole

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if not self._whole:
            raise httpx2.ReadError("cut")


def test_events_continue_after_each_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "sleep", lambda seconds: None)
    separator = '{"text": "a\u2028b\u0085c"}'
    text = event(2, "output", separator)
    service = FakeService(
        answer(TASK),
        httpx2.Response(200, stream=CutStream(b"retry: 1000\n\n", event(1, "state", "{}"))),
        httpx2.Response(200, stream=CutStream(text[:20], text[20:25])),
        httpx2.ConnectError("refused"),
        httpx2.Response(200, stream=CutStream(b": nothing new\n\n", text[:31], text[31:])),
        httpx2.Response(200, stream=CutStream(event(3, "done", "{}"), whole=True)),
    )
    task = service.client(LoginStore(tmp_path)).task("1")
    found = [(each.kind, each.data) for each in task.events()]
    assert found == [("state", {}), ("output", {"text": "a\u2028b\u0085c"}), ("done", {})]
    sent = [each.headers.get("last-event-id") for each in service.requests[1:]]
    assert sent == [None, "1", "1", "1", "2"]


def test_a_stream_that_never_brings_anything_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "sleep", lambda seconds: None)
    monkeypatch.setattr(tasks, "MAX_CUTS", 3)
    cuts = [httpx2.Response(200, stream=CutStream()) for _ in range(4)]
    task = FakeService(answer(TASK), *cuts).client(LoginStore(tmp_path)).task("1")
    with pytest.raises(errors.ConnectionFailed, match="was lost"):
        list(task.events())
