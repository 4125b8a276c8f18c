"""Dry-run an operation: run the steps that only read, and show all others.

All that an operation does leaves it through the two classes here. They pass on nothing but steps
with `reads`, downloads, and queries of this service; what a step is unless its author says so, a
change, is put into the plan.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from typing_extensions import TypedDict

from resop.actions.command import Command
from resop.actions.execute import ActionOutcome, perform_operation
from resop.actions.executor import CallableOperation, PastTask, ShellContext, StepExecutor
from resop.actions.operation import Operation
from resop.actions.shell import Shell
from resop.archives.entry import File, TransferStats
from resop.archives.validation import archive_stats
from resop.errors import ActionError
from resop.security.identity import Identity
from resop.security.masking import Masker
from resop.steps.json_text import encodable
from resop.steps.result import Result
from resop.steps.step import StepRequest
from resop.steps.undo import UndoReport, UndoState, UndoStep

NOTE_AFTER_CHANGES = (
    "found without the changes that the plan has before it: they are not made in a dry run, and "
    "have no output"
)
"""The note of an error that a missing change may have caused."""
MAX_STDIN_CHARS = 64 << 10
"""Characters of a standard input that are shown."""


class PlannedStep(TypedDict):
    """A step of a dry run: one that was run, or one that a real run would run."""

    changes: bool
    """False for a step that only reads, and was run."""
    summary: str | None
    """The purpose of the step, in words."""
    command: str | None
    """The command line; None for a change in this service, such as an end of logins."""
    stdin: str | None
    """The standard input of a step that was not run."""
    exit_code: int | None
    """The exit code of a step that was run; None if it has none."""


@dataclass(slots=True)
class DryRunExecutor:
    """A StepExecutor that passes on what only reads, and plans the rest."""

    executor: StepExecutor
    masker: Masker
    plan: list[PlannedStep] = field(default_factory=list)
    undo: list[str] = field(default_factory=list)
    """The steps that would undo the changes, in the order of the changes."""

    @property
    def has_changes(self) -> bool:
        """True if a change is planned, which the following steps are run without."""
        return any(step["changes"] for step in self.plan)

    def run(self, step: StepRequest) -> Result:
        """Run a step that only reads; plan any other, and return an empty Result."""
        self.masker.learn(step.secrets)
        command = self.masker.text(step.display)
        if step.undo:
            return Result(command=command)  # nothing was done
        if not step.reads:
            stdin = step.input.decode("utf-8", "replace") if step.input is not None else None
            self.plan_change(step.summary, command, stdin)
            return Result(command=command)
        entry = self._plan_read(step.summary, command)
        result = self.executor.run(step)
        entry["exit_code"] = result.exit_code
        return result

    def plan_change(self, summary: str, command: str | None, stdin: str | None = None) -> None:
        """Add a change to the plan."""
        self.plan.append(
            PlannedStep(
                changes=True,
                summary=self.masker.text(summary) or None,
                command=command and self.masker.text(command),
                stdin=stdin and self.masker.text(stdin, MAX_STDIN_CHARS),
                exit_code=None,
            )
        )

    def _plan_read(self, summary: str, command: str) -> PlannedStep:
        entry = PlannedStep(
            changes=False,
            summary=self.masker.text(summary) or None,
            command=self.masker.text(command),
            stdin=None,
            exit_code=None,
        )
        self.plan.append(entry)
        return entry

    def record_undo(self, steps: Sequence[UndoStep]) -> None:
        """Note what would be undone."""
        self.update_undo(steps)

    def update_undo(self, steps: Sequence[UndoStep], *, sending: bool = False) -> None:
        """Note what would be undone; when the operation has failed, the list stays as it was."""
        if any(undo.state in (UndoState.SENT, UndoState.DONE) for undo in steps):
            return
        for undo in steps:
            self.masker.learn(undo.step.secrets)
        self.undo = [self.masker.text(undo.what) for undo in steps]

    def take_over_undo(
        self, task: str, identity: Identity, is_administrator: bool
    ) -> tuple[list[UndoStep], list[str]]:
        """Plan to run the undo steps of another task, which keeps them."""
        self.plan_change(f"run the undo steps that the task {task} has left", None)
        return [], []

    def log(self, text: str) -> None:
        """Log a line; after a change, which was not made, as one that would be logged."""
        self.executor.log(f"would log: {text}" if self.has_changes else text)

    def progress(self, done: float, total: float) -> None:
        """Report how much is done."""
        self.executor.progress(done, total)

    def log_fault(self, trace: str) -> None:
        """Write a traceback to the service's log."""
        self.executor.log_fault(trace)

    def put(self, content: bytes, path: str, mode: int | None, overwrite: bool) -> None:
        """Plan an upload."""
        text = content.decode("utf-8", "replace")
        self.plan_change(f"write the file {path}", f"sftp: put {shlex.quote(path)}", text)

    def get(self, path: str, limit: int) -> File:
        """Download a file."""
        self._plan_read(f"read the file {path}", f"sftp: get {shlex.quote(path)}")
        return self.executor.get(path, limit)

    def put_folder(self, content: bytes, path: str, merge: bool) -> TransferStats:
        """Plan the upload of a folder."""
        self.plan_change(f"write the folder {path}", f"sftp: put {shlex.quote(path)}/")
        return archive_stats(content)

    def get_folder(self, path: str, limit: int) -> bytes:
        """Download a folder."""
        self._plan_read(f"read the folder {path}", f"sftp: get {shlex.quote(path)}/")
        return self.executor.get_folder(path, limit)

    def copy(self, source: str, target: str, overwrite: bool) -> TransferStats:
        """Plan a copy, whose size is not known."""
        command = f"sftp: copy {shlex.quote(source)} {shlex.quote(target)}"
        self.plan_change(f"copy {source} to {target}", command)
        return TransferStats(0, 0)


@dataclass(frozen=True, slots=True)
class DryRunContext:
    """A ShellContext that answers queries, and plans what would change this service's logins."""

    context: ShellContext
    executor: DryRunExecutor

    def command(self, operator: str, name: str) -> Command:
        """Return a declared command."""
        return self.context.command(operator, name)

    def operation(self, operator: str, name: str) -> CallableOperation:
        """Return an operation, which gets the shell of the dry run."""
        return self.context.operation(operator, name)

    def setting(
        self, name: str, operator: str, cluster: str, *, secret: bool = False
    ) -> str | None:
        """Return a setting of the service, or None."""
        return self.context.setting(name, operator, cluster, secret=secret)

    def is_administrator(self, identity: Identity) -> bool:
        """Return True if the site lists this user in ADMINISTRATORS."""
        return self.context.is_administrator(identity)

    def past_tasks(
        self,
        identity: Identity,
        actions: Sequence[tuple[str, str]],
        since: datetime | None,
        until: datetime | None,
    ) -> Iterator[PastTask]:
        """Yield a user's tasks of these operators' actions that succeeded, newest first."""
        return self.context.past_tasks(identity, actions, since, until)

    def end_logins(self, username: str, cluster: str, by: str, block: str | None) -> int:
        """Plan the end of a user's logins; return 0, since none was ended."""
        summary = f"end the logins of {username} to this service"
        if block is not None:
            summary += f", and refuse further ones: {block}"
        self.executor.plan_change(summary, None)
        return 0

    def allow_logins(self, username: str, cluster: str, by: str) -> bool:
        """Plan to let a user log in again."""
        self.executor.plan_change(f"let {username} log in to this service, if blocked", None)
        return True


def perform_dry_run(
    operation: Operation[..., Any], shell: Shell, options: BaseModel, masker: Masker
) -> ActionOutcome:
    """Call an operation with a dry run in place of the executor and the context of a shell.

    The output has the `plan`, what would be undone if a step failed (`undo`), and what the
    operation returned (`output`). The error is what the operation refuses.
    """
    executor = DryRunExecutor(shell.executor, masker)
    context = DryRunContext(shell.context, executor)
    dry = Shell(shell.username, shell.cluster, executor, context, operation.operator, dry_run=True)
    outcome = perform_operation(operation, dry, options)
    plan = {"plan": executor.plan, "undo": executor.undo[::-1], "output": outcome.output}
    outcome.output = encodable(plan)
    outcome.set_undo(UndoReport([], [], []))  # nothing was done
    outcome.secrets = []  # a generated password is another one in the real run
    if isinstance(outcome.error, ActionError) and executor.has_changes:
        outcome.error.details["note"] = NOTE_AFTER_CHANGES
    return outcome
