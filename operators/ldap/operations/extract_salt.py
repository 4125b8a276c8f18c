"""Extract the salt of an SSHA hash, to hash a password with the same salt."""

from typing import Annotated

from pydantic import Field

from operators.ldap.hashes import ssha_salt
from resop import Alias, Secret, Shell, operation


@operation(dry_run=True, examples=[{"hash": "{SSHA}LhKrkM9Fy+zlstjdD7Kv2s6QvhBzYWx0"}])
def extract_salt(
    shell: Shell,
    hash: Annotated[
        Secret, Alias("password"), Field(min_length=1, description="hash from userPassword")
    ],
) -> str:
    """Return the salt in base64, as `passwd` expects it."""
    salt = ssha_salt(hash.get_secret_value())
    return salt or shell.fail("hash must be an SSHA hash: {SSHA} followed by base64")
