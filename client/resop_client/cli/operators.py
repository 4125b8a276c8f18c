"""Commands made from the schema of the service: `resop OPERATOR ACTION`."""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Sequence
from typing import Any

import click

from resop_client.cli.command import Command, Group
from resop_client.cli.invocation import Invocation
from resop_client.cli.schema import ActionSchema, Schema
from resop_client.cli.schema_cache import SchemaCache
from resop_client.cli.schema_options import (
    ARGUMENTS,
    fill_required,
    given_options,
    options_of,
)
from resop_client.errors import ResopError


def schema_of(invocation: Invocation, *, renew: bool = False) -> Schema:
    """Return the schema of the service of this run."""
    if invocation.schema is None or renew:
        invocation.schema = SchemaCache().load(invocation.hpc, renew=renew)
    return invocation.schema


def stored_operators(ctx: click.Context) -> list[str]:
    """Return the operators that are known without a request, for completion and for help."""
    schema = _stored_schema(ctx.ensure_object(Invocation))
    return list(schema.operators) if schema else []


def _stored_schema(invocation: Invocation) -> Schema | None:
    try:
        return SchemaCache().stored(invocation.hpc.url)
    except ResopError:  # no service is known
        return None


def operator_command(ctx: click.Context, name: str) -> click.Command | None:
    """Return the command of an operator; None if there is no operator of this name."""
    invocation = ctx.ensure_object(Invocation)
    if ctx.resilient_parsing:  # completion asks no service
        schema = _stored_schema(invocation)
    else:
        schema = schema_of(invocation)
        if schema.operator(name) is None:  # it may be new
            schema = schema_of(invocation, renew=True)
    return OperatorGroup(schema, name) if schema and schema.operator(name) else None


class OperatorGroup(Group):
    """The actions of an operator as commands."""

    def __init__(self, schema: Schema, name: str) -> None:
        """`name` is the operator's."""
        self._actions = schema.operator(name) or {}
        self._schema = schema
        described = schema.describe_operator(next(iter(self._actions.values())).operator)
        super().__init__(name, help=described or f"The actions of the operator {name}.")

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the actions."""
        return list(self._actions)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of an action."""
        found = self._schema.action(self.name or "", cmd_name)
        if found is not None:
            return ActionCommand(found)
        if not ctx.resilient_parsing and not cmd_name.startswith("-"):
            near = difflib.get_close_matches(cmd_name, self._actions, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"operator {self.name!r} has no action {cmd_name!r}{hint}")
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the actions with their summaries."""
        with formatter.section("Actions"):
            formatter.write_dl([(name, each.summary) for name, each in self._actions.items()])


class ActionCommand(Command):
    """An action as a command, with its options from the schema."""

    def __init__(self, action: ActionSchema) -> None:
        """Make the options of an action."""
        self.action = action
        self._options = options_of(action.options)
        taken = [name for each in self._options for name in each.opts]
        super().__init__(
            action.name,
            callback=self._run,
            help=action.description,
            epilog=_examples(action),
            params=[
                click.Argument(["words"], nargs=-1, metavar=_words_metavar(action)),
                *self._options,
                *_task_options(taken),
            ],
        )

    def _run(self, words: tuple[str, ...], **values: Any) -> None:
        from resop_client.cli import running

        invocation = click.get_current_context().ensure_object(Invocation)
        options = self._read(words, values, invocation)
        path = self.action.path
        if values.get("dry_run"):
            show_dry_run(invocation, invocation.hpc.dry_run(path, options=options))
            return
        tags, limit = values.get("tag") or (), values.get("task_timeout")
        if values.get("detach"):
            task = running.start(invocation, path, options, tags=tags, task_timeout=limit)
            show_started(invocation, task.id)
        elif self.action.answer_is_shared and not tags and limit is None:
            invocation.show(running.ask(invocation, path, options))
        else:
            invocation.show(running.run(invocation, path, options, tags=tags, task_timeout=limit))

    def _read(
        self, words: Sequence[str], values: dict[str, Any], invocation: Invocation
    ) -> dict[str, Any]:
        """Return the options of the action; secrets that are required are asked for."""
        options = given_options(self._options, values)
        fill_required(self.action.options, options, words)
        for found in self.action.options:
            if not found.is_secret:
                continue
            if found.required and found.name not in options:
                options[found.name] = click.prompt(found.name, hide_input=True, err=True)
            if found.name in options:
                invocation.secrets.add(str(options[found.name]))
        return options


def _words_metavar(action: ActionSchema) -> str:
    arguments = next((each for each in action.options if each.name == ARGUMENTS), None)
    if arguments is not None:
        return "[ARGUMENTS]..."
    names = [each.name.upper() for each in action.options if each.required and not each.is_secret]
    return " ".join(f"[{name}]" for name in names) or " "


def _task_options(taken: Sequence[str]) -> list[click.Option]:
    """Return the options of the request whose names the action has not taken."""
    options = [
        click.Option(["--dry-run"], is_flag=True, help="Show what would run; run nothing."),
        click.Option(["--detach"], is_flag=True, help="Return the id of the task at once."),
        click.Option(["--tag"], multiple=True, help="A tag to find the task by; repeatable."),
        click.Option(
            ["--task-timeout"], type=float, metavar="SECONDS", help="Stop the task after this."
        ),
    ]
    return [each for each in options if each.opts[0] not in taken]


def _examples(action: ActionSchema) -> str | None:
    """Return the examples of an action as command lines; a form feed keeps their lines."""
    lines = [example_line(action, each) for each in action.examples]
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines) if lines else None


def example_line(action: ActionSchema, options: dict[str, Any]) -> str:
    """Return options of the API as a command line."""
    words = [f"resop {action.operator} {action.name}"]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if name == ARGUMENTS:
            continue
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag.removeprefix('--')}")
            continue
        values = value if isinstance(value, list) else [value]
        words += [f"{flag} {shlex.quote(_written(each))}" for each in values]
    arguments = options.get(ARGUMENTS, [])
    arguments = [arguments] if isinstance(arguments, str) else arguments
    words += [
        shlex.quote(str(each))
        for each in ([arguments] if isinstance(arguments, str) else arguments)
    ]
    return " ".join(words)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def show_started(invocation: Invocation, task_id: str) -> None:
    """Show the id of a task that was started."""
    if invocation.wants_table:
        click.echo(task_id)
        invocation.note(f"follow it: resop tasks watch {task_id}")
    else:
        invocation.show({"task": task_id})


def show_dry_run(invocation: Invocation, shown: dict[str, Any]) -> None:
    """Show what would run: a command line, or the plan of an operation."""
    if invocation.wants_table and isinstance(shown.get("command"), str):
        click.echo(shown["command"])
    else:
        invocation.show(shown)
    invocation.note("(dry run: nothing was run)")
