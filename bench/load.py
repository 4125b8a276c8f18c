"""Closed-loop load: each caller sends its next request when its previous one is answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import dataclass, field

Call = Callable[[], Awaitable[bool]]
"""One call; returns True if the answer was good."""


@dataclass(slots=True)
class Measurement:
    """The latencies and failures of a series of calls."""

    callers: int
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Seconds of each good answer, sorted."""
    failed: int = 0

    @property
    def rate(self) -> float:
        """Good answers per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latencies in milliseconds; NaN without good answers."""
        if not self.latencies:
            return float("nan")
        last = len(self.latencies) - 1
        return self.latencies[min(last, int(len(self.latencies) * percent / 100))] * 1e3


async def closed_loop(callers: list[Call], calls: int) -> Measurement:
    """Make `calls` calls, shared by the callers, and measure them."""
    measurement = Measurement(len(callers))
    remaining = iter(range(calls))

    async def run(call: Call) -> None:
        for _ in remaining:
            began = time.perf_counter()
            if await call():
                measurement.latencies.append(time.perf_counter() - began)
            else:
                measurement.failed += 1

    began = time.perf_counter()
    await asyncio.gather(*(run(call) for call in callers))
    measurement.seconds = time.perf_counter() - began
    measurement.latencies.sort()
    return measurement


class HttpClient:
    """One persistent HTTP/1.1 connection that uses as little processor time as possible."""

    def __init__(
        self,
        port: int,
        request: bytes,
        expected: bytes,
        *,
        host: str = "127.0.0.1",
        statuses: Container[int] = (200,),
    ) -> None:
        """Prepare a client of one request; a good answer has a status of `statuses` and `expected`
        in its body."""
        self._address = host, port
        self._request = request
        self._expected = expected
        self._statuses = statuses
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self) -> bool:
        """Send the request and return True if the answer is good."""
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


async def run_clients(clients: list[HttpClient], calls: int) -> Measurement:
    """Run `closed_loop` with clients as callers, and close them afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        for client in clients:
            stack.push_async_callback(client.close)
        callers: list[Call] = [client.call for client in clients]
        return await closed_loop(callers, calls)


def post_request(path: str, token: str, body: bytes) -> bytes:
    """Encode a POST request with a JSON body."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return http_request("POST", path, "localhost", headers, body)


def http_request(
    method: str, path: str, host: str, headers: Mapping[str, str], body: bytes
) -> bytes:
    """Encode an HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
