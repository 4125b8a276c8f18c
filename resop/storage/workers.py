"""Workers: their heartbeats, and the tasks that are left when a worker dies or stops."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, case, delete, func, insert, or_, select, update

from resop.storage.database import Database
from resop.storage.models import CREDENTIAL, HANDED_OFF, TASK, WORKER, State, now

DEAD_SECONDS = 35
"""A worker without a heartbeat for this long is dead."""


class Orphan(NamedTuple):
    """A running task whose worker is dead."""

    id: str
    cluster: str
    worker: str
    resume_count: int | None
    pending_undo: list[str] | None


class WorkerStore:
    """Reads and writes what concerns workers. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def heartbeat(self, worker: str) -> None:
        """Record a heartbeat for `worker`."""
        with self._database.write() as db:
            known = db.execute(
                update(WORKER).where(WORKER.c.id == worker).values(seen_at=now())
            ).rowcount
            if not known:
                db.execute(insert(WORKER), [{"id": worker, "seen_at": now()}])

    def delete(self, worker: str) -> None:
        """Delete a worker that has stopped in order."""
        with self._database.write() as db:
            db.execute(delete(WORKER).where(WORKER.c.id == worker))

    def alive(self, seen_since: datetime) -> list[str]:
        """Return the workers with a heartbeat at or after this time."""
        with self._database.read() as db:
            return [str(row.id) for row in db.execute(_alive(seen_since))]

    def orphans(self, seen_before: datetime) -> list[Orphan]:
        """Return the running tasks of workers whose last heartbeat is older than this time."""
        columns = [TASK.c[name] for name in Orphan._fields]
        query = select(*columns).where(
            TASK.c.state == State.RUNNING,
            TASK.c.worker.is_not(None),
            TASK.c.worker.not_in(_alive(seen_before)),
            # A new worker claims tasks before its first heartbeat is due.
            TASK.c.started_at < seen_before,
        )
        with self._database.read() as db:
            return [Orphan(*row) for row in db.execute(query)]

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

        Oldest first. A batch's task counts as queued once it is dispatched. `worker` is the one
        that holds the session of the task's login, or empty.
        """
        queued_at = case((TASK.c.batch.is_(None), TASK.c.created_at), else_=TASK.c.dispatched_at)
        query = (
            select(TASK.c.id, TASK.c.cluster, func.coalesce(CREDENTIAL.c.worker, ""))
            .outerjoin(CREDENTIAL, CREDENTIAL.c.id == TASK.c.credential)
            .where(or_(TASK.c.state == State.QUEUED, HANDED_OFF), queued_at < queued_before)
            .order_by(TASK.c.id)
            .limit(limit)
        )
        with self._database.read() as db:
            return [tuple(row) for row in db.execute(query)]

    def end_unheld(self, seen_before: datetime, error: Mapping[str, Any]) -> int:
        """End the queued tasks whose session was held by a worker that has died.

        Tasks of batches that are not yet dispatched end too. Returns the number of tasks ended.
        """
        holder = CREDENTIAL.c.worker
        unheld = (
            TASK.c.state == State.QUEUED,
            TASK.c.created_at < seen_before,  # a new worker holds sessions before its heartbeat
            TASK.c.credential.in_(
                select(CREDENTIAL.c.id).where(
                    holder.is_not(None), holder.not_in(_alive(seen_before))
                )
            ),
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


def _alive(seen_since: datetime) -> Select[tuple[str]]:
    """Return the query of workers with a heartbeat at or after this time."""
    return select(WORKER.c.id).where(WORKER.c.seen_at >= seen_since)
