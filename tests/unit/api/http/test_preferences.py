"""How a caller wants an action to be run: RFC 7240 in the header, the rest in the query."""

import math
from urllib.parse import quote

import pytest
from fastapi import Request

from api.http.preferences import MAX_WAIT_SECONDS, Preferences, read_preferences
from resop.config.webhook_hosts import WebhookHosts
from resop.errors import InvalidOptions


def read(prefer: str = "", query: str = "") -> Preferences:
    headers = [(b"prefer", prefer.encode())] if prefer else []
    scope = {"type": "http", "headers": headers, "query_string": query.encode()}
    return read_preferences(Request(scope), 30, WebhookHosts("hooks.hpc.example"))


@pytest.mark.parametrize(
    ("prefer", "wait", "applied"),
    [
        ("", 30, None),
        ("respond-async", 0, "respond-async"),
        ("Respond-Async", 0, "respond-async"),
        ("respond-async, wait=5", 5, "wait=5"),
        ("wait=5", 5, "wait=5"),
        ('wait = "7"', 7, "wait=7"),
        ("handling=lenient; wait=3", 3, "wait=3"),
        ("wait=0", 0, "wait=0"),
        ("wait=999999999", MAX_WAIT_SECONDS, "wait=600"),
        ("wait=-1", 30, None),
        ("wait=soon", 30, None),
        ("wait=٣", 30, None),
        ("return=minimal", 30, None),
    ],
)
def test_a_preference_is_followed_or_ignored(prefer: str, wait: float, applied: str | None) -> None:
    headers = [(b"prefer", prefer.encode("utf-8"))] if prefer else []
    scope = {"type": "http", "headers": headers, "query_string": b""}
    preferred = read_preferences(Request(scope), 30, WebhookHosts(""))
    assert (preferred.wait, preferred.applied) == (wait, applied)


def test_a_flag_of_the_query_needs_no_value() -> None:
    for query in ("dry_run", "dry_run=", "dry_run=true", "dry_run=1&fresh"):
        assert read(query=query).dry_run, query
    assert read(query="fresh=").fresh
    assert not read(query="dry_run=false").dry_run


def test_the_query_gives_tags_timeout_and_dry_run() -> None:
    address = "https://hooks.hpc.example/a?b"
    preferred = read(query=f"tag=a&tag=b%20c&timeout=2.5&dry_run=true&notify={quote(address)}")
    assert preferred.tag == ["a", "b c"]
    assert preferred.timeout == 2.5
    assert preferred.dry_run
    assert preferred.notify == address


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("timeout=0", "timeout"),
        ("timeout=inf", "timeout"),
        ("timeout=nan", "timeout"),
        ("timeout=soon", "timeout"),
        ("dry_run=maybe", "dry_run"),
        ("notify=https://elsewhere.example", "notify"),
        ("tag=", "tag.0"),
        ("tag=" + "x" * 65, "tag.0"),
        ("&".join(["tag=a"] * 21), "tag"),
    ],
)
def test_a_wrong_query_is_refused_with_its_field(query: str, field: str) -> None:
    with pytest.raises(InvalidOptions) as refused:
        read(query=query)
    assert field in [fault["field"] for fault in refused.value.details["faults"]]


@pytest.mark.parametrize(
    ("cache_control", "oldest"),
    [
        ("", math.inf),
        ("no-cache", 0),
        ("No-Store, max-age=9", 0),
        ("max-age=9", 9),
        ("max-age=0", 0),
        ("max-age=soon", math.inf),
        ("max-age=٣", math.inf),
        ("only-if-cached", math.inf),
    ],
)
def test_how_old_an_answer_may_be(cache_control: str, oldest: float) -> None:
    headers = [(b"cache-control", cache_control.encode())] if cache_control else []
    scope = {"type": "http", "headers": headers, "query_string": b""}
    assert read_preferences(Request(scope), 30, WebhookHosts("")).max_age == oldest
