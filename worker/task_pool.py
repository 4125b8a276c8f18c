"""The tasks of one worker process: accepts and claims them, and runs them on one event loop.

Celery's thread only receives messages, and another thread claims. Steps run on the event loop;
each operation blocks a thread of a pool.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

import uvloop

from resop.access.login_administration import LoginAdministration
from resop.access.permissions import Permissions
from resop.access.session_provider import SessionProvider
from resop.actions.catalog import Catalog
from resop.actions.context import ServiceContext
from resop.config.settings import Settings
from resop.errors import RecordsUnavailable
from resop.messaging.messages import (
    BatchReady,
    CancelRequested,
    LoggedOut,
    LoginOffer,
    LoginRequest,
    Resync,
)
from resop.messaging.publisher import EventPublisher
from resop.messaging.subscriber import Subscriber
from resop.messaging.task_queue import TaskQueue
from resop.security.encryption import Encryptor
from resop.ssh.connector import Connector
from resop.storage.approvals import ApprovalStore
from resop.storage.audit_recorder import AuditRecorder
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.login_ends import LoginEnds
from resop.storage.models import ClaimedTask
from resop.storage.task_search import TaskSearch
from resop.storage.tasks import TaskStore
from resop.storage.workers import WorkerStore
from worker.approval_check import ApprovalCheck
from worker.claimer import Claimer
from worker.engine import TaskOpener, TaskRunner
from worker.held_sessions import HeldSessions
from worker.login_watch import LoginWatch
from worker.past_tasks import PastTasks
from worker.record_writer import RecordWriter
from worker.repairs import RepairStore
from worker.resumed_steps import NO_PREVIOUS_RUN, PreviousRun, load_previous_run

log = logging.getLogger(__name__)

SLOT_CHECK_SECONDS = 0.5
"""How often a full worker checks whether it is stopping."""
READ_RETRY_SECONDS = 0.5
"""Pause before a resumed task is read again while the database is unavailable."""
CANCEL_SECONDS = 90.0
"""How long the tasks of an ended login keep its connections: their steps are ended, and what they
registered is undone."""
DRAIN_CHECK_SECONDS = 0.05
LOOP_STOP_SECONDS = 5


class TaskPool:
    """Everything that runs tasks in one worker process."""

    def __init__(
        self,
        worker: str,
        settings: Settings,
        clusters: list[str],
        catalog: Catalog,
        database: Database,
        writer: RecordWriter,
        queue: TaskQueue,
        publisher: EventPublisher,
        audit: AuditRecorder,
        dispatch_batches: Callable[[], None],
    ) -> None:
        """Set up; `dispatch_batches` starts a dispatch of batch tasks and returns at once."""
        self._worker = worker
        self._database = database
        self._tasks = TaskStore(database)
        self._slots = threading.Semaphore(settings.WORKER_TASKS)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._credentials: dict[str, str] = {}
        """The credential of each running task."""
        self._ending: dict[str, asyncio.Task[None]] = {}
        """The ended logins whose tasks are being cancelled, by credential."""
        self._loop = uvloop.new_event_loop()
        self._loop_thread = threading.Thread(
            target=_run_forever, args=[self._loop], name="ssh", daemon=True
        )
        encryptor = Encryptor(settings.secret_key(), settings.previous_secret_key())
        connector = Connector(settings)
        credentials, ends = CredentialStore(database), LoginEnds(database)
        self._held = HeldSessions(worker, settings, clusters, connector, encryptor, credentials)
        self._sessions = SessionProvider(
            settings,
            credentials,
            encryptor,
            connector,
            runner=settings.REMOTE_RUNNER == "auto",
            held=self._held.session,
        )
        permissions = Permissions(settings.policy(), catalog, credentials)
        self._runner = TaskRunner(
            worker,
            TaskOpener(
                encryptor, catalog, self._sessions, writer, RepairStore(database, encryptor)
            ),
            permissions,
            ServiceContext(
                catalog,
                settings,
                LoginAdministration(ends, publisher),
                PastTasks(TaskSearch(database)),
            ),
            WorkerStore(database),
            ends,
            writer,
            queue,
            settings.WORKER_TASKS,
            audit=audit,
            approval_check=ApprovalCheck(
                ApprovalStore(database), credentials, permissions, encryptor, catalog
            ),
            on_batch_task_end=dispatch_batches,
        )
        self._login_watch = LoginWatch(
            ends,
            publisher,
            on_ended=self.end_logins,
            cancel_marked=self.cancel_marked,
            dispatch_batches=dispatch_batches,
        )
        self._subscriber = Subscriber(settings.redis_url, encryptor.message_keys)
        self._subscribe(dispatch_batches)
        self._claimer = Claimer(worker, self._tasks, self._begin_claimed, self._slots.release)

    def start(self) -> None:
        """Start the event loop, the claims and the subscription."""
        self._loop_thread.start()
        self._claimer.start()
        asyncio.run_coroutine_threadsafe(self._subscriber.start(), self._loop).result()
        self._login_watch.start()

    def accept(self, task_id: str, is_stopping: Callable[[], bool]) -> bool:
        """Queue a task to be claimed and run; blocks while the worker has no free slot.

        Returns False when the worker is stopping and the message should go to another one.
        """
        while not self._slots.acquire(timeout=SLOT_CHECK_SECONDS):
            if is_stopping():
                return False
        self._claimer.put(task_id)
        return True

    def cancel_marked(self) -> None:
        """Cancel the running tasks marked so in the database: the message may be lost. Blocks."""
        for task_id in self._tasks.cancel_requested(self._worker):
            self._loop.call_soon_threadsafe(self._cancel_task, task_id)

    def drop_taken(self) -> None:
        """Send no further step of tasks that are no longer this worker's. Blocks.

        The others believed that it was dead: its machine was suspended, or cut off.
        """
        if running := list(self._running):
            for task_id in self._tasks.taken(running, self._worker):
                self._loop.call_soon_threadsafe(self._drop, task_id)

    def _drop(self, task_id: str) -> None:
        if task_id in self._running:
            log.warning("task %s: dropped, since this worker was believed to be dead", task_id)
            if not self._runner.leave(task_id):
                self._cancel_task(task_id)

    def end_logins(self, credentials: Iterable[str]) -> None:
        """Cancel the tasks of ended logins that run here, then close their connections."""
        self._loop.call_soon_threadsafe(self._end_logins, list(credentials))

    def drop_ended_logins(self) -> None:
        """Close the held sessions whose login has ended. Blocks."""
        self.end_logins(self._held.ended())

    def drain(self, seconds: float) -> None:
        """Hand off the tasks that other workers can resume and wait for the others.

        After `seconds`, end the steps of the remaining tasks and cancel these.
        """
        deadline = time.monotonic() + seconds
        self._login_watch.stop()
        self._claimer.stop()
        self._loop.call_soon_threadsafe(self._runner.hand_off)
        self._wait_for(asyncio.sleep(0))  # every claimed task has begun
        while self._running and time.monotonic() < deadline:
            time.sleep(DRAIN_CHECK_SECONDS)
        self._wait_for(self._cancel_all())
        for closing in (self._subscriber.stop(), self._held.close(), self._sessions.close()):
            self._wait_for(closing)
        self._runner.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._loop_thread.join(LOOP_STOP_SECONDS)

    def _subscribe(self, dispatch_batches: Callable[[], None]) -> None:
        on = self._subscriber.on
        on(CancelRequested, self._on_cancel_requested)
        on(BatchReady, lambda _: dispatch_batches())
        on(LoginOffer, self._held.on_offer)
        on(LoginRequest, self._held.on_login, channel=self._held.channel)
        on(LoggedOut, lambda _: self._login_watch.wake())

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _begin_claimed(self, tasks: Sequence[ClaimedTask]) -> None:
        for task in tasks:
            if task.resume_count:
                asyncio.run_coroutine_threadsafe(self._resume(task), self._loop)
            else:
                self._loop.call_soon_threadsafe(self._begin, task)

    def _begin(self, task: ClaimedTask, previous: PreviousRun = NO_PREVIOUS_RUN) -> None:
        running = self._loop.create_task(self._runner.run(task, previous))
        self._running[task.id], self._credentials[task.id] = running, task.credential
        running.add_done_callback(lambda _: self._on_task_done(task.id))
        if task.cancel_asked_at is not None:  # while no worker had it
            self._cancel_task(task.id)

    async def _resume(self, task: ClaimedTask) -> None:
        """Begin a task where a previous worker left it."""
        previous: PreviousRun | None = None
        while previous is None:
            try:
                previous = await asyncio.to_thread(load_previous_run, self._database, task)
            except RecordsUnavailable:
                await asyncio.sleep(READ_RETRY_SECONDS)
        self._begin(task, previous)

    def _on_task_done(self, task_id: str) -> None:
        del self._running[task_id], self._credentials[task_id]
        self._slots.release()

    def _on_cancel_requested(self, message: CancelRequested | Resync) -> None:
        """Cancel a task; after a Resync, `cancel_marked` finds the missed requests."""
        if isinstance(message, CancelRequested):
            self._cancel_task(message.task)

    def _cancel_task(self, task_id: str) -> None:
        """Cancel a task if it runs here."""
        if task_id in self._running:
            # After the task itself has had its turn, if it was only just begun: a coroutine that
            # is cancelled before its first line would record no end.
            self._loop.call_soon(_cancel, self._running[task_id])

    def _end_logins(self, credentials: Iterable[str]) -> None:
        for credential in credentials:
            if credential not in self._ending:
                self._ending[credential] = self._loop.create_task(self._end_login(credential))

    async def _end_login(self, credential: str) -> None:
        """Cancel the tasks of a login, and close its connections once they have ended."""
        ids = [task for task, used in self._credentials.items() if used == credential]
        tasks = [self._running[task_id] for task_id in ids]
        for task_id in ids:
            self._cancel_task(task_id)
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
        self._sessions.end_login(credential)
        self._held.end_login(credential)
        del self._ending[credential]

    async def _cancel_all(self) -> None:
        running = list(self._running.values())
        for each in running:
            _cancel(each)
        if running:
            await asyncio.wait(running)


def _run_forever(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _cancel(running: asyncio.Task[None]) -> None:
    """Cancel a task once: a second time would break off the cleanup after the first."""
    if not running.cancelling():
        running.cancel()
