"""Set a user's password in the directory."""

from typing import Annotated

from pydantic import Field

from operators.ldap import client
from operators.ldap.hashes import HashScheme, NewPassword
from operators.ldap.passwords import hash_for_entry, is_checked_by_server, set_checked_password
from operators.ldap.people import ExistingUser, get_user
from resop import Shell, operation


@operation(dry_run=True, examples=[{"username": "ada", "password": "correct horse"}])
def change_password(
    shell: Shell,
    username: ExistingUser,
    password: NewPassword,
    scheme: Annotated[
        HashScheme | None,
        Field(
            description="how this service hashes the password (default: CRYPT, or by the server "
            "if it has a password policy)"
        ),
    ] = None,
) -> None:
    """Replace the password; the old one stops working immediately."""
    user = get_user(shell, username)
    if is_checked_by_server(shell, scheme):
        set_checked_password(shell, user["dn"], password)
    else:
        new = [hash_for_entry(shell, password, scheme)]
        client.modify(shell, user["dn"], [("replace", "userPassword", new)])
    shell.log(f"changed the password of {username}")
