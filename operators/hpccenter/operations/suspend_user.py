"""Suspend a user (no logins, no new jobs, no portal), or resume a suspended one."""

from typing import Annotated, NamedTuple

from pydantic import Field
from typing_extensions import TypedDict

from operators.db.users import PortalUser, UserTable, user_table
from operators.hpccenter.site_steps import SiteSteps
from operators.hpccenter.systems import SystemName, site_systems
from operators.ldap.people import ClusterUser, DirectoryUser, get_user
from operators.ldap.suspension import forget_note, suspend, suspension_notes
from operators.ldap.suspension import resume as resume_logins
from operators.slurm.client import ask
from operators.slurm.suspension import resume_jobs, suspend_jobs
from resop import Shell, operation

PORTAL_DISABLED = "portal disabled"
"""A note in the directory: the portal had disabled the user before the suspension."""


class AccessStatus(TypedDict):
    """A user's access after the change."""

    username: str
    suspended: bool
    accounts: list[str]
    """The Slurm accounts that are closed or open for the user."""
    portal: bool
    """True if the portal has the user."""


@operation(dry_run=True, examples=[{"username": "ada"}, {"username": "ada", "resume": True}])
def suspend_user(
    shell: Shell,
    username: ClusterUser,
    resume: Annotated[bool, Field(description="resume the user instead of suspending")] = False,
    cancel_jobs: Annotated[
        bool, Field(description="also cancel the user's jobs, which otherwise continue")
    ] = False,
) -> AccessStatus:
    """Return the user's access after the change; if a step fails, those before it are undone.

    An expiry date in the directory (shadowExpire, or what LDAP_SUSPEND_ATTRIBUTE names) blocks
    logins by password and by key; login sessions that are open on the cluster continue. Logins to
    this service end, with everything that runs on them. A resumed user has the expiry date, the
    limits of jobs and the state in the portal of the time before, and can log in to this service.
    What somebody else has changed since then stays. The site's own steps (HPCCENTER_SUSPEND_STEPS,
    HPCCENTER_RESUME_STEPS) come last.
    """
    shell.require_administrator()
    site = site_systems(shell)
    steps = SiteSteps(shell, f"HPCCENTER_{'RESUME' if resume else 'SUSPEND'}_STEPS")
    user = get_user(shell, username) if "directory" in site else None
    username = user["username"] if user else username
    # Before the first change, so that nothing has to be undone if it fails.
    table = user_table(shell) if "portal" in site else None
    row = next(iter(table.find(username=username)), None) if table else None
    account = _Account(shell, site, username, user, table, row)
    accounts = _resume(account) if resume else _suspend(account)
    if cancel_jobs and not resume and "slurm" in site:
        ask(shell, "scancel", "--quiet", f"--user={username}")
    steps.run({**(user or {}), "username": username})
    # Last, since only steps on the cluster are undone.
    if resume:
        shell.allow_logins(username)
    else:
        shell.end_logins(username, block="the account is suspended")
    return AccessStatus(
        username=username, suspended=not resume, accounts=accounts, portal=row is not None
    )


class _Account(NamedTuple):
    """A user's account in the site's systems."""

    shell: Shell
    site: list[SystemName]
    username: str
    user: DirectoryUser | None
    table: UserTable | None
    row: PortalUser | None


def _suspend(account: _Account) -> list[str]:
    """Suspend the user in the site's systems; return the Slurm accounts."""
    shell, site, username, user, table, row = account
    if user:
        was_off = row is not None and row["enabled"] is False
        changed = suspend(shell, user["dn"], [PORTAL_DISABLED] if was_off else [])
        if row and not was_off and not changed:  # it was enabled since the first suspension
            forget_note(shell, user["dn"], PORTAL_DISABLED)
        shell.log(f"{username} can no longer log in")
    accounts = suspend_jobs(shell, username) if "slurm" in site else []
    if "slurm" in site:
        shell.log(f"{username} can no longer submit jobs to {_join(accounts)}")
    if table and row:
        table.enable(row, False)
        shell.log(f"{username} can no longer use the portal")
    return accounts


def _resume(account: _Account) -> list[str]:
    """Resume the user in the site's systems as before; return the Slurm accounts."""
    shell, site, username, user, table, row = account
    notes = suspension_notes(shell, user["dn"]) if user and row else []
    if user:
        resume_logins(shell, user["dn"])
        shell.log(f"{username} can log in")
    accounts = resume_jobs(shell, username) if "slurm" in site else []
    if "slurm" in site:
        shell.log(f"{username} can submit jobs to {_join(accounts)}")
    if table and row and PORTAL_DISABLED in notes and not row["enabled"]:
        shell.log(f"{username} cannot use the portal, as before the suspension")
    elif table and row:
        table.enable(row, True)
        shell.log(f"{username} can use the portal")
    return accounts


def _join(accounts: list[str]) -> str:
    return ", ".join(accounts) or "no account"
