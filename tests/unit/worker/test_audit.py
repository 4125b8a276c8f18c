"""Refusals by a worker are in the audit log: the policy may have changed since the request."""

from collections.abc import Hashable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest

from resop.errors import ClusterUnreachable, Forbidden, NotPermitted, ResopError
from resop.storage.audit_summary import MakeEntry
from resop.storage.models import AuditEntry, ClaimedTask
from worker.approval_check import ApprovalCheck
from worker.engine import TaskRunner


class Recorder:
    """Keeps the entries; counts repetitions as the real one does."""

    def __init__(self) -> None:
        self.entries: dict[Hashable, AuditEntry] = {}

    def count(self, key: Hashable, person: Hashable, entry: MakeEntry) -> None:
        assert person == ("ada", "hpc")
        self.entries.setdefault(key, entry())


def claimed(task_id: str, batch: str | None = None) -> ClaimedTask:
    return ClaimedTask(
        id=task_id,
        kind="command",
        operator="utils",
        action="id",
        username="ada",
        cluster="hpc",
        credential="c",
        request="r1",
        encrypted_payload=b"",
        time_limit=9,
        started_at=None,
        log=[],
        progress=None,
        pending_undo=None,
        cancel_asked_at=None,
        batch=batch,
        resume_count=None,
    )


async def entries_after(fault: ResopError, *tasks: ClaimedTask) -> list[AuditEntry]:
    """Return the entries after these tasks failed at the second check of the policy."""

    async def decide(*_: object) -> Any:
        raise fault

    def write_end(*_: object) -> Future[None]:
        written: Future[None] = Future()
        written.set_result(None)
        return written

    recorder = Recorder()
    nothing: Any = SimpleNamespace()
    runner = TaskRunner(
        "worker-1",
        cast(Any, SimpleNamespace(decrypt=lambda task: {})),
        cast(Any, SimpleNamespace(decide=decide)),
        nothing,
        nothing,
        nothing,
        cast(Any, SimpleNamespace(write_end=write_end)),
        nothing,
        1,
        audit=cast(Any, recorder),
        approval_check=ApprovalCheck(*[nothing] * 5),
        on_batch_task_end=lambda: None,
    )
    for task in tasks:
        await runner.run(task)
    runner.close()
    return list(recorder.entries.values())


@pytest.mark.parametrize("fault", [Forbidden("policy.yml:3 denies it"), NotPermitted()])
async def test_refusal_has_an_entry_that_names_user_task_and_request(fault: ResopError) -> None:
    [entry] = await entries_after(fault, claimed("t1"))
    assert (entry.username, entry.cluster, entry.action) == ("ada", "hpc", "utils:id")
    assert (entry.outcome, entry.error) == ("refused", type(fault).__name__)
    assert (entry.task, entry.request, entry.address) == ("t1", "r1", "worker-1")
    assert (entry.method, entry.path) == ("TASK", "/tasks/t1")


async def test_refused_tasks_of_a_batch_are_counted_together() -> None:
    tasks = [claimed(f"t{number}", "b1") for number in range(5)]
    assert len(await entries_after(Forbidden(), *tasks, claimed("t9"))) == 2


async def test_other_failures_are_no_refusals() -> None:
    assert await entries_after(ClusterUnreachable(), claimed("t1")) == []
