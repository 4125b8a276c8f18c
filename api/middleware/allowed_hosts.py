"""Refuse requests for names that are not this service's (the Host header)."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.errors import error_response
from resop.errors import HostNotAllowed

PROBES = "/health/"
"""Open under every name: a load balancer asks for an address."""


class AllowedHosts:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, names: list[str]) -> None:
        """Accept these names, in lower case; `*.example.org` is every name below example.org."""
        self._app = app
        self._names = frozenset(name for name in names if not name.startswith("*"))
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith(PROBES) or self._accepts(scope):
            await self._app(scope, receive, send)
        else:
            await error_response(HostNotAllowed())(scope, receive, send)

    def _accepts(self, scope: Scope) -> bool:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            return False
        name = _without_port(hosts[0].decode("latin-1")).lower().removesuffix(".")
        return name in self._names or name.endswith(self._suffixes)


def _without_port(host: str) -> str:
    """Return the name or address of a Host header; an IPv6 address keeps its brackets."""
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]
