"""Show a user in the directory, in Slurm and in the portal at once."""

from typing_extensions import TypedDict

from operators.db.users import PortalUser, user_table
from operators.hpccenter.systems import SystemName, site_systems
from operators.ldap.operations import show_user as ldap
from operators.ldap.people import ClusterUser, DirectoryUserDetails, find
from operators.slurm.association_options import UserAssociation, associations_of
from resop import Shell, operation


class UserOverview(TypedDict):
    """A user in the site's systems."""

    username: str
    systems: list[SystemName]
    """The systems that have the user."""
    missing: list[SystemName]
    """The systems of the site that do not have the user."""
    directory: DirectoryUserDetails | None
    accounts: list[UserAssociation]
    """The Slurm accounts, with fair share, limits and qualities of service."""
    portal: PortalUser | None


@operation(dry_run=True, examples=[{"username": "ada"}])
def show_user(shell: Shell, username: ClusterUser) -> UserOverview:
    """Return the user. Fails for a user whom no system has."""
    shell.require_administrator()
    site = site_systems(shell)
    user = find(shell, username) if "directory" in site else None
    directory = ldap.show_user(shell, username=username) if user else None
    username = user["username"] if user else username
    accounts = associations_of(shell, username) if "slurm" in site else []
    rows = user_table(shell).find(username=username) if "portal" in site else []
    has: dict[SystemName, bool] = {
        "directory": user is not None,
        "slurm": bool(accounts),
        "portal": bool(rows),
    }
    systems = [system for system in site if has[system]]
    if not systems:
        shell.fail(f"no system of this site has a user {username}: {', '.join(site)}")
    return UserOverview(
        username=username,
        systems=systems,
        missing=[system for system in site if not has[system]],
        directory=directory,
        accounts=accounts,
        portal=rows[0] if rows else None,
    )
