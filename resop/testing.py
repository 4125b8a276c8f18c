"""Test operations without a cluster: a fake shell with expected steps, and scenario files.

In a Python test:

    from operators.mysite.operations.free import free
    from resop.testing import FakeShell

    def test_free_reports_each_line() -> None:
        shell = FakeShell().expect("df -h /scratch", stdout="Filesystem Size\\n/dev/sda1 1T\\n")
        assert free(shell, folder="/scratch") == ["Filesystem Size", "/dev/sda1 1T"]
        shell.finished()

As a scenario, in `operators/mysite/tests/free.yml`::

    - name: reports each line
      options: {folder: /scratch}
      steps: [{command: df -h /scratch, stdout: "/dev/sda1 1T\\n"}]
      output: [/dev/sda1 1T]
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from resop.actions.catalog import Action, Catalog
from resop.actions.command import Command
from resop.actions.dry_run import perform_dry_run
from resop.actions.execute import ActionOutcome, perform_command, perform_operation
from resop.actions.executor import PastTask
from resop.actions.operation import Operation
from resop.actions.options import check_options
from resop.actions.shell import Item, Mapped, Shell
from resop.archives.entry import NEW_FILE_MODE, File, TransferStats, file_too_large
from resop.archives.validation import archive_stats
from resop.config.name_patterns import read_identities
from resop.config.yaml_loader import InvalidYaml, read_yaml
from resop.errors import InvalidOptions, PathFailed, UnknownTask
from resop.limits import TRANSFER_LIMIT
from resop.security.identity import Identity
from resop.security.masking import Masker, secrets_in
from resop.steps.result import Result
from resop.steps.step import UNDO_SECONDS, StepRequest, step_request
from resop.steps.undo import UndoStep


class UnexpectedStep(AssertionError):
    """A step, or a file, that the fake shell does not expect."""


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


@dataclass(slots=True)
class FakeExecutor:
    """A StepExecutor that answers the expected steps in order, and refuses any other."""

    expected: list[ExpectedStep] = field(default_factory=list)
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

    def map(
        self, function: Callable[[Item], Mapped], items: Iterable[Item], *, at_once: int = 5
    ) -> list[Mapped]:
        """Call `function` for one item after the other, so that the steps have a known order."""
        return [function(item) for item in items]

    def finished(self) -> None:
        """Raise AssertionError if a step was refused or an expected step did not come."""
        if self.fake.refused is not None:
            raise self.fake.refused
        remaining = [step.command for step in self.fake.expected]
        assert not remaining, f"steps that did not come: {remaining}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One case of a scenario file: options and steps, and the answer that they must give."""

    file: Path
    name: str
    options: dict[str, Any]
    steps: list[dict[str, Any]]
    """Arguments of `FakeShell.expect`, in order."""
    settings: dict[str, str]
    username: str
    files: dict[str, Any]
    """Files by path: the content, `{content, mode}`, or `{reason}` for a path that fails."""
    past_tasks: list[dict[str, Any]]
    """The user's tasks that succeeded, newest first: `action`, `options`, `output`, `started` and
    `ended`."""
    failed_tasks: dict[str, list[str]]
    """The command lines of the undo steps that failed tasks have left, by the task's id."""
    dry_run: bool
    """True to play it as a dry run: `steps` are the reading ones."""
    answer: dict[str, Any]
    """Any of `output`, `log`, `error`, `undone`, `needs_repair`, `written` (files like `files`,
    which the operation must have written), `ended_logins` (the reason of the block, or null, by
    user), `allowed_logins` (users), `invalid` (the invalid options), and for a dry run `plan` (each
    change in words, or its command line if it has none)."""


ANSWER_KEYS = {
    *("output", "log", "error", "undone", "needs_repair", "written", "invalid"),
    *("ended_logins", "allowed_logins", "plan"),
}
SCENARIO_KEYS = ANSWER_KEYS | {
    *("name", "options", "steps", "settings", "username", "files", "past_tasks"),
    *("failed_tasks", "dry_run"),
}


def read_scenarios(file: Path) -> list[Scenario]:
    """Read the scenarios of a YAML file.

    Raises ValueError for what is not YAML, for an unknown key, and for a scenario that expects
    nothing.
    """
    try:
        cases, _ = read_yaml(file)
    except InvalidYaml as fault:
        raise ValueError(f"{file}:{fault}") from None
    scenarios = []
    for case in cases:
        if unknown := set(case) - SCENARIO_KEYS:
            raise ValueError(f"{file}: {case.get('name')}: unknown keys {sorted(unknown)}")
        answer = {key: case[key] for key in ANSWER_KEYS & set(case)}
        if not answer and not case.get("steps"):
            raise ValueError(f"{file}: {case.get('name')}: it expects nothing, so it tests nothing")
        scenarios.append(
            Scenario(
                file,
                case["name"],
                case.get("options", {}),
                case.get("steps", []),
                case.get("settings", {}),
                case.get("username", "ada"),
                case.get("files", {}),
                case.get("past_tasks", []),
                case.get("failed_tasks", {}),
                case.get("dry_run", False),
                answer,
            )
        )
    return scenarios


def play(scenario: Scenario, action: Action, catalog: Catalog) -> None:
    """Run a scenario on a fake shell. Raises AssertionError where the answer differs."""
    options = _validate_options(scenario, action)
    if options is None:
        return
    shell = FakeShell(
        username=scenario.username,
        operator=action.operator,
        settings=scenario.settings,
        catalog=catalog,
        past_tasks=[_parse_task(**each) for each in scenario.past_tasks],
    )
    shell.fake.masker = Masker(secrets_in(options))
    shell.fake.files = _parse_files(scenario.files)
    shell.fake.failed_tasks = dict(scenario.failed_tasks)
    for step in scenario.steps:
        shell.expect(**step)
    if isinstance(action, Operation) and scenario.dry_run:
        outcome = perform_dry_run(action, shell, options, shell.fake.masker)
    elif isinstance(action, Operation):
        outcome = perform_operation(action, shell, options)
    else:
        outcome = perform_command(action, shell.fake, options)
    shell.finished()
    _compare(scenario, outcome, shell)


def _parse_files(files: Mapping[str, Any]) -> dict[str, File | PathFailed]:
    return {
        path: _parse_file(path, file if isinstance(file, dict) else {"content": file})
        for path, file in files.items()
    }


def _parse_file(path: str, file: Mapping[str, Any]) -> File | PathFailed:
    if "reason" in file:
        return PathFailed(path, file["reason"])
    content = file["content"]
    mode = int(file["mode"], 8) if "mode" in file else NEW_FILE_MODE
    return File(content.encode() if isinstance(content, str) else content, mode)


def _parse_task(*, started: str, ended: str, **recorded: Any) -> PastTask:
    times = (datetime.fromisoformat(each) for each in (started, ended))
    return PastTask(recorded["action"], recorded["options"], recorded["output"], *times)


def _validate_options(scenario: Scenario, action: Action) -> Any:
    """Return the validated options, or None if the scenario expects them to be refused."""
    try:
        options = check_options(action.options, scenario.options)
        if isinstance(action, Command):
            action.invocation(options)
    except InvalidOptions as error:
        faults: Sequence[Mapping[str, str]] = error.details["faults"]
    else:
        assert "invalid" not in scenario.answer, "the options were expected to be refused"
        return options
    fields = sorted({fault["field"] for fault in faults})
    assert fields == sorted(scenario.answer.get("invalid", [])), f"refused: {faults}"
    return None


def _compare(scenario: Scenario, outcome: ActionOutcome, shell: FakeShell) -> None:
    mask = shell.fake.masker.json  # a worker masks everything that it records
    if scenario.dry_run:
        changes = [step for step in outcome.output["plan"] if step["changes"]]
        outcome.output = outcome.output["output"]
        plan = [step["summary"] or step["command"] for step in changes]
        assert plan == scenario.answer.get("plan", []), f"plan: {plan!r}"
    _compare_error(scenario.answer.get("error"), mask(outcome.error_json()))
    actual = {
        "output": mask(outcome.output),
        "log": shell.fake.log_lines,
        "undone": mask(outcome.undone),
        "needs_repair": mask(outcome.needs_repair),
        "ended_logins": shell.fake.ended_logins,
        "allowed_logins": shell.fake.allowed_logins,
    }
    for key, value in actual.items():
        if key in scenario.answer:
            assert value == scenario.answer[key], f"{key}: {value!r} != {scenario.answer[key]!r}"
    for path, expected in _parse_files(scenario.answer.get("written", {})).items():
        file = shell.fake.files.get(path)
        assert file == expected, f"written: {path}: {file!r} != {expected!r}"


def _compare_error(expected: Mapping[str, Any] | None, error: Mapping[str, Any] | None) -> None:
    """Compare the keys of the expected error only."""
    if expected is None:
        assert error is None, f"failed: {error}"
    else:
        assert error is not None, "it was expected to fail"
        actual = {key: error.get(key) for key in expected}
        assert actual == expected, f"error: {actual!r} != {expected!r}"
