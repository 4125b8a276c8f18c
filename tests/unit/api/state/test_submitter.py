"""New tasks are submitted together; each caller gets its own outcome, whatever happens to others.

Celery is replaced by a list of the messages that it would send.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from api.state.submitter import TaskSubmitter
from resop.errors import LimitReached, QueueUnavailable, RecordRefused, RecordsUnavailable
from resop.messaging.task_queue import LOWEST_PRIORITY, TASKS_PER_MESSAGE, TaskQueue
from resop.storage import tasks as record
from resop.storage.idempotency_keys import IdempotencyKeyStore, find_keys
from resop.storage.models import IdempotencyKey, State
from resop.storage.tasks import NewTask, TaskStore
from tests.support.approvals import request_for, waiting_task
from tests.support.tasks import new_task

ROOM = 10


class Messages:
    """Collects the messages, until the broker becomes unavailable."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, list[str]]] = []
        self.priorities: list[int | None] = []
        self.most = 1000
        """The number of messages after which the broker is unavailable."""

    def send_task(self, _: str, ids: Sequence[str], *, queue: str, priority: int | None) -> None:
        if len(self.sent) == self.most:
            raise OperationalError
        self.sent.append((queue, list(ids)))
        self.priorities.append(priority)


@pytest.fixture
def messages() -> Messages:
    return Messages()


async def submitted(
    task_store: TaskStore,
    key_store: IdempotencyKeyStore,
    messages: Messages,
    *new: NewTask,
    worker: str = "",
) -> Any:
    """Return the outcome of each task when all of them arrive before the first is handled."""
    submitter = TaskSubmitter(task_store, key_store, TaskQueue(messages), ROOM)  # type: ignore[arg-type]
    adding = [asyncio.create_task(submitter.add(each, worker, durable=False)) for each in new]
    await asyncio.sleep(0)
    submitter.start()
    outcomes = await asyncio.gather(*adding, return_exceptions=True)
    await submitter.stop()
    return outcomes


def new(key: str | None = None, **values: Any) -> NewTask:
    task = new_task(**values)
    return NewTask(task, IdempotencyKey(id=key, digest="d", task=task.id) if key else None)


def states(task_store: TaskStore, tasks: Sequence[NewTask]) -> list[str | None]:
    found = [task_store.get(each.task.id) for each in tasks]
    return [each.state if each else None for each in found]


async def test_what_has_come_is_written_in_one_transaction_and_sent_in_few_messages(
    task_store: TaskStore,
    key_store: IdempotencyKeyStore,
    messages: Messages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups = []
    add_tasks = task_store.add_all

    def counted(tasks: Sequence[NewTask], **how: Any) -> Any:
        groups.append((len(tasks), how["durable"]))
        return add_tasks(tasks, **how)

    monkeypatch.setattr(task_store, "add_all", counted)
    tasks = [new() for _ in range(TASKS_PER_MESSAGE + 1)]
    assert await submitted(task_store, key_store, messages, *tasks) == [None] * len(tasks)
    ids = [each.task.id for each in tasks]
    assert groups == [(len(tasks), False)]
    assert messages.sent == [
        ("cluster.tango", ids[:TASKS_PER_MESSAGE]),
        ("cluster.tango", ids[TASKS_PER_MESSAGE:]),
    ]
    assert set(states(task_store, tasks)) == {State.QUEUED}


async def test_task_that_waits_for_approval_is_written_and_not_sent(
    task_store: TaskStore, key_store: IdempotencyKeyStore, messages: Messages
) -> None:
    task = waiting_task()
    tasks = [NewTask(task, approval=request_for(task)), new()]
    assert await submitted(task_store, key_store, messages, *tasks) == [None, None]
    assert messages.sent == [("cluster.tango", [tasks[1].task.id])]
    assert states(task_store, tasks) == [State.PENDING_APPROVAL, State.QUEUED]
    messages.most = 1
    assert await submitted(task_store, key_store, messages, NewTask(waiting_task())) == [None]


async def test_only_who_has_no_room_is_refused(
    task_store: TaskStore, key_store: IdempotencyKeyStore, messages: Messages
) -> None:
    tasks = [new() for _ in range(ROOM + 2)]
    others = [new(username="bob"), new(cluster="salsa")]
    told = await submitted(task_store, key_store, messages, *tasks, *others)
    assert told[:ROOM] + told[-2:] == [None] * (ROOM + 2)
    assert [type(each) for each in told[ROOM:-2]] == [LimitReached] * 2
    assert states(task_store, tasks)[ROOM:] == [None, None]
    assert sum(len(ids) for _, ids in messages.sent) == ROOM + 2


async def test_key_that_comes_twice_is_that_of_the_first(
    task_store: TaskStore, key_store: IdempotencyKeyStore, messages: Messages
) -> None:
    tasks = [new("k"), new("k"), new("other")]
    first, second, third = await submitted(task_store, key_store, messages, *tasks)
    assert first is third is None and second.task == tasks[0].task.id
    assert states(task_store, tasks) == [State.QUEUED, None, State.QUEUED]
    assert (await submitted(task_store, key_store, messages, new("k")))[0].task == tasks[0].task.id


async def test_what_no_message_was_sent_for_is_given_up(
    task_store: TaskStore, key_store: IdempotencyKeyStore, messages: Messages
) -> None:
    messages.most = 1
    tasks = [new("k"), new(cluster="salsa"), new("l", cluster="salsa")]
    first, *told = await submitted(task_store, key_store, messages, *tasks)
    assert first is None and [type(each) for each in told] == [QueueUnavailable] * 2
    assert states(task_store, tasks) == [State.QUEUED, State.FAILED, State.FAILED]
    assert key_store.get("k") and key_store.get("l") is None


async def test_what_a_worker_has_all_the_same_is_not_given_up(
    task_store: TaskStore,
    key_store: IdempotencyKeyStore,
    messages: Messages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def arrives(_: str, ids: Sequence[str], **how: Any) -> None:
        assert len(task_store.claim_all(ids, "w")) == 1
        raise OperationalError

    monkeypatch.setattr(messages, "send_task", arrives)
    assert await submitted(task_store, key_store, messages, task := new()) == [None]
    assert states(task_store, [task]) == [State.RUNNING]


async def test_while_the_database_is_away_each_is_told_so_for_itself(
    task_store: TaskStore,
    key_store: IdempotencyKeyStore,
    messages: Messages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*_: Any, **how: Any) -> Any:
        raise RecordsUnavailable

    monkeypatch.setattr(task_store, "add_all", away)
    first, second = await submitted(task_store, key_store, messages, new(), new())
    assert isinstance(first, RecordsUnavailable) and isinstance(second, RecordsUnavailable)
    assert first is not second and messages.sent == []


async def test_one_that_cannot_be_written_is_the_only_one_that_is_not(
    task_store: TaskStore,
    key_store: IdempotencyKeyStore,
    messages: Messages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_all = task_store.add_all

    def refuse(group: Sequence[NewTask], **arguments: Any) -> Any:
        if any(each.task.note == "too large" for each in group):
            raise RecordRefused
        return add_all(group, **arguments)

    monkeypatch.setattr(task_store, "add_all", refuse)
    for poison, fault in (
        ({"options": {"input": object()}}, Exception),
        ({"note": "too large"}, RecordRefused),
    ):
        messages.sent.clear()
        tasks = [new(), new(**poison), new()]
        first, second, third = await submitted(task_store, key_store, messages, *tasks)
        assert first is third is None and isinstance(second, fault)
        assert states(task_store, tasks) == [State.QUEUED, None, State.QUEUED]
        assert [ids for _, ids in messages.sent] == [[tasks[0].task.id, tasks[2].task.id]]


async def test_fault_of_ours_is_told_and_does_not_end_the_submitter(
    task_store: TaskStore,
    key_store: IdempotencyKeyStore,
    messages: Messages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submitter = TaskSubmitter(task_store, key_store, TaskQueue(messages), ROOM)  # type: ignore[arg-type]
    submitter.start()
    with monkeypatch.context() as patch:
        patch.setattr(messages, "send_task", None)
        with pytest.raises(TypeError):
            await submitter.add(new())
    assert await submitter.add(new()) is None
    await submitter.stop()


async def test_task_of_who_has_gone_is_submitted(
    task_store: TaskStore, key_store: IdempotencyKeyStore, messages: Messages
) -> None:
    submitter, task = TaskSubmitter(task_store, key_store, TaskQueue(messages), ROOM), new()  # type: ignore[arg-type]
    adding = asyncio.create_task(submitter.add(task, "kept"))
    await asyncio.sleep(0)
    adding.cancel()
    await asyncio.sleep(0)
    submitter.start()
    await submitter.stop()
    assert states(task_store, [task]) == [State.QUEUED]
    assert messages.sent == [("worker.kept", [task.task.id])]


def test_who_hands_over_many_is_told_of_those_that_are_left(messages: Messages) -> None:
    messages.most = 1
    tasks = [(f"t{number}", "tango", "") for number in range(TASKS_PER_MESSAGE + 1)] + [
        ("u", "tango", "w")
    ]
    assert TaskQueue(messages).put_all(tasks, behind=True) == [f"t{TASKS_PER_MESSAGE}", "u"]  # type: ignore[arg-type]
    assert messages.priorities == [LOWEST_PRIORITY]
    assert TaskQueue(messages).put_all([]) == []  # type: ignore[arg-type]


def test_key_that_another_process_writes_at_that_moment_is_found(
    task_store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, looked = new("k"), []

    def look(*asked: Any) -> dict[str, IdempotencyKey]:
        looked.append(asked)
        return find_keys(*asked) if len(looked) > 1 else {}

    monkeypatch.setattr(record, "find_keys", look)
    task_store.add_all([earlier])
    looked.clear()
    (told,) = task_store.add_all([new("k")])
    assert isinstance(told, IdempotencyKey) and told.task == earlier.task.id
    assert len(looked) == 2
