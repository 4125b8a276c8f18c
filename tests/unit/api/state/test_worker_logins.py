"""A login that a worker is to keep: words in Redis can be missed, on either side."""

import asyncio
import contextlib
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest

from api.state import worker_logins
from api.state.worker_logins import WorkerLogins
from resop.errors import OtpRequired, QueueUnavailable, SessionExpired
from resop.messaging.messages import LoginAccepted, LoginOffer, LoginRequest, LoginResult, decode
from resop.security.encryption import Encryptor
from resop.security.login_handover import TO_API, TO_WORKER, LoginKeyExchange
from resop.security.message_encryption import MessageDecryptor, MessageEncryptor
from resop.ssh.remote_account import RemoteAccount

LOGIN = {"cluster": "hpc", "username": "ada", "password": "secret"}


class Workers:
    """A publisher whose messages reach one worker, which misses the first offers."""

    def __init__(
        self,
        encryptor: Encryptor,
        missed: int = 0,
        answer: dict[str, Any] | None = None,
        *,
        settled: bool = True,
    ) -> None:
        subscription = SimpleNamespace(connected=True, settled=settled)
        self.listeners = 0
        self.api = WorkerLogins(self, subscription, encryptor, 30)  # type: ignore[arg-type]
        self.token: Any = SimpleNamespace(worker="w")
        self._encryptor = encryptor
        self.message_encryptor = MessageEncryptor(encryptor.message_keys)
        self._decryptor = MessageDecryptor(encryptor.message_keys)
        self._missed = missed
        self._answer = answer
        self.offers: list[LoginOffer] = []
        self.got: dict[str, Any] = {}

    async def pubsub_numsub(self, channel: str) -> list[tuple[str, int]]:
        return [(channel, self.listeners)]

    async def publish(self, channel: str, data: bytes) -> None:
        message = decode(self._decryptor.decrypt(channel, data))
        assert channel == message.channel
        if isinstance(message, LoginOffer):
            self.offers.append(message)
            if len(self.offers) > self._missed:
                self._exchange = LoginKeyExchange(self._encryptor, message.login)
                assert self._exchange.derive(message.public_key)
                public_key = self._exchange.public_key
                self.api.on_message(LoginAccepted(message.login, "bad", "no key"))
                self.api.on_message(LoginAccepted(message.login, "w", public_key))
        else:
            assert isinstance(message, LoginRequest) and message.worker == "w"
            self.got = self._exchange.decrypt(message.encrypted, TO_WORKER)
            self.api.on_message(LoginAccepted(message.login, "late", "ab"))
            result = self._exchange.encrypt(self._answer or asdict(ADA), TO_API)
            self.api.on_message(LoginResult(message.login, result))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_logins, "REPEAT_SECONDS", 0.01)


ADA = RemoteAccount("ada", 1000, ["g"])


def test_offer_that_was_missed_is_made_again() -> None:
    workers = Workers(Encryptor(b"s" * 40), missed=2)
    assert asyncio.run(workers.api.log_in(LOGIN)) == ("w", ADA)
    assert workers.got == LOGIN
    assert len(workers.offers) == 3 and workers.offers[0] == workers.offers[2]


def test_a_refusal_keeps_its_type_and_details() -> None:
    details = {"prompt": "Code:"}
    fault = {"type": "OtpRequired", "message": "a code, please", "details": details}
    workers = Workers(Encryptor(b"s" * 40), missed=0, answer=fault)
    with pytest.raises(OtpRequired) as caught:
        asyncio.run(workers.api.log_in(LOGIN))
    assert (caught.value.message, caught.value.details) == ("a code, please", details)


def test_without_a_worker_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_logins, "OFFER_TIMEOUT_SECONDS", 0.1)
    workers = Workers(Encryptor(b"s" * 40), missed=10**6)
    with pytest.raises(QueueUnavailable, match="no worker serves this cluster"):
        asyncio.run(workers.api.log_in(LOGIN))
    assert len(workers.offers) > 1


def test_session_ends_with_its_worker_but_not_because_redis_was_away() -> None:
    for settled, listeners, fault in (
        (True, 1, None),
        (True, 0, SessionExpired),
        (False, 1, None),
        (False, 0, QueueUnavailable),
    ):
        workers = Workers(Encryptor(b"s" * 40), settled=settled)
        workers.listeners = listeners
        with pytest.raises(fault) if fault else contextlib.nullcontext():
            asyncio.run(workers.api.check(workers.token))
