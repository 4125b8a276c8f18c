"""Questions that are asked once for many: on real processes, and never at the price of truth."""

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from resop.messaging.messages import MAX_RESULT_CHARACTERS
from tests.acceptance.conftest import ACCOUNTS
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, Service, failure

ASK = "mysite/opn/ask"


@pytest.fixture
def key() -> str:
    return secrets.token_hex(12)


@pytest.fixture
def asked(ssh: OpenSSH, key: str) -> Callable[..., int]:
    """How often it was asked on the login node."""

    def count(user: str = "alice") -> int:
        file: Path = ssh.home(user) / f"asked-{key}"
        return len(file.read_text().splitlines()) if file.exists() else 0

    return count


def ask(caller: Caller, key: str, how: str = "", **options: Any) -> httpx.Response:
    """Ask; `how` is what Cache-Control says."""
    headers = {"Cache-Control": how} if how else None
    return caller.http.post(f"/{ASK}", json={"key": key, **options}, headers=headers)


def at_once(count: int, call: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


@pytest.mark.parametrize("size", [1, 2 * MAX_RESULT_CHARACTERS])
def test_many_who_ask_the_same_are_answered_by_one_task(
    alice: Caller, key: str, asked: Callable[..., int], size: int
) -> None:
    answers = at_once(8, lambda _: ask(alice, key, size=size))
    later = ask(alice, key, size=size)
    assert {each.status_code for each in answers} == {later.status_code} == {200}
    assert len({each.json()["task"] for each in [*answers, later]}) == 1
    assert {each.json()["output"] for each in [*answers, later]} == {"x" * size}
    assert later.headers["Cache-Control"] == "private, max-age=60"
    assert 0 <= int(later.headers["Age"]) <= 60
    assert asked() == 1


def test_who_wants_a_fresh_answer_gets_one_and_the_others_that(
    alice: Caller, key: str, asked: Callable[..., int]
) -> None:
    first = ask(alice, key)
    second, third = ask(alice, key, "no-cache"), ask(alice, key, "max-age=0")
    fourth = alice.post(ASK, {"key": key}, query={"fresh": "true"})
    labelled = alice.post(ASK, {"key": key}, query={"tag": "mine"})
    tasks = [each.json()["task"] for each in (first, second, third, fourth, labelled)]
    assert len(set(tasks)) == asked() == 5
    assert ask(alice, key, "max-age=60").json()["task"] == tasks[3]


def test_what_is_not_the_same_is_asked_by_itself(
    alice: Caller, bob: Caller, key: str, asked: Callable[..., int]
) -> None:
    answers = [ask(alice, key), ask(alice, key, size=2), ask(bob, key)]
    assert len({each.json()["task"] for each in answers}) == 3
    assert (asked(), asked("bob")) == (2, 1)


def test_what_the_user_has_done_since_is_seen(
    service: Service, alice: Caller, bob: Caller, key: str, asked: Callable[..., int]
) -> None:
    before = ask(alice, key)
    assert ask(alice, key).json()["task"] == before.json()["task"]
    of_bob = ask(bob, key).json()["task"]
    other_api = service.caller(alice.token, len(service.ports) - 1)
    assert other_api.run("true").status_code == 200
    after = ask(other_api, key)
    assert after.json()["task"] != before.json()["task"]
    assert ask(bob, key).json()["task"] == of_bob, "alice's doings are not his"


def test_error_is_not_kept(alice: Caller, key: str, asked: Callable[..., int]) -> None:
    together = at_once(4, lambda _: ask(alice, key, exit_code=3))
    assert {failure(each, 424)["type"] for each in together} == {"CommandFailed"}
    assert len({each.json()["task"] for each in together}) == asked() == 1
    assert ask(alice, key, exit_code=3).json()["task"] != together[0].json()["task"]


def test_who_does_not_wait_is_told_the_task_that_runs(alice: Caller, key: str) -> None:
    options = {"key": key, "seconds": 2}
    begun = alice.begin(ASK, options)
    assert alice.begin(ASK, options) == begun
    assert alice.post(ASK, options).json()["task"] == begun


def test_who_shares_what_somebody_cancels_gets_an_answer_all_the_same(
    alice: Caller, key: str, asked: Callable[..., int]
) -> None:
    options = {"key": key, "seconds": 3}
    begun = alice.begin(ASK, options)
    with ThreadPoolExecutor(1) as pool:
        shared = pool.submit(alice.post, ASK, options)
        while not asked():
            time.sleep(0.05)
        cancelled = alice.http.delete(f"/tasks/{begun}", params={"wait": 30}).json()
        assert cancelled["state"] == "cancelled"
        answer = shared.result()
    assert answer.status_code == 200
    assert answer.json()["task"] != begun


@pytest.fixture
def again(service: Service) -> Iterator[Caller]:
    """Alice, logged in once more."""
    yield service.log_in(ACCOUNTS["alice"])


def test_another_login_shares_answers_and_one_that_has_ended_none(
    alice: Caller, again: Caller, key: str
) -> None:
    task = ask(alice, key).json()["task"]
    assert ask(again, key).json()["task"] == task
    assert again.post("auth/opn/logout").status_code == 200
    assert failure(ask(again, key), 401)
