"""Add security headers to every response, and configure which other sites may ask (CORS)."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resop.config.settings import Settings

HSTS_SECONDS = 365 * 24 * 3600
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
DEFAULT_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""The policy of responses that set none themselves: they load nothing."""


class SecurityHeaders:
    """ASGI middleware; headers that a response sets itself are not changed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", DEFAULT_POLICY)
                if scope["scheme"] == "https":
                    headers["Strict-Transport-Security"] = f"max-age={HSTS_SECONDS}"
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def cors(settings: Settings) -> dict[str, Any]:
    """Return the arguments of CORSMiddleware; other sites send a token, never our cookie."""
    return {
        "allow_origins": settings.cors_origins,
        "allow_methods": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        "allow_headers": [
            *("Authorization", "X-API-Key", "Content-Type", "Prefer"),
            *("Idempotency-Key", "Last-Event-ID", "X-Request-Id", "Cache-Control"),
            *("Range", "If-Range", "If-Match", "If-None-Match"),
            *("If-Modified-Since", "If-Unmodified-Since"),
            *("Content-Range", "Content-Digest", "Repr-Digest"),
        ],
        "expose_headers": [
            *("Location", "Preference-Applied", "Retry-After", "X-Request-Id", "Age"),
            *("ETag", "Accept-Ranges", "Content-Range", "Content-Disposition", "Repr-Digest"),
            *("Upload-Offset", "Upload-Complete", "X-File-Mode", "WWW-Authenticate"),
        ],
    }
