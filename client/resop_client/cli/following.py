"""Follow a task on the terminal: its output as it comes, its log and its progress."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from resop_client.cli.invocation import Invocation
from resop_client.cli.running import cancelled_by_interrupt

if TYPE_CHECKING:
    from resop_client import Task, TaskEvent


def follow(invocation: Invocation, task: Task, *, log: bool = False, cancels: bool = True) -> Task:
    """Write the output of a task as it comes, until its end; return the task as it ended.

    `log`: also write the lines of its log and its commands. `cancels`: Ctrl-C cancels the task.
    """
    if not cancels:
        _write_events(invocation, task, log=log)
    else:
        with cancelled_by_interrupt(invocation, task):
            _write_events(invocation, task, log=log)
    return task.refresh()


def _write_events(invocation: Invocation, task: Task, *, log: bool) -> None:
    with _shown_progress(invocation, task.action) as bar:
        for event in task.events():
            if event.kind == "output":
                bar.hide()
                write_output(event.data.text, event.data.stream)
            elif event.kind == "progress":
                bar(event.data.done, event.data.total)
            elif log:
                _write_log(invocation, event)


def write_output(text: str, stream: str) -> None:
    """Write output of the cluster to the same stream here, at once."""
    target: TextIO = sys.stderr if stream == "stderr" else sys.stdout
    try:
        target.write(text)
    except UnicodeEncodeError:
        encoding = target.encoding or "ascii"
        target.write(text.encode(encoding, "replace").decode(encoding))
    target.flush()


def _write_log(invocation: Invocation, event: TaskEvent) -> None:
    match event.kind:
        case "state":
            invocation.note(f"-- {event.data.state}")
        case "log":
            invocation.note(f"-- {event.data.text}")
        case "step":
            invocation.note(f"$ {event.data.command}")


class _LazyBar:
    """A progress bar that is made when there is progress."""

    def __init__(self, invocation: Invocation, label: str) -> None:
        self._invocation = invocation
        self._label = label
        self._shown = False

    def __call__(self, done: float, total: float) -> None:
        """Show the progress in one line, which the next one replaces."""
        if self._invocation.quiet or not sys.stderr.isatty():
            return
        self._shown = True
        sys.stderr.write(f"\r{self._label}: {done:g} of {total:g}\x1b[K")
        sys.stderr.flush()

    def hide(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


@contextmanager
def _shown_progress(invocation: Invocation, label: str) -> Iterator[_LazyBar]:
    bar = _LazyBar(invocation, label)
    try:
        yield bar
    finally:
        bar.hide()
