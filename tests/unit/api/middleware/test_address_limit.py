"""One client behind a trusted proxy cannot take every place."""

import asyncio

from starlette.types import Receive, Scope, Send

from api.middleware.address_limit import AddressLimit
from tests.unit.api.middleware.asgi import ask

LIMIT = 3


async def test_open_requests_of_one_address_are_limited() -> None:
    release = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await release.wait()
        if scope["path"] == "/fault":
            raise RuntimeError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = AddressLimit(slow, LIMIT, "127.0.0.1")
    first = ("2001:db8::1", 1)
    waiting = [asyncio.create_task(ask(app, "/slow", client=first)) for _ in range(LIMIT)]
    await asyncio.sleep(0)
    for address in ("2001:db8::1", "2001:db8::2"):  # of one network
        refused = await ask(app, "/quick", client=(address, 2))
        assert refused.status_code == 429 and refused.headers["retry-after"]
        assert refused.json()["error"]["type"] == "LimitReached"
    for others in (("192.0.2.1", 1), ("127.0.0.1", 1), None):
        assert (await ask(app, "/quick", client=others)).status_code == 200
    release.set()
    assert [(await each).status_code for each in waiting] == [200] * LIMIT
    for _ in range(LIMIT * 2):
        try:
            await ask(app, "/fault", client=first)
        except RuntimeError:
            continue
    assert (await ask(app, "/quick", client=first)).status_code == 200
    assert not app._open
