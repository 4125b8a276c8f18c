"""Ask a worker to open and hold the session of a login: for clusters that accept no new key."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import redis

from api.state.subscription import LastingSubscription
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
from resop.messaging.redis_client import EncryptingRedis
from resop.security.encryption import Encryptor
from resop.security.login_handover import TO_API, TO_WORKER, LoginKeyExchange
from resop.security.tokens import Token
from resop.ssh.remote_account import RemoteAccount
from resop.storage.ids import new_id

OFFER_TIMEOUT_SECONDS = 5.0
"""How long to wait for a worker that accepts the login."""
REPEAT_SECONDS = 0.5
"""After this an offer is repeated: either side may not have been subscribed yet."""
CONNECTING_SECONDS = 30.0
"""Longer than a worker takes to connect."""
ANSWERS = 3
"""How often a worker waits LOGIN_SECONDS: for password, code, and the confirmed name."""

_Answers = asyncio.Queue[LoginAccepted | LoginResult]


class WorkerLogins:
    """The logins of one API process that are waiting for a worker."""

    def __init__(
        self,
        client: EncryptingRedis,
        subscription: LastingSubscription,
        encryptor: Encryptor,
        login_seconds: float,
    ) -> None:
        self._redis = client
        self._subscription = subscription
        self._login_seconds = login_seconds
        self._encryptor = encryptor
        self._waiting: dict[str, _Answers] = {}

    def on_message(self, message: LoginAccepted | LoginResult | Resync) -> None:
        """Pass a worker's answer to the login that waits for it, if this process has it."""
        if not isinstance(message, Resync) and (answers := self._waiting.get(message.login)):
            answers.put_nowait(message)

    async def log_in(self, login: dict[str, Any]) -> tuple[str, RemoteAccount]:
        """Have a worker open a session; `worker/held_sessions.py` describes the fields of `login`.

        Returns the worker that holds the session, and whose session it is. Raises what
        `Connector.account_with_password` raises, and QueueUnavailable without a worker.
        """
        name = new_id()
        exchange = LoginKeyExchange(self._encryptor, name)
        with self._answers(name) as answers:
            offer = LoginOffer(name, login["cluster"], exchange.public_key)
            async with _time_limit(
                OFFER_TIMEOUT_SECONDS, "no worker serves this cluster at the moment"
            ):
                worker = await self._offer(offer, exchange, answers)
            await self._publish(LoginRequest(name, worker, exchange.encrypt(login, TO_WORKER)))
            seconds = CONNECTING_SECONDS + ANSWERS * self._login_seconds
            async with _time_limit(seconds, "the worker did not answer"):
                while not isinstance(result := await answers.get(), LoginResult):
                    pass  # another worker accepted the offer, too late
        answer = exchange.decrypt(result.encrypted, TO_API)
        if "type" in answer:
            fault = getattr(errors, answer["type"], ServiceFault)(answer["message"])
            fault.details |= answer.get("details", {})
            raise fault
        return worker, RemoteAccount(**answer)

    async def _offer(
        self,
        offer: LoginOffer,
        exchange: LoginKeyExchange,
        answers: _Answers,
    ) -> str:
        """Repeat an offer until a worker accepts it; exchange keys with that worker, return it."""
        while True:
            await self._publish(offer)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPEAT_SECONDS):
                    while True:
                        answer = await answers.get()
                        if isinstance(answer, LoginAccepted) and exchange.derive(answer.public_key):
                            return answer.worker

    async def check(self, token: Token) -> None:
        """Raise SessionExpired if the worker that held the token's session is gone.

        Redis is asked for the subscribers of the worker's channel: it notices at once when a
        process ends, however it ends. Raises QueueUnavailable while that is not known: Redis is
        unavailable, or was a moment ago, and the worker may not have subscribed again.
        """
        try:
            [(_, listeners)] = await self._redis.pubsub_numsub(worker_channel(token.worker))
        except (redis.RedisError, OSError) as fault:
            raise QueueUnavailable from fault
        if listeners:
            return
        if not self._subscription.settled:
            raise QueueUnavailable(
                "Redis was unavailable a moment ago, and the worker that holds this session has "
                "not come back yet: try again later"
            )
        raise SessionExpired

    async def _publish(self, message: Message) -> None:
        try:
            await publish(self._redis, message)
        except QueueUnavailable as fault:
            raise QueueUnavailable(
                "Redis is unavailable, so logins are not possible: try again later"
            ) from fault

    @contextlib.contextmanager
    def _answers(self, login: str) -> Iterator[_Answers]:
        self._waiting[login] = asyncio.Queue()
        try:
            yield self._waiting[login]
        finally:
            del self._waiting[login]


@contextlib.asynccontextmanager
async def _time_limit(seconds: float, message: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise QueueUnavailable(f"{message}: try again later") from None
