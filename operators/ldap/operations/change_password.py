"""Set a user's password in the directory."""

from operators.ldap import client
from operators.ldap.hashes import HashScheme, NewPassword, hash_password
from operators.ldap.people import get_user
from resop import Shell, Username, operation


@operation(examples=[{"username": "ada", "password": "correct horse"}])
def change_password(
    shell: Shell,
    username: Username,
    password: NewPassword,
    scheme: HashScheme = "CRYPT",
) -> None:
    """Replace the password; the old one stops working immediately."""
    user = get_user(shell, username)
    new = [hash_password(shell, password, scheme)]
    client.modify(shell, user["dn"], [("replace", "userPassword", new)])
    shell.log(f"changed the password of {username}")
