"""Stop a user's new jobs in Slurm, and permit them again with the limits of before.

A suspension sets the association's own GrpSubmitJobs to 0, a limit that users have no use for, so
that MaxSubmitJobs and all other limits stay as they are, and Slurm itself keeps them. Only a user
who has a GrpSubmitJobs gets MaxSubmitJobs=0 instead.
"""

from __future__ import annotations

from typing import NamedTuple

from operators.slurm import listings, parsing
from operators.slurm.associations import modify, undone_by
from resop import Shell

NO_LIMIT = -1
GROUP_LIMIT, MAX_LIMIT = "grpsubmitjobs", "maxsubmitjobs"


class _Membership(NamedTuple):
    """A user's own limits in an account, of one association for each cluster and partition."""

    account: str
    limits: dict[str, list[int | None]]

    def is_closed(self) -> bool:
        """Return True if no association of the user permits a job."""
        pairs = zip(self.limits[GROUP_LIMIT], self.limits[MAX_LIMIT], strict=True)
        return all(0 in pair for pair in pairs)

    def unused(self, name: str) -> bool:
        """Return True if the user has no such limit, other than that of a suspension."""
        return all(limit in (None, 0) for limit in self.limits[name])


def suspend_jobs(shell: Shell, user: str) -> list[str]:
    """Permit no new jobs in any of a user's accounts, registered to be undone; return them."""
    found = _memberships(shell, user)
    for each in found:
        if not each.is_closed():
            _close(shell, user, each)
    return [each.account for each in found]


def resume_jobs(shell: Shell, user: str) -> list[str]:
    """Permit jobs again in a user's accounts, registered to be undone; return all of them."""
    found = _memberships(shell, user)
    for each in found:
        closed = [name for name, limits in each.limits.items() if 0 in limits]
        if closed:
            _set(shell, user, each.account, closed[0], NO_LIMIT, 0)
    return [each.account for each in found]


def _close(shell: Shell, user: str, membership: _Membership) -> None:
    unused = [name for name in membership.limits if membership.unused(name)]
    name = unused[0] if unused else GROUP_LIMIT
    former = next((limit for limit in membership.limits[name] if limit), NO_LIMIT)
    if not unused:
        shell.log(
            f"{user} has both limits of submitted jobs in {membership.account}: to resume the user "
            f"does not put back GrpSubmitJobs={former}"
        )
    _set(shell, user, membership.account, name, 0, former)


def _set(shell: Shell, user: str, account: str, name: str, limit: int, former: int) -> None:
    association = ("modify", "user", "where", f"name={user}", f"account={account}", "set")
    summary = f"set {name}={limit} of {user} in the Slurm account {account}"
    with undone_by(shell, *association, f"{name}={former}"):
        modify(shell, *association, f"{name}={limit}", summary=summary)


def _memberships(shell: Shell, user: str) -> list[_Membership]:
    """Return a user's accounts with the user's own limits, not those of the accounts above."""
    query = ("associations", f"user={user}", "WOPLimits")
    found: dict[str, _Membership] = {}
    for row in listings.sacctmgr(shell, ["account", GROUP_LIMIT, MAX_LIMIT], *query):
        empty = _Membership(row["account"], {GROUP_LIMIT: [], MAX_LIMIT: []})
        membership = found.setdefault(row["account"], empty)
        for name, limits in membership.limits.items():
            limits.append(parsing.parse_int(row[name]))
    return list(found.values())
