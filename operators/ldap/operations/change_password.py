"""Set a person's password in the directory."""

from operators.ldap import client
from operators.ldap.hashes import NewPassword, Scheme, hashed
from operators.ldap.people import existing
from resop import Shell, Username, operation


@operation(examples=[{"username": "ada", "password": "correct horse"}])
def change_password(
    shell: Shell,
    username: Username,
    password: NewPassword,
    scheme: Scheme = "CRYPT",
) -> None:
    """Replace the password; the old one is worth nothing from then on."""
    user = existing(shell, username)
    new = [hashed(shell, password, scheme)]
    client.modify(shell, user["dn"], [("replace", "userPassword", new)])
    shell.log(f"{username} has a new password")
