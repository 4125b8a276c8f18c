"""Batches: written in groups, dealt out in turn, counted, cancelled, and forgotten when old."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from resop.errors import RecordsUnavailable
from resop.storage.fair_share import LONG_AGO, BatchShare, next_batch
from resop.storage.models import (
    BATCH,
    CREDENTIAL,
    IDEMPOTENCY_KEY,
    TASK,
    TASK_TAG,
    WEBHOOK_DELIVERY,
    Batch,
    IdempotencyKey,
    State,
    Task,
    WebhookDelivery,
    now,
)
from resop.storage.tags import ADD_TAGGED, tag_rows
from resop.storage.task_search import GROUP as READ_GROUP
from resop.storage.task_search import LISTED
from resop.storage.tasks import Records

_OPEN = BATCH.c.ready_at.is_not(None) & BATCH.c.ended_at.is_(None)
_GOING = TASK.c.state.in_([state for state in State if not state.ended])
_DISPATCHED = TASK.c.dispatched_at > datetime(
    1970, 1, 1, tzinfo=UTC
)  # IS NOT NULL would use no index
_PENDING = (TASK.c.state == State.QUEUED) & TASK.c.dispatched_at.is_(None)

# The statements of dealing are made once: to make one costs more than to run it.
_ANY_OPEN = select(BATCH.c.id).where(_OPEN).limit(1)
_OPEN_BATCHES = (
    select(*(BATCH.c[name] for name in ("id", "username", "cluster", "at_once", "dispatched_at")))
    .where(_OPEN)
    .order_by(BATCH.c.id)
    .with_for_update()
)
_IN_FLIGHT = (
    select(TASK.c.batch, func.count())
    .where(TASK.c.batch.in_(bindparam("batches", expanding=True)), _GOING, _DISPATCHED)
    .group_by(TASK.c.batch)
)
_PENDING_TASKS = (
    select(TASK.c.id, func.coalesce(CREDENTIAL.c.worker, ""))
    .outerjoin(CREDENTIAL, CREDENTIAL.c.id == TASK.c.credential)
    .where(TASK.c.batch == bindparam("batch_id"), _PENDING)
    .order_by(TASK.c.number)
    .limit(bindparam("most", type_=Integer))
)
_MARK_TASK = (  # one by one: of several SQLite would look through all that are queued
    update(TASK)
    .where(TASK.c.id == bindparam("task"), _PENDING)
    .values(dispatched_at=bindparam("at"))
)
_MARK_BATCHES = (
    update(BATCH)
    .where(BATCH.c.id.in_(bindparam("batches", expanding=True)))
    .values(dispatched_at=bindparam("at"))
)

WRITE_GROUP = 200
"""Tasks written in one transaction: about 10 ms, in which nobody else writes to SQLite."""
PAUSE_SECONDS = 0.005
"""Between groups: others want to write too."""


@dataclass(slots=True)
class Dispatched:
    """What came of dealing out."""

    tasks: list[tuple[str, str, str]] = field(default_factory=list)
    """(task, cluster, worker) of those that are to be handed to the queue, now.

    The worker is the one that keeps the session of their login, else it is empty.
    """
    ended: list[str] = field(default_factory=list)
    """Batches that were found to have come to their end."""


class BatchStore:
    """The queries on batches. They block; all raise RecordsUnavailable."""

    def __init__(self, records: Records) -> None:
        self._records = records

    # -- written

    def add(
        self, batch: Batch, tasks: Sequence[Task], key: IdempotencyKey | None = None
    ) -> IdempotencyKey | None:
        """Write a batch with its tasks, of which nothing is dealt out before all are written.

        With a `key` that another request has, nothing is left of it: that other one's is returned.
        """
        try:
            with self._records.write(flushed=False) as db:
                db.execute(insert(BATCH), [batch.model_dump()])
            for start in range(0, len(tasks), WRITE_GROUP):
                group = tasks[start : start + WRITE_GROUP]
                tags = [row.model_dump() for row in tag_rows(group)]
                with self._records.write(flushed=False) as db:
                    db.execute(insert(TASK), [task.model_dump() for task in group])
                    if tags:
                        db.execute(ADD_TAGGED, tags)
                time.sleep(PAUSE_SECONDS)
            self._make_ready(batch, key)
        except IntegrityError:
            self._discard(batch.id)
            if key is None:
                raise
            # When it was forgotten at that very moment, it is free.
            return self._records.key(key.id) or self.add(batch, tasks, key)
        except RecordsUnavailable:
            with contextlib.suppress(RecordsUnavailable):
                self._discard(batch.id)
            raise
        return None

    def _make_ready(self, batch: Batch, key: IdempotencyKey | None) -> None:
        """With what goes with it: there is none of a batch that was not written to its end."""
        batch.ready_at = now()
        ready = update(BATCH).where(BATCH.c.id == batch.id).values(ready_at=batch.ready_at)
        with self._records.write() as db:
            if key is not None:
                db.execute(insert(IDEMPOTENCY_KEY), [key.model_dump()])
            if batch.notify is not None:
                db.execute(insert(WEBHOOK_DELIVERY), [WebhookDelivery(task=batch.id).model_dump()])
            if not db.execute(ready).rowcount:
                raise RecordsUnavailable("the batch took too long to be written: try again later")

    def _discard(self, batch_id: str) -> None:
        while self._forget_some(batch_id, WRITE_GROUP) == WRITE_GROUP:
            time.sleep(PAUSE_SECONDS)

    def _forget_some(self, batch_id: str, limit: int) -> int:
        """Forget tasks of an unready batch, with the last of them the batch; how many they were."""
        some = select(TASK.c.id).where(TASK.c.batch == batch_id).limit(limit)
        with self._records.write() as db:
            found = db.execute(some).scalars().all()
            if found:
                db.execute(delete(TASK_TAG).where(TASK_TAG.c.task.in_(found)))
                db.execute(delete(TASK).where(TASK.c.id.in_(found)))
            if len(found) < limit:
                db.execute(delete(BATCH).where(BATCH.c.id == batch_id))
        return len(found)

    # -- read

    def batch(self, batch_id: str) -> Batch | None:
        """One batch, whoever's it is."""
        found = self._found(BATCH.c.id == batch_id, limit=1)
        return found[0] if found else None

    def batches(
        self, username: str, cluster: str, *, limit: int, before: str | None = None
    ) -> list[Batch]:
        """A user's batches, newest first; `before` is the id to go on from."""
        chosen = [BATCH.c.username == username, BATCH.c.cluster == cluster]
        if before is not None:
            chosen.append(BATCH.c.id < before)
        return self._found(*chosen, limit=limit)

    def _found(self, *chosen: ColumnElement[bool], limit: int) -> list[Batch]:
        query = select(BATCH).where(*chosen, BATCH.c.ready_at.is_not(None))
        with self._records.read() as db:
            rows = db.execute(query.order_by(BATCH.c.id.desc()).limit(limit))
            return [Batch(**row._mapping) for row in rows]

    def counts(self, batch_ids: Iterable[str]) -> dict[str, dict[State, int]]:
        """How many tasks of each batch are in which state."""
        chosen = TASK.c.batch.in_(list(batch_ids))
        query = select(TASK.c.batch, TASK.c.state, func.count()).where(chosen)
        counted: defaultdict[str, dict[State, int]] = defaultdict(dict)
        with self._records.read() as db:
            for batch, state, count in db.execute(query.group_by(TASK.c.batch, TASK.c.state)):
                counted[batch][State(state)] = count
        return counted

    def ran_since(self, batch_id: str, moment: datetime) -> int:
        """How many of its tasks that had begun have ended since."""
        ran = TASK.c.started_at.is_not(None) & (TASK.c.ended_at >= moment)
        query = select(func.count()).where(TASK.c.batch == batch_id, ran)
        with self._records.read() as db:
            return int(db.execute(query).scalar_one())

    def tasks(
        self, batch_id: str, *, limit: int, after: int | None = None, state: State | None = None
    ) -> list[dict[str, Any]]:
        """Its tasks without their output in the order of their numbers, those behind `after`."""
        query = select(*LISTED).where(*_chosen(batch_id, after, [state] if state else []))
        with self._records.read() as db:
            rows = db.execute(query.order_by(TASK.c.number).limit(limit))
            return [dict(row._mapping) for row in rows]

    def whole_tasks(self, batch_id: str, states: Sequence[State] = ()) -> Iterator[Task]:
        """All of them (in these states) in their order, with their output; read as taken."""
        after = None
        while True:
            query = select(TASK).where(*_chosen(batch_id, after, states))
            with self._records.read() as db:
                rows = db.execute(query.order_by(TASK.c.number).limit(READ_GROUP)).all()
            yield from (Task(**row._mapping) for row in rows)
            if len(rows) < READ_GROUP:
                return
            after = rows[-1].number

    def options_and_parameters(
        self, batch_id: str, states: Sequence[State]
    ) -> list[tuple[dict[str, Any], Any]]:
        """(options, item) of its tasks in these states, in their order."""
        query = select(TASK.c.options, TASK.c.parameters).where(*_chosen(batch_id, None, states))
        with self._records.read() as db:
            return [tuple(row) for row in db.execute(query.order_by(TASK.c.number))]

    # -- dealt out

    def dispatch(self, places: int) -> Dispatched:
        """Mark the tasks whose turn it is, so that at most `places` are in flight on a cluster.

        One at a time of all who call this at once does so: each task is dealt to one of them.
        """
        with self._records.read() as db:
            if db.execute(_ANY_OPEN).first() is None:
                return Dispatched()
        # A mark that a power failure takes along is made again; the claim runs a task once.
        with self._records.write(flushed=False) as db:
            by_cluster = _open_shares(db)
            dealt = Dispatched(ended=_end_finished(db, by_cluster))
            for cluster, lanes in by_cluster.items():
                dealt.tasks += [
                    (task, cluster, worker) for task, worker in _dispatch_from(db, lanes, places)
                ]
        return dealt

    # -- cancelled, forgotten

    def cancel(self, batch_id: str, error: Mapping[str, Any]) -> list[str]:
        """End its queued tasks with this error, mark the running ones; the ids of the latter."""
        asked = func.coalesce(BATCH.c.cancel_asked_at, now())
        mine = TASK.c.batch == batch_id
        with self._records.write() as db:
            # First, so that nothing is dealt out meanwhile.
            db.execute(
                update(BATCH)
                .where(BATCH.c.id == batch_id, BATCH.c.ended_at.is_(None))
                .values(cancel_asked_at=asked)
            )
            ended = {
                "state": State.CANCELLED,
                "ended_at": now(),
                "encrypted_payload": None,
                "error": error,
            }
            db.execute(update(TASK).where(mine, TASK.c.state == State.QUEUED).values(**ended))
            running = mine & (TASK.c.state == State.RUNNING)
            marked = func.coalesce(TASK.c.cancel_asked_at, now())
            db.execute(update(TASK).where(running).values(cancel_asked_at=marked))
            left = db.execute(select(TASK.c.id).where(running)).scalars().all()
            if not left:
                _end(db, [batch_id])
        return list(left)

    def forget(self, created_before: datetime, limit: int) -> int:
        """Forget batches of that age whose tasks are all forgotten; how many there were."""
        old = select(BATCH.c.id).where(
            BATCH.c.created_at < created_before,
            BATCH.c.ready_at.is_not(None),
            ~exists().where(TASK.c.batch == BATCH.c.id),
        )
        with self._records.write() as db:
            found = db.execute(old.limit(limit)).scalars().all()
            if found:
                db.execute(delete(BATCH).where(BATCH.c.id.in_(found)))
                db.execute(delete(WEBHOOK_DELIVERY).where(WEBHOOK_DELIVERY.c.task.in_(found)))
        return len(found)

    def forget_unready(self, created_before: datetime, limit: int) -> int:
        """Forget tasks, at most so many, of a batch whose writer died; how many there were."""
        old = BATCH.c.ready_at.is_(None) & (BATCH.c.created_at < created_before)
        with self._records.read() as db:
            found = db.execute(select(BATCH.c.id).where(old).limit(1)).scalar_one_or_none()
        return 0 if found is None else self._forget_some(found, limit)


def _chosen(
    batch_id: str, after: int | None, states: Sequence[State]
) -> Iterator[ColumnElement[bool]]:
    yield TASK.c.batch == batch_id
    if after is not None:
        yield TASK.c.number > after
    if states:
        yield TASK.c.state.in_(states)


def _open_shares(db: Connection) -> dict[str, list[BatchShare]]:
    """By cluster; other dealers wait until this transaction is done."""
    lanes = {
        batch: BatchShare(
            batch, username, cluster, at_once, dispatched_at=dispatched_at or LONG_AGO
        )
        for batch, username, cluster, at_once, dispatched_at in db.execute(_OPEN_BATCHES)
    }
    for batch, count in db.execute(_IN_FLIGHT, {"batches": list(lanes)}):
        lanes[batch].in_flight = count
    by_cluster: defaultdict[str, list[BatchShare]] = defaultdict(list)
    for lane in lanes.values():
        by_cluster[lane.cluster].append(lane)
    return by_cluster


def _pending_tasks(db: Connection, batch: str, limit: int) -> list[tuple[str, str]]:
    """(task, worker) of the first ones."""
    rows = db.execute(_PENDING_TASKS, {"batch_id": batch, "most": limit})
    return [(task, worker) for task, worker in rows]


def _end_finished(db: Connection, by_cluster: Mapping[str, list[BatchShare]]) -> list[str]:
    """End the batches of which nothing is left."""
    idle = [lane for lanes in by_cluster.values() for lane in lanes if not lane.in_flight]
    for lane in idle:
        lane.empty = not _pending_tasks(db, lane.batch, 1)
    ended = [lane.batch for lane in idle if lane.empty]
    if ended:
        _end(db, ended)
    return ended


def _end(db: Connection, batches: Sequence[str]) -> None:
    chosen = BATCH.c.id.in_(batches), BATCH.c.ended_at.is_(None)
    db.execute(update(BATCH).where(*chosen).values(ended_at=now()))


def _dispatch_from(
    db: Connection, lanes: Sequence[BatchShare], places: int
) -> list[tuple[str, str]]:
    """Mark the tasks whose turn it is; (task, worker) of each."""
    waiting: dict[str, Iterator[tuple[str, str]]] = {}
    dealt: list[tuple[str, str]] = []
    moment = now()
    while lane := next_batch(lanes, places):
        if lane.batch not in waiting:
            waiting[lane.batch] = iter(_pending_tasks(db, lane.batch, places))
        if (task := next(waiting[lane.batch], None)) is None:
            lane.empty = True
            continue
        lane.in_flight += 1
        lane.dispatched_at = moment
        dealt.append(task)
    if dealt:
        had_a_turn = [lane.batch for lane in lanes if lane.dispatched_at == moment]
        db.execute(_MARK_TASK, [{"task": task, "at": moment} for task, _ in dealt])
        db.execute(_MARK_BATCHES, {"batches": had_a_turn, "at": moment})
    return dealt
