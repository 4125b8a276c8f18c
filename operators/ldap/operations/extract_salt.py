"""Read the salt in an SSHA hash, to hash a password with it again."""

from typing import Annotated

from pydantic import Field

from operators.ldap.hashes import ssha_salt
from resop import Secret, Shell, operation


@operation(examples=[{"hash": "{SSHA}LhKrkM9Fy+zlstjdD7Kv2s6QvhBzYWx0"}])
def extract_salt(
    shell: Shell,
    hash: Annotated[Secret, Field(min_length=1, description="as in userPassword")],
) -> str:
    """Return the salt in base64, as `passwd` takes it."""
    salt = ssha_salt(hash.get_secret_value())
    return salt or shell.fail("not an SSHA hash: {SSHA} and base64 are expected")
