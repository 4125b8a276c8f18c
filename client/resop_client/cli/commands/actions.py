"""The actions of the service: list them, or describe one."""

from __future__ import annotations

import click

from resop_client.cli.columns import Column
from resop_client.cli.command import Command
from resop_client.cli.invocation import Invocation, pass_invocation
from resop_client.cli.operators import ActionCommand, schema_of
from resop_client.cli.schema import ActionSchema, Schema
from resop_client.errors import UnknownAction

COLUMNS = (Column("ACTION", "action"), Column("DESCRIPTION", "description"))
OPERATOR_COLUMNS = (
    Column("OPERATOR", "name"),
    Column("ACTIONS", "actions", lambda names: str(len(names)), right=True),
    Column("DESCRIPTION", "description"),
)


@click.command(cls=Command)
@click.argument("operator", required=False)
@click.argument("action", required=False)
@pass_invocation
def actions(invocation: Invocation, operator: str | None, action: str | None) -> None:
    """List the operators, the actions of one, or describe one action.

    \b
    Examples:
      resop actions
      resop actions slurm
      resop actions slurm submit
    """
    schema = schema_of(invocation)
    if operator is None:
        invocation.show(_operators(schema), OPERATOR_COLUMNS)
        return
    found = schema.operator(operator)
    if found is None:
        raise UnknownAction(f"there is no operator {operator!r} ({', '.join(schema.operators)})")
    if action is None:
        invocation.show([_line(each) for each in found.values()], COLUMNS)
        return
    described = schema.action(operator, action)
    if described is None:
        raise UnknownAction(f"operator {operator!r} has no action {action!r} ({', '.join(found)})")
    if invocation.wants_table:
        name = f"{described.operator} {described.name}"
        command = ActionCommand(described)
        with click.Context(command, info_name=f"resop {name}") as context:
            click.echo(command.get_help(context))
    else:
        invocation.show(invocation.hpc.describe(described.path))


def _operators(schema: Schema) -> list[dict[str, object]]:
    return [
        {"name": name, "actions": [*found], "description": schema.describe_operator(name)}
        for name, found in schema.operators.items()
    ]


def _line(action: ActionSchema) -> dict[str, str]:
    return {"action": f"{action.operator}:{action.name}", "description": action.summary}
