"""The cluster: its nodes, partitions and accounts, and the usage of a period."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from resop_client.cli import human
from resop_client.cli.columns import Column, Row
from resop_client.cli.command import Command
from resop_client.cli.invocation import Invocation, pass_invocation
from resop_client.cli.running import ask


def _counts(row: Row, name: str) -> str:
    """Return allocated and all of a kind of resource: `3/8`."""
    found = row.get(name) or {}
    return ", ".join(f"{kind}:{each['allocated']}/{each['total']}" for kind, each in found.items())


def _time_limit(value: Any) -> str:
    return human.duration(value)


NODE_COLUMNS = (
    Column("NODE", "name"),
    Column("STATE", "status"),
    Column("CPUS", lambda row: f"{row['allocated_cpus']}/{row['cpus']}", right=True),
    Column(
        "MEMORY",
        lambda row: f"{human.size(row['allocated_memory'])} / {human.size(row['memory'])}",
        right=True,
    ),
    Column("GPUS", lambda row: _counts(row, "gpus")),
    Column("PARTITIONS", "partitions"),
    Column("LOAD", "load", right=True),
    Column("REASON", lambda row: (row.get("reason") or {}).get("text")),
    Column("FEATURES", "features"),
)
PARTITION_COLUMNS = (
    Column("PARTITION", lambda row: f"{row['name']}{'*' if row['is_default'] else ''}"),
    Column("STATE", "state"),
    Column("NODES", "nodes", right=True),
    Column("FREE CPUS", lambda row: f"{row['cpus']['idle']}/{row['cpus']['total']}", right=True),
    Column("FREE GPUS", lambda row: f"{row['available_gpus']}/{row['gpus']}", right=True),
    Column("MAX TIME", "max_time", _time_limit, right=True),
    Column("DEFAULT TIME", "default_time", _time_limit, right=True),
    Column("NODE STATES", "nodes_by_state"),
)
ACCOUNT_COLUMNS = (
    Column("ACCOUNT", lambda row: f"{'  ' * row['depth']}{row['account']}"),
    Column("USER", "user"),
    Column("SHARES", "shares", right=True),
    Column("QOS", "qos"),
    Column("PARTITION", "partition"),
    Column("DESCRIPTION", "description"),
)
_repeatable: dict[str, Any] = {"multiple": True, "metavar": "NAME"}
slurm_cluster = click.option(
    "--cluster", metavar="NAME", help="Another Slurm cluster, where there are several."
)


def given(**options: Any) -> dict[str, Any]:
    """Return the options that have a value."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if value not in (None, (), False)
    }


@click.command(cls=Command)
@click.argument("names", required=False)
@click.option("--partition", "partitions", **_repeatable, help="Only its nodes; repeatable.")
@click.option("--state", "states", **_repeatable, help="Only in this state: IDLE; repeatable.")
@slurm_cluster
@pass_invocation
def nodes(
    invocation: Invocation,
    names: str | None,
    partitions: tuple[str, ...],
    states: tuple[str, ...],
    cluster: str | None,
) -> None:
    """List the nodes: state, CPUs, memory and GPUs, used and in all. NAMES: cn[01-04],gpu01."""
    states = tuple(each.upper() for each in states)
    options = given(names=names, partitions=partitions, states=states, cluster=cluster)
    invocation.show(ask(invocation, "/slurm/opn/nodes", options), NODE_COLUMNS)


@click.command(cls=Command)
@click.argument("names", nargs=-1)
@slurm_cluster
@pass_invocation
def partitions(invocation: Invocation, names: tuple[str, ...], cluster: str | None) -> None:
    """List the partitions: limits, and what is free. `*` marks the default."""
    options = given(names=names, cluster=cluster)
    invocation.show(ask(invocation, "/slurm/opn/partitions", options), PARTITION_COLUMNS)


@click.command(cls=Command)
@click.argument("names", nargs=-1)
@click.option("--user", "users", **_repeatable, help="Only accounts of this user; repeatable.")
@slurm_cluster
@pass_invocation
def accounts(
    invocation: Invocation, names: tuple[str, ...], users: tuple[str, ...], cluster: str | None
) -> None:
    """List the accounts, as a tree, with their users."""
    options = given(accounts=names, users=users, cluster=cluster)
    found = ask(invocation, "/slurm/opn/accounts", options)
    invocation.show([*_rows(found)] if invocation.wants_table else found, ACCOUNT_COLUMNS)


def _rows(found: list[dict[str, Any]], depth: int = 0) -> Iterator[dict[str, Any]]:
    for each in found:
        shown = {"depth": depth, "account": each["name"]}
        yield {**each, **shown, "user": None}
        for member in each["users"]:
            yield {**member, "depth": depth, "account": "", "description": None}
        yield from _rows(each["accounts"], depth + 1)


@click.command(cls=Command)
@click.argument("start")
@click.argument("end", required=False)
@click.option("--type", "type_", metavar="TYPE", help="What is reported; see the action report.")
@click.option("--unit", metavar="UNIT", help="The unit: hours, percent, …")
@click.option("--account", "accounts", **_repeatable, help="Only this account; repeatable.")
@click.option("--user", "users", **_repeatable, help="Only this user; repeatable.")
@click.option("--monthly", is_flag=True, help="One period for each month.")
@slurm_cluster
@pass_invocation
def report(
    invocation: Invocation,
    start: str,
    end: str | None,
    type_: str | None,
    unit: str | None,
    accounts: tuple[str, ...],
    users: tuple[str, ...],
    monthly: bool,
    cluster: str | None,
) -> None:
    """Report the usage from START (a day: 2026-11-01) to END.

    All options: resop slurm report --help
    """
    options = given(
        start=start,
        end=end,
        type=type_,
        unit=unit,
        accounts=accounts,
        users=users,
        monthly=monthly,
        cluster=cluster,
    )
    found = ask(invocation, "/slurm/opn/report", options)
    if not invocation.wants_table:
        invocation.show(found)
        return
    rows = [
        {"period": period["start"][:10], **row, **row["figures"], "figures": None}
        for period in found["periods"]
        for row in period["rows"]
    ]
    invocation.note(f"({found['type']}, in {found['unit']})")
    invocation.show(rows)
