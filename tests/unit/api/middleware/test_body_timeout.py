"""A body has to arrive: neither pauses nor drops of it may keep a request open."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.types import Message, Scope

from api.http import errors
from api.middleware import body_timeout
from api.middleware.body_timeout import BodyTimeout
from api.middleware.request_log import RequestLog

pytestmark = pytest.mark.slow

SECONDS = 0.3


@pytest.fixture
def app() -> FastAPI:
    made = FastAPI()
    made.add_middleware(BodyTimeout, seconds=SECONDS)
    made.add_middleware(RequestLog)
    errors.install(made)

    @made.post("/options")
    @made.put("/files/x")
    async def read(request: Request) -> int:
        return len(await request.body())

    @made.post("/early")
    async def early() -> StreamingResponse:
        async def slowly() -> Any:
            for _ in range(10):
                await asyncio.sleep(SECONDS / 5)
                yield b"x"

        return StreamingResponse(slowly())

    return made


async def send(
    app: FastAPI, path: str, pieces: Iterator[bytes], pause: float, *, leave: bool = False
) -> tuple[int, Any]:
    """Send the pieces with pauses between them, then nothing; return status and answer."""
    method = "PUT" if path.startswith("/files") else "POST"
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "headers": [],
        "query_string": b"",
        "client": ("192.0.2.1", 1),
        "scheme": "http",
    }
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(pause)
        piece = next(pieces, None)
        if piece is None:
            if leave:
                return {"type": "http.disconnect"}
            await asyncio.sleep(30)
        return {"type": "http.request", "body": piece or b"", "more_body": piece != b""}

    async def collect(message: Message) -> None:
        sent.append(message)

    async with asyncio.timeout(20):
        await app(scope, receive, collect)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(body) if body.startswith(b"{") else body


async def test_pause_ends_the_request(app: FastAPI) -> None:
    status, answer = await send(app, "/options", iter([b"half"]), 0)
    assert (status, answer["error"]["type"]) == (408, "RequestTimedOut")
    assert answer["error"]["retryable"] is True


async def test_drops_end_the_request(app: FastAPI) -> None:
    status, answer = await send(app, "/options", iter([b"x"] * 10_000), SECONDS / 20)
    assert (status, answer["error"]["type"]) == (408, "RequestTimedOut")


async def test_body_that_is_fast_enough_may_take_longer(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_timeout, "MIN_BYTES_PER_SECOND", 10)
    pieces = [b"x" * 100] * 30 + [b""]
    assert await send(app, "/options", iter(pieces), SECONDS / 20) == (200, b"3000")


async def test_client_that_leaves_is_no_fault_of_the_service(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    status, answer = await send(app, "/options", iter([b"half"]), 0, leave=True)
    assert (status, answer["error"]["type"]) == (400, "BodyTruncated")
    assert "Traceback" not in caplog.text


async def test_body_that_nobody_reads_ends_no_answer(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    status, _ = await send(app, "/early", iter([b"half"]), 0)
    assert status == 200
    assert "Traceback" not in caplog.text


async def test_files_have_a_limit_of_their_own(app: FastAPI) -> None:
    pieces = iter([b"x"] * 5 + [b""])
    assert await send(app, "/files/x", pieces, SECONDS * 1.5) == (200, b"5")
