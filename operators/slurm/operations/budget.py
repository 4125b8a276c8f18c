"""Show the limits that apply to a user's jobs, how much of each is used, and what remains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import configuration, listings, parsing
from operators.slurm.account_tree import AccountMembership, AccountTree, read_account_tree
from operators.slurm.association_manager import AssociationKey, LimitUse, read_limit_use
from operators.slurm.client import ask, on_cluster
from operators.slurm.job_types import Name, NameList, SlurmCluster
from operators.slurm.limits import (
    QOS_COLUMNS,
    ConfiguredLimits,
    CountedLimit,
    CountedLimits,
    LimitKey,
    LimitName,
    configured_limits,
    is_shared,
)
from resop import Shell, operation

# The database stores such a limit in percent of the cluster; only slurmctld has the number.
_RELATIVE = "Relative"


class BudgetLimit(TypedDict):
    """A limit, its use, and what it belongs to.

    Numbers of jobs; seconds; resources in counts or bytes, multiplied by minutes where the name
    says so.
    """

    name: LimitName
    """`group_` limits all jobs below an account or in a QOS together, `max_` those of one user."""
    resource: str | None
    limit: int
    used: int | None
    """None: the site hides it."""
    remaining: int | None
    belongs_to: Literal["user", "account", "qos"]
    account: str | None
    user: str | None
    partition: str | None
    """The only partition that the user's association is for."""
    qos: str | None
    partitions: list[str]
    """The partitions whose jobs all count for this QOS."""
    inherited_from: str | None
    """The account that sets the limit of a user."""
    applies_to: list[str]
    """The user's accounts whose jobs it limits."""


class Budget(TypedDict):
    """The limits of a user's jobs: the user's own, those of the accounts above, those of QOS."""

    enforced: bool
    """False: the cluster neither enforces limits nor counts their use."""
    cluster: str
    user: str
    accounts: list[str]
    """The user's accounts."""
    limits: list[BudgetLimit]


class _Belonging(NamedTuple):
    """The owner of a limit, and the user's accounts that it applies to."""

    belongs_to: Literal["user", "account", "qos"]
    applies_to: list[str]
    account: str | None = None
    user: str | None = None
    partition: str | None = None
    qos: str | None = None
    partitions: Sequence[str] = ()


@operation(share_for=5, dry_run=True, examples=[{}, {"accounts": ["project1"]}, {"user": "alice"}])
def budget(
    shell: Shell,
    accounts: Annotated[
        NameList | None, Field(description="only the limits of jobs in these accounts")
    ] = None,
    user: Annotated[
        Name | None, Field(description="the user whose limits are shown (default: you)")
    ] = None,
    cluster: SlurmCluster = None,
) -> Budget:
    """Return every limit that is set, except those of a single job, which `accounts` has.

    A limit of a QOS counts before the same limit of an association. Past use decays as it does for
    fair shares.
    """
    with on_cluster(cluster):
        settings = configuration.read_configuration(shell)
        name, whose = settings.get("ClusterName", ""), user or shell.username
        tree = read_account_tree(shell, name, whose)
        members = [
            each for each in tree.memberships if accounts is None or each.account in accounts
        ]
        if not members:
            among = f" among {', '.join(accounts)}" if accounts else ""
            shell.fail(f"{whose} has no account{among} on the cluster {name}")
        use = read_limit_use(shell, whose)
        qos = _read_qos(shell)
        partitions = _partitions_by_qos(shell)
    own_accounts = list(dict.fromkeys(each.account for each in members))
    return Budget(
        enforced=configuration.enforces_limits(settings),
        cluster=name,
        user=whose,
        accounts=own_accounts,
        limits=[
            *(limit for each in members for limit in _limits_of_user(tree, each, use)),
            *_limits_of_accounts(tree, own_accounts, use),
            *_limits_of_qos(members, whose, use, qos, partitions),
        ],
    )


def _limits_of_user(
    tree: AccountTree, member: AccountMembership, use: LimitUse
) -> Iterator[BudgetLimit]:
    """Yield the limits of the user's own association; accounts above may set those of a user."""
    limits = dict(tree.limits.get(member.key, {}))
    inherited: dict[LimitKey, str] = {}
    for account in tree.line(member.account):
        for key, limit in tree.limits.get(AssociationKey(account), {}).items():
            if not is_shared(key) and key not in limits:
                limits[key], inherited[key] = limit, account
    belonging = _Belonging("user", [member.account], *member.key)
    yield from _limits(belonging, limits, use.associations.get(member.key), inherited)


def _limits_of_accounts(
    tree: AccountTree, accounts: Sequence[str], use: LimitUse
) -> Iterator[BudgetLimit]:
    """Yield the limits that all jobs below an account share, for each account above the user."""
    applies_to: dict[str, list[str]] = {}
    for own in accounts:
        for account in tree.line(own):
            applies_to.setdefault(account, []).append(own)
    for account, owns in applies_to.items():
        key = AssociationKey(account)
        shared = {
            each: limit for each, limit in tree.limits.get(key, {}).items() if is_shared(each)
        }
        counted = use.associations.get(key)
        if counted is not None:
            counted = {each: count for each, count in counted.items() if is_shared(each)}
        yield from _limits(_Belonging("account", owns, account), shared, counted)


def _limits_of_qos(
    members: Sequence[AccountMembership],
    user: str,
    use: LimitUse,
    configured: Mapping[str, ConfiguredLimits],
    partitions: Mapping[str, list[str]],
) -> Iterator[BudgetLimit]:
    """Yield the limits of the QOS that the jobs may have, and of those of partitions."""
    applies_to: dict[str, list[str]] = {}
    for member in members:
        for name in [*member.qos, *partitions]:
            owns = applies_to.setdefault(name, [])
            owns += [member.account] if member.account not in owns else []
    for name, owns in applies_to.items():
        limits, seen = configured.get(name, {}), use.qos.get(name)
        of_qos = _Belonging("qos", owns, qos=name, partitions=partitions.get(name, []))
        by_uid = seen and seen.by_uid.get(use.uid or "", {})
        yield from _limits(of_qos, _part(limits, "group_"), seen and seen.group)
        yield from _limits(of_qos._replace(user=user), _part(limits, "per_user"), by_uid)
        for own in owns:
            counted = seen and seen.by_account.get(own, {})
            of_account = of_qos._replace(account=own, applies_to=[own])
            yield from _limits(of_account, _part(limits, "per_account"), counted)


def _part(limits: ConfiguredLimits, word: str) -> ConfiguredLimits:
    return {key: limit for key, limit in limits.items() if word in key.name}


def _limits(
    belonging: _Belonging,
    configured: ConfiguredLimits,
    counted: CountedLimits | None,
    inherited: Mapping[LimitKey, str] | None = None,
) -> Iterator[BudgetLimit]:
    """Yield each limit; `counted` is None if the site hides the use, and has exact numbers."""
    enforced = {
        key: count.limit for key, count in (counted or {}).items() if count.limit is not None
    }
    for key, limit in (configured | enforced).items():
        used = None if counted is None else counted.get(key, CountedLimit(None, 0)).used
        yield BudgetLimit(
            name=key.name,
            resource=key.resource,
            limit=limit,
            used=used,
            remaining=None if used is None else max(0, limit - used),
            belongs_to=belonging.belongs_to,
            account=belonging.account,
            user=belonging.user,
            partition=belonging.partition,
            qos=belonging.qos,
            partitions=[*belonging.partitions],
            inherited_from=(inherited or {}).get(key),
            applies_to=belonging.applies_to,
        )


def _read_qos(shell: Shell) -> dict[str, ConfiguredLimits]:
    """Return the limits of each QOS; none of one whose limits are percentages."""
    rows = listings.sacctmgr(shell, ("Name", *QOS_COLUMNS, "Flags"), "qos")
    return {
        row["Name"]: {} if _RELATIVE in row["Flags"] else configured_limits(row) for row in rows
    }


def _partitions_by_qos(shell: Shell) -> dict[str, list[str]]:
    """Return the partitions whose jobs all have the limits of a QOS, by its name."""
    answer = ask(shell, "scontrol", "--all", "--oneliner", "show", "partition")
    partitions: dict[str, list[str]] = {}
    for record in listings.records(answer.lines):
        if qos := parsing.parse_text(record.get("QoS", "")):
            partitions.setdefault(qos, []).append(record["PartitionName"])
    return partitions
