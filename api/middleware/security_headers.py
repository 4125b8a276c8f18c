"""On every answer: what a browser may do with it; and which other sites' pages may ask at all."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resop.config.settings import Settings

HSTS_SECONDS = 365 * 24 * 3600
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
NOTHING = "default-src 'none'; frame-ancestors 'none'"
# Of the two pages that are not ours, /docs and /redoc, which load their scripts from elsewhere.
NO_FRAME = "base-uri 'none'; object-src 'none'; frame-ancestors 'none'"


class SecurityHeaders:
    """ASGI middleware; what an answer says itself of these things stays."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                html = headers.get("content-type", "").startswith("text/html")
                headers.setdefault("Content-Security-Policy", NO_FRAME if html else NOTHING)
                if scope["scheme"] == "https":
                    headers["Strict-Transport-Security"] = f"max-age={HSTS_SECONDS}"
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def cors(settings: Settings) -> dict[str, Any]:
    """What starlette's CORSMiddleware is told: no cookie counts, a page shows its own token."""
    return {
        "allow_origins": settings.cors_origins,
        "allow_methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
        "allow_headers": [
            *("Authorization", "Content-Type", "Prefer"),
            *("Idempotency-Key", "Last-Event-ID", "X-Request-Id"),
        ],
        "expose_headers": ["Location", "Preference-Applied", "Retry-After", "X-Request-Id"],
    }
