"""Shared answers on real processes: identical requests share a task, but never a wrong answer."""

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
from tests.support.services import eventually

ASK = "mysite/opn/ask"


@pytest.fixture(autouse=True)
def _no_unfinished_tasks(alice: Caller) -> None:
    """Wait for tasks that earlier tests left running: the end of one clears shared answers."""

    def unfinished() -> list[Any]:
        states = ("queued", "running")
        lists = (alice.http.get("/tasks", params={"state": state}).json() for state in states)
        return [task for each in lists for task in each["tasks"]]

    assert eventually(lambda: not unfinished(), 60)


@pytest.fixture
def key() -> str:
    return secrets.token_hex(12)


@pytest.fixture
def count_runs(ssh: OpenSSH, key: str) -> Callable[..., int]:
    """Return a function that counts the runs on the login node."""

    def count(user: str = "alice") -> int:
        file: Path = ssh.home(user) / f"asked-{key}"
        return len(file.read_text().splitlines()) if file.exists() else 0

    return count


def send_query(caller: Caller, key: str, cache_control: str = "", **options: Any) -> httpx.Response:
    """Send the query, with `cache_control` as Cache-Control if given."""
    headers = {"Cache-Control": cache_control} if cache_control else None
    return caller.http.post(f"/{ASK}", json={"key": key, **options}, headers=headers)


def run_concurrently(count: int, call: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


@pytest.mark.parametrize("size", [1, 2 * MAX_RESULT_CHARACTERS])
def test_identical_requests_share_one_task(
    alice: Caller, key: str, count_runs: Callable[..., int], size: int
) -> None:
    answers = run_concurrently(8, lambda _: send_query(alice, key, size=size))
    later = send_query(alice, key, size=size)
    assert {each.status_code for each in answers} == {later.status_code} == {200}
    assert len({each.json()["task"] for each in [*answers, later]}) == 1
    assert {each.json()["output"] for each in [*answers, later]} == {"x" * size}
    assert later.headers["Cache-Control"] == "private, max-age=60"
    assert 0 <= int(later.headers["Age"]) <= 60
    assert count_runs() == 1


def test_no_cache_gets_a_new_answer_which_others_share(
    alice: Caller, key: str, count_runs: Callable[..., int]
) -> None:
    first = send_query(alice, key)
    second, third = send_query(alice, key, "no-cache"), send_query(alice, key, "max-age=0")
    fourth = alice.post(ASK, {"key": key}, query={"fresh": "true"})
    labelled = alice.post(ASK, {"key": key}, query={"tag": "mine"})
    tasks = [each.json()["task"] for each in (first, second, third, fourth, labelled)]
    assert len(set(tasks)) == count_runs() == 5
    assert send_query(alice, key, "max-age=60").json()["task"] == tasks[3]


def test_different_requests_share_nothing(
    alice: Caller, bob: Caller, key: str, count_runs: Callable[..., int]
) -> None:
    answers = [send_query(alice, key), send_query(alice, key, size=2), send_query(bob, key)]
    assert len({each.json()["task"] for each in answers}) == 3
    assert (count_runs(), count_runs("bob")) == (2, 1)


def test_other_action_of_the_user_ends_the_sharing(
    service: Service, alice: Caller, bob: Caller, key: str, count_runs: Callable[..., int]
) -> None:
    before = send_query(alice, key)
    assert send_query(alice, key).json()["task"] == before.json()["task"]
    of_bob = send_query(bob, key).json()["task"]
    other_api = service.caller(alice.token, len(service.ports) - 1)
    assert other_api.run("true").status_code == 200
    after = send_query(other_api, key)
    assert after.json()["task"] != before.json()["task"]
    assert send_query(bob, key).json()["task"] == of_bob, "alice's doings are not his"


def test_error_is_not_shared_later(alice: Caller, key: str, count_runs: Callable[..., int]) -> None:
    together = run_concurrently(4, lambda _: send_query(alice, key, exit_code=3))
    assert {failure(each, 424)["type"] for each in together} == {"CommandFailed"}
    assert len({each.json()["task"] for each in together}) == count_runs() == 1
    assert send_query(alice, key, exit_code=3).json()["task"] != together[0].json()["task"]


def test_request_without_waiting_gets_the_running_task(alice: Caller, key: str) -> None:
    options = {"key": key, "seconds": 2}
    task = alice.begin(ASK, options)
    assert alice.begin(ASK, options) == task
    assert alice.post(ASK, options).json()["task"] == task


def test_cancelled_shared_task_is_repeated_for_its_waiters(
    alice: Caller, key: str, count_runs: Callable[..., int]
) -> None:
    options = {"key": key, "seconds": 3}
    task = alice.begin(ASK, options)
    with ThreadPoolExecutor(1) as pool:
        shared = pool.submit(alice.post, ASK, options)
        while not count_runs():
            time.sleep(0.05)
        cancelled = alice.http.delete(f"/tasks/{task}", params={"wait": 30}).json()
        assert cancelled["state"] == "cancelled"
        answer = shared.result()
    assert answer.status_code == 200
    assert answer.json()["task"] != task


@pytest.fixture
def again(service: Service) -> Iterator[Caller]:
    """Log in alice a second time."""
    yield service.log_in(ACCOUNTS["alice"])


def test_other_login_shares_answers_and_ended_login_does_not(
    alice: Caller, again: Caller, key: str
) -> None:
    task = send_query(alice, key).json()["task"]
    assert send_query(again, key).json()["task"] == task
    assert again.post("auth/opn/logout").status_code == 200
    assert failure(send_query(again, key), 401)
