"""Entity tags, conditional requests and ranges of files (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from typing import NamedTuple

import asyncssh
from starlette.datastructures import Headers

from api.http.http_date import read_http_date
from resop.errors import InvalidOptions, PreconditionFailed, RangeNotSatisfiable

_TAG = re.compile(r'(?:W/)?"[^"]*"')
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE | re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.IGNORECASE | re.ASCII)
MAX_DIGITS = 18
"""Digits of a number of bytes; more are not parsed."""


def entity_tag(attributes: asyncssh.SFTPAttrs) -> str:
    """Return a tag made of size and time; SFTP has fractions of seconds from version 4 on."""
    size, seconds = attributes.size or 0, attributes.mtime or 0
    return f'"{size:x}-{seconds:x}-{attributes.mtime_ns or 0:x}"'


def has_conditions(headers: Headers) -> bool:
    """Return True if the request carries a condition for changing a file."""
    return any(name in headers for name in ("if-match", "if-none-match", "if-unmodified-since"))


def check_conditions(headers: Headers, present: asyncssh.SFTPAttrs | None) -> None:
    """Raise PreconditionFailed unless the conditions of a change hold; None: there is no file.

    They are evaluated in the order of RFC 9110, section 13.2.2.
    """
    _check_same(headers, present)
    tags = _field(headers, "if-none-match")
    if tags is not None and _matches(tags, present):
        etag = None if present is None else entity_tag(present)
        raise PreconditionFailed("the file has an entity tag in If-None-Match", etag=etag)


def is_unchanged(headers: Headers, present: asyncssh.SFTPAttrs) -> bool:
    """Return True if the client already has the file.

    Raises PreconditionFailed if If-Match or If-Unmodified-Since do not hold.
    """
    _check_same(headers, present)
    tags = _field(headers, "if-none-match")
    if tags is not None:
        return _matches(tags, present)
    since = _date(headers, "if-modified-since")
    return since is not None and present.mtime is not None and present.mtime <= since


def _check_same(headers: Headers, present: asyncssh.SFTPAttrs | None) -> None:
    """Raise PreconditionFailed if the file is not the one of If-Match or If-Unmodified-Since."""
    tags, etag = _field(headers, "if-match"), None if present is None else entity_tag(present)
    if tags is not None:
        if not _matches(tags, present, strong=True):
            raise PreconditionFailed("the file does not have the entity tag in If-Match", etag=etag)
        return
    since = _date(headers, "if-unmodified-since")
    if since is None or present is None or present.mtime is None:
        return
    if present.mtime > since:
        modified = formatdate(present.mtime, usegmt=True)
        raise PreconditionFailed(
            f"the file was modified on {modified}, after If-Unmodified-Since", etag=etag
        )


def _field(headers: Headers, name: str) -> str | None:
    """Return a field; several of the same name are one list (RFC 9110, 5.3)."""
    return ",".join(headers.getlist(name)).strip() if name in headers else None


def _date(headers: Headers, name: str) -> int | None:
    """Return the date in a field; None without one, or if it is invalid, which is ignored."""
    return read_http_date(_field(headers, name) or "")


def _matches(field: str, present: asyncssh.SFTPAttrs | None, *, strong: bool = False) -> bool:
    """Return True if a list of entity tags has the file's; a weak tag is no strong one."""
    if present is None:
        return False
    if field == "*":
        return True
    tags = _TAG.findall(field)
    return entity_tag(present) in (tags if strong else [each.removeprefix("W/") for each in tags])


class ByteRange(NamedTuple):
    """A range of a file in bytes."""

    start: int
    size: int


def read_range(headers: Headers, present: asyncssh.SFTPAttrs) -> ByteRange | None:
    """Return the requested range; None for the whole file, also if several were requested.

    Raises RangeNotSatisfiable if the range begins after the end of the file.
    """
    size = present.size or 0
    found = _RANGE.fullmatch(headers.get("range", "").strip())
    if found is None or found[0].endswith("=-"):
        return None
    if not _range_applies(headers, present):
        return None
    first, last = found[1], found[2]
    if not first:
        start, end = max(0, size - _number(last)), size
    else:
        start, end = _number(first), min(size, _number(last) + 1) if last else size
        if last and _number(last) < start:
            return None
    if start >= size:
        raise RangeNotSatisfiable(size)
    return ByteRange(start, end - start)


def _range_applies(headers: Headers, present: asyncssh.SFTPAttrs) -> bool:
    """Return True unless If-Range says that the client has a part of another version."""
    validator = _field(headers, "if-range")
    if validator is None or validator == entity_tag(present):
        return True
    # A file of this very second may change without a new time: its time identifies nothing yet.
    return (
        present.mtime is not None
        and read_http_date(validator) == present.mtime
        and present.mtime < int(time.time())
    )


def _number(digits: str) -> int:
    """Return a number; any of more digits than a file's size has is as good as any other."""
    return int(digits) if len(digits := digits.lstrip("0") or "0") <= MAX_DIGITS else 10**MAX_DIGITS


class Part(NamedTuple):
    """A part of an upload, in bytes; `total` is None while the size of the file is unknown."""

    start: int
    size: int
    total: int | None

    @property
    def is_last(self) -> bool:
        return self.start + self.size == self.total


def read_content_range(headers: Headers) -> Part | None:
    """Return the part that the body is. Raises InvalidOptions for an invalid Content-Range."""
    header = headers.get("content-range")
    if header is None:
        return None
    found = _CONTENT_RANGE.fullmatch(header.strip())
    if found is not None:
        first, end = int(found[1]), int(found[2]) + 1
        total = None if found[3] == "*" else int(found[3])
        if first < end and (total is None or end <= total):
            return Part(first, end - first, total)
    message = "must be 'bytes FIRST-LAST/TOTAL'; TOTAL may be * if it is not known yet"
    raise InvalidOptions.of("Content-Range", message)
