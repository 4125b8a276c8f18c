"""Count the open connections of each client, make room for new ones, and count refusals."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from api.http.client_address import TrustedProxies
from api.http.http_limits import HttpLimits
from resop.errors import LimitReached, ResopError, ServiceBusy
from resop.security.client_group import client_group

log = logging.getLogger(__name__)

REPORT_SECONDS = 60.0
"""Refusals are summed up in the log this often: a client that causes them must not fill it."""


class OpenConnection(Protocol):
    """The register's view of a connection."""

    def give_way(self) -> None:
        """Close, since another connection of the same client needs the place."""


@dataclass(slots=True)
class ClientConnections:
    """The open connections of one client."""

    group: str | None
    """The addresses of the client; None for all trusted proxies, which are not limited."""
    count: int = 0
    waiting: dict[OpenConnection, None] = field(default_factory=dict)
    """Connections that wait for their first request or the rest of one, the oldest first."""
    idle: dict[OpenConnection, None] = field(default_factory=dict)
    """Connections whose requests were all answered, the oldest first."""

    def wait(self, connection: OpenConnection) -> None:
        """Note that the connection waits for a request, or the rest of one."""
        self.idle.pop(connection, None)
        self.waiting.setdefault(connection)

    def serve(self, connection: OpenConnection) -> None:
        """Note that the connection has a whole request: it no longer waits for its client."""
        self.idle.pop(connection, None)
        self.waiting.pop(connection, None)

    def rest(self, connection: OpenConnection) -> None:
        """Note that the connection has answered its last request."""
        self.waiting.pop(connection, None)
        self.idle[connection] = None


class ConnectionRegister:
    """The open connections of one API process."""

    def __init__(self, limits: HttpLimits, trusted_proxies: str) -> None:
        self.limits = limits
        self.lingering = 0
        """Refused connections whose clients have not read the reason yet."""
        self.count = 0
        self._trusted_proxies = TrustedProxies(trusted_proxies)
        self._unlimited = ClientConnections(None)
        self._clients: dict[str, ClientConnections] = {}
        self._refused: Counter[str] = Counter()
        self._reported_at = 0.0

    def enter(self, connection: OpenConnection, host: str | None) -> ClientConnections:
        """Count a new connection; return the connections of its client, with this one.

        `host` is None where the server knows no address (a Unix socket). Beyond a limit, the
        connection that has waited longest for a request gives way, since somebody may hold it
        open; beyond the limit of all, also an idle one. Raises LimitReached or ServiceBusy if
        there is none.
        """
        limits = self.limits
        client = self._client(host)
        if client.group is not None and client.count >= limits.connections_per_address:
            if not self._make_room(client.waiting):
                raise LimitReached(
                    f"{limits.connections_per_address} connections are open from your address: "
                    "close some, or try again later"
                )
        elif self.count >= limits.connections:
            largest = max(self._clients.values(), key=_count, default=client)
            if not self._make_room(largest.waiting) and not self._make_room(largest.idle):
                raise ServiceBusy("the service has too many open connections: try again later")
        if client.group is not None:
            self._clients[client.group] = client
        self.count += 1
        client.count += 1
        client.wait(connection)
        return client

    def leave(self, connection: OpenConnection, client: ClientConnections) -> None:
        """Forget a connection that was counted."""
        client.serve(connection)
        self.count -= 1
        client.count -= 1
        if not client.count and client.group is not None:
            self._clients.pop(client.group, None)

    def refused(self, fault: ResopError) -> None:
        """Count a refusal for the log."""
        self._refused[type(fault).__name__] += 1

    def report(self, now: float) -> None:
        """Write the refusals of the last minute to the log, in one line."""
        if self._refused and now - self._reported_at >= REPORT_SECONDS:
            self._reported_at = now
            listed = ", ".join(f"{name} {count}" for name, count in self._refused.most_common())
            log.warning("refused before they reached the application: %s", listed)
            self._refused.clear()

    def _client(self, host: str | None) -> ClientConnections:
        if host is None or host in self._trusted_proxies:
            return self._unlimited
        group = client_group(host)
        return self._clients.get(group) or ClientConnections(group)

    def _make_room(self, connections: Iterable[OpenConnection]) -> bool:
        oldest = next(iter(connections), None)
        if oldest is None:
            return False
        oldest.give_way()
        return True


def _count(client: ClientConnections) -> int:
    return client.count
