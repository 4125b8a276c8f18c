"""Create a user in the directory, in Slurm and in the portal, or in none of them."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, Unpack

from pydantic import Field
from typing_extensions import TypedDict

from operators.db.operations import create_user as portal
from operators.db.users import user_table
from operators.hpccenter.outcomes import overall
from operators.hpccenter.person_options import OptionsBySystem, PersonOptions, split_options
from operators.hpccenter.site_steps import SiteSteps
from operators.hpccenter.systems import SystemName, check_option, site_systems
from operators.ldap import groups as directory_groups
from operators.ldap.existing_user import Ensure, Update
from operators.ldap.hashes import NewPassword
from operators.ldap.operations import create_user as ldap
from operators.ldap.people import (
    DirectoryFullName,
    DirectoryUser,
    ExistingGroup,
    ExpiryDate,
    IdNumber,
    MailAddress,
    find_users,
)
from operators.linux_user.passwords import GeneratePassword
from operators.slurm.associations import AccountName, accounts_of, has_account
from operators.slurm.operations import add_user as slurm
from resop import Outcome, Secret, Shell, Username, operation


class NewUser(TypedDict):
    """The user in the directory, and the Slurm account that jobs are charged to."""

    outcome: Outcome
    """created: in no system before; unchanged: in all systems as asked for; else changed."""
    outcomes: dict[SystemName, Outcome]
    user: DirectoryUser | None
    """None if the site has no directory."""
    account: str | None
    """None if the site has no Slurm."""
    systems: list[SystemName]
    """Where the user is now."""
    password: Secret | None
    """A generated password, which only the first answer shows."""


@operation(
    dry_run=True,
    examples=[
        {
            "username": "ada",
            "full_name": "Ada Example",
            "mail": "ada@hpc.example",
            "password": "correct horse",
            "account": "project9",
        }
    ],
)
def create_user(
    shell: Shell,
    username: Username,
    full_name: Annotated[DirectoryFullName, Field(description="full name")],
    mail: Annotated[MailAddress, Field(description="mail address")],
    password: Annotated[
        NewPassword | None, Field(description="first password (default: a generated one)")
    ] = None,
    generate_password: GeneratePassword = False,
    account: Annotated[
        AccountName | None,
        Field(description="Slurm account to charge the user's jobs to; required with Slurm"),
    ] = None,
    further_accounts: Annotated[
        list[AccountName] | None, Field(description="further Slurm accounts of the user")
    ] = None,
    groups: Annotated[
        list[ExistingGroup] | None, Field(description="groups in the directory to add the user to")
    ] = None,
    uid_number: Annotated[
        IdNumber | None, Field(description="user id (default: the next after the highest in use)")
    ] = None,
    expires: Annotated[
        ExpiryDate | None, Field(description="date from which the account is expired")
    ] = None,
    ensure: Ensure = False,
    update: Update = False,
    **options: Unpack[PersonOptions],
) -> NewUser:
    """Return the new user, who can log in and submit jobs immediately.

    A block of an earlier user of that name is lifted. The site's own steps
    (HPCCENTER_CREATE_STEPS) are the last ones.

    With `ensure`, a user who exists in some or all systems is created where missing. The site's
    own steps then run, and a block is lifted, only if the user was in no system before.

    The log lists what was done. If a step fails, the steps before it are undone: see `undone` and
    `needs_repair` of the error.
    """
    shell.require_administrator()
    site = site_systems(shell)
    generate = generate_password or None
    for name, value in (("password", password), ("generate_password", generate)):
        check_option(site, "directory", name, value, required=False)
    check_option(site, "directory", "groups", groups, required=False)
    check_option(site, "slurm", "account", account)
    check_option(site, "slurm", "further_accounts", further_accounts, required=False)
    by_system = split_options(site, {**options, "uid_number": uid_number, "expires": expires})
    by_system["directory"] |= {"password": password, "generate_password": generate_password}
    steps = SiteSteps(shell, "HPCCENTER_CREATE_STEPS")
    accounts = list(dict.fromkeys([account, *(further_accounts or [])])) if account else []
    _check_new(shell, site, username, accounts, ensure)
    creation = _Creation(shell, username, mail, {"ensure": ensure, "update": update}, by_system)
    outcomes: dict[SystemName, Outcome] = {}
    found = None
    if "directory" in site:
        found, outcomes["directory"] = _add_to_directory(creation, full_name, groups or [])
    if accounts:
        outcomes["slurm"] = _add_to_accounts(creation, accounts)
    if "portal" in site:
        name = found["full_name"] if found else full_name.strip()
        outcomes["portal"] = _add_to_portal(creation, name)
    user = _directory_user(found) if found else None
    outcome = overall(outcomes.values())
    if outcome == "created":
        known = {"full_name": full_name, "mail": mail, "account": account}
        steps.run({**known, **(user or {}), "username": username})
        shell.allow_logins(username)
    return NewUser(
        outcome=outcome,
        outcomes=outcomes,
        user=user,
        account=account,
        systems=site,
        password=found["password"] if found else None,
    )


class _Creation(NamedTuple):
    """A user who is being created."""

    shell: Shell
    username: str
    mail: str
    settling: dict[str, Any]
    """`ensure` and `update`."""
    by_system: OptionsBySystem


def _check_new(
    shell: Shell, site: list[SystemName], username: str, accounts: Sequence[str], ensure: bool
) -> None:
    """Fail before the first change where a later step would: each step after it must be undone."""
    if "portal" in site and user_table(shell).find(username=username) and not ensure:
        shell.fail(f"the portal already has a user {username}")
    for account in accounts:
        if not has_account(shell, account):
            shell.fail(f"Slurm has no account {account}")
        if not ensure and accounts_of(shell, username, account):
            shell.fail(f"{username} is already in the Slurm account {account}")


def _add_to_directory(
    creation: _Creation, full_name: str, groups: Sequence[str]
) -> tuple[ldap.NewDirectoryUser, Outcome]:
    """Add the user to the directory and to its groups."""
    shell, username, mail, settling, by_system = creation
    about = {"username": username, "full_name": full_name, "mail": mail}
    options: dict[str, Any] = {**about, **settling, **by_system["directory"]}
    found = ldap.create_user(shell, **options)
    return found, overall([found["outcome"], *_join_groups(shell, username, groups)])


def _join_groups(shell: Shell, username: str, groups: Sequence[str]) -> list[Outcome]:
    """Add the user to groups of the directory; return what was done about each of them."""
    if not groups:
        return []
    [entry] = find_users(shell, [username])
    member = directory_groups.GroupMember.of(entry, username)
    outcomes: list[Outcome] = []
    for name in dict.fromkeys(groups):
        group = directory_groups.get_group(shell, name)
        new = directory_groups.add_members(shell, group, [member])
        shell.log(f"added {username} to the group {name}" if new else f"{username} is in {name}")
        outcomes.append("created" if new else "unchanged")
    return outcomes


def _add_to_accounts(creation: _Creation, accounts: Sequence[str]) -> Outcome:
    """Add the user to Slurm accounts, of which the first is the default one."""
    shell, username, _, settling, by_system = creation
    outcomes = []
    for number, account in enumerate(accounts):
        options: dict[str, Any] = {**settling, **by_system["slurm"]}
        # The first account of a new user is the default one in any case.
        options["default"] = number == 0 and settling["ensure"]
        added = slurm.add_user(shell, user=username, account=account, **options)
        outcomes.append(added["outcome"])
    return overall(outcomes)


def _add_to_portal(creation: _Creation, full_name: str) -> Outcome:
    shell, username, mail, settling, by_system = creation
    about = {"username": username, "mail": mail, "full_name": full_name}
    options: dict[str, Any] = {**about, **settling, **by_system["portal"]}
    return portal.create_user(shell, **options)["outcome"]


def _directory_user(found: ldap.NewDirectoryUser) -> DirectoryUser:
    """Return the user without what the directory's operation says besides."""
    return DirectoryUser(
        dn=found["dn"],
        username=found["username"],
        uid_number=found["uid_number"],
        gid_number=found["gid_number"],
        full_name=found["full_name"],
        given_name=found["given_name"],
        surname=found["surname"],
        mail=found["mail"],
        home=found["home"],
        login_shell=found["login_shell"],
        expires=found["expires"],
        suspended=found["suspended"],
    )
