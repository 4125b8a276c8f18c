"""The two interfaces that a shell needs: a StepExecutor for its steps, and a ShellContext."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel

from resop.actions.command import Command
from resop.archives.entry import File, TransferStats
from resop.security.identity import Identity
from resop.steps.result import Result
from resop.steps.step import StepRequest
from resop.steps.undo import UndoStep


class StepExecutor(Protocol):
    """Where the steps of a shell leave to. Calls block; several threads may call at once."""

    def run(self, step: StepRequest) -> Result:
        """Run one step to its end. Raises StepTimedOut, ContactLost or ClusterUnreachable."""

    def record_undo(self, steps: Sequence[UndoStep]) -> None:
        """Store the task's undo steps where others find them if this worker dies.

        Returns when that is done. Raises StepTimedOut if it is not done in time.
        """

    def update_undo(self, steps: Sequence[UndoStep], *, sending: bool = False) -> None:
        """Store how far the undo steps have come, soon; one that is being sent, before it is."""

    def take_over_undo(
        self, task: str, identity: Identity, is_administrator: bool
    ) -> tuple[list[UndoStep], list[str]]:
        """Make the undo steps that another task has left those of this task.

        Returns the steps that the user may run, and lines about the others. Raises UnknownTask and
        TaskRunning.
        """

    def log(self, text: str) -> None:
        """Add a line to the task's log."""

    def progress(self, done: float, total: float) -> None:
        """Report how much of the task is done."""

    def log_fault(self, trace: str) -> None:
        """Write the traceback of a mistake in an operation where its author can read it."""

    def put(self, content: bytes, path: str, mode: int | None, overwrite: bool) -> None:
        """Write a file on the cluster, complete or not at all."""

    def get(self, path: str, limit: int) -> File:
        """Read a file of at most `limit` bytes."""

    def put_folder(self, content: bytes, path: str, merge: bool) -> TransferStats:
        """Write a folder from a validated tar archive."""

    def get_folder(self, path: str, limit: int) -> bytes:
        """Read a folder as a tar archive of at most `limit` bytes."""

    def copy(self, source: str, target: str, overwrite: bool) -> TransferStats:
        """Copy a file or folder on the cluster and report the progress."""


class PastTask(NamedTuple):
    """A task that succeeded, as the service has recorded it."""

    action: str
    """The name of the action, without its operator."""
    options: dict[str, Any]
    """The options of the request, secrets masked."""
    output: Any
    started: datetime
    ended: datetime


class CallableOperation(Protocol):
    """An operation of the catalog, as another one calls it."""

    @property
    def options(self) -> type[BaseModel]:
        """The model of its options."""

    def arguments(self, options: BaseModel) -> dict[str, Any]:
        """Return validated options as keyword arguments."""

    def __call__(self, shell: Any, /, **arguments: Any) -> Any:
        """Run it through a shell."""


class ShellContext(Protocol):
    """The declared commands, the site's settings and the user's past tasks, for a shell."""

    def command(self, operator: str, name: str) -> Command:
        """Return a declared command. Raises UnknownAction."""

    def operation(self, operator: str, name: str) -> CallableOperation:
        """Return an operation. Raises UnknownAction."""

    def setting(
        self, name: str, operator: str, cluster: str, *, secret: bool = False
    ) -> str | None:
        """Return a setting of the service, or None.

        Raises Forbidden if the site reserves the setting for other operators or other clusters.
        """

    def is_administrator(self, identity: Identity) -> bool:
        """Return True if the site lists this user in ADMINISTRATORS."""

    def past_tasks(
        self,
        identity: Identity,
        actions: Sequence[tuple[str, str]],
        since: datetime | None,
        until: datetime | None,
    ) -> Iterator[PastTask]:
        """Yield a user's tasks of these operators' actions that succeeded, newest first.

        Created at `since` or later, and before `until`. Raises RecordsUnavailable.
        """

    def end_logins(self, username: str, cluster: str, by: str, block: str | None) -> int:
        """End the logins of a user with everything that runs on them; return their number.

        `block` is the reason for refusing further logins, or None to permit them.
        """

    def allow_logins(self, username: str, cluster: str, by: str) -> bool:
        """Let a blocked user log in again; return False if the user was not blocked."""
