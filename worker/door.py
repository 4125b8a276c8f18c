"""The worker's door: where a task's steps leave to the login node, recorded and masked."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import shlex
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import asyncssh

from resop.errors import ResopError, StepTimedOut, TaskCancelled
from resop.files import File, read_file, write_file
from resop.limits import OUTPUT_LIMIT
from resop.masking import Masker
from resop.records import Change, Output, Step, now
from resop.sessions import Session
from resop.sftp import sftp_of
from resop.step import UNDO_SECONDS, Result, StepRequest
from resop.types import MASK
from worker.heard import Heard
from worker.recorder import Recorder

log = logging.getLogger(__name__)

LOG_BYTES = 1 << 20
SHOW_SECONDS = 1.0
WRITE_SECONDS = 5.0

Answer = TypeVar("Answer")


@dataclass(slots=True)
class WorkerDoor:
    """One task's way to the login node. `run`, `put` and `get` block the calling thread."""

    task_id: str
    session: Session
    recorder: Recorder
    masker: Masker
    loop: asyncio.AbstractEventLoop
    deadline: float
    """When the task's own time is over (time.monotonic)."""
    logged: list[str] = field(default_factory=list)
    progressed: dict[str, float] | None = None
    _steps: set[asyncio.Task[Any]] = field(default_factory=set)
    _cancelled: bool = False
    _closed: bool = False
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _rows: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
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

    def close(self) -> None:
        """The task has ended: its end is recorded with all of its log."""
        self._closed = True

    async def _run_recorded(self, step: StepRequest) -> Result:
        """Run one step of an operation and keep what it answered."""
        with self._recorded(step.shown, step.undo) as (number, ended):
            result = await self.run_bare(step, number)
            ended.update(
                seconds=result.seconds,
                exit_code=result.exit_code,
                stdout=MASK if step.secret_output else self._kept(result.stdout),
                stderr=self._kept(result.stderr),
                truncated=result.truncated or len(result.stdout) > OUTPUT_LIMIT,
            )
        if step.undo:
            self._undone(step, result)
        return result

    @contextlib.contextmanager
    def _recorded(self, shown: str, undo: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
        """Write a step down before it is sent and when it has ended, with what is put in here.

        Gives its number, and what to put it in.
        """
        number, began = next(self._numbers), time.monotonic()
        begun = Step(
            task=self.task_id,
            number=number,
            command=self.masker.text(shown),
            undo=undo,
            log_lines=len(self.logged),
            started_at=now(),
        )
        self.recorder.note(Change.step_begun(begun))
        values: dict[str, Any] = {}
        try:
            yield number, values
        except ResopError as fault:
            self._note_step(number, error=self.masker.text(fault.message))
            raise
        self._note_step(number, **{"seconds": time.monotonic() - began, **values})

    async def run_bare(self, step: StepRequest, number: int = 0) -> Result:
        """Run one step without a record of its own: a command's only step is its task.

        `number` is what its output is recorded with while it runs.
        """
        self.masker.learn(step.secrets)
        shown = self.masker.text(step.shown)
        try:
            limit = self._limit(step)
            with self._heard(step, number) as heard:
                raw = await self.session.run(
                    step.line, step.input, limit, step.max_output, step.program, heard
                )
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

    def _heard(self, step: StepRequest, number: int) -> Heard:
        """Who hears what a step prints, of it what is going to be in the record."""
        streams = () if step.secret_output else (2,) if step.raw else (1, 2)
        write = partial(self._printed, number)
        return Heard(write, self.masker, step.max_output, streams)

    def _printed(self, step: int, texts: list[tuple[int, str]]) -> Future[None]:
        """Record what a running step has printed."""
        rows = [
            Output(task=self.task_id, number=number, step=step, stream=stream, text=text)
            for (stream, text), number in zip(texts, self._rows, strict=False)
        ]
        return self.recorder.write(Change.printed(self.task_id, rows))

    def registered(self, undo: StepRequest) -> None:
        """Record what would undo a step; returns when that is written."""
        self.masker.learn(undo.secrets)
        with self._undo_lock:
            self._to_undo.append(undo)
            written = self.recorder.write(self._left_to_undo())
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
            self.recorder.note(self._left_to_undo())

    def _left_to_undo(self) -> Change:
        left = [self.masker.text(step.shown) for step in self._to_undo]
        return Change.progress(self.task_id, to_undo=left)

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

    def fault(self, trace: str) -> None:
        """Write a traceback to the worker's log, secrets masked."""
        log.error("task %s: %s", self.task_id, self.masker.text(trace))

    def put(self, content: bytes, path: str, mode: int | None, overwrite: bool) -> None:
        """Write a file beside its place, then rename it: complete, or not there at all."""
        self._wait(
            self._over_sftp(
                f"put {shlex.quote(path)}",
                lambda sftp: write_file(sftp, content, path, mode, overwrite),
            )
        )

    def get(self, path: str, limit: int) -> File:
        """Read a file of at most `limit` bytes."""
        shown = f"get {shlex.quote(path)}"
        return self._wait(self._over_sftp(shown, lambda sftp: read_file(sftp, path, limit)))

    async def _over_sftp(
        self, shown: str, work: Callable[[asyncssh.SFTPClient], Awaitable[Answer]]
    ) -> Answer:
        """Transfer a file as a step, within the task's time."""
        with self._recorded(f"sftp: {shown}"):
            left = self._left()
            try:
                async with (
                    asyncio.timeout(left),
                    sftp_of(self.session, left) as sftp,
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

    def _note_step(self, number: int, **values: Any) -> None:
        self.recorder.note(Change.step_ended(self.task_id, number, **values))

    def _show(self) -> None:
        """Let those who look at the running task see its log, once a second at most."""
        if not self._about_to_show:
            self._about_to_show = True
            wait = max(0.0, self._shown_at + SHOW_SECONDS - time.monotonic())
            self.loop.call_soon_threadsafe(self.loop.call_later, wait, self._note_shown)

    def _note_shown(self) -> None:
        if self._closed:
            return
        # First: what is logged from now on is shown the next time.
        self._about_to_show = False
        self._shown_at = time.monotonic()
        values = {"log": list(self.logged), "progress": self.progressed}
        self.recorder.note(Change.progress(self.task_id, **values))
