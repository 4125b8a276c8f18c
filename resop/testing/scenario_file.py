"""The scenario file of an action: a list of cases in YAML, and everything that a case may have.

docs/scenarios.md describes every key.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

import resop.errors
from resop.actions.executor import PastTask
from resop.actions.options import option_faults
from resop.archives.entry import NEW_FILE_MODE, File
from resop.config.yaml_loader import InvalidYaml, line_of, read_yaml
from resop.errors import PATH_REASONS, PathFailed, ResopError


class Entry(BaseModel):
    """A mapping of the file, without unknown keys."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, hide_input_in_errors=True)


class ErrorEntry(Entry):
    """An error that a step or a called operation raises; further keys are its details."""

    model_config = ConfigDict(extra="allow")

    type: str
    """A class of `resop.errors`, such as `StepTimedOut`."""
    message: str | None = None
    """The message; by default that of the class."""

    def error(self) -> ResopError:
        """Return the error. Raises ValueError for an unknown type, or one without its details."""
        kind = getattr(resop.errors, self.type, None)
        if not (isinstance(kind, type) and issubclass(kind, ResopError)):
            raise ValueError(f"resop.errors has no {self.type}")
        details = dict(self.model_extra or {})
        if kind is PathFailed:
            if not {"path", "reason"} <= set(details) or details["reason"] not in PATH_REASONS:
                raise ValueError(f"needs 'path', and 'reason': {', '.join(PATH_REASONS)}")
            return PathFailed(message=self.message, **details)
        error: ResopError = kind.__new__(kind)
        ResopError.__init__(error, self.message, **details)  # whatever its own constructor takes
        return error

    @model_validator(mode="after")
    def _check_type(self) -> ErrorEntry:
        self.error()
        return self


class StepEntry(Entry):
    """A step that must come next, and its answer."""

    command: str
    """The command line as people see it, secrets as `********`."""
    input: str | None = None
    """The complete standard input, secrets as they are; none if it is missing."""
    stdout: str | bytes = ""
    stderr: str = ""
    exit_code: int = 0
    raises: ErrorEntry | None = None
    """An error in place of the answer."""


class CallEntry(Entry):
    """A call of another operation that must come next, and the answer in its place."""

    call: str
    """`operator:name`."""
    options: dict[str, Any] = {}
    """The options that the call names, secrets as they are."""
    output: Any = None
    """The answer, which must have the operation's return type."""
    raises: ErrorEntry | None = None
    """An error in place of the answer."""
    undo: list[str] = []
    """The command lines that the called operation registers with `on_failure`."""

    @model_validator(mode="before")
    @classmethod
    def _check_kind(cls, value: Any) -> Any:
        if isinstance(value, dict) and "command" in value:
            raise ValueError("has 'call' and 'command', but is either a call or a step")
        return value


class FileEntry(Entry):
    """A file on the cluster, or the reason why it cannot be used."""

    content: str | bytes = ""
    mode: Annotated[str, Field(strict=True, pattern="^0?[0-7]{3}$")] | None = None
    """The permissions in octal, as text: "640"."""
    reason: str | None = None
    """The reason of a PathFailed, such as `denied`."""


class PastTaskEntry(Entry):
    """A task of the user that succeeded, for `past_tasks`."""

    action: str
    """The name of the action, without its operator."""
    options: dict[str, Any]
    output: Any
    started: datetime
    ended: datetime

    def past_task(self) -> PastTask:
        """Return the task."""
        return PastTask(self.action, self.options, self.output, self.started, self.ended)


def _kind_of_step(value: Any) -> str:
    is_call = isinstance(value, CallEntry) or (isinstance(value, dict) and "call" in value)
    return "[call]" if is_call else "[step]"  # brackets: no part of a key


Expected = Annotated[
    Annotated[StepEntry, Tag("[step]")] | Annotated[CallEntry, Tag("[call]")],
    Discriminator(_kind_of_step),
]
Files = dict[str, FileEntry | str | bytes]


class Scenario(Entry):
    """One case: the options of a request, the steps, and the answer that they must give."""

    name: str
    """A title that says what the case shows."""
    options: dict[str, Any] = {}
    """The options of the request."""
    username: str = "ada"
    """The user who sends it."""
    settings: dict[str, str] = {}
    """Lines of config.env."""
    files: Files = {}
    """The files on the cluster by path; a folder is its tar archive."""
    past_tasks: list[PastTaskEntry] = []
    """The user's tasks that succeeded, newest first."""
    failed_tasks: dict[str, list[str]] = {}
    """The command lines of the undo steps that failed tasks have left, by the task's id."""
    dry_run: bool = False
    """True to play it as a dry run: `steps` are the steps that only read."""
    steps: list[Expected] = []
    """The steps and the calls of other operations, in their order."""

    # The expected answer
    invalid: list[str] = []
    """The options that are refused; nothing runs then."""
    output: Any = None
    log: list[str] = []
    error: dict[str, Any] = {}
    """Any keys of the error: `type`, `message`, …"""
    undone: list[str] = []
    """The undo steps that succeeded."""
    needs_repair: list[str] = []
    """The undo steps that failed, each with the reason."""
    written: Files = {}
    """Files that the operation must have written."""
    ended_logins: dict[str, str | None] = {}
    """The users whose logins were ended, each with the reason of the block, or null."""
    allowed_logins: list[str] = []
    """The users who may log in again."""
    plan: list[str] = []
    """The changes of a dry run: each in words, or its command line if it has none."""

    @property
    def answer(self) -> dict[str, Any]:
        """The expectations that the case has, by key."""
        return {key: getattr(self, key) for key in ANSWER_KEYS if key in self.model_fields_set}

    @model_validator(mode="after")
    def _check_expectation(self) -> Scenario:
        if not self.answer and not self.steps:
            raise ValueError("expects nothing, so it tests nothing")
        return self


ANSWER_KEYS = (
    *("invalid", "output", "log", "error", "undone", "needs_repair", "written"),
    *("ended_logins", "allowed_logins", "plan"),
)


def read_scenarios(file: Path) -> list[Scenario]:
    """Read the scenarios of a YAML file.

    Raises ValueError, with file and line, for what is not YAML, for an unknown key, and for a case
    that expects nothing.
    """
    try:
        cases, root = read_yaml(file)
    except InvalidYaml as fault:
        raise ValueError(f"{file}:{fault}") from None
    if not isinstance(cases, list):
        raise ValueError(f"{file}:1: the file must be a list of scenarios: '- name: …'")
    scenarios = []
    for number, case in enumerate(cases):
        try:
            scenarios.append(Scenario.model_validate(case))
        except ValidationError as error:
            place = (number, *error.errors()[0]["loc"])
            faults = option_faults(error, Scenario, noun="key")
            summary = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults)
            raise ValueError(f"{file}:{line_of(root, place)}: {summary}") from None
    return scenarios


def stored_file(path: str, entry: FileEntry | str | bytes) -> File | PathFailed:
    """Return the file that an entry describes, or the error of its path."""
    if not isinstance(entry, FileEntry):
        entry = FileEntry(content=entry)
    if entry.reason is not None:
        return PathFailed(path, entry.reason)
    content = entry.content.encode() if isinstance(entry.content, str) else entry.content
    return File(content, NEW_FILE_MODE if entry.mode is None else int(entry.mode, 8))
