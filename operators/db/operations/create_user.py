"""Add a user to the portal; undone if an operation that calls this one fails later."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from operators.db.statement import SqlValue
from operators.db.users import PortalFullName, PortalRole, PortalUser, UserTable, user_table
from operators.ldap.people import MailAddress
from operators.linux_user.hashes import Password, hash_password
from operators.linux_user.passwords import GeneratePassword, first_password
from resop import Outcome, Secret, Shell, Username, operation


class NewPortalUser(PortalUser):
    """A user of the portal, and whether the user was added."""

    outcome: Outcome
    password: Secret | None
    """A generated password, which only the first answer shows."""


@operation(
    dry_run=True,
    examples=[
        {"username": "ada", "mail": "ada@hpc.example", "full_name": "Ada Example"},
        {
            "username": "ada",
            "mail": "ada@hpc.example",
            "full_name": "Ada Example",
            "password": "correct horse",
            "role": "admin",
        },
    ],
)
def create_user(
    shell: Shell,
    username: Username,
    mail: Annotated[MailAddress, Field(description="mail address")],
    full_name: Annotated[PortalFullName, Field(description="full name")],
    password: Annotated[
        Password | None, Field(description="password for the portal; stored as SHA-512 crypt")
    ] = None,
    generate_password: GeneratePassword = False,
    role: Annotated[
        PortalRole | None, Field(description="role (default: that of the table)")
    ] = None,
    enabled: Annotated[
        bool | None, Field(description="allow the user to log in to the portal (default: true)")
    ] = None,
    ensure: Annotated[
        bool, Field(description="succeed if the user exists with these values")
    ] = False,
    update: Annotated[
        bool, Field(description="with `ensure`: change the values that differ, instead of failing")
    ] = False,
) -> NewPortalUser:
    """Return the new user, with a generated password if that was asked for.

    With `ensure`, a user who exists is returned instead; the password of one is not compared.
    """
    chosen = first_password(shell, password, True) if generate_password else password
    table = user_table(shell)
    wanted: dict[str, SqlValue] = {"mail": mail, "full_name": full_name, "role": role}
    if existing := table.find(username=username):
        if not ensure:
            shell.fail(f"the portal already has a user {username}")
        return _settle(shell, table, existing[0], {**wanted, "enabled": enabled}, update=update)
    row = {name: value for name, value in wanted.items() if value is not None}
    if enabled is False:
        row["enabled"] = enabled
    if chosen is not None:
        row["password_hash"] = hash_password(shell, chosen)
    table.add({"username": username, **row})
    shell.log(f"added {username} to the portal")
    shown = chosen if generate_password else None
    return {**table.get(username), "outcome": "created", "password": shown}


def _settle(
    shell: Shell,
    table: UserTable,
    existing: PortalUser,
    wanted: Mapping[str, SqlValue],
    *,
    update: bool,
) -> NewPortalUser:
    """Return an existing user; change the values that differ, or fail, as `update` says."""
    username, was = existing["username"], {**existing}
    different = {
        name: value
        for name, value in wanted.items()
        if value is not None and name in table.columns and was.get(name) != value
    }
    if not different:
        shell.log(f"{username} is in the portal already: unchanged")
        return {**existing, "outcome": "unchanged", "password": None}
    if not update:
        values = ", ".join(f"{name} is {was.get(name)}" for name in different)
        shell.fail(
            f"the portal already has a user {username}, whose {values}: change that with "
            "modify_user, or set update"
        )
    table.change(existing, different)
    shell.log(f"changed {', '.join(different)} of {username} in the portal")
    return {**table.get(username), "outcome": "changed", "password": None}
