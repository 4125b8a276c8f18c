"""Runs claimed tasks: decrypts the payload, gets the session, runs the action, records the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from resop.access.permissions import Permissions
from resop.access.session_provider import SessionProvider
from resop.actions.call import ActionCall
from resop.actions.catalog import Catalog
from resop.actions.command import Command
from resop.actions.dry_run import perform_dry_run
from resop.actions.execute import (
    ActionOutcome,
    command_outcome,
    command_step,
    perform_operation,
    program_folder,
)
from resop.actions.executor import ShellContext
from resop.actions.shell import Shell
from resop.errors import (
    AccessError,
    QueueUnavailable,
    RecordsUnavailable,
    ResopError,
    ServiceFault,
    TaskCancelled,
)
from resop.messaging.task_queue import TaskQueue
from resop.security.encryption import Encryptor
from resop.security.identity import Identity
from resop.security.masking import Masker
from resop.security.scope import Scope
from resop.ssh.runner.durable_step import StepIdGenerator
from resop.ssh.session import Session
from resop.steps.undo import read_records, report
from resop.storage.audit_recorder import AuditRecorder
from resop.storage.changes import Change
from resop.storage.login_ends import LoginEnds
from resop.storage.models import DRY_RUN, ClaimedTask, action_kind, now
from resop.storage.workers import WorkerStore
from worker.approval_check import ApprovalCheck
from worker.audit import refusal_entry
from worker.file_transfers import FileTransfers
from worker.off_loop import off_loop
from worker.record_writer import RecordWriter
from worker.repairs import RepairStore
from worker.resumed_steps import NO_PREVIOUS_RUN, PreviousRun, ResumeState
from worker.step_executor import SshStepExecutor
from worker.step_journal import StepJournal
from worker.step_sender import StepSender
from worker.task_control import TaskControl, TaskHandedOff
from worker.task_end import final_state, final_values, log_end
from worker.task_log import TaskLog
from worker.undo_log import UndoLog

log = logging.getLogger(__name__)


class OpenTask(NamedTuple):
    """A claimed task that is ready to run."""

    executor: SshStepExecutor
    call: ActionCall

    @property
    def resumable(self) -> bool:
        """True if another worker could resume the task."""
        action = self.call.action
        can_resume = isinstance(action, Command) or action.resumable
        return can_resume and self.executor.resume.durable


def new_executor(
    task_id: str,
    session: Session,
    writer: RecordWriter,
    masker: Masker,
    deadline: float,
    resume: ResumeState | None = None,
    previous: PreviousRun = NO_PREVIOUS_RUN,
    recorded_log_lines: int = 0,
    repairs: RepairStore | None = None,
) -> SshStepExecutor:
    """Put together the executor of one task, on the worker's loop.

    `deadline` is a time of `time.monotonic`; without `resume` no step is durable, and without
    `repairs` the undo steps cannot be run by another task.
    """
    loop = asyncio.get_running_loop()
    resume = resume or ResumeState()
    control = TaskControl(loop, deadline)
    task_log = TaskLog(task_id, writer, masker, loop, resume, recorded_log_lines)
    undo_log = UndoLog(task_id, writer, masker, control, resume, repairs)
    journal = StepJournal(task_id, writer, masker, task_log, previous)
    steps = StepSender(task_id, session, masker, control, journal, resume)
    files = FileTransfers(session, control, journal, resume, task_log.set_progress)
    return SshStepExecutor(task_id, masker, control, resume, steps, files, task_log, undo_log)


class TaskOpener:
    """Opens claimed tasks: decrypts their payload and connects them to their user's session."""

    def __init__(
        self,
        encryptor: Encryptor,
        catalog: Catalog,
        sessions: SessionProvider,
        writer: RecordWriter,
        repairs: RepairStore | None = None,
    ) -> None:
        self._encryptor = encryptor
        self._catalog = catalog
        self._sessions = sessions
        self._writer = writer
        self._repairs = repairs

    def decrypt(self, task: ClaimedTask) -> dict[str, Any]:
        """Return the options of a task, its key share, and its scope if it has one."""
        return self._encryptor.decrypt(task.encrypted_payload or b"", task.id)

    def encrypt_answer(self, task: ClaimedTask, outcome: ActionOutcome) -> bytes:
        """Return the secrets of a task's answer, which only the login that ran it can read."""
        key_share = self.decrypt(task)["key_share"]
        return self._encryptor.encrypt_answer({"secrets": outcome.secrets}, task.id, key_share)

    async def open(
        self, task: ClaimedTask, payload: Mapping[str, Any], previous: PreviousRun
    ) -> OpenTask:
        """Return the task with its options and executor; raises ResopError if it cannot run."""
        action = self._catalog.action(task.operator, action_kind(task.kind).code, task.action)
        call = ActionCall.check(action, payload["options"])
        key_share = payload["key_share"]
        resume = ResumeState()
        if task.resume_count is not None:
            resume = ResumeState(
                StepIdGenerator(task.id, key_share),
                resumed=task.resume_count > 0,
                recorded=None if isinstance(action, Command) else previous.steps,
            )
        session = await self._sessions.session(
            task.username, task.cluster, task.credential, key_share
        )
        executor = new_executor(
            task.id,
            session,
            self._writer,
            call.masker,
            time.monotonic() + task.time_limit - seconds_since_start(task),
            resume,
            previous,
            recorded_log_lines=len(task.log),
            repairs=self._repairs,
        )
        return OpenTask(executor, call)


class TaskRunner:
    """Runs each claimed task to its recorded end. Used on the worker's loop."""

    def __init__(
        self,
        worker: str,
        opener: TaskOpener,
        permissions: Permissions,
        context: ShellContext,
        workers: WorkerStore,
        ends: LoginEnds,
        writer: RecordWriter,
        queue: TaskQueue,
        max_operations: int,
        *,
        audit: AuditRecorder,
        approval_check: ApprovalCheck,
        on_batch_task_end: Callable[[], None],
    ) -> None:
        """Set up; at most `max_operations` run at once, `on_batch_task_end` returns at once."""
        self._worker = worker
        self._opener = opener
        self._permissions = permissions
        self._context = context
        self._workers = workers
        self._ends = ends
        self._writer = writer
        self._queue = queue
        self._audit = audit
        self._approval_check = approval_check
        self._threads = ThreadPoolExecutor(max_operations, thread_name_prefix="operation")
        self._on_batch_task_end = on_batch_task_end
        self._resumable: dict[str, SshStepExecutor] = {}
        """The executors of the running tasks that another worker can resume."""
        self._handing_off = False

    def hand_off(self) -> None:
        """Leave the running tasks that another worker can resume to other workers."""
        self._handing_off = True
        for executor in self._resumable.values():
            executor.control.hand_off()

    def leave(self, task_id: str) -> bool:
        """Leave a task to the worker that has resumed it; return False if none could have."""
        executor = self._resumable.get(task_id)
        if executor is not None:
            executor.control.hand_off()
        return executor is not None

    def close(self) -> None:
        """End the threads of operations; call when no task runs any more. Blocks."""
        self._threads.shutdown(cancel_futures=True)

    async def run(self, task: ClaimedTask, previous: PreviousRun = NO_PREVIOUS_RUN) -> None:
        """Run a claimed task until its end is recorded, whatever happens."""
        began = time.monotonic() - seconds_since_start(task)
        opened: OpenTask | None = None
        try:
            opened = await self._open(task, previous)
            self._register_resumable(task.id, opened)
            outcome = await self._perform(task, opened)
        except TaskHandedOff:
            assert opened is not None
            await self._hand_off(task, opened.executor)
            return
        except ResopError as fault:
            outcome = ActionOutcome(error=fault)
        except asyncio.CancelledError:
            outcome = ActionOutcome(error=TaskCancelled("the task was cancelled; no step was sent"))
        except Exception:
            # A fault of the service must not leave a task running without end.
            log.exception("task %s: a fault of the service", task.id)
            outcome = ActionOutcome(error=ServiceFault())
            if opened is not None:
                outcome.set_undo(opened.executor.undo_log.add_previous(()))
        finally:
            self._resumable.pop(task.id, None)
        if isinstance(outcome.error, TaskCancelled):
            await self._explain(task, outcome.error)
        self._record_refusal(task, outcome)
        await self._record_end(task, opened, outcome, began)

    async def _open(self, task: ClaimedTask, previous: PreviousRun) -> OpenTask:
        """Open a task; one that another worker has run also if it is cancelled meanwhile.

        The steps that the other worker left must be ended, and they are found over a connection.
        """
        if not task.resume_count:
            return await self._check_and_open(task, previous)
        opening = asyncio.create_task(self._check_and_open(task, previous))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opened = await opening
            opened.executor.control.cancel()
            return opened

    async def _check_and_open(self, task: ClaimedTask, previous: PreviousRun) -> OpenTask:
        payload = self._opener.decrypt(task)
        await self._check_permission(task, payload)
        return await self._opener.open(task, payload, previous)

    async def _explain(self, task: ClaimedTask, fault: TaskCancelled) -> None:
        """Add to the error of a cancelled task that its login has ended, if it has."""
        with contextlib.suppress(RecordsUnavailable):
            if reason := await asyncio.to_thread(self._ends.reason_of, task.credential):
                fault.message = f"the login of this task has ended ({reason}): {fault.message}"

    async def _check_permission(self, task: ClaimedTask, payload: Mapping[str, Any]) -> None:
        """Raise Forbidden unless the policy, and the scope of the API key, allow the action.

        Raises ApprovalRequired or ApprovalOutdated if it lacks the approval that it needs.
        """
        scope = Scope.from_json(payload["scope"]) if "scope" in payload else None
        title = f"{task.operator}:{task.action}"
        identity = Identity(task.username, task.cluster)
        decision = await self._permissions.decide(title, identity, task.credential, scope)
        decision.enforce(with_approval=True)
        await self._approval_check.check(task, payload, decision)

    async def _record_end(
        self, task: ClaimedTask, opened: OpenTask | None, outcome: ActionOutcome, began: float
    ) -> None:
        executor = opened.executor if opened is not None else None
        if executor is not None:
            executor.task_log.close()
        elif outcome.error is not None:
            # What a previous worker has left of the task remains known, and can be repaired.
            outcome.set_undo(report(read_records(task.pending_undo)))
        seconds = time.monotonic() - began
        if executor is not None:
            executor.masker.learn(text for _, text in outcome.secrets)
        values = await off_loop(partial(final_values, outcome, executor), outcome.texts())
        values["seconds"] = seconds
        if executor is None:
            values["pending_undo"] = task.pending_undo
        state = final_state(outcome)
        hides_secrets = bool(outcome.secrets) and outcome.error is None
        if hides_secrets:
            values["encrypted_payload"] = self._opener.encrypt_answer(task, outcome)
        change = Change.ended(task.id, state, **values)
        change.owner = task.username, task.cluster
        only_reads = opened is not None and opened.call.action.share_for is not None
        change.read_only = only_reads or task.kind == DRY_RUN
        if hides_secrets:
            change.result = None  # so that who waits reads them from the database
        written = self._writer.write_end(task.id, change)
        try:
            await asyncio.shield(asyncio.wrap_future(written))
            if executor is not None:
                executor.steps.forget_steps()
        finally:
            if task.batch is not None:
                self._on_batch_task_end()
            log_end(task, state, seconds, outcome)

    def _record_refusal(self, task: ClaimedTask, outcome: ActionOutcome) -> None:
        """Write an audit entry if the user may not do this; equal ones of a batch are counted."""
        if isinstance(outcome.error, AccessError):
            fault = type(outcome.error).__name__
            key = (task.batch or task.id, fault)
            person = (task.username, task.cluster)
            self._audit.count(key, person, partial(refusal_entry, task, self._worker, fault))

    def _register_resumable(self, task_id: str, opened: OpenTask) -> None:
        if opened.resumable:
            self._resumable[task_id] = opened.executor
            if self._handing_off:
                opened.executor.control.hand_off()

    async def _hand_off(self, task: ClaimedTask, executor: SshStepExecutor) -> None:
        """Queue a task whose durable steps continue, for another worker to resume it."""
        executor.task_log.close()
        await executor.task_log.record()
        try:
            await asyncio.to_thread(self._workers.hand_off, task.id, self._worker)
            await asyncio.to_thread(self._queue.put, task.id, task.cluster)
        except (RecordsUnavailable, QueueUnavailable) as fault:
            log.warning(
                "task %s: not handed off, the recovery of another worker will find it: %s",
                task.id,
                fault.message,
            )
        log.info("task %s: handed off to another worker", task.id)

    async def _perform(self, task: ClaimedTask, opened: OpenTask) -> ActionOutcome:
        executor, call = opened
        action = call.action
        if isinstance(action, Command):
            folder = program_folder(action, self._context, task.cluster)
            result = await executor.steps.run_command(command_step(action, call.options, folder))
            return command_outcome(action, result)
        if executor.resume.replaying and not action.resumable:
            return await self._end_previous_run(task, executor)
        shell = Shell(task.username, task.cluster, executor, self._context, action.operator)
        perform = partial(perform_operation, action, shell, call.options)
        if task.kind == DRY_RUN:
            perform = partial(perform_dry_run, action, shell, call.options, call.masker)
        performing = asyncio.get_running_loop().run_in_executor(self._threads, perform)
        try:
            outcome = await asyncio.shield(performing)
        except asyncio.CancelledError:
            # The step is ended and what the operation registered is undone before the task ends.
            executor.control.cancel()
            outcome = await performing
        if executor.resume.replaying:
            reason = executor.resume.diverged().message
            outcome.error = await executor.steps.end_unfinished(reason)
            outcome.set_undo(executor.undo_log.add_previous(task.pending_undo))
        return outcome

    async def _end_previous_run(
        self, task: ClaimedTask, executor: SshStepExecutor
    ) -> ActionOutcome:
        """End the steps that a previous worker left of an operation that cannot be resumed."""
        executor.task_log.lines, executor.task_log.progress = task.log, task.progress
        reason = "the worker that ran this task died, and its operation cannot be resumed"
        fault = await executor.steps.end_unfinished(reason)
        outcome = ActionOutcome(error=fault)
        outcome.set_undo(executor.undo_log.add_previous(task.pending_undo))
        return outcome


def seconds_since_start(task: ClaimedTask) -> float:
    """Return how long a resumed task has been running with previous workers, in seconds."""
    if not task.resume_count or task.started_at is None:
        return 0.0
    return max(0.0, (now() - task.started_at).total_seconds())
