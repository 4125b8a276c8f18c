"""The limits of connections, each exceeded on a running server: sockets, and nothing in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from api.http import http_limits, uvicorn_protocol, uvicorn_server
from api.http.connection_register import ConnectionRegister
from api.http.http_limits import HttpLimits
from api.http.uvicorn_server import ApiServer

PATIENCE_SECONDS = 20
LIMITS = HttpLimits(
    connections=40,
    connections_per_address=20,
    url_bytes=2048,
    header_bytes=4096,
    header_count=20,
    header_seconds=1,
    keep_alive_seconds=2,
)
GOOD = b"GET /good HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Site:
    """A server with an application that notes what it gets."""

    port: int = 0
    register: ConnectionRegister = field(default_factory=lambda: ConnectionRegister(LIMITS, ""))
    scopes: list[Scope] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        body, more = b"", True
        while more and scope["path"] not in ("/early", "/stream"):
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected.set()
                return
            body, more = body + message["body"], message["more_body"]
        if scope["path"] == "/slow":
            await self.release.wait()
        if scope["path"] == "/large":
            body = b"x" * (64 << 20)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/stream":
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass
            self.disconnected.set()
        await send({"type": "http.response.body", "body": b"served " + body})

    async def connect(self, source: str = "127.0.0.1") -> Client:
        streams = await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(source, 0), limit=1 << 20
        )
        return Client(*streams)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def send(self, data: bytes) -> None:
        """Send as much as the server takes."""
        with contextlib.suppress(OSError):
            self.writer.write(data)
            await self.writer.drain()

    async def rest(self) -> bytes:
        """Return everything until the server closes or resets the connection."""
        received = b""
        async with asyncio.timeout(PATIENCE_SECONDS):
            # A reset if the server closes it before it has read all that was sent.
            with contextlib.suppress(ConnectionResetError):
                while part := await self.reader.read(1 << 16):
                    received += part
        return received

    async def answer(self) -> bytes:
        """Return one chunked answer."""
        received = b""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not received.endswith(b"0\r\n\r\n"):
                received += await self.reader.readuntil(b"\n")
        return received


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(uvicorn_server, "SWEEP_SECONDS", 0.05)
    async for each in serving(Site()):
        yield each


async def serving(site: Site) -> AsyncIterator[Site]:
    config = uvicorn.Config(site.app, lifespan="off", interface="asgi3", ws="none", log_config=None)
    server = ApiServer(config, site.register, site.release.set)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        site.port = listening.getsockname()[1]
        running = asyncio.create_task(server.serve([listening]))
        try:
            yield site
        finally:
            server.should_exit = server.force_exit = True
            await running


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` is true."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def until_served(site: Site, count: int) -> None:
    await until(lambda: len(site.scopes) >= count)


def refusal(answer: bytes) -> tuple[int, str]:
    """Return the status and the type of error of a refusal, which has the shape of every error."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower() and b"content-type: application/json" in head
    content: dict[str, Any] = json.loads(body)
    assert content["success"] is False and content["error"]["message"]
    return int(head.split()[1]), content["error"]["type"]


# -- sizes

TOO_MUCH = {
    "one header": (b"GET / HTTP/1.1\r\nX-A: " + b"a" * 8192, 431, "HeadersTooLarge"),
    "one header of 60 MiB": (
        b"GET / HTTP/1.1\r\nX-A: " + b"a" * (60 << 20),
        431,
        "HeadersTooLarge",
    ),
    "a name of a header": (b"GET / HTTP/1.1\r\n" + b"a" * 8192, 431, "HeadersTooLarge"),
    "many bytes in few headers": (
        b"GET / HTTP/1.1\r\n" + b"X-A: %b\r\n" % (b"a" * 600) * 10,
        431,
        "HeadersTooLarge",
    ),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 21 + b"\r\n", 431, "HeadersTooLarge"),
    "400,000 headers": (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 400_000, 431, "HeadersTooLarge"),
    "the address": (b"GET /" + b"a" * 2048 + b" HTTP/1.1\r\n\r\n", 414, "UriTooLong"),
    "an address without end": (b"GET /" + b"a" * (4 << 20), 414, "UriTooLong"),
    "a query": (b"GET /?" + b"a" * 2048 + b" HTTP/1.1\r\n\r\n", 414, "UriTooLong"),
    "empty lines": (b"\r\n" * 8192, 431, "HeadersTooLarge"),
    "no method": (b"a" * 8192, 400, "MalformedRequest"),
    "no HTTP": (b"GET / HTTP/x\r\n\r\n", 400, "MalformedRequest"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "MalformedRequest"),
    "two lengths": (
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        400,
        "MalformedRequest",
    ),
}


@pytest.mark.parametrize(("data", "status", "kind"), TOO_MUCH.values(), ids=TOO_MUCH)
async def test_too_much_is_refused_with_the_reason(
    site: Site, data: bytes, status: int, kind: str
) -> None:
    async with await site.connect() as client:
        sending = asyncio.create_task(client.send(data))
        assert refusal(await client.rest()) == (status, kind)
        await sending
    assert not site.scopes


async def test_as_much_as_the_limits_say_is_served(site: Site) -> None:
    url = b"/" + b"a" * (LIMITS.url_bytes - 1)
    head = b"GET " + url + b" HTTP/1.1\r\n" + b"a: b\r\n" * (LIMITS.header_count - 1) + b"x: "
    head += b"a" * (LIMITS.header_bytes - len(head) - 4) + b"\r\n\r\n"
    async with await site.connect() as client:
        for _ in range(2):
            await client.send(head)
            assert b"200 OK" in await client.answer()
        for byte in GOOD:
            await client.send(bytes([byte]))
        assert b"200 OK" in await client.answer()
    assert len(site.scopes[0]["headers"]) == LIMITS.header_count


@pytest.mark.parametrize("size", [1, 5000, 300_000])
async def test_body_arrives_whole_however_it_is_sent(site: Site, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    plain = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"
    async with await site.connect() as client:
        await client.send(plain)
        assert body[:200] in await client.answer()
        await client.send(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
        assert body[:200] in await client.answer()


CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
HIDDEN = {
    "a trailer": (b"0\r\nX-T: " + b"a" * (1 << 20), 431),
    "trailers": (b"0\r\n" + b"a: b\r\n" * 100_000, 431),
    "an extension of a chunk": (b"1;a=" + b"a" * (1 << 20), 431),
    "no chunk": (b"nonsense\r\n", 400),
}


@pytest.mark.parametrize(("data", "status"), HIDDEN.values(), ids=HIDDEN)
async def test_body_has_the_same_limits_between_its_bytes(
    site: Site, data: bytes, status: int
) -> None:
    async with await site.connect() as client:
        await client.send(CHUNKED)
        sending = asyncio.create_task(client.send(data))
        assert refusal(await client.rest())[0] == status
        await sending
    async with asyncio.timeout(PATIENCE_SECONDS):
        await site.disconnected.wait()  # the application does not wait for the rest


async def test_trailer_becomes_no_header(site: Site) -> None:
    async with await site.connect() as client:
        await client.send(CHUNKED + b"0\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
        assert b"served x" in await client.answer()
    assert b"x-forwarded-for" not in dict(site.scopes[0]["headers"])


async def test_few_requests_are_queued_on_one_connection(site: Site) -> None:
    slow = b"GET /slow HTTP/1.1\r\n\r\n"
    async with await site.connect() as client:
        await client.send(slow + GOOD * http_limits.MAX_PIPELINED)
        site.release.set()
        for _ in range(http_limits.MAX_PIPELINED + 1):
            assert b"200 OK" in await client.answer()
        site.release.clear()
        await client.send(slow + GOOD * 1000)
        await asyncio.sleep(0.2)
        site.release.set()
        assert (await client.rest()).count(b"200 OK") == http_limits.MAX_PIPELINED + 1


async def test_what_follows_a_good_request_does_not_harm_its_answer(site: Site) -> None:
    async with await site.connect() as client:
        await client.send(GOOD + b"nonsense\r\n\r\n")
        answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 200 OK") and answer.endswith(b"0\r\n\r\n")


# -- times

SLOW: dict[str, tuple[bytes, bytes, bytes]] = {
    "nothing": (b"", b"", b""),
    "half a header": (b"GET / HTTP/1.1\r\nX-A: ", b"", b"408 "),
    "a byte from time to time": (b"GET / HTTP/1.1\r\nX-A: ", b"a", b"408 "),
    "half a method": (b"G", b"", b"408 "),
    "empty lines": (b"\r\n", b"\r\n", b""),
}


@pytest.mark.parametrize("used", [False, True], ids=["new", "used before"])
@pytest.mark.parametrize(("first", "later", "expected"), SLOW.values(), ids=SLOW)
async def test_header_has_to_arrive_in_time(
    site: Site, first: bytes, later: bytes, expected: bytes, used: bool
) -> None:
    async with await site.connect() as client:
        if used:
            await client.send(GOOD)
            await client.answer()
        await client.send(first)
        ended = asyncio.create_task(client.rest())
        while not ended.done():
            await client.send(later)
            await asyncio.wait([ended], timeout=0.2)
        answer = await ended
    assert expected in answer and (expected or not answer)
    if expected:
        assert refusal(answer) == (408, "RequestTimedOut")


async def test_rest_of_a_body_that_nobody_reads_has_to_end(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_protocol, "DRAIN_SECONDS", 0.5)
    async with await site.connect() as client:
        await client.send(b"POST /early HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
        assert b"200 OK" in await client.answer()
        ended = asyncio.create_task(client.rest())
        while not ended.done():
            await client.send(b"x")
            await asyncio.wait([ended], timeout=0.1)


async def test_connection_is_used_again_after_an_early_answer(site: Site) -> None:
    async with await site.connect() as client:
        await client.send(b"POST /early HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
        assert b"200 OK" in await client.answer()
        await client.send(b"x" * 100_000 + GOOD)
        assert b"200 OK" in await client.answer()
        assert await client.rest() == b""  # idle from here on


async def test_client_that_does_not_read_is_cut_off(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_protocol, "STALL_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", site.port)) as client:
        client.setblocking(False)
        client.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        await until(lambda: bool(site.scopes) and not site.register.count)


# -- half-closed


async def half_close(client: Client, data: bytes) -> None:
    await client.send(data)
    client.writer.write_eof()


async def test_client_that_has_said_everything_gets_its_answer(site: Site) -> None:
    async with await site.connect() as client:
        await half_close(client, b"GET /slow HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.1)
        site.release.set()
        assert b"served" in await client.rest()
    async with await site.connect() as client:
        await half_close(client, GOOD * 3)
        assert (await client.rest()).count(b"served") == 3


async def test_client_that_closes_too_early_is_told_so(site: Site) -> None:
    for data, expected in (
        (b"GET / HT", "MalformedRequest"),
        (GOOD + b"GET / HTTP/1.1\r\nX-A: ", "MalformedRequest"),
        (b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", "BodyTruncated"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", "BodyTruncated"),
    ):
        async with await site.connect() as client:
            await client.send(data)
            if data.startswith(GOOD):
                await client.answer()
            client.writer.write_eof()
            assert refusal(await client.rest()) == (400, expected)
    assert site.disconnected.is_set()
    async with await site.connect() as client:
        await half_close(client, b"")
        assert await client.rest() == b""


async def test_stream_ends_with_its_client(site: Site) -> None:
    async with await site.connect() as client:
        await client.send(b"GET /stream HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await client.reader.readuntil(b"first")
        client.writer.write_eof()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await site.disconnected.wait()


# -- numbers


async def open_all(connect: Callable[[], Awaitable[Client]], count: int) -> list[Client]:
    return [await connect() for _ in range(count)]


async def test_connections_of_one_address_are_limited(site: Site) -> None:
    async with contextlib.AsyncExitStack() as stack:

        async def connect() -> Client:
            return await stack.enter_async_context(await site.connect("127.0.0.2"))

        clients = await open_all(connect, LIMITS.connections_per_address)
        for client in clients:
            await client.send(b"GET /slow HTTP/1.1\r\n\r\n")
        await until_served(site, len(clients))
        for client in await open_all(connect, 5):
            await client.send(GOOD)
            assert refusal(await client.rest()) == (429, "LimitReached")
        async with await site.connect() as other:
            await other.send(GOOD)
            assert b"served" in await other.answer()
        site.release.set()
        for client in clients:
            assert b"served" in await client.answer()
    await until(lambda: not site.register.count)
    async with await site.connect("127.0.0.2") as again:
        await again.send(GOOD)
        assert b"served" in await again.answer()
    assert not site.register.lingering


async def test_connections_are_limited_in_all(site: Site) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for number in range(LIMITS.connections):
            client = await stack.enter_async_context(await site.connect(f"127.0.0.{number + 2}"))
            await client.send(b"GET /slow HTTP/1.1\r\n\r\n")
        await until_served(site, LIMITS.connections)
        async with await site.connect() as client:
            await client.send(GOOD)
            assert refusal(await client.rest()) == (503, "ServiceBusy")
        site.release.set()


HELD_OPEN = {
    "nothing": b"",
    "half a header": b"GET / HTTP/1.1\r\nX-A: ",
    "half a body": b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc",
    "an unread body": b"POST /early HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc",
}


@pytest.mark.parametrize("data", HELD_OPEN.values(), ids=HELD_OPEN)
async def test_connections_held_open_give_way_to_requests(site: Site, data: bytes) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for number in range(LIMITS.connections * 3):  # some of this address, some of others
            source = "127.0.0.1" if number % 2 else f"127.0.0.{number % 7 + 2}"
            client = await stack.enter_async_context(await site.connect(source))
            await client.send(data)
        for _ in range(5):
            async with await site.connect() as honest:
                await honest.send(GOOD)
                assert b"served" in await honest.answer()
        assert site.register.count <= LIMITS.connections


async def test_upload_does_not_give_way(site: Site) -> None:
    async with contextlib.AsyncExitStack() as stack:
        upload = await stack.enter_async_context(await site.connect())
        await upload.send(b"PUT /files/x HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345")
        await until_served(site, 1)
        for _ in range(LIMITS.connections_per_address * 2):
            await stack.enter_async_context(await site.connect())
        await upload.send(b"67890")
        assert b"served 1234567890" in await upload.answer()


async def test_flood_of_refused_connections_keeps_none_open(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_protocol, "MAX_LINGERING", 10)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(200):
            await stack.enter_async_context(await site.connect("127.0.0.2"))
        async with await site.connect() as other:
            await other.send(GOOD)
            assert b"served" in await other.answer()
        assert site.register.lingering <= 10


async def test_trusted_proxy_has_as_many_connections_as_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uvicorn_server, "SWEEP_SECONDS", 0.05)
    proxied = Site(register=ConnectionRegister(LIMITS, "127.0.0.2, 192.0.2.0/24"))
    async for site in serving(proxied):
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(LIMITS.connections_per_address + 10):
                client = await stack.enter_async_context(await site.connect("127.0.0.2"))
                await client.send(GOOD)
                assert b"served" in await client.answer()


UPGRADE = (
    b"Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
)
BODIES = {
    "a length": b"Content-Length: 5\r\n\r\nhello",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: a\r\n\r\n",
    "no body": b"Content-Length: 0\r\n\r\n",
    "nothing about a body": b"\r\n",
}


@pytest.mark.parametrize("framed", BODIES.values(), ids=BODIES)
async def test_offer_of_another_protocol_costs_no_body_and_no_later_request(
    site: Site, framed: bytes
) -> None:
    body = b"hello" if b"llo" in framed else b""
    sent = b"POST /good HTTP/1.1\r\n" + UPGRADE + framed
    for pieces in ([sent], [sent[at : at + 1] for at in range(len(sent))]):
        async with await site.connect() as client:
            for piece in pieces:
                await client.send(piece)
                await asyncio.sleep(0)
            assert b"served " + body + b"\r\n" in await client.answer()
            await client.send(GOOD + sent * 2)
            for expected in (b"", body, body):
                assert b"served " + expected + b"\r\n" in await client.answer()
    assert [each["method"] for each in site.scopes] == ["POST", "GET", "POST", "POST"] * 2
    assert site.scopes[0]["path"] == "/good"


@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ],
)
async def test_offer_of_another_protocol_hides_no_malformed_body(site: Site, framed: bytes) -> None:
    async with await site.connect() as client:
        await client.send(b"POST /good HTTP/1.1\r\n" + UPGRADE + framed)
        assert refusal(await client.rest()) == (400, "MalformedRequest")


async def test_many_offers_in_one_piece_are_limited_like_other_requests(site: Site) -> None:
    async with await site.connect() as client:
        await client.send((b"GET /slow HTTP/1.1\r\n" + UPGRADE + b"\r\n") * 1000)
        await asyncio.sleep(0.2)
        site.release.set()
        assert (await client.rest()).count(b"200 OK") <= http_limits.MAX_PIPELINED + 1


FORMS = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/9.9": b"GET /good HTTP/9.9\r\n\r\n",
    "no method of HTTP": b"FOO /good HTTP/1.1\r\n\r\n",
    "a length of 5000 digits": b"PUT / HTTP/1.1\r\nContent-Length: " + b"9" * 3000 + b"\r\n\r\n",
    "a signed length": b"PUT / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello",
    "a chunk of 20 digits": b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 20,
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("sent", FORMS.values(), ids=FORMS)
async def test_what_is_not_http_is_told_so_at_once(site: Site, sent: bytes) -> None:
    async with await site.connect() as client:
        await client.send(sent)
        assert refusal(await client.rest()) == (400, "MalformedRequest")
    assert not site.scopes or site.scopes[0]["method"] == "PUT"


async def test_each_form_of_a_request_target_is_understood(site: Site) -> None:
    for line, path, query in (
        (b"GET http://x/good?a=b HTTP/1.1", "/good", b"a=b"),
        (b"GET http://x HTTP/1.1", "/", b""),
        (b"GET HTTPS://x?a=/b HTTP/1.1", "/", b"a=/b"),
        (b"OPTIONS * HTTP/1.1", "/", b""),
        (b"GET //etc/hosts HTTP/1.1", "//etc/hosts", b""),
        (b"GET /good HTTP/1.0", "/good", b""),
    ):
        async with await site.connect() as client:
            await client.send(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 200 OK") and b"served" in answer, line
        scope = site.scopes.pop()
        assert (scope["path"], scope["query_string"]) == (path, query), line


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"anything"])
async def test_upgrade_is_not_offered_but_the_request_is_answered(
    site: Site, protocol: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with await site.connect() as client:
        await client.send(
            b"GET /good HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: " + protocol
        )
        await client.send(b"\r\n\r\n")
        assert (await client.answer()).startswith(b"HTTP/1.1 200 OK")
    assert not caplog.records


async def test_malformed_requests_do_not_fill_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        async with await site.connect() as client:
            await client.send(b"nonsense\r\n\r\n")
            assert refusal(await client.rest()) == (400, "MalformedRequest")
    assert len(caplog.records) <= 1


async def test_refusals_are_summed_up_in_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        async with await site.connect() as client:
            await client.send(b"GET /" + b"a" * 3000)
            await client.rest()
    await until(lambda: "UriTooLong" in caplog.text)
    assert len([each for each in caplog.records if "UriTooLong" in each.getMessage()]) <= 2
    assert sum(len(each.getMessage()) for each in caplog.records) < 1000
