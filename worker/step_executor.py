"""The worker's door: where a task's steps leave to the login node, recorded and masked."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import shlex
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import asyncssh

from resop.archives.entry import File, TransferStats
from resop.errors import ContactLost, ResopError, StepTimedOut, TaskCancelled
from resop.limits import OUTPUT_LIMIT
from resop.security.masking import Masker
from resop.sftp.client import open_sftp
from resop.sftp.copy import copy
from resop.sftp.files import read_file, write_file
from resop.sftp.folders import read_folder, write_folder
from resop.ssh.runner.durable_step import DurabilityUnavailable, DurableStep, NeverStarted
from resop.ssh.session import Session
from resop.steps.output import OutputCallback, RawResult
from resop.steps.result import Result
from resop.steps.step import UNDO_SECONDS, StepRequest
from resop.storage.changes import Change
from resop.storage.models import Step, StepOutput, now
from resop.types import MASK
from worker.output_capture import OutputCapture
from worker.record_writer import RecordWriter
from worker.resumed_steps import (
    PreviousRun,
    ResumeState,
    TaskHandedOff,
    answer_again,
    cannot_answer,
    is_exact,
)

log = logging.getLogger(__name__)

LOG_BYTES = 1 << 20
SHOW_SECONDS = 1.0
SHOWN_AFTER_SECONDS = 0.1
"""What a short operation logs is written with its end alone."""
WRITE_SECONDS = 5.0
NOT_DURABLE_PREFIX = "bare-"
"""Before the name of what is known again but does not survive: transfers, and steps whose output
may not stand on a disk."""

Answer = TypeVar("Answer")


@dataclass(slots=True)
class SshStepExecutor:
    """One task's way to the login node. `run`, `put` and `get` block the calling thread."""

    task_id: str
    session: Session
    recorder: RecordWriter
    masker: Masker
    loop: asyncio.AbstractEventLoop
    deadline: float
    """When the task's own time is over (time.monotonic)."""
    keeping: ResumeState | None = None
    """Where steps survive."""
    shown_before: int = 0
    """Lines of its log that are in the record already."""
    logged: list[str] = field(default_factory=list)
    progressed: dict[str, float] | None = None
    _steps: set[asyncio.Task[Any]] = field(default_factory=set)
    _cancelled: bool = False
    _closed: bool = False
    _leaving: bool = False
    _surviving: dict[asyncio.Task[Any], DurableStep] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _rows: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _told: dict[tuple[int, int], int] = field(default_factory=dict)
    _shown_at: float = 0.0
    _about_to_show: bool = False
    _log_bytes: int = 0
    _to_undo: list[StepRequest] = field(default_factory=list)
    _undo_lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, step: StepRequest) -> Result:
        """Run one step to its end and record it."""
        return self._wait(self._run_recorded(step))

    def cancel(self) -> None:
        """End the steps that run and send no further ones, except to undo; on the loop."""
        self._cancelled = True
        for step in self._steps:
            step.cancel()

    def leave(self) -> None:
        """Leave the steps that survive to another worker, and send no further ones; on the loop.

        A task that is being cancelled goes on here.
        """
        if not self._cancelled:
            self._leaving = True
            for step, keep in self._surviving.items():
                keep.hand_off()
                step.cancel()

    def go_on_from(self, left: PreviousRun) -> None:
        """Number further steps, and what they print, after what an earlier worker has recorded."""
        self._numbers = itertools.count(1 + max((step.number for step in left.steps), default=0))
        self._rows = itertools.count(left.rows + 1)
        self._told = dict(left.told)

    async def show(self) -> None:
        """Record the log as it is, unless there is more of it already."""
        if len(self.logged) >= self.shown_before:
            values = {"log": list(self.logged), "progress": self.progressed}
            await self._written(Change.progress(self.task_id, **values))

    def forget(self) -> None:
        """The task's end is recorded: nothing of it needs to stay on the login node."""
        if self.keeping is not None:
            for keep in self.keeping.kept.values():
                if keep.may_be_started:
                    self.session.forget(keep)

    async def end_left(self, step: Step) -> str:
        """End a step that an earlier worker has left, unless it has ended; tell which."""
        assert self.keeping is not None and step.step_id is not None
        values: dict[str, Any] = {}
        keep = self.keeping.keep(step.step_id, step)
        try:
            if step.step_id.startswith(NOT_DURABLE_PREFIX):
                raise ContactLost()
            raw = await self.session.end_durable(keep)
        except NeverStarted:
            said = "it was never started"
        except TaskCancelled as fault:
            said = "it was ended"
            said += "" if fault.details["ended"] else "; that it did could not be verified"
        except ResopError as fault:
            said = fault.message
        else:
            said = f"it had ended with exit code {raw.exit_code}"
            seconds = (now() - step.started_at).total_seconds()
            values = {"exit_code": raw.exit_code, "seconds": seconds}
        self._note_step(step.number, **(values or {"error": said}))
        return said

    def close(self) -> None:
        """The task has ended: its end is recorded with all of its log."""
        self._closed = True

    async def _run_recorded(self, step: StepRequest) -> Result:
        """Run one step of an operation and keep what it answered."""
        self._stay()
        name, earlier = await self._earlier(
            step, prefix=NOT_DURABLE_PREFIX if step.secret_output else ""
        )
        if earlier is not None and (known := self._known(earlier, step)) is not None:
            self.session.forget(DurableStep(name or "", needs_tombstone=True))
            return known
        recorded = self._recorded(step.display, step.undo, keep=name, earlier=earlier)
        async with recorded as (number, ended):
            result = await self.run_bare(step, number, name, earlier)
            stdout, stderr = self._kept(result.stdout), self._kept(result.stderr)
            ended.update(
                seconds=result.seconds,
                exit_code=result.exit_code,
                stdout=MASK if step.secret_output else stdout,
                stderr=stderr,
                truncated=result.truncated or len(result.stdout) > OUTPUT_LIMIT,
                forget=not step.raw and is_exact(stdout, stderr),
            )
        if step.undo:
            self._undone(step, result)
        return result

    @contextlib.asynccontextmanager
    async def _recorded(
        self, shown: str, undo: bool = False, *, keep: str | None, earlier: Step | None
    ) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """Write a step down before it is sent and when it has ended, with what is put in here.

        Gives its number, and what to put it in.

        Where steps survive it is sent only when that is written: what is not in the record was
        not sent. An `earlier` worker has written it down already.
        """
        number = earlier.number if earlier is not None else next(self._numbers)
        began = time.monotonic()
        if earlier is None:
            await self._note_begun(
                Step(
                    task=self.task_id,
                    number=number,
                    command=self.masker.text(shown),
                    undo=undo,
                    log_lines=len(self.logged),
                    started_at=now(),
                    step_id=keep,
                )
            )
        values: dict[str, Any] = {}
        try:
            yield number, values
        except ResopError as fault:
            self._note_step(number, error=self.masker.text(fault.message))
            raise
        values = {"seconds": time.monotonic() - began, **values}
        forget = values.pop("forget", False)
        if earlier is None or earlier.seconds is None:
            if self.keeping is not None and keep in self.keeping.kept and forget:
                self._note_and_forget(number, self.keeping.kept.pop(keep), values)
            else:
                self._note_step(number, **values)

    async def _earlier(
        self, step: StepRequest, content: bytes = b"", prefix: str = ""
    ) -> tuple[str | None, Step | None]:
        """What a step is called, where it survives, and what an earlier worker wrote of it."""
        if self.keeping is None:
            return None, None
        self.masker.learn(step.secrets)
        name = prefix + self.keeping.names.of(step, content)
        return name, await self.keeping.earlier(name)

    def _known(self, earlier: Step, step: StepRequest) -> Result | None:
        """What a step has answered to an earlier worker; None where it is to be found."""
        if step.secret_output:
            raise cannot_answer(earlier)
        if earlier.seconds is None and earlier.error is None:
            return None
        known = answer_again(earlier, step)
        if known is not None and step.undo:
            self._undone(step, known)
        return known

    async def _note_begun(self, begun: Step) -> None:
        change = Change.step_begun(begun)
        if begun.step_id is None:
            self.recorder.write_soon(change)
        else:
            await self._written(change)

    async def _written(self, change: Change) -> None:
        await asyncio.shield(asyncio.wrap_future(self.recorder.write_now(change)))

    def _note_and_forget(self, number: int, keep: DurableStep, values: dict[str, Any]) -> None:
        """Write down how a step has ended; then nobody needs to find it any more."""
        written = self._note_step(number, **values)
        forget = partial(self.loop.call_soon_threadsafe, self.session.forget, keep)
        written.add_done_callback(lambda _: forget())

    async def run_bare(
        self,
        step: StepRequest,
        number: int = 0,
        name: str | None = None,
        earlier: Step | None = None,
    ) -> Result:
        """Run one step without a record of its own, or find it.

        `number` is what its output is recorded with while it runs; 0 for a command's only step.
        """
        self.masker.learn(step.secrets)
        shown = self.masker.text(step.display)
        try:
            with self._heard(step, number) as heard:
                raw = await self._send(step, heard, name, earlier)
        except ResopError as fault:
            fault.details.setdefault("step", {"command": shown})
            raise
        return Result(
            "" if step.raw else self._decoded(raw.stdout, step),
            self._decoded(raw.stderr, step),
            raw.exit_code,
            raw.seconds,
            raw.truncated,
            shown,
            raw.stdout if step.raw else b"",
        )

    def _decoded(self, output: bytes, step: StepRequest) -> str:
        """Output as text; where it was cut, without what may be the beginning of a secret."""
        text = output.decode("utf-8", "replace")
        if len(output) >= step.max_output:
            text = text.removesuffix(self.masker.so_far(text)[1])
        return text

    def _heard(self, step: StepRequest, number: int) -> OutputCapture:
        """Who hears what a step prints, of it what is going to be in the record."""
        streams = () if step.secret_output else (2,) if step.raw else (1, 2)
        write = partial(self._printed, number)
        return OutputCapture(write, self.masker, step.max_output, streams)

    def _printed(self, step: int, texts: list[tuple[int, str]]) -> Future[None]:
        """Record what a running step has printed."""
        rows = [
            StepOutput(
                task=self.task_id, number=next(self._rows), step=step, stream=stream, text=untold
            )
            for stream, text in texts
            if (untold := self._untold(step, stream, text))
        ]
        if rows:
            return self.recorder.write_now(Change.printed(self.task_id, rows))
        nothing: Future[None] = Future()
        nothing.set_result(None)
        return nothing

    def _untold(self, step: int, stream: int, text: str) -> str:
        """What an earlier worker has not told of it: a step that is found tells all of it again."""
        told = self._told.get((step, stream), 0)
        if told:
            self._told[step, stream] = max(0, told - len(text))
        return text[told:]

    async def run_command(self, step: StepRequest) -> Result:
        """Run a command's only step, whose record is its task's."""
        name = self.keeping.names.of(step) if self.keeping is not None else None
        return await self.run_bare(step, name=name)

    async def _send(
        self, step: StepRequest, heard: OutputCallback, name: str | None, earlier: Step | None
    ) -> RawResult:
        if (
            self.keeping is not None
            and name is not None
            and not name.startswith(NOT_DURABLE_PREFIX)
        ):
            keep = self.keeping.keep(name, earlier)
            try:
                return await self._send_to_survive(step, keep, heard)
            except NeverStarted:
                if earlier is None:
                    raise
                raise cannot_answer(earlier) from None
            except DurabilityUnavailable as fault:
                log.info("task %s: its steps do not survive: %s", self.task_id, fault.message)
                self.keeping = None
                # Before it is sent: else whoever takes the task up would send it once more.
                await self._written(Change.progress(self.task_id, resume_count=None))
        return await self.session.run(step, self._limit(step), heard)

    async def _send_to_survive(
        self, step: StepRequest, keep: DurableStep, heard: OutputCallback
    ) -> RawResult:
        self._stay()
        over = keep.may_be_started and not step.undo and time.monotonic() >= self.deadline
        if keep.may_be_started and self._cancelled and not step.undo:
            return await self._end_found(keep)
        limit = 0.0 if over else self._limit(step)
        running = asyncio.current_task()
        assert running is not None
        self._surviving[running] = keep
        try:
            return await self.session.run_durable(step, limit, keep, heard)
        except asyncio.CancelledError:
            if keep.handed_off:
                raise TaskHandedOff from None
            raise
        finally:
            del self._surviving[running]

    async def _end_found(self, keep: DurableStep) -> RawResult:
        try:
            return await self.session.end_durable(keep)
        except NeverStarted:
            said = "the task was cancelled; this step was not sent"
            raise TaskCancelled(said, ended=True) from None

    def register_undo(self, undo: StepRequest) -> None:
        """Record what would undo a step; returns when that is written."""
        self.masker.learn(undo.secrets)
        with self._undo_lock:
            self._to_undo.append(undo)
            if self.keeping is not None and self.keeping.recorded:
                return  # as an earlier worker has written it, before those steps
            written = self.recorder.write_now(self._left_to_undo())
        # Also when the task's time is over: what may have happened then is to be undone, too.
        patience = max(WRITE_SECONDS, self.deadline - time.monotonic())
        try:
            written.result(patience)
        except TimeoutError:
            raise StepTimedOut(
                "the task's time limit is reached: the database is away, and what would undo "
                "its next step could not be recorded"
            ) from None

    def _undone(self, step: StepRequest, result: Result) -> None:
        if result.exit_code == 0 and step in self._to_undo:
            self._to_undo.remove(step)
            self.recorder.write_soon(self._left_to_undo())

    def _left_to_undo(self) -> Change:
        left = [self.masker.text(step.display) for step in self._to_undo]
        return Change.progress(self.task_id, pending_undo=left)

    def log(self, text: str) -> None:
        """Add a line to the task's log; what exceeds 1 MiB is cut, and that is said."""
        text = self.masker.text(str(text))
        self._log_bytes += len(text.encode("utf-8", "replace"))
        if self._log_bytes <= LOG_BYTES:
            self.logged.append(text)
        elif self.logged[-1:] != ["(the log was cut here)"]:
            self.logged.append("(the log was cut here)")
        self._show()

    def progress(self, done: float, total: float) -> None:
        """Say how far the task is."""
        self.progressed = {"done": done, "total": total}
        self._show()

    def log_fault(self, trace: str) -> None:
        """Write a traceback to the worker's log, secrets masked."""
        log.error("task %s: %s", self.task_id, self.masker.text(trace))

    def put(self, content: bytes, path: str, mode: int | None, overwrite: bool) -> None:
        """Write a file beside its place, then rename it: complete, or not there at all."""
        shown = f"put {shlex.quote(path)}"
        self._wait(
            self._over_sftp(
                shown, lambda sftp: write_file(sftp, content, path, mode, overwrite), content
            )
        )

    def get(self, path: str, limit: int) -> File:
        """Read a file of at most `limit` bytes."""
        shown = f"get {shlex.quote(path)}"
        return self._wait(self._over_sftp(shown, lambda sftp: read_file(sftp, path, limit)))

    def put_folder(self, content: bytes, path: str, merge: bool) -> TransferStats:
        """Write a folder from a tar archive that was checked."""
        shown = f"put {shlex.quote(path)}/"
        return self._wait(
            self._over_sftp(shown, lambda sftp: write_folder(sftp, content, path, merge))
        )

    def get_folder(self, path: str, limit: int) -> bytes:
        """Read a folder as a tar archive of at most `limit` bytes."""
        shown = f"get {shlex.quote(path)}/"
        return self._wait(self._over_sftp(shown, lambda sftp: read_folder(sftp, path, limit)))

    def copy(self, source: str, target: str, overwrite: bool) -> TransferStats:
        """Copy on the cluster."""
        shown = f"copy {shlex.quote(source)} {shlex.quote(target)}"
        return self._wait(
            self._over_sftp(
                shown, lambda sftp: copy(sftp, source, target, overwrite, self.progress)
            )
        )

    async def _over_sftp(
        self,
        shown: str,
        work: Callable[[asyncssh.SFTPClient], Awaitable[Answer]],
        written: bytes | None = None,
    ) -> Answer:
        """Transfer a file as a step, within the task's time.

        What was read is not in the record, and a transfer under way does not survive.
        """
        self._stay()
        shown = f"sftp: {shown}"
        name, earlier = await self._earlier(
            StepRequest(shown, shown), written or b"", NOT_DURABLE_PREFIX
        )
        if earlier is not None:
            if written is None or earlier.seconds is None:
                raise cannot_answer(earlier)
            return cast(Answer, None)
        async with self._recorded(shown, keep=name, earlier=None):
            left = self._left()
            try:
                async with (
                    asyncio.timeout(left),
                    open_sftp(self.session, left) as sftp,
                ):
                    answer = await work(sftp)
            except TimeoutError:
                raise StepTimedOut("the transfer reached the task's time limit") from None
            except asyncio.CancelledError:
                raise TaskCancelled("the task was cancelled and its transfer was ended") from None
        return answer

    def _kept(self, output: str) -> str:
        """Output as it is recorded; an operation may have asked for more than is kept."""
        return self.masker.text(output)[:OUTPUT_LIMIT]

    def _wait(self, step: Coroutine[Any, Any, Answer]) -> Answer:
        """Run a coroutine on the worker's loop from an operation's thread."""
        return asyncio.run_coroutine_threadsafe(self._cancellable(step), self.loop).result()

    async def _cancellable(self, step: Coroutine[Any, Any, Answer]) -> Answer:
        running = asyncio.ensure_future(step)
        self._steps.add(running)
        try:
            return await running
        except asyncio.CancelledError:
            raise TaskCancelled("the task was cancelled; this step was not sent") from None
        finally:
            self._steps.discard(running)

    def _stay(self) -> None:
        if self._leaving:
            raise TaskHandedOff

    def _left(self) -> float:
        if self._cancelled:
            raise TaskCancelled("the task was cancelled; no further step was sent")
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise StepTimedOut("the task's time limit is reached: no further step was sent")
        return left

    def _limit(self, step: StepRequest) -> float:
        if step.undo:
            return step.timeout or UNDO_SECONDS
        left = self._left()
        return min(step.timeout or left, left)

    def _note_step(self, number: int, **values: Any) -> Future[None]:
        return self.recorder.write_soon(Change.step_ended(self.task_id, number, **values))

    def _show(self) -> None:
        """Let those who look at the running task see its log, once a second at most."""
        if not self._about_to_show:
            self._about_to_show = True
            wait = max(SHOWN_AFTER_SECONDS, self._shown_at + SHOW_SECONDS - time.monotonic())
            self.loop.call_soon_threadsafe(self.loop.call_later, wait, self._note_shown)

    def _note_shown(self) -> None:
        if self._closed:
            return
        # First: what is logged from now on is shown the next time.
        self._about_to_show = False
        self._shown_at = time.monotonic()
        if len(self.logged) < self.shown_before or (self.keeping and self.keeping.recorded):
            return  # what is in the record already is not told again
        values = {"log": list(self.logged), "progress": self.progressed}
        self.recorder.write_soon(Change.progress(self.task_id, **values))
