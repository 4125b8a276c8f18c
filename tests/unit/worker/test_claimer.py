"""Tasks are claimed in groups; each one begins or gives its slot back, whatever happens."""

from collections.abc import Callable, Sequence

import pytest

from resop.errors import RecordsUnavailable
from resop.storage.models import ClaimedTask
from resop.storage.tasks import TaskStore
from tests.support.tasks import new_task
from worker.claimer import Claimer


class Worker:
    """A claimer, and what it did with its tasks."""

    def __init__(self, task_store: TaskStore) -> None:
        self.begun: list[str] = []
        self.released = 0
        self.claimer = Claimer("w", task_store, self._begin, self._release)

    def _begin(self, tasks: Sequence[ClaimedTask]) -> None:
        self.begun += [task.id for task in tasks]

    def _release(self) -> None:
        self.released += 1

    def claim(self, *task_ids: str) -> None:
        """Claim tasks, and return when that is done."""
        for task_id in task_ids:
            self.claimer.put(task_id)
        self.claimer.start()
        self.claimer.stop()


@pytest.fixture
def add(task_store: TaskStore) -> Callable[[], str]:
    """Add a queued task."""

    def add_task() -> str:
        task = new_task()
        task_store.add(task)
        return task.id

    return add_task


def test_tasks_that_arrived_are_claimed_in_one_transaction(
    task_store: TaskStore, add: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = []

    def counted(ids: Sequence[str], worker: str) -> list[ClaimedTask]:
        groups.append(list(ids))
        return claim_all(ids, worker)

    claim_all = task_store.claim_all
    monkeypatch.setattr(task_store, "claim_all", counted)
    ids = [add() for _ in range(5)]
    worker = Worker(task_store)
    worker.claim(*ids)
    assert groups == [ids]
    assert (worker.begun, worker.released) == (ids, 0)


def test_task_that_is_not_queued_is_skipped(task_store: TaskStore, add: Callable[[], str]) -> None:
    claimed, queued = add(), add()
    task_store.claim(claimed, "another")
    worker = Worker(task_store)
    worker.claim(claimed, queued, queued, "no-such-task")
    assert (worker.begun, worker.released) == ([queued], 3)


@pytest.mark.parametrize("fault", [RecordsUnavailable(), ValueError("the driver's own")])
def test_while_the_database_is_unavailable_no_task_begins(
    task_store: TaskStore, add: Callable[[], str], monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def refuse(ids: Sequence[str], worker: str) -> list[ClaimedTask]:
        raise fault

    monkeypatch.setattr(task_store, "claim_all", refuse)
    task = add()
    worker = Worker(task_store)
    worker.claim(task, task)
    assert (worker.begun, worker.released) == ([], 2)
