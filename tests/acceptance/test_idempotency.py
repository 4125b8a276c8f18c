"""`Idempotency-Key`: a repeated request makes no second task."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.secrecy import places_of
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, Service, failure


@pytest.fixture
def key() -> str:
    return secrets.token_hex(12)


def counting_options(key: str) -> dict[str, Any]:
    """Return a command that appends a line to a file, so that tests can count its runs."""
    return {"command": f"sleep 0.3; echo once >>ran-{key}; echo done"}


def lines(ssh: OpenSSH, key: str, user: str = "alice") -> int:
    file: Path = ssh.home(user) / f"ran-{key}"
    return len(file.read_text().splitlines()) if file.exists() else 0


def post(
    caller: Caller,
    key: str,
    options: dict[str, Any],
    action: str = "core/opn/run",
    prefer: str = "wait=30",
) -> httpx.Response:
    headers = {"Idempotency-Key": key, "Prefer": prefer}
    return caller.http.post(f"/{action}", json=options, headers=headers)


def test_repeated_request_returns_its_first_task(alice: Caller, ssh: OpenSSH, key: str) -> None:
    begun = post(alice, key, counting_options(key), prefer="respond-async")
    again = post(alice, key, counting_options(key), prefer="respond-async")
    waited = post(alice, key, counting_options(key))
    later = post(alice, key, counting_options(key), prefer="respond-async")
    assert [each.status_code for each in (begun, again, waited, later)] == [202, 202, 200, 200]
    assert len({each.json()["task"] for each in (begun, again, waited, later)}) == 1
    assert waited.json()["output"] == later.json()["output"]
    assert waited.json() == {**later.json(), "success": True}
    assert lines(ssh, key) == 1


def test_requests_at_the_same_instant_make_one_task(
    service: Service, alice: Caller, ssh: OpenSSH, key: str
) -> None:
    callers = [service.caller(alice.token, api) for api in range(len(service.ports))]
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(
                lambda n: post(callers[n % len(callers)], key, counting_options(key)), range(16)
            )
        )
    assert {each.status_code for each in answers} == {200}
    assert len({each.json()["task"] for each in answers}) == 1
    assert {each.json()["output"]["stdout"] for each in answers} == {"done\n"}
    assert lines(ssh, key) == 1


def test_failed_task_is_not_repeated(alice: Caller, key: str) -> None:
    first, second = (post(alice, key, {"command": "exit 3"}) for _ in range(2))
    assert failure(first, 424) == failure(second, 424)
    assert first.json()["task"] == second.json()["task"]


def test_key_of_another_request_is_refused(alice: Caller, ssh: OpenSSH, key: str) -> None:
    assert post(alice, key, counting_options(key)).status_code == 200
    for answer in (
        post(alice, key, {"command": "true"}),
        post(alice, key, {**counting_options(key), "check": False}),
        post(alice, key, {"input": ["x"]}, "utils/cmd/echo"),
    ):
        error = failure(answer, 422)
        assert (error["type"], error["retryable"]) == ("IdempotencyKeyReused", False)
    assert lines(ssh, key) == 1


def test_key_matches_equal_options_however_they_are_written(alice: Caller, key: str) -> None:
    first = post(alice, key, {"user": True, "name": True}, "utils/cmd/id")
    form = {"name": "on", "user": "true", "input": ""}
    again = alice.http.post("/Utils/cmd/ID", data=form, headers={"Idempotency-Key": key})
    assert first.status_code == again.status_code == 200
    assert again.json()["task"] == first.json()["task"]


def test_key_belongs_to_its_user_and_is_case_sensitive(
    alice: Caller, bob: Caller, ssh: OpenSSH, key: str
) -> None:
    callers = [(alice, key), (bob, key), (alice, key.upper() + "A"), (alice, key.upper() + "a")]
    tasks = [post(caller, name, counting_options(key)).json()["task"] for caller, name in callers]
    assert len(set(tasks)) == 4
    assert (lines(ssh, key), lines(ssh, key, "bob")) == (3, 1)


@pytest.mark.parametrize("given", ["", "x" * 256, "a\tb", "é"])
def test_bad_key_is_refused_before_a_task_is_made(alice: Caller, given: str) -> None:
    before = alice.newest("task")
    headers = [(b"Idempotency-Key", given.encode())]
    answer = alice.http.post("/core/opn/run", json={"command": "true"}, headers=headers)
    [fault] = failure(answer, 422)["faults"]
    assert fault["field"] == "Idempotency-Key"
    assert alice.newest("task") == before


def test_secret_of_a_keyed_request_is_found_nowhere(
    service: Service, alice: Caller, key: str
) -> None:
    secret = f"marker-{secrets.token_hex(12)}"
    options = {"line": "cat >/dev/null", "secret": secret}
    first, second = (post(alice, key, options, "mysite/opn/whisper") for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.json()["task"] == second.json()["task"]
    other = post(alice, key, {**options, "secret": "another"}, "mysite/opn/whisper")
    assert failure(other, 422)["type"] == "IdempotencyKeyReused"
    assert places_of([secret, key], service) == []
