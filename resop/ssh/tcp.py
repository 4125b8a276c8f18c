"""Open a TCP connection to the first address of a login node that answers (RFC 8305)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from typing import Any

NEXT_ADDRESS_DELAY = 0.25
"""Seconds until the next address is tried as well; a refused connection is not waited for."""

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""A place to connect to, as getaddrinfo describes it."""


async def resolve(host: str, port: int) -> Sequence[Address]:
    """Return the addresses of a host, the preferred one first. Raises socket.gaierror."""
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def connect_tcp(addresses: Iterable[Address]) -> socket.socket:
    """Return a socket that is connected to one of the addresses.

    Raises the OSError of the attempt that failed first.
    """
    waiting, errors = list(addresses), list[OSError]()
    attempts = set[asyncio.Task[socket.socket]]()
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(asyncio.create_task(_connect(waiting.pop(0))))
            delay = NEXT_ADDRESS_DELAY if waiting else None
            done, attempts = await asyncio.wait(
                attempts, timeout=delay, return_when=asyncio.FIRST_COMPLETED
            )
            if connected := _first_socket(done, errors):
                return connected
        raise errors[0]
    finally:
        await _abandon(attempts)


def _first_socket(
    done: set[asyncio.Task[socket.socket]], errors: list[OSError]
) -> socket.socket | None:
    """Return a connected socket, and close the others; add the errors of failed attempts."""
    first = None
    for attempt in done:
        fault = attempt.exception()
        if isinstance(fault, OSError):
            errors.append(fault)
        elif fault is not None:
            raise fault
        elif first is None:
            first = attempt.result()
        else:
            attempt.result().close()
    return first


async def _connect(address: Address) -> socket.socket:
    family, kind, protocol, _, place = address
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, place)
    except BaseException:
        connection.close()
        raise
    return connection


async def _abandon(attempts: set[asyncio.Task[socket.socket]]) -> None:
    """End attempts that are not needed."""
    for attempt in attempts:
        attempt.cancel()
    for ended in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(ended, socket.socket):
            ended.close()
