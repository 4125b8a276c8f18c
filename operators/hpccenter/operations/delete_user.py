"""Delete a user from Slurm, the directory and the portal; the home folder remains."""

from typing_extensions import TypedDict

from operators.db.users import user_table
from operators.hpccenter.site_steps import SiteSteps
from operators.hpccenter.systems import SystemName, site_systems
from operators.ldap.operations import delete_user as ldap
from operators.ldap.people import ClusterUser, DirectoryUser, find
from operators.slurm.associations import accounts_of
from operators.slurm.operations import remove_user as slurm
from resop import Shell, operation

BLOCK_REASON = "the account was deleted"
NAMES: dict[SystemName, str] = {
    "directory": "the directory",
    "slurm": "Slurm",
    "portal": "the portal",
}


class UserDeletion(TypedDict):
    """Where the user was deleted."""

    username: str
    accounts: list[str]
    """The user's Slurm accounts."""
    directory: bool
    groups: list[str]
    portal: bool
    home: str | None
    """The home folder, which remains."""


@operation(dry_run=True, examples=[{"username": "ada"}])
def delete_user(shell: Shell, username: ClusterUser) -> UserDeletion:
    """Return where the user was deleted.

    The user's jobs are cancelled. Logins to this service end, with everything that runs on them;
    login sessions that are open on the cluster continue. The site's own steps
    (HPCCENTER_DELETE_STEPS) come first. The deletion cannot be undone: if a step fails, the log
    lists what was done, and repeating the request does the rest.
    """
    shell.require_administrator()
    site = site_systems(shell)
    steps = SiteSteps(shell, "HPCCENTER_DELETE_STEPS")
    user = find(shell, username) if "directory" in site else None
    if user:
        username = user["username"]
        # First, so that nothing of the user runs meanwhile. The cluster may know the name for some
        # minutes after its deletion, so further logins are refused.
        shell.end_logins(username, block=BLOCK_REASON)
        steps.run({**user, "username": username})
    # Slurm first: it needs the directory to map the user's name to the UID of the jobs.
    accounts = _remove_from_slurm(shell, username) if "slurm" in site else []
    groups = ldap.delete_user(shell, username=username)["groups"] if user else []
    in_portal = "portal" in site and user_table(shell).remove(username)
    if in_portal:
        shell.log(f"removed {username} from the portal")
    if not (accounts or user or in_portal):
        _fail_unknown(shell, site, username)
    if not user:
        steps.run({"username": username})
        shell.end_logins(username, block=BLOCK_REASON)
    return _deletion(username, user, accounts, groups, in_portal)


def _remove_from_slurm(shell: Shell, username: str) -> list[str]:
    if not accounts_of(shell, username):
        return []
    return slurm.remove_user(shell, user=username, cancel_jobs=True)["accounts"]


def _fail_unknown(shell: Shell, site: list[SystemName], username: str) -> None:
    systems = " nor ".join(NAMES[system] for system in site)
    neither = "neither " if len(site) > 1 else ""
    has = "has" if neither else "has no"
    what = f"a user {username}" if neither else f"user {username}"
    shell.fail(f"{neither}{systems} {has} {what}")


def _deletion(
    username: str,
    user: DirectoryUser | None,
    accounts: list[str],
    groups: list[str],
    in_portal: bool,
) -> UserDeletion:
    return UserDeletion(
        username=username,
        accounts=accounts,
        directory=user is not None,
        groups=groups,
        portal=in_portal,
        home=user["home"] if user else None,
    )
