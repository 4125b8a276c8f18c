"""Show the fair shares of accounts and users, and how their past use changes their priority."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import configuration, listings, parsing
from operators.slurm.client import ask, on_cluster, unreadable
from operators.slurm.job_types import NameList, Seconds, SlurmCluster
from operators.slurm.known_names import check_accounts, check_users
from resop import Result, Shell, operation

_COLUMNS = [
    *("Account", "User", "Partition", "RawShares", "NormShares", "RawUsage", "NormUsage"),
    *("EffectvUsage", "FairShare", "LevelFS", "TRESRunMins"),
]


class Share(TypedDict):
    """The share of an account, or of a user in an account."""

    is_mine: bool
    """True if it is the caller's own, or of an account with the caller in it or below it."""
    shares: int | None
    """The raw shares; None: those of the parent, or of the root account."""
    normalized_shares: float | None
    """The part of all shares: on the same level (Fair Tree), or of the cluster (classic)."""
    usage: int | None
    """The raw usage in billing-seconds (CPU-seconds unless the site sets TRESBillingWeights)."""
    normalized_usage: float | None
    """The part of the cluster's usage."""
    effective_usage: float | None
    """The part that is compared with the shares: of the parent's usage (Fair Tree), or of the
    cluster's, with that of its siblings (classic)."""
    fairshare: float | None
    """The fairshare factor of a job's priority, from 0 to 1; only the classic algorithm of older
    releases has it for accounts."""
    level_fs: float | None
    """Fair Tree: the shares divided by the usage; below 1 is over-served. None: infinite, since
    nothing was used; the shares are the parent's; or another algorithm."""
    running_minutes: dict[str, int]
    """The most that running jobs can still use: counts or bytes, multiplied by minutes."""


class UserShare(Share):
    """The share of a user in an account."""

    user: str
    partition: str | None
    """The only partition it applies to; None: all."""


class AccountShare(Share):
    """The share of an account, its users, and the accounts below it."""

    account: str
    users: list[UserShare]
    accounts: list[AccountShare]


class FairShares(TypedDict):
    """The tree of shares, and how they are computed."""

    algorithm: Literal["fair_tree", "classic"]
    half_life: Seconds | None
    """The time after which past usage counts half; None: it does not decay."""
    reset_period: str
    """When the usage begins at zero again: NONE, NOW, DAILY, WEEKLY, MONTHLY, …"""
    accounts: list[AccountShare]


@operation(share_for=5, dry_run=True, examples=[{}, {"accounts": ["project1"], "all_users": True}])
def fairshare(
    shell: Shell,
    accounts: Annotated[
        NameList | None, Field(description="only these accounts and those below them")
    ] = None,
    users: Annotated[
        NameList | None, Field(description="the shares of these users (default: your own)")
    ] = None,
    all_users: Annotated[
        bool, Field(description="the shares of all users; ignored with users")
    ] = False,
    cluster: SlurmCluster = None,
) -> FairShares:
    """Return the top accounts (or those asked for), each with its users and the accounts below it.

    A site may hide accounts and users that are not yours.
    """
    # The caller's own rows are always asked for: they show which accounts are the caller's.
    whose = ["--all"] if all_users and not users else [f"--users={_names(users, shell.username)}"]
    style = ("--noheader", "--parsable2", f"--format={','.join(_COLUMNS)}")
    with on_cluster(cluster):
        settings = configuration.read_configuration(shell)
        configuration.require_multifactor(settings)
        rows = _rows(ask(shell, "sshare", *style, *whose))
        if missing := {*(accounts or [])} - {row["Account"].strip() for row in rows}:
            check_accounts(shell, sorted(missing))
        if missing := {*(users or [])} - {row["User"] for row in rows}:
            check_users(shell, sorted(missing))
    is_fair_tree = configuration.uses_fair_tree(settings)
    if not is_fair_tree:  # sshare prints 0
        rows = [row | {"LevelFS": ""} for row in rows]
    tree = _build_tree(rows)
    _mark_own(tree, shell.username)
    if users is not None:
        _keep_users(tree, {*users})
    return FairShares(
        algorithm="fair_tree" if is_fair_tree else "classic",
        half_life=configuration.usage_half_life(settings),
        reset_period=settings.get("PriorityUsageResetPeriod", "NONE"),
        accounts=tree if accounts is None else _topmost(tree, {*accounts}),
    )


def _names(users: list[str] | None, caller: str) -> str:
    return ",".join(dict.fromkeys([*(users or []), caller]))


def _rows(answer: Result) -> list[listings.TableRow]:
    """Return sshare's rows; it prints the cluster's name first if it is asked for one."""
    lines = [line for line in answer.lines if line.strip() and not line.startswith("CLUSTER: ")]
    cells = [line.split("|") for line in lines]
    if any(len(row) != len(_COLUMNS) for row in cells):
        raise unreadable("sshare", answer.stdout)
    return [dict(zip(_COLUMNS, row, strict=True)) for row in cells]


def _build_tree(rows: list[listings.TableRow]) -> list[AccountShare]:
    """Return the top accounts; sshare indents accounts by their depth, and lists users below."""
    top: list[AccountShare] = []
    branch: list[tuple[int, AccountShare]] = []
    for row in rows:
        name = row["Account"].lstrip(" ")
        if row["User"]:
            if not branch or branch[-1][1]["account"] != name:  # the account itself is hidden
                branch = [(0, _account(dict.fromkeys(_COLUMNS, ""), name))]
                top.append(branch[0][1])
            branch[-1][1]["users"].append(_user(row))
            continue
        depth = len(row["Account"]) - len(name)
        branch = [entry for entry in branch if entry[0] < depth]
        account = _account(row, name)
        (branch[-1][1]["accounts"] if branch else top).append(account)
        branch.append((depth, account))
    return top


def _mark_own(accounts: list[AccountShare], caller: str) -> bool:
    """Mark what is the caller's; return True if any of the accounts is."""
    for account in accounts:
        for user in account["users"]:
            user["is_mine"] = user["user"] == caller
        below = _mark_own(account["accounts"], caller)
        account["is_mine"] = below or any(user["is_mine"] for user in account["users"])
    return any(account["is_mine"] for account in accounts)


def _keep_users(accounts: list[AccountShare], users: set[str]) -> None:
    for account in accounts:
        account["users"] = [each for each in account["users"] if each["user"] in users]
        _keep_users(account["accounts"], users)


def _topmost(accounts: list[AccountShare], names: set[str]) -> list[AccountShare]:
    """Return the topmost accounts with these names."""
    found: list[AccountShare] = []
    for account in accounts:
        is_named = account["account"] in names
        found += [account] if is_named else _topmost(account["accounts"], names)
    return found


def _account(row: listings.TableRow, name: str) -> AccountShare:
    return AccountShare(account=name, users=[], accounts=[], **_share(row))


def _user(row: listings.TableRow) -> UserShare:
    return UserShare(user=row["User"], partition=row["Partition"] or None, **_share(row))


def _share(row: listings.TableRow) -> Share:
    return Share(
        is_mine=False,
        shares=parsing.parse_int(row["RawShares"]),
        normalized_shares=parsing.parse_float(row["NormShares"]),
        usage=parsing.parse_int(row["RawUsage"]),
        normalized_usage=parsing.parse_float(row["NormUsage"]),
        effective_usage=parsing.parse_float(row["EffectvUsage"]),
        fairshare=parsing.parse_float(row["FairShare"]),
        level_fs=parsing.parse_float(row["LevelFS"]),
        running_minutes=parsing.parse_tres_counts(row["TRESRunMins"]),
    )
