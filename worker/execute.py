"""Runs claimed tasks: opens the envelope, takes the user's session, performs the action, records.

Celery's thread only claims; the steps run on one event loop, operations (which block) in
threads of their own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncssh
import uvloop
from pydantic import BaseModel

from resop.catalog import Action, Catalog, Kind
from resop.command import Command
from resop.errors import (
    ContactLost,
    LoginAgain,
    OperationFault,
    ResopError,
    ServiceFault,
    StepTimedOut,
    TaskCancelled,
)
from resop.events import CANCEL, LOGGED_OUT, Subscription
from resop.handover import OFFER
from resop.logs import say
from resop.masking import Masker, secrets_in
from resop.options import check_options, given_values
from resop.perform import Outcome, command_outcome, command_step, perform_operation
from resop.records import Change, Records, State, Task
from resop.sessions import Session, SessionPool
from resop.settings import Settings
from resop.shell import Shell
from resop.site import Site
from resop.ssh import Connector
from resop.tokens import Sealer
from worker.door import WorkerDoor
from worker.kept import KeptSessions
from worker.recorder import Recorder

log = logging.getLogger(__name__)

ANSWER_LIMIT = 8 << 20
"""Characters of an operation's answer as JSON."""


class Engine:
    """Everything that runs tasks in one worker process."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        clusters: list[str],
        catalog: Catalog,
        records: Records,
        recorder: Recorder,
    ) -> None:
        self.name = name
        self._settings = settings
        self._catalog = catalog
        self._records = records
        self._recorder = recorder
        self._sealer = Sealer(settings.secret_key(), settings.old_secret_key())
        self._surroundings = Site(catalog, settings)
        self._slots = threading.Semaphore(settings.WORKER_TASKS)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._threads = ThreadPoolExecutor(settings.WORKER_TASKS, thread_name_prefix="operation")
        self._sessions = SessionPool(runner=settings.REMOTE_RUNNER == "auto")
        self.loop = uvloop.new_event_loop()
        self._loop_thread = threading.Thread(target=self._serve, name="ssh", daemon=True)
        self._connector = Connector(settings)
        self._kept = KeptSessions(name, settings, clusters, self._sealer, records)
        self._subscription = Subscription(
            settings.redis_url,
            {
                CANCEL: self._hear_cancel,
                OFFER: self._kept.hear_offer,
                self._kept.channel: self._kept.hear_login,
                LOGGED_OUT: self._kept.hear_logged_out,
            },
        )

    def start(self) -> None:
        """Begin to serve."""
        self._loop_thread.start()
        asyncio.run_coroutine_threadsafe(self._subscription.start(), self.loop).result()

    def claim(self, task_id: str, stopping: Callable[[], bool]) -> bool:
        """Claim a task and begin to run it; wait here while the worker is full.

        Returns False when the worker is stopping and the message should go to another one.
        Raises RecordsUnavailable when the claim could not be made.
        """
        while not self._slots.acquire(timeout=0.5):
            if stopping():
                return False
        try:
            task = self._records.claim(task_id, self.name)
        except ResopError:
            self._slots.release()
            raise
        if task is None:
            log.warning("task %s: not queued any more, left alone", task_id)
            self._slots.release()
            return True
        self.loop.call_soon_threadsafe(self._begin, task)
        return True

    def cancel_marked(self) -> None:
        """Cancel the tasks whose record says so: the word of it may have been lost. Blocks."""
        for task_id in self._records.to_cancel(self.name):
            self.loop.call_soon_threadsafe(self._hear_cancel, task_id)

    def drop_ended_logins(self) -> None:
        """Close the sessions that are kept for nobody any more. Blocks."""
        self._kept.drop_ended(self.loop)

    def drain(self, seconds: float) -> None:
        """Wait for the running tasks; after `seconds` end their steps and cancel them."""
        deadline = time.monotonic() + seconds
        while self._running and time.monotonic() < deadline:
            time.sleep(0.05)
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self.loop).result()
        for closing in (self._subscription.stop(), self._kept.close(), self._sessions.close()):
            asyncio.run_coroutine_threadsafe(closing, self.loop).result()
        self._threads.shutdown(cancel_futures=True)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._loop_thread.join(5)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _begin(self, task: Task) -> None:
        running = self.loop.create_task(self._run(task))
        self._running[task.id] = running
        running.add_done_callback(lambda _: self._finished(task.id))

    def _finished(self, task_id: str) -> None:
        del self._running[task_id]
        self._slots.release()

    def _hear_cancel(self, task_id: str | None) -> None:
        """Cancel a task if it runs here; None: words may have been missed, the record has them."""
        if task_id in self._running:
            # Its turn comes after that of the task itself, if that was only just begun: a
            # coroutine that is cancelled before its first line would record no end.
            self.loop.call_soon(_cancel, self._running[task_id])

    async def _cancel_all(self) -> None:
        running = list(self._running.values())
        for each in running:
            _cancel(each)
        if running:
            await asyncio.wait(running)

    async def _run(self, task: Task) -> None:
        """Run a claimed task to its recorded end, whatever happens."""
        began = time.monotonic()
        door: WorkerDoor | None = None
        try:
            door, action, options = self._open(task)
            outcome = await self._perform(task, door, action, options)
        except ResopError as fault:
            outcome = Outcome(error=fault)
        except asyncio.CancelledError:
            outcome = Outcome(error=TaskCancelled("the task was cancelled; no step was sent"))
        except Exception:
            # A fault of ours must not leave a task running for ever.
            log.exception("task %s: a fault of the service", task.id)
            outcome = Outcome(error=ServiceFault())
        if door is not None:
            door.close()
        seconds = time.monotonic() - began
        values = _values(outcome, door) | {"seconds": seconds}
        state = _state(outcome)
        written = self._recorder.end(task.id, Change.ended(task.id, state, **values))
        try:
            await asyncio.shield(asyncio.wrap_future(written))
        finally:
            _say_ended(task, state, seconds, outcome)

    def _open(self, task: Task) -> tuple[WorkerDoor, Action, BaseModel]:
        """Open a task's envelope: its options, and a door to its user's session."""
        sealed = self._sealer.unseal(task.sealed or b"", task.id)
        kind: Kind = "cmd" if task.kind == Command.kind else "opn"
        action = self._catalog.action(task.operator, kind, task.action)
        options = check_options(action.options, sealed["options"])
        door = WorkerDoor(
            task.id,
            self._session(task, sealed["half"]),
            self._recorder,
            Masker(secrets_in(given_values(options))),
            self.loop,
            time.monotonic() + task.time_limit,
        )
        return door, action, options

    async def _perform(
        self, task: Task, door: WorkerDoor, action: Action, options: BaseModel
    ) -> Outcome:
        if isinstance(action, Command):
            return command_outcome(action, await door.run_bare(command_step(action, options)))
        shell = Shell(task.username, task.cluster, door, self._surroundings, action.operator)
        performing = self.loop.run_in_executor(
            self._threads, perform_operation, action, shell, options
        )
        try:
            return await asyncio.shield(performing)
        except asyncio.CancelledError:
            # Its step is ended, and what it registered is undone, before the task is over.
            door.cancel()
            return await performing

    def _session(self, task: Task, half: str) -> Session:
        if kept := self._kept.session(task.credential):
            return kept
        cluster = self._settings.cluster(task.cluster)

        async def connect() -> asyncssh.SSHClientConnection:
            credential = await asyncio.to_thread(self._records.credential, task.credential)
            if credential is None or credential.sealed_key is None:
                raise LoginAgain("this login has ended: log in again")
            key = self._sealer.unseal_key(credential.sealed_key, credential.id, half)
            return await self._connector.with_key(cluster, task.username, key)

        return self._sessions.session(task.username, task.cluster, connect)


def _cancel(running: asyncio.Task[None]) -> None:
    """Cancel it once: a second time would break off what tidies up after the first."""
    if not running.cancelling():
        running.cancel()


def _state(outcome: Outcome) -> State:
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


def _refuse_long_answer(outcome: Outcome) -> None:
    """A step's output is bounded where it is read; what an operation makes of it, here."""
    if outcome.result is None and outcome.output is not None:
        size = len(json.dumps(outcome.output))
        if size > ANSWER_LIMIT:
            outcome.output = None
            outcome.error = OperationFault(
                f"the operation's answer has {size} characters, at most {ANSWER_LIMIT} are kept"
            )


def _values(outcome: Outcome, door: WorkerDoor | None) -> dict[str, Any]:
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


def _say_ended(task: Task, state: State, seconds: float, outcome: Outcome) -> None:
    say(
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
