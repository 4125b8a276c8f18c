"""Failures of parts of the service and of the login node: nothing runs twice, task states are true.

The processes are real; only the recovery's timeouts are shorter. With REDIS_FAILS_EVERY in the
environment, Redis fails over at that interval in seconds meanwhile (`tests/faults.sh`).
"""

import base64
import contextlib
import json
import os
import re
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from kombu.exceptions import OperationalError
from redis import RedisError

from resop.errors import QueueUnavailable
from resop.messaging.task_queue import TaskQueue, celery_app
from resop.storage.database import Database
from resop.storage.tasks import TaskStore
from tests.acceptance.conftest import ACCOUNTS
from tests.acceptance.malformed_messages import (
    ALWAYS_SUBSCRIBED,
    publish_malformed_messages,
    put_malformed_tasks,
    subscribed_channels,
)
from tests.acceptance.secrecy import places_of
from tests.acceptance.test_task_events import Event, events
from tests.support.needs import need
from tests.support.openssh import OpenSSH
from tests.support.openssh import reason_unavailable as no_openssh
from tests.support.schema import (
    LATER,
    add_later_migration,
    add_old_task,
    differences,
    later_values,
    version_of,
)
from tests.support.sentinels import UnreliableRedis
from tests.support.service import Caller, Distributed, cluster_settings, failure
from tests.support.services import MariaDB, eventually
from tests.support.services import reason_unavailable as no_servers
from tests.support.webhook_receiver import WebhookReceiver

IMPATIENT_WORKER = [sys.executable, "-m", "tests.acceptance.impatient_worker"]
ALICE = ACCOUNTS["alice"]
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
SECRET = f"marker-{secrets.token_hex(12)}"
FAILS_OVER = "REDIS_FAILS_EVERY" in os.environ
HOOK_SECRET = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


@dataclass
class Site:
    """A distributed service with its login node and database server, all for breaking."""

    service: Distributed
    ssh: OpenSSH
    mariadb: MariaDB
    alice: Caller
    threads: ThreadPoolExecutor
    hook: WebhookReceiver

    def trail(self, steps: int, seconds: float = 0) -> tuple[str, Path]:
        """Start a task that appends one line per step to a file; return the task and the file."""
        name = f"trail-{secrets.token_hex(4)}"
        options = {"file": name, "steps": steps, "seconds": seconds}
        return self.alice.begin("mysite/opn/trail", options), self.ssh.home("alice") / name

    def whisper(self) -> str:
        """Start a long task with a secret, and wait until it runs on the login node."""
        number = f"{secrets.randbelow(10**9)}.5"
        options = {"line": f"cat; exec sleep {number}", "secret": SECRET}
        task = self.alice.begin("mysite/opn/whisper", options)
        assert eventually(lambda: any(number in each for each in self.ssh.processes("alice")))
        return task

    def waiting(self, line: str, api: int = 0) -> Future[httpx.Response]:
        """Run a command line with a waiting client; return once it runs on the login node."""
        mark = secrets.token_hex(4)
        caller = self.service.caller(self.alice.token, api)
        counted = f"echo {mark} >>trail-waiting\n{line} # {mark}\n:"
        answer = self.threads.submit(caller.run, counted)
        assert eventually(lambda: any(mark in each for each in self.ssh.processes("alice")))
        return answer

    def ran_twice(self) -> list[str]:
        """Return the steps that appended their line more than once; expected: none."""
        trails = self.ssh.home("alice").glob("trail-*")
        counts = {file.name: Counter(lines(file)) for file in trails}
        return [f"{name}: {line}" for name in counts for line, n in counts[name].items() if n > 1]

    def places_of_secret(self) -> list[str]:
        """Return the places of the secret of `whisper`; expected: none."""
        assert SECRET not in self.alice.http.get("/tasks").text
        found: list[list[str]] = []

        def look() -> bool:
            with contextlib.suppress(RedisError):  # a failover takes some seconds
                found.append(places_of([SECRET], self.service, self.mariadb.folder))
            return bool(found)

        assert eventually(look)
        return found[0]

    def ended(self, task: str) -> dict[str, Any]:
        """Wait for the end of a task and return it."""
        assert eventually(
            lambda: self.alice.task(task, wait=5)["state"] not in ("queued", "running")
        )
        return self.alice.task(task)


@pytest.fixture(scope="module")
def running(folder: Path, operators: Path) -> Iterator[Site]:
    need(no_openssh())
    need(no_servers())
    with (
        OpenSSH(folder / "node", [ALICE]) as ssh,
        MariaDB(folder / "db") as mariadb,
        ThreadPoolExecutor(10) as threads,
        WebhookReceiver(folder) as hook,
    ):
        settings = {
            **cluster_settings(ssh),
            "OPERATORS_PATH": operators,
            "NOTIFY_HOSTS": f"localhost:{hook.port}",
            "NOTIFY_SECRET": HOOK_SECRET,
            "NOTIFY_PRIVATE": True,
        }
        worker = ["env", f"SSL_CERT_FILE={hook.authority}", *IMPATIENT_WORKER]
        url = mariadb.database("faults")
        with (
            unreliable_redis(folder / "unreliable") as redis,
            Distributed(folder / "faults", settings, url, worker, redis) as service,
        ):
            yield Site(service, ssh, mariadb, service.log_in(ALICE), threads, hook)


@contextlib.contextmanager
def unreliable_redis(folder: Path) -> Iterator[UnreliableRedis | None]:
    """Yield servers that fail over every REDIS_FAILS_EVERY seconds; None without that variable."""
    seconds = os.environ.get("REDIS_FAILS_EVERY")
    servers = UnreliableRedis(folder, float(seconds)) if seconds else None
    try:
        yield servers
    finally:
        if servers is not None:
            servers.close()
            print(f"Redis failed over {servers.failovers} times")


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    """Return the site with at least one worker; check afterwards that no step ran twice."""
    if not running.service.workers:
        running.service.add_workers(1)
    yield running
    assert running.ran_twice() == []


def eventually_still(file: Path) -> list[str]:
    """Return the lines of a file that has stopped growing."""
    seen: list[str] = []
    while seen != (seen := lines(file)):
        time.sleep(2)
    return seen


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def test_processes_can_start_concurrently_on_an_empty_database(site: Site) -> None:
    for number in range(3):
        url = site.mariadb.database(f"empty{number}")
        databases = [Database(url) for _ in range(6)]
        list(site.threads.map(Database.create_tables, databases))  # raises if one of them raises
        for each in databases:
            each.check()
            each.close()


def test_database_of_an_earlier_release_is_upgraded(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = site.mariadb.database("earlier")
    with contextlib.closing(Database(url)) as database:
        database.create_tables()
    assert differences(url) == []
    add_old_task(url)
    add_later_migration(tmp_path, monkeypatch)
    with contextlib.closing(Database(url)) as database:
        database.create_tables()
        found = TaskStore(database).get("t1")
    assert found is not None and (found.tags, found.pending_undo) == (["old", "Ünd"], None)
    assert (version_of(url), later_values(url)) == (LATER, [7])


def test_task_of_a_killed_worker_is_lost_and_queued_tasks_run_once_elsewhere(
    site: Site,
) -> None:
    victim, *others = site.service.workers
    site.service.stop_workers(*others)
    begun, trail = site.trail(steps=5, seconds=1)
    built = site.alice.begin("mysite/opn/build", {"file": "b", "steps": 3, "stop_at": 1})
    whisper = site.whisper()
    assert eventually(lambda: lines(trail) and len(site.alice.task(built)["steps"]) == 3)
    # A step is recorded shortly after it is sent.
    assert eventually(lambda: all(site.alice.task(task)["steps"] for task in (begun, whisper)))
    victim.send(signal.SIGSTOP)  # it fetches one more message from Redis, and never reads it
    queued = [site.trail(steps=2) for _ in range(5)]
    waiter = site.threads.submit(site.alice.task, begun, 55)
    site.service.kill_worker(victim)
    site.service.add_workers(1)

    for task, file in queued:
        assert site.ended(task)["state"] == "succeeded"
        assert lines(file) == ["0", "1"]
    for seen in (waiter.result(), site.ended(whisper)):
        assert seen["state"] == "lost" and seen["success"] is False
        assert seen["error"]["type"] == "ContactLost" and seen["error"]["retryable"] is False
        assert "cannot be resumed; of its step 1" in seen["error"]["message"]
        assert len(seen["steps"]) == 1
    assert lines(trail) == ["0"]
    half_built = site.ended(built)
    assert half_built["state"] == "lost"
    assert half_built["error"]["undone"] == []
    assert half_built["error"]["needs_repair"] == [
        "rm -f b.1: not run, the worker died",
        "rm -f b.0: not run, the worker died",
    ]
    assert sorted(file.name for file in site.ssh.home("alice").glob("b.*")) == ["b.0", "b.1"]
    assert site.places_of_secret() == []


def test_steps_of_a_killed_worker_are_ended_on_the_login_node(site: Site) -> None:
    waiting = site.waiting("echo begun; (trap '' TERM; sleep 4713; :) | cat & sleep 4714")
    task = site.alice.http.get("/tasks").json()["tasks"][0]["task"]
    assert eventually(lambda: [s["stdout"] for s in site.alice.task(task)["steps"]] == ["begun\n"])
    for victim in list(site.service.workers):
        site.service.kill_worker(victim)
    assert eventually(lambda: not any("471" in p for p in site.ssh.processes("alice")))
    site.service.add_workers(1)
    assert failure(waiting.result(), 502)["type"] == "ContactLost"
    assert site.alice.task(task)["steps"][0]["stdout"] == "begun\n"


def test_repeatedly_delivered_message_runs_once(site: Site) -> None:
    site.service.add_workers(1)  # two workers race for each message
    queue = TaskQueue(celery_app(site.service.settings))
    tasks = [site.trail(steps=2, seconds=0.1) for _ in range(8)]

    def put(task: str) -> None:
        """Put a task into the queue, again where a failover prevents it."""

        def is_put() -> bool:
            with contextlib.suppress(QueueUnavailable):
                queue.put(task, "hpc")
                return True
            return False

        assert eventually(is_put)

    for task, _ in tasks * 3:
        put(task)
    for task, _ in tasks:
        assert site.ended(task)["state"] == "succeeded"
        put(task)
    assert site.alice.run("true").status_code == 200
    assert eventually(lambda: queue_is_empty(site))
    for _, file in tasks:
        assert lines(file) == ["0", "1"]


def test_malformed_messages_are_skipped(site: Site) -> None:
    client = site.service.redis()
    assert eventually(lambda: subscribed_channels(client) > ALWAYS_SUBSCRIBED)

    def is_logged(*lines: str) -> bool:
        log = "".join(worker.output() for worker in site.service.workers)
        return all(line in log for line in lines)

    def are_skipped() -> bool:
        """Send the messages, and return False if a failover has lost them."""
        with contextlib.suppress(OperationalError, RedisError):
            put_malformed_tasks(site.service.settings)
            publish_malformed_messages(site.service.settings, client)
        return eventually(
            lambda: is_logged(
                "skipped 2 malformed arguments of a task message",
                "skipped 1 named arguments of a task message",
                "skipped a malformed message on resop:cancel: not JSON in UTF-8",
                "refused message 1 on resop:cancel: this service did not send it",
            ),
            10,
        )

    assert eventually(are_skipped)
    assert site.alice.run("echo still here").json()["output"]["stdout"] == "still here\n"
    task, file = site.trail(steps=1)
    assert site.ended(task)["state"] == "succeeded" and lines(file) == ["0"]
    assert site.alice.http.get("/health/ready").json()["redis"] is True


@pytest.mark.skipif(FAILS_OVER, reason="a failover may lose what the test itself pushes")
def test_recorded_message_that_is_pushed_again_runs_once(site: Site) -> None:
    """While its task runs, and after its end."""
    site.service.stop_workers()
    task, file = site.trail(steps=4, seconds=1)
    redis = site.service.redis()
    [recorded] = redis.lrange("cluster.hpc", 0, -1)
    redis.lpush("cluster.hpc", recorded)
    site.service.add_workers(2)
    assert eventually(lambda: lines(file))
    redis.lpush("cluster.hpc", recorded)
    assert site.ended(task)["state"] == "succeeded"
    redis.lpush("cluster.hpc", recorded)
    log_line = f"task {task}: skipped, it is no longer queued"
    log = site.service.log
    assert eventually(lambda: log().count(log_line) == 3)
    assert lines(file) == ["0", "1", "2", "3"]


def queue_is_empty(site: Site) -> bool:
    return site.service.redis().llen("cluster.hpc") == 0


def test_queued_task_runs_although_redis_lost_its_message(site: Site) -> None:
    site.service.stop_workers()
    tasks = [site.trail(steps=1) for _ in range(3)]
    # A failover may have lost some already, and afterwards some may have been sent again.
    assert FAILS_OVER or site.service.redis().llen("cluster.hpc") == 3
    site.service.redis().flushall()
    site.service.add_workers(1)
    for task, file in tasks:
        assert site.ended(task)["state"] == "succeeded"
        assert lines(file) == ["0"]


def test_waiting_clients_do_not_notice_an_emptied_redis(site: Site) -> None:
    waiting = [site.waiting("sleep 1; echo done", api) for api in (0, 1)]
    begun, trail = site.trail(steps=6, seconds=0.3)
    assert eventually(lambda: lines(trail))
    site.service.redis().flushall()
    for each in waiting:
        assert each.result().json()["output"]["stdout"] == "done\n"
    assert site.ended(begun)["state"] == "succeeded"
    assert lines(trail) == list(map(str, range(6)))
    assert site.alice.run("echo on").json()["output"]["stdout"] == "on\n"


def launch_batch(site: Site, name: str, size: int) -> str:
    """Launch a batch whose tasks append their number to a file, and return its ID."""
    body = {
        "options": {"command": f"echo {{{{n}}}} >>{name}; sleep 0.1"},
        "sweep": {"n": {"start": 1, "stop": size}},
    }
    return str(site.alice.http.post("/core/opn/run/batch", json=body).json()["batch"])


def ended_batch(site: Site, batch: str) -> dict[str, list[int]]:
    """Wait for the end of a batch and return its items by the state of their tasks."""
    path = f"/batches/{batch}"
    assert eventually(
        lambda: site.alice.http.get(path, params={"wait": 5}).json()["state"] == "ended", 60
    )
    ended: dict[str, list[int]] = {}
    for line in site.alice.http.get(f"{path}/results.ndjson").text.splitlines():
        row = json.loads(line)
        ended.setdefault(row["state"], []).append(row["item"]["n"])
    return ended


def test_batch_continues_after_a_killed_worker_and_runs_nothing_twice(site: Site) -> None:
    site.service.add_workers(max(0, 2 - len(site.service.workers)))
    name = f"batch-{secrets.token_hex(4)}"
    file = site.ssh.home("alice") / name
    batch = launch_batch(site, name, 150)
    assert eventually(lambda: len(lines(file)) > 20)
    site.service.kill_worker(site.service.workers[0])
    ended = ended_batch(site, batch)
    assert set(ended) <= {"succeeded", "lost"}
    assert sum(map(len, ended.values())) == 150
    ran = list(map(int, lines(file)))
    assert len(ran) == len(set(ran))
    assert set(ended["succeeded"]) <= set(ran)


def test_batch_continues_after_redis_is_emptied(site: Site) -> None:
    site.service.stop_workers()
    name = f"batch-{secrets.token_hex(4)}"
    batch = launch_batch(site, name, 40)
    site.service.redis().flushall()
    site.service.add_workers(1)
    file = site.ssh.home("alice") / name
    assert eventually(lambda: lines(file))
    site.service.redis().flushall()
    assert ended_batch(site, batch) == {"succeeded": list(range(1, 41))}
    assert sorted(map(int, lines(file))) == list(range(1, 41))


def test_cancelled_queued_task_never_runs_and_its_waiter_is_notified(site: Site) -> None:
    site.service.stop_workers()
    task, file = site.trail(steps=1)
    waiting = [
        site.threads.submit(site.service.caller(site.alice.token, api).task, task, 30)
        for api in (0, 1)
    ]
    time.sleep(0.3)
    answer = site.alice.http.delete(f"/tasks/{task}")
    assert answer.status_code == 200
    for seen in (answer.json(), *(each.result() for each in waiting)):
        assert (seen["state"], seen["started_at"], seen["steps"]) == ("cancelled", None, [])
        assert seen["error"]["type"] == "TaskCancelled" and seen["error"]["ended"] is True
    site.service.add_workers(1)
    later, _ = site.trail(steps=1)
    assert site.ended(later)["state"] == "succeeded"
    assert lines(file) == []
    assert site.alice.task(task) == answer.json()


def test_running_task_is_cancelled_although_the_message_is_lost(site: Site) -> None:
    task = site.whisper()
    site.service.redis_server.stop()
    answer = site.alice.http.delete(f"/tasks/{task}")
    # 200 if the worker found the request in the database before the publisher gave up on Redis.
    assert answer.status_code in (200, 202) and answer.json()["cancel_asked_at"] is not None
    assert site.ended(task)["error"]["ended"] is True
    site.service.redis_server.start()
    assert site.alice.task(task)["state"] == "cancelled"
    assert site.alice.run("echo on").json()["output"]["stdout"] == "on\n"
    assert site.places_of_secret() == []


def test_stopped_worker_finishes_short_tasks_and_ends_long_ones(site: Site) -> None:
    before = set(site.ssh.processes("alice"))
    short = site.waiting("sleep 0.6; echo done")
    long = site.waiting("sleep 4711")
    whisper = site.whisper()
    trailing, trail = site.trail(steps=100, seconds=0.3)
    assert eventually(lambda: lines(trail))
    site.service.stop_workers()
    left = lines(trail)
    later, file = site.trail(steps=2)

    assert short.result().json()["output"]["stdout"] == "done\n"
    error = failure(long.result(), 409)
    assert error["type"] == "TaskCancelled" and error["ended"] is True
    for task in (whisper, trailing):
        seen = site.ended(task)
        assert (seen["state"], seen["error"]["type"]) == ("cancelled", "TaskCancelled")
    assert eventually(lambda: set(site.ssh.processes("alice")) <= before, 5)
    assert site.alice.task(later)["state"] == "queued" and lines(file) == []
    assert site.places_of_secret() == []
    site.service.add_workers(1)
    assert site.ended(later)["state"] == "succeeded"
    assert lines(file) == ["0", "1"] and lines(trail) == left


def test_tokens_and_tasks_survive_an_api_restart(site: Site) -> None:
    waiting = site.waiting("sleep 1; echo done", api=0)
    site.service.kill_api(0)
    with pytest.raises(httpx.TransportError):
        waiting.result()
    with pytest.raises(httpx.ConnectError):
        site.alice.http.get("/tasks")
    site.service.start_api(0)
    newest = site.alice.http.get("/tasks", params={"limit": 1}).json()["tasks"][0]
    assert site.ended(newest["task"])["output"]["stdout"] == "done\n"
    assert site.alice.run("echo on").json()["output"]["stdout"] == "on\n"


def test_request_repeated_at_another_api_after_a_crash_returns_its_task(site: Site) -> None:
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    options = {"command": "sleep 1; echo once >>api-killed; cat api-killed"}
    first, second = (site.service.caller(site.alice.token, api) for api in (0, 1))
    answer = site.threads.submit(first.http.post, "/core/opn/run", json=options, headers=headers)
    assert eventually(lambda: any("api-killed" in each for each in site.ssh.processes("alice")))
    site.service.kill_api(0)
    with pytest.raises(httpx.TransportError):
        answer.result()
    again = second.http.post("/core/opn/run", json=options, headers=headers)
    assert again.json()["output"]["stdout"] == "once\n"
    site.service.start_api(0)


def test_request_that_could_not_be_queued_can_be_repeated_with_its_key(site: Site) -> None:
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    options = {"command": "echo made"}
    site.service.redis_server.stop()
    refused = site.alice.http.post("/core/opn/run", json=options, headers=headers)
    assert failure(refused, 503)["type"] == "QueueUnavailable"
    site.service.redis_server.start()
    again = site.alice.http.post("/core/opn/run", json=options, headers=headers)
    assert again.json()["output"]["stdout"] == "made\n"


def test_watched_task_is_followed_across_failures_of_api_and_redis(site: Site) -> None:
    task = site.alice.begin("mysite/opn/narrate", {"steps": 8, "seconds": 0.5})
    seen: list[Event] = []

    def watch(api: int) -> None:
        caller = site.service.caller(site.alice.token, api)
        with contextlib.suppress(httpx.TransportError):
            for event in events(caller, task, seen[-1].id if seen else ""):
                seen.append(event)

    watching = site.threads.submit(watch, 0)
    assert eventually(lambda: len(seen) > 3)
    site.service.kill_api(0)
    watching.result()
    watching = site.threads.submit(watch, 1)
    site.service.redis_server.stop()
    site.service.redis_server.start()
    site.service.start_api(0)
    watching.result()
    words = [(event.kind, event.data.get("number")) for event in seen if event.kind == "step"]
    assert words == [("step", number) for number in range(1, 10)]
    assert len(set(seen_ids := [event.id for event in seen])) == len(seen_ids)
    assert seen[-1].kind == "done" and seen[-1].data["state"] == "succeeded"


def test_api_with_watchers_stops_at_once(site: Site) -> None:
    task = site.alice.begin("mysite/opn/narrate", {"steps": 60, "seconds": 0.5})
    ids: list[str] = []
    with site.service.additional_api() as api:
        caller = site.service.caller(site.alice.token, api)
        watching = site.threads.submit(
            lambda: ids.extend(event.id for event in events(caller, task))
        )
        assert eventually(lambda: ids and ids[-1].startswith("running"))
        began = time.monotonic()
    watching.result()
    assert time.monotonic() - began < 12  # long before the operation's 30 s are over
    assert ids[-1].startswith("running")
    site.alice.http.delete(f"/tasks/{task}")
    assert next(events(site.alice, task, ids[-1])).id != ids[-1]


def test_webhook_of_an_end_is_delivered_although_worker_and_redis_die(site: Site) -> None:
    site.hook.answers = lambda before: 503
    query = {"notify": site.hook.address, "tag": "notified"}
    answer = site.alice.run("echo done", query=query)
    assert answer.status_code == 200
    task = answer.json()["task"]
    refused = "answered 503"
    body = {"items": [{"n": 1}, {"n": 2}], "options": {"command": "echo {{n}}"}}
    launched = site.alice.http.post("/core/opn/run/batch", params=query, json=body)
    batch = f"/batches/{launched.json()['batch']}"
    assert eventually(lambda: site.alice.task(task)["notification"]["last_error"] == refused)
    seen = site.alice.task(task)
    assert seen["notify"] == site.hook.address
    assert seen["notification"]["delivered_at"] is None and seen["notification"]["next_at"]
    for victim in list(site.service.workers):
        site.service.kill_worker(victim)
    site.service.redis().flushall()
    site.hook.answers = lambda before: 204
    site.service.add_workers(2)
    assert eventually(lambda: site.alice.task(task)["notification"]["delivered_at"])
    requests = site.hook.requests_for(task)
    for each in requests:
        each.check_signature(HOOK_SECRET)
    last = requests[-1].json["data"]
    assert (last["state"], last["tags"]) == ("succeeded", ["notified"])
    assert last["output"]["stdout"] == "done\n"
    assert site.alice.task(task)["notification"]["next_at"] is None

    def read_batch() -> Any:
        return site.alice.http.get(batch).json()

    assert eventually(lambda: read_batch()["notification"]["delivered_at"])
    counted = site.hook.requests_for(read_batch()["batch"])[-1].json["data"]["counts"]
    assert (counted["succeeded"], read_batch()["notify"]) == (2, site.hook.address)


def test_webhook_is_sent_for_a_task_cancelled_before_it_ran(site: Site) -> None:
    site.service.stop_workers()
    query = {"notify": site.hook.address}
    task = site.alice.run("true", prefer="respond-async", query=query).json()["task"]
    site.alice.http.delete(f"/tasks/{task}")
    site.service.add_workers(1)
    assert eventually(lambda: site.hook.requests_for(task))
    assert site.hook.requests_for(task)[0].json["data"]["state"] == "cancelled"


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost/",
        "https://elsewhere.example/",
        "https://127.0.0.1/",
        "https://a@localhost/",
    ],
)
def test_forbidden_webhook_address_is_refused_before_a_task_is_made(
    site: Site, address: str
) -> None:
    answer = site.alice.run("echo not run >notify-refused", query={"notify": address})
    [fault] = failure(answer, 422)["faults"]
    assert fault["field"] == "notify"
    assert not (site.ssh.home("alice") / "notify-refused").exists()


def test_sshd_restart_between_tasks_is_not_noticed(site: Site) -> None:
    for number in range(3):
        assert site.alice.run(f"echo {number}").json()["output"]["stdout"] == f"{number}\n"
        site.ssh.restart()


def test_broken_connection_loses_a_waiting_clients_step_and_runs_no_later_one(
    site: Site,
) -> None:
    waiting = site.waiting("sleep 1; echo done")
    trail = site.ssh.home("alice") / f"trail-{secrets.token_hex(4)}"
    options = {"file": trail.name, "steps": 5, "seconds": 0.5}
    begun = site.threads.submit(site.alice.post, "mysite/opn/trail", options)
    assert eventually(lambda: lines(trail))
    before = lines(trail)
    site.ssh.drop_connections()
    for each in (waiting, begun):
        error = failure(each.result(), 502)
        assert error["type"] == "ContactLost" and error["retryable"] is False
        assert each.result().json()["success"] is False
    assert site.alice.run("sleep 0.6; echo on").json()["output"]["stdout"] == "on\n"
    assert lines(trail) == before


def test_redis_outage_is_503_and_its_return_wakes_waiting_clients(site: Site) -> None:
    waiting = [site.waiting("sleep 1; echo done", api) for api in (0, 1)]
    site.service.redis_server.stop()
    answer = site.alice.run("echo not run >redis-away")
    error = failure(answer, 503)
    assert error["type"] == "QueueUnavailable" and error["retryable"] is True
    assert int(answer.headers["retry-after"]) > 0
    failure(site.alice.login(ALICE.name, ALICE.password), 503)
    newest = site.alice.http.get("/tasks", params={"limit": 1}).json()["tasks"][0]
    assert (newest["state"], newest["error"]["type"]) == ("failed", "QueueUnavailable")
    time.sleep(1)  # the tasks end while no message can be published
    site.service.redis_server.start()
    for each in waiting:
        assert each.result().json()["output"]["stdout"] == "done\n"
    assert site.alice.run("echo on").json()["output"]["stdout"] == "on\n"
    assert not (site.ssh.home("alice") / "redis-away").exists()


def test_database_that_takes_no_writes_is_not_ready(site: Site) -> None:
    address = "/health/ready"
    with site.mariadb.administrator() as administrator:
        administrator.execute("SET GLOBAL read_only = 1")
        try:
            ready = site.alice.http.get(address)
            assert (ready.status_code, ready.json()["database"]) == (503, False)
            assert ready.json()["redis"] is True
            assert "read-only" in ready.json()["reasons"]["database"]
            assert failure(site.alice.run("true"), 503)["type"] == "RecordsUnavailable"
        finally:
            administrator.execute("SET GLOBAL read_only = 0")
    assert site.alice.http.get(address).status_code == 200
    with site.mariadb.administrator() as administrator:
        administrator.execute("FLUSH TABLES WITH READ LOCK")
        for _ in range(3):  # a lock that lasts holds up one thread, not one for each request
            assert site.alice.http.get(address).json()["database"] is False
        administrator.execute("UNLOCK TABLES")
    assert eventually(lambda: site.alice.http.get(address).status_code == 200)


def test_result_too_large_for_the_database_fails_its_task_and_no_other(site: Site) -> None:
    with site.mariadb.administrator() as administrator:
        administrator.execute("SET GLOBAL max_allowed_packet = 1048576")
        administrator.execute("KILL USER faults")  # new connections get the limit
        try:
            large = "head -c 1100000 /dev/zero | tr '\\0' x"
            begun = site.alice.begin("core/opn/run", {"command": f"sleep 1; {large}; {large} >&2"})
            command = {"stdin": f"sleep 1; {large}; {large} >&2"}
            printed = site.alice.begin("mysite/cmd/sh", command)
            trail, file = site.trail(steps=4, seconds=0.5)
            error = site.ended(printed)["error"]
            assert error["type"] == "RecordRefused"
            assert "max_allowed_packet of 1048576 bytes" in error["message"]
            assert site.ended(begun)["state"] in ("succeeded", "failed")
            assert site.ended(trail)["state"] == "succeeded"
            assert lines(file) == ["0", "1", "2", "3"]
            assert "xxxxxxxx" not in site.service.log()
        finally:
            administrator.execute("SET GLOBAL max_allowed_packet = 67108864")
            administrator.execute("KILL USER faults")
    assert site.alice.run("true").status_code == 200


def test_worker_that_was_suspended_sends_nothing_of_tasks_that_are_no_longer_its_own(
    site: Site,
) -> None:
    victim, *others = site.service.workers
    if others:  # without a name, all would be stopped
        site.service.stop_workers(*others)
    name = f"trail-{secrets.token_hex(4)}"
    file = site.ssh.home("alice") / name
    caller = site.service.caller(site.alice.token)
    options = {"file": name, "steps": 200, "seconds": 0.3}
    waiting = site.threads.submit(caller.post, "mysite/opn/trail", options)
    assert eventually(lambda: lines(file)), victim.output()[-4000:]
    [waited, *_] = site.alice.newest("task")
    begun, trail = site.trail(steps=30, seconds=2)
    assert eventually(lambda: lines(trail))
    site.service.add_workers(1)
    victim.send(signal.SIGSTOP)
    try:
        assert [site.ended(task)["state"] for task in (waited, begun)] == ["lost", "lost"]
    finally:
        victim.send(signal.SIGCONT)
    assert eventually(lambda: "believed to be dead" in victim.output())
    ran = eventually_still(file)
    assert len(ran) < 200 and waiting.result().status_code in (502, 202)
    assert site.alice.run("true").status_code == 200


def test_workers_whose_clocks_are_wrong_lose_nothing(site: Site) -> None:
    need(None if FAKETIME else "libfaketime is missing: install the Debian package libfaketime")
    clock = site.service.folder / "clock"
    clock.write_text("-90s")
    fake = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
        "FAKETIME_CACHE_DURATION": "1",
    }
    patient = {"DEAD_SECONDS": "20"}  # less than the skews, but not to be missed by a busy machine
    site.service.stop_workers()
    for environ in (
        {},
        {**fake, "FAKETIME": "+90s"},
        {**fake, "FAKETIME_TIMESTAMP_FILE": str(clock)},
    ):
        site.service.add_workers(1, **patient, **environ)
    right, ahead, behind = (worker.output() for worker in site.service.workers)
    assert "the clock of this machine" not in right
    # A busy machine takes some tenths of a second to ask.
    assert re.search(r"the clock of this machine is (89|90)\.\d s ahead of the database's", ahead)
    assert re.search(r"the clock of this machine is (89|90)\.\d s behind the database's", behind)
    trails = [site.trail(steps=3, seconds=1.5) for _ in range(6)]
    begun = eventually(lambda: all(lines(file) for _, file in trails))
    assert begun, (
        [site.alice.task(task) for task, file in trails if not lines(file)],
        *(worker.output() for worker in site.service.workers),
    )
    for skew in ("+3600s", "-3600s"):  # a step of NTP
        time.sleep(1.2)
        clock.write_text(skew)
    for task, file in trails:
        ended = site.ended(task)
        assert (ended["state"], lines(file)) == ("succeeded", ["0", "1", "2"]), ended
        assert 4 < ended["seconds"] < 60
    assert not any("its worker died" in worker.output() for worker in site.service.workers)
    site.service.stop_workers()


def test_database_outage_is_503_and_running_tasks_are_recorded_afterwards(
    site: Site,
) -> None:
    short, long = site.waiting("sleep 1; echo done"), site.waiting("echo on; sleep 3.5; echo done")
    begun, trail = site.trail(steps=12, seconds=0.5)
    assert eventually(lambda: lines(trail))
    site.mariadb.stop()
    for answer in (site.alice.run("true"), site.alice.http.get("/tasks")):
        error = failure(answer, 503)
        assert error["type"] == "RecordsUnavailable" and error["retryable"] is True
        assert int(answer.headers["retry-after"]) > 0
    ready = site.alice.http.get("/health/ready")
    assert ready.status_code == 503 and ready.json()["database"] is False
    time.sleep(3)  # longer than the heartbeat timeout of a worker
    site.mariadb.start()
    for waiting, text in ((short, "done\n"), (long, "on\ndone\n")):
        answer = waiting.result().json()
        assert answer["output"]["stdout"] == text
        seen = events(site.alice, answer["task"])
        assert [each.data["text"] for each in seen if each.kind == "output"] in (
            [text],
            text.splitlines(keepends=True),
        )
    assert site.ended(begun)["state"] == "succeeded"
    assert lines(trail) == list(map(str, range(12)))
    assert site.alice.run("echo on").json()["output"]["stdout"] == "on\n"
