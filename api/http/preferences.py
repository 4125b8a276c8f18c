"""How a caller wants an action to be run: said outside the body, in headers and the query."""

from __future__ import annotations

import math
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

from resop.actions.options import option_faults
from resop.config.webhook_hosts import WebhookHosts
from resop.errors import InvalidOptions

LONGEST_WAIT = 600.0

Tags = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=64)]], Field(max_length=20)
]
"""Labels of a task."""


def _allowed(address: str, checked: ValidationInfo) -> str:
    hosts = checked.context
    assert isinstance(hosts, WebhookHosts)
    hosts.receiver(address)
    return address


class Preferences(BaseModel):
    """What the query of a request asks for, and how long its `Prefer` header lets us wait."""

    model_config = ConfigDict(frozen=True)

    tag: Tags
    """Labels, to find the task again."""
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Time limit in seconds, where it is to be shorter than the action's own."""
    dry_run: bool = False
    """Validate and show; run nothing."""
    notify: Annotated[str, AfterValidator(_allowed)] | None = None
    """The HTTPS address to be told when the task, or the whole batch, has ended."""
    fresh: bool = False
    """Share no answer to the same question."""
    max_age: float = math.inf
    """How old an answer may be that is shared, in seconds."""
    wait: float
    """Seconds to wait for the end before answering 202."""
    applied: str | None = None
    """The preference that was followed, for `Preference-Applied`."""

    @property
    def may_share(self) -> bool:
        """Whether another request's task will do: nothing is asked of this one's own."""
        return not self.tag and self.timeout is None and self.notify is None


def read_preferences(request: Request, default_wait: float, hosts: WebhookHosts) -> Preferences:
    """Read the preferences of a request; InvalidOptions names what is wrong in its query.

    `hosts` are those that may be notified.
    """
    query = request.query_params
    names = ("timeout", "dry_run", "notify", "fresh")
    given: dict[str, Any] = {name: query[name] for name in names if name in query}
    if cached := ",".join(request.headers.getlist("cache-control")):
        given["max_age"] = _max_age(cached)
    wait, applied = _waiting(",".join(request.headers.getlist("prefer")), default_wait)
    try:
        return Preferences.model_validate(
            {**given, "tag": query.getlist("tag"), "wait": wait, "applied": applied}, context=hosts
        )
    except ValidationError as fault:
        raise InvalidOptions(option_faults(fault, Preferences)) from None


def _max_age(cache_control: str) -> float:
    """How old an answer may be, in seconds: 0 where it is to be a new one (RFC 9111, 5.2.1)."""
    oldest = math.inf
    for part in cache_control.lower().split(","):
        name, _, value = part.strip().partition("=")
        if name in ("no-cache", "no-store"):
            return 0
        if name == "max-age" and value.isascii() and value.isdigit():
            oldest = float(value)
    return oldest


def _waiting(prefer: str, default: float) -> tuple[float, str | None]:
    """Seconds to wait; a preference that is not understood is ignored, as RFC 7240 says.

    With both, in whatever order, the answer is asynchronous when the wait is over (its 4.3).
    """
    found: tuple[float, str | None] = default, None
    for part in prefer.replace(";", ",").split(","):
        name, _, value = part.partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "wait" and value.isascii() and value.isdigit():
            seconds = min(float(value), LONGEST_WAIT)
            return seconds, f"wait={seconds:g}"
        if name == "respond-async":
            found = 0.0, name
    return found
