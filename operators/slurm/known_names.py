"""Tell an answer that is empty from one that asked for a name that Slurm does not show.

Slurm's clients answer nothing in both cases, for most kinds of names. Each check costs a question,
so only an empty answer is worth it.
"""

from __future__ import annotations

from collections.abc import Iterable

from operators.slurm import listings
from operators.slurm.client import ask
from resop import CommandFailed, InvalidOptions, Shell

MAX_NAMES = 20
"""Names that a message lists."""


def check_partitions(shell: Shell, names: Iterable[str] | None, field: str = "partitions") -> None:
    """Raise InvalidOptions for a partition that the cluster does not have."""
    if names:
        answer = ask(shell, "scontrol", "--all", "--oneliner", "show", "partition")
        found = listings.records(answer.lines)
        known = [each.get("PartitionName", "") for each in found]
        refuse_unknown("partition", names, known, field)


def check_accounts(shell: Shell, names: Iterable[str] | None, field: str = "accounts") -> None:
    """Raise InvalidOptions for an account that the accounting database does not have."""
    if names:
        refuse_unknown("account", names, _accounted(shell, "Account", "account"), field)


def check_users(shell: Shell, names: Iterable[str] | None) -> None:
    """Raise InvalidOptions for a user whom the accounting database does not have."""
    if names:
        refuse_unknown("user", names, _accounted(shell, "User", "user"))


def check_resources(shell: Shell, names: Iterable[str]) -> None:
    """Raise InvalidOptions for a resource that the site's accounting does not track."""
    refuse_unknown("resource", names, tracked_resources(shell))


def tracked_resources(shell: Shell) -> list[str]:
    """Return the resources that the site's accounting tracks: cpu, mem, gres/gpu, …"""
    rows = listings.sacctmgr(shell, ["Type", "Name"], "tres")
    return ["/".join(filter(None, row.values())) for row in rows]


def _accounted(shell: Shell, column: str, kind: str) -> list[str]:
    """Return all names of a kind; none if there is no accounting database to ask."""
    try:
        return [row[column] for row in listings.sacctmgr(shell, [column], kind)]
    except CommandFailed as fault:
        shell.log(f"not checked whether each {kind} exists: {fault.message}")
        return []


def refuse_unknown(
    kind: str, names: Iterable[str], known: Iterable[str], field: str | None = None
) -> None:
    """Raise InvalidOptions for a name that is not known, if any are known."""
    known = {*known}
    unknown = [name for name in names if name not in known]
    if unknown and known:
        others = ", ".join(sorted(known)[:MAX_NAMES])
        more = ", …" if len(known) > MAX_NAMES else ""
        message = f"Slurm shows no {kind} {', '.join(unknown)}; it shows {others}{more}"
        raise InvalidOptions.of(field or f"{kind}s", message)
