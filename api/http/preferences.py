"""How a caller wants an action to be run: the preferences in a request's headers and query."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Request
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
)
from starlette.datastructures import Headers

from resop.actions.options import option_faults
from resop.config.webhook_hosts import WebhookHosts
from resop.errors import InvalidOptions

MAX_WAIT_SECONDS = 600.0
IDEMPOTENCY_KEY_HEADER = "Idempotency-Key"
_VALID_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")

Tags = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=64)]], Field(max_length=20)
]
"""Tags of a task."""


def _allowed(address: str, info: ValidationInfo) -> str:
    hosts = info.context
    assert isinstance(hosts, WebhookHosts)
    hosts.receiver(address)
    return address


class Preferences(BaseModel):
    """How one request wants its action to be run."""

    model_config = ConfigDict(frozen=True)

    tag: Tags = []
    """Tags for finding the task again."""
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Time limit in seconds, if it is to be shorter than the action's own."""
    dry_run: bool = False
    """Validate and show the command line; run nothing."""
    notify: Annotated[str, AfterValidator(_allowed)] | None = None
    """The HTTPS address that is notified when the task, or the whole batch, has ended."""
    fresh: bool = False
    """Do not share the answer of an identical request."""
    max_age: float = math.inf
    """The maximum age of a shared answer, in seconds."""
    wait: float
    """Seconds to wait for the task to end before answering 202."""
    applied: str | None = None
    """The preference that was followed, for `Preference-Applied`."""
    idempotency_key: str | None = None
    """The client's key for this request: a repeated request returns the same task."""

    @property
    def may_share(self) -> bool:
        """True if another request's task may answer this one: nothing is specific to its own."""
        return (
            not self.tag
            and self.timeout is None
            and self.notify is None
            and self.idempotency_key is None
        )


def read_preferences(request: Request, default_wait: float, hosts: WebhookHosts) -> Preferences:
    """Read the preferences of a request. Raises InvalidOptions, which names each fault.

    `default_wait` is in seconds; `hosts` are the hosts that may be notified.
    """
    query, headers = request.query_params, request.headers
    names = ("timeout", "notify")
    values: dict[str, Any] = {name: query[name] for name in names if name in query}
    # `?dry_run` and `?dry_run=` set the flag, as in a body.
    values |= {name: query[name] or True for name in ("dry_run", "fresh") if name in query}
    values["tag"] = query.getlist("tag")
    if cache_control := ",".join(headers.getlist("cache-control")):
        values["max_age"] = _max_age(cache_control)
    values["idempotency_key"] = _idempotency_key(headers)
    wait, applied = _wait(",".join(headers.getlist("prefer")), default_wait)
    return check_preferences({**values, "wait": wait, "applied": applied}, hosts)


def check_preferences(values: Mapping[str, Any], hosts: WebhookHosts) -> Preferences:
    """Validate preferences. Raises InvalidOptions, which names each fault."""
    try:
        return Preferences.model_validate(values, context=hosts)
    except ValidationError as fault:
        raise InvalidOptions(option_faults(fault, Preferences)) from None


def _idempotency_key(headers: Headers) -> str | None:
    key = headers.get(IDEMPOTENCY_KEY_HEADER)
    if key is not None and not _VALID_KEY.fullmatch(key):
        message = "must be 1 to 255 printable ASCII characters, without a space at either end"
        raise InvalidOptions.of(IDEMPOTENCY_KEY_HEADER, message)
    return key


def _max_age(cache_control: str) -> float:
    """Return the maximum age of an answer in seconds: 0 for a new one (RFC 9111, 5.2.1)."""
    max_age = math.inf
    for part in cache_control.lower().split(","):
        name, _, value = part.strip().partition("=")
        if name in ("no-cache", "no-store"):
            return 0
        if name == "max-age" and value.isascii() and value.isdigit():
            max_age = float(value)
    return max_age


def _wait(prefer: str, default: float) -> tuple[float, str | None]:
    """Return the seconds to wait and the preference that was followed (RFC 7240).

    Unknown preferences are ignored. With both `wait` and `respond-async`, in either order, the
    response is asynchronous once the wait is over (its section 4.3).
    """
    found: tuple[float, str | None] = default, None
    for part in prefer.replace(";", ",").split(","):
        name, _, value = part.partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "wait" and value.isascii() and value.isdigit():
            seconds = min(float(value), MAX_WAIT_SECONDS)
            return seconds, f"wait={seconds:g}"
        if name == "respond-async":
            found = 0.0, name
    return found
