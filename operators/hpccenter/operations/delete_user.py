"""Delete a person from Slurm, the directory and the portal; the home folder stays."""

from typing_extensions import TypedDict

from operators.db.users import users
from operators.ldap.operations import delete_user as ldap
from operators.ldap.people import find
from operators.slurm.associations import accounts_of
from operators.slurm.operations import remove_user as slurm
from resop import Shell, Username, operation


class Deleted(TypedDict):
    """Where the person was, and is no longer."""

    username: str
    accounts: list[str]
    """In Slurm; none where the person was in none."""
    directory: bool
    groups: list[str]
    portal: bool
    home: str | None
    """The home folder, which stays."""


@operation(examples=[{"username": "ada"}])
def delete_user(shell: Shell, username: Username) -> Deleted:
    """Return where the person was.

    The person's jobs are cancelled; who is logged in stays so. Nothing of it can be undone: where
    a step fails, the log says what was done before, and the same request again does the rest.
    """
    user = find(shell, username)
    # Slurm first: it knows the jobs of a user by the number that the directory has.
    accounts = _out_of_slurm(shell, username)
    groups = ldap.delete_user(shell, username=username)["groups"] if user else []
    if in_portal := users(shell).remove(username):
        shell.log(f"{username} is no longer in the portal")
    if not (accounts or user or in_portal):
        shell.fail(f"there is no {username} in the directory, in Slurm or in the portal")
    return Deleted(
        username=username,
        accounts=accounts,
        directory=user is not None,
        groups=groups,
        portal=in_portal,
        home=user["home"] if user else None,
    )


def _out_of_slurm(shell: Shell, username: str) -> list[str]:
    if not accounts_of(shell, username):
        return []
    return slurm.remove_user(shell, user=username, cancel_jobs=True)["accounts"]
