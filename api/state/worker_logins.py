"""Asks a worker to open and hold the session of a login: where a cluster takes no key of ours."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import redis
import redis.asyncio

from resop import errors
from resop.errors import QueueUnavailable, ServiceFault, SessionExpired
from resop.security.login_handover import (
    OFFER,
    TO_API,
    TO_WORKER,
    LoginKeyExchange,
    channel_of,
    fields,
)
from resop.security.sealing import Encryptor
from resop.security.tokens import Token
from resop.storage.ids import new_id

OFFER_SECONDS = 5.0
AGAIN_SECONDS = 0.5
"""After which an offer is repeated: either side may have been about to subscribe."""
LOGIN_SECONDS = 90.0
"""More than a worker takes to connect and to log in at the most."""


class WorkerLogins:
    """The logins of one API process that wait for a worker."""

    def __init__(self, client: redis.asyncio.Redis, sealer: Encryptor) -> None:
        self._redis = client
        self._sealer = sealer
        self._waiting: dict[str, asyncio.Queue[tuple[str, str, str]]] = {}

    def on_message(self, word: str | None) -> None:
        """A worker has answered some login, maybe another API process's."""
        login, worker, key, sealed = fields(word, "id", "worker", "key", "sealed")
        if answers := self._waiting.get(login):
            answers.put_nowait((worker, key, sealed))

    async def log_in(self, login: dict[str, Any]) -> tuple[str, list[str] | None]:
        """Have a worker open a session; `worker/held_sessions.py` describes the fields.

        Return the worker that holds it, and the user's groups where the policy asks for them.

        Raises what `Connector.with_password` raises, and QueueUnavailable without a worker.
        """
        name = new_id()
        passage = LoginKeyExchange(self._sealer, name)
        with self._answers(name) as answers:
            offer = {"id": name, "cluster": login["cluster"], "key": passage.key}
            async with _patience(OFFER_SECONDS, "no worker of this cluster answers"):
                worker = await self._offer(offer, passage, answers)
            word = {"id": name, "sealed": passage.encrypt(login, TO_WORKER)}
            await self._say(channel_of(worker), word)
            async with _patience(LOGIN_SECONDS, "the worker does not answer"):
                sealed = ""
                while not sealed:  # what else comes is another worker's offer
                    _, _, sealed = await answers.get()
        answer = passage.decrypt(sealed, TO_API)
        if "type" in answer:
            raise getattr(errors, answer["type"], ServiceFault)(answer["message"])
        return worker, answer["groups"]

    async def _offer(
        self,
        offer: dict[str, Any],
        passage: LoginKeyExchange,
        answers: asyncio.Queue[tuple[str, str, str]],
    ) -> str:
        """Offer a login again and again: the first worker that answers, with `passage` joined."""
        while True:
            await self._say(OFFER, offer)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS):
                    worker, key, _ = await answers.get()
                    while not passage.derive(key):
                        worker, key, _ = await answers.get()
                    return worker

    async def check(self, token: Token) -> None:
        """SessionExpired when the worker that holds a token's session is no more.

        Asked of Redis, which sees at once when a process ends, however it ends.
        """
        try:
            [(_, listeners)] = await self._redis.pubsub_numsub(channel_of(token.worker))
        except (redis.RedisError, OSError) as fault:
            raise QueueUnavailable from fault
        if not listeners:
            raise SessionExpired

    async def _say(self, channel: str, word: dict[str, Any]) -> None:
        try:
            await self._redis.publish(channel, json.dumps(word))
        except (redis.RedisError, OSError) as fault:
            raise QueueUnavailable("logins wait for Redis to be back") from fault

    @contextlib.contextmanager
    def _answers(self, login: str) -> Iterator[asyncio.Queue[tuple[str, str, str]]]:
        self._waiting[login] = asyncio.Queue()
        try:
            yield self._waiting[login]
        finally:
            del self._waiting[login]


@contextlib.asynccontextmanager
async def _patience(seconds: float, lack: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise QueueUnavailable(f"{lack}: try again later") from None
