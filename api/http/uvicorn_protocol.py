"""Uvicorn's HTTP protocol with limits: sizes, times, and connections per address.

Uvicorn itself bounds neither the headers nor the time in which they arrive. Like
uvicorn_server.py, this file relies on undocumented details of uvicorn;
tests/integration/api/http/test_uvicorn.py and test_http_limits.py fail when one of them changes.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httptools
from fastapi.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from api.http.connection_register import ClientConnections, ConnectionRegister
from api.http.errors import DEFAULT_RETRY_AFTER, failure, status_of
from api.http.http_limits import (
    DRAIN_SECONDS,
    LINGER_SECONDS,
    MAX_LINGERING,
    MAX_PIPELINED,
    is_transfer,
)
from api.http.upload import STALL_SECONDS
from resop.errors import (
    BodyTruncated,
    HeadersTooLarge,
    LimitReached,
    MalformedRequest,
    RequestTimedOut,
    ResopError,
    ServiceBusy,
    UriTooLong,
)

_WITHOUT_PATH = re.compile(rb"^https?://[^/?#]+(?=[?#]|$)", re.IGNORECASE)
"""A request target in absolute form that has no path (RFC 9112, section 3.2.2)."""
REFUSAL_HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "X-Content-Type-Options": "nosniff",
}


class LimitedProtocol(HttpToolsProtocol):
    """One connection. What it refuses is answered as every other error is, and then closed."""

    def __init__(self, *arguments: Any, register: ConnectionRegister, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._register = register
        self._limits = register.limits
        self._client: ClientConnections | None = None
        self._header_count = 0
        self._begun = False  # True while headers arrive
        self._headers_complete = False  # of the present request, whose body may be incomplete
        self._unparsed = 0  # bytes since the parser last completed something
        self._is_repeating = False  # True while a new parser gets the headers of a request again
        self._fault: ResopError | None = None
        self._refused = False
        self._linger_until: float | None = None
        self._waiting_since = 0.0  # for the client: to send headers, the rest of a body, or more
        self._unsent = 0
        self._sent_at = 0.0  # when the client last received something

    # -- connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, or refuse it."""
        super().connection_made(transport)
        self._waiting_since = self._sent_at = self.loop.time()
        try:
            self._client = self._register.enter(self, self.client[0] if self.client else None)
        except (LimitReached, ServiceBusy) as fault:
            self._refuse(fault)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._leave()
        if self._linger_until is not None:
            self._register.lingering -= 1
            self._linger_until = None
        super().connection_lost(exc)

    def give_way(self) -> None:
        """Close, since another connection of the same client needs the place."""
        self._leave()
        if self._begun or self._headers_complete:
            self._refuse(LimitReached("another connection from your address needs the place"))
        else:
            self.transport.close()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer a client that stops sending after the request, as `nc -N` does.

        A response that has begun is cut off instead: its client has probably gone, and nobody
        could tell how long it would be sent to no one. TLS cannot be closed by halves.
        """
        cycle = self.cycle
        is_serving = self._is_serving()
        if self.scheme == "https" or self._refused or (is_serving and cycle.response_started):
            return False
        if self._begun or (is_serving and cycle.more_body):
            if not self.pipeline:
                early = MalformedRequest("the headers ended early")
                self._refuse(early if self._begun else BodyTruncated())
            return False
        if is_serving:
            cycle.keep_alive = False
        return is_serving

    def resume_writing(self) -> None:
        """Note that the client reads."""
        self._sent_at = self.loop.time()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, in pieces: what no limit admits is not even given to the parser."""
        if self._refused:
            return
        limit, position = self._limits.header_bytes, 0
        while position < len(data) and not self.transport.is_closing():
            piece = data[position : position + limit - self._unparsed]
            position += len(piece)
            self._unparsed += len(piece)
            self._unset_keepalive_if_required()
            self._parse(piece)
            if self._unparsed >= limit and self._fault is None:
                self._fault = HeadersTooLarge(f"the headers have more than {limit} bytes")
            if self._fault is not None:
                self._refuse(self._fault)
                return

    def _parse(self, piece: bytes) -> None:
        try:
            while piece and self._fault is None:
                try:
                    self.parser.feed_data(piece)
                    return
                except httptools.HttpParserUpgrade as upgrade:
                    self._decline_upgrade()
                    piece = piece[upgrade.args[0] :]
        except httptools.HttpParserError:
            self._fault = self._fault or MalformedRequest()

    def _decline_upgrade(self) -> None:
        """Continue after the headers of a request that offers another protocol, such as h2c.

        The parser believes that the request has no body. A new one reads it, after the header from
        which it learns where the body ends (RFC 9112, section 6.3).
        """
        framing = self._framing()
        if framing:
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self._is_repeating = True
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
            self._is_repeating = False

    def _framing(self) -> bytes:
        """Return the header that says where the body of the request ends; empty without a body."""
        for name, value in self.headers:
            if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b" 0")):
                return name + b": " + value
        return b""

    # -- parser

    def on_message_begin(self) -> None:
        """Begin to count."""
        if self._is_repeating:
            return
        self._header_count, self._begun = 0, True
        self._waiting_since = self.loop.time()
        if self._client is not None and not self._is_serving():
            self._client.wait(self)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Limit the address."""
        if self._is_repeating:
            return
        super().on_url(url)
        limit = self._limits.url_bytes
        if len(self.url) > limit:
            self._fault = UriTooLong(f"the address (path and query) has more than {limit} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Limit the number of headers; trailers count as well, and are dropped."""
        if self._is_repeating:
            return
        self._header_count += 1
        limit = self._limits.header_count
        if self._header_count > limit:
            self._fault = HeadersTooLarge(f"the request has more than {limit} headers")
        elif not self._headers_complete:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Serve the request, unless it is refused."""
        if self._is_repeating:
            return
        self._headers_complete, self._begun, self._unparsed = True, False, 0
        if len(self.pipeline) >= MAX_PIPELINED:
            self._fault = LimitReached(
                f"{MAX_PIPELINED} requests wait on this connection for the answer before them"
            )
        if self.url == b"*" and self.parser.get_method() == b"OPTIONS":
            self.url = b"/"  # the service as a whole
        self.url = _WITHOUT_PATH.sub(rb"\g<0>/", self.url)
        if self._fault is None:
            super().on_headers_complete()
            transfer_paths = self._limits.transfer_paths
            if self._client is not None and is_transfer(self.scope["path"], transfer_paths):
                self._client.serve(self)  # an upload may take long

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body."""
        self._unparsed = 0
        if self._fault is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for the next request."""
        if self.parser.should_upgrade() and self._framing():
            return  # its body follows
        self._headers_complete, self._unparsed = False, 0
        self._waiting_since = self.loop.time()
        if self._fault is None:
            super().on_message_complete()
            if self._client is not None:
                if self._is_serving():
                    self._client.serve(self)
                else:
                    self._client.rest(self)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._waiting_since = self.loop.time()
        super().on_response_complete()
        if self._client is not None and not self._is_serving():
            if self._headers_complete:  # answered before the rest of its body
                self._client.wait(self)
            else:
                self._client.rest(self)

    # -- limits

    def sweep(self, now: float) -> None:
        """Close the connection if its client has let it wait for too long: called every second."""
        if self._linger_until is not None:
            if now >= self._linger_until:
                self.transport.abort()
        elif self._is_stalled(now):
            self.transport.abort()
        elif not self._is_serving() and not self.transport.is_closing():
            self._sweep_waiting(now - self._waiting_since)

    def _sweep_waiting(self, waited: float) -> None:
        limits = self._limits
        if self._headers_complete:  # answered early; what still arrives is the rest of the body
            is_late = waited >= DRAIN_SECONDS
        elif self._begun:
            if waited >= limits.header_seconds:
                self._refuse(
                    RequestTimedOut(
                        f"the headers did not arrive within {limits.header_seconds:g} s"
                    )
                )
            return
        elif self.cycle is None:
            is_late = waited >= limits.header_seconds
        else:
            is_late = waited >= limits.keep_alive_seconds
        if is_late:
            self.transport.close()

    def _is_stalled(self, now: float) -> bool:
        """Return True if the client has read nothing for STALL_SECONDS, but should."""
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent or not unsent:
            self._unsent, self._sent_at = unsent, now
        return now - self._sent_at >= STALL_SECONDS

    def _is_serving(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _refuse(self, fault: ResopError) -> None:
        """Answer with an error and close; requests that are complete are answered before."""
        self._refused = True
        self._register.refused(fault)
        if self._client is not None:
            self._client.serve(self)  # nothing is expected from it any more
        if self.transport.is_closing():
            return
        if self._is_serving():
            cycle = self.cycle
            cycle.keep_alive = False
            if self.pipeline or not cycle.more_body:
                return
            # The body of this very request is at fault: it ends for the application here.
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        if self._register.lingering >= MAX_LINGERING:
            self.transport.abort()
            return
        self.transport.write(_encode(fault))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._register.lingering += 1
        self._linger_until = self.loop.time() + LINGER_SECONDS

    def _leave(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._register.leave(self, client)


def _encode(fault: ResopError) -> bytes:
    headers = dict(REFUSAL_HEADERS)
    status = status_of(type(fault))
    if status in (429, 503):
        headers["Retry-After"] = str(DEFAULT_RETRY_AFTER)
    response = JSONResponse(failure(fault.as_json()), status, headers)
    lines = [b"%s: %s\r\n" % header for header in response.raw_headers]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", bytes(response.body)])
