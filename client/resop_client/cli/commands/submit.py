"""Submit a batch script: with the options of the service, under the names of sbatch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from resop_client.cli.command import Command
from resop_client.cli.commands.jobs import follow_output, wait_for
from resop_client.cli.invocation import Invocation
from resop_client.cli.operators import schema_of, show_dry_run
from resop_client.cli.running import run
from resop_client.cli.schema import ActionSchema
from resop_client.cli.schema_options import SchemaOption, given_options, option_name, options_of
from resop_client.errors import ResopError, UnknownAction
from resop_client.sweep_options import read_script

SBATCH_NAMES = {
    "time_limit": "time",
    "memory": "mem",
    "memory_per_cpu": "mem-per-cpu",
    "memory_per_gpu": "mem-per-gpu",
    "begin_time": "begin",
}
"""The names of sbatch for options that have other names here."""
REPLACED = ("script", "path", "arguments")


class SubmitCommand(Command):
    """A command whose options are those of an action of Slurm, known when they are used."""

    action_name = "submit"
    replaced: Sequence[str] = REPLACED

    def __init__(self, name: str | None, **settings: Any) -> None:
        """Make the command; the options of the schema are added when they are needed."""
        super().__init__(name, **settings)
        self.schema_options: list[SchemaOption] = []

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Add the options of the schema before the command line is read."""
        if not self.schema_options and not ctx.resilient_parsing:
            try:
                self._add(self._action(ctx))
            except ResopError:
                if not set(self.get_help_option_names(ctx)) & set(args):
                    raise
        return super().parse_args(ctx, args)

    def _action(self, ctx: click.Context) -> ActionSchema:
        found = schema_of(ctx.ensure_object(Invocation)).action("slurm", self.action_name)
        if found is None:
            raise UnknownAction(f"this service has no action slurm:{self.action_name}")
        return found

    def _add(self, action: ActionSchema) -> None:
        taken = {name for each in self.params for name in each.opts}
        shown = [each for each in action.options if each.name not in self.replaced]
        names = {
            each.name: [name for name in sbatch_options(each.name) if name not in taken]
            for each in shown
        }
        self.schema_options = options_of([each for each in shown if names[each.name]], names)
        place = self.params.index(self.common[0])
        self.params[place:place] = self.schema_options


def sbatch_options(name: str) -> list[str]:
    """Return the long options for a property: that of the service, and that of sbatch."""
    names = [option_name(name)]
    if other := SBATCH_NAMES.get(name):
        names.insert(0, f"--{other}")
    return names


@click.command(cls=SubmitCommand)
@click.argument("script", type=click.Path())
@click.argument("arguments", nargs=-1)
@click.option("--wait", is_flag=True, help="Wait for its end; the exit code is the job's.")
@click.option("--follow", is_flag=True, help="Print its output as it grows, and wait.")
@click.option("--dry-run", is_flag=True, help="Show what would run; submit nothing.")
@click.option("--tag", multiple=True, help="A tag to find the task by; repeatable.")
@click.pass_context
def submit(
    ctx: click.Context,
    /,
    script: str,
    arguments: tuple[str, ...],
    wait: bool,
    follow: bool,
    dry_run: bool,
    tag: tuple[str, ...],
    **values: Any,
) -> None:
    """Submit a batch script; its options are the long ones of sbatch.

    SCRIPT is a file here, '-' for standard input, or ':path' for a file on the cluster. Ctrl-C
    during --wait or --follow leaves the job running.

    \b
    Examples:
      resop submit run.sh --partition batch --time 30 --follow
      resop submit :jobs/run.sh 7 --wait
    """
    invocation = ctx.ensure_object(Invocation)
    assert isinstance(ctx.command, SubmitCommand)
    options = given_options(ctx.command.schema_options, values)
    if script.startswith(":"):
        options["path"] = script.removeprefix(":")
    else:
        options["script"] = sys.stdin.read() if script == "-" else read_script(script)
    if arguments:
        options["arguments"] = list(arguments)
    path = "/slurm/opn/submit"
    if dry_run:
        show_dry_run(invocation, invocation.hpc.dry_run(path, options=options))
        return
    submitted = run(invocation, path, options, tags=tag)
    job, cluster = str(submitted["job"]), options.get("cluster")
    if not (wait or follow):
        show_submitted(invocation, submitted)
        return
    invocation.note(f"Job {job} is submitted.")
    ctx.exit(_finish(invocation, job, cluster, follow=follow))


def _finish(invocation: Invocation, job: str, cluster: str | None, *, follow: bool) -> int:
    if follow:
        where = {"cluster": cluster} if cluster else {}
        try:
            follow_output(invocation, {"id": job, **where}, follow=True)
        except KeyboardInterrupt:
            click.echo(
                f"\nresop: no longer following; job {job} continues: resop jobs cancel {job}",
                err=True,
            )
            return 130
    return wait_for(invocation, (job,), cluster=cluster, show=not follow)


def show_submitted(invocation: Invocation, submitted: dict[str, Any]) -> None:
    """Show the job that was submitted."""
    if invocation.wants_table:
        click.echo(submitted["job"])
        invocation.note(f"follow it: resop jobs output -f {submitted['job']}")
    else:
        invocation.show(submitted)
