"""A login that a worker is to keep: words in Redis can be missed, on either side."""

import asyncio
import json
from typing import Any

import pytest

from api.state import worker_logins
from api.state.worker_logins import WorkerLogins
from resop.errors import QueueUnavailable
from resop.security.login_handover import OFFER, TO_API, TO_WORKER, LoginKeyExchange
from resop.security.sealing import Encryptor

LOGIN = {"cluster": "hpc", "username": "ada", "password": "secret"}


class Workers:
    """What is published goes to one worker, which misses the first offers."""

    def __init__(self, sealer: Encryptor, missed: int) -> None:
        self.api = WorkerLogins(self, sealer)  # type: ignore[arg-type]
        self._sealer = sealer
        self._missed = missed
        self.offers: list[dict[str, Any]] = []
        self.got: dict[str, Any] = {}

    async def publish(self, channel: str, word: str) -> None:
        said = json.loads(word)
        if channel == OFFER:
            self.offers.append(said)
            if len(self.offers) > self._missed:
                self._passage = LoginKeyExchange(self._sealer, said["id"])
                assert self._passage.derive(said["key"])
                self._answer(id=said["id"], worker="w", key=self._passage.key)
        else:
            self.got = self._passage.decrypt(said["sealed"], TO_WORKER)
            self._answer(id=said["id"], sealed=self._passage.encrypt({"groups": ["g"]}, TO_API))

    def _answer(self, **word: str) -> None:
        self.api.on_message(json.dumps(word))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_logins, "AGAIN_SECONDS", 0.01)


def test_offer_that_was_missed_is_made_again() -> None:
    workers = Workers(Encryptor(b"s" * 40), missed=2)
    assert asyncio.run(workers.api.log_in(LOGIN)) == ("w", ["g"])
    assert workers.got == LOGIN
    assert len(workers.offers) == 3 and workers.offers[0] == workers.offers[2]


def test_without_a_worker_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_logins, "OFFER_SECONDS", 0.1)
    workers = Workers(Encryptor(b"s" * 40), missed=10**6)
    with pytest.raises(QueueUnavailable, match="no worker of this cluster answers"):
        asyncio.run(workers.api.log_in(LOGIN))
    assert len(workers.offers) > 1
