"""Tell whether a user may use a reservation, as slurmctld decides it.

The rules are those of _valid_job_access_resv() in src/slurmctld/reservation.c (22.05 to 26.05).
The answer is None where it cannot be known: where a site enforces no associations, a job may name
any account.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from operators.slurm import listings
from operators.slurm.client import ask
from operators.slurm.cluster.reservation_records import ReservationRecord
from resop import CommandFailed, DaemonUnavailable, OperationFailed, Shell

_GROUP_COLONS = 3
_SETTING = re.compile(r"^(ClusterName|AccountingStorageEnforce) *= (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Requester:
    """The user who asks, as far as the reservations at hand need it."""

    user: str
    groups: frozenset[str] = frozenset()
    """The groups that the user is in, of all that the reservations name."""
    accounts: Sequence[Sequence[str]] | None = None
    """Each of the user's accounts, then those above it; None if they are not known or enforced."""


def read_requester(shell: Shell, records: Sequence[ReservationRecord]) -> Requester:
    """Return what is known of the user; groups and accounts only if a reservation names any."""
    groups, accounts = frozenset[str](), None
    if names := {name for record in records for name in record.groups.allowed}:
        groups = _own_groups(shell, sorted(names))
    if any(not record.accounts.is_open for record in records):
        accounts = _enforced_accounts(shell)
    return Requester(shell.username, groups, accounts)


def may_use(record: ReservationRecord, requester: Requester) -> bool | None:
    """Return whether the user's jobs may use a reservation; None if it depends on the job."""
    if "TIME_FLOAT" in record.flags:  # it keeps nodes free, for nobody
        return False
    if not (record.users.admits({requester.user}) and record.groups.admits(requester.groups)):
        return False
    if not record.accounts.is_open:
        if requester.accounts is None:
            return None
        if not any(_admits_account(record, account) for account in requester.accounts):
            return False
    return None if record.names("QOS") or record.names("AllowedPartitions") else True


def _own_groups(shell: Shell, names: Sequence[str]) -> frozenset[str]:
    """Return those of the groups that the user is in, by number: names may contain spaces."""
    own = {*shell.run("id", "-G", check=False).stdout.split()}
    lines = shell.run("getent", "group", *names, check=False).lines
    entries = [line.split(":") for line in lines if line.count(":") == _GROUP_COLONS]
    return frozenset(name for name, _, number, _ in entries if number in own)


def _admits_account(record: ReservationRecord, account: Sequence[str]) -> bool:
    """Return True if jobs of an account may use a reservation.

    One that names users as well is not for the accounts below the named ones.
    """
    names_users = record.users.allowed or record.groups.allowed
    own = account[:1] if record.accounts.allowed and names_users else account
    return record.accounts.admits({*own})


def _enforced_accounts(shell: Shell) -> list[list[str]] | None:
    """Return the user's accounts on the cluster with those above; None if a job may name any."""
    config = dict(_SETTING.findall(ask(shell, "scontrol", "show", "config").stdout))
    if "associations" not in config.get("AccountingStorageEnforce", ""):
        return None
    cluster = f"cluster={config.get('ClusterName', '').strip()}"
    columns = ["Account", "User", "ParentName"]
    try:
        rows = listings.sacctmgr(shell, columns, "associations", "where", cluster)
    except (CommandFailed, DaemonUnavailable, OperationFailed) as fault:
        shell.log(f"it is not known which accounts may use reservations: {fault.message}")
        return None
    parents = {row["Account"]: row["ParentName"] for row in rows if not row["User"]}
    own = {row["Account"] for row in rows if row["User"] == shell.username}
    return [[*_with_parents(account, parents)] for account in sorted(own)]


def _with_parents(account: str, parents: Mapping[str, str]) -> Iterator[str]:
    while account:
        yield account
        account = parents.get(account, "")
