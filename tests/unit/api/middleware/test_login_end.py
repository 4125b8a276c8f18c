"""A request ends with the login of its token, whatever it does at that moment."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from api.http.request_context import RequestContext
from api.middleware.login_end import EndWithLogin
from api.state.requests_by_login import RequestsByLogin
from resop.messaging.messages import LoggedOut, Resync

Answer = Callable[[Receive, Send], Awaitable[None]]


class Client:
    """Sends one request as the login `mine`, to an application that answers with `answer`."""

    def __init__(self, answer: Answer, before_start: Callable[[], None] | None = None) -> None:
        """`before_start` is called while the audit entry of the answer is being written."""
        self._before_start = before_start
        self.requests = RequestsByLogin()
        self.began = asyncio.Event()
        self.answering = asyncio.Event()
        self.cleaned_up = False
        self.sent: list[Message] = []
        self._answer = answer
        self.serving = asyncio.create_task(self._serve())

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests.end_with("mine")
        self.began.set()
        try:
            await self._answer(receive, send)
        finally:
            await asyncio.sleep(0)  # what is cleaned up takes turns of the event loop
            self.cleaned_up = True

    async def _serve(self) -> None:
        scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        RequestContext.begin(scope, "request-1")

        async def receive() -> Message:
            await asyncio.Event().wait()  # the client sends nothing more
            raise AssertionError

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start" and self._before_start is not None:
                self._before_start()
                await asyncio.sleep(0.01)
            self.sent.append(message)
            self.answering.set()

        await EndWithLogin(self._application, self.requests)(scope, receive, send)
        await asyncio.sleep(0)  # what is outside is not cancelled

    @property
    def status(self) -> int:
        [start] = [each for each in self.sent if each["type"] == "http.response.start"]
        return int(start["status"])

    @property
    def complete(self) -> bool:
        """True if the end of the answer was sent."""
        bodies = [each for each in self.sent if each["type"] == "http.response.body"]
        return bool(bodies) and not bodies[-1].get("more_body", False)

    async def end_login(self, credential: str = "mine") -> None:
        async with asyncio.timeout(10):
            await self.began.wait()
        self.requests.on_logout(LoggedOut(credential))

    async def served(self) -> None:
        async with asyncio.timeout(10):
            await self.serving


async def wait_for_ever(receive: Receive, send: Send) -> None:
    await receive()


def stream(media_type: str) -> Answer:
    async def content() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    async def answer(receive: Receive, send: Send) -> None:
        scope: Scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
        await StreamingResponse(content(), media_type=media_type)(scope, receive, send)

    return answer


async def test_waiting_request_is_answered_401_and_cleans_up() -> None:
    client = Client(wait_for_ever)
    await client.end_login()
    await client.served()
    assert (client.status, client.complete, client.cleaned_up) == (401, True, True)
    body: Any = json.loads(client.sent[-1]["body"])
    assert body["error"]["type"] == "TokenRefused"


@pytest.mark.parametrize(
    ("media_type", "complete"),
    [("text/event-stream", True), ("application/octet-stream", False), ("text/csv", False)],
)
async def test_answer_that_has_begun_is_cut_off(media_type: str, complete: bool) -> None:
    client = Client(stream(media_type))
    async with asyncio.timeout(10):
        await client.answering.wait()
    await client.end_login()
    await client.served()
    assert (client.status, client.complete, client.cleaned_up) == (200, complete, True)


async def test_other_logins_and_lost_messages_end_no_request() -> None:
    client = Client(wait_for_ever)
    await client.end_login("another")
    client.requests.on_logout(Resync())
    done, _ = await asyncio.wait([client.serving], timeout=0.05)
    assert not done
    await client.end_login()
    await client.end_login()  # a second message does not break off the cleanup
    await client.served()
    assert client.status == 401 and client.cleaned_up


async def test_request_that_ends_its_own_login_is_answered() -> None:
    async def answer(receive: Receive, send: Send) -> None:
        client.requests.outlive_login()
        client.requests.on_logout(LoggedOut("mine"))
        await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    client = Client(answer)
    await client.served()
    assert (client.status, client.complete) == (200, True)


async def test_other_cancellations_pass_through() -> None:
    client = Client(wait_for_ever)
    await client.began.wait()
    client.serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await client.serving
    assert client.serving.cancelled() and client.sent == []


async def test_served_request_is_forgotten() -> None:
    async def answer(receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    client = Client(answer)
    await client.served()
    await client.end_login()
    assert client.status == 204 and not client.serving.cancelled()


JSON = [(b"content-type", b"application/json"), (b"content-length", b"2")]


@pytest.mark.parametrize(("headers", "status"), [(JSON, 200), ([], 401)], ids=["JSON", "other"])
async def test_login_that_ends_while_the_answer_is_recorded_does_no_harm(
    headers: list[tuple[bytes, bytes]], status: int
) -> None:
    """A complete answer is sent; another one, which may be long, is replaced."""

    async def answer(receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    def end_login() -> None:
        if not ended:
            ended.append(True)
            client.requests.on_logout(LoggedOut("mine"))

    ended: list[bool] = []
    client = Client(answer, end_login)
    await client.served()
    assert (client.status, client.complete) == (status, True)


async def test_login_that_ends_with_the_answer_cancels_nothing_outside() -> None:
    async def answer(receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    class Late(Client):
        async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
            await super()._application(scope, receive, send)
            self.requests.on_logout(LoggedOut("mine"))  # nothing is awaited after this

    client = Late(answer)
    await client.served()
    assert client.status == 204
