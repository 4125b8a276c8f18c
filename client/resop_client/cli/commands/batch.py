"""Batches: one action with many sets of options, one task for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from resop_client.cli import human
from resop_client.cli.columns import Column
from resop_client.cli.command import DefaultGroup
from resop_client.cli.commands.sweep import parameter
from resop_client.cli.exit_codes import ExitCode
from resop_client.cli.invocation import Invocation, pass_invocation
from resop_client.cli.schema_options import read_value

COLUMNS = (
    Column("BATCH", "batch"),
    Column("ACTION", "action"),
    Column("STATE", "state"),
    Column("DONE", lambda row: f"{_done(row)}/{row['size']}", right=True),
    Column("FAILED", lambda row: row["counts"].get("failed", 0), right=True),
    Column("CREATED", "created_at", human.moment),
    Column("TAGS", "tags"),
)


def _done(row: Any) -> int:
    counts = row["counts"]
    return int(row["size"] - counts.get("queued", 0) - counts.get("running", 0))


@click.group(cls=DefaultGroup)
def batch() -> None:
    """Run an action with many sets of options, and look at such batches (default: list them)."""


@batch.command("list")
@click.option("-n", "--limit", type=int, default=20, help="Maximum number (default: 20).")
@pass_invocation
def list_(invocation: Invocation, limit: int) -> None:
    """List your batches, newest first."""
    page = invocation.hpc.connection.get("/batches", params={"limit": limit})
    invocation.show(page["batches"], COLUMNS)


@batch.command("run")
@click.argument("action", metavar="OPERATOR:ACTION")
@click.argument("parameters", nargs=-1, metavar="NAME=VALUES...")
@click.option("--options", default="{}", metavar="JSON", help="With {{NAME}} where values go.")
@click.option("-c", "--command", help="For core:run: the command line, with {{NAME}}.")
@click.option("--zip", "is_zip", is_flag=True, help="First values together, second together, …")
@click.option("--at-once", type=int, help="Maximum number at the same time.")
@click.option("--wait", is_flag=True, help="Wait; the exit code is 1 if any failed.")
@click.option("--tag", multiple=True, help="A tag to find it by; repeatable.")
@pass_invocation
def run_(
    invocation: Invocation,
    action: str,
    parameters: tuple[str, ...],
    options: str,
    command: str | None,
    is_zip: bool,
    at_once: int | None,
    wait: bool,
    tag: tuple[str, ...],
) -> None:
    """Run an action once for each combination of parameters.

    \b
    Example:
      resop batch run core:run -c 'sim --x {{X}} --seed {{SEED}}' X=0.1:1:0.1 SEED=1..5 --wait
    """
    import json

    try:
        body = json.loads(read_value(options))
    except ValueError as fault:
        raise click.BadParameter(f"{fault}", param_hint="--options") from None
    if command is not None:
        body["command"] = command
    made = invocation.hpc.batch(
        action,
        body,
        mode="zip" if is_zip else None,
        at_once=at_once,
        tags=tag,
        **dict(map(parameter, parameters)),
    )
    if not wait:
        if invocation.wants_table:
            click.echo(made.id)
            invocation.note(f"look at it: resop batch show {made.id}")
        else:
            invocation.show(made.body)
        return
    _wait(invocation, made)


def _wait(invocation: Invocation, made: Any) -> None:
    """Wait for the end of a batch with a progress bar; Ctrl-C cancels it."""
    try:
        with invocation.bar(f"batch {made.id[:8]}") as bar:
            for done, total in made.progress():
                bar(done, total)
    except KeyboardInterrupt:
        click.echo(f"\nresop: cancelling batch {made.id} …", err=True)
        made.cancel()
        click.echo(f"resop: batch {made.id} is cancelled", err=True)
        raise SystemExit(ExitCode.CANCELLED) from None
    invocation.show([made.body] if invocation.wants_table else made.body, COLUMNS)
    if not made.succeeded:
        click.get_current_context().exit(ExitCode.FAILED)


@batch.command()
@click.argument("batch_id", metavar="BATCH")
@pass_invocation
def show(invocation: Invocation, batch_id: str) -> None:
    """Show a batch: its options, and how many tasks are in each state."""
    invocation.show(invocation.hpc.find_batch(batch_id).body)


@batch.command()
@click.argument("batch_id", metavar="BATCH")
@click.option("--state", "states", multiple=True, help="Only tasks in this state; repeatable.")
@click.option(
    "-O", "--output", type=click.Path(dir_okay=False, path_type=Path), help="As CSV into this file."
)
@pass_invocation
def results(
    invocation: Invocation, batch_id: str, states: tuple[str, ...], output: Path | None
) -> None:
    """Show a row for each task: its parameters, state, exit code and output."""
    table = invocation.hpc.find_batch(batch_id).results(*states)
    if output is None:
        invocation.show(list(table))
    else:
        table.to_csv(output)
        invocation.note(f"{output}: {len(table)} rows")


@batch.command()
@click.argument("batch_id", metavar="BATCH")
@pass_invocation
def cancel(invocation: Invocation, batch_id: str) -> None:
    """Cancel all tasks of a batch."""
    invocation.show([invocation.hpc.find_batch(batch_id).cancel().body], COLUMNS)


@batch.command()
@click.argument("batch_id", metavar="BATCH")
@click.option("--state", "states", multiple=True, help="Those in this state, such as lost.")
@click.option("--wait", is_flag=True, help="Wait for the end of all.")
@pass_invocation
def retry(invocation: Invocation, batch_id: str, states: tuple[str, ...], wait: bool) -> None:
    """Run again what failed, timed out or was cancelled, as a new batch."""
    made = invocation.hpc.find_batch(batch_id).retry(states)
    if wait:
        _wait(invocation, made)
    else:
        invocation.show([made.body] if invocation.wants_table else made.body, COLUMNS)
