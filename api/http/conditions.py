"""Entity tags of files, the conditions of a request on them, and ranges (RFC 9110, 13 and 14)."""

from __future__ import annotations

import re
from typing import NamedTuple

import asyncssh
from starlette.datastructures import Headers

from resop.errors import InvalidOptions, PreconditionFailed, RangeNotSatisfiable

_TAG = re.compile(r'(?:W/)?"[^"]*"')
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.IGNORECASE)


def tag_of(attributes: asyncssh.SFTPAttrs) -> str:
    """Made of size and time: SFTP tells whole seconds, and parts of them from version 4 on."""
    size, time, part = attributes.size or 0, attributes.mtime or 0, attributes.mtime_ns or 0
    return f'"{size:x}-{time:x}-{part:x}"'


def is_conditional(headers: Headers) -> bool:
    """Whether it matters what is there."""
    return "if-match" in headers or "if-none-match" in headers


def check_conditions(headers: Headers, present: asyncssh.SFTPAttrs | None) -> None:
    """PreconditionFailed unless If-Match and If-None-Match hold for what is there, or is not."""
    tag = None if present is None else tag_of(present)
    wanted, unwanted = headers.get("if-match"), headers.get("if-none-match")
    if wanted is not None and not _matches(wanted, tag):
        raise PreconditionFailed("the file is not the one that If-Match names", etag=tag)
    if unwanted is not None and _matches(unwanted, tag):
        raise PreconditionFailed("the file is one that If-None-Match names", etag=tag)


def is_known(headers: Headers, present: asyncssh.SFTPAttrs) -> bool:
    """Whether who reads it has it already; PreconditionFailed as above."""
    tag = tag_of(present)
    if not _matches(headers.get("if-match", "*"), tag):
        raise PreconditionFailed("the file is not the one that If-Match names", etag=tag)
    return _matches(headers.get("if-none-match", ""), tag)


def _matches(listed: str, tag: str | None) -> bool:
    if tag is None:
        return False
    return listed.strip() == "*" or tag in (
        each.removeprefix("W/") for each in _TAG.findall(listed)
    )


class Span(NamedTuple):
    """Bytes of a file: from `start` on, `size` of them."""

    start: int
    size: int


def range_of(headers: Headers, present: asyncssh.SFTPAttrs) -> Span | None:
    """The one range that is asked for; None for all of it, also when several are asked for."""
    size = present.size or 0
    found = _RANGE.fullmatch(headers.get("range", "").strip())
    if found is None or found[0].endswith("=-"):
        return None
    if headers.get("if-range", tag_of(present)) != tag_of(present):
        return None
    first, last = found[1], found[2]
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise RangeNotSatisfiable(size)
    return Span(start, end - start)


class Part(NamedTuple):
    """A part of an upload; `total` of all of it, None where that is not known yet."""

    start: int
    size: int
    total: int | None

    @property
    def is_last(self) -> bool:
        return self.start + self.size == self.total


def part_of(headers: Headers) -> Part | None:
    """What Content-Range says of the body; InvalidOptions for what is none."""
    given = headers.get("content-range")
    if given is None:
        return None
    found = _CONTENT_RANGE.fullmatch(given.strip())
    if found is not None:
        first, end = int(found[1]), int(found[2]) + 1
        total = None if found[3] == "*" else int(found[3])
        if first < end and (total is None or end <= total):
            return Part(first, end - first, total)
    fault = "is not 'bytes FIRST-LAST/TOTAL', where TOTAL may be *"
    raise InvalidOptions([{"field": "Content-Range", "message": fault}])
