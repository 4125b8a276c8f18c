"""HEAD is answered as GET is, without the content and without making it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Message, Scope

from api.http import errors
from api.http.request_context import context_of
from api.http.row_stream import csv_response
from api.middleware.head_requests import HeadRequests
from api.middleware.request_log import RequestLog
from resop.errors import UnknownTask

rows = 0
made: list[str] = []


def application() -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.add_middleware(HeadRequests)
    app.add_middleware(RequestLog)
    errors.install(app)

    @app.get("/value")
    def value(request: Request) -> dict[str, int]:
        made.append(f"{request.method} {context_of(request.scope).is_head}")
        return {"value": 42}

    @app.get("/fault")
    def fault() -> None:
        raise UnknownTask

    @app.get("/rows")
    def export() -> StreamingResponse:
        return csv_response(["a"], _rows())

    @app.get("/endless")
    def endless() -> StreamingResponse:
        return StreamingResponse(_endless(), media_type="text/event-stream")

    @app.post("/value")
    def change() -> None:
        made.append("POST")

    @app.delete("/only")
    @app.patch("/only")
    def only() -> None:
        made.append("only")

    @app.head("/files/{name}")
    def own(request: Request) -> Response:
        return Response(headers={"X-Own": request.method})

    return app


def _rows() -> Iterator[dict[str, int]]:
    global rows
    for number in range(1_000_000):
        rows += 1
        yield {"a": number}


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b": nothing new\n\n"
        await asyncio.sleep(0.01)


async def ask(method: str, path: str) -> httpx.Response:
    """Send a request as uvicorn does; its body is what would be sent for any other method."""
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "client": ("192.0.2.1", 1),
        "server": ("192.0.2.9", 80),
    }
    sent: list[Message] = []
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    async with asyncio.timeout(5):
        await application()(scope, receive, send)
    assert not sent[-1].get("more_body")
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=body)


async def test_headers_are_those_of_get() -> None:
    for path, status in {"/value": 200, "/fault": 404, "/nothing": 404}.items():
        got, head = await ask("GET", path), await ask("HEAD", path)
        assert (got.status_code, head.status_code) == (status, status)
        assert got.content and not head.content
        for name in ("content-type", "content-length"):
            assert head.headers[name] == got.headers[name]
    assert made == ["GET False", "GET True"]


async def test_content_of_a_stream_is_not_made() -> None:
    answer = await ask("HEAD", "/rows")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/csv")
    assert rows <= 2
    answer = await ask("HEAD", "/endless")
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_route_with_a_head_of_its_own_keeps_it() -> None:
    assert (await ask("HEAD", "/files/x")).headers["x-own"] == "HEAD"


async def test_methods_of_a_path_are_in_allow() -> None:
    before = len(made)
    for path, allowed in {
        "/value": "GET, HEAD, POST, OPTIONS",
        "/only": "PATCH, DELETE, OPTIONS",
        "/rows": "GET, HEAD, OPTIONS",
        "/files/x": "HEAD, OPTIONS",
    }.items():
        refused = await ask("PUT", path)
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
        assert refused.json()["error"]["type"] == "MethodNotAllowed"
        asked = await ask("OPTIONS", path)
        assert (asked.status_code, asked.headers["allow"], asked.content) == (204, allowed, b"")
    assert (await ask("HEAD", "/only")).status_code == 405
    assert (await ask("OPTIONS", "/nothing")).status_code == 404
    assert len(made) == before
