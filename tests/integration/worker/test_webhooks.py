"""Webhooks to a real HTTPS server: signed, retried, and never sent where they must not go."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from resop.config.settings import Settings
from resop.config.webhook_hosts import webhook_key
from resop.storage.batch_dispatch import dispatch_batches
from resop.storage.batches import BatchStore
from resop.storage.changes import Change
from resop.storage.database import Database
from resop.storage.models import State, WebhookDelivery, now
from resop.storage.tasks import NewTask, TaskStore
from resop.storage.webhooks import WebhookStore
from resop.types import Secret
from tests.support.approvals import request_for, waiting_task
from tests.support.services import eventually
from tests.support.tasks import new_batch, new_task
from tests.support.webhook_receiver import WebhookReceiver, WebhookRequest
from worker import webhooks
from worker.webhooks import WebhookSender, signature_headers

SECRET = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
Start = Callable[..., WebhookSender]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(Database(f"sqlite:///{tmp_path}/resop.db")) as opened:
        opened.create_tables()
        yield opened


@pytest.fixture
def task_store(database: Database) -> TaskStore:
    return TaskStore(database)


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookReceiver]:
    with WebhookReceiver(tmp_path) as started:
        monkeypatch.setenv("SSL_CERT_FILE", str(started.authority))
        yield started


@pytest.fixture
def start(
    database: Database, hook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Start]:
    """Start a sender that retries soon, with further settings."""
    monkeypatch.setattr(webhooks, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(webhooks, "RETRY_PAUSES", (0.1, 0.2, 0.2))
    started = []

    def begin(**values: Any) -> WebhookSender:
        options = {"NOTIFY_HOSTS": f"localhost:{hook.port}", "NOTIFY_PRIVATE": True, **values}
        sender = WebhookSender(Settings(NOTIFY_SECRET=SECRET, **options), database)
        sender.start()
        started.append(sender)
        return sender

    yield begin
    for each in started:
        each.stop()


def add(task_store: TaskStore, address: str, **values: Any) -> str:
    """Add a task that has just ended; return its ID."""
    ended = {"state": State.SUCCEEDED, "ended_at": now(), "exit_code": 0}
    content = {"options": {"input": ["é"]}, "command": "echo é", "output": "é\n"}
    task = new_task(**ended | content | values, notify=address)
    task_store.add(task)
    return task.id


def delivery_of(database: Database, task: str) -> WebhookDelivery:
    found = WebhookStore(database).get(task)
    assert found is not None
    return found


def error_of(database: Database, task: str) -> str:
    assert eventually(lambda: delivery_of(database, task).last_error)
    return str(delivery_of(database, task).last_error)


def requests_about(hook: WebhookReceiver, task: str, times: int = 1) -> list[WebhookRequest]:
    assert eventually(lambda: len(hook.requests_for(task)) >= times)
    return hook.requests_for(task)


def test_signature_equals_that_of_the_published_example() -> None:
    key = webhook_key(SECRET)
    body = b'{"test": 2432232314}'
    headers = signature_headers(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_end_of_a_task_is_sent_once_and_signed(
    task_store: TaskStore, database: Database, hook: WebhookReceiver, start: Start
) -> None:
    start()
    running = add(task_store, hook.address, state=State.RUNNING, ended_at=None)
    task = add(task_store, hook.address, tags=["a"])
    [request] = requests_about(hook, task)
    request.check_signature(SECRET.get_secret_value())
    assert request.path == "/webhooks?by=resop"
    assert request.headers["host"] == f"localhost:{hook.port}"
    assert request.headers["content-type"] == "application/json"
    message = request.json
    assert message["type"] == "task.ended" and message["timestamp"] == message["data"]["ended_at"]
    data = message["data"]
    assert (data["task"], data["state"], data["command"]) == (task, "succeeded", "echo é")
    assert (data["output"], data["output_omitted"], data["tags"]) == ("é\n", False, ["a"])
    assert eventually(lambda: delivery_of(database, task).delivered_at)
    after = delivery_of(database, task)
    assert (after.attempts, after.next_at, after.last_error) == (1, None, None)
    assert (hook.requests_for(running), delivery_of(database, running).attempts) == ([], 0)


def test_end_of_a_batch_is_sent_once_for_the_whole_batch(
    task_store: TaskStore, database: Database, hook: WebhookReceiver, start: Start
) -> None:
    batches = BatchStore(database)
    batch = new_batch(size=2, notify=hook.address)
    tasks = [new_task(batch=batch.id, number=number) for number in range(2)]
    batches.add(batch, tasks)
    start()
    dispatch_batches(database, 2)
    for task, state in zip(tasks, (State.SUCCEEDED, State.FAILED), strict=True):
        assert task_store.claim(task.id, "w") and dispatch_batches(database, 2).ended == []
        task_store.apply([Change.ended(task.id, state)], "w")
    assert delivery_of(database, batch.id).attempts == 0
    assert dispatch_batches(database, 2).ended == [batch.id]
    [request] = requests_about(hook, batch.id)
    request.check_signature(SECRET.get_secret_value())
    message = request.json
    assert message["type"] == "batch.ended" and message["timestamp"] == message["data"]["ended_at"]
    data = message["data"]
    assert (data["batch"], data["state"], data["success"]) == (batch.id, "ended", False)
    assert (data["counts"]["succeeded"], data["counts"]["failed"]) == (1, 1)
    assert eventually(lambda: delivery_of(database, batch.id).delivered_at)
    assert all(hook.requests_for(task.id) == [] for task in tasks)
    TaskStore(database).delete_ended(now() + timedelta(days=1), 9)
    assert batches.delete_old(now() + timedelta(days=1), 9) == 1
    assert WebhookStore(database).get(batch.id) is None


def test_request_for_approval_is_sent_at_once_with_masked_options(
    task_store: TaskStore, database: Database, hook: WebhookReceiver, start: Start
) -> None:
    task = waiting_task(options={"password": "********"})
    approval = request_for(task, notify=hook.address)
    task_store.add_all([NewTask(task, approval=approval)])
    start()
    [request] = requests_about(hook, approval.id)
    request.check_signature(SECRET.get_secret_value())
    message = request.json
    assert message["type"] == "approval.requested"
    data = message["data"]
    assert (data["approval"], data["task"], data["state"]) == (approval.id, task.id, "pending")
    assert (data["requested_by"], data["action"]) == ("ada@tango", "utils:echo")
    assert data["options"] == {"password": "********"}
    assert eventually(lambda: delivery_of(database, approval.id).delivered_at)


def test_long_output_is_omitted_and_marked_so(
    task_store: TaskStore, hook: WebhookReceiver, start: Start
) -> None:
    start()
    [request] = requests_about(hook, add(task_store, hook.address, output=["x" * 99] * 1000))
    data = request.json["data"]
    assert (data["output"], data["output_omitted"]) == (None, True)


def test_failed_attempt_is_retried_with_the_same_id(
    task_store: TaskStore, database: Database, hook: WebhookReceiver, start: Start
) -> None:
    hook.answers = lambda before: 500 if before < 2 else 200
    start()
    task = add(task_store, hook.address)
    assert eventually(lambda: delivery_of(database, task).delivered_at)
    requests = requests_about(hook, task)
    assert len(requests) == 3 == delivery_of(database, task).attempts
    for each in requests:
        each.check_signature(SECRET.get_secret_value())
    assert len({each.body for each in requests}) == 1


def test_delivery_is_given_up_after_the_last_attempt(
    task_store: TaskStore, database: Database, hook: WebhookReceiver, start: Start
) -> None:
    hook.answers = lambda before: 410
    start()
    task = add(task_store, hook.address)
    assert eventually(lambda: delivery_of(database, task).next_at is None)
    after = delivery_of(database, task)
    assert (after.attempts, after.delivered_at) == (len(webhooks.RETRY_PAUSES) + 1, None)
    assert after.last_error == "answered 410"


def test_receiver_that_was_down_gets_the_webhook_when_it_is_back(
    task_store: TaskStore,
    database: Database,
    hook: WebhookReceiver,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhooks, "RETRY_PAUSES", (0.1,) * 1000)
    hook.stop()
    start()
    task = add(task_store, hook.address)
    assert "attempts failed" in error_of(database, task)
    hook.start()
    requests_about(hook, task)[0].check_signature(SECRET.get_secret_value())


def test_redirect_is_not_followed(
    task_store: TaskStore, database: Database, hook: WebhookReceiver, start: Start
) -> None:
    hook.answers = lambda before: 307
    start()
    task = add(task_store, hook.address)
    assert error_of(database, task) == "answered 307: redirects are not followed"
    assert {each.path for each in hook.received} == {"/webhooks?by=resop"}


def test_address_that_is_not_public_is_refused_when_it_is_resolved(
    task_store: TaskStore, database: Database, hook: WebhookReceiver, start: Start
) -> None:
    start(NOTIFY_PRIVATE=False)
    error = error_of(database, add(task_store, hook.address))
    assert error.startswith("localhost is ") and error.endswith("which is not a public address")
    assert hook.received == []


def test_connection_goes_to_the_address_that_was_checked(
    task_store: TaskStore, hook: WebhookReceiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = []

    def once(host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        resolved.append(host)
        address = "127.0.0.1" if len(resolved) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", once)
    start()
    requests_about(hook, add(task_store, hook.address))
    assert resolved == ["localhost"]


def test_host_that_is_no_longer_allowed_gets_nothing(
    task_store: TaskStore, database: Database, hook: WebhookReceiver, start: Start
) -> None:
    start(NOTIFY_HOSTS="hooks.hpc.example")
    assert "is not among the hosts" in error_of(database, add(task_store, hook.address))
    assert hook.received == []


def test_certificate_of_an_unknown_authority_is_refused(
    task_store: TaskStore,
    database: Database,
    hook: WebhookReceiver,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    start()
    assert "CERTIFICATE_VERIFY_FAILED" in error_of(database, add(task_store, hook.address))
    assert hook.received == []


def test_several_workers_never_send_the_same_webhook(
    task_store: TaskStore, database: Database, hook: WebhookReceiver, start: Start
) -> None:
    for _ in range(3):
        start()
    tasks = [add(task_store, hook.address) for _ in range(30)]
    assert eventually(lambda: all(delivery_of(database, task).delivered_at for task in tasks))
    assert [len(hook.requests_for(task)) for task in tasks] == [1] * len(tasks)


def test_attempt_of_a_dead_worker_is_repeated_after_its_lease(
    task_store: TaskStore, database: Database, hook: WebhookReceiver, start: Start
) -> None:
    deliveries = WebhookStore(database)
    task = add(task_store, hook.address)
    [delivery] = deliveries.due(9)
    assert deliveries.begin(delivery, now() + timedelta(seconds=0.5))
    assert not deliveries.begin(delivery, now()) and deliveries.due(9) == []
    start()
    assert eventually(lambda: delivery_of(database, task).delivered_at)
    assert (len(hook.requests_for(task)), delivery_of(database, task).attempts) == (1, 2)
    deliveries.failed(delivery, "too late", now())  # the first one, if it was not dead after all
    assert delivery_of(database, task).next_at is None


def test_delivery_is_deleted_with_its_task(
    task_store: TaskStore, database: Database, hook: WebhookReceiver
) -> None:
    task = add(task_store, hook.address)
    assert TaskStore(database).delete_ended(now() + timedelta(days=1), 9) == 1
    assert WebhookStore(database).get(task) is None
