"""Live events of a task: each arrives exactly once, whatever fails between."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx
import pytest

from resop.messaging.messages import TasksChanged
from resop.storage.database import Database
from resop.storage.tasks import TaskStore
from tests.acceptance.conftest import ACCOUNTS, only_distributed, only_embedded
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, Service, failure

STEPS = 12


class Event(NamedTuple):
    id: str
    kind: str
    data: dict[str, Any]


def events(caller: Caller, task: str, after: str = "", *, most: int = 10**6) -> Iterator[Event]:
    """Yield the events of a task until the stream ends, or `most` of them."""
    headers = {"Last-Event-ID": after} if after else None
    with caller.http.stream("GET", f"/tasks/{task}/events", headers=headers) as answer:
        if answer.status_code == 204:
            return
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line and name:
                fields[name] = value
            elif "data" in fields:
                yield Event(fields["id"], fields["event"], json.loads(fields["data"]))
                fields = {}
                if not (most := most - 1):
                    return


def narrate(caller: Caller, **options: Any) -> str:
    return caller.begin("mysite/opn/narrate", {"steps": STEPS, "seconds": 0.1, **options})


def summary(event: Event) -> str:
    match event.kind:
        case "output":
            return f"{event.data['stream']} {event.data['step']}"
        case "log":
            return str(event.data["text"])
        case "step" | "step_ended":
            return f"{event.kind} {event.data['number']}"
        case "state":
            return str(event.data["state"])
    return event.kind


EXPECTED = [
    *("queued", "running"),
    *(
        word
        for number in range(STEPS)
        for word in (
            f"before step {number}",
            f"step {number + 1}",
            f"step_ended {number + 1}",
        )
    ),
    *(f"{kind} {STEPS + 1 + number}" for number in range(3) for kind in ("step", "step_ended")),
    *("after all steps", "done"),
]


def assert_complete(seen: list[Event]) -> None:
    words = [summary(event) for event in seen if event.kind != "progress"]
    assert sorted(words) == sorted(EXPECTED)  # without duplicates
    at_once = [f"step {number}" for number in range(STEPS + 1, STEPS + 4)]
    alone = [word for word in EXPECTED if word.rpartition(" ")[2] not in ("13", "14", "15")]
    assert [word for word in words if word in alone] == alone
    for word in at_once:
        assert words.index(word) < words.index(word.replace("step", "step_ended"))
    assert seen[-1].data["success"] is True and seen[-1].data["state"] == "succeeded"
    [*_, progress] = [event.data for event in seen if event.kind == "progress"]
    assert progress == {"done": STEPS, "total": STEPS}


def test_events_arrive_live_and_are_the_same_afterwards(alice: Caller) -> None:
    began = time.monotonic()
    task = narrate(alice, seconds=0.25, at_once=3)
    seen, moments = [], []
    for event in events(alice, task):
        seen.append(event)
        moments.append(time.monotonic() - began)
    assert_complete(seen)
    # Each event arrives soon after the end of its step: 0.25 s apart, not all together.
    ends = [moment for event, moment in zip(seen, moments, strict=True) if "ended" in event.kind]
    assert ends[5] < moments[-1] - 1
    assert len({round(moment, 1) for moment in ends[:STEPS]}) > STEPS / 3
    step = next(event.data for event in seen if event.kind == "step")
    assert (step["command"], step["undo"]) == ("sleep 0.25", False)
    ended = next(event.data for event in seen if event.kind == "step_ended")
    assert ended["exit_code"] == 0 and ended["seconds"] >= 0.25 and ended["error"] is None
    again = list(events(alice, task))
    assert_complete(again)
    assert list(events(alice, task, again[-1].id)) == []


def test_connection_cut_ten_times_loses_and_repeats_nothing(
    service: Service, alice: Caller
) -> None:
    task = narrate(alice, seconds=0.2, at_once=3)
    seen: list[Event] = []
    for cut in range(10):
        caller = service.caller(alice.token, api=cut % len(service.ports))
        seen += events(caller, task, seen[-1].id if seen else "", most=1 + cut % 4)
    seen += events(alice, task, seen[-1].id)
    assert_complete(seen)


@only_distributed
def test_tasks_of_both_apis_run_on_both_workers_and_are_followed_at_the_other_api(
    service: Service, alice: Caller
) -> None:
    callers = [service.caller(alice.token, api) for api in (0, 1)]
    line = {"command": "sleep 0.3; echo done"}
    tasks = [callers[number % 2].begin("core/opn/run", line) for number in range(20)]
    for number, task in enumerate(tasks):
        elsewhere = callers[1 - number % 2]
        [*_, last] = events(elsewhere, task)
        assert last.kind == "done"
        assert elsewhere.task(task, wait=30)["output"]["stdout"] == "done\n"
    with contextlib.closing(Database(service.settings.database_url)) as database:
        workers = {found.worker for task in tasks if (found := TaskStore(database).get(task))}
    assert len(workers) == 2


@only_distributed
def test_command_without_steps_has_its_states(alice: Caller) -> None:
    task = alice.begin("utils/cmd/tail", {"follow": "name", "input": ["/dev/null"]})
    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(lambda: [summary(each) for each in events(alice, task)])
        time.sleep(1.5)
        alice.http.delete(f"/tasks/{task}")
        assert seen.result(20) == ["queued", "running", "done"]


def test_hundred_watchers_need_one_subscription_per_process(
    service: Service, alice: Caller
) -> None:
    task = narrate(alice, seconds=0.2)
    redis, processes = service.redis(), len(service.ports)

    async def watch(http: httpx.AsyncClient, api: int) -> str:
        address = f"http://127.0.0.1:{service.ports[api]}/tasks/{task}/events"
        return (await http.get(address)).text

    async def watch_all() -> list[str]:
        headers = {"Authorization": f"Bearer {alice.token}"}
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            headers=headers, timeout=60, limits=limits, trust_env=False
        ) as http:
            watching = [asyncio.create_task(watch(http, n % processes)) for n in range(100)]
            await asyncio.sleep(1)
            channel = TasksChanged.CHANNEL
            assert redis.pubsub_numsub(channel) == [(channel.encode(), processes)]
            return await asyncio.gather(*watching)

    texts = asyncio.run(watch_all())
    assert len(texts) == 100
    for text in texts:
        for number in range(1, STEPS + 1):
            assert text.count(f'event: step_ended\ndata: {{"number": {number},') == 1
        assert text.count("event: done\n") == 1


def test_events_are_only_for_their_user_and_end_with_the_login(
    service: Service, alice: Caller, bob: Caller
) -> None:
    task = narrate(alice)
    failure(bob.http.get(f"/tasks/{task}/events"), 404)
    failure(service.caller().http.get(f"/tasks/{task}/events"), 401)
    wrong = alice.http.get(f"/tasks/{task}/events", headers={"Last-Event-ID": "nonsense"})
    [fault] = failure(wrong, 422)["faults"]
    assert fault["field"] == "Last-Event-ID"
    leaving = service.log_in(ACCOUNTS["alice"])
    long = narrate(leaving, steps=100)
    seen = []
    for event in events(leaving, long):
        seen.append(event)
        if len(seen) == 5:
            service.caller(leaving.token).post("auth/opn/logout")
    assert seen[-1].kind != "done"
    alice.http.delete(f"/tasks/{long}")


def test_secret_is_masked_in_events(alice: Caller) -> None:
    secret = f"marker-{secrets.token_hex(12)}"
    task = alice.begin("mysite/opn/whisper", {"line": "cat; sleep 0.3", "secret": secret})
    seen = list(events(alice, task))
    assert secret not in str(seen) and "the secret is ********" in str(seen)


def test_ended_task_has_the_same_events(alice: Caller) -> None:
    task = alice.run("echo one; exit 3").json()["task"]
    for _ in range(2):
        seen = list(events(alice, task))
        assert [summary(each) for each in seen] == [
            *("queued", "running", "step 1", "stdout 1", "step_ended 1", "done")
        ]
        assert seen[-1].data["error"]["type"] == "CommandFailed"
        assert seen[-2].data["exit_code"] == 3


# -- output ---------------------------------------------------------------------------------

COUNT = 12
PRINT_LINES = f"for i in $(seq {COUNT}); do echo out $i; echo err $i >&2; sleep 0.3; done"
"""Prints on both streams for a few seconds."""


def output_of(seen: list[Event]) -> dict[str, str]:
    """Return the whole output of each stream."""
    outputs = [event.data for event in seen if event.kind == "output"]
    return {
        stream: "".join(each["text"] for each in outputs if each["stream"] == stream)
        for stream in ("stdout", "stderr")
    }


WAIT_FOR_FILE = "until [ -e go-on ]; do sleep 0.05; done; rm -f go-on"


def events_of_two_parts(ssh: OpenSSH, caller: Caller, task: str) -> list[Event]:
    """Return the events of a task that prints, waits for its first output event, prints again."""
    seen = []
    for event in events(caller, task):
        seen.append(event)
        if event.kind == "output":
            (ssh.home("alice") / "go-on").touch()
    (ssh.home("alice") / "go-on").unlink(missing_ok=True)
    assert [each.kind for each in seen].count("output") >= 2
    return seen


@pytest.mark.parametrize("action", ["core/opn/run", "mysite/cmd/sh"])
def test_output_arrives_live_over_an_interrupted_connection(
    service: Service, alice: Caller, action: str
) -> None:
    operation = action == "core/opn/run"
    task = alice.begin(action, {"command": PRINT_LINES} if operation else {"stdin": PRINT_LINES})
    seen: list[Event] = []
    for event in events(alice, task):
        seen.append(event)
        if event.kind == "output":
            break
    running = alice.task(task)
    assert running["state"] == "running"
    part = running["steps"][0] if operation else running
    so_far = part["stdout" if operation else "output"]
    assert so_far.startswith("out 1\n") and part["stderr"].startswith("err 1\n")
    other = service.caller(alice.token, api=len(service.ports) - 1)
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(lambda: list(events(other, task)))
        seen += events(alice, task, seen[-1].id)
        late = watching.result(20)
    whole = {
        "stdout": "".join(f"out {n}\n" for n in range(1, COUNT + 1)),
        "stderr": "".join(f"err {n}\n" for n in range(1, COUNT + 1)),
    }
    assert output_of(seen) == output_of(late) == whole
    assert [str(event) for event in seen] == [str(event) for event in late]
    ended = alice.task(task, wait=20)
    part = ended["steps"][0] if operation else ended
    assert part["stdout" if operation else "output"] == whole["stdout"]
    assert part["stderr"] == whole["stderr"]
    # In the order of printing: neither stream is ever far ahead.
    outputs = [event.data for event in seen if event.kind == "output"]
    assert len(outputs) > 6
    assert {each["step"] for each in outputs} == {1 if operation else 0}
    lines = "".join(each["text"] for each in outputs).split("\n")[:-1]
    for number in range(4, COUNT + 1):
        assert lines.index(f"err {number - 3}") < lines.index(f"out {number}")
        assert lines.index(f"out {number - 3}") < lines.index(f"err {number}")
    assert list(events(alice, task)) == late


@only_embedded
def test_output_that_is_not_utf8_is_streamed_as_recorded(ssh: OpenSSH, alice: Caller) -> None:
    line = f"printf 'a\\303'; {WAIT_FOR_FILE}; printf '\\251\\377\\000b\\360\\237'"
    seen = events_of_two_parts(ssh, alice, alice.begin("core/opn/run", {"command": line}))
    assert output_of(seen) == {"stdout": "a\u00e9\ufffd\0b\ufffd", "stderr": ""}
    [step] = alice.task(alice.run("printf '\\377\\000'").json()["task"])["steps"]
    assert step["stdout"] == "\ufffd\0"


@only_embedded
def test_secret_is_masked_when_printed_in_two_parts(ssh: OpenSSH, alice: Caller) -> None:
    secret = f"marker-{secrets.token_hex(12)}"
    line = f"read -r s; printf 'it is %.9s' $s; {WAIT_FOR_FILE}; printf '%s and on' ${{s:9}}"
    task = alice.begin("mysite/opn/whisper", {"line": line, "secret": secret})
    seen = events_of_two_parts(ssh, alice, task)
    assert output_of(seen)["stdout"] == "it is ******** and on"
    assert secret[:9] not in str(seen)


@only_distributed
def test_output_of_a_cancelled_or_timed_out_task_is_recorded(alice: Caller) -> None:
    line = "echo before; echo oh >&2; sleep 60"
    late = alice.run(line, query={"timeout": 0.7})
    assert late.status_code == 504
    ended = alice.begin("mysite/cmd/sh", {"stdin": line})
    for event in events(alice, ended):
        if event.kind == "output":
            alice.http.delete(f"/tasks/{ended}")
    for task in (late.json()["task"], ended):
        assert output_of(list(events(alice, task))) == {"stdout": "before\n", "stderr": "oh\n"}
        seen = alice.task(task)
        part = seen["steps"][0] if seen["steps"] else {**seen, "stdout": seen["output"]}
        assert (part["stdout"], part["stderr"]) == ("before\n", "oh\n")


@only_embedded
def test_truncated_output_is_streamed_as_far_as_recorded(alice: Caller) -> None:
    line = "seq 400000; sleep 1.5; seq 9"
    task = alice.begin("mysite/cmd/sh", {"stdin": line})
    seen = list(events(alice, task))
    ended = alice.task(task)
    assert ended["truncated"] and seen[-1].data["truncated"]
    assert output_of(seen)["stdout"] == ended["output"] and len(ended["output"]) == 1 << 20
