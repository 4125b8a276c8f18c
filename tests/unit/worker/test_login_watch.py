"""A worker ends what runs on ended logins, with Redis and without."""

from __future__ import annotations

from datetime import timedelta

import pytest

from resop.errors import QueueUnavailable
from resop.messaging.messages import CancelRequested, Message, Resync
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.login_ends import LoginEnds
from resop.storage.models import Credential, State, now
from resop.storage.tasks import TaskStore
from tests.support.tasks import new_task
from worker.login_watch import LoginWatch


class Publisher:
    """Records messages; without Redis it refuses them."""

    def __init__(self, available: bool) -> None:
        self.available = available
        self.published: list[Message] = []

    def publish(self, *messages: Message) -> None:
        if not self.available:
            raise QueueUnavailable
        self.published += messages


class Worker:
    """A watch, and what it had its worker do."""

    def __init__(self, ends: LoginEnds, *, redis: bool = True) -> None:
        self.ended: list[str] = []
        self.looked = self.dispatched = 0
        self.publisher = Publisher(redis)
        self.watch = LoginWatch(
            ends,
            self.publisher,  # type: ignore[arg-type]
            on_ended=self.ended.extend,
            cancel_marked=self._cancel_marked,
            dispatch_batches=self._dispatch,
        )

    def _cancel_marked(self) -> None:
        self.looked += 1

    def _dispatch(self) -> None:
        self.dispatched += 1


@pytest.fixture
def ends(database: Database) -> LoginEnds:
    return LoginEnds(database)


@pytest.fixture
def queued(task_store: TaskStore, credential_store: CredentialStore) -> str:
    """Add a task of a live login."""
    credential_store.add(
        Credential(
            id="credential-1",
            username="ada",
            cluster="tango",
            expires_at=now() + timedelta(hours=1),
        )
    )
    task = new_task()
    task_store.add(task)
    return task.id


def state(store: TaskStore, task: str) -> str:
    found = store.get(task)
    assert found is not None
    return found.state


@pytest.mark.parametrize("redis", [True, False])
def test_watch_ends_the_tasks_of_a_login_that_another_process_revoked(
    ends: LoginEnds,
    queued: str,
    credential_store: CredentialStore,
    task_store: TaskStore,
    redis: bool,
) -> None:
    worker = Worker(ends, redis=redis)
    worker.watch.look()
    assert (worker.ended, worker.looked, state(task_store, queued)) == ([], 1, State.QUEUED)
    running = new_task()
    task_store.add(running)
    task_store.claim(running.id, "w")
    credential_store.revoke("credential-1", "revoked")
    worker.watch.look()
    assert worker.ended == ["credential-1"] and worker.dispatched == 1
    assert state(task_store, queued) == State.CANCELLED
    assert task_store.cancel_requested("w") == [running.id]
    published = worker.publisher.published
    assert (CancelRequested(running.id) in published and Resync() in published) == redis


def test_new_worker_ends_what_was_revoked_while_none_ran(
    ends: LoginEnds, queued: str, credential_store: CredentialStore, task_store: TaskStore
) -> None:
    credential_store.revoke("credential-1")
    Worker(ends).watch.look()
    assert state(task_store, queued) == State.CANCELLED


def test_task_of_a_request_that_was_accepted_before_the_end_is_cancelled(
    ends: LoginEnds, queued: str, credential_store: CredentialStore, task_store: TaskStore
) -> None:
    worker = Worker(ends)
    credential_store.revoke("credential-1")
    worker.watch.look()
    late = new_task()
    task_store.add(late)
    worker.watch.look()
    assert state(task_store, late.id) == State.CANCELLED


def test_kept_tasks_are_left_alone(ends: LoginEnds, queued: str, task_store: TaskStore) -> None:
    worker = Worker(ends)
    ends.end(["credential-1"], "logged out", keep_running=True)
    worker.watch.look()
    assert worker.ended == [] and state(task_store, queued) == State.QUEUED
