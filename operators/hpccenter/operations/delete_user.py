"""Delete a user from Slurm, the directory and the portal; the home folder remains."""

from typing_extensions import TypedDict

from operators.db.users import user_table
from operators.ldap.operations import delete_user as ldap
from operators.ldap.people import ClusterUser, find
from operators.slurm.associations import accounts_of
from operators.slurm.operations import remove_user as slurm
from resop import Shell, operation


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


@operation(examples=[{"username": "ada"}])
def delete_user(shell: Shell, username: ClusterUser) -> UserDeletion:
    """Return where the user was deleted.

    The user's jobs are cancelled. Logins to this service end, with everything that runs on them;
    login sessions that are open on the cluster continue. The deletion cannot be undone: if a step
    fails, the log lists what was done, and repeating the request does the rest.
    """
    user = find(shell, username)
    if user:
        username = user["username"]
        # First, so that nothing of the user runs meanwhile. The cluster may know the name for some
        # minutes after its deletion, so further logins are refused.
        shell.end_logins(username, block="the account was deleted")
    # Slurm first: it needs the directory to map the user's name to the UID of the jobs.
    accounts = _remove_from_slurm(shell, username)
    groups = ldap.delete_user(shell, username=username)["groups"] if user else []
    if in_portal := user_table(shell).remove(username):
        shell.log(f"removed {username} from the portal")
    if not (accounts or user or in_portal):
        shell.fail(f"neither the directory nor Slurm nor the portal has a user {username}")
    if not user:
        shell.end_logins(username, block="the account was deleted")
    return UserDeletion(
        username=username,
        accounts=accounts,
        directory=user is not None,
        groups=groups,
        portal=in_portal,
        home=user["home"] if user else None,
    )


def _remove_from_slurm(shell: Shell, username: str) -> list[str]:
    if not accounts_of(shell, username):
        return []
    return slurm.remove_user(shell, user=username, cancel_jobs=True)["accounts"]
