"""Entity tags, conditional requests and ranges of files (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from typing import NamedTuple

import asyncssh
from starlette.datastructures import Headers

from resop.errors import InvalidOptions, PreconditionFailed, RangeNotSatisfiable

_TAG = re.compile(r'(?:W/)?"[^"]*"')
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE | re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.IGNORECASE | re.ASCII)
MAX_DIGITS = 18
"""Digits of a number of bytes; more are not parsed."""


def entity_tag(attributes: asyncssh.SFTPAttrs) -> str:
    """Return a tag made of size and time; SFTP has fractions of seconds from version 4 on."""
    size, time, nanoseconds = attributes.size or 0, attributes.mtime or 0, attributes.mtime_ns or 0
    return f'"{size:x}-{time:x}-{nanoseconds:x}"'


def has_conditions(headers: Headers) -> bool:
    """Return True if the request carries If-Match or If-None-Match."""
    return "if-match" in headers or "if-none-match" in headers


def check_conditions(headers: Headers, present: asyncssh.SFTPAttrs | None) -> None:
    """Raise PreconditionFailed unless If-Match and If-None-Match hold; None: there is no file."""
    tag = None if present is None else entity_tag(present)
    if_match, if_none_match = headers.get("if-match"), headers.get("if-none-match")
    if if_match is not None and not _matches(if_match, tag):
        raise PreconditionFailed("the file does not have the entity tag in If-Match", etag=tag)
    if if_none_match is not None and _matches(if_none_match, tag):
        raise PreconditionFailed("the file has an entity tag in If-None-Match", etag=tag)


def is_unchanged(headers: Headers, present: asyncssh.SFTPAttrs) -> bool:
    """Return True if the client already has the file. Raises PreconditionFailed by If-Match."""
    tag = entity_tag(present)
    if not _matches(headers.get("if-match", "*"), tag):
        raise PreconditionFailed("the file does not have the entity tag in If-Match", etag=tag)
    return _matches(headers.get("if-none-match", ""), tag)


def _matches(header: str, tag: str | None) -> bool:
    if tag is None:
        return False
    return header.strip() == "*" or tag in (
        each.removeprefix("W/") for each in _TAG.findall(header)
    )


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
    if headers.get("if-range", entity_tag(present)) != entity_tag(present):
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
