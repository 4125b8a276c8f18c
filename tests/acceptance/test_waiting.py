"""Waiting for tasks: 202 with a location, long polls, lists, and waiters woken by messages."""

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from resop.messaging.messages import TaskEnded
from tests.acceptance.conftest import only_distributed
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, Service, failure
from tests.support.services import eventually


def accepted_task(answer: httpx.Response) -> Any:
    """Check that an answer is 202 with location and Retry-After; return its task."""
    assert answer.status_code == 202, answer.text
    task = answer.json()
    assert answer.headers["location"] == f"/tasks/{task['task']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert task["state"] in ("queued", "running") and task["success"] is None
    return task


def test_respond_async_answers_202_at_once_and_the_task_ends(alice: Caller) -> None:
    began = time.monotonic()
    answer = alice.run("sleep 3; echo done", prefer="respond-async")
    assert time.monotonic() - began < 3
    task = accepted_task(answer)
    assert answer.headers["preference-applied"] == "respond-async"
    assert task["operation"] == "core:run" and task["steps"] == []
    ended = alice.task(task["task"], wait=20)
    assert (ended["state"], ended["output"]["stdout"]) == ("succeeded", "done\n")


@pytest.mark.parametrize("prefer", ["wait=5", "respond-async, wait=5", "wait=5, respond-async"])
def test_wait_answers_when_the_task_ends(alice: Caller, prefer: str) -> None:
    answer = alice.run("echo now", prefer=prefer)
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=5"


@only_distributed
def test_expired_wait_is_answered_202(alice: Caller) -> None:
    began = time.monotonic()
    accepted_task(alice.run("sleep 6", prefer="wait=1"))
    assert 0.95 < time.monotonic() - began < 6


def test_long_poll_answers_at_the_end_or_when_the_wait_is_over(
    service: Service, alice: Caller
) -> None:
    sign = f"sign-{secrets.token_hex(4)}"
    line = f"until test -e {sign}; do sleep 0.1; done; rm {sign}; echo done"
    task = alice.begin("core/opn/run", {"command": line})
    elsewhere = service.caller(alice.token, api=-1)
    began = time.monotonic()
    assert elsewhere.task(task, wait=0.3)["state"] in ("queued", "running")
    assert time.monotonic() - began > 0.25
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(elsewhere.task, task, 25)
        assert alice.run(f"touch {sign}").status_code == 200
        assert waiting.result()["output"]["stdout"] == "done\n"
    assert elsewhere.task(task, wait=25)["state"] == "succeeded"
    assert time.monotonic() - began < 20  # neither of the two waits ran to its end


def test_running_task_shows_its_log_and_steps(alice: Caller) -> None:
    task = alice.begin("mysite/opn/whisper", {"line": "cat; sleep 0.7", "secret": "hush, hush"})
    assert eventually(lambda: alice.task(task)["log"])
    seen = alice.task(task)
    assert seen["state"] == "running" and seen["log"] == ["the secret is ********"]
    [step] = seen["steps"]
    assert step["command"] == "cat; sleep 0.7" and step["exit_code"] is None
    assert alice.task(task, wait=20)["output"] == "********"


def test_task_of_another_user_does_not_exist(alice: Caller, bob: Caller) -> None:
    task = alice.run("echo mine").json()["task"]
    theirs = failure(bob.http.get(f"/tasks/{task}"), 404)
    unknown = failure(bob.http.get("/tasks/0199"), 404)
    assert theirs == {**unknown, "message": unknown["message"].replace("0199", task)}
    failure(bob.http.get(f"/tasks/{task}", params={"wait": 5}), 404)
    assert task not in bob.http.get("/tasks").text


def test_list_is_filtered_and_pages_by_cursor_newest_first(bob: Caller) -> None:
    made = [bob.run(f"exit {number % 2}").json()["task"] for number in range(5)]
    made.append(bob.post("utils/cmd/id").json()["task"])

    def listed(**query: Any) -> list[str]:
        """Return the tasks of all pages that this test has made."""
        found: list[str] = []
        page: dict[str, Any] = {"next": None}
        while not found or page["next"]:
            cursor = {"cursor": page["next"]} if page["next"] else {}
            page = bob.http.get("/tasks", params={**query, **cursor}).json()
            assert len(page["tasks"]) <= query.get("limit", 50)
            found += [each["task"] for each in page["tasks"]]
        assert len(set(found)) == len(found)
        return [task for task in found if task in made]

    newest_first = made[::-1]
    assert listed() == listed(limit=1) == listed(limit=2) == listed(limit=500) == newest_first
    assert listed(state="succeeded") == [made[5], made[4], made[2], made[0]]
    assert listed(state="failed", limit=1) == [made[3], made[1]]
    assert listed(operator="utils", action="id") == [made[5]]
    assert listed(operator="core", state="succeeded") == [made[4], made[2], made[0]]
    summary = bob.http.get("/tasks", params={"limit": 1}).json()["tasks"][0]
    assert "output" not in summary and summary["command"] == "id"


def test_waiters_are_woken_over_one_subscription_per_process(
    service: Service, alice: Caller
) -> None:
    redis, processes = service.redis(), len(service.ports)
    sign = f"sign-{secrets.token_hex(4)}"
    line = f"until test -e {sign}; do sleep 0.1; done; echo done"
    slow = alice.begin("core/opn/run", {"command": line})
    callers = [service.caller(alice.token, api=number) for number in range(processes)]

    def wait(number: int) -> tuple[str, float]:
        caller = callers[number % processes]
        if number < 25:
            return caller.task(slow, wait=50)["state"], time.monotonic()
        answer = caller.run("sleep 0.7; echo done", prefer="wait=50")
        return "succeeded" if answer.status_code == 200 else answer.text, time.monotonic()

    with ThreadPoolExecutor(50) as pool:
        waiting = [pool.submit(wait, number) for number in range(50)]
        time.sleep(0.5)
        assert not any(each.done() for each in waiting[:25])
        assert redis.pubsub_numsub(TaskEnded.CHANNEL) == [(TaskEnded.CHANNEL.encode(), processes)]
        assert len(redis.client_list(_type="pubsub")) >= processes
        assert alice.run(f"touch {sign}").status_code == 200
        answers = [each.result() for each in waiting]
    assert {state for state, _ in answers} == {"succeeded"}
    times = [moment for _, moment in answers[:25]]
    assert max(times) - min(times) < 25  # all by the same message, long before their 50 s are over


def test_client_that_disconnects_finds_its_task_again(alice: Caller, ssh: OpenSSH) -> None:
    with pytest.raises(httpx.ReadTimeout):
        alice.http.post(
            "/core/opn/run",
            json={"command": "sleep 0.6; echo reached >found-again"},
            params={"tag": "left-alone"},
            timeout=0.3,
        )
    [task] = [
        each
        for each in alice.http.get("/tasks").json()["tasks"]
        if each["tags"] == ["left-alone"] and each["state"] != "succeeded"
    ]
    assert alice.task(task["task"], wait=20)["state"] == "succeeded"
    assert (ssh.home("alice") / "found-again").read_text() == "reached\n"
