"""Ending a login ends everything that lives on it, on every process, with Redis and without.

The service has two API processes and two workers. Its cluster has two names, so that one person can
have a login with a key (`hpc`) and one whose connection a worker holds (`holding`).
"""

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import ACCOUNTS
from tests.acceptance.test_batches import appending_batch, counts, get_batch, launch_batch, lines
from tests.acceptance.test_task_events import events
from tests.support.needs import need
from tests.support.openssh import OpenSSH
from tests.support.openssh import reason_unavailable as no_openssh
from tests.support.service import Caller, Distributed, cluster_settings, failure, run_resop
from tests.support.services import MariaDB, eventually

ALICE, BOB = ACCOUNTS["alice"], ACCOUNTS["bob"]
CLUSTERS = ("hpc", "holding")
SECONDS = 20
"""How long an end may take on a busy machine; it takes 2 to 5 s on an idle one."""
BIG = 1 << 31
"""The size of a file that cannot be sent before the test ends."""


@pytest.fixture(scope="module")
def node(folder: Path) -> Iterator[OpenSSH]:
    """Start a login node of its own, on which no other test leaves a process."""
    need(no_openssh())
    with OpenSSH(folder / "ends-node", [ALICE, BOB]) as server:
        yield server


@pytest.fixture(scope="module")
def site(folder: Path, node: OpenSSH, operators: Path, mariadb: MariaDB) -> Iterator[Distributed]:
    clusters = folder / "two-names.yml"
    address = f"address: {node.host}, ssh_port: {node.port}, known_hosts: {node.known_hosts}"
    clusters.write_text(
        f"- {{name: hpc, {address}}}\n- {{name: holding, {address}, login: held}}\n"
    )
    settings = {
        **cluster_settings(node),
        "CLUSTERS_FILE": clusters,
        "OPERATORS_PATH": operators,
        "BATCH_AT_ONCE": 8,
        "ADMINISTRATORS": "bob@hpc",
    }
    with Distributed(folder / "ends", settings, mariadb.database("ends")) as started:
        yield started


def log_in(site: Distributed, cluster: str = "hpc", api: int = 0) -> Caller:
    credentials = {"username": "alice", "password": ALICE.password, "cluster": cluster}
    answer = site.caller(api=api).post("auth/opn/login", credentials)
    assert answer.status_code == 200, answer.text
    return site.caller(answer.json()["output"]["token"], api)


def elsewhere(site: Distributed, caller: Caller) -> Caller:
    """Return a caller of the other API process with the same login."""
    return site.caller(caller.token, api=1)


def is_refused(caller: Caller) -> bool:
    return caller.http.get("/tasks").status_code == 401


@pytest.fixture(autouse=True)
def _alone(site: Distributed) -> None:
    """End the logins that earlier tests left."""
    for cluster in CLUSTERS:
        assert log_in(site, cluster).http.delete("/logins").status_code == 200


class Upload:
    """A PUT of a file whose client stalls in the middle."""

    def __init__(self, caller: Caller, path: str, threads: ThreadPoolExecutor) -> None:
        self.sent = threading.Event()
        self.released = threading.Event()
        self.ended: Future[object] = threads.submit(self._send, caller, path)
        assert self.sent.wait(60)

    def _content(self) -> Iterator[bytes]:
        yield b"x" * (1 << 20)
        self.sent.set()
        self.released.wait(120)
        yield b"the rest"

    def _send(self, caller: Caller, path: str) -> object:
        with contextlib.suppress(httpx.TransportError):
            return caller.http.put(f"/files/{path}", content=self._content()).status_code
        return None


def download(caller: Caller, path: str) -> bool:
    """Read a file slowly; return True if its end was received."""
    received = 0
    with (
        contextlib.suppress(httpx.TransportError),
        caller.http.stream("GET", f"/files/{path}") as answer,
    ):
        assert answer.status_code == 200
        for block in answer.iter_raw(1 << 20):
            received += len(block)
            time.sleep(0.1)
    return received == BIG


def follow(caller: Caller, task: str) -> list[str]:
    """Read the events of a task until the stream ends, and return their kinds."""
    with contextlib.suppress(httpx.TransportError):
        return [each.kind for each in events(caller, task)]
    return []


class Person:
    """Alice with everything that can live on a login, at both API processes."""

    def __init__(self, site: Distributed, node: OpenSSH, threads: ThreadPoolExecutor) -> None:
        self.node = node
        self.ending_since = 0.0
        self.mark = f"{secrets.randbelow(10**9)}.25"
        self.file = f"ends-{secrets.token_hex(4)}"
        self.caller = caller = log_in(site)
        self.other = elsewhere(site, caller)
        self.held = log_in(site, "holding")
        (node.home("alice") / "big").touch()
        with (node.home("alice") / "big").open("r+b") as big:
            big.truncate(BIG)
        stubborn = f"trap '' TERM; sleep {self.mark} & sleep {self.mark}; wait"
        self.tasks = [
            caller.begin("core/opn/run", {"command": stubborn}),
            caller.begin("mysite/opn/trail", {"file": f"{self.file}-trail", "steps": 10_000}),
        ]
        self.held_task = self.held.begin("core/opn/run", {"command": f"sleep {self.mark}"})
        body = appending_batch(self.file, 1000)
        body["options"]["command"] += "; sleep 1"
        self.batch = launch_batch(caller, body)
        assert eventually(lambda: len(self.running()) >= 3, 60), node.processes("alice")
        assert eventually(lambda: lines(node, "alice", self.file), 60)
        task = self.tasks[0]
        self.upload = Upload(self.other, "upload.bin", threads)
        assert eventually(self.uploaded, 60)
        self.waiting = {
            "sync": threads.submit(caller.run, f"sleep {self.mark}"),
            "poll": threads.submit(
                self.other.http.get, f"/tasks/{task}", params={"wait": 55}, timeout=90
            ),
            "batch": threads.submit(
                caller.http.get, f"/batches/{self.batch}", params={"wait": 55}, timeout=90
            ),
        }
        self.streams = [threads.submit(follow, each, task) for each in (caller, self.other)]
        self.download = threads.submit(download, self.other, "big")
        assert eventually(lambda: len(self.running()) >= 4, 60)

    def running(self) -> list[str]:
        """Return the processes of the running lines, as `ps` shows them."""
        return [each for each in self.node.processes("alice") if self.mark in each]

    def uploaded(self) -> list[str]:
        """Return the names of the files that the upload has written so far."""
        names = (each.name for each in self.node.home("alice").iterdir())
        return [each for each in names if each.endswith((".part", ".bin"))]

    def steps(self) -> int:
        """Count the steps that have begun."""
        trail = lines(self.node, "alice", f"{self.file}-trail")
        return len(trail) + len(lines(self.node, "alice", self.file))

    def check_ended(self) -> None:
        """Check that nothing lives on, from the moment at which it has to be over."""
        assert eventually(lambda: self.node.processes("alice") == [], SECONDS)
        print(f"nothing ran any more after {time.monotonic() - self.ending_since:.1f} s")
        steps = self.steps()
        for kind, waiting in self.waiting.items():
            answer = waiting.result(SECONDS)
            # The end of its task may be noticed first.
            cancelled = '"TaskCancelled"' in answer.text or '"cancelled"' in answer.text
            assert answer.status_code == 401 or cancelled, (kind, answer.text)
        for stream in self.streams:
            assert "done" not in stream.result(SECONDS)
        assert self.download.result(SECONDS) is False
        assert eventually(lambda: self.uploaded() == [], SECONDS)
        self.upload.released.set()
        assert self.upload.ended.result(SECONDS) in (401, None)
        assert self.uploaded() == []
        for caller in (self.caller, self.other, self.held):
            assert eventually(lambda caller=caller: is_refused(caller), SECONDS)  # type: ignore[misc]
        time.sleep(3)  # the batch would have run some more items by now
        assert self.steps() == steps
        assert self.node.processes("alice") == []

    def check_record(self, caller: Caller, held: Caller, reason: str) -> None:
        """Check that the database says how each task ended, and why."""
        for task in self.tasks:
            error = caller.task(task)["error"]
            assert caller.task(task)["state"] == "cancelled"
            assert reason in error["message"], error
            assert error.get("ended", True) is True, "unless it was cancelled between two steps"
        assert held.task(self.held_task)["state"] == "cancelled"
        assert eventually(lambda: get_batch(caller, self.batch)["state"] == "ended", 60)
        found = get_batch(caller, self.batch)
        count = counts(found)
        assert set(count) <= {"cancelled", "succeeded"} and sum(count.values()) == 1000
        assert count["cancelled"] > 900 and found["cancel_asked_at"]
        [task] = caller.http.get(
            f"/batches/{self.batch}/tasks", params={"state": "cancelled", "limit": 1}
        ).json()["tasks"]
        assert reason in caller.task(task["task"])["error"]["message"]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as pool:
        yield pool


@pytest.fixture
def person(site: Distributed, node: OpenSSH, threads: ThreadPoolExecutor) -> Iterator[Person]:
    found = Person(site, node, threads)
    try:
        yield found
    finally:
        found.upload.released.set()


@contextlib.contextmanager
def without_redis(site: Distributed) -> Iterator[None]:
    """Stop Redis for a while."""
    site.redis_server.stop()
    try:
        yield
    finally:
        site.redis_server.start()
        for api in (0, 1):
            ready: Callable[[], bool] = lambda api=api: (  # type: ignore[misc] # noqa: E731
                site.caller(api=api).http.get("/health/ready").status_code == 200
            )
            assert eventually(ready, 60)


def resop(site: Distributed, *arguments: str) -> str:
    done = run_resop(site.folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def unblock(site: Distributed) -> None:
    for cluster in CLUSTERS:
        resop(site, "users", "unblock", f"alice@{cluster}")


@pytest.mark.slow
@pytest.mark.parametrize("redis", ["with Redis", "without Redis"])
def test_nothing_of_a_blocked_person_lives_on(
    site: Distributed, node: OpenSSH, person: Person, redis: str
) -> None:
    bob = site.log_in(BOB)
    reason = "the laptop was stolen"
    with without_redis(site) if redis == "without Redis" else contextlib.nullcontext():
        person.ending_since = time.monotonic()
        said = [
            resop(site, "users", "block", f"alice@{cluster}", "--reason", reason)
            for cluster in CLUSTERS
        ]
        person.check_ended()
    try:
        assert all("is blocked; " in each for each in said)
        for cluster in CLUSTERS:
            credentials = {"username": "alice", "password": ALICE.password, "cluster": cluster}
            error = failure(site.caller().post("auth/opn/login", credentials), 403)
            assert error["type"] == "UserBlocked" and reason in error["message"]
        assert eventually(lambda: node.processes("alice") == [], SECONDS)
        assert bob.run("whoami").json()["output"]["stdout"] == "bob\n", "others work on"
        listed = resop(site, "users", "list")
        assert all(f"alice@{cluster}" in listed for cluster in CLUSTERS) and reason in listed
    finally:
        unblock(site)
    assert is_refused(person.caller), "a login that was ended stays ended"
    person.check_record(log_in(site), log_in(site, "holding"), reason)


@pytest.mark.slow
def test_revoked_logins_end_with_everything_and_others_of_the_person_live_on(
    site: Distributed, node: OpenSSH, person: Person
) -> None:
    ids = [
        each["id"]
        for caller in (person.caller, person.held)
        for each in caller.http.get("/logins").json()["logins"]
        if each["current"]
    ]
    assert len(ids) == 2
    bystander = log_in(site)
    person.ending_since = time.monotonic()
    resop(site, "keys", "--revoke", *ids)
    assert eventually(lambda: person.running() == [], SECONDS)
    assert bystander.run("echo on").json()["output"]["stdout"] == "on\n"
    assert bystander.http.delete("/logins").status_code == 200
    person.check_ended()
    person.check_record(log_in(site), log_in(site, "holding"), "revoked by an administrator")


@pytest.mark.slow
def test_kept_tasks_outlive_their_login_and_end_with_all_logins(
    site: Distributed, node: OpenSSH
) -> None:
    leaving = log_in(site)
    file = f"kept-{secrets.token_hex(4)}"
    body = appending_batch(file, 30)
    body["options"]["command"] += "; sleep 0.2"
    batch = launch_batch(leaving, body)
    long = launch_batch(leaving, {"items": [{"command": "sleep 600"}] * 20})
    output = leaving.post("auth/opn/logout").json()["output"]
    assert output["key_removed"] is False and "continue" in output["reason"]
    assert is_refused(leaving) and eventually(lambda: is_refused(elsewhere(site, leaving)), SECONDS)
    other = log_in(site)
    assert len(other.http.get("/logins").json()["logins"]) == 1
    assert eventually(lambda: get_batch(other, batch)["state"] == "ended", 60)
    assert counts(get_batch(other, batch)) == {"succeeded": 30}
    assert get_batch(other, long)["state"] != "ended"
    ended = other.http.delete("/logins", params={"except_current": True}).json()["ended"]
    assert len(ended) == 1
    assert eventually(lambda: get_batch(other, long)["state"] == "ended", SECONDS)
    assert counts(get_batch(other, long)) == {"cancelled": 20}
    assert other.run("true").status_code == 200


@pytest.mark.slow
def test_tasks_end_with_a_logout_that_keeps_none(site: Distributed, node: OpenSSH) -> None:
    mark = f"{secrets.randbelow(10**9)}.75"
    leaving, staying = log_in(site), log_in(site)
    task = leaving.begin("core/opn/run", {"command": f"sleep {mark}"})
    theirs = staying.begin("core/opn/run", {"command": f"sleep 1{mark}"})
    for each in (f"sleep {mark}", f"sleep 1{mark}"):
        assert eventually(lambda each=each: each in node.processes("alice"))  # type: ignore[misc]
    assert leaving.post("auth/opn/logout", {"keep_running": False}).status_code == 200
    assert eventually(lambda: f"sleep {mark}" not in node.processes("alice"), SECONDS)
    assert eventually(lambda: staying.task(task)["state"] == "cancelled", SECONDS)
    assert "logged out" in staying.task(task)["error"]["message"]
    assert staying.task(theirs)["state"] == "running"
    assert staying.http.delete("/logins").status_code == 200
    assert eventually(lambda: node.processes("alice") == [], SECONDS)


@pytest.mark.slow
def test_operation_of_an_administrator_blocks_a_user_and_others_may_not(
    site: Distributed, node: OpenSSH
) -> None:
    bob, alice, held = site.log_in(BOB), log_in(site), log_in(site, "holding")
    mark = f"{secrets.randbelow(10**9)}.5"
    task = alice.begin("core/opn/run", {"command": f"sleep {mark}"})
    assert eventually(lambda: f"sleep {mark}" in node.processes("alice"))
    for caller in (alice, held):
        refused = failure(caller.post("mysite/opn/expel", {"username": "bob"}), 403)
        assert refused["type"] == "NotPermitted"
    dry = bob.post("mysite/opn/expel", {"username": "alice"}, query={"dry_run": True})
    assert dry.status_code == 200 and alice.task(task)["state"] == "running"
    try:
        assert bob.post("mysite/opn/expel", {"username": "alice"}).json()["output"] == 1
        assert eventually(lambda: f"sleep {mark}" not in node.processes("alice"), SECONDS)
        assert is_refused(alice)
        assert not is_refused(held), "the user of that name on another cluster"
        credentials = {"username": "alice", "password": ALICE.password}
        error = failure(site.caller().post("auth/opn/login", credentials), 403)
        assert error["type"] == "UserBlocked" and "suspended" in error["message"]
        assert "bob@hpc" in resop(site, "users", "list")
    finally:
        lifted = bob.post("mysite/opn/expel", {"username": "alice", "readmit": True})
    assert lifted.json()["output"] == 1
    again = log_in(site)
    assert "suspended" in again.task(task)["error"]["message"]


@pytest.mark.slow
def test_tasks_end_when_their_token_expires(site: Distributed, node: OpenSSH) -> None:
    mark = f"{secrets.randbelow(10**9)}.125"
    with site.additional_api(TOKEN_HOURS=str(30 / 3600)) as short:
        brief = log_in(site, api=short)
        staying = log_in(site)
        task = brief.begin("core/opn/run", {"command": f"sleep {mark}"})
        assert eventually(lambda: f"sleep {mark}" in node.processes("alice"))
        assert eventually(lambda: f"sleep {mark}" not in node.processes("alice"), 30 + SECONDS)
        assert is_refused(brief)
    assert eventually(lambda: staying.task(task)["state"] == "cancelled", SECONDS)
    assert "expired" in staying.task(task)["error"]["message"]


@pytest.mark.slow
def test_long_poll_and_download_end_at_logout(
    site: Distributed, node: OpenSSH, threads: ThreadPoolExecutor
) -> None:
    with (node.home("alice") / "big").open("wb") as big:
        big.truncate(BIG)
    leaving, staying = log_in(site), log_in(site)
    task = staying.begin("core/opn/run", {"command": "sleep 600"})
    poll = threads.submit(
        elsewhere(site, leaving).http.get, f"/tasks/{task}", params={"wait": 55}, timeout=90
    )
    loading = threads.submit(download, elsewhere(site, leaving), "big")
    time.sleep(1)
    assert not poll.done() and not loading.done()
    assert leaving.post("auth/opn/logout").status_code == 200
    assert failure(poll.result(SECONDS), 401)["type"] == "TokenRefused"
    assert loading.result(SECONDS) is False
    assert staying.task(task)["state"] == "running", "the task of another login"
    staying.http.delete("/logins")


def test_people_see_their_own_logins_and_end_them(site: Distributed) -> None:
    bob = site.log_in(BOB)
    agent = {b"User-Agent": b"laptop/1.0 \x9bq"}  # 9b begins a control sequence of a terminal
    credentials = {"username": "alice", "password": ALICE.password}
    answer = site.caller().http.post("/auth/opn/login", json=credentials, headers=agent)
    first = site.caller(answer.json()["output"]["token"])
    second = log_in(site, api=1)
    [shown, current] = second.http.get("/logins").json()["logins"]
    assert (shown["current"], current["current"]) == (False, True)
    assert shown["user_agent"] == "laptop/1.0 q" and shown["address"] == "127.0.0.1"
    assert shown["kind"] == "key" and shown["since"] < shown["expires_at"]
    used: Any = lambda: second.http.get("/logins").json()["logins"][1]["last_used"]  # noqa: E731
    assert eventually(used, SECONDS) and used().endswith(":00Z")

    for caller, login in ((bob, shown["id"]), (second, "unknown")):
        error = failure(caller.http.delete(f"/logins/{login}"), 404)
        assert error["type"] == "UnknownLogin"
    assert first.http.get("/tasks").status_code == 200
    assert second.http.delete(f"/logins/{shown['id']}").json()["ended"] == [shown["id"]]
    assert eventually(lambda: is_refused(first), SECONDS)
    failure(second.http.delete(f"/logins/{shown['id']}"), 404)
    listed = resop(site, "keys", "--user", "alice")
    assert current["id"] in listed and shown["id"] not in listed

    third = log_in(site)
    ended = second.http.delete("/logins", params={"except_current": True}).json()["ended"]
    assert len(ended) == 1 and not is_refused(second)
    assert eventually(lambda: is_refused(third), SECONDS)
    assert second.http.delete("/logins").json()["ended"] == [current["id"]]
    assert is_refused(second) and not is_refused(bob)
