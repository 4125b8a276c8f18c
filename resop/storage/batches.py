"""Batches: written in groups of tasks, read, counted, cancelled and deleted."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from resop.errors import RecordRefused, RecordsUnavailable
from resop.storage.batch_dispatch import end_batches
from resop.storage.database import Database, repeated_on_conflict
from resop.storage.idempotency_keys import INSERT_KEY, find_keys
from resop.storage.models import (
    APPROVAL,
    BATCH,
    NOT_BEGUN,
    TASK,
    TASK_TAG,
    WEBHOOK_DELIVERY,
    Approval,
    Batch,
    IdempotencyKey,
    State,
    Task,
    WebhookDelivery,
    now,
)
from resop.storage.tags import INSERT_TAG, tag_rows_of
from resop.storage.task_search import LISTED_COLUMNS, WHOLE_TASKS_PAGE, is_one_of
from resop.storage.tasks import INSERT_APPROVAL, INSERT_DELIVERY, INSERT_TASK, delete_approvals

TASKS_PER_TRANSACTION = 200
"""Tasks written in one transaction: about 10 ms, during which nobody else writes to SQLite."""
WRITE_PAUSE_SECONDS = 0.005
"""The pause between two transactions, in which other processes write."""


class BatchStore:
    """Reads and writes batches. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- create

    def add(
        self,
        batch: Batch,
        tasks: Sequence[Task],
        key: IdempotencyKey | None = None,
        approval: Approval | None = None,
    ) -> IdempotencyKey | None:
        """Write a batch and its tasks; none is dispatched before all of them are written.

        `approval` is the request for approval of a batch that needs one. If another request
        already uses `key`, nothing is written and the existing key returned.
        """
        try:
            with self._database.write(durable=False) as db:
                db.execute(insert(BATCH), [batch.model_dump()])
            for start in range(0, len(tasks), TASKS_PER_TRANSACTION):
                _add_tasks(self._database, tasks[start : start + TASKS_PER_TRANSACTION])
                time.sleep(WRITE_PAUSE_SECONDS)
            self._make_ready(batch, key, approval)
        except IntegrityError:
            self._discard(batch.id)
            if key is None:
                raise
            with self._database.read() as db:
                used_keys = find_keys(db, [key.id])
            # If the key was deleted at this very moment, it is free.
            return used_keys.get(key.id) or self.add(batch, tasks, key, approval)
        except (RecordsUnavailable, RecordRefused):
            with contextlib.suppress(RecordsUnavailable):
                self._discard(batch.id)
            raise
        return None

    @repeated_on_conflict
    def _make_ready(
        self, batch: Batch, key: IdempotencyKey | None, approval: Approval | None
    ) -> None:
        """Mark a completely written batch as ready, together with the rows that belong to it."""
        batch.ready_at = now()
        ready = update(BATCH).where(BATCH.c.id == batch.id).values(ready_at=batch.ready_at)
        with self._database.write() as db:
            if key is not None:
                db.execute(INSERT_KEY, [key.model_dump()])
            if approval is not None:
                db.execute(INSERT_APPROVAL, [approval.model_dump()])
            for subject in (batch, approval):
                if subject is not None and subject.notify is not None:
                    db.execute(INSERT_DELIVERY, [WebhookDelivery(task=subject.id).model_dump()])
            if not db.execute(ready).rowcount:
                raise RecordsUnavailable("the batch took too long to be written: try again later")

    def _discard(self, batch_id: str) -> None:
        while self._delete_tasks(batch_id, TASKS_PER_TRANSACTION) == TASKS_PER_TRANSACTION:
            time.sleep(WRITE_PAUSE_SECONDS)

    @repeated_on_conflict
    def _delete_tasks(self, batch_id: str, limit: int) -> int:
        """Delete at most `limit` tasks of an unready batch, and the batch with the last one."""
        first = select(TASK.c.id).where(TASK.c.batch == batch_id).limit(limit)
        with self._database.write() as db:
            ids = db.execute(first).scalars().all()
            if ids:
                db.execute(delete(TASK_TAG).where(TASK_TAG.c.task.in_(ids)))
                db.execute(delete(TASK).where(TASK.c.id.in_(ids)))
            if len(ids) < limit:
                db.execute(delete(BATCH).where(BATCH.c.id == batch_id))
        return len(ids)

    # -- read

    def get(self, batch_id: str) -> Batch | None:
        """Return a batch of any user, or None."""
        batches = _ready_batches(self._database, BATCH.c.id == batch_id, limit=1)
        return batches[0] if batches else None

    def batches(
        self,
        username: str,
        cluster: str,
        *,
        limit: int,
        before: str | None = None,
        actions: list[tuple[str, str]] | None = None,
    ) -> list[Batch]:
        """Return a page of a user's batches, newest first; `before` is the last id seen.

        With `actions` (operator and name), only batches of these.
        """
        conditions = [BATCH.c.username == username, BATCH.c.cluster == cluster]
        if before is not None:
            conditions.append(BATCH.c.id < before)
        if actions is not None:
            conditions.append(is_one_of(BATCH, actions))
        return _ready_batches(self._database, *conditions, limit=limit)

    def counts(self, batch_ids: Iterable[str]) -> dict[str, dict[State, int]]:
        """Return the number of tasks in each state, for each of these batches."""
        chosen = TASK.c.batch.in_(list(batch_ids))
        query = select(TASK.c.batch, TASK.c.state, func.count()).where(chosen)
        counts: defaultdict[str, dict[State, int]] = defaultdict(dict)
        with self._database.read() as db:
            for batch, state, count in db.execute(query.group_by(TASK.c.batch, TASK.c.state)):
                counts[batch][State(state)] = count
        return counts

    def ran_since(self, batch_id: str, moment: datetime) -> int:
        """Count the tasks of a batch that were started and have ended since `moment`."""
        ran = TASK.c.started_at.is_not(None) & (TASK.c.ended_at >= moment)
        query = select(func.count()).where(TASK.c.batch == batch_id, ran)
        with self._database.read() as db:
            return int(db.execute(query).scalar_one())

    def tasks(
        self, batch_id: str, *, limit: int, after: int | None = None, state: State | None = None
    ) -> list[dict[str, Any]]:
        """Return a page of a batch's tasks without output, by number; `after` is the last seen."""
        conditions = _conditions(batch_id, after, [state] if state else [])
        query = select(*LISTED_COLUMNS).where(*conditions)
        with self._database.read() as db:
            rows = db.execute(query.order_by(TASK.c.number).limit(limit))
            return [dict(row._mapping) for row in rows]

    def whole_tasks(self, batch_id: str, states: Sequence[State] = ()) -> Iterator[Task]:
        """Yield the tasks of a batch (in these states) with output, by number, read in pages."""
        after = None
        while True:
            query = select(TASK).where(*_conditions(batch_id, after, states))
            with self._database.read() as db:
                rows = db.execute(query.order_by(TASK.c.number).limit(WHOLE_TASKS_PAGE)).all()
            yield from (Task(**row._mapping) for row in rows)
            if len(rows) < WHOLE_TASKS_PAGE:
                return
            after = rows[-1].number

    def options_and_parameters(
        self, batch_id: str, states: Sequence[State]
    ) -> list[tuple[dict[str, Any], Any]]:
        """Return (options, parameters) of a batch's tasks in these states, by number."""
        conditions = _conditions(batch_id, None, states)
        query = select(TASK.c.options, TASK.c.parameters).where(*conditions)
        with self._database.read() as db:
            return [tuple(row) for row in db.execute(query.order_by(TASK.c.number))]

    # -- cancel and delete

    @repeated_on_conflict
    def cancel(self, batch_id: str, error: Mapping[str, Any]) -> list[str]:
        """End the waiting tasks of a batch with `error`, and request that the running ones stop.

        Returns the ids of the running tasks.
        """
        requested_at = func.coalesce(BATCH.c.cancel_asked_at, now())
        mine = TASK.c.batch == batch_id
        with self._database.write() as db:
            # The batch first, so that none of its tasks is dispatched meanwhile.
            db.execute(
                update(BATCH)
                .where(BATCH.c.id == batch_id, BATCH.c.ended_at.is_(None))
                .values(cancel_asked_at=requested_at)
            )
            end = {
                "state": State.CANCELLED,
                "ended_at": now(),
                "encrypted_payload": None,
                "error": error,
            }
            db.execute(update(TASK).where(mine, TASK.c.state.in_(NOT_BEGUN)).values(**end))
            running = mine & (TASK.c.state == State.RUNNING)
            task_requested_at = func.coalesce(TASK.c.cancel_asked_at, now())
            db.execute(update(TASK).where(running).values(cancel_asked_at=task_requested_at))
            running_ids = db.execute(select(TASK.c.id).where(running)).scalars().all()
            if not running_ids:
                end_batches(db, [batch_id])
        return list(running_ids)

    @repeated_on_conflict
    def delete_old(self, created_before: datetime, limit: int) -> int:
        """Delete at most `limit` old batches whose tasks are all deleted; return the number."""
        old = select(BATCH.c.id).where(
            BATCH.c.created_at < created_before,
            BATCH.c.ready_at.is_not(None),
            ~exists().where(TASK.c.batch == BATCH.c.id),
        )
        with self._database.write() as db:
            ids = db.execute(old.limit(limit)).scalars().all()
            if ids:
                delete_approvals(db, APPROVAL.c.batch.in_(ids))
                db.execute(delete(BATCH).where(BATCH.c.id.in_(ids)))
                db.execute(delete(WEBHOOK_DELIVERY).where(WEBHOOK_DELIVERY.c.task.in_(ids)))
        return len(ids)

    def delete_unready(self, created_before: datetime, limit: int) -> int:
        """Delete at most `limit` tasks of a batch whose writer died; return the number."""
        old = BATCH.c.ready_at.is_(None) & (BATCH.c.created_at < created_before)
        with self._database.read() as db:
            batch_id = db.execute(select(BATCH.c.id).where(old).limit(1)).scalar_one_or_none()
        return 0 if batch_id is None else self._delete_tasks(batch_id, limit)


@repeated_on_conflict
def _add_tasks(database: Database, tasks: Sequence[Task]) -> None:
    tags = [row.model_dump() for row in tag_rows_of(tasks)]
    with database.write(durable=False) as db:
        db.execute(INSERT_TASK, [task.model_dump() for task in tasks])
        if tags:
            db.execute(INSERT_TAG, tags)


def _ready_batches(database: Database, *conditions: ColumnElement[bool], limit: int) -> list[Batch]:
    """Return the ready batches that meet the conditions, newest first."""
    query = select(BATCH).where(*conditions, BATCH.c.ready_at.is_not(None))
    with database.read() as db:
        rows = db.execute(query.order_by(BATCH.c.id.desc()).limit(limit))
        return [Batch(**row._mapping) for row in rows]


def _conditions(
    batch_id: str, after: int | None, states: Sequence[State]
) -> Iterator[ColumnElement[bool]]:
    yield TASK.c.batch == batch_id
    if after is not None:
        yield TASK.c.number > after
    if states:
        yield TASK.c.state.in_(states)
