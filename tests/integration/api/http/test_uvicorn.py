"""The undocumented parts of uvicorn that the API relies on, in a running server."""

import asyncio
import inspect
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.http import uvicorn_server
from api.http.connection_register import ConnectionRegister
from api.http.http_limits import HttpLimits
from api.http.uvicorn_protocol import LimitedProtocol
from api.http.uvicorn_server import LOOP, STARTUP_FAILURE, ApiServer, HandshakeLoop
from resop.config.settings import Settings


def register() -> ConnectionRegister:
    return ConnectionRegister(HttpLimits.of(Settings()), "")


async def test_uvicorn_calls_shutdown_and_streams_end_before_it_waits() -> None:
    assert list(inspect.signature(uvicorn.Server.shutdown).parameters) == ["self", "sockets"]
    assert list(inspect.signature(uvicorn.Server.startup).parameters) == ["self", "sockets"]
    assert STARTUP_FAILURE == 3
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        server.should_exit = True
        await ended.wait()
        await send({"type": "http.response.body", "body": b"last"})

    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None)
    server = ApiServer(config, register(), ended.set)
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


def test_uvicorn_makes_connections_of_the_class_that_the_server_sets() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    config = uvicorn.Config(app, loop=LOOP, log_config=None)
    ApiServer(config, register(), lambda: None)
    config.load()
    maker: Any = config.http_protocol_class
    assert maker.func is LimitedProtocol
    factory = config.get_loop_factory()
    assert factory is not None
    loop = factory()
    assert type(loop).__name__ == "HandshakeLoop"
    loop.close()


def test_the_protocol_has_the_parts_that_ours_extends() -> None:
    for name in (
        *("connection_made", "connection_lost", "data_received", "eof_received"),
        *("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body"),
        *("on_message_complete", "on_response_complete", "resume_writing"),
    ):
        ours, theirs = getattr(LimitedProtocol, name), getattr(HttpToolsProtocol, name)
        parameters = list(inspect.signature(theirs).parameters)
        assert list(inspect.signature(ours).parameters) == parameters, name
    received = inspect.getsource(HttpToolsProtocol.data_received)  # ours does this itself
    for done in ("self._unset_keepalive_if_required()", "self.parser.feed_data(data)"):
        assert done in received
    made = inspect.getsource(HttpToolsProtocol.__init__)
    for done in (
        "self.parser = httptools.HttpRequestParser(self)",
        "set_dangerous_leniencies(lenient_data_after_close=True)",
    ):
        assert done in made
    source = inspect.getsource(RequestResponseCycle)
    for attribute in (
        *("more_body", "response_started", "response_complete"),
        *("keep_alive", "disconnected", "message_event"),
    ):
        assert f"self.{attribute}" in source


def test_tls_handshake_has_to_be_made_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_server, "HANDSHAKE_SECONDS", 0.5)
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    files = ["-subj", "/CN=x", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    loop = HandshakeLoop()

    async def serve() -> bytes:
        server: Any = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=context)
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        async with asyncio.timeout(20):
            received = await reader.read()
        writer.close()
        server.close()
        return received

    try:
        assert loop.run_until_complete(serve()) == b""
    finally:
        loop.close()
