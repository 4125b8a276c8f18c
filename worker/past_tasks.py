"""Reads the past tasks of a user, for operations that act on what earlier ones did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from resop.actions.executor import PastTask
from resop.security.identity import Identity
from resop.storage.models import DRY_RUN, State
from resop.storage.task_search import TaskFilter, TaskSearch


class PastTasks:
    """The TaskRecords of a ServiceContext. Methods block; all raise RecordsUnavailable."""

    def __init__(self, search: TaskSearch) -> None:
        self._search = search

    def succeeded(
        self,
        identity: Identity,
        actions: Sequence[tuple[str, str]],
        since: datetime | None,
        until: datetime | None,
    ) -> Iterator[PastTask]:
        """Yield a user's tasks of these operators' actions that succeeded, newest first."""
        wanted = TaskFilter(state=State.SUCCEEDED, actions=list(actions), since=since, until=until)
        for task in self._search.whole_tasks(identity.username, identity.cluster, wanted):
            if task.kind == DRY_RUN:
                continue
            if task.started_at is not None and task.ended_at is not None:
                yield PastTask(
                    task.action, task.options, task.output, task.started_at, task.ended_at
                )
