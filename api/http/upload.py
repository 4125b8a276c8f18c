"""The body of an upload as it comes, raw or as the file of a form: never held as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from api.http.body import content_type
from resop.errors import BodyTruncated, InvalidOptions, ServiceError, UnsupportedBody

MULTIPART = "multipart/form-data"
STALL_SECONDS = 120.0
"""So long nothing may come, or nothing be taken, before a transfer is given up."""


async def body_of(request: Request, stopping: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Read what is uploaded, piece by piece, until the service is `stopping`.

    Raises BodyTruncated, UnsupportedBody, or InvalidOptions for a form that does not hold one file.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedBody("files are kept as they come: send them without Content-Encoding")
    if is_form(request):
        async for piece in _file_of_form(request, stopping):
            yield piece
    else:
        async for piece in _pieces(request, stopping):
            yield piece


def is_form(request: Request) -> bool:
    """Whether the body is a form with a file in it."""
    return content_type(request) == MULTIPART


async def _pieces(request: Request, stopping: Callable[[], bool]) -> AsyncIterator[bytes]:
    coming = request.stream()
    try:
        while True:
            async with asyncio.timeout(STALL_SECONDS):
                piece = await anext(coming, None)
            if piece is None:
                return
            if stopping():  # so that what is written is taken away before the end
                raise ServiceError("the service is being stopped: send it again")
            yield piece
    except TimeoutError:
        raise BodyTruncated(f"nothing more came for {STALL_SECONDS:g} s") from None
    except ClientDisconnect:
        raise BodyTruncated from None


async def _file_of_form(request: Request, stopping: Callable[[], bool]) -> AsyncIterator[bytes]:
    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary")
    if not boundary:
        raise _fault("body", "is a form without a boundary")
    form = _Form(boundary)
    async for piece in _pieces(request, stopping):
        for content in form.content_of(piece):
            yield content
    if not form.complete:
        raise BodyTruncated("the form ended early")
    if not form.files:
        raise _fault("body", "is a form without a file")


class _Form:
    """Multipart/form-data (RFC 7578) with one file."""

    def __init__(self, boundary: bytes) -> None:
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )
        self._name = self._value = self._disposition = b""
        self._content: list[bytes] = []
        self.files = 0
        self.complete = False

    def content_of(self, piece: bytes) -> list[bytes]:
        """What a piece of the body holds of the file."""
        self._content = []
        try:
            self._parser.write(piece)
        except MultipartParseError as fault:
            raise _fault("body", f"is no form: {fault}") from None
        return self._content

    def _begin(self) -> None:
        self._disposition = b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _headers_end(self) -> None:
        options = parse_options_header(self._disposition)[1]
        self.files += 1
        if b"filename" not in options or self.files > 1:
            field = options.get(b"name", b"body").decode("utf-8", "replace")
            raise _fault(field, "a form holds one file; options stand in the query")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _end(self) -> None:
        self.complete = True


def _fault(field: str, message: str) -> InvalidOptions:
    return InvalidOptions([{"field": field, "message": message}])
