"""The tree of accounts: who may charge what, with which limits, shares and qualities of service."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.job_types import Names, Seconds
from resop import Shell, operation

_ASSOCIATION = [
    *("Cluster", "Account", "User", "Partition", "ParentName", "Share", "Priority", "QOS"),
    *("DefaultQOS", "GrpJobs", "GrpSubmit", "GrpWall", "GrpTRES", "GrpTRESMins", "GrpTRESRunMins"),
    *("MaxJobs", "MaxSubmit", "MaxWall", "MaxTRES", "MaxTRESPerNode", "MaxTRESMins"),
]
Key = tuple[str, str]
"""Cluster and account."""


class Limits(TypedDict):
    """Limits of an association; None, or nothing in a dict, is no limit of its own.

    Resources are counts and bytes, or such times minutes. `group_` is what all jobs below it may
    have together, `max_` what each user, or each job, may.
    """

    group_jobs: int | None
    group_submitted_jobs: int | None
    group_wall: Seconds | None
    group_resources: dict[str, int]
    group_resource_minutes: dict[str, int]
    group_running_minutes: dict[str, int]
    max_jobs: int | None
    max_submitted_jobs: int | None
    max_wall: Seconds | None
    max_resources: dict[str, int]
    max_resources_per_node: dict[str, int]
    max_resource_minutes: dict[str, int]


class Association(TypedDict):
    """What holds for an account, or a user in it."""

    shares: int | None
    """Of the fair share; None for the parent's."""
    priority: int | None
    qos: list[str]
    default_qos: str | None
    limits: Limits


class Member(Association):
    """A user of an account."""

    user: str
    partition: str | None
    """Where this holds in one partition alone."""
    is_default: bool
    """Whether jobs of this user are charged to this account unless they name another."""


class Account(Association):
    """An account, its users, and the accounts below it."""

    cluster: str
    name: str
    description: str
    organization: str
    users: list[Member]
    accounts: list[Account]


@operation(share_for=5, examples=[{}, {"accounts": ["project1"]}, {"users": ["alice"]}])
def accounts(
    shell: Shell,
    accounts: Annotated[
        Names | None, Field(description="only these accounts, with what is below them")
    ] = None,
    users: Annotated[
        Names | None, Field(description="only these users, and the accounts they may charge")
    ] = None,
) -> list[Account]:
    """Return the accounts that have no parent, or none that was asked for, with all below them.

    A database of several clusters has a tree for each.
    """
    questions = [
        (_ASSOCIATION, "associations"),
        (["Account", "Organization", "Description"], "account"),
        (["User", "DefaultAccount"], "user"),
    ]
    rows, about, default = shell.map(lambda each: listings.sacctmgr(shell, *each), questions)
    known = {row["Account"]: row for row in about}
    tree = {_key(row): _account(row, known.get(row["Account"], {})) for row in rows if _own(row)}
    defaults = {(row["User"], row["DefaultAccount"]) for row in default}
    for row in rows:
        if not _own(row) and _key(row) in tree:
            member = _member(row, is_default=(row["User"], row["Account"]) in defaults)
            tree[_key(row)]["users"].append(member)
    parents = {_key(row): (row["Cluster"], row["ParentName"]) for row in rows if _own(row)}
    roots = _joined(tree, parents, accounts)
    return roots if users is None else _with_users(roots, {*users})


def _own(row: listings.Row) -> bool:
    """Whether this is the association of the account itself, not that of a user of it."""
    return not row["User"]


def _key(row: listings.Row) -> Key:
    return row["Cluster"], row["Account"]


def _joined(
    tree: dict[Key, Account], parents: dict[Key, Key], wanted: list[str] | None
) -> list[Account]:
    """The accounts put below their parents; those that are wanted and stand below no other one."""
    for key, account in tree.items():
        if parents[key] in tree:
            tree[parents[key]]["accounts"].append(account)
    if wanted is None:
        return [account for key, account in tree.items() if parents[key] not in tree]

    def is_below(key: Key) -> bool:
        return key in tree and (key[1] in wanted or is_below(parents[key]))

    return [tree[key] for key in tree if key[1] in wanted and not is_below(parents[key])]


def _with_users(accounts: list[Account], users: set[str]) -> list[Account]:
    """The accounts that these users may charge, or that stand above such a one."""
    kept = []
    for account in accounts:
        account["users"] = [each for each in account["users"] if each["user"] in users]
        account["accounts"] = _with_users(account["accounts"], users)
        if account["users"] or account["accounts"]:
            kept.append(account)
    return kept


def _account(row: listings.Row, about: listings.Row) -> Account:
    return Account(
        cluster=row["Cluster"],
        name=row["Account"],
        description=about.get("Description", ""),
        organization=about.get("Organization", ""),
        users=[],
        accounts=[],
        **_association(row),
    )


def _member(row: listings.Row, *, is_default: bool) -> Member:
    return Member(
        user=row["User"],
        partition=row["Partition"] or None,
        is_default=is_default,
        **_association(row),
    )


def _association(row: listings.Row) -> Association:
    return Association(
        shares=parsing.whole(row["Share"]),
        priority=parsing.whole(row["Priority"]),
        qos=parsing.words(row["QOS"]),
        default_qos=row["DefaultQOS"] or None,
        limits=Limits(
            group_jobs=parsing.whole(row["GrpJobs"]),
            group_submitted_jobs=parsing.whole(row["GrpSubmit"]),
            group_wall=parsing.duration(row["GrpWall"]),
            group_resources=parsing.tres(row["GrpTRES"]),
            group_resource_minutes=parsing.tres(row["GrpTRESMins"]),
            group_running_minutes=parsing.tres(row["GrpTRESRunMins"]),
            max_jobs=parsing.whole(row["MaxJobs"]),
            max_submitted_jobs=parsing.whole(row["MaxSubmit"]),
            max_wall=parsing.duration(row["MaxWall"]),
            max_resources=parsing.tres(row["MaxTRES"]),
            max_resources_per_node=parsing.tres(row["MaxTRESPerNode"]),
            max_resource_minutes=parsing.tres(row["MaxTRESMins"]),
        ),
    )
