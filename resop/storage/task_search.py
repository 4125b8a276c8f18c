"""A user's tasks: found again, labelled, and forgotten when they are old."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict
from sqlalchemy import ColumnElement, Connection, Row, Select, delete, exists, or_, select, update

from resop.storage.column_types import mentions
from resop.storage.ids import lower_bound
from resop.storage.models import STEP, STEP_OUTPUT, TASK, TASK_TAG, WEBHOOK_DELIVERY, State, Task
from resop.storage.tags import ADD_TAGGED, tag_id, task_ids_with_tag
from resop.storage.tasks import Records

_PARTS = [STEP, STEP_OUTPUT, WEBHOOK_DELIVERY, TASK_TAG]
LISTED = [
    column
    for column in TASK.c
    if column.name
    not in ("output", "stderr", "log", "encrypted_payload", "progress", "pending_undo")
]
"""What a list shows of a task."""
_SEARCHED = [TASK.c.command, TASK.c.options, TASK.c.note]
GROUP = 20
"""Whole tasks read at a time: each may have megabytes."""


class TaskFilter(BaseModel):
    """Which tasks are looked for; all that is given must fit."""

    model_config = ConfigDict(frozen=True)

    state: State | None = None
    operator: str | None = None
    action: str | None = None
    batch: str | None = None
    tag: list[str] = []
    """Each of these is among its tags."""
    text: str | None = None
    """In its command line, options or note."""
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    """Made at `since` or later, and before `until`; to the millisecond."""


EVERYTHING = TaskFilter()


class TaskSearch:
    """The queries behind `GET /tasks`. They block; all raise RecordsUnavailable."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def tasks(
        self,
        username: str,
        cluster: str,
        *,
        limit: int,
        before: str | None = None,
        wanted: TaskFilter = EVERYTHING,
    ) -> list[dict[str, Any]]:
        """A user's tasks without their output, newest first; `before` is the id to go on from."""
        chosen = _chosen(username, cluster, before, wanted)
        with self._records.read() as db:
            return [dict(row._mapping) for row in _page(db, LISTED, chosen.limit(limit))]

    def whole_tasks(self, username: str, cluster: str, wanted: TaskFilter) -> Iterator[Task]:
        """All of them, newest first, with their output; read as they are taken."""
        before = None
        while True:
            chosen = _chosen(username, cluster, before, wanted)
            with self._records.read() as db:
                rows = _page(db, TASK.c, chosen.limit(GROUP))
            yield from (Task(**row._mapping) for row in rows)
            if len(rows) < GROUP:
                return
            before = rows[-1].id

    def label(self, task_id: str, **labels: Any) -> None:
        """Set a task's `tags`, its `note`, or both; whether it has ended does not matter."""
        if labels:
            with self._records.write() as db:
                db.execute(update(TASK).where(TASK.c.id == task_id).values(**labels))
                if "tags" in labels:
                    _tag(db, task_id, labels["tags"])

    def forget(self, created_before: datetime, limit: int) -> int:
        """Forget tasks of that age that have ended, at most so many; how many there were."""
        old = select(TASK.c.id).where(
            TASK.c.id < lower_bound(created_before),
            TASK.c.state.not_in([state for state in State if not state.ended]),
        )
        with self._records.write() as db:
            # Those of another worker that does the same are left to it.
            locked = old.limit(limit).with_for_update(skip_locked=True)
            found = db.execute(locked).scalars().all()
            if found:
                for part in _PARTS:
                    db.execute(delete(part).where(part.c.task.in_(found)))
                db.execute(delete(TASK).where(TASK.c.id.in_(found)))
        return len(found)


def _tag(db: Connection, task_id: str, tags: Iterable[str]) -> None:
    """Have a task found by these tags, and by no others."""
    db.execute(delete(TASK_TAG).where(TASK_TAG.c.task == task_id))
    whose = select(TASK.c.username, TASK.c.cluster).where(TASK.c.id == task_id)
    row = db.execute(whose).one_or_none()
    rows = [] if row is None else task_ids_with_tag(task_id, row.username, row.cluster, tags)
    if rows:
        db.execute(ADD_TAGGED, [each.model_dump() for each in rows])


def _page(
    db: Connection, columns: Iterable[ColumnElement[Any]], chosen: Select[tuple[str]]
) -> Sequence[Row[Any]]:
    """The chosen rows, newest first.

    Their ids are found first, in the index alone where nothing else is asked for: MariaDB else
    reads every row of the user's that is newer than where the page begins.
    """
    ids = db.execute(chosen).scalars().all()
    return db.execute(select(*columns).where(TASK.c.id.in_(ids)).order_by(TASK.c.id.desc())).all()


def _chosen(
    username: str, cluster: str, before: str | None, wanted: TaskFilter
) -> Select[tuple[str]]:
    """The ids that are looked for, newest first: of the user's tasks, or of those with the tag."""
    if wanted.tag:
        id = TASK_TAG.c.task
        first, *others = (tag_id(username, cluster, tag) for tag in wanted.tag)
        query = select(id).where(TASK_TAG.c.tag == first)
        for tag in others:
            too = TASK_TAG.alias()
            query = query.where(exists().where(too.c.tag == tag, too.c.task == id))
        if conditions := list(_conditions(wanted)):
            query = query.where(TASK.c.id == id, *conditions)
    else:
        id = TASK.c.id
        whose = TASK.c.username == username, TASK.c.cluster == cluster
        query = select(id).where(*whose, *_conditions(wanted))
    return query.where(*_places(id, before, wanted)).order_by(id.desc())


def _places(
    id: ColumnElement[str], before: str | None, wanted: TaskFilter
) -> Iterator[ColumnElement[bool]]:
    """Where in time. Ids begin with it, so that an index serves for it."""
    if before is not None:
        yield id < before
    if wanted.since is not None:
        yield id >= lower_bound(wanted.since)
    if wanted.until is not None:
        yield id < lower_bound(wanted.until)


def _conditions(wanted: TaskFilter) -> Iterator[ColumnElement[bool]]:
    """What is asked of the tasks themselves."""
    for name in ("state", "operator", "action", "batch"):
        if (value := getattr(wanted, name)) is not None:
            yield TASK.c[name] == value
    if wanted.text is not None:
        yield or_(*(mentions(column, wanted.text) for column in _SEARCHED))
