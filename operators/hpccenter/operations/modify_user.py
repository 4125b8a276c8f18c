"""Change a user in the directory, in Slurm and in the portal, or in none of them."""

from typing import Annotated, Any, Literal, Unpack

from pydantic import Field

from operators.db.operations import modify_user as portal
from operators.hpccenter.operations.show_user import UserOverview, show_user
from operators.hpccenter.person_options import PersonOptions, split_options
from operators.hpccenter.systems import check_option, site_systems
from operators.ldap.operations import modify_user as ldap
from operators.ldap.people import ClusterUser, DirectoryFullName, ExpiryDate, MailAddress
from operators.slurm.association_options import ClearedName
from operators.slurm.associations import AccountName
from operators.slurm.operations import modify_user as slurm
from resop import Shell, operation


@operation(
    dry_run=True,
    examples=[
        {"username": "ada", "mail": "ada@new.example", "expires": "2030-01-01"},
        {"username": "ada", "account": "project9", "fairshare": 10, "qos": ["normal", "long"]},
    ],
)
def modify_user(
    shell: Shell,
    username: ClusterUser,
    full_name: Annotated[DirectoryFullName | None, Field(description="full name")] = None,
    mail: Annotated[MailAddress | None, Field(description="mail address")] = None,
    expires: Annotated[
        ExpiryDate | Literal["never"] | None,
        Field(description="date from which the account is expired, or never"),
    ] = None,
    account: Annotated[
        AccountName | None,
        Field(description="change Slurm's limits only in this account (default: in all)"),
    ] = None,
    default_account: Annotated[
        AccountName | None, Field(description="account that jobs are charged to by default")
    ] = None,
    clear: Annotated[
        list[ClearedName] | None, Field(description="Slurm's limits that no longer apply")
    ] = None,
    **options: Unpack[PersonOptions],
) -> UserOverview:
    """Return the user after the change; a dry run, before it. Options not given change nothing.

    Name and mail address are changed in the directory and in the portal. If a step fails, those
    before it are undone.
    """
    shell.require_administrator()
    site = site_systems(shell)
    by_system = split_options(site, {**options, "expires": expires})
    in_slurm = {"default_account": default_account, "clear": clear}
    for name, value in (*in_slurm.items(), ("account", account)):
        check_option(site, "slurm", name, value, required=False)
    by_system["slurm"] |= {name: value for name, value in in_slurm.items() if value}
    about = {"full_name": full_name, "mail": mail}
    names: dict[str, Any] = {name: value for name, value in about.items() if value}
    before = show_user(shell, username=username)
    username = before["username"]
    if "directory" in site and (by_system["directory"] or names):
        ldap.modify_user(shell, username=username, **names, **by_system["directory"])
    if by_system["slurm"]:
        slurm.modify_user(shell, user=username, account=account, **by_system["slurm"])
    if before["portal"] and (by_system["portal"] or names):
        portal.modify_user(shell, username=username, **names, **by_system["portal"])
    return show_user(shell, username=username)
