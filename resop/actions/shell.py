"""What an operation talks to: run a step on the cluster, register how to undo it, say what happens.

Every step goes through one door (`Door`), which runs it with a time limit, records it and hides
secrets. The worker's door leads to a real login node; `resop.testing` has one for tests.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Protocol, TypeVar

from resop.actions.command import Command
from resop.actions.options import check_options
from resop.archives.entry import File, TransferStats
from resop.archives.validation import check_archive
from resop.errors import (
    ContactLost,
    NotPermitted,
    OperationFailed,
    ResopError,
    StepTimedOut,
    TaskCancelled,
)
from resop.limits import OUTPUT_LIMIT, TRANSFER_LIMIT
from resop.steps.result import Result
from resop.steps.step import (
    UNDO_SECONDS,
    ArgValue,
    Input,
    StepRequest,
    script_request,
    step_request,
)
from resop.types import Secret

Item = TypeVar("Item")
Mapped = TypeVar("Mapped")
C_LOCALE = {"LC_ALL": "C"}


class StepExecutor(Protocol):
    """Where steps leave to. Its calls block; several threads may use it at once."""

    def run(self, step: StepRequest) -> Result:
        """Run one step to its end; raise StepTimedOut, ContactLost or ClusterUnreachable."""

    def register_undo(self, undo: StepRequest) -> None:
        """Keep what would undo a step where others find it, should this worker die.

        It is no longer kept when it has been run with success.
        """

    def log(self, text: str) -> None:
        """Add a line to the task's log."""

    def progress(self, done: float, total: float) -> None:
        """Say how far the task is."""

    def log_fault(self, trace: str) -> None:
        """Keep the traceback of a mistake in an operation where its author can read it."""

    def put(self, content: bytes, path: str, mode: int | None, overwrite: bool) -> None:
        """Write a file on the cluster, complete or not at all."""

    def get(self, path: str, limit: int) -> File:
        """Read a file of the cluster of at most `limit` bytes."""

    def put_folder(self, content: bytes, path: str, merge: bool) -> TransferStats:
        """Write a folder on the cluster from a tar archive that was checked."""

    def get_folder(self, path: str, limit: int) -> bytes:
        """Read a folder of the cluster as a tar archive of at most `limit` bytes."""

    def copy(self, source: str, target: str, overwrite: bool) -> TransferStats:
        """Copy a file or folder of the cluster there, telling the progress."""


class ShellContext(Protocol):
    """What a shell knows besides its door: the declared commands and the site's settings."""

    def command(self, operator: str, name: str) -> Command:
        """Find a declared command; UnknownAction when there is none."""

    def setting(self, name: str, operator: str) -> str | None:
        """A setting of config.env, or None; Forbidden where it is not for that operator."""


@dataclass(slots=True)
class Shell:
    """The logged-in user's shell on the cluster, for one task."""

    username: str
    cluster: str
    executor: StepExecutor
    context: ShellContext
    operator: str = ""
    _undo: list[StepRequest] = field(default_factory=list)

    def run(
        self,
        *argv: ArgValue,
        input: Input | None = None,
        timeout: float | None = None,
        check: bool = True,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        max_output: int = OUTPUT_LIMIT,
        raw: bool = False,
        path: str | None = None,
        secret_output: bool = False,
    ) -> Result:
        """Run one program with exactly these arguments; no shell reads them.

        `input` is its standard input (else closed), `timeout` in seconds, `cwd` and `env` are
        its folder and further environment; of each output stream `max_output` bytes are kept,
        in the record none of standard output where that is a secret.
        With `raw` the standard output is no text: it is in `Result.raw`, and not in the record.
        A non-zero exit code raises CommandFailed unless `check` is False; where the step is
        about the file or folder `path`, PathFailed for what the system says of that.
        """
        if path is not None:
            env = {**(env or {}), **C_LOCALE}
        step = step_request(argv, input, timeout, cwd=cwd, env=env, max_output=max_output, raw=raw)
        return self._checked(replace(step, secret_output=secret_output), check, path)

    def script(
        self,
        line: str,
        *,
        input: Input | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Result:
        """Run a line of shell as `ssh host 'line'` would: pipes, wildcards, the user's shell."""
        return self._checked(script_request(line, input, timeout), check)

    def command(self, name: str, /, *, check: bool = True, **options: Any) -> Result:
        """Run a declared command: `command("squeue", user="ada")`.

        `name` is one of the operation's own operator, or `operator:name`. Options are checked as
        a request's are.
        """
        operator, _, command_name = name.rpartition(":")
        declared = self.context.command(operator or self.operator, command_name)
        invocation = declared.invocation(check_options(declared.options, options))
        return self.run(
            *invocation.argv, input=invocation.stdin, timeout=declared.timeout, check=check
        )

    def on_failure(self, *argv: ArgValue, input: Input | None = None) -> None:
        """Register how to undo a step, before or after it.

        When the operation fails, what was registered is run in reverse order. When the worker
        dies nobody can run it, and the answer names it as in need of repair; so register before
        the step what does no harm where the step was not run.
        """
        step = step_request(argv, input, UNDO_SECONDS, undo=True)
        self._undo.append(step)
        self.executor.register_undo(step)

    @contextlib.contextmanager
    def undone_by(self, *argv: ArgValue, input: Input | None = None) -> Iterator[None]:
        """Register how to undo the step inside, where that has happened or may have.

        Not where it was refused: `already exists` means that what is there is somebody else's.
        """
        try:
            yield
        except (StepTimedOut, ContactLost, TaskCancelled):
            self.on_failure(*argv, input=input)
            raise
        self.on_failure(*argv, input=input)

    def log(self, text: str) -> None:
        """Add a line to the task's log."""
        self.executor.log(text)

    def progress(self, done: float, total: float) -> None:
        """Say how far the operation is."""
        self.executor.progress(done, total)

    def fail(self, message: str) -> NoReturn:
        """End the operation as failed, with a message for the caller."""
        raise OperationFailed(message)

    def map(
        self, function: Callable[[Item], Mapped], items: Iterable[Item], *, at_once: int = 5
    ) -> list[Mapped]:
        """Call `function` on independent items, `at_once` at a time; answers in order.

        When one fails, what has begun is waited for and no further item is begun.
        """
        with ThreadPoolExecutor(at_once, thread_name_prefix="map") as pool:
            started = [pool.submit(copy_context().run, function, item) for item in items]
            try:
                return [each.result() for each in started]
            except BaseException:
                # What runs is waited for; what has not begun must not run after a failure.
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def put(
        self,
        content: str | bytes,
        path: str,
        *,
        mode: int | None = None,
        overwrite: bool = True,
    ) -> None:
        """Write a file on the cluster: complete under its name, or not there at all.

        Without `mode` its permissions are those of the file it replaces, else 0600. Raises
        PathFailed: `missing` (its folder), `denied`, `is_folder`, `exists` (unless `overwrite`),
        `full`, …
        """
        content = content.encode() if isinstance(content, str) else content
        self.executor.put(content, path, mode, overwrite)

    def get(self, path: str, *, limit: int = TRANSFER_LIMIT) -> bytes:
        """Read a file of the cluster; raises as `get_file` does."""
        return self.get_file(path, limit=limit).content

    def get_file(self, path: str, *, limit: int = TRANSFER_LIMIT) -> File:
        """Read a file of the cluster, its permissions and when it was changed.

        Raises PathFailed: `missing`, `denied`, `is_folder`, `too_large` (more than `limit`
        bytes), …
        """
        return self.executor.get(path, limit)

    def put_folder(self, content: bytes, path: str, *, merge: bool = False) -> TransferStats:
        """Write a folder on the cluster from a tar archive, also gzip: complete, or not at all.

        With `merge` it is unpacked into the folder that is there, each file complete. Raises
        InvalidOptions, before anything is unpacked, for an archive that holds a device or leads
        out of the folder; PathFailed: `missing` (where it shall stand), `denied`, `exists`
        (unless `merge`), `full`, …
        """
        check_archive(content)
        return self.executor.put_folder(content, path, merge)

    def get_folder(self, path: str, *, limit: int = TRANSFER_LIMIT) -> bytes:
        """Read a folder of the cluster as a tar archive. Symbolic links stay what they are.

        Raises PathFailed: `missing`, `denied` (also for a part of it), `not_folder`, `too_large`
        (more than `limit` bytes), …
        """
        return self.executor.get_folder(path, limit)

    def copy(self, source: str, target: str, *, overwrite: bool = False) -> TransferStats:
        """Copy a file, or a folder with all that is in it, on the cluster; progress in bytes.

        Complete under its name, or not there at all; with `overwrite` a file is replaced, and a
        folder goes into the one that is there, each file complete. Permissions and times stay.
        Raises PathFailed: `missing`, `denied`, `exists`, `is_folder`, `full`, …
        """
        return self.executor.copy(source, target, overwrite)

    def setting(self, name: str, default: str | None = None) -> str:
        """A setting of config.env for the site's own use.

        OperationFailed when it is missing and has no default, Forbidden where the site's policy
        keeps it to other operators.
        """
        value = self.context.setting(name, self.operator) or default
        if value is None:
            self.fail(f"the setting {name} is missing in config.env")
        return value

    def secret(self, name: str) -> Secret:
        """A setting that is a secret, such as a service's password: for `input`, never shown.

        For those alone whom the setting ADMINISTRATORS names (commas between): a step runs as
        who is logged in, who can read what the step is given. NotPermitted for others.
        """
        administrators = self.context.setting("ADMINISTRATORS", self.operator) or ""
        if self.username not in map(str.strip, administrators.split(",")):
            raise NotPermitted(
                f"{self.username} is not among the ADMINISTRATORS of config.env, who alone may "
                f"use {name}"
            )
        return Secret(self.setting(name))

    def undo(self) -> tuple[list[str], list[str]]:
        """Run what was registered, in reverse; return what was undone and what needs repair.

        Each entry is a command line; one that needs repair says why.
        """
        undone: list[str] = []
        needs_repair: list[str] = []
        while self._undo:
            step = self._undo.pop()
            try:
                result = self.executor.run(step)
            except ResopError as fault:
                needs_repair.append(f"{step.display}: {fault.message}")
                continue
            except Exception as fault:
                # Whatever goes wrong with one, the others are still undone, and all is reported.
                needs_repair.append(f"{step.display}: {type(fault).__name__}")
                continue
            if result.exit_code == 0:
                undone.append(result.command)
            else:
                needs_repair.append(f"{result.command}: {result.failure().message}")
        return undone, needs_repair

    def _checked(self, step: StepRequest, check: bool, path: str | None = None) -> Result:
        result = self.executor.run(step)
        if check and result.exit_code != 0:
            raise result.failure() if path is None else result.path_failure(path)
        return result
