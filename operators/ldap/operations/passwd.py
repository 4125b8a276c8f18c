"""Hash a password for OpenLDAP's userPassword."""

from typing import Annotated

from pydantic import Field

from operators.ldap.hashes import HashScheme, NewPassword, hash_password
from resop import ErrorMessage, Shell, operation


@operation(dry_run=True, examples=[{"password": "correct horse"}])
def passwd(
    shell: Shell,
    password: NewPassword,
    scheme: HashScheme = "SSHA",
    salt: Annotated[
        Annotated[
            str,
            Field(pattern="^[A-Za-z0-9./+=]{1,64}$"),
            ErrorMessage("must be base64 (SSHA), or 1 to 16 letters, digits, '.' or '/' (CRYPT)"),
        ]
        | None,
        Field(
            description="salt: base64 for SSHA, up to 16 of ./0-9A-Za-z for CRYPT (default: random)"
        ),
    ] = None,
) -> str:
    """Return the hash, preceded by its scheme in braces.

    To check a password, hash it with the salt of the stored hash (`extract_salt`) and compare.
    """
    return hash_password(shell, password, scheme, salt).get_secret_value()
