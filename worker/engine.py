"""Runs claimed tasks: opens the envelope, takes the user's session, performs the action, records.

Celery's thread only receives, another one claims; the steps run on one event loop, operations
(which block) in threads of their own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop
from pydantic import BaseModel

from resop.access.permissions import Permissions
from resop.access.session_provider import SessionProvider
from resop.actions.call import ActionCall
from resop.actions.catalog import Action, Catalog, Kind
from resop.actions.command import Command
from resop.actions.context import ServiceContext
from resop.actions.execute import ActionOutcome, command_outcome, command_step, perform_operation
from resop.actions.shell import Shell
from resop.config.logging import log_event
from resop.config.settings import Settings
from resop.errors import (
    ContactLost,
    OperationFault,
    QueueUnavailable,
    RecordsUnavailable,
    ResopError,
    ServiceFault,
    StepTimedOut,
    TaskCancelled,
)
from resop.messaging.publisher import BATCH, CANCEL, LOGGED_OUT, whose
from resop.messaging.subscriber import Subscriber
from resop.messaging.task_queue import TaskQueue
from resop.security.login_handover import OFFER
from resop.security.sealing import Encryptor
from resop.ssh.connector import Connector
from resop.ssh.runner.durable_step import StepIdGenerator
from resop.storage.changes import Change
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.models import ClaimedTask, State, now
from resop.storage.tasks import TaskStore
from resop.storage.workers import WorkerStore
from resop.types import ActionKind
from worker.claimer import Claimer
from worker.held_sessions import HeldSessions
from worker.record_writer import RecordWriter
from worker.recovery import left_undone
from worker.resumed_steps import NOTHING, PreviousRun, ResumeState, TaskHandedOff, what_is_left
from worker.step_executor import SshStepExecutor

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
ANSWER_LIMIT = 8 << 20
"""Characters of an operation's answer as JSON."""


class TaskRunner:
    """Everything that runs tasks in one worker process."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        clusters: list[str],
        catalog: Catalog,
        database: Database,
        recorder: RecordWriter,
        queue: TaskQueue,
        deal: Callable[[], None],
    ) -> None:
        """`deal` is called when a batch may have tasks to deal out; it returns at once."""
        self.name = name
        self._settings = settings
        self._catalog = catalog
        self._database = database
        self._tasks, self._workers = TaskStore(database), WorkerStore(database)
        credentials = CredentialStore(database)
        self._recorder = recorder
        self._queue = queue
        self._sealer = Encryptor(settings.secret_key(), settings.old_secret_key())
        self._surroundings = ServiceContext(catalog, settings)
        self._permissions = Permissions(settings.policy(), catalog, credentials)
        self._slots = threading.Semaphore(settings.WORKER_TASKS)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._resumable: dict[str, SshStepExecutor] = {}
        """Doors of the running tasks that another worker can take up."""
        self._leaving = False
        self._threads = ThreadPoolExecutor(settings.WORKER_TASKS, thread_name_prefix="operation")
        self.loop = uvloop.new_event_loop()
        self._loop_thread = threading.Thread(target=self._serve, name="ssh", daemon=True)
        connector = Connector(settings)
        self._kept = HeldSessions(name, settings, clusters, connector, self._sealer, credentials)
        self._access = SessionProvider(
            settings,
            credentials,
            self._sealer,
            connector,
            runner=settings.REMOTE_RUNNER == "auto",
            kept=self._kept.session,
        )
        self._deal = deal
        hearers = {
            CANCEL: self._hear_cancel,
            BATCH: lambda _: deal(),
            OFFER: self._kept.on_offer,
            self._kept.channel: self._kept.on_login,
            LOGGED_OUT: self._hear_logged_out,
        }
        self._subscription = Subscriber(settings.redis_url, hearers)
        self._claimer = Claimer(name, self._tasks, self._begin_all, self._slots.release)

    def start(self) -> None:
        """Begin to serve."""
        self._loop_thread.start()
        self._claimer.start()
        asyncio.run_coroutine_threadsafe(self._subscription.start(), self.loop).result()

    def take(self, task_id: str, stopping: Callable[[], bool]) -> bool:
        """Have a task claimed and run; wait here while the worker is full.

        Returns False when the worker is stopping and the message should go to another one.
        """
        while not self._slots.acquire(timeout=0.5):
            if stopping():
                return False
        self._claimer.put(task_id)
        return True

    def cancel_marked(self) -> None:
        """Cancel the tasks whose record says so: the word of it may have been lost. Blocks."""
        for task_id in self._tasks.cancel_requested(self.name):
            self.loop.call_soon_threadsafe(self._hear_cancel, task_id)

    def drop_ended_logins(self) -> None:
        """Close the sessions that are kept for nobody any more. Blocks."""
        self._kept.drop_ended(self.loop)

    def drain(self, seconds: float) -> None:
        """Leave tasks to other workers where they can take them up, and wait for the others.

        After `seconds` end their steps and cancel them.
        """
        deadline = time.monotonic() + seconds
        self._claimer.stop()
        self.loop.call_soon_threadsafe(self._leave)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result()  # all have begun
        while self._running and time.monotonic() < deadline:
            time.sleep(0.05)
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self.loop).result()
        for closing in (self._subscription.stop(), self._kept.close(), self._access.close()):
            asyncio.run_coroutine_threadsafe(closing, self.loop).result()
        self._threads.shutdown(cancel_futures=True)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._loop_thread.join(5)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _begin_all(self, tasks: Sequence[ClaimedTask]) -> None:
        for task in tasks:
            if task.resume_count:
                asyncio.run_coroutine_threadsafe(self._take_up(task), self.loop)
            else:
                self.loop.call_soon_threadsafe(self._begin, task)

    def _begin(self, task: ClaimedTask, left: PreviousRun = NOTHING) -> None:
        running = self.loop.create_task(self._run(task, left))
        self._running[task.id] = running
        running.add_done_callback(lambda _: self._finished(task.id))
        if task.cancel_asked_at is not None:  # while no worker had it
            self._hear_cancel(task.id)

    async def _take_up(self, task: ClaimedTask) -> None:
        """Begin a task where another worker has left it."""
        left: PreviousRun | None = None
        while left is None:
            try:
                left = await asyncio.to_thread(what_is_left, self._database, task)
            except RecordsUnavailable:
                await asyncio.sleep(PAUSE_SECONDS)
        self._begin(task, left)

    def _leave(self) -> None:
        self._leaving = True
        for door in self._resumable.values():
            door.leave()

    def _finished(self, task_id: str) -> None:
        del self._running[task_id]
        self._slots.release()

    def _hear_cancel(self, task_id: str | None) -> None:
        """Cancel a task if it runs here; None: words may have been missed, the record has them."""
        if task_id in self._running:
            # Its turn comes after that of the task itself, if that was only just begun: a
            # coroutine that is cancelled before its first line would record no end.
            self.loop.call_soon(_cancel, self._running[task_id])

    def _hear_logged_out(self, credential: str | None) -> None:
        self._kept.on_logout(credential)
        self._access.on_logout(credential)

    async def _cancel_all(self) -> None:
        running = list(self._running.values())
        for each in running:
            _cancel(each)
        if running:
            await asyncio.wait(running)

    async def _run(self, task: ClaimedTask, left: PreviousRun) -> None:
        """Run a claimed task to its recorded end, whatever happens."""
        began = time.monotonic() - _age(task)
        door: SshStepExecutor | None = None
        asked = False
        try:
            title = f"{task.operator}:{task.action}"
            (await self._permissions.decide(title, task.username, task.credential)).enforce()
            door, action, options = self._open(task, left)
            self._note_resumable(task, door, action)
            asked = action.share_for is not None
            outcome = await self._perform(task, door, action, options)
        except TaskHandedOff:
            assert door is not None
            await self._hand_over(task, door)
            return
        except ResopError as fault:
            outcome = ActionOutcome(error=fault)
        except asyncio.CancelledError:
            outcome = ActionOutcome(error=TaskCancelled("the task was cancelled; no step was sent"))
        except Exception:
            # A fault of ours must not leave a task running for ever.
            log.exception("task %s: a fault of the service", task.id)
            outcome = ActionOutcome(error=ServiceFault())
        finally:
            self._resumable.pop(task.id, None)
        if door is not None:
            door.close()
        seconds = time.monotonic() - began
        values = _values(outcome, door) | {"seconds": seconds}
        state = _state(outcome)
        change = Change.ended(task.id, state, **values)
        change.whose = whose(task.username, task.cluster, asked=asked)
        written = self._recorder.write_end(task.id, change)
        try:
            await asyncio.shield(asyncio.wrap_future(written))
            if door is not None:
                door.forget()
        finally:
            if task.batch is not None:
                self._deal()
            _say_ended(task, state, seconds, outcome)

    def _note_resumable(self, task: ClaimedTask, door: SshStepExecutor, action: Action) -> None:
        if door.keeping is not None and (isinstance(action, Command) or action.resumable):
            self._resumable[task.id] = door
            if self._leaving:
                door.leave()

    async def _hand_over(self, task: ClaimedTask, door: SshStepExecutor) -> None:
        """Let another worker take up a task whose steps go on."""
        door.close()
        await door.show()
        try:
            await asyncio.to_thread(self._workers.hand_off, task.id, self.name)
            await asyncio.to_thread(self._queue.put, task.id, task.cluster)
        except (RecordsUnavailable, QueueUnavailable) as fault:
            log.warning("task %s is left to the others' recovery: %s", task.id, fault.message)
        log.info("task %s is left to another worker", task.id)

    def _open(
        self, task: ClaimedTask, left: PreviousRun
    ) -> tuple[SshStepExecutor, Action, BaseModel]:
        """Open a task's envelope: its options, and a door to its user's session."""
        sealed = self._sealer.decrypt(task.encrypted_payload or b"", task.id)
        kind: Kind = "cmd" if task.kind == ActionKind.COMMAND else "opn"
        action = self._catalog.action(task.operator, kind, task.action)
        call = ActionCall.check(action, sealed["options"])
        door = SshStepExecutor(
            task.id,
            self._access.session(task.username, task.cluster, task.credential, sealed["half"]),
            self._recorder,
            call.masker,
            self.loop,
            time.monotonic() + task.time_limit - _age(task),
            shown_before=len(task.log),
        )
        if task.resume_count is not None:
            door.keeping = ResumeState(
                StepIdGenerator(task.id, sealed["half"]),
                taken_over=task.resume_count > 0,
                recorded=None if isinstance(action, Command) else left.steps,
            )
            door.go_on_from(left)
        return door, action, call.options

    async def _perform(
        self, task: ClaimedTask, door: SshStepExecutor, action: Action, options: BaseModel
    ) -> ActionOutcome:
        if isinstance(action, Command):
            return command_outcome(action, await door.run_command(command_step(action, options)))
        if door.keeping is not None and door.keeping.recorded and not action.resumable:
            return await self._end_left(task, door, door.keeping)
        shell = Shell(task.username, task.cluster, door, self._surroundings, action.operator)
        performing = self.loop.run_in_executor(
            self._threads, perform_operation, action, shell, options
        )
        try:
            outcome = await asyncio.shield(performing)
        except asyncio.CancelledError:
            # Its step is ended, and what it registered is undone, before the task is over.
            door.cancel()
            outcome = await performing
        if door.keeping is not None and door.keeping.recorded:
            outcome.error = await _end_under_way(
                door, door.keeping, door.keeping.diverged().message
            )
        return outcome

    async def _end_left(
        self, task: ClaimedTask, door: SshStepExecutor, keeping: ResumeState
    ) -> ActionOutcome:
        """End what another worker has left of an operation that cannot be resumed."""
        door.logged, door.progressed = task.log, task.progress
        said = "the worker that ran this task died, and its operation cannot be resumed"
        fault = await _end_under_way(door, keeping, said)
        return ActionOutcome(error=fault, needs_repair=left_undone(task.pending_undo))


def _cancel(running: asyncio.Task[None]) -> None:
    """Cancel it once: a second time would break off what tidies up after the first."""
    if not running.cancelling():
        running.cancel()


def _age(task: ClaimedTask) -> float:
    """How long a task has been running when this worker took it up, in seconds."""
    return (
        max(0.0, (now() - (task.started_at or now())).total_seconds()) if task.resume_count else 0
    )


async def _end_under_way(door: SshStepExecutor, keeping: ResumeState, said: str) -> ContactLost:
    """End what another worker has left under way; the error that tells what became of it."""
    became = [
        f"of its step {step.number} ({step.command}): {await door.end_left(step)}"
        for step in keeping.under_way
    ]
    became = became or ["no step was under way"]
    return ContactLost("; ".join([said, *became, "no later step was sent"]))


def _state(outcome: ActionOutcome) -> State:
    match outcome.error:
        case None:
            return State.SUCCEEDED
        case StepTimedOut():
            return State.TIMED_OUT
        case ContactLost():
            return State.LOST
        case TaskCancelled():
            return State.CANCELLED
        case _:
            return State.FAILED


def _refuse_long_answer(outcome: ActionOutcome) -> None:
    """A step's output is bounded where it is read; what an operation makes of it, here."""
    if outcome.result is None and outcome.output is not None:
        size = len(json.dumps(outcome.output))
        if size > ANSWER_LIMIT:
            outcome.output = None
            outcome.error = OperationFault(
                f"the operation's answer has {size} characters, at most {ANSWER_LIMIT} are kept"
            )


def _values(outcome: ActionOutcome, door: SshStepExecutor | None) -> dict[str, Any]:
    """The columns of a task that has ended, secrets masked."""
    if door is None:
        return {"error": outcome.error_json()}
    _refuse_long_answer(outcome)
    hide = door.masker.json
    values = {
        "output": hide(outcome.output),
        "error": hide(outcome.error_json()),
        "log": door.logged,
        "progress": door.progressed,
    }
    if outcome.result is not None:
        values |= {
            "stderr": hide(outcome.result.stderr),
            "exit_code": outcome.result.exit_code,
            "truncated": outcome.result.truncated,
        }
    return values


def _say_ended(task: ClaimedTask, state: State, seconds: float, outcome: ActionOutcome) -> None:
    log_event(
        log,
        "task",
        task=task.id,
        request=task.request,
        user=task.username,
        cluster=task.cluster,
        action=f"{task.operator}:{task.action}",
        state=state,
        seconds=seconds,
        error=type(outcome.error).__name__ if outcome.error else "",
    )
