"""The limits of connections and requests, before any code of the application sees them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from api.http.root_path import with_root_path
from resop.config.hardening import open_files_limit
from resop.config.settings import Settings

RESERVED_FILES = 256
"""Open files kept for the database, Redis, connections to clusters, and accepted connections that
are about to be refused."""
MIN_CONNECTIONS = 16
LINGER_SECONDS = 2.0
"""How long a refused client may continue to send before its connection is cut, so that it can read
the reason."""
MAX_LINGERING = 100
"""Refused connections that may linger; further ones are cut at once."""
DRAIN_SECONDS = 30.0
"""How long a client may continue to send a body after its request was answered."""
TRANSFER_PATHS = ("/files", "/folders")
"""Requests whose bodies may take as long as a file needs; they have limits of their own."""
MAX_PIPELINED = 32
"""Requests that may wait on one connection for the answer to the one before them."""


def is_transfer(path: str, transfer_paths: Iterable[str] = TRANSFER_PATHS) -> bool:
    """Return True for the path of a request for a file or folder."""
    return any(path == each or path.startswith(each + "/") for each in transfer_paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """The limits of one API process, in numbers, bytes and seconds."""

    connections: int
    connections_per_address: int
    url_bytes: int
    header_bytes: int
    header_count: int
    header_seconds: float
    keep_alive_seconds: float
    transfer_paths: tuple[str, ...] = TRANSFER_PATHS

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the limits that the settings and the limit of open files allow."""
        room = max(MIN_CONNECTIONS, open_files_limit() - RESERVED_FILES)
        return cls(
            connections=min(settings.CONNECTIONS, room),
            connections_per_address=settings.CONNECTIONS_PER_ADDRESS,
            url_bytes=settings.URL_BYTES,
            header_bytes=settings.HEADER_BYTES,
            header_count=settings.HEADER_COUNT,
            header_seconds=settings.HEADER_SECONDS,
            keep_alive_seconds=settings.KEEP_ALIVE_SECONDS,
            transfer_paths=with_root_path(settings.ROOT_PATH, TRANSFER_PATHS),
        )
