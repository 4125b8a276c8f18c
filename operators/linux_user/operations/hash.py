"""Hash a password as /etc/shadow keeps it, with openssl on the cluster."""

from typing import Annotated

from pydantic import Field

from operators.linux_user.hashes import Method, Password, hashed
from resop import Shell, operation


@operation(examples=[{"password": "correct horse"}, {"password": "a", "method": "sha256"}])
def hash(
    shell: Shell,
    password: Annotated[Password, Field(description="password to hash")],
    method: Annotated[
        Method, Field(description="md5 is broken: for what takes no other")
    ] = "sha512",
    salt: Annotated[
        str | None,
        Field(pattern="^[./0-9A-Za-z]{1,16}$", description="a random one when not given"),
    ] = None,
) -> str:
    """Return `$6$salt$hash` (crypt(5))."""
    return hashed(shell, password, method, salt).get_secret_value()
