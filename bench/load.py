"""Closed-loop load: N callers, each sends its next request when the last one is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
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

    def __init__(self, port: int, request: bytes, expected: bytes) -> None:
        self._port = port
        self._request = request
        self._expected = expected
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self) -> bool:
        """Send the request; tell whether it was answered 200 with what was expected."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        body = await reader.readexactly(size)
        return head.split(b" ", 2)[1] == b"200" and self._expected in body

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            await self._streams[1].wait_closed()


def post(path: str, token: str, body: bytes) -> bytes:
    """The bytes of a POST request with a JSON body."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
