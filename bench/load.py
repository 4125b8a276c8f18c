"""Closed-loop load: N callers, each sends its next request when the last one is answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import dataclass, field

Call = Callable[[], Awaitable[bool]]


@dataclass(slots=True)
class Measured:
    """What came of a number of calls."""

    at_once: int
    seconds: float = 0.0
    good: list[float] = field(default_factory=list)
    """Latencies of good answers in seconds, sorted."""
    failed: int = 0

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.good) / self.seconds

    def percentile(self, part: float) -> float:
        """A percentile of the good answers in milliseconds."""
        if not self.good:
            return float("nan")
        return self.good[min(len(self.good) - 1, int(len(self.good) * part / 100))] * 1e3


async def closed_loop(callers: list[Call], calls: int) -> Measured:
    """Make `calls` calls, shared by the callers, and measure them."""
    measured = Measured(len(callers))
    left = iter(range(calls))

    async def work(call: Call) -> None:
        for _ in left:
            began = time.perf_counter()
            if await call():
                measured.good.append(time.perf_counter() - began)
            else:
                measured.failed += 1

    began = time.perf_counter()
    await asyncio.gather(*(work(call) for call in callers))
    measured.seconds = time.perf_counter() - began
    measured.good.sort()
    return measured


class Client:
    """One kept-alive HTTP/1.1 connection; as little of the machine's time as can be."""

    def __init__(
        self,
        port: int,
        request: bytes,
        expected: bytes,
        *,
        host: str = "127.0.0.1",
        statuses: Container[int] = (200,),
    ) -> None:
        self._address = host, port
        self._request = request
        self._expected = expected
        self._statuses = statuses
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self) -> bool:
        """Send the request; tell whether it was answered well, with what was expected."""
        try:
            return await self._call()
        except (OSError, EOFError, ValueError):
            await self.close()
            return False

    async def _call(self) -> bool:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        body = await reader.readexactly(size)
        if head.startswith(b"http/1.0") or b"\r\nconnection: close" in head:
            await self.close()
        return int(head.split(b" ", 2)[1]) in self._statuses and self._expected in body

    async def close(self) -> None:
        """Close the connection."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError):
                await streams[1].wait_closed()


async def requests(clients: list[Client], calls: int) -> Measured:
    """`closed_loop` of clients, which are closed behind it."""
    async with contextlib.AsyncExitStack() as stack:
        for client in clients:
            stack.push_async_callback(client.close)
        called: list[Call] = [client.call for client in clients]
        return await closed_loop(called, calls)


def post(path: str, token: str, body: bytes) -> bytes:
    """The bytes of a POST request with a JSON body."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return request("POST", path, "localhost", headers, body)


def request(method: str, path: str, host: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
