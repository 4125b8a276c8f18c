"""Dispatch the tasks of batches: choose the next ones fairly, mark them, end finished batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection, Integer, bindparam, func, select, update

from resop.storage.database import Database, repeated_on_conflict
from resop.storage.fair_share import LONG_AGO, BatchShare, next_batch
from resop.storage.models import BATCH, CREDENTIAL, TASK, State, now

_OPEN = BATCH.c.ready_at.is_not(None) & BATCH.c.ended_at.is_(None)
_UNENDED = TASK.c.state.in_([state for state in State if not state.ended])
_DISPATCHED = TASK.c.dispatched_at > datetime(
    1970, 1, 1, tzinfo=UTC
)  # IS NOT NULL would use no index
_PENDING = (TASK.c.state == State.QUEUED) & TASK.c.dispatched_at.is_(None)
_UNAPPROVED = (
    select(TASK.c.batch)
    .where(
        TASK.c.batch.in_(bindparam("batches", expanding=True)),
        TASK.c.state == State.PENDING_APPROVAL,
    )
    .distinct()
)

# Built once, because building a statement costs more than running it.
_ANY_OPEN = select(BATCH.c.id).where(_OPEN).limit(1)
_OPEN_BATCHES = (
    select(*(BATCH.c[name] for name in ("id", "username", "cluster", "at_once", "dispatched_at")))
    .where(_OPEN)
    .order_by(BATCH.c.id)
    .with_for_update()
)
_IN_FLIGHT = (
    select(TASK.c.batch, func.count())
    .where(TASK.c.batch.in_(bindparam("batches", expanding=True)), _UNENDED, _DISPATCHED)
    .group_by(TASK.c.batch)
)
_PENDING_TASKS = (
    select(TASK.c.id, func.coalesce(CREDENTIAL.c.worker, ""))
    .outerjoin(CREDENTIAL, CREDENTIAL.c.id == TASK.c.credential)
    .where(TASK.c.batch == bindparam("batch_id"), _PENDING)
    .order_by(TASK.c.number)
    .limit(bindparam("limit", type_=Integer))
)
_MARK_TASK = (  # one task each: for several, SQLite would scan all that are queued
    update(TASK)
    .where(TASK.c.id == bindparam("task"), _PENDING)
    .values(dispatched_at=bindparam("at"))
)
_MARK_BATCHES = (
    update(BATCH)
    .where(BATCH.c.id.in_(bindparam("batches", expanding=True)))
    .values(dispatched_at=bindparam("at"))
)


@dataclass(slots=True)
class Dispatched:
    """The outcome of one dispatch."""

    tasks: list[tuple[str, str, str]] = field(default_factory=list)
    """(task, cluster, worker) of the tasks to be queued now.

    `worker` is the one that holds the session of the task's login, or empty.
    """
    ended: list[str] = field(default_factory=list)
    """The ids of batches that were found to have ended."""


@repeated_on_conflict
def dispatch_batches(database: Database, slots: int) -> Dispatched:
    """Mark the next tasks of all batches, with at most `slots` in flight on each cluster.

    Concurrent calls run one after the other, so that each task is dispatched by one of them.
    Blocks; raises RecordsUnavailable.
    """
    with database.read() as db:
        if db.execute(_ANY_OPEN).first() is None:
            return Dispatched()
    # Need not be durable: a mark lost in a power failure is made again, and the claim makes a
    # task run once.
    with database.write(durable=False) as db:
        by_cluster = _open_shares(db)
        dispatched = Dispatched(ended=_end_finished(db, by_cluster))
        for cluster, shares in by_cluster.items():
            dispatched.tasks += [
                (task, cluster, worker) for task, worker in _dispatch_from(db, shares, slots)
            ]
    return dispatched


def end_batches(db: Connection, batches: Sequence[str]) -> None:
    """Record the end of batches that have not ended."""
    unended = BATCH.c.id.in_(batches), BATCH.c.ended_at.is_(None)
    db.execute(update(BATCH).where(*unended).values(ended_at=now()))


def _open_shares(db: Connection) -> dict[str, list[BatchShare]]:
    """Return the shares by cluster; other dispatchers wait until this transaction ends."""
    shares = {
        batch: BatchShare(
            batch, username, cluster, at_once, dispatched_at=dispatched_at or LONG_AGO
        )
        for batch, username, cluster, at_once, dispatched_at in db.execute(_OPEN_BATCHES)
    }
    for batch, count in db.execute(_IN_FLIGHT, {"batches": list(shares)}):
        shares[batch].in_flight = count
    by_cluster: defaultdict[str, list[BatchShare]] = defaultdict(list)
    for share in shares.values():
        by_cluster[share.cluster].append(share)
    return by_cluster


def _pending_tasks(db: Connection, batch: str, limit: int) -> list[tuple[str, str]]:
    """Return (task, worker) of the first undispatched tasks of a batch."""
    rows = db.execute(_PENDING_TASKS, {"batch_id": batch, "limit": limit})
    return [(task, worker) for task, worker in rows]


def _end_finished(db: Connection, by_cluster: Mapping[str, list[BatchShare]]) -> list[str]:
    """End the batches without tasks in flight or pending, and return their ids."""
    idle = [share for shares in by_cluster.values() for share in shares if not share.in_flight]
    for share in idle:
        share.empty = not _pending_tasks(db, share.batch, 1)
    empty = [share.batch for share in idle if share.empty]
    unapproved = set(db.execute(_UNAPPROVED, {"batches": empty}).scalars()) if empty else set()
    finished = [batch for batch in empty if batch not in unapproved]
    if finished:
        end_batches(db, finished)
    return finished


def _dispatch_from(
    db: Connection, shares: Sequence[BatchShare], slots: int
) -> list[tuple[str, str]]:
    """Mark the next tasks of one cluster, and return (task, worker) of each."""
    pending: dict[str, Iterator[tuple[str, str]]] = {}
    dispatched: list[tuple[str, str]] = []
    moment = now()
    while share := next_batch(shares, slots):
        if share.batch not in pending:
            pending[share.batch] = iter(_pending_tasks(db, share.batch, slots))
        if (task := next(pending[share.batch], None)) is None:
            share.empty = True
            continue
        share.in_flight += 1
        share.dispatched_at = moment
        dispatched.append(task)
    if dispatched:
        batches = [share.batch for share in shares if share.dispatched_at == moment]
        db.execute(_MARK_TASK, [{"task": task, "at": moment} for task, _ in dispatched])
        db.execute(_MARK_BATCHES, {"batches": batches, "at": moment})
    return dispatched
