"""The undocumented parts of uvicorn that api/http/uvicorn_server.py relies on."""

import asyncio
import inspect
import socket

import uvicorn
from starlette.types import Receive, Scope, Send

from api.http.uvicorn_server import STARTUP_FAILURE, StreamEndingServer


async def test_uvicorn_calls_shutdown_and_streams_end_before_it_waits() -> None:
    assert list(inspect.signature(uvicorn.Server.shutdown).parameters) == ["self", "sockets"]
    assert STARTUP_FAILURE == 3
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        server.should_exit = True
        await ended.wait()
        await send({"type": "http.response.body", "body": b"last"})

    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None)
    server = StreamEndingServer(config, ended.set)
    listening = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve([listening]))
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(10):
        received = await reader.read()
        await serving
    assert b"first" in received and b"last" in received
    writer.close()
    await writer.wait_closed()
