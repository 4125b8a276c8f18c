"""Send a document that is the same for everybody: compressed, and only if the client lacks it."""

from __future__ import annotations

import gzip
import hashlib
import re

from starlette.datastructures import Headers
from starlette.responses import Response

_TAG = re.compile(r'(?:W/)?("[^"]*")')
_WEIGHT = re.compile(r"\s*q=(\d(?:\.\d{0,3})?)\s*", re.IGNORECASE)


class CachedDocument:
    """A document with its compressed form and its entity tag."""

    def __init__(self, content: bytes, media_type: str) -> None:
        """Compress the content, which takes a moment."""
        self.content = content
        self._compressed = gzip.compress(content, 9, mtime=0)
        self._media_type = media_type
        # Weak, since the compressed form has the same (RFC 9110, 8.8.1).
        self._tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'

    def response(self, headers: Headers) -> Response:
        """Return the response to a request with these headers: 304 if the client has it."""
        fields = {
            "Cache-Control": "no-cache",  # keep it, and ask whether it has changed
            "ETag": f"W/{self._tag}",
            "Vary": "Accept-Encoding",
        }
        known = ",".join(headers.getlist("if-none-match")).strip()
        if known == "*" or self._tag in _TAG.findall(known):
            return Response(status_code=304, headers=fields)
        if accepts_gzip(",".join(headers.getlist("accept-encoding"))):
            fields["Content-Encoding"] = "gzip"
            return Response(self._compressed, headers=fields, media_type=self._media_type)
        return Response(self.content, headers=fields, media_type=self._media_type)


def accepts_gzip(accepted: str) -> bool:
    """Return True if an Accept-Encoding allows gzip (RFC 9110, 12.5.3)."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        weight = _WEIGHT.fullmatch(parameter)
        weights[name.strip()] = float(weight[1]) if weight else 1.0
    names = ("gzip", "x-gzip", "*")
    return next((weights[name] > 0 for name in names if name in weights), False)
