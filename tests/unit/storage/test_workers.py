"""Workers: orphaned, handed-off and waiting tasks."""

from __future__ import annotations

from datetime import timedelta

from resop.storage.credentials import CredentialStore
from resop.storage.models import (
    Credential,
    State,
    Task,
    now,
)
from resop.storage.tasks import TaskStore
from resop.storage.workers import WorkerStore
from tests.support.tasks import new_task as task

HOUR = timedelta(hours=1)


def found(task_store: TaskStore, task_id: str) -> Task:
    looked_up = task_store.get(task_id)
    assert looked_up is not None
    return looked_up


def test_orphans_are_running_tasks_of_a_worker_without_heartbeat(
    task_store: TaskStore, worker_store: WorkerStore
) -> None:
    long_ago = now() - HOUR
    worker_store.heartbeat("alive")
    first = worker_store.heartbeats()
    worker_store.heartbeat("alive")
    orphan = task(state=State.RUNNING, worker="dead", started_at=long_ago)
    for each in (
        orphan,
        task(state=State.RUNNING, worker="alive", started_at=long_ago),
        task(state=State.RUNNING, worker="fresh", started_at=now()),
        task(state=State.LOST, worker="dead", started_at=long_ago),
        task(),
    ):
        task_store.add(each)
    seen = worker_store.heartbeats()
    assert seen.keys() == {"alive", "dead", "fresh"} and seen["dead"] is seen["fresh"] is None
    assert first["alive"] != seen["alive"] is not None
    [orphan_row] = worker_store.orphans(["dead", "silent"])
    assert (orphan_row.id, orphan_row.cluster, orphan_row.worker) == (orphan.id, "tango", "dead")
    assert (orphan_row.resume_count, orphan_row.pending_undo) == (None, None)
    worker_store.delete("alive", "dead")
    assert worker_store.heartbeats() == dict.fromkeys(("alive", "dead", "fresh"))
    assert worker_store.orphans([]) == []
    assert len(worker_store.orphans(list(seen))) == 3


def test_task_is_handed_off_by_its_worker_and_claimed_by_one_other(
    task_store: TaskStore, worker_store: WorkerStore
) -> None:
    began = now() - HOUR
    handed_off = task(
        state=State.RUNNING, worker="dead", started_at=began, created_at=began, resume_count=0
    )
    task_store.add(handed_off)
    assert task_store.claim(handed_off.id, "one") is None
    assert not worker_store.hand_off(handed_off.id, "another") and worker_store.hand_off(
        handed_off.id, "dead"
    )
    assert not worker_store.hand_off(handed_off.id, "dead")
    assert worker_store.waiting_tasks(now(), 10) == [(handed_off.id, "tango", "")]
    assert worker_store.orphans(["dead", "one"]) == []
    assert task_store.taken([handed_off.id], "dead") == [handed_off.id]
    resumed = task_store.claim(handed_off.id, "one")
    assert task_store.taken([handed_off.id], "dead") == [handed_off.id]
    assert task_store.taken([handed_off.id], "one") == task_store.taken([], "dead") == []
    assert found(task_store, handed_off.id).worker == "one"
    assert resumed is not None and resumed.resume_count == 1
    assert resumed.started_at == began
    assert (
        task_store.claim(handed_off.id, "two") is None
        and worker_store.waiting_tasks(now(), 10) == []
    )


def test_waiting_tasks_are_returned_oldest_first(
    task_store: TaskStore, worker_store: WorkerStore
) -> None:
    old = [task(created_at=now() - HOUR, cluster=name) for name in ("tango", "waltz", "tango")]
    for each in reversed(old):
        task_store.add(each)
    task_store.add(task())
    task_store.add(task(created_at=now() - HOUR, state=State.RUNNING))
    moment = now() - timedelta(minutes=1)
    assert worker_store.waiting_tasks(moment, 10) == [(each.id, each.cluster, "") for each in old]
    assert worker_store.waiting_tasks(moment, 2) == [
        (each.id, each.cluster, "") for each in old[:2]
    ]


def test_waiting_tasks_of_a_held_session_are_returned_with_its_worker(
    task_store: TaskStore, credential_store: CredentialStore, worker_store: WorkerStore
) -> None:
    held = Credential(
        id="held", username="ada", cluster="tango", kind="held", worker="w", expires_at=now() + HOUR
    )
    credential_store.add(held)
    waits = task(created_at=now() - HOUR, credential="held")
    task_store.add(waits)
    assert worker_store.waiting_tasks(now(), 10) == [(waits.id, "tango", "w")]
