"""Somebody who reads and writes the service's Redis learns little and changes nothing.

Redis is the embedded Valkey of `resop up`, where they would need the rights of the service.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from resop.messaging.messages import (
    CancelRequested,
    LoggedOut,
    Message,
    Resync,
    TaskEnded,
    encode,
)
from resop.security.encryption import Encryptor
from resop.security.message_encryption import MessageEncryptor
from tests.acceptance.conftest import ACCOUNTS
from tests.acceptance.secrecy import is_in, monitor_redis, places_of
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, Embedded, cluster_settings, run_resop
from tests.support.services import eventually

ALICE = ACCOUNTS["alice"]
POLICY = "default: allow\nrules: [{allow: 'utils:*', rate: 10000}]\n"
STRANGER = MessageEncryptor(Encryptor(b"another service's key 0123456789").message_keys)


@pytest.fixture(scope="module")
def attacked(folder: Path, ssh: OpenSSH, operators: Path) -> Iterator[Embedded]:
    policy = folder / "policy-redis.yml"
    policy.write_text(POLICY)
    settings = {
        **cluster_settings(ssh),
        "OPERATORS_PATH": operators,
        "POLICY_FILE": policy,
        "LOG_LEVEL": "DEBUG",
    }
    with Embedded(folder / "redis-attacks", settings) as started:
        yield started


@pytest.fixture
def alice(attacked: Embedded) -> Caller:
    return attacked.log_in(ALICE)


@pytest.fixture
def attacker(attacked: Embedded) -> redis.Redis:
    return attacked.redis()


class Tap:
    """Records everything that is published."""

    def __init__(self, client: redis.Redis) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self._pubsub: Any = client.pubsub()  # type: ignore[no-untyped-call]
        self._pubsub.psubscribe("*")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            message = self._pubsub.get_message(timeout=0.1)
            if message and message["type"] == "pmessage":
                self.heard.append((message["channel"], message["data"]))

    def __enter__(self) -> Tap:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._pubsub.close()


def begin_waiting(alice: Caller, ssh: OpenSSH, line: str) -> tuple[Any, str]:
    """Run a line with a waiting client, once it runs on the login node; return future and task."""
    mark = secrets.token_hex(6)
    pool = ThreadPoolExecutor(1)
    answer = pool.submit(alice.run, f"{line} # {mark}\n:")
    pool.shutdown(wait=False)
    assert eventually(lambda: any(mark in each for each in ssh.processes("alice")))
    return answer, alice.newest("task")[0]


def is_well(attacked: Embedded, alice: Caller) -> bool:
    """Return True if the service still runs and answers."""
    assert attacked.supervisor is not None and attacked.supervisor.exit_code is None
    assert alice.run("echo still here").json()["output"]["stdout"] == "still here\n"
    return True


def test_reader_sees_neither_outputs_nor_options_nor_secrets(
    attacked: Embedded, attacker: redis.Redis
) -> None:
    shown, secret, wrong = (f"marker-{secrets.token_hex(12)}" for _ in range(3))
    with Tap(attacker) as tap, monitor_redis(attacked) as commands:
        attacked.caller().login("bob", wrong)
        alice = attacked.log_in(ALICE)
        before = len(commands())
        task = alice.run(f"sleep 1.2; echo {shown}").json()["task"]
        alice.run(f"echo {shown} >&2; exit 3", query={"tag": shown})
        alice.post("utils/cmd/echo", {"input": [shown]})
        alice.post("mysite/opn/whisper", {"line": "cat; sleep 1.2", "secret": secret})
        alice.post("mysite/opn/blunder", {"secret": secret})
        body = {"options": {"command": f"echo {shown} {{{{n}}}}"}, "sweep": {"n": [1, 2, 3]}}
        batch = alice.http.post("/core/opn/run/batch", json=body).headers["location"]
        alice.http.get(batch, params={"wait": 30})
        cancelled = alice.begin("core/opn/run", {"command": f"sleep 60; echo {shown}"})
        alice.http.delete(f"/tasks/{cancelled}")
        alice.task(cancelled, wait=30)
        acted = commands()[before:]
        keys = {key: attacker.dump(key) or b"" for key in attacker.scan_iter()}
        alice.post("auth/opn/logout")
        assert eventually(lambda: {b"resop:ended", b"resop:logged-out"} <= set(dict(tap.heard)))
    published = b"".join(channel + b" " + data + b"\n" for channel, data in tap.heard)
    stored = b"".join(key + b" " + value for key, value in keys.items())
    for text in (shown, secret, wrong, ALICE.password, alice.token, alice.token[-40:]):
        for seen in (published, commands(), stored):
            assert not is_in(seen, text)
    assert not is_in(published, "alice") and not is_in(acted, "alice")
    assert not is_in(published, task), "nothing is left of what a message says"
    assert is_in(commands(), task), "queues carry ids"
    assert any(key.startswith(b"resop:rate:") for key in keys)
    assert places_of([shown], attacked) and not places_of([secret, wrong], attacked)


def test_health_of_the_worker_needs_no_redis(attacked: Embedded) -> None:
    checked = run_resop(attacked.folder, "health", "worker")
    assert checked.returncode == 0 and checked.stdout.startswith("alive: "), checked.stderr


def test_forged_end_of_a_task_changes_nothing(
    attacked: Embedded, attacker: redis.Redis, alice: Caller, ssh: OpenSSH
) -> None:
    answer, task = begin_waiting(alice, ssh, "sleep 3; echo real")
    result = {"state": "succeeded", "output": {"stdout": "FORGED\n"}}
    for message in (TaskEnded(task, "alice", "hpc", False, result), Resync()):
        attacker.publish(message.channel, encode(message))
        attacker.publish(message.channel, STRANGER.encrypt(message.channel, encode(message)))
    words = f"{task} acted alice@hpc {json.dumps(result)}"
    attacker.publish("resop:ended", words)
    assert answer.result().json()["output"]["stdout"] == "real\n"
    assert alice.task(task)["output"]["stdout"] == "real\n"


def test_forged_cancellation_and_logout_change_nothing(
    attacked: Embedded, attacker: redis.Redis, alice: Caller, ssh: OpenSSH
) -> None:
    answer, task = begin_waiting(alice, ssh, "sleep 2; echo real")
    credential = Encryptor(attacked.settings.secret_key()).read_token(alice.token).credential
    forged: list[Message] = [CancelRequested(task), LoggedOut(credential)]
    for message in forged:
        attacker.publish(message.channel, encode(message))
        attacker.publish(message.channel, STRANGER.encrypt(message.channel, encode(message)))
    assert answer.result().json()["output"]["stdout"] == "real\n"
    assert is_well(attacked, alice)


def test_recorded_messages_that_are_published_again_change_nothing(
    attacked: Embedded, attacker: redis.Redis, alice: Caller, ssh: OpenSSH
) -> None:
    with Tap(attacker) as tap:
        other = attacked.log_in(ALICE)
        cancelled = other.begin("core/opn/run", {"command": "sleep 60"})
        assert eventually(lambda: other.task(cancelled)["state"] == "running")
        other.http.delete(f"/tasks/{cancelled}")
        other.task(cancelled, wait=30)
        other.post("auth/opn/logout")
        expected = {b"resop:ended", b"resop:cancel", b"resop:logged-out"}
        assert eventually(lambda: expected <= set(dict(tap.heard)))
    answer, _ = begin_waiting(alice, ssh, "sleep 2; echo real")
    for channel, data in tap.heard * 2:
        attacker.publish(channel, data)
        attacker.publish("resop:ended", data)
    assert answer.result().json()["output"]["stdout"] == "real\n"
    assert is_well(attacked, alice)
    assert ": it was repeated" in attacked.log()


def test_garbage_everywhere_and_celery_commands_end_nothing(
    attacked: Embedded, attacker: redis.Redis, alice: Caller, ssh: OpenSSH
) -> None:
    answer, _ = begin_waiting(alice, ssh, "sleep 2; echo real")
    channels: list[Any] = attacker.pubsub_channels("*")
    [worker] = [each.removeprefix(b"resop:") for each in channels if b"worker." in each]
    garbage = [b"[]", b"{}", b"null", b"\xff\x00", b"x" * 100_000, b'{"headers": {}}', b"[" * 9999]
    for item in garbage:
        for channel in channels:
            attacker.publish(channel, item)
        for queue in (b"cluster.hpc", worker):
            for priority in (b"", b"\x06\x163", b"\x06\x166", b"\x06\x169"):
                attacker.lpush(queue + priority, item)
    celery = Celery("attacker", broker=attacked.settings.broker_url, set_as_current=False)
    celery.control.shutdown()
    celery.control.cancel_consumer("cluster.hpc")
    celery.send_task("celery.backend_cleanup", queue="cluster.hpc")
    celery.send_task("resop.execute", ["0" * 36], queue="cluster.hpc", eta=None)
    assert not celery.control.ping(timeout=0.5)
    celery.close()
    assert answer.result().json()["output"]["stdout"] == "real\n"
    assert is_well(attacked, alice)
    log = attacked.log()
    assert "refused message 1 on cluster.hpc: this service did not send it" in log
    assert log.count("on cluster.hpc: this service did not send it") < len(garbage), (
        "not a line for each"
    )


def test_engine_that_is_a_replica_for_a_while_ends_no_worker(
    attacked: Embedded, attacker: redis.Redis, alice: Caller, ssh: OpenSSH
) -> None:
    answer, _ = begin_waiting(alice, ssh, "sleep 4; echo real")
    attacker.replicaof("127.0.0.1", "1")
    try:
        time.sleep(2)
        ready = alice.http.get("/health/ready")
        assert (ready.status_code, ready.json()["redis"]) == (503, False)
        assert ready.json()["database"] is True
    finally:
        attacker.replicaof("NO", "ONE")
    assert answer.result().json()["output"]["stdout"] == "real\n"
    assert is_well(attacked, alice)
    assert alice.http.get("/health/ready").status_code == 200


def test_engine_without_memory_is_not_ready(
    attacked: Embedded, attacker: redis.Redis, alice: Caller
) -> None:
    attacker.config_set("maxmemory", 1)
    try:
        ready = alice.http.get("/health/ready")
        assert (ready.status_code, ready.json()["redis"]) == (503, False)
        assert alice.run("true").status_code == 503
    finally:
        attacker.config_set("maxmemory", 0)
    assert alice.http.get("/health/ready").status_code == 200
    assert is_well(attacked, alice)


@pytest.mark.parametrize("closing", ["idle", "killed"])
def test_connections_that_the_engine_has_closed_cost_no_answer(
    attacked: Embedded, attacker: redis.Redis, alice: Caller, closing: str
) -> None:
    if closing == "idle":
        attacker.config_set("timeout", 1)
    try:
        for _ in range(3):
            if closing == "idle":
                time.sleep(3)
            else:
                attacker.client_kill_filter(_type="normal", skipme=True)
            assert attacked.caller().login(ALICE.name, ALICE.password).status_code == 200
            assert alice.post("utils/cmd/echo", {"input": ["on"]}).status_code == 200
    finally:
        attacker.config_set("timeout", 0)
