"""Run actions: wait for their end with a sign of life, and cancel them on Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from resop_client.cli.exit_codes import ExitCode
from resop_client.cli.invocation import Invocation
from resop_client.errors import ResopError

if TYPE_CHECKING:
    from resop_client import Task


def ask(invocation: Invocation, path: str, options: Mapping[str, Any] | None = None) -> Any:
    """Return the answer to a question, which changes nothing, so that nothing is to be cancelled.

    `path` is that of its action: `/slurm/opn/nodes`.
    """
    hpc = invocation.hpc
    with invocation.waiting("Waiting for the answer …"):
        return hpc.run(path, options=options or {})


def run(
    invocation: Invocation,
    path: str,
    options: Mapping[str, Any],
    *,
    tags: Sequence[str] = (),
    task_timeout: float | None = None,
) -> Any:
    """Run an action and return its output; Ctrl-C cancels it. Raises its error."""
    task = start(invocation, path, options, tags=tags, task_timeout=task_timeout)
    return result_of(invocation, task)


def start(
    invocation: Invocation,
    path: str,
    options: Mapping[str, Any],
    *,
    tags: Sequence[str] = (),
    task_timeout: float | None = None,
) -> Task:
    """Start an action and return its task."""
    return invocation.hpc.start(path, tags=tags, task_timeout=task_timeout, options=options)


def result_of(invocation: Invocation, task: Task) -> Any:
    """Wait for the end of a task and return its output; Ctrl-C cancels it. Raises its error."""
    with cancelled_by_interrupt(invocation, task):
        if not task.wait(1):
            text = f"{task.action} is {task.state} …  (Ctrl-C cancels it)"
            with invocation.waiting(text):
                task.wait()
        return task.result()


@contextmanager
def cancelled_by_interrupt(invocation: Invocation, task: Task) -> Iterator[None]:
    """Cancel a task on Ctrl-C, and say what became of it."""
    try:
        yield
    except KeyboardInterrupt:
        cancel(task)


def cancel(task: Task) -> NoReturn:
    """Cancel a task, say what became of it, and exit; a second Ctrl-C does not wait for that."""
    click.echo(f"\nresop: cancelling task {task.id} …", err=True)
    try:
        task.cancel()
    except KeyboardInterrupt:
        click.echo(
            f"resop: the request to cancel was sent; see: resop tasks show {task.id}", err=True
        )
    except ResopError as fault:
        click.echo(
            f"resop: task {task.id} could not be cancelled and may still run: {fault.message}\n"
            f"       try again with: resop tasks cancel {task.id}",
            err=True,
        )
        raise SystemExit(ExitCode.INTERRUPTED) from None
    else:
        click.echo(f"resop: task {task.id} is {task.state}", err=True)
    raise SystemExit(ExitCode.CANCELLED)
