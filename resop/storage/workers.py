"""Workers: their heartbeats, and the tasks that are left when a worker dies or stops."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import case, delete, func, insert, or_, select, update

from resop.storage.database import Database, repeated_on_conflict
from resop.storage.models import CREDENTIAL, HANDED_OFF, NOT_BEGUN, TASK, WORKER, State, now

DEAD_SECONDS = 30
"""A worker without a heartbeat for this long is dead."""


class Orphan(NamedTuple):
    """A running task whose worker is dead."""

    id: str
    cluster: str
    worker: str
    resume_count: int | None
    pending_undo: list[Any] | None


class WorkerStore:
    """Reads and writes what concerns workers. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeated_on_conflict
    def heartbeat(self, worker: str) -> None:
        """Record a heartbeat for `worker`."""
        with self._database.write() as db:
            known = db.execute(
                update(WORKER).where(WORKER.c.id == worker).values(seen_at=now())
            ).rowcount
            if not known:
                db.execute(insert(WORKER), [{"id": worker, "seen_at": now()}])

    @repeated_on_conflict
    def delete(self, *workers: str) -> None:
        """Delete a worker that has stopped in order, or workers that died long ago."""
        with self._database.write() as db:
            db.execute(delete(WORKER).where(WORKER.c.id.in_(workers)))

    def alive(self, seen_since: datetime) -> list[str]:
        """Return the workers with a heartbeat at or after this time."""
        with self._database.read() as db:
            alive = select(WORKER.c.id).where(WORKER.c.seen_at >= seen_since)
            return list(db.execute(alive).scalars())

    def heartbeats(self) -> dict[str, datetime | None]:
        """Return the last heartbeat of each worker; None for one that has tasks and none.

        The times are only good for finding that a heartbeat is a new one: those of several
        workers may come from several clocks.
        """
        running = select(TASK.c.worker).distinct().where(TASK.c.state == State.RUNNING)
        holders = (
            select(CREDENTIAL.c.worker)
            .distinct()
            .join(TASK, TASK.c.credential == CREDENTIAL.c.id)
            .where(TASK.c.state.in_(NOT_BEGUN))
        )
        with self._database.read() as db:
            owners = [*db.execute(running).scalars(), *db.execute(holders).scalars()]
            seen = {str(row.id): row.seen_at for row in db.execute(select(WORKER))}
        return dict.fromkeys(owner for owner in owners if owner) | seen

    def orphans(self, dead: Collection[str]) -> list[Orphan]:
        """Return the running tasks of workers that are dead."""
        columns = [TASK.c[name] for name in Orphan._fields]
        query = select(*columns).where(TASK.c.state == State.RUNNING, TASK.c.worker.in_(dead))
        with self._database.read() as db:
            return [Orphan(*row) for row in db.execute(query)]

    @repeated_on_conflict
    def hand_off(self, task_id: str, worker: str) -> bool:
        """Release a running task of `worker` so that another worker can resume it.

        Returns False if `worker` no longer ran the task.
        """
        own = TASK.c.id == task_id, TASK.c.state == State.RUNNING, TASK.c.worker == worker
        values = {"worker": None, "resume_count": TASK.c.resume_count + 1}
        with self._database.write() as db:
            return bool(db.execute(update(TASK).where(*own).values(values)).rowcount)

    def waiting_tasks(self, queued_before: datetime, limit: int) -> list[tuple[str, str, str]]:
        """Return (task, cluster, worker) of tasks queued or handed off before this time.

        Oldest first. A batch's task counts as queued once it is dispatched, and one that needed
        approval once it has it. `worker` is the one that holds the session of the task's login,
        or empty.
        """
        admitted_at = func.coalesce(TASK.c.approved_at, TASK.c.created_at)
        queued_at = case((TASK.c.batch.is_(None), admitted_at), else_=TASK.c.dispatched_at)
        query = (
            select(TASK.c.id, TASK.c.cluster, func.coalesce(CREDENTIAL.c.worker, ""))
            .outerjoin(CREDENTIAL, CREDENTIAL.c.id == TASK.c.credential)
            .where(or_(TASK.c.state == State.QUEUED, HANDED_OFF), queued_at < queued_before)
            .order_by(TASK.c.id)
            .limit(limit)
        )
        with self._database.read() as db:
            return [tuple(row) for row in db.execute(query)]

    @repeated_on_conflict
    def end_unheld(self, dead: Sequence[str], error: Mapping[str, Any]) -> int:
        """End the waiting tasks whose session was held by a worker that has died.

        Tasks of batches that are not yet dispatched end too, and tasks that wait for approval.
        Returns the number of tasks ended.
        """
        unheld = (
            TASK.c.state.in_(NOT_BEGUN),
            TASK.c.credential.in_(select(CREDENTIAL.c.id).where(CREDENTIAL.c.worker.in_(dead))),
        )
        with self._database.read() as db:
            if db.execute(select(TASK.c.id).where(*unheld).limit(1)).first() is None:
                return 0
        end = {
            "state": State.FAILED,
            "ended_at": now(),
            "encrypted_payload": None,
            "error": error,
        }
        with self._database.write() as db:
            return db.execute(update(TASK).where(*unheld).values(**end)).rowcount
