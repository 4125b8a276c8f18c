"""A request as a command line of curl, for `-v`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

SHOWN_HEADERS = ("accept", "content-type", "content-range", "if-none-match", "if-range", "prefer")
HIDDEN = "***"
MAX_BODY = 4096
NOT_TEXT = "application/octet-stream"


def curl_line(request: httpx2.Request, secrets: Collection[str]) -> str:
    """Return the request as curl sends it; the token is a variable, and secrets are not shown."""
    words = ["curl"]
    if request.method != "GET":
        words += ["--head"] if request.method == "HEAD" else ["-X", request.method]
    words.append(shlex.quote(str(request.url).removesuffix("?")))
    for name in (*SHOWN_HEADERS, "range", "idempotency-key", "last-event-id"):
        value = request.headers.get(name)
        if value is not None and (name, value) != ("accept", "*/*"):
            words += ["-H", shlex.quote(f"{name.title()}: {value}")]
    if "authorization" in request.headers:
        words += ["-H", '"Authorization: Bearer $RESOP_TOKEN"']
    return " ".join([*words, *_body(request, secrets)])


def _body(request: httpx2.Request, secrets: Collection[str]) -> list[str]:
    if request.method in ("GET", "HEAD"):
        return []
    if request.headers.get("content-type", NOT_TEXT) == NOT_TEXT:
        length = request.headers.get("content-length", "0")
        return ["--data-binary", "@FILE", f"# {length} bytes"] if length != "0" else []
    text = request.content.decode("utf-8", "replace")
    for secret in filter(None, secrets):
        text = text.replace(json.dumps(secret)[1:-1], HIDDEN)
    if len(text) > MAX_BODY:
        text = f"{text[:MAX_BODY]}…"
    return ["-d", shlex.quote(text)] if text else []
