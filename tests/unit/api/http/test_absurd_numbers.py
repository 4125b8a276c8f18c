"""Headers with absurd numbers, or of absurd length: each has an answer, and none takes long."""

from __future__ import annotations

import base64
import hashlib
import time
from datetime import UTC, datetime

import asyncssh
import pytest
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request

from api.http.conditions import (
    ByteRange,
    Part,
    check_conditions,
    read_content_range,
    read_range,
)
from api.http.digests import announced_digests
from api.http.preferences import read_preferences
from api.routes.file_upload import WriteOptions
from api.tasks.event_stream import Cursor
from resop.config.webhook_hosts import WebhookHosts
from resop.errors import InvalidOptions, PreconditionFailed, RangeNotSatisfiable

FILE = asyncssh.SFTPAttrs(size=100, mtime=1)
HUGE = "9" * 5000


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"bytes=-{HUGE}", ByteRange(0, 100)),
        (f"bytes=10-{HUGE}", ByteRange(10, 90)),
        (f"bytes={'0' * 5000}7-8", ByteRange(7, 2)),
        (f"bytes={HUGE}-1", None),
        ("bytes=٣-٤", None),
        (f"bytes={'1-2,' * 10_000}", None),
        ("-" * 60_000, None),
    ],
)
def test_range_of_any_number_is_read(header: str, expected: ByteRange | None) -> None:
    assert read_range(Headers(raw=[(b"range", header.encode())]), FILE) == expected


@pytest.mark.parametrize("header", [f"bytes={HUGE}-", f"bytes={HUGE}-{HUGE}", "bytes=100-"])
def test_range_behind_the_end_is_not_satisfiable(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        read_range(Headers({"range": header}), FILE)


@pytest.mark.parametrize(
    "header",
    [
        f"bytes 0-{HUGE}/*",
        f"bytes {HUGE}-{HUGE}/{HUGE}",
        f"bytes 0-9/{HUGE}",
        "bytes 0-9/9",
        "bytes 9-0/*",
        "bytes ٠-٩/*",
        "bytes " + "0" * 60_000,
    ],
)
def test_content_range_of_absurd_numbers_is_refused(header: str) -> None:
    with pytest.raises(InvalidOptions, match="Content-Range"):
        read_content_range(Headers(raw=[(b"content-range", header.encode())]))


def test_largest_content_range_is_read() -> None:
    last = 10**18 - 1
    assert read_content_range(Headers({"content-range": f"bytes {last}-{last}/*"})) == Part(
        last, 1, None
    )


@pytest.mark.parametrize(
    "header", ["a" * 100_000, "sha-256=" * 20_000, "sha-256=:" * 20_000, "sha-256=:ä:", ":" * 9999]
)
def test_digests_are_parsed_in_linear_time(header: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidOptions):
        announced_digests(Headers(raw=[(b"repr-digest", header.encode("latin-1"))]), "Repr-Digest")
    assert time.process_time() - began < 5.0  # searched for from each character, it took 30 s


def test_digest_among_others_is_found() -> None:
    digest = hashlib.sha256(b"x").digest()
    header = f"md5=:AAAA:, sha-256=:{base64.b64encode(digest).decode()}:,other=1"
    assert announced_digests(Headers({"repr-digest": header}), "Repr-Digest") == {"sha256": digest}


@pytest.mark.parametrize("header", ['"' * 60_000, 'W/"' * 20_000, '"x",' * 15_000, "W/" * 30_000])
def test_entity_tags_are_compared_in_linear_time(header: str) -> None:
    began = time.process_time()
    with pytest.raises(PreconditionFailed):
        check_conditions(Headers({"if-match": header}), FILE)
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize(
    "time",
    [
        "0001-01-01T00:00:00Z",
        "1960-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2106-02-07T06:28:16Z",
        "9999-12-31T23:59:59-12:00",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_time_that_no_file_can_have_is_refused(time: str) -> None:
    with pytest.raises(ValidationError, match="must lie between 1970-01-01 and 2106-02-07"):
        WriteOptions.model_validate({"modified": time})


def test_first_and_last_time_of_a_file_are_taken() -> None:
    for moment in (datetime.fromtimestamp(0, UTC), datetime.fromtimestamp((1 << 32) - 1, UTC)):
        assert WriteOptions(modified=moment).modified == moment


@pytest.mark.parametrize(
    "text",
    [
        f"running/{HUGE}/0/0//0/0.0",
        f"running/0/0/0//{HUGE}/0.0",
        "running/0/0/0//-1/0.0",
        "running/0/0/0//99999999999/0.0",
        "running/0/0/0//0/0." + HUGE,
        "running/0/0/0//0/²",
        "/" * 16_000,
        "," * 16_000,
    ],
)
def test_event_id_of_absurd_numbers_is_refused(text: str) -> None:
    with pytest.raises(InvalidOptions, match="Last-Event-ID"):
        Cursor.parse(text)


def test_event_id_comes_back() -> None:
    cursor = Cursor("running", 3, 2, (1, 4), "1.0:2.0", 17, (5, 6))
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize(
    ("prefer", "wait"), [(f"wait={HUGE}", 600.0), ("wait=" + "0" * 9999, 0.0), ("wait," * 9999, 7)]
)
def test_preferences_of_absurd_numbers_are_bounded(prefer: str, wait: float) -> None:
    headers = [(b"prefer", prefer.encode()), (b"cache-control", f"max-age={HUGE}".encode())]
    request = Request({"type": "http", "headers": headers, "query_string": b""})
    found = read_preferences(request, 7, WebhookHosts(""))
    assert found.wait == wait
    assert found.max_age > 1e300
