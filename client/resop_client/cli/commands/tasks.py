"""Tasks: everything that was run through the service."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import click

from resop_client.cli import human
from resop_client.cli.columns import Column
from resop_client.cli.command import DefaultGroup
from resop_client.cli.commands.cluster import given
from resop_client.cli.following import follow
from resop_client.cli.invocation import Invocation, pass_invocation
from resop_client.transport import answer_error

COLUMNS = (
    Column("TASK", "task"),
    Column("ACTION", "action"),
    Column("STATE", "state"),
    Column("CREATED", "created_at", human.moment),
    Column("TOOK", "seconds", human.duration, right=True),
    Column("TAGS", "tags"),
    Column("WHAT", lambda row: _what(row)),
)
WIDEST = 60


def _what(row: Any) -> str:
    """Return the command line, the error, or the options in a few words."""
    if row.get("error"):
        return str(row["error"].get("message", "")).splitlines()[0][:WIDEST]
    found = row.get("command") or human.text(row.get("options"))
    return " ".join(str(found).split())[:WIDEST]


@click.group(cls=DefaultGroup)
def tasks() -> None:
    """List tasks (the default), show, watch, cancel, tag or export them."""


def _filters(function: Any) -> Any:
    for option in (
        click.option("--state", help="Only in this state: running, failed, …"),
        click.option("--operator", help="Only of this operator."),
        click.option("--tag", multiple=True, help="Only with this tag; repeatable."),
        click.option("--text", help="Only whose options or note have this text."),
        click.option("--since", metavar="TIME", help="Only from: 2026-11-30T08:00Z."),
    ):
        function = option(function)
    return function


@tasks.command("list")
@_filters
@click.option("-n", "--limit", type=int, default=20, help="Maximum number (default: 20).")
@pass_invocation
def list_(invocation: Invocation, /, limit: int, **filters: Any) -> None:
    """List your tasks, newest first."""
    chosen = given(**filters)
    found = invocation.hpc.tasks(limit=min(limit, 500), **chosen)
    invocation.show([each.body for each in itertools.islice(found, limit)], COLUMNS)


@tasks.command()
@click.argument("task_id", metavar="TASK")
@pass_invocation
def show(invocation: Invocation, task_id: str) -> None:
    """Show a task: its options, steps, log, output and error."""
    body = invocation.hpc.task(task_id).body
    if not invocation.wants_table:
        invocation.show(body)
        return
    hidden = ("steps", "log", "output", "stderr")
    shown = {name: value for name, value in body.items() if name not in hidden}
    if body.get("seconds") is not None:
        shown["seconds"] = human.duration(body["seconds"])
    if error := body.get("error"):
        shown["error"] = f"{error['type']}: {error['message']}"
    invocation.show(shown)
    for step in body.get("steps") or []:
        click.echo(f"$ {step['command']}  (exit code {step['exit_code']})")
    for line in body.get("log") or []:
        click.echo(f"-- {line}")
    if body.get("output") is not None:
        click.echo("output:")
        invocation.show(body["output"])
    if body.get("stderr"):
        click.echo(body["stderr"], err=True)


@tasks.command()
@click.argument("task_id", metavar="TASK")
@pass_invocation
def watch(invocation: Invocation, task_id: str) -> None:
    """Follow a task: its steps, log and output, until its end. Ctrl-C leaves it running."""
    task = invocation.hpc.task(task_id)
    try:
        task = follow(invocation, task, log=True, cancels=False)
    except KeyboardInterrupt:
        click.echo(
            f"\nresop: no longer watching; the task continues: resop tasks cancel {task_id}",
            err=True,
        )
        raise SystemExit(130) from None
    task.result()
    invocation.note(f"-- {task.state} after {human.duration(task.body['seconds'])}")


@tasks.command()
@click.argument("task_ids", nargs=-1, required=True, metavar="TASK...")
@pass_invocation
def cancel(invocation: Invocation, task_ids: tuple[str, ...]) -> None:
    """Cancel tasks, and what they run on the cluster."""
    ended = [invocation.hpc.task(each).cancel().body for each in task_ids]
    invocation.show(ended, COLUMNS)


@tasks.command()
@click.argument("task_id", metavar="TASK")
@click.argument("tags", nargs=-1, metavar="TAG...")
@click.option("--note", help="Replace the note, too.")
@pass_invocation
def tag(invocation: Invocation, task_id: str, tags: tuple[str, ...], note: str | None) -> None:
    """Replace the tags of a task; without TAG, remove them."""
    task = invocation.hpc.task(task_id)
    task.label(tags=list(tags) if tags or note is None else None, note=note)
    invocation.show([task.body], COLUMNS)


@tasks.command()
@_filters
@click.option("--csv", "as_csv", is_flag=True, help="CSV, not lines of JSON.")
@click.option(
    "-O", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Into this file."
)
@pass_invocation
def export(invocation: Invocation, /, as_csv: bool, output: Path | None, **filters: Any) -> None:
    """Export your tasks with their outputs, as lines of JSON or as CSV."""
    kind = "csv" if as_csv or invocation.format == "csv" else "ndjson"
    response = invocation.hpc.connection.request(
        "GET", f"/tasks/export.{kind}", params=given(**filters), wait=600
    )
    if response.status_code >= 400:
        raise answer_error(response)
    if output is not None:
        output.write_bytes(response.content)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(response.content)
    sys.stdout.buffer.flush()
