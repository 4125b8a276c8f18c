"""Create a user in the directory, in Slurm and in the portal, or in none of them."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.db.operations import create_user as portal
from operators.db.users import user_table
from operators.hpccenter.site_steps import SiteSteps
from operators.hpccenter.systems import SystemName, check_option, site_systems
from operators.ldap.hashes import NewPassword
from operators.ldap.operations import create_user as ldap
from operators.ldap.people import DirectoryFullName, DirectoryUser, IdNumber, MailAddress
from operators.slurm.associations import AccountName, accounts_of, has_account
from operators.slurm.operations import add_user as slurm
from resop import Shell, Username, operation


class NewUser(TypedDict):
    """The new user in the directory, and the Slurm account that jobs are charged to."""

    user: DirectoryUser | None
    """None if the site has no directory."""
    account: str | None
    """None if the site has no Slurm."""
    systems: list[SystemName]
    """Where the user was created."""


@operation(
    examples=[
        {
            "username": "ada",
            "full_name": "Ada Example",
            "mail": "ada@hpc.example",
            "password": "correct horse",
            "account": "project9",
        }
    ]
)
def create_user(
    shell: Shell,
    username: Username,
    full_name: Annotated[DirectoryFullName, Field(description="full name")],
    mail: Annotated[MailAddress, Field(description="mail address")],
    password: Annotated[
        NewPassword | None, Field(description="first password; required if there is a directory")
    ] = None,
    account: Annotated[
        AccountName | None,
        Field(description="Slurm account to charge the user's jobs to; required with Slurm"),
    ] = None,
    given_name: Annotated[DirectoryFullName | None, Field(description="given names")] = None,
    surname: Annotated[
        DirectoryFullName | None,
        Field(description="surname (default: the last word of the full name)"),
    ] = None,
    uid_number: Annotated[
        IdNumber | None, Field(description="user id (default: the next after the highest in use)")
    ] = None,
) -> NewUser:
    """Return the new user, who can log in and submit jobs immediately.

    A block of an earlier user of that name is lifted. The site's own steps
    (HPCCENTER_CREATE_STEPS) are the last ones.

    The log lists what was done. If a step fails, the steps before it are undone: see `undone` and
    `needs_repair` of the error.
    """
    shell.require_administrator()
    site = site_systems(shell)
    check_option(site, "directory", "password", password)
    check_option(site, "slurm", "account", account)
    steps = SiteSteps(shell, "HPCCENTER_CREATE_STEPS")
    _check_new(shell, site, username, account)
    user = None
    if "directory" in site:
        assert password is not None
        user = ldap.create_user(
            shell,
            username=username,
            full_name=full_name,
            mail=mail,
            password=password,
            given_name=given_name,
            surname=surname,
            uid_number=uid_number,
        )
    if account is not None:
        slurm.add_user(shell, user=username, account=account)
    name = user["full_name"] if user else full_name.strip()
    if "portal" in site:
        portal.create_user(shell, username=username, mail=mail, full_name=name)
    known = {"full_name": full_name, "mail": mail, "account": account}
    steps.run({**known, **(user or {}), "username": username})
    shell.allow_logins(username)
    return NewUser(user=user, account=account, systems=site)


def _check_new(shell: Shell, site: list[SystemName], username: str, account: str | None) -> None:
    """Fail before the first change where a later step would: each step after it must be undone."""
    if "portal" in site and user_table(shell).find(username=username):
        shell.fail(f"the portal already has a user {username}")
    if account is not None and not has_account(shell, account):
        shell.fail(f"Slurm has no account {account}")
    if account is not None and accounts_of(shell, username, account):
        shell.fail(f"{username} is already in the Slurm account {account}")
