"""The fake shell of a test: answers the steps and calls that it expects, and refuses any other."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from resop.actions.catalog import Catalog
from resop.actions.command import Command
from resop.actions.executor import PastTask
from resop.actions.operation import Operation
from resop.actions.shell import Called, Item, Mapped, Shell
from resop.archives.entry import NEW_FILE_MODE, File, TransferStats, file_too_large
from resop.archives.validation import archive_stats
from resop.config.name_patterns import read_identities
from resop.errors import PathFailed, UnknownTask
from resop.limits import TRANSFER_LIMIT
from resop.security.identity import Identity
from resop.security.masking import Masker
from resop.steps.result import Result
from resop.steps.step import UNDO_SECONDS, StepRequest, step_request
from resop.steps.undo import UndoStep
from resop.testing.expected_call import ExpectedCall


class UnexpectedStep(AssertionError):
    """A step, a called operation or a file that the fake shell does not expect."""


@dataclass(slots=True)
class ExpectedStep:
    """A step that a fake shell expects, and its answer."""

    command: str
    """The command line as people see it, secrets masked."""
    stdout: str | bytes = ""
    stderr: str = ""
    exit_code: int = 0
    input: str | None = None
    """The complete standard input; None for a step without input."""
    raises: Exception | None = None
    """An error to raise instead of an answer: StepTimedOut, ContactLost, …"""

    def __str__(self) -> str:
        return self.command


@dataclass(slots=True)
class FakeExecutor:
    """A StepExecutor that answers the expected steps in order, and refuses any other."""

    expected: list[ExpectedStep | ExpectedCall] = field(default_factory=list)
    masker: Masker = field(default_factory=Masker)
    log_lines: list[str] = field(default_factory=list)
    progress_reports: list[tuple[float, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """The tracebacks of mistakes in the operation's code."""
    files: dict[str, File | PathFailed] = field(default_factory=dict)
    """The files on the fake cluster by path, or the error of a path; folders are tar archives."""
    ended_logins: dict[str, str | None] = field(default_factory=dict)
    """The users whose logins were ended, each with the reason of the block, if there is one."""
    allowed_logins: list[str] = field(default_factory=list)
    """The users who may log in again."""
    failed_tasks: dict[str, list[str]] = field(default_factory=dict)
    """The command lines of the undo steps that failed tasks have left, by the task's id."""
    refused: UnexpectedStep | None = None
    """The first refusal, which an operation cannot hide by catching it."""

    def run(self, step: StepRequest) -> Result:
        """Answer the next expected step. Raises UnexpectedStep for any other."""
        try:
            return self._answer(step)
        except UnexpectedStep as refusal:
            self.refuse(refusal)
            raise

    def refuse(self, refusal: UnexpectedStep) -> UnexpectedStep:
        """Record a refusal and return it, to be raised."""
        self.refused = self.refused or refusal
        return refusal

    def _answer(self, step: StepRequest) -> Result:
        stdin = step.input.decode("utf-8", "backslashreplace") if step.input is not None else None
        self.masker.learn(step.secrets)
        command = self.masker.text(step.display)
        if not self.expected:
            raise UnexpectedStep(f"no step was expected, got: {command}")
        expected = self.expected[0]
        if isinstance(expected, ExpectedCall):
            raise UnexpectedStep(f"expected: {expected}\ngot:      {command!r}")
        if (command, stdin) != (expected.command, expected.input):
            raise UnexpectedStep(
                f"expected: {expected.command!r} with input {expected.input!r}\n"
                f"got:      {command!r} with input {stdin!r}"
            )
        del self.expected[0]
        if expected.raises is not None:
            raise expected.raises
        stdout = expected.stdout
        output = stdout.encode() if isinstance(stdout, str) else stdout
        truncated = len(output) > step.max_output
        output = output[: step.max_output]
        text, raw = ("", output) if step.raw else (output.decode("utf-8", "replace"), b"")
        return Result(text, expected.stderr, expected.exit_code, 0.0, truncated, command, raw)

    def record_undo(self, steps: Sequence[UndoStep]) -> None:
        """Ignore the undo steps: a test does not die before its operation."""

    def update_undo(self, steps: Sequence[UndoStep], *, sending: bool = False) -> None:
        """Ignore the undo steps: a test does not die before its operation."""

    def take_over_undo(
        self, task: str, identity: Identity, is_administrator: bool
    ) -> tuple[list[UndoStep], list[str]]:
        """Return the undo steps of a failed task of the test. Raises UnknownTask."""
        if task not in self.failed_tasks:
            raise UnknownTask(f"there is no task {task!r}")
        lines = self.failed_tasks.pop(task)
        return [_undo_step(line) for line in lines], []

    def log(self, text: str) -> None:
        """Record a log line."""
        self.log_lines.append(self.masker.text(text))

    def progress(self, done: float, total: float) -> None:
        """Record a progress report."""
        self.progress_reports.append((done, total))

    def log_fault(self, trace: str) -> None:
        """Record a traceback."""
        self.faults.append(self.masker.text(trace))

    def put(self, content: bytes, path: str, mode: int | None, overwrite: bool) -> None:
        """Store a file."""
        existing = self.files.get(path)
        if isinstance(existing, PathFailed) and existing.details["reason"] != "missing":
            raise existing
        if isinstance(existing, File) and not overwrite:
            raise PathFailed(path, "exists")
        if mode is None:
            mode = existing.mode if isinstance(existing, File) else NEW_FILE_MODE
        self.files[path] = File(content, mode)

    def get(self, path: str, limit: int) -> File:
        """Return a stored file. Raises UnexpectedStep for a path that the test did not set."""
        if path not in self.files:
            raise self.refuse(UnexpectedStep(f"no such file was expected: {path}"))
        file = self.files[path]
        if isinstance(file, PathFailed):
            raise file
        if len(file.content) > limit:
            raise file_too_large(path, limit)
        return file

    def put_folder(self, content: bytes, path: str, merge: bool) -> TransferStats:
        """Store a folder as its archive."""
        if merge and path not in self.files:
            raise PathFailed(path, "missing")
        self.put(content, path, None, overwrite=merge)
        return archive_stats(content)

    def get_folder(self, path: str, limit: int) -> bytes:
        """Return the archive of a stored folder."""
        return self.get(path, limit).content

    def copy(self, source: str, target: str, overwrite: bool) -> TransferStats:
        """Copy a stored file; a folder counts as one file."""
        file = self.get(source, TRANSFER_LIMIT)
        self.put(file.content, target, file.mode, overwrite)
        return TransferStats(1, len(file.content))


def _undo_step(line: str) -> UndoStep:
    return UndoStep(step_request(shlex.split(line), None, UNDO_SECONDS, undo=True), line)


@dataclass(slots=True)
class FakeContext:
    """A ShellContext with the test's settings and, if there is one, the commands of a catalog."""

    settings: Mapping[str, str]
    catalog: Catalog | None
    executor: FakeExecutor
    tasks: Sequence[PastTask] = ()
    """The user's past tasks, newest first."""

    def command(self, operator: str, name: str) -> Command:
        """Return a declared command of the catalog."""
        if self.catalog is None:
            refusal = UnexpectedStep(f"FakeShell(catalog=…) is needed to find the command {name!r}")
            raise self.executor.refuse(refusal)
        return self.catalog.command(operator, name)

    def operation(self, operator: str, name: str) -> Operation[..., Any]:
        """Return an operation of the catalog."""
        if self.catalog is None:
            refusal = UnexpectedStep(
                f"FakeShell(catalog=…) is needed to find the operation {name!r}"
            )
            raise self.executor.refuse(refusal)
        return self.catalog.operation(operator, name)

    def setting(
        self, name: str, operator: str, cluster: str, *, secret: bool = False
    ) -> str | None:
        """Return a setting of the test."""
        return self.settings.get(name)

    def is_administrator(self, identity: Identity) -> bool:
        """Return True if the test's setting ADMINISTRATORS lists the user."""
        names = self.settings.get("ADMINISTRATORS", "")
        return identity in read_identities(names, [identity.cluster])

    def past_tasks(
        self,
        identity: Identity,
        actions: Sequence[tuple[str, str]],
        since: datetime | None,
        until: datetime | None,
    ) -> Iterator[PastTask]:
        """Yield the test's past tasks of these actions that started in this time."""
        for task in self.tasks:
            is_within = (since is None or since <= task.started) and (
                until is None or task.started < until
            )
            if task.action in [name for _, name in actions] and is_within:
                yield task

    def end_logins(self, username: str, cluster: str, by: str, block: str | None) -> int:
        """Record whose logins were ended; nobody was logged in."""
        ended = self.executor.ended_logins
        ended[username] = ended.get(username) if block is None else block
        return 0

    def allow_logins(self, username: str, cluster: str, by: str) -> bool:
        """Record who may log in again."""
        self.executor.allowed_logins.append(username)
        return True


class FakeShell(Shell):
    """A Shell for tests, which answers expected steps and refuses any other.

        shell = FakeShell(username="ada", settings={"QUEUE": "debug"})
        shell.expect("sbatch --parsable job.sh", stdout="17\\n")
        shell.expect("rm job.sh", stderr="rm: job.sh: Permission denied", exit_code=1)
        shell.fake.files["job.sh"] = File(b"#!/bin/sh")
        answer = submit(shell, path="job.sh")
        shell.finished()
        assert shell.fake.log_lines == ["submitted as job 17"]

    `command()` needs a `catalog`, from `resop.actions.catalog.load_catalog`.
    """

    fake: FakeExecutor

    def __init__(
        self,
        *,
        username: str = "ada",
        cluster: str = "test",
        operator: str = "",
        settings: Mapping[str, str] | None = None,
        catalog: Catalog | None = None,
        past_tasks: Sequence[PastTask] = (),
    ) -> None:
        self.fake = FakeExecutor()
        context = FakeContext(settings or {}, catalog, self.fake, past_tasks)
        super().__init__(username, cluster, self.fake, context, operator)

    def expect(
        self,
        command: str,
        *,
        stdout: str | bytes = "",
        stderr: str = "",
        exit_code: int = 0,
        input: str | None = None,
        raises: Exception | None = None,
    ) -> FakeShell:
        """Expect a step and set its answer; returns the shell, for the next `expect`.

        `command` is the line as people see it, with secrets as `********`.
        """
        self.fake.expected.append(ExpectedStep(command, stdout, stderr, exit_code, input, raises))
        return self

    def expect_call(
        self,
        operation: str,
        options: Mapping[str, Any] | None = None,
        *,
        output: Any = None,
        raises: Exception | None = None,
        undo: Sequence[str] = (),
    ) -> FakeShell:
        """Expect that an operation is called, and answer in its place; returns the shell.

            shell.expect_call("ldap:create_group", {"name": "ice"}, output={"name": "ice", …})

        `options` are the ones that the call names; `output` is the answer as JSON, which must have
        the operation's return type. `undo` are the command lines that the called operation
        registers with `on_failure`.
        """
        call = ExpectedCall(operation, dict(options or {}), output, raises, undo)
        self.fake.expected.append(call)
        return self

    def call_operation(
        self, title: str, function: Callable[..., Called], /, *args: Any, **kwargs: Any
    ) -> Called:
        """Answer an expected call; run any other operation, whose steps must be expected then."""
        expected = self.fake.expected[0] if self.fake.expected else None
        if not isinstance(expected, ExpectedCall) or not expected.is_of(title):
            return super().call_operation(title, function, *args, **kwargs)
        del self.fake.expected[0]
        if fault := expected.fault(function, self, args, kwargs):
            raise self.fake.refuse(UnexpectedStep(fault))
        for line in expected.undo:
            self.on_failure(*shlex.split(line))
        if expected.raises is not None:
            raise expected.raises
        answer: Called = expected.answer(function)
        return answer

    def map(
        self, function: Callable[[Item], Mapped], items: Iterable[Item], *, at_once: int = 5
    ) -> list[Mapped]:
        """Call `function` for one item after the other, so that the steps have a known order."""
        return [function(item) for item in items]

    def finished(self) -> None:
        """Raise AssertionError if a step was refused, or an expected step or call did not come."""
        if self.fake.refused is not None:
            raise self.fake.refused
        remaining = [str(each) for each in self.fake.expected]
        assert not remaining, f"steps that did not come: {remaining}"
