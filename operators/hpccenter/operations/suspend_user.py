"""Suspend a user (no logins, no new jobs, no portal), or resume a suspended one."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.db.users import user_table
from operators.ldap.people import ClusterUser, get_user
from operators.ldap.suspension import resume as resume_logins
from operators.ldap.suspension import suspend
from operators.slurm.associations import limit_jobs
from operators.slurm.client import ask
from resop import Shell, operation


class AccessStatus(TypedDict):
    """A user's access after the change."""

    username: str
    suspended: bool
    accounts: list[str]
    """The Slurm accounts that were closed or reopened for the user."""
    portal: bool
    """True if the portal has the user."""


@operation(examples=[{"username": "ada"}, {"username": "ada", "resume": True}])
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
    this service end, with everything that runs on them. A resumed user has the expiry date of the
    time before, no own limit of jobs (MaxSubmitJobs), and can log in to this service.
    """
    user = get_user(shell, username)
    username = user["username"]
    no_longer = "" if resume else " no longer"
    if resume:
        resume_logins(shell, user["dn"])
    else:
        suspend(shell, user["dn"])
    shell.log(f"{username} can{no_longer} log in")
    accounts = limit_jobs(shell, username, None if resume else 0)
    shell.log(f"{username} can{no_longer} submit jobs to {', '.join(accounts) or 'no account'}")
    portal = user_table(shell)
    in_portal = portal.find(username=username)
    for row in in_portal:
        portal.enable(row, resume)
        shell.log(f"{username} can{no_longer} use the portal")
    if cancel_jobs and not resume:
        ask(shell, "scancel", "--quiet", f"--user={username}")
    # Last, since only steps on the cluster are undone.
    if resume:
        shell.allow_logins(username)
    else:
        shell.end_logins(username, block="the account is suspended")
    return AccessStatus(
        username=username, suspended=not resume, accounts=accounts, portal=bool(in_portal)
    )
