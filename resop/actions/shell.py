"""The shell that an operation gets: run steps on the cluster, register undo steps, report progress.

A shell sends every step through its executor, which runs the step within the time limit, records
it and masks secrets. The worker's executor runs steps on a login node; `resop.testing` has one for
tests.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NoReturn, TypeVar

from resop.actions.executor import CallableOperation, PastTask, ShellContext, StepExecutor
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
from resop.security.identity import Identity
from resop.steps.result import Result
from resop.steps.step import (
    UNDO_SECONDS,
    ArgValue,
    Input,
    StepRequest,
    script_request,
    step_request,
)
from resop.steps.undo import (
    LOGIN_NODE,
    UndoList,
    UndoReport,
    UndoState,
    UndoStep,
    report,
)
from resop.types import Secret

Item = TypeVar("Item")
Mapped = TypeVar("Mapped")
Called = TypeVar("Called")
C_LOCALE = {"LC_ALL": "C"}

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Shell:
    """The logged-in user's shell on the cluster, for one task.

    An operation gets it as its first parameter and runs every step through it:

        @operation
        def archive(shell: Shell, folder: RemotePath) -> str:
            shell.run("tar", "-czf", "archive.tgz", folder, timeout=600)
            return shell.run("sha256sum", "archive.tgz").stdout

    `username` is the user on the cluster, `cluster` the cluster's name. A step that fails raises
    a ResopError; an operation that does not catch it ends with that error, and the registered
    undo steps run in reverse order.
    """

    username: str
    cluster: str
    executor: StepExecutor
    context: ShellContext
    operator: str = ""
    dry_run: bool = False
    """True in a dry run, in which only steps with `reads=True` are run.

    An operation asks where it would wait for a change, or read back what it changed:

        return expected if shell.dry_run else read_account(shell, name)
    """
    planned: dict[tuple[str, str], Any] = field(default_factory=dict)
    """In a dry run, what earlier steps would have made, for later ones: by kind and name."""
    _undo: UndoList = field(default_factory=UndoList)

    # -- Steps

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
        launcher: Sequence[str] = (),
        comment: str = "",
        reads: bool = False,
        summary: str = "",
    ) -> Result:
        """Run one program with exactly these arguments, without a shell in between.

            jobs = shell.run("squeue", "--user", name, "--noheader", timeout=30).lines
            shell.run("kinit", shell.username, input=password)
            size = shell.run("du", "-sb", folder, path=folder).stdout.split()[0]

        `input`: standard input, as text, bytes, a Secret or a list of them; closed by default.

        `timeout`: time limit in seconds; by default the rest of the task's time.

        `check`: raise CommandFailed for a non-zero exit code; with False, look at
        `Result.exit_code`.

        `cwd`, `env`: working folder, and variables to add to the environment.

        `launcher`: a command line that prepares the program's environment and then runs it, such
        as `("nice", "-n", "10")`; like `env`, it is not part of the displayed command line.

        `comment`: words after the displayed command line, for what its standard input says.

        `reads`: the step changes nothing, so that a dry run can run it. A dry run shows any other
        step, and returns an empty Result with exit code 0 in its place.

        `summary`: what the step does, in words, for a dry run (default: the `comment`).

        `max_output`: how many bytes of each output stream to keep (1 MiB by default).

        `raw`: return standard output as bytes in `Result.raw`; it is not recorded.

        `path`: the file or folder that the step is about; a failure that the system explains
        ("No such file or directory") raises PathFailed with its reason instead.

        `secret_output`: record nothing of the output.

        Raises CommandFailed, PathFailed, StepTimedOut, ClusterUnreachable (nothing was sent),
        ContactLost (the step may have run), or InvalidOptions for text that no command line can
        carry.
        """
        if path is not None:
            env = {**(env or {}), **C_LOCALE}
        step = step_request(
            argv,
            input,
            timeout,
            cwd=cwd,
            env=env,
            max_output=max_output,
            raw=raw,
            launcher=launcher,
            comment=comment,
            reads=reads,
            summary=summary,
        )
        return self._run_checked(replace(step, secret_output=secret_output), check, path)

    def script(
        self,
        line: str,
        *,
        input: Input | None = None,
        timeout: float | None = None,
        check: bool = True,
        reads: bool = False,
    ) -> Result:
        """Run a line in the user's login shell, as `ssh host 'line'` does.

            count = int(shell.script("ls *.csv | wc -l").stdout)

        Pipes, wildcards and variables work. Never build the line from options: use `run`, which
        needs no quoting. `input`, `timeout` (seconds), `check`, `reads` and errors are those of
        `run`.
        """
        return self._run_checked(script_request(line, input, timeout, reads=reads), check)

    def command(self, name: str, /, *, check: bool = True, **options: Any) -> Result:
        """Run a command that a commands.yml declares.

            queue = shell.command("squeue", user="ada").stdout
            nodes = shell.command("slurm:sinfo", json=True).json()

        `name` is a command of the operation's own operator, or `operator:name`. Options are
        validated like those of a request. A command with `share_for` only reads. Raises
        UnknownAction, InvalidOptions, and what `run` raises.
        """
        operator, _, command_name = name.rpartition(":")
        declared = self.context.command(operator or self.operator, command_name)
        invocation = declared.invocation(check_options(declared.options, options))
        return self.run(
            *invocation.argv,
            input=invocation.stdin,
            timeout=declared.timeout,
            check=check,
            reads=declared.share_for is not None,
        )

    def operation(self, name: str) -> CallableOperation:
        """Return the operation `operator:name`. Raises UnknownAction if there is none.

        Import an operation to call it; this is for one that a setting names.
        """
        operator, _, operation = name.rpartition(":")
        return self.context.operation(operator or self.operator, operation)

    def call(self, name: str, known: Mapping[str, Any]) -> Any:
        """Run the operation `operator:name` with what it declares of the `known` options.

            shell.call(shell.setting("AFTER_CREATION"), {"username": "ada", "uid_number": 20001})

        Raises UnknownAction, InvalidOptions, and what the operation raises.
        """
        operation = self.operation(name)
        declared = {field.alias for field in operation.options.model_fields.values()}
        given = {key: value for key, value in known.items() if key in declared}
        return operation(self, **operation.arguments(check_options(operation.options, given)))

    def map(
        self, function: Callable[[Item], Mapped], items: Iterable[Item], *, at_once: int = 5
    ) -> list[Mapped]:
        """Call `function` for each item, `at_once` at a time, and return the answers in order.

            sizes = shell.map(lambda folder: shell.run("du", "-sb", folder).stdout, folders)

        If a call raises, no further call begins; the error is raised when the running calls have
        ended.
        """
        with ThreadPoolExecutor(at_once, thread_name_prefix="map") as pool:
            calls = [pool.submit(copy_context().run, function, item) for item in items]
            try:
                return [call.result() for call in calls]
            except BaseException:
                # Leaving the block waits for running calls; waiting ones must not begin.
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def call_operation(
        self, title: str, function: Callable[..., Called], /, *args: Any, **kwargs: Any
    ) -> Called:
        """Run the function of an operation that is called; the shell of a test may answer instead.

        Authors call the operation itself: `create_user(shell, username="ada")`.
        """
        return function(self, *args, **kwargs)

    def _run_checked(self, step: StepRequest, check: bool, path: str | None = None) -> Result:
        result = self.executor.run(step)
        if check and result.exit_code != 0:
            raise result.failure() if path is None else result.path_failure(path)
        return result

    # -- Undo

    def on_failure(
        self,
        *argv: ArgValue,
        input: Input | None = None,
        launcher: Sequence[str] = (),
        comment: str = "",
        what: str = "",
        where: str = LOGIN_NODE,
        absent: Sequence[int | str] = (),
    ) -> None:
        """Register a program that undoes a step if the operation fails later.

            shell.on_failure("rm", "-f", "results.part")
            shell.run("simulate", "--output", "results.part")

        Registered programs run in reverse order; the answer lists which succeeded (`undone`) and
        which did not (`needs_repair`). If the worker dies, they do not run and the answer lists
        them as `needs_repair`, until somebody repairs the task. Register before the step if the
        program does no harm where the step was not run, else use `undone_by`.

        `launcher` and `comment` are those of `run`.

        `what`: what the program does, in words (default: the comment, or the command line).

        `where`: the system that it changes, if all users of the cluster share it: "Slurm". Only
        then another administrator may run it in a repair.

        `absent`: exit codes, and texts in the output, which say that there is nothing to undo.
        """
        undo = _undo_step(argv, input, launcher, comment, what, where, absent)
        self._undo.add(undo)
        self.executor.record_undo(self._undo.steps)

    @contextlib.contextmanager
    def undone_by(
        self,
        *argv: ArgValue,
        input: Input | None = None,
        launcher: Sequence[str] = (),
        comment: str = "",
        what: str = "",
        where: str = LOGIN_NODE,
        absent: Sequence[int | str] = (),
    ) -> Iterator[None]:
        """Register a program that undoes the step inside, unless the cluster refused the step.

            with shell.undone_by("userdel", name, absent=[6]):
                shell.run("useradd", name)

        If `useradd` fails because the user exists, that user is not deleted. If `useradd` may
        have run (time limit, lost connection, cancelled task, death of the worker), `userdel` is
        registered. The arguments are those of `on_failure`.
        """
        undo = _undo_step(argv, input, launcher, comment, what, where, absent)
        undo.state = UndoState.UNCERTAIN
        self._undo.add(undo)
        try:
            # Before the step is sent: a worker that dies with it must not take the undo along.
            self.executor.record_undo(self._undo.steps)
        except StepTimedOut:
            self._undo.withdraw(undo)
            raise
        try:
            yield
        except ResopError as fault:
            if fault.nothing_sent or not isinstance(
                fault, StepTimedOut | ContactLost | TaskCancelled
            ):
                self._undo.withdraw(undo)
                self.executor.update_undo(self._undo.steps)
            raise
        undo.state = UndoState.NOT_RUN
        self.executor.update_undo(self._undo.steps)

    def undo(self) -> tuple[list[str], list[str]]:
        """Run the registered undo steps in reverse order. The service calls this after a failure.

        Returns the command lines of the steps that succeeded, and those of the steps that did
        not, each with the reason. Steps that had nothing to undo are in neither.
        """
        waiting = self._undo.waiting()
        for undo in waiting:
            self._run_undo(undo)
        ended = report([undo.record() for undo in reversed(waiting)])
        return ended.undone, ended.needs_repair

    def undo_report(self) -> UndoReport:
        """Return what became of all undo steps of the task."""
        return report([undo.record() for undo in self._undo.steps])

    def repair(self, task: str) -> tuple[list[str], list[str], list[str]]:
        """Run the undo steps that an ended task has left; they become those of this task.

        Returns the command lines of the steps that were done, and of the steps that were not, as
        `undo` does; and of steps that remain with the ended task, as this user cannot run them.
        Raises UnknownTask for a task of others, unless the caller is listed in ADMINISTRATORS; then
        only steps in systems that all users share are run. Raises TaskRunning.
        """
        identity = Identity(self.username, self.cluster)
        is_administrator = self.context.is_administrator(identity)
        steps, left = self.executor.take_over_undo(task, identity, is_administrator)
        self._undo.add(*steps)
        return (*self.undo(), left)

    def _run_undo(self, undo: UndoStep) -> None:
        undo.state = UndoState.SENT
        self.executor.update_undo(self._undo.steps, sending=True)
        try:
            undo.end(self.executor.run(undo.step))
        except ResopError as fault:
            undo.fail(fault.message)
        except Exception as error:
            # Whatever goes wrong with one step, the others still run, and all are reported.
            undo.fail(type(error).__name__)
        self.executor.update_undo(self._undo.steps)

    # -- Reports to the caller

    def log(self, text: str) -> None:
        """Add a line to the task's log, which the caller sees: `shell.log("downloading")`."""
        self.executor.log(text)

    def progress(self, done: float, total: float) -> None:
        """Report how much is done, in any unit: `shell.progress(3, 10)`."""
        self.executor.progress(done, total)

    def fail(self, message: str) -> NoReturn:
        """End the operation with OperationFailed: `shell.fail("the archive is empty")`."""
        raise OperationFailed(message)

    # -- Files and folders

    def put(
        self,
        content: str | bytes,
        path: str,
        *,
        mode: int | None = None,
        overwrite: bool = True,
    ) -> None:
        """Write a file on the cluster: the complete file, or none.

            shell.put("#!/bin/sh\\nhostname\\n", "job.sh", mode=0o700)

        Text is written as UTF-8. Without `mode`, the file keeps the permissions of the file it
        replaces; a new file gets 0600. Raises PathFailed with the reason `missing` (no such
        folder), `denied`, `is_folder`, `exists` (without `overwrite`), `full`, …
        """
        content = content.encode() if isinstance(content, str) else content
        self.executor.put(content, path, mode, overwrite)

    def get(self, path: str, *, limit: int = TRANSFER_LIMIT) -> bytes:
        """Read a file of at most `limit` bytes (64 MiB by default) from the cluster.

            config = json.loads(shell.get("config.json"))

        Raises PathFailed with the reason `missing`, `denied`, `is_folder`, `too_large`, …
        """
        return self.get_file(path, limit=limit).content

    def get_file(self, path: str, *, limit: int = TRANSFER_LIMIT) -> File:
        """Read a file with its permissions and time of last change.

            file = shell.get_file("job.sh")
            shell.put(file.content, "copy.sh", mode=file.mode)

        `limit` and errors are those of `get`.
        """
        return self.executor.get(path, limit)

    def put_folder(self, content: bytes, path: str, *, merge: bool = False) -> TransferStats:
        """Write a folder from a tar archive, also a compressed one: the complete folder, or none.

            stats = shell.put_folder(archive, "inputs")
            shell.log(f"{stats.files} files, {stats.bytes} bytes")

        With `merge`, the archive is unpacked into the existing folder, file by file. Raises
        InvalidOptions, before anything is written, for an archive that contains a device or leads
        out of the folder; PathFailed with the reason `missing` (no such parent folder), `denied`,
        `exists` (without `merge`), `full`, …
        """
        check_archive(content)
        return self.executor.put_folder(content, path, merge)

    def get_folder(self, path: str, *, limit: int = TRANSFER_LIMIT) -> bytes:
        """Read a folder as a tar archive of at most `limit` bytes (64 MiB by default).

            archive = tarfile.open(fileobj=io.BytesIO(shell.get_folder("results")))

        Symbolic links are stored as links. Raises PathFailed with the reason `missing`, `denied`
        (also for a part of the folder), `not_folder`, `too_large`, …
        """
        return self.executor.get_folder(path, limit)

    def copy(self, source: str, target: str, *, overwrite: bool = False) -> TransferStats:
        """Copy a file, or a folder with everything in it, on the cluster.

            shell.copy("/shared/template", "run7")

        A new target is complete, or not there. With `overwrite`, a file is replaced, and a folder
        is merged into the existing one, file by file. Permissions and times stay the same; the task
        reports its progress in bytes. Raises PathFailed with the reason `missing`, `denied`,
        `exists`, `is_folder`, `full`, …
        """
        return self.executor.copy(source, target, overwrite)

    # -- Settings of the site

    def setting(self, name: str, default: str | None = None) -> str:
        """Return a setting that the site made for its operators (a line of config.env).

            license_server = shell.setting("LICENSE_SERVER", "27000@localhost")

        Raises OperationFailed if the setting is missing and has no `default`, and Forbidden if
        the site reserves it for other operators or other clusters.
        """
        return self._setting(name, default)

    def secret(self, name: str) -> Secret:
        """Return a setting that is a secret, such as the password of a service account.

            shell.run("ldapadd", "-y", "/dev/stdin", input=shell.secret("LDAP_PASSWORD"))

        The step runs as the logged-in user, who can read its input, and so can the administrator
        of the login node. Therefore only users listed in the setting ADMINISTRATORS (separated by
        commas) get a secret, and with several clusters only on those to which CLUSTERS_FILE binds
        it. Raises NotPermitted for other users, and what `setting` raises.
        """
        self._require_administrator(f"read the secret setting {name}")
        return Secret(self._setting(name, secret=True))

    def has_secret(self, name: str) -> bool:
        """Return True if a setting that is a secret exists, without reading it.

        if shell.has_secret("PORTAL_PASSWORD"): ...
        """
        return bool(self.context.setting(name, self.operator, self.cluster, secret=True))

    def _setting(self, name: str, default: str | None = None, *, secret: bool = False) -> str:
        value = self.context.setting(name, self.operator, self.cluster, secret=secret) or default
        if value is None:
            self.fail(f"the setting {name} is missing: ask an administrator of this service")
        return value

    # -- The service's record

    def past_tasks(
        self, *actions: str, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[PastTask]:
        """Yield the user's own tasks of these actions that succeeded, newest first.

            for task in shell.past_tasks("submit", since=yesterday):
                shell.log(f"{task.output['job']}: {task.options['script']}")

        `actions` are of the operation's own operator, or `operator:name`. Only tasks on this
        cluster count, created at `since` or later and before `until`; the service deletes old
        tasks (HISTORY_DAYS). Options have their secrets masked. Raises RecordsUnavailable.
        """
        parts = (name.rpartition(":") for name in actions)
        names = [(operator or self.operator, name) for operator, _, name in parts]
        identity = Identity(self.username, self.cluster)
        return self.context.past_tasks(identity, names, since, until)

    # -- Logins to this service

    def end_logins(self, username: str, *, block: str | None = None) -> int:
        """End a user's logins to this service on this cluster; return how many there were.

            shell.end_logins("ada", block="suspended until the audit is over")

        What runs on them ends too: tasks, batches, transfers, event streams. `block` is a reason,
        which the user sees, to refuse further logins until `allow_logins`. Only users listed in the
        setting ADMINISTRATORS may do this. Raises NotPermitted for others. A dry run ends none and
        returns 0.
        """
        by = self._require_administrator(f"end the logins of {username}")
        return self.context.end_logins(username, self.cluster, str(by), block)

    def allow_logins(self, username: str) -> bool:
        """Let a blocked user log in to this service again; return False if there was no block.

            shell.allow_logins("ada")

        Raises NotPermitted for callers who are not listed in the setting ADMINISTRATORS.
        """
        by = self._require_administrator(f"let {username} log in again")
        return self.context.allow_logins(username, self.cluster, str(by))

    def require_administrator(self) -> None:
        """Raise NotPermitted unless the caller is listed in the setting ADMINISTRATORS.

            shell.require_administrator()  # before the first change

        `secret`, `end_logins` and `allow_logins` do so by themselves.
        """
        self._require_administrator("run this action")

    def _require_administrator(self, purpose: str) -> Identity:
        """Return the caller. Raises NotPermitted unless ADMINISTRATORS lists the caller."""
        identity = Identity(self.username, self.cluster)
        if not self.context.is_administrator(identity):
            _log.warning(
                "%s may not %s: the user is not listed in ADMINISTRATORS", identity, purpose
            )
            raise NotPermitted("only administrators of this service may run this action")
        return identity


def _undo_step(
    argv: Sequence[ArgValue],
    input: Input | None,
    launcher: Sequence[str],
    comment: str,
    what: str,
    where: str,
    absent: Sequence[int | str],
) -> UndoStep:
    step = step_request(argv, input, UNDO_SECONDS, undo=True, launcher=launcher, comment=comment)
    return UndoStep(step, what or comment or step.display, where, tuple(absent))
