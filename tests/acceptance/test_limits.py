"""The limits published by GET /limits, each exceeded on a running service."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.acceptance.conftest import ACCOUNTS
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, Distributed, failure


@pytest.fixture(scope="module")
def limits(guarded: Distributed) -> dict[str, Any]:
    answer = guarded.caller().http.get("/limits")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture(scope="module")
def bob(guarded: Distributed) -> Caller:
    """Log in bob on a cluster that no worker serves."""
    login = {"username": "bob", "password": ACCOUNTS["bob"].password, "cluster": "idle"}
    answer = guarded.caller().post("auth/opn/login", login)
    return guarded.caller(answer.json()["output"]["token"])


def test_body_is_refused_beyond_each_of_its_limits(bob: Caller, limits: dict[str, Any]) -> None:
    def send(options: dict[str, Any], status: int) -> str:
        headers = {"Content-Type": "application/json"}
        dry = {"dry_run": "true"}
        body = json.dumps(options).encode()
        answer = bob.http.post("/core/opn/run", content=body, headers=headers, params=dry)
        assert answer.status_code == status, answer.text
        return answer.text

    size = limits["body_bytes"] - len('{"command": ""}')
    assert "command line" in send({"command": "x" * size}, 422)  # too long for one
    assert "more than" in send({"command": "x" * (size + 1)}, 413)
    deep: Any = "x"
    for _ in range(limits["body_depth"] - 1):
        deep = [deep]
    assert "nested" not in send({"command": deep}, 422)
    assert "nested" in send({"command": [deep]}, 422)
    many = {str(number): 1 for number in range(limits["options"])}
    assert "options; the limit is" not in send(many, 422)
    assert "options; the limit is" in send({**many, "x": 1}, 422)


def test_queued_tasks_are_limited_per_user(
    bob: Caller, guarded: Distributed, limits: dict[str, Any]
) -> None:
    waiting = [bob.begin("utils/cmd/id") for _ in range(limits["queued_tasks"])]
    answer = bob.post("utils/cmd/id")
    error = failure(answer, 429)
    assert (error["type"], error["retryable"]) == ("LimitReached", True)
    assert int(answer.headers["retry-after"]) >= 1
    assert len(bob.http.get("/tasks").json()["tasks"]) == len(waiting)
    # The limit does not apply to the other cluster.
    assert guarded.log_in(ACCOUNTS["bob"]).post("utils/cmd/id").status_code == 200
    assert bob.http.delete(f"/tasks/{waiting[0]}").status_code == 200
    assert bob.begin("utils/cmd/id")


def test_wrong_passwords_are_limited(guarded: Distributed, limits: dict[str, Any]) -> None:
    caller = guarded.caller()
    for _ in range(limits["login_failures"]):
        failure(caller.login("walter", "wrong"), 401)
    answer = caller.login("walter", ACCOUNTS["walter"].password)
    assert failure(answer, 429)["type"] == "TooManyAttempts"
    assert 1 <= int(answer.headers["retry-after"]) <= limits["login_failures_seconds"]


def test_many_wrong_passwords_do_not_reach_sshd_or_block_others(
    guarded: Distributed, ssh: OpenSSH, limits: dict[str, Any]
) -> None:
    def sessions() -> set[str]:
        found = re.findall(r"for walter from \S+ port \d+", ssh.log.read_text())
        return set(found)

    callers = [guarded.caller(api=number % 2) for number in range(20)]
    for caller in callers:
        caller.http.headers["X-Forwarded-For"] = "192.0.2.77"
    before = sessions()
    with ThreadPoolExecutor(len(callers)) as pool:
        storm = pool.map(lambda n: callers[n % 20].login("walter", f"wrong {n}"), range(200))
        assert guarded.log_in(ACCOUNTS["bob"]).post("utils/cmd/id").status_code == 200
        statuses = [answer.status_code for answer in storm]
    most = limits["login_failures"]
    assert (statuses.count(401), statuses.count(429)) == (most, 200 - most)
    assert len(sessions() - before) <= most
