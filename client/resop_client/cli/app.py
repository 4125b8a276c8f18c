"""The tree of commands: a table of names and modules, which are imported when they are used."""

from __future__ import annotations

import contextlib
import difflib
import importlib
from typing import NamedTuple

import click

from resop_client.cli.command import Group
from resop_client.cli.service_commands import service_command_names
from resop_client.version import __version__


class Entry(NamedTuple):
    """Where a command is, and what its line of the overview says."""

    section: str
    module: str
    summary: str


_LOGIN, _RUN, _JOBS, _FILES, _MORE = "Log in", "Run", "Slurm", "Files", "Every action"
COMMANDS = {
    "login": Entry(_LOGIN, "login", "log in to a service, and store the login"),
    "logout": Entry(_LOGIN, "login", "end the login"),
    "whoami": Entry(_LOGIN, "login", "show who is logged in, where, and until when"),
    "profiles": Entry(_LOGIN, "profiles", "list the stored logins, or choose one"),
    "keys": Entry(_LOGIN, "keys", "list, create or revoke API keys for programs"),
    "sh": Entry(_RUN, "shell", "run a command line on the cluster"),
    "tasks": Entry(_RUN, "tasks", "list, show, watch, cancel, tag or export tasks"),
    "batch": Entry(_RUN, "batch", "run an action with many sets of options"),
    "submit": Entry(_JOBS, "submit", "submit a batch script, with sbatch's long options"),
    "sweep": Entry(_JOBS, "sweep", "submit a parameter sweep, and collect its results"),
    "jobs": Entry(_JOBS, "jobs", "list, show, wait for, cancel and read jobs"),
    "nodes": Entry(_JOBS, "cluster", "list the nodes"),
    "partitions": Entry(_JOBS, "cluster", "list the partitions"),
    "accounts": Entry(_JOBS, "cluster", "list the accounts and their users"),
    "report": Entry(_JOBS, "cluster", "report the usage of a period"),
    "cp": Entry(_FILES, "copy", "copy files from and to the cluster"),
    "ls": Entry(_FILES, "files", "list a folder"),
    "cat": Entry(_FILES, "files", "print files"),
    "head": Entry(_FILES, "files", "print the beginning of files"),
    "rm": Entry(_FILES, "files", "remove files"),
    "mkdir": Entry(_FILES, "files", "create folders"),
    "mv": Entry(_FILES, "files", "move or rename files"),
    "du": Entry(_FILES, "files", "show the disk space of files and folders"),
    "quota": Entry(_FILES, "files", "show quotas"),
    "actions": Entry(_MORE, "actions", "list the actions of the service, or describe one"),
    "api": Entry(_MORE, "api", "send any request: resop api METHOD PATH"),
    "stubs": Entry(_MORE, "stubs", "write a typed module of the actions of this service"),
    "completion": Entry(_MORE, "completion", "print the completion for bash, zsh or fish"),
}
EPILOG = """\
Any action of any operator: resop OPERATOR ACTION [OPTIONS]. Paths on the cluster begin with ':'
where both sides are meant. Environment: RESOP_URL, RESOP_TOKEN, RESOP_PROFILE, NO_COLOR."""


class Resop(Group):
    """All commands, and the operators of the service."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names that completion offers."""
        from resop_client.cli.operators import stored_operators

        operators = stored_operators(ctx)
        return [*COMMANDS, *(each for each in operators if each not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, or make that of an operator from the schema of the service."""
        if entry := COMMANDS.get(cmd_name):
            module = importlib.import_module(f"resop_client.cli.commands.{entry.module}")
            command: click.Command = getattr(module, cmd_name)
            return command
        if cmd_name.startswith("-"):
            return None
        from resop_client.cli.operators import operator_command

        return operator_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; `OPERATOR:ACTION` is the same as `OPERATOR ACTION`."""
        operator, colon, action = args[0].partition(":")
        words = [operator, action, *args[1:]] if colon and action else args
        if not ctx.resilient_parsing and self.get_command(ctx, words[0]) is None:
            ctx.fail(_unknown(ctx, words[0]))
        return super().resolve_command(ctx, words)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section, the operators that are known, and the service's."""
        from resop_client.cli.operators import stored_operators

        for section in dict.fromkeys(each.section for each in COMMANDS.values()):
            rows = [
                (name, each.summary) for name, each in COMMANDS.items() if each.section == section
            ]
            with formatter.section(section):
                formatter.write_dl(rows, col_spacing=2)
        if operators := stored_operators(ctx):
            with formatter.section("Operators of the service (resop OPERATOR --help)"):
                formatter.write_text(", ".join(operators))
        if names := service_command_names():
            with formatter.section("The service on this machine (resop COMMAND --help)"):
                formatter.write_text(", ".join(names))


def _unknown(ctx: click.Context, name: str) -> str:
    from resop_client.cli.operators import stored_operators

    near = difflib.get_close_matches(name, [*COMMANDS, *stored_operators(ctx)], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"there is no command or operator {name!r}{hint}"


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    click.echo(f"resop-client {__version__}")
    with contextlib.suppress(PackageNotFoundError):
        click.echo(f"resop {version('resop')}")
    ctx.exit()


app = Resop(
    "resop",
    help="An HPC cluster from a laptop: run commands, submit jobs, transfer files.",
    epilog=EPILOG,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_version,
            help="Show the versions, and exit.",
        )
    ],
)
