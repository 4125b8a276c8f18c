"""Submit a parameter sweep, and collect its results as a table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from resop_client.cli.commands.submit import REPLACED, SubmitCommand, show_submitted
from resop_client.cli.invocation import Invocation
from resop_client.cli.operators import show_dry_run
from resop_client.cli.schema_options import given_options
from resop_client.sweep_options import read_script

_RANGE = re.compile(r"([-+0-9.eE]+):([-+0-9.eE]+)(?::([-+0-9.eE]+))?")
_INTEGER = re.compile(r"[-+]?(0|[1-9]\d*)")
"""`007` is text: the zeros may be meant."""
_DECIMAL = re.compile(r"[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?|[-+]?[1-9]\d*[eE][-+]?\d+")
_WHOLE_RANGE = re.compile(r"([-+]?\d+)\.\.([-+]?\d+)")


class SweepCommand(SubmitCommand):
    """Takes the options of `slurm:sweep`."""

    action_name = "sweep"
    replaced = (*REPLACED, "parameters", "mode", "items")


@click.command(cls=SweepCommand)
@click.argument("script", type=click.Path())
@click.argument("parameters", nargs=-1, required=True, metavar="NAME=VALUES...")
@click.option("--zip", "is_zip", is_flag=True, help="First values together, second together, …")
@click.option("--wait", is_flag=True, help="Wait for its end.")
@click.option(
    "--collect",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="CSV",
    help="Wait, and write parameters, states and results into this file.",
)
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="NAME",
    help="With --collect: a file of each run, such as out-{index}.csv; repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Show what would run; submit nothing.")
@click.option("--tag", multiple=True, help="A tag to find the task by; repeatable.")
@click.pass_context
def sweep(
    ctx: click.Context,
    /,
    script: str,
    parameters: tuple[str, ...],
    is_zip: bool,
    wait: bool,
    collect: Path | None,
    files: tuple[str, ...],
    dry_run: bool,
    tag: tuple[str, ...],
    **values: Any,
) -> None:
    """Submit a script once for each combination of parameters, as one job array.

    VALUES are a range START:STOP:STEP or FIRST..LAST, whose last value is part of it, or a list
    A,B,C. The script gets the parameters as environment variables.

    \b
    Examples:
      resop sweep run.sh X0=0.1:2.0:0.1 SEED=1..10 --partition batch --wait
      resop sweep run.sh SEED=1..10 --collect out.csv --file 'out-{index}.txt'
    """
    invocation = ctx.ensure_object(Invocation)
    assert isinstance(ctx.command, SubmitCommand)
    options = given_options(ctx.command.schema_options, values)
    options["parameters"] = dict(map(parameter, parameters))
    options |= {"mode": "zip"} if is_zip else {}
    if dry_run:
        options["script"] = read_script(script)
        show_dry_run(invocation, invocation.hpc.dry_run("/slurm/opn/sweep", options=options))
        return
    cluster = options.pop("cluster", None)
    found = options.pop("parameters")
    submitted = invocation.hpc.sweep(script, parameters=found, cluster=cluster, tags=tag, **options)
    if not wait and collect is None:
        show_submitted(invocation, dict(submitted.submission))
        return
    invocation.note(f"Job {submitted.job}: {submitted.runs} runs.")
    from resop_client.cli.commands.jobs import wait_for

    code = wait_for(invocation, (str(submitted.job),), cluster=cluster, show=collect is None)
    if collect is not None:
        table = submitted.results(*files)
        table.to_csv(collect)
        failed = sum(each.state != "COMPLETED" for each in table)
        if not invocation.wants_table:
            invocation.show(list(table))
        invocation.note(f"{collect}: {len(table)} runs, {failed} of them failed.")
    ctx.exit(code)


def parameter(text: str) -> tuple[str, Any]:
    """Return a parameter's name and values from the command line."""
    name, equals, values = text.partition("=")
    if not equals or not name or not values:
        raise click.BadParameter(f"{text!r} is not NAME=VALUES, such as X0=0.1:2.0:0.1")
    if whole := _WHOLE_RANGE.fullmatch(values):
        return name, {"start": int(whole[1]), "stop": int(whole[2])}
    if found := _RANGE.fullmatch(values):
        numbers = [_number(each) for each in found.groups() if each is not None]
        if all(isinstance(each, int | float) for each in numbers):
            return name, dict(zip(("start", "stop", "step"), numbers, strict=False))
    return name, [_number(each) for each in values.split(",")]


def _number(text: str) -> int | float | str:
    """Return a number as it is written, or the text."""
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text
