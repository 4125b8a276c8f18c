"""Read the salt in an SSHA hash, to hash a password with it again."""

from typing import Annotated

from pydantic import AfterValidator, Field

from operators.ldap.hashes import ssha_salt
from resop import Secret, Shell, operation


def _checked(stored: Secret) -> Secret:
    ssha_salt(stored.get_secret_value())
    return stored


@operation(examples=[{"hash": "{SSHA}8txq6IRPC0JoivFdGWa+A2Mr4ZVzYWx0"}])
def extract_salt(
    shell: Shell,
    hash: Annotated[Secret, Field(description="as in userPassword"), AfterValidator(_checked)],
) -> str:
    """Return the salt in base64, as `passwd` takes it."""
    return ssha_salt(hash.get_secret_value())
