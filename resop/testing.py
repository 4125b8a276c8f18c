"""A fake shell for authors: it answers what it was told, and refuses what it was not told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from resop.actions.catalog import Action, Catalog
from resop.actions.command import Command
from resop.actions.execute import ActionOutcome, perform_command, perform_operation
from resop.actions.operation import Operation
from resop.actions.options import check_options
from resop.actions.shell import Item, Mapped, Shell
from resop.archives.entry import NEW_FILE_MODE, File, TransferStats, file_too_large
from resop.archives.validation import archive_stats
from resop.errors import InvalidOptions, PathFailed
from resop.limits import TRANSFER_LIMIT
from resop.security.masking import Masker, secrets_in
from resop.steps.result import Result
from resop.steps.step import StepRequest


class UnexpectedStep(AssertionError):
    """A step that the fake shell was not told about."""


@dataclass(slots=True)
class Expected:
    """A step that is to come, and what it answers."""

    command: str
    stdout: str | bytes = ""
    stderr: str = ""
    exit_code: int = 0
    input: str | None = None
    """Its whole standard input; None when it has none."""
    raises: Exception | None = None
    """Raised instead of answering: StepTimedOut, ContactLost, …"""


@dataclass(slots=True)
class FakeExecutor:
    """Answers steps in the order in which they were told."""

    expected: list[Expected] = field(default_factory=list)
    masker: Masker = field(default_factory=Masker)
    logged: list[str] = field(default_factory=list)
    progressed: list[tuple[float, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    files: dict[str, File | PathFailed] = field(default_factory=dict)
    """What `get` finds at a path and `put` leaves there, or why it fails; a folder's archive."""
    refused: UnexpectedStep | None = None
    """The first refusal: kept, since an operation may catch what it raises."""

    def run(self, step: StepRequest) -> Result:
        """Answer the next expected step; UnexpectedStep for any other."""
        try:
            return self._answer(step)
        except UnexpectedStep as refusal:
            self.refuse(refusal)
            raise

    def refuse(self, refusal: UnexpectedStep) -> UnexpectedStep:
        """Keep a refusal, and give it back to be raised."""
        self.refused = self.refused or refusal
        return refusal

    def _answer(self, step: StepRequest) -> Result:
        given = step.input.decode("utf-8", "backslashreplace") if step.input is not None else None
        self.masker.learn(step.secrets)
        shown = self.masker.text(step.display)
        if not self.expected:
            raise UnexpectedStep(f"no step was expected, got: {shown}")
        wanted = self.expected[0]
        if (shown, given) != (wanted.command, wanted.input):
            raise UnexpectedStep(
                f"expected: {wanted.command!r} with input {wanted.input!r}\n"
                f"got:      {shown!r} with input {given!r}"
            )
        del self.expected[0]
        if wanted.raises is not None:
            raise wanted.raises
        printed = wanted.stdout.encode() if isinstance(wanted.stdout, str) else wanted.stdout
        kept, cut = printed[: step.max_output], len(printed) > step.max_output
        text, raw = ("", kept) if step.raw else (kept.decode("utf-8", "replace"), b"")
        return Result(text, wanted.stderr, wanted.exit_code, 0.0, cut, shown, raw)

    def register_undo(self, undo: StepRequest) -> None:
        """Nothing: a test's shell does not die before its operation."""

    def log(self, text: str) -> None:
        """Keep a log line."""
        self.logged.append(self.masker.text(text))

    def progress(self, done: float, total: float) -> None:
        """Keep a progress report."""
        self.progressed.append((done, total))

    def log_fault(self, trace: str) -> None:
        """Keep a traceback."""
        self.faults.append(self.masker.text(trace))

    def put(self, content: bytes, path: str, mode: int | None, overwrite: bool) -> None:
        """Keep a file."""
        before = self.files.get(path)
        if isinstance(before, PathFailed) and before.details["reason"] != "missing":
            raise before
        if isinstance(before, File) and not overwrite:
            raise PathFailed(path, "exists")
        if mode is None:
            mode = before.mode if isinstance(before, File) else NEW_FILE_MODE
        self.files[path] = File(content, mode)

    def get(self, path: str, limit: int) -> File:
        """Give a kept file."""
        if path not in self.files:
            raise self.refuse(UnexpectedStep(f"no such file was told: {path}"))
        found = self.files[path]
        if isinstance(found, PathFailed):
            raise found
        if len(found.content) > limit:
            raise file_too_large(path, limit)
        return found

    def put_folder(self, content: bytes, path: str, merge: bool) -> TransferStats:
        """Keep a folder as its archive, which stands for all that is in it."""
        if merge and path not in self.files:
            raise PathFailed(path, "missing")
        self.put(content, path, None, overwrite=merge)
        return archive_stats(content)

    def get_folder(self, path: str, limit: int) -> bytes:
        """Give what is kept: the folder's archive."""
        return self.get(path, limit).content

    def copy(self, source: str, target: str, overwrite: bool) -> TransferStats:
        """Copy what is kept; a folder counts as one file."""
        file = self.get(source, TRANSFER_LIMIT)
        self.put(file.content, target, file.mode, overwrite)
        return TransferStats(1, len(file.content))


@dataclass(slots=True)
class FakeContext:
    """Settings given by the test; commands from a catalog, where one is given."""

    settings: Mapping[str, str]
    catalog: Catalog | None
    door: FakeExecutor

    def command(self, operator: str, name: str) -> Command:
        """Find a declared command."""
        if self.catalog is None:
            lack = UnexpectedStep(f"the fake shell was given no catalog to find {name!r} in")
            raise self.door.refuse(lack)
        return self.catalog.command(operator, name)

    def setting(self, name: str, operator: str) -> str | None:
        """A setting given by the test."""
        return self.settings.get(name)


class FakeShell(Shell):
    """A Shell for tests: `FakeShell().expect("squeue --user ada", stdout="…")`."""

    fake: FakeExecutor

    def __init__(
        self,
        *,
        username: str = "ada",
        cluster: str = "test",
        operator: str = "",
        settings: Mapping[str, str] | None = None,
        catalog: Catalog | None = None,
    ) -> None:
        self.fake = FakeExecutor()
        surroundings = FakeContext(settings or {}, catalog, self.fake)
        super().__init__(username, cluster, self.fake, surroundings, operator)

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
        """Tell the next step, as it is shown to people, and its answer."""
        self.fake.expected.append(Expected(command, stdout, stderr, exit_code, input, raises))
        return self

    def map(
        self, function: Callable[[Item], Mapped], items: Iterable[Item], *, at_once: int = 5
    ) -> list[Mapped]:
        """One item after the other, so that the steps come in the order in which they are told."""
        return [function(item) for item in items]

    def finished(self) -> None:
        """AssertionError when a step was refused, or an expected one did not come."""
        if self.fake.refused is not None:
            raise self.fake.refused
        left = [each.command for each in self.fake.expected]
        assert not left, f"steps that did not come: {left}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One case of a scenario file: options in; exact steps and the answer out."""

    file: Path
    name: str
    options: dict[str, Any]
    steps: list[dict[str, Any]]
    settings: dict[str, str]
    username: str
    files: dict[str, Any]
    """What `shell.get` finds: content by path, or `{content, mode}`, or `{reason}` it fails for."""
    answer: dict[str, Any]
    """Any of `output`, `log`, `error`, `undone`, `needs_repair`, `written` (files that
    `shell.put` leaves), `invalid` (faulty fields)."""


KEYS_OF_ANSWER = {"output", "log", "error", "undone", "needs_repair", "written", "invalid"}
KEYS_OF_SCENARIO = KEYS_OF_ANSWER | {"name", "options", "steps", "settings", "username", "files"}


def read_scenarios(file: Path) -> list[Scenario]:
    """The scenarios of a YAML file; ValueError names a key that means nothing."""
    scenarios = []
    for case in yaml.safe_load(file.read_text(encoding="utf-8")):
        if unknown := set(case) - KEYS_OF_SCENARIO:
            raise ValueError(f"{file}: {case.get('name')}: unknown keys {sorted(unknown)}")
        answer = {key: case[key] for key in KEYS_OF_ANSWER & set(case)}
        if not answer and not case.get("steps"):
            raise ValueError(f"{file}: {case.get('name')}: it expects nothing, so it shows nothing")
        scenarios.append(
            Scenario(
                file,
                case["name"],
                case.get("options", {}),
                case.get("steps", []),
                case.get("settings", {}),
                case.get("username", "ada"),
                case.get("files", {}),
                answer,
            )
        )
    return scenarios


def play(scenario: Scenario, action: Action, catalog: Catalog) -> None:
    """Run a scenario on a fake shell; AssertionError says where it differs."""
    options = _validated(scenario, action)
    if options is None:
        return
    shell = FakeShell(
        username=scenario.username,
        operator=action.operator,
        settings=scenario.settings,
        catalog=catalog,
    )
    shell.fake.masker = Masker(secrets_in(options))
    shell.fake.files = _told_files(scenario.files)
    for step in scenario.steps:
        shell.expect(**step)
    if isinstance(action, Operation):
        outcome = perform_operation(action, shell, options)
    else:
        outcome = perform_command(action, shell.fake, options)
    shell.finished()
    _compare(scenario, outcome, shell)


def _told_files(told: Mapping[str, Any]) -> dict[str, File | PathFailed]:
    return {
        path: _told_file(path, each if isinstance(each, dict) else {"content": each})
        for path, each in told.items()
    }


def _told_file(path: str, told: Mapping[str, Any]) -> File | PathFailed:
    if "reason" in told:
        return PathFailed(path, told["reason"])
    content = told["content"]
    mode = int(told["mode"], 8) if "mode" in told else NEW_FILE_MODE
    return File(content.encode() if isinstance(content, str) else content, mode)


def _validated(scenario: Scenario, action: Action) -> Any:
    try:
        options = check_options(action.options, scenario.options)
        if isinstance(action, Command):
            action.invocation(options)
    except InvalidOptions as fault:
        faults: Sequence[Mapping[str, str]] = fault.details["faults"]
    else:
        assert "invalid" not in scenario.answer, "the options were expected to be refused"
        return options
    wrong = sorted({fault["field"] for fault in faults})
    assert wrong == sorted(scenario.answer.get("invalid", [])), f"refused: {faults}"
    return None


def _compare(scenario: Scenario, outcome: ActionOutcome, shell: FakeShell) -> None:
    hide = shell.fake.masker.json  # as a worker does with all that is kept
    error = hide(outcome.error_json())
    wanted_error = scenario.answer.get("error")
    if wanted_error is None:
        assert error is None, f"failed: {error}"
    else:
        assert error is not None, "it was expected to fail"
        shown = {key: error.get(key) for key in wanted_error}
        assert shown == wanted_error
    found = {
        "output": hide(outcome.output),
        "log": shell.fake.logged,
        "undone": hide(outcome.undone),
        "needs_repair": hide(outcome.needs_repair),
    }
    for key, value in found.items():
        if key in scenario.answer:
            assert value == scenario.answer[key], f"{key}: {value!r} != {scenario.answer[key]!r}"
    for path, wanted in _told_files(scenario.answer.get("written", {})).items():
        left = shell.fake.files.get(path)
        assert left == wanted, f"written: {path}: {left!r} != {wanted!r}"
