"""Read the accounts above a user's associations, with the limits that are set at each."""

from __future__ import annotations

from typing import NamedTuple

from operators.slurm import listings, parsing
from operators.slurm.association_manager import AssociationKey
from operators.slurm.limits import ASSOCIATION_COLUMNS, ConfiguredLimits, configured_limits
from resop import Shell


class AccountMembership(NamedTuple):
    """A user's association with an account, and the QOS that jobs may have there."""

    key: AssociationKey
    qos: list[str]

    @property
    def account(self) -> str:
        """The account."""
        return self.key.account


class AccountTree(NamedTuple):
    """The accounts of a cluster, and a user's place in them."""

    parents: dict[str, str]
    limits: dict[AssociationKey, ConfiguredLimits]
    """The limits that are set at an account or at an association of the user, not inherited."""
    memberships: list[AccountMembership]

    def line(self, account: str) -> list[str]:
        """Return the account and those above it, the nearest first."""
        line = []
        while account and account not in line:
            line.append(account)
            account = self.parents.get(account, "")
        return line


def read_account_tree(shell: Shell, cluster: str, user: str) -> AccountTree:
    """Return all accounts of a cluster, and the user's associations."""
    where = (f"cluster={cluster}", "woplimits")
    columns = ("Account", "User", "Partition", "ParentName", *ASSOCIATION_COLUMNS)
    parents: dict[str, str] = {}
    limits: dict[AssociationKey, ConfiguredLimits] = {}
    for row in listings.sacctmgr(shell, columns, "associations", *where):
        if row["User"] in ("", user):
            limits[_key(row)] = configured_limits(row)
        if not row["User"]:
            parents[row["Account"]] = row["ParentName"]
    # Without the option, the list of QOS has what the accounts above allow.
    own = listings.sacctmgr(
        shell,
        ("Account", "User", "Partition", "QOS"),
        *("associations", f"cluster={cluster}", f"user={user}"),
    )
    memberships = [AccountMembership(_key(row), parsing.split_names(row["QOS"])) for row in own]
    return AccountTree(parents, limits, memberships)


def _key(row: listings.TableRow) -> AssociationKey:
    return AssociationKey(row["Account"], row["User"] or None, row["Partition"] or None)
