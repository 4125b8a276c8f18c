"""API keys: tokens for programs, made from a login."""

from __future__ import annotations

from typing import Any

import click

from resop_client.cli.columns import Column
from resop_client.cli.command import DefaultGroup
from resop_client.cli.invocation import Invocation, pass_invocation

PATH = "/api-keys"
COLUMNS = (
    Column("ID", "id"),
    Column("NAME", "name"),
    Column("EXPIRES", "expires_at"),
    Column("LAST USED", "last_used_at", lambda at: "never" if at is None else str(at)[:16]),
    Column("READ ONLY", lambda row: row["scope"]["read_only"]),
    Column("ACTIONS", lambda row: row["scope"]["actions"]),
    Column("ADDRESSES", lambda row: row["scope"]["addresses"] or "any"),
)


@click.group(cls=DefaultGroup)
def keys() -> None:
    """List, create or revoke API keys: tokens for programs, which act as you."""


@keys.command("list")
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List your API keys."""
    invocation.show(invocation.hpc.connection.get(PATH)["api_keys"], COLUMNS)


@keys.command()
@click.argument("name")
@click.option("--read-only", is_flag=True, help="Only actions that read.")
@click.option(
    "--action", "actions", multiple=True, metavar="GLOB", help="Only these: slurm:*; repeatable."
)
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="NETWORK",
    help="Only from there: 192.0.2.0/24; repeatable.",
)
@click.option("--expires", metavar="TIME", help="When it ends: 2027-01-31T00:00:00Z.")
@pass_invocation
def create(
    invocation: Invocation,
    name: str,
    read_only: bool,
    actions: tuple[str, ...],
    addresses: tuple[str, ...],
    expires: str | None,
) -> None:
    """Make an API key and print it; it is not shown again.

    \b
    Example:
      resop keys create ci --action 'slurm:*' >key.txt
    """
    scope: dict[str, Any] = {"read_only": read_only}
    scope |= {"actions": [*actions]} if actions else {}
    scope |= {"addresses": [*addresses]} if addresses else {}
    body = {"name": name, "scope": scope, **({"expires_at": expires} if expires else {})}
    made = invocation.hpc.connection.post(PATH, body)
    if not invocation.wants_table:
        invocation.show(made)
        return
    click.echo(made["key"])
    invocation.note(f"Key {made['id']} is valid until {made['expires_at'][:16]}; store it now.")


@keys.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@pass_invocation
def revoke(invocation: Invocation, ids: tuple[str, ...]) -> None:
    """End API keys at once."""
    for each in ids:
        invocation.hpc.connection.delete(f"{PATH}/{each}")
        invocation.note(f"Key {each} is revoked.")
