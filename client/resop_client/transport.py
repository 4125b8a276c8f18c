"""The common parts of requests and answers, for the synchronous and the asynchronous client."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

import httpx2

from resop_client.errors import ConnectionFailed, ResopError, UnexpectedAnswer, error_of
from resop_client.record import read_json

Query = Mapping[str, Any] | None
NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
"""Faults before a request was sent: to repeat it is safe, whatever it is."""
REPEATED_STATUSES = (429, 503)
"""Answers to requests of which nothing was done; they may be sent again."""
MAX_RETRY_AFTER = 60.0
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_WORDS = re.compile(r"\s+")


class RetryPolicy:
    """Decides how long one request is repeated."""

    def __init__(self, seconds: float, *, repeatable: bool, reached_before: bool) -> None:
        """`reached_before`: False for a service that has never answered; do not wait for it."""
        self._end = time.monotonic() + seconds
        self._repeatable = repeatable
        self._reached_before = reached_before

    def may_repeat_after(self, fault: httpx2.TransportError) -> bool:
        """Return True if the request may be sent again after a fault of the connection."""
        if isinstance(fault, NEVER_SENT):
            return self._reached_before and self._time_left > 0
        return self._repeatable and self._time_left > 0

    def pause_after(self, response: httpx2.Response, pause: float) -> float | None:
        """Return how long to wait before the request is sent again; None if it is not."""
        if response.status_code not in REPEATED_STATUSES or self._time_left <= 0:
            return None
        after = response.headers.get("retry-after", "")
        seconds = float(after) if after.isdecimal() else pause
        return seconds if seconds <= min(self._time_left, MAX_RETRY_AFTER) else None

    @property
    def _time_left(self) -> float:
        return self._end - time.monotonic()


def connection_error(fault: httpx2.TransportError, url: str) -> ConnectionFailed:
    """Return a fault of the connection in one line."""
    reason = _WORDS.sub(" ", str(fault)).strip() or type(fault).__name__
    if isinstance(fault, NEVER_SENT):
        return ConnectionFailed(f"cannot reach {url}: {reason}", retryable=True)
    return ConnectionFailed(f"the connection to {url} was lost: {reason}", retryable=True)


def answer_error(response: httpx2.Response) -> ResopError:
    """Return the error that an answer describes; its content must have been read."""
    try:
        body = json.loads(response.content)
        error, task = body["error"], body.get("task")
        if not isinstance(error, dict):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError):
        return UnexpectedAnswer(
            f"{response.url} answered {response.status_code}, not as this service does: "
            "is the address right, and is there a proxy?",
            status=response.status_code,
        )
    result = {name: body[name] for name in ("exit_code", "stderr") if name in body}
    return error_of(response.status_code, {**result, **error}, task)


def answer_json(response: httpx2.Response) -> Any:
    """Return the JSON of an answer. Raises the error that it describes."""
    if response.status_code >= 400:
        raise answer_error(response)
    try:
        return read_json(response.content)
    except ValueError:
        raise UnexpectedAnswer(
            f"{response.url} did not answer with JSON: is this the address of the service?",
            status=response.status_code,
        ) from None


def json_body(value: Any) -> bytes:
    """Return a request's body; arrays of numpy and the like are sent as lists."""
    return json.dumps(value, default=_plain, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it. Raises TypeError for one that has no such form."""
    for name in ("tolist", "isoformat", "__fspath__"):
        if method := getattr(value, name, None):
            return method()
    if isinstance(value, range):
        return list(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{value!r} cannot be sent as JSON")
