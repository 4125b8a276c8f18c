"""Asks a worker to open and hold the session of a login: where a cluster takes no key of ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import redis
import redis.asyncio

from resop import errors
from resop.errors import QueueUnavailable, ServiceFault, SessionExpired
from resop.messaging.messages import (
    LoginAccepted,
    LoginOffer,
    LoginRequest,
    LoginResult,
    Message,
    Resync,
    worker_channel,
)
from resop.messaging.publisher import publish
from resop.security.encryption import Encryptor
from resop.security.login_handover import TO_API, TO_WORKER, LoginKeyExchange
from resop.security.tokens import Token
from resop.storage.ids import new_id

OFFER_SECONDS = 5.0
AGAIN_SECONDS = 0.5
"""After which an offer is repeated: either side may have been about to subscribe."""
LOGIN_SECONDS = 90.0
"""More than a worker takes to connect and to log in at the most."""


_Answers = asyncio.Queue[LoginAccepted | LoginResult]


class WorkerLogins:
    """The logins of one API process that wait for a worker."""

    def __init__(self, client: redis.asyncio.Redis, sealer: Encryptor) -> None:
        self._redis = client
        self._sealer = sealer
        self._waiting: dict[str, _Answers] = {}

    def on_message(self, message: LoginAccepted | LoginResult | Resync) -> None:
        """Pass a worker's answer to the login that waits for it, if this process has it."""
        if not isinstance(message, Resync) and (answers := self._waiting.get(message.login)):
            answers.put_nowait(message)

    async def log_in(self, login: dict[str, Any]) -> tuple[str, list[str] | None]:
        """Have a worker open a session; `worker/held_sessions.py` describes the fields.

        Return the worker that holds it, and the user's groups where the policy asks for them.

        Raises what `Connector.with_password` raises, and QueueUnavailable without a worker.
        """
        name = new_id()
        passage = LoginKeyExchange(self._sealer, name)
        with self._answers(name) as answers:
            offer = LoginOffer(name, login["cluster"], passage.public_key)
            async with _patience(OFFER_SECONDS, "no worker of this cluster answers"):
                worker = await self._offer(offer, passage, answers)
            await self._say(LoginRequest(name, worker, passage.encrypt(login, TO_WORKER)))
            async with _patience(LOGIN_SECONDS, "the worker does not answer"):
                while not isinstance(result := await answers.get(), LoginResult):
                    pass  # another worker accepts the login, too late
        answer = passage.decrypt(result.encrypted, TO_API)
        if "type" in answer:
            raise getattr(errors, answer["type"], ServiceFault)(answer["message"])
        return worker, answer["groups"]

    async def _offer(
        self,
        offer: LoginOffer,
        passage: LoginKeyExchange,
        answers: _Answers,
    ) -> str:
        """Offer a login again and again: the first worker that answers, with `passage` joined."""
        while True:
            await self._say(offer)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS):
                    while True:
                        answer = await answers.get()
                        if isinstance(answer, LoginAccepted) and passage.derive(answer.public_key):
                            return answer.worker

    async def check(self, token: Token) -> None:
        """SessionExpired when the worker that holds a token's session is no more.

        Asked of Redis, which sees at once when a process ends, however it ends.
        """
        try:
            [(_, listeners)] = await self._redis.pubsub_numsub(worker_channel(token.worker))
        except (redis.RedisError, OSError) as fault:
            raise QueueUnavailable from fault
        if not listeners:
            raise SessionExpired

    async def _say(self, message: Message) -> None:
        try:
            await publish(self._redis, message)
        except QueueUnavailable as fault:
            raise QueueUnavailable("logins wait for Redis to be back") from fault

    @contextlib.contextmanager
    def _answers(self, login: str) -> Iterator[_Answers]:
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
