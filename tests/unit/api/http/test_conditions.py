"""Conditional requests of files, in the order of RFC 9110, section 13.2.2."""

from __future__ import annotations

import time
from email.utils import formatdate

import asyncssh
import pytest
from starlette.datastructures import Headers

from api.http.conditions import (
    ByteRange,
    check_conditions,
    entity_tag,
    is_unchanged,
    read_range,
)
from api.http.http_date import read_http_date
from resop.errors import PreconditionFailed

MODIFIED = 784111777
SAME = (
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
)
"""The example of RFC 9110, 5.6.7, in its three formats."""
BEFORE, AFTER = (formatdate(MODIFIED + each, usegmt=True) for each in (-1, 1))
FILE = asyncssh.SFTPAttrs(size=100, mtime=MODIFIED)
TAG = entity_tag(FILE)
INVALID = ("", "yesterday", "784111777", "Sun, 06 Nov 1994 08:49:37", "1994-11-06T08:49:37Z")


def test_dates_are_read_in_all_formats_of_http() -> None:
    for text in SAME:
        assert read_http_date(text) == MODIFIED, text
    assert read_http_date("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert read_http_date("Mon, 01 Jan 0001 00:00:00 GMT") == -62135596800
    assert read_http_date("Fri, 31 Dec 9999 23:59:59 GMT") == 253402300799
    assert read_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == 1483228800  # a leap second
    for text in (*INVALID, "Sun, 06 Nov 1994 25:49:37 GMT", "Sun, ٠٦ Nov 1994 08:49:37 GMT"):
        assert read_http_date(text) is None, text
    began = time.process_time()
    assert read_http_date("Sun, " + "0" * 60_000) is None
    assert time.process_time() - began < 0.1


def test_year_of_two_digits_is_at_most_fifty_years_ahead() -> None:
    this_year = time.gmtime().tm_year
    for ahead, expected in ((50, this_year + 50), (51, this_year + 51 - 100)):
        found = read_http_date(f"Sunday, 06-Nov-{(this_year + ahead) % 100:02} 08:49:37 GMT")
        assert found is not None
        assert time.gmtime(found).tm_year == expected


def fails(present: asyncssh.SFTPAttrs | None = FILE, **conditions: str) -> bool:
    """Return True if a change of the file is refused."""
    headers = Headers({name.replace("_", "-"): text for name, text in conditions.items()})
    try:
        check_conditions(headers, present)
    except PreconditionFailed as fault:
        assert fault.details.get("etag") == (None if present is None else TAG)
        return True
    return False


def test_a_change_is_refused_unless_its_conditions_hold() -> None:
    for since in (*SAME, AFTER, *INVALID):
        assert not fails(if_unmodified_since=since), since
    assert fails(if_unmodified_since=BEFORE)
    assert not fails(None, if_unmodified_since=BEFORE)  # there is no file, and so no time
    assert fails(if_match='"other"') and not fails(if_match=f'"other", {TAG}')
    assert fails(if_match=f"W/{TAG}")  # a weak tag identifies no content
    assert fails(None, if_match="*") and not fails(if_match="*")
    assert fails(if_none_match="*") and not fails(None, if_none_match="*")
    assert fails(if_none_match=f"W/{TAG}") and not fails(if_none_match='"other"')
    # If-Match takes precedence over the date, and the date is about reading only.
    assert not fails(if_match=TAG, if_unmodified_since=BEFORE)
    assert fails(if_match='"other"', if_unmodified_since=AFTER)
    assert fails(if_unmodified_since=BEFORE, if_none_match='"other"')
    assert not fails(if_modified_since=AFTER)


def test_fields_of_the_same_name_are_one_list() -> None:
    fields = [(b"if-match", b'"other"'), (b"if-match", TAG.encode())]
    check_conditions(Headers(raw=fields), FILE)
    twice = [(b"if-unmodified-since", BEFORE.encode())] * 2
    check_conditions(Headers(raw=twice), FILE)  # no date, and so ignored


def unchanged(**conditions: str) -> bool:
    headers = Headers({name.replace("_", "-"): text for name, text in conditions.items()})
    return is_unchanged(headers, FILE)


def test_a_file_that_the_client_has_is_not_sent_again() -> None:
    for since in (*SAME, AFTER):
        assert unchanged(if_modified_since=since), since
    for since in (BEFORE, *INVALID):
        assert not unchanged(if_modified_since=since), since
    assert unchanged(if_none_match=TAG) and unchanged(if_none_match=f"W/{TAG}")
    assert unchanged(if_none_match="*") and not unchanged(if_none_match='"other"')
    # The tag takes precedence over the date.
    assert not unchanged(if_none_match='"other"', if_modified_since=AFTER)
    assert unchanged(if_none_match=TAG, if_modified_since=BEFORE)
    assert unchanged(if_match=TAG, if_none_match=TAG)
    for refused in ({"if_match": '"other"'}, {"if_unmodified_since": BEFORE}):
        with pytest.raises(PreconditionFailed):
            unchanged(**refused, if_none_match=TAG)


def test_a_range_of_another_version_is_the_whole_file() -> None:
    part = ByteRange(10, 10)

    def asked(validator: str, present: asyncssh.SFTPAttrs = FILE) -> ByteRange | None:
        return read_range(Headers({"range": "bytes=10-19", "if-range": validator}), present)

    for validator in (TAG, *SAME):
        assert asked(validator) == part, validator
    for validator in (f"W/{TAG}", '"other"', BEFORE, AFTER, "*", *INVALID):
        assert asked(validator) is None, validator
    now = int(time.time()) + 1
    assert asked(formatdate(now, usegmt=True), asyncssh.SFTPAttrs(size=100, mtime=now)) is None
