"""Search a user's tasks, page by page."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    exists,
    func,
    or_,
    select,
    tuple_,
)

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
MAX_PAGE_CHARACTERS = 4 << 20
"""A page of tasks has no more, unless its only task has."""
WHOLE_TASKS_PAGE = 20
"""Whole tasks read in one query: each may have megabytes."""


class TaskFilter(BaseModel):
    """The conditions of a search; a task must meet all that are set."""

    model_config = ConfigDict(frozen=True)

    state: State | None = None
    operator: str | None = None
    action: str | None = None
    batch: str | None = None
    actions: list[tuple[str, str]] | None = None
    """Operator and name of the actions that count; None for all."""
    tag: list[str] = []
    """Tags that the task must all have."""
    text: str | None = None
    """Text in the command line, the options or the note."""
    since: AwareDatetime | None = None
    """Created at this time or later; to the millisecond."""
    until: AwareDatetime | None = None
    """Created before this time; to the millisecond."""


EVERYTHING = TaskFilter()


class TaskPage(NamedTuple):
    """A part of a list of tasks."""

    tasks: list[dict[str, Any]]
    next: str | None
    """The cursor of the next page; None on the last."""


class TaskSearch:
    """Runs the queries behind `GET /tasks`. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self,
        username: str,
        cluster: str,
        *,
        limit: int,
        before: str | None = None,
        matching: TaskFilter = EVERYTHING,
    ) -> TaskPage:
        """Return a page of tasks without output, newest first; `before` is the last id seen.

        A page of very long options ends before `limit` tasks.
        """
        query = _matching_ids(username, cluster, before, matching)
        with self._database.read() as db:
            ids: list[str] = [str(row[0]) for row in db.execute(query.limit(limit + 1))]
            shown = _first_short(db, ids[:limit])
            rows = _rows_of(db, LISTED_COLUMNS, shown)
        cursor = shown[-1] if len(ids) > len(shown) else None
        return TaskPage([dict(row._mapping) for row in rows], cursor)

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
    ids: list[str] = [str(row[0]) for row in db.execute(matching_ids)]
    return _rows_of(db, columns, ids)


def _rows_of(
    db: Connection, columns: Iterable[ColumnElement[Any]], ids: Sequence[str]
) -> Sequence[Row[Any]]:
    return db.execute(select(*columns).where(TASK.c.id.in_(ids)).order_by(TASK.c.id.desc())).all()


def _first_short(db: Connection, ids: Sequence[str]) -> Sequence[str]:
    """Return the first ids, at least one, whose tasks have MAX_PAGE_CHARACTERS in all."""
    sizes_of = [func.coalesce(func.length(each), 0) for each in (TASK.c.options, TASK.c.command)]
    query = select(TASK.c.id, sizes_of[0] + sizes_of[1]).where(TASK.c.id.in_(ids))
    sizes = {id: int(characters) for id, characters in db.execute(query)}
    totals = itertools.accumulate(sizes.get(id, 0) for id in ids)
    count = sum(total <= MAX_PAGE_CHARACTERS for total in totals)
    return ids[: max(1, count)]


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
    if matching.actions is not None:
        yield is_one_of(TASK, matching.actions)
    if matching.text is not None:
        yield or_(*(contains_text(column, matching.text) for column in _SEARCHED_COLUMNS))


def is_one_of(table: Table, actions: Iterable[tuple[str, str]]) -> ColumnElement[bool]:
    """Return the condition that a task or batch is of one of these actions."""
    return tuple_(table.c.operator, table.c.action).in_(list(actions))
