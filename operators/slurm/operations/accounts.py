"""Show the tree of accounts: users, limits, fair shares and qualities of service."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.job_types import NameList, SlurmCluster
from operators.slurm.known_names import refuse_unknown
from operators.slurm.limit_fields import SharedLimits, shared_limits
from resop import Shell, operation

_ASSOCIATION_COLUMNS = [
    *("Cluster", "Account", "User", "Partition", "ParentName", "Share", "Priority", "QOS"),
    *("DefaultQOS", "GrpJobs", "GrpSubmit", "GrpWall", "GrpTRES", "GrpTRESMins", "GrpTRESRunMins"),
    *("MaxJobs", "MaxSubmit", "MaxWall", "MaxTRES", "MaxTRESPerNode", "MaxTRESMins"),
]
AccountKey = tuple[str, str]
"""Cluster and account."""


class AssociationLimits(SharedLimits):
    """The limits of an association; None, or a missing key, means that it sets no limit.

    Resources are counts or bytes, multiplied by minutes where the name says so. `group_` limits
    all jobs below the association together, `max_` each user or each job.
    """

    max_jobs: int | None
    max_submitted_jobs: int | None


class Association(TypedDict):
    """The settings of an account, or of a user in an account."""

    shares: int | None
    """The fair-share weight; None: that of the parent."""
    priority: int | None
    qos: list[str]
    default_qos: str | None
    limits: AssociationLimits


class AccountMember(Association):
    """A user of an account."""

    user: str
    partition: str | None
    """The only partition the association applies to; None: all."""
    is_default: bool
    """True if the user's jobs are charged to this account by default."""


class SlurmAccount(Association):
    """An account, its users, and the accounts below it."""

    cluster: str
    name: str
    description: str
    organization: str
    users: list[AccountMember]
    accounts: list[SlurmAccount]


@operation(
    share_for=5, dry_run=True, examples=[{}, {"accounts": ["project1"]}, {"users": ["alice"]}]
)
def accounts(
    shell: Shell,
    accounts: Annotated[
        NameList | None, Field(description="only these accounts and those below them")
    ] = None,
    users: Annotated[
        NameList | None, Field(description="only these users and their accounts")
    ] = None,
    cluster: SlurmCluster = None,
) -> list[SlurmAccount]:
    """Return the top accounts (or those asked for), each with the accounts below it.

    A database of several clusters has one tree per cluster.
    """
    queries = [
        (_ASSOCIATION_COLUMNS, "associations"),
        (["Account", "Organization", "Description"], "account"),
        (["User", "DefaultAccount"], "user"),
    ]
    rows, details, default = shell.map(lambda each: listings.sacctmgr(shell, *each), queries)
    rows = [row for row in rows if cluster in (None, row["Cluster"])]
    known = {row["Account"]: row for row in details}
    refuse_unknown("account", accounts or (), known)
    refuse_unknown("user", users or (), [row["User"] for row in default])
    tree = {
        _key(row): _account(row, known.get(row["Account"], {}))
        for row in rows
        if _is_account_row(row)
    }
    defaults = {(row["User"], row["DefaultAccount"]) for row in default}
    for row in rows:
        if not _is_account_row(row) and _key(row) in tree:
            member = _member(row, is_default=(row["User"], row["Account"]) in defaults)
            tree[_key(row)]["users"].append(member)
    parents = {
        _key(row): (row["Cluster"], row["ParentName"]) for row in rows if _is_account_row(row)
    }
    roots = _build_tree(tree, parents, accounts)
    return roots if users is None else _keep_users(roots, {*users})


def _is_account_row(row: listings.TableRow) -> bool:
    """Return True for the association of an account itself, not of a user in it."""
    return not row["User"]


def _key(row: listings.TableRow) -> AccountKey:
    return row["Cluster"], row["Account"]


def _build_tree(
    tree: dict[AccountKey, SlurmAccount],
    parents: dict[AccountKey, AccountKey],
    names: list[str] | None,
) -> list[SlurmAccount]:
    """Put each account below its parent; return the roots, or the topmost accounts in `names`."""
    for key, account in tree.items():
        if parents[key] in tree:
            tree[parents[key]]["accounts"].append(account)
    if names is None:
        return [account for key, account in tree.items() if parents[key] not in tree]

    def is_below(key: AccountKey) -> bool:
        return key in tree and (key[1] in names or is_below(parents[key]))

    return [tree[key] for key in tree if key[1] in names and not is_below(parents[key])]


def _keep_users(accounts: list[SlurmAccount], users: set[str]) -> list[SlurmAccount]:
    """Return the accounts with any of these users, and their parents."""
    remaining = []
    for account in accounts:
        account["users"] = [each for each in account["users"] if each["user"] in users]
        account["accounts"] = _keep_users(account["accounts"], users)
        if account["users"] or account["accounts"]:
            remaining.append(account)
    return remaining


def _account(row: listings.TableRow, details: listings.TableRow) -> SlurmAccount:
    return SlurmAccount(
        cluster=row["Cluster"],
        name=row["Account"],
        description=details.get("Description", ""),
        organization=details.get("Organization", ""),
        users=[],
        accounts=[],
        **_association(row),
    )


def _member(row: listings.TableRow, *, is_default: bool) -> AccountMember:
    return AccountMember(
        user=row["User"],
        partition=row["Partition"] or None,
        is_default=is_default,
        **_association(row),
    )


def _association(row: listings.TableRow) -> Association:
    return Association(
        shares=parsing.parse_int(row["Share"]),
        priority=parsing.parse_int(row["Priority"]),
        qos=parsing.split_names(row["QOS"]),
        default_qos=row["DefaultQOS"] or None,
        limits=AssociationLimits(
            **shared_limits(row),
            max_jobs=parsing.parse_int(row["MaxJobs"]),
            max_submitted_jobs=parsing.parse_int(row["MaxSubmit"]),
        ),
    )
