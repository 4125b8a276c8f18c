"""The undo steps of one task: what each undoes and where, how far it has come, and its record.

A record is a JSON object: what people need to know of an undo step, secrets masked. The reports of
an answer (`undone`, `needs_repair`, `repair`) are made of records, by the worker that has run the
steps, or by another one if it has died.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from resop.steps.quoting import DirectExec, login_shell_line
from resop.steps.result import Result
from resop.steps.step import UNDO_SECONDS, StepRequest

LOGIN_NODE = "login node"
UndoRecord = dict[str, Any]
"""The keys `what`, `where`, `command`, `state`, `reason`, and what the service adds."""


class UndoState(StrEnum):
    """How far an undo step has come, as the last record says."""

    UNCERTAIN = "uncertain"
    """Not run. The step that it undoes may have been sent; nobody knows whether it was done."""
    NOT_RUN = "not_run"
    """Not run. The step that it undoes was done."""
    SENT = "sent"
    """Sent; nobody knows whether it was done."""
    FAILED = "failed"
    DONE = "done"
    NOTHING = "nothing"
    """Run, and it found nothing to undo."""

    @property
    def settled(self) -> bool:
        """True if nothing remains to be undone."""
        return self in (UndoState.DONE, UndoState.NOTHING)


_DIED = {
    UndoState.UNCERTAIN: (
        "not run, the worker died during the step that this undoes, which may or may not have been "
        "done"
    ),
    UndoState.NOT_RUN: "not run, the worker died",
    UndoState.SENT: "sent when the worker died: it may or may not have been done",
}
"""The reason that is shown for an undo step whose worker has died."""


@dataclass(slots=True, eq=False)
class UndoStep:
    """A registered undo step."""

    step: StepRequest
    what: str
    """A few words that say what it does."""
    where: str = LOGIN_NODE
    """The system that it changes: one that all users share, or the login node."""
    absent: Sequence[int | str] = ()
    """Exit codes, and texts in its output, which say that there is nothing to undo."""
    state: UndoState = UndoState.NOT_RUN
    reason: str = ""

    def end(self, result: Result) -> None:
        """Set the state after a run."""
        output = f"\n{result.stdout}\n{result.stderr}"
        texts = [text for text in self.absent if isinstance(text, str)]
        if result.exit_code in self.absent or any(text in output for text in texts):
            self.state = UndoState.NOTHING
        elif result.exit_code == 0:
            self.state = UndoState.DONE
        else:
            self.fail(result.failure().message)

    def fail(self, reason: str) -> None:
        """Set the state after a run that failed, or of which nobody knows how it ended."""
        self.state, self.reason = UndoState.FAILED, reason

    def record(self) -> UndoRecord:
        """Return its record; the caller has to mask it."""
        return {
            "what": self.what,
            "where": self.where,
            "command": self.step.display,
            "state": self.state,
            "reason": self.reason,
        }

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` needs to run the step again; it may contain secrets."""
        step, program = self.step, self.step.program
        assert program is not None, "an undo step runs one program"
        return {
            "program": program.as_json(),
            "display": step.display,
            "input": None if step.input is None else base64.b64encode(step.input).decode(),
            "secrets": list(step.secrets),
            "what": self.what,
            "where": self.where,
            "absent": list(self.absent),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], state: UndoState) -> UndoStep:
        """Return the step that `as_json` has described."""
        program = DirectExec(**content["program"])
        stdin = content["input"]
        step = StepRequest(
            login_shell_line(program.argv, cwd=program.cwd, env=program.env),
            content["display"],
            None if stdin is None else base64.b64decode(stdin),
            tuple(content["secrets"]),
            UNDO_SECONDS,
            undo=True,
            program=program,
            summary=content["what"],
        )
        return cls(step, content["what"], content["where"], tuple(content["absent"]), state)


@dataclass(slots=True)
class UndoList:
    """The undo steps of one task, in the order of their registration. For any thread."""

    _steps: list[UndoStep] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def steps(self) -> list[UndoStep]:
        """All steps."""
        with self._lock:
            return list(self._steps)

    def add(self, *steps: UndoStep) -> None:
        """Register steps."""
        with self._lock:
            self._steps += steps

    def withdraw(self, step: UndoStep) -> None:
        """Remove a step: there is nothing that it would undo."""
        with self._lock:
            self._steps.remove(step)

    def waiting(self) -> list[UndoStep]:
        """Return the steps that have not been run, in the order in which they have to run."""
        states = (UndoState.UNCERTAIN, UndoState.NOT_RUN)
        return [step for step in reversed(self.steps) if step.state in states]


@dataclass(frozen=True, slots=True)
class UndoReport:
    """The undo steps in an answer, in the order in which they ran or have to run."""

    undone: list[str] = field(default_factory=list)
    """The command lines of the steps that were run."""
    needs_repair: list[str] = field(default_factory=list)
    """The command lines of the remaining steps, each with the reason."""
    repair: list[UndoRecord] = field(default_factory=list)
    """The same steps, as objects with `what`, `where`, `command`, `state` and `reason`."""

    def as_json(self) -> dict[str, Any]:
        """Return the keys of an answer's error."""
        lists: dict[str, Any] = {"undone": self.undone, "needs_repair": self.needs_repair}
        return lists | ({"repair": self.repair} if self.repair else {})


def report(records: Iterable[UndoRecord]) -> UndoReport:
    """Return what is to be said of recorded undo steps."""
    found = UndoReport()
    for each in reversed(list(records)):
        state = UndoState(each["state"])
        if state == UndoState.DONE:
            found.undone.append(each["command"])
        elif not state.settled:
            shown = {name: each[name] for name in ("what", "where", "command")}
            reason = each["reason"] or _DIED.get(state, "")
            found.needs_repair.append(f"{each['command']}: {reason}")
            found.repair.append({**shown, "state": state, "reason": reason})
    return found


def read_records(recorded: Sequence[UndoRecord | str] | None) -> list[UndoRecord]:
    """Return the records of a task in the database; earlier releases wrote command lines only."""
    return [
        {"what": each, "where": "", "command": each, "state": UndoState.NOT_RUN, "reason": ""}
        if isinstance(each, str)
        else each
        for each in recorded or ()
    ]


def unsettled(records: Iterable[UndoRecord]) -> list[UndoRecord]:
    """Return the records of the steps that remain to be run."""
    return [each for each in records if not UndoState(each["state"]).settled]
