"""Run a command line on the cluster, with its output as it comes."""

from __future__ import annotations

import shlex
import sys

import click

from resop_client.cli.command import Command
from resop_client.cli.following import follow
from resop_client.cli.invocation import Invocation, pass_invocation
from resop_client.cli.operators import show_dry_run, show_started
from resop_client.cli.running import result_of, start

PATH = "/core/opn/run"


@click.command(cls=Command, context_settings={"allow_interspersed_args": False})
@click.argument("words", nargs=-1, required=True, metavar="LINE | -- ARGV...")
@click.option("--stdin", "with_stdin", is_flag=True, help="Send standard input to the command.")
@click.option("--detach", is_flag=True, help="Return the id of the task at once.")
@click.option("--dry-run", is_flag=True, help="Show what would run; run nothing.")
@click.option("--tag", multiple=True, help="A tag to find the task by; repeatable.")
@click.option("--task-timeout", type=float, metavar="SECONDS", help="Stop the command after this.")
@pass_invocation
def sh(
    invocation: Invocation,
    words: tuple[str, ...],
    with_stdin: bool,
    detach: bool,
    dry_run: bool,
    tag: tuple[str, ...],
    task_timeout: float | None,
) -> None:
    """Run a command line on the cluster's login node.

    One argument is a line for your shell there; several are the words of one command, quoted as
    needed. Output comes as it is written, the exit code is the command's, and Ctrl-C cancels it.

    \b
    Examples:
      resop sh 'module load gcc && make -j8'
      resop sh -- grep -c 'a b' file.txt
      resop sh --stdin 'wc -l' <local.txt
    """
    line = words[0] if len(words) == 1 else shlex.join(words)
    options = {"command": line, "check": False}
    if with_stdin:
        options["stdin"] = sys.stdin.read()
    if dry_run:
        show_dry_run(invocation, invocation.hpc.dry_run(PATH, options=options))
        return
    task = start(invocation, PATH, options, tags=tag, task_timeout=task_timeout)
    if detach:
        show_started(invocation, task.id)
        return
    if not invocation.wants_table:
        result = result_of(invocation, task)
        invocation.show(result)
        click.get_current_context().exit(result.exit_code)
    task = follow(invocation, task)
    result = task.result()
    if task.body.get("truncated"):
        invocation.note("(the output was longer: only its beginning was kept)")
    click.get_current_context().exit(result.exit_code)
