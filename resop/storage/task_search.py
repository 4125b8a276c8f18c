"""Search a user's tasks, page by page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict
from sqlalchemy import ColumnElement, Connection, Row, Select, exists, or_, select

from resop.storage.column_types import contains_text
from resop.storage.database import Database
from resop.storage.ids import lower_bound
from resop.storage.models import TASK, TASK_TAG, State, Task
from resop.storage.tags import tag_id

LISTED_COLUMNS = [
    column
    for column in TASK.c
    if column.name
    not in ("output", "stderr", "log", "encrypted_payload", "progress", "pending_undo")
]
"""The columns of a task in a list."""
_SEARCHED_COLUMNS = [TASK.c.command, TASK.c.options, TASK.c.note]
WHOLE_TASKS_PAGE = 20
"""Whole tasks read in one query: each may have megabytes."""


class TaskFilter(BaseModel):
    """The conditions of a search; a task must meet all that are set."""

    model_config = ConfigDict(frozen=True)

    state: State | None = None
    operator: str | None = None
    action: str | None = None
    batch: str | None = None
    tag: list[str] = []
    """Tags that the task must all have."""
    text: str | None = None
    """Text in the command line, the options or the note."""
    since: AwareDatetime | None = None
    """Created at this time or later; to the millisecond."""
    until: AwareDatetime | None = None
    """Created before this time; to the millisecond."""


EVERYTHING = TaskFilter()


class TaskSearch:
    """Runs the queries behind `GET /tasks`. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tasks(
        self,
        username: str,
        cluster: str,
        *,
        limit: int,
        before: str | None = None,
        matching: TaskFilter = EVERYTHING,
    ) -> list[dict[str, Any]]:
        """Return a page of tasks without output, newest first; `before` is the last id seen."""
        ids = _matching_ids(username, cluster, before, matching)
        with self._database.read() as db:
            return [dict(row._mapping) for row in _rows(db, LISTED_COLUMNS, ids.limit(limit))]

    def whole_tasks(self, username: str, cluster: str, matching: TaskFilter) -> Iterator[Task]:
        """Yield all matching tasks with output, newest first, read in pages."""
        before = None
        while True:
            ids = _matching_ids(username, cluster, before, matching)
            with self._database.read() as db:
                rows = _rows(db, TASK.c, ids.limit(WHOLE_TASKS_PAGE))
            yield from (Task(**row._mapping) for row in rows)
            if len(rows) < WHOLE_TASKS_PAGE:
                return
            before = rows[-1].id


def _rows(
    db: Connection, columns: Iterable[ColumnElement[Any]], matching_ids: Select[tuple[str]]
) -> Sequence[Row[Any]]:
    """Return the rows with these ids, newest first.

    The ids are read first, from the index only if there is no other condition: otherwise MariaDB
    reads every row of the user that is newer than the page.
    """
    ids = db.execute(matching_ids).scalars().all()
    return db.execute(select(*columns).where(TASK.c.id.in_(ids)).order_by(TASK.c.id.desc())).all()


def _matching_ids(
    username: str, cluster: str, before: str | None, matching: TaskFilter
) -> Select[tuple[str]]:
    """Return the query for the matching ids, newest first: from the tag index if it helps."""
    if matching.tag:
        id = TASK_TAG.c.task
        first, *others = (tag_id(username, cluster, tag) for tag in matching.tag)
        query = select(id).where(TASK_TAG.c.tag == first)
        for tag in others:
            too = TASK_TAG.alias()
            query = query.where(exists().where(too.c.tag == tag, too.c.task == id))
        if conditions := list(_task_conditions(matching)):
            query = query.where(TASK.c.id == id, *conditions)
    else:
        id = TASK.c.id
        owner = TASK.c.username == username, TASK.c.cluster == cluster
        query = select(id).where(*owner, *_task_conditions(matching))
    return query.where(*_time_conditions(id, before, matching)).order_by(id.desc())


def _time_conditions(
    id: ColumnElement[str], before: str | None, matching: TaskFilter
) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on the creation time, which an index on the ids serves."""
    if before is not None:
        yield id < before
    if matching.since is not None:
        yield id >= lower_bound(matching.since)
    if matching.until is not None:
        yield id < lower_bound(matching.until)


def _task_conditions(matching: TaskFilter) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on the task itself."""
    for name in ("state", "operator", "action", "batch"):
        if (value := getattr(matching, name)) is not None:
            yield TASK.c[name] == value
    if matching.text is not None:
        yield or_(*(contains_text(column, matching.text) for column in _SEARCHED_COLUMNS))
