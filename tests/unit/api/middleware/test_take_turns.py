"""Many requests of one client do not delay the few of others."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from api.middleware import take_turns
from api.middleware.take_turns import AT_ONCE, TakeTurns
from api.state.turns import end_turn
from tests.unit.api.middleware.asgi import ask

MANY = ("192.0.2.66", 1)
FEW = ("192.0.2.1", 1)
PROXY = ("127.0.0.1", 1)


class Site:
    """An application that notes which of its requests are at work."""

    def __init__(self) -> None:
        self.app = TakeTurns(self._serve, "127.0.0.1")
        self.release = asyncio.Event()
        self.at_work = 0
        self.most = 0
        self.begun = 0

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        if scope["path"] == "/waits":
            end_turn()
        if scope["path"] == "/fails":
            raise RuntimeError
        if scope["path"] == "/streams":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] != "/quick":
            await self.release.wait()
        await asyncio.sleep(0)
        self.at_work -= 1
        if scope["path"] != "/streams":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def begin(
        self, path: str, client: tuple[str, int], count: int = AT_ONCE * 3
    ) -> list[asyncio.Task[object]]:
        """Send requests, and let them come as far as they can."""
        sent: list[asyncio.Task[object]] = [
            asyncio.create_task(ask(self.app, path, client=client)) for _ in range(count)
        ]
        for _ in range(10):
            await asyncio.sleep(0)
        return sent


async def test_few_requests_of_one_client_are_at_work_at_once() -> None:
    site = Site()
    many = await site.begin("/works", MANY)
    assert site.at_work == AT_ONCE
    assert (await ask(site.app, "/quick", client=FEW)).status_code == 200
    site.release.set()
    await asyncio.gather(*many)
    assert site.begun == AT_ONCE * 3 + 1
    assert site.most == AT_ONCE + 1


async def test_requests_are_served_in_their_order() -> None:
    site = Site()
    await site.begin("/works", MANY, AT_ONCE)
    order: list[int] = []

    async def ask_as(number: int) -> None:
        await ask(site.app, "/quick", client=MANY)
        order.append(number)

    later = [asyncio.create_task(ask_as(number)) for number in range(10)]
    await asyncio.sleep(0)
    site.release.set()
    await asyncio.gather(*later)
    assert order == sorted(order)


@pytest.mark.parametrize("path", ["/waits", "/streams"])
async def test_request_that_only_waits_leaves_its_turn_to_others(path: str) -> None:
    site = Site()
    many = await site.begin(path, MANY)
    assert site.at_work == AT_ONCE * 3
    site.release.set()
    await asyncio.gather(*many)
    assert not site.app._turns._working and not site.app._turns._waiting


async def test_turn_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(take_turns, "MAX_TURN_SECONDS", 0.05)
    site = Site()
    many = await site.begin("/works", MANY)
    async with asyncio.timeout(20):
        while site.at_work < AT_ONCE * 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    site.release.set()
    await asyncio.gather(*many)


async def test_failed_and_cancelled_requests_leave_their_turn() -> None:
    site = Site()
    failed = await site.begin("/fails", MANY)
    assert all(isinstance(each.exception(), RuntimeError) for each in failed)
    many = await site.begin("/works", MANY)
    for each in [*many[:3], *many[-3:]]:  # some at work, some waiting
        each.cancel()
    await asyncio.sleep(0)
    site.release.set()
    await asyncio.gather(*many, return_exceptions=True)
    assert not site.app._turns._working and not site.app._turns._waiting


async def test_proxy_that_names_no_client_takes_no_turns() -> None:
    site = Site()
    many = await site.begin("/works", PROXY)
    assert site.at_work == AT_ONCE * 3
    site.release.set()
    await asyncio.gather(*many)
