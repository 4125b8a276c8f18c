"""Attacks on the HTTP side of a service: `python -m tests.support.storm KIND PORT [TOKEN TASK]`.

One runs until its standard input is closed, and prints a line when it has begun in full. It opens
again what is refused or closed. Each address of 127.0.0.0/8 is another client.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from tests.support.ports import HOST
from tests.support.services import ROOT

MANY = 1_100
"""More connections than a process may have open by default."""
ADDRESSES = [f"127.0.0.{number}" for number in range(2, 13)]
REOPEN_SECONDS = 1.0
LARGE_HEADER = b"X-A: " + b"a" * (60 << 20)
MANY_HEADERS = b"a: b\r\n" * 400_000


@dataclass(slots=True)
class Attack:
    """An attacker, with what is needed for every kind of attack."""

    port: int
    token: str = ""
    task: str = ""

    async def half_headers(self, source: str) -> None:
        """Send half a header, then a byte a second."""
        await self._drip(source, b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ")

    async def half_bodies(self, source: str) -> None:
        """Send half a login, then a byte a second."""
        head = b"POST /auth/opn/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
        await self._drip(source, head + b'{"username": "')

    async def large_headers(self, source: str) -> None:
        """Send a header of 60 MiB."""
        await self._send_all(source, b"GET / HTTP/1.1\r\nHost: x\r\n" + LARGE_HEADER)

    async def many_headers(self, source: str) -> None:
        """Send 400,000 headers."""
        await self._send_all(source, b"GET / HTTP/1.1\r\n" + MANY_HEADERS + b"\r\n")

    async def streams(self, source: str) -> None:
        """Open an event stream, always with the same token, and keep it open."""
        head = f"GET /tasks/{self.task}/events HTTP/1.1\r\nHost: x\r\n"
        request = f"{head}Authorization: Bearer {self.token}\r\n\r\n".encode()
        async with self._open(source) as (reader, writer):
            writer.write(request)
            await reader.read()

    async def requests(self, source: str) -> None:
        """Send one request after the other, without a pause."""
        async with self._open(source) as (reader, writer):
            while True:
                writer.write(b"GET /limits HTTP/1.1\r\nHost: x\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
                await reader.readexactly(size)

    async def _drip(self, source: str, beginning: bytes) -> None:
        async with self._open(source) as (_, writer):
            writer.write(beginning)
            while not writer.is_closing():
                await asyncio.sleep(1)
                writer.write(b"a")
                await writer.drain()

    async def _send_all(self, source: str, data: bytes) -> None:
        async with self._open(source) as (reader, writer):
            writer.write(data)
            await reader.read()

    @contextlib.asynccontextmanager
    async def _open(self, source: str):  # type: ignore[no-untyped-def]
        reader, writer = await asyncio.open_connection(HOST, self.port, local_addr=(source, 0))
        try:
            yield reader, writer
        finally:
            writer.close()


STORMS: dict[str, tuple[Callable[[Attack, str], Awaitable[None]], list[str], int]] = {
    "half headers": (Attack.half_headers, ADDRESSES, MANY),
    "half headers of one address": (Attack.half_headers, ADDRESSES[:1], MANY),
    "half bodies": (Attack.half_bodies, ADDRESSES, MANY),
    "large headers": (Attack.large_headers, ADDRESSES[:1], 4),
    "many headers": (Attack.many_headers, ADDRESSES[:1], 4),
    "event streams": (Attack.streams, ADDRESSES[:1], 3_000),
    "requests": (Attack.requests, ADDRESSES[:1], 400),
}
"""The behaviour of each connection, the addresses they come from, and their number."""


@contextlib.contextmanager
def storm(kind: str, port: int, token: str = "", task: str = "") -> Iterator[None]:
    """Attack a service from another process until the end of the context."""
    command = [sys.executable, "-m", __name__, kind, str(port), token, task]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield
    finally:
        process.communicate()
        assert process.returncode == 0


async def _again_and_again(attack: Callable[[str], Awaitable[None]], source: str) -> None:
    while True:
        with contextlib.suppress(OSError, EOFError, ValueError):
            await attack(source)
        await asyncio.sleep(REOPEN_SECONDS)


async def _main(kind: str, attack: Attack) -> None:
    method, addresses, count = STORMS[kind]
    sources = itertools.cycle(addresses)
    running = []
    for number in range(count):
        running.append(
            asyncio.create_task(
                _again_and_again(lambda source: method(attack, source), next(sources))
            )
        )
        if number % 50 == 49:
            await asyncio.sleep(0.02)  # below what the queue of the listening socket holds
    await asyncio.sleep(1)
    print("begun", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for each in running:
        each.cancel()


def main() -> None:
    """Run one attack."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kind, port, *known = sys.argv[1:]
    asyncio.run(_main(kind, Attack(int(port), *known)))


if __name__ == "__main__":
    main()
