"""A task watched live: every event once, whatever breaks between it and its watchers."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx

from resop.events import CHANGED
from resop.records import Records
from tests.acceptance.conftest import ACCOUNTS, only_many
from tests.support.service import Caller, Service, failure

STEPS = 12


class Event(NamedTuple):
    id: str
    kind: str
    data: dict[str, Any]


def events(caller: Caller, task: str, after: str = "", *, most: int = 10**6) -> Iterator[Event]:
    """The events of a task until the service or the caller has enough."""
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


def told(event: Event) -> str:
    match event.kind:
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


def assert_all_of_it(seen: list[Event]) -> None:
    words = [told(event) for event in seen if event.kind != "progress"]
    assert sorted(words) == sorted(EXPECTED)  # none twice
    at_once = [f"step {number}" for number in range(STEPS + 1, STEPS + 4)]
    alone = [word for word in EXPECTED if word.rpartition(" ")[2] not in ("13", "14", "15")]
    assert [word for word in words if word in alone] == alone
    for word in at_once:
        assert words.index(word) < words.index(word.replace("step", "step_ended"))
    assert seen[-1].data["success"] is True and seen[-1].data["state"] == "succeeded"
    [*_, progress] = [event.data for event in seen if event.kind == "progress"]
    assert progress == {"done": STEPS, "total": STEPS}


def test_events_come_as_they_happen_and_are_the_same_afterwards(alice: Caller) -> None:
    began = time.monotonic()
    task = narrate(alice, seconds=0.25, at_once=3)
    seen, moments = [], []
    for event in events(alice, task):
        seen.append(event)
        moments.append(time.monotonic() - began)
    assert_all_of_it(seen)
    # Each about when its step ended: 0.25 s apart, not all at once.
    ends = [moment for event, moment in zip(seen, moments, strict=True) if "ended" in event.kind]
    assert ends[5] < moments[-1] - 1
    assert len({round(moment, 1) for moment in ends[:STEPS]}) > STEPS / 3
    step = next(event.data for event in seen if event.kind == "step")
    assert (step["command"], step["undo"]) == ("sleep 0.25", False)
    ended = next(event.data for event in seen if event.kind == "step_ended")
    assert ended["exit_code"] == 0 and ended["seconds"] >= 0.25 and ended["error"] is None
    again = list(events(alice, task))
    assert_all_of_it(again)
    assert list(events(alice, task, again[-1].id)) == []


def test_connection_cut_ten_times_misses_nothing_and_repeats_nothing(
    service: Service, alice: Caller
) -> None:
    task = narrate(alice, seconds=0.2, at_once=3)
    seen: list[Event] = []
    for cut in range(10):
        caller = service.caller(alice.token, api=cut % len(service.ports))
        seen += events(caller, task, seen[-1].id if seen else "", most=1 + cut % 4)
    seen += events(alice, task, seen[-1].id)
    assert_all_of_it(seen)


@only_many
def test_tasks_of_either_api_run_on_both_workers_and_are_followed_at_the_other(
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
    with contextlib.closing(Records(service.settings.database_url)) as records:
        workers = {found.worker for task in tasks if (found := records.task(task))}
    assert len(workers) == 2


@only_many
def test_command_without_steps_has_its_states(alice: Caller) -> None:
    task = alice.begin("utils/cmd/tail", {"follow": "name", "input": ["/dev/null"]})
    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(lambda: [told(each) for each in events(alice, task)])
        time.sleep(1.5)
        alice.http.delete(f"/tasks/{task}")
        assert seen.result(20) == ["queued", "running", "done"]


def test_a_hundred_watchers_cost_one_subscription_of_each_process(
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
            assert redis.pubsub_numsub(CHANGED) == [(CHANGED.encode(), processes)]
            return await asyncio.gather(*watching)

    texts = asyncio.run(watch_all())
    assert len(texts) == 100
    for text in texts:
        for number in range(1, STEPS + 1):
            assert text.count(f'event: step_ended\ndata: {{"number": {number},') == 1
        assert text.count("event: done\n") == 1


def test_events_are_its_users_alone_and_end_with_the_login(
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


def test_ended_task_is_watched_like_any_other(alice: Caller) -> None:
    task = alice.run("echo one; exit 3").json()["task"]
    for _ in range(2):
        seen = list(events(alice, task))
        assert [told(each) for each in seen] == [
            *("queued", "running", "step 1", "step_ended 1", "done")
        ]
        assert seen[-1].data["error"]["type"] == "CommandFailed"
        assert seen[-2].data["exit_code"] == 3
