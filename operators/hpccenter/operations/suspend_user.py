"""Suspend a person: no login, no new jobs, no portal; or let the person in again."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.db.users import users
from operators.ldap.people import SUSPENDED, existing, let_in
from operators.slurm.associations import limit_jobs
from operators.slurm.client import ask
from resop import Shell, Username, operation


class Suspended(TypedDict):
    """How a person stands now."""

    username: str
    suspended: bool
    accounts: list[str]
    """The Slurm accounts that were closed or opened."""
    portal: bool
    """Whether the person is in the portal at all."""


@operation(examples=[{"username": "ada"}, {"username": "ada", "resume": True}])
def suspend_user(
    shell: Shell,
    username: Username,
    resume: Annotated[bool, Field(description="the other way round: let the person in")] = False,
    cancel_jobs: Annotated[
        bool, Field(description="cancel the jobs that wait or run, which go on otherwise")
    ] = False,
) -> Suspended:
    """Return how the person stands now; a step that fails undoes those before it.

    Logins are shut in the directory (shadowExpire), by password and by key; who is logged in
    stays so. Resumed, a person has no day of expiry and no own limit of jobs (MaxSubmitJobs).
    """
    user = existing(shell, username)
    no_longer = "" if resume else " no longer"
    let_in(shell, user, None if resume else SUSPENDED)
    shell.log(f"{username} can{no_longer} log in")
    accounts = limit_jobs(shell, username, None if resume else 0)
    shell.log(f"{username} can{no_longer} submit jobs to {', '.join(accounts) or 'no account'}")
    portal = users(shell)
    in_portal = portal.find(username=username)
    for row in in_portal:
        portal.enable(row, resume)
        shell.log(f"{username} can{no_longer} use the portal")
    if cancel_jobs and not resume:
        ask(shell, "scancel", "--quiet", f"--user={username}")
    return Suspended(
        username=username, suspended=not resume, accounts=accounts, portal=bool(in_portal)
    )
