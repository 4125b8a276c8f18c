"""Read the body of an upload in chunks, raw or as the file of a form, without buffering it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from api.http.body import MULTIPART, content_type, refuse_encoded
from resop.errors import BodyTruncated, InvalidOptions, ServiceError

MAX_HEADER_BYTES = 8192
"""The longest Content-Type of a form, and the longest headers of its parts."""
STALL_SECONDS = 120.0
"""A transfer in which nothing was received or sent for this long is given up."""


async def upload_chunks(request: Request, is_stopping: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield the uploaded content until its end, or until `is_stopping` returns True.

    Raises BodyTruncated, UnsupportedEncoding, ServiceError when the service is stopping, or
    InvalidOptions for a form that does not contain exactly one file.
    """
    refuse_encoded(request)  # files are stored as they are sent
    chunks = _body_chunks(request, is_stopping)
    async for chunk in _form_file(request, chunks) if is_form(request) else chunks:
        yield chunk


def is_form(request: Request) -> bool:
    """Return True if the body is a multipart form."""
    return content_type(request) == MULTIPART


async def _body_chunks(request: Request, is_stopping: Callable[[], bool]) -> AsyncIterator[bytes]:
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout(STALL_SECONDS):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            if is_stopping():  # so that the partial file is removed before the process ends
                raise ServiceError("the service is stopping: send the file again")
            yield chunk
    except TimeoutError:
        raise BodyTruncated(f"nothing was received for {STALL_SECONDS:g} s") from None
    except ClientDisconnect:
        raise BodyTruncated from None


async def _form_file(request: Request, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    header = request.headers["content-type"]
    if len(header) > MAX_HEADER_BYTES:
        raise _fault("body", "is a form with a Content-Type that is too long")
    boundary = parse_options_header(header)[1].get(b"boundary")
    if not boundary:
        raise _fault("body", "is a form without a boundary in its Content-Type")
    form = _FileForm(boundary)
    async for chunk in chunks:
        for content in form.feed(chunk):
            yield content
    if not form.complete:
        raise BodyTruncated("the form ended early")
    if not form.files:
        raise _fault("body", "must contain a file")


class _FileForm:
    """Parser of a multipart form (RFC 7578) that contains exactly one file."""

    def __init__(self, boundary: bytes) -> None:
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )
        self._name = self._value = self._disposition = b""
        self._content: list[bytes] = []
        self._header_bytes = 0
        self.files = 0
        self.complete = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Parse the next chunk of the body; return the content of the file in it."""
        self._content = []
        try:
            self._parser.write(chunk)
        except MultipartParseError as fault:
            raise _fault("body", f"is not a valid form: {fault}") from None
        return self._content

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._count_header(end - start)

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._count_header(end - start)

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise _fault("body", "is a form with headers that are too long")

    def _on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        parameters = parse_options_header(self._disposition)[1]
        self.files += 1
        if b"filename" not in parameters or self.files > 1:
            field = parameters.get(b"name", b"body").decode("utf-8", "replace")
            raise _fault(
                field, "is not expected: the form must contain one file; options go in the query"
            )

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _on_end(self) -> None:
        self.complete = True


def _fault(field: str, message: str) -> InvalidOptions:
    return InvalidOptions.of(field, message)
