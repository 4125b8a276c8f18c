"""The past tasks that an operation sees: the user's own, on this cluster, that succeeded."""

from datetime import timedelta

from resop.actions.catalog import Catalog
from resop.actions.context import ServiceContext
from resop.actions.shell import Shell
from resop.config.settings import Settings
from resop.storage.database import Database
from resop.storage.models import State, now
from resop.storage.task_search import TaskSearch
from resop.storage.tasks import TaskStore
from resop.testing import FakeExecutor
from tests.support.ids import id_of
from tests.support.tasks import new_task
from worker.past_tasks import PastTasks


def test_operation_sees_the_users_own_tasks_that_succeeded(
    task_store: TaskStore, database: Database
) -> None:
    began, hour = now(), timedelta(hours=1)
    for number, values in enumerate(
        [
            {"operator": "slurm", "action": "submit"},
            {"operator": "slurm", "action": "sweep"},
            {"operator": "slurm", "action": "wait"},
            {"operator": "other", "action": "submit"},
            {"operator": "slurm", "action": "submit", "username": "eve"},
            {"operator": "slurm", "action": "submit", "cluster": "far"},
        ]
    ):
        recorded = {"state": State.SUCCEEDED, "started_at": began, "ended_at": began}
        result = {"options": {"n": number}, "output": {"job": number}}
        task_store.add(new_task(id=id_of(began - number * hour), **recorded, **result, **values))
    waiting = new_task(operator="slurm", action="submit", id=id_of(began))
    task_store.add(waiting)
    context = ServiceContext(Catalog([]), Settings(), None, PastTasks(TaskSearch(database)))
    shell = Shell("ada", "tango", FakeExecutor(), context, "slurm")

    def found(*actions: str, **times: object) -> list[int]:
        return [task.output["job"] for task in shell.past_tasks(*actions, **times)]  # type: ignore[arg-type] # times

    assert found("submit", "sweep") == [0, 1]
    assert found("slurm:submit", "other:submit") == [0, 3]
    assert found("submit", "sweep", since=began - hour / 2) == [0]
    assert found("submit", "sweep", until=began - hour / 2) == [1]
    [task] = shell.past_tasks("sweep")
    assert (task.action, task.options) == ("sweep", {"n": 1})
    assert task.started <= task.ended
    without = Shell(
        "ada", "tango", FakeExecutor(), ServiceContext(Catalog([]), Settings()), "slurm"
    )
    assert list(without.past_tasks("submit")) == []
