"""Hash a password as OpenLDAP keeps it in userPassword."""

from typing import Annotated

from pydantic import Field

from operators.ldap.hashes import NewPassword, Scheme, hashed
from resop import Shell, operation


@operation(examples=[{"password": "correct horse"}])
def passwd(
    shell: Shell,
    password: NewPassword,
    scheme: Scheme = "SSHA",
    salt: Annotated[
        str | None,
        Field(
            pattern="^[A-Za-z0-9./+=]{1,64}$",
            description="in base64 for SSHA, up to 16 of ./0-9A-Za-z for CRYPT; random without",
        ),
    ] = None,
) -> str:
    """Return the hash, its scheme in braces before it.

    With the salt of a hash (`extract_salt`), it is that hash again if the password is the same.
    """
    return hashed(shell, password, scheme, salt).get_secret_value()
