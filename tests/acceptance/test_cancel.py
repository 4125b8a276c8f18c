"""Cancelling: queued tasks never run, running tasks end on the login node, waiters are notified."""

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import only_distributed
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, Service, failure
from tests.support.services import eventually

LINES = [
    "sleep {n} | cat | cat",
    "sleep {n} & sleep {n} & wait",
    "(trap '' TERM; sleep {n}; sleep {n})",
    "python3 -c 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep({n})'",
    "seq 8 | xargs -P 8 -I _ sleep {n}",
    "exec sleep {n}",
]


@pytest.fixture
def number() -> str:
    """Return a unique number of seconds to sleep, which identifies the test's processes."""
    return f"{secrets.randbelow(10**9) + 1000}.5"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(10) as pool:
        yield pool


def start_line(caller: Caller, ssh: OpenSSH, line: str, number: str) -> str:
    """Start a command line, wait until it runs on the login node, and return its task."""
    task = caller.begin("core/opn/run", {"command": line})
    assert eventually(lambda: any(number in each for each in ssh.processes("alice")))
    return task


def cancel(caller: Caller, task: str, wait: float = 30) -> httpx.Response:
    return caller.http.delete(f"/tasks/{task}", params={"wait": wait} if wait else None)


@only_distributed  # the login node matters here, not the profile
@pytest.mark.parametrize("line", LINES)
def test_cancelled_line_leaves_no_process(
    alice: Caller, ssh: OpenSSH, number: str, line: str
) -> None:
    task = start_line(alice, ssh, line.format(n=number), number)
    answer = cancel(alice, task)
    assert answer.status_code == 200, answer.text
    seen = answer.json()
    assert (seen["state"], seen["success"]) == ("cancelled", False)
    assert seen["error"]["type"] == "TaskCancelled" and seen["error"]["ended"] is True
    created, asked, ended = map(
        datetime.fromisoformat, (seen["created_at"], seen["cancel_asked_at"], seen["ended_at"])
    )
    # Two processes know the database's clock to some milliseconds.
    assert created < asked < ended + timedelta(milliseconds=50)
    assert [each for each in ssh.processes("alice") if number in each] == []
    assert alice.run("echo on").json()["output"]["stdout"] == "on\n"


def test_waiter_of_a_cancelled_task_gets_409(
    service: Service, alice: Caller, ssh: OpenSSH, number: str, threads: ThreadPoolExecutor
) -> None:
    stubborn = f"trap '' TERM; sleep {number}"
    waiting = threads.submit(alice.run, stubborn, query={"tag": number})
    assert eventually(lambda: any(number in each for each in ssh.processes("alice")))
    [task] = [
        each["task"]
        for each in alice.http.get("/tasks").json()["tasks"]
        if each["tags"] == [number]
    ]
    elsewhere = service.caller(alice.token, api=-1)
    looking = threads.submit(elsewhere.task, task, 30)
    began = time.monotonic()
    answer = cancel(elsewhere, task, wait=0)
    assert answer.status_code == 202 and answer.json()["state"] == "running"
    assert answer.headers["location"] == f"/tasks/{task}"
    assert int(answer.headers["retry-after"]) >= 1
    error = failure(waiting.result(), 409)
    assert error["type"] == "TaskCancelled" and error["ended"] is True
    assert looking.result()["state"] == "cancelled"
    assert time.monotonic() - began < 8  # by message, not by the next round of the recovery


def test_command_of_the_yaml_is_cancelled_like_an_operation(
    alice: Caller, ssh: OpenSSH, number: str
) -> None:
    task = alice.begin("utils/cmd/tail", {"follow": "name", "input": ["/dev/null", f"/{number}"]})
    assert eventually(lambda: any(number in each for each in ssh.processes("alice")))
    seen = cancel(alice, task).json()
    assert (seen["state"], seen["error"]["ended"]) == ("cancelled", True)
    assert [each for each in ssh.processes("alice") if number in each] == []


def test_cancelled_operation_runs_its_undo_steps(alice: Caller, ssh: OpenSSH, number: str) -> None:
    task = alice.begin("mysite/opn/build", {"file": number, "steps": 3, "stop_at": 1})
    assert eventually(lambda: len(alice.task(task)["steps"]) == 3)
    # Repeated requests must not interrupt the undo steps.
    asked = [cancel(alice, task, wait=0) for _ in range(3)]
    assert {each.status_code for each in asked} <= {200, 202}
    seen = alice.task(task, wait=30)
    assert seen["state"] == "cancelled"
    assert seen["error"]["undone"] == [f"rm -f {number}.1", f"rm -f {number}.0"]
    assert seen["error"]["needs_repair"] == []
    assert list(ssh.home("alice").glob(f"{number}.*")) == []


def test_ended_task_cannot_be_cancelled(alice: Caller) -> None:
    for line in ("true", "false"):
        task = alice.task(alice.run(line).json()["task"])
        answer = cancel(alice, task["task"], wait=0)
        assert (answer.status_code, answer.json()) == (200, task)
        assert alice.task(task["task"]) == task


def test_task_of_another_user_cannot_be_cancelled(
    service: Service, alice: Caller, bob: Caller, ssh: OpenSSH, number: str
) -> None:
    task = start_line(alice, ssh, f"sleep {number}", number)
    assert failure(cancel(bob, task), 404)["type"] == "UnknownTask"
    failure(cancel(bob, "0199"), 404)
    failure(service.caller().http.delete(f"/tasks/{task}"), 401)
    seen: dict[str, Any] = alice.task(task)
    assert (seen["state"], seen["cancel_asked_at"]) == ("running", None)
    assert cancel(alice, task).json()["state"] == "cancelled"
