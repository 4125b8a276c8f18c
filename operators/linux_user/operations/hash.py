"""Hash a password for /etc/shadow, with openssl on the cluster."""

from typing import Annotated

from pydantic import Field

from operators.linux_user.hashes import HashMethod, Password, hash_password
from resop import ErrorMessage, Shell, operation


@operation(
    dry_run=True, examples=[{"password": "correct horse"}, {"password": "a", "method": "sha256"}]
)
def hash(
    shell: Shell,
    password: Annotated[Password, Field(description="password to hash")],
    method: Annotated[
        HashMethod,
        Field(
            description="hash method; md5 is insecure: only for programs that accept nothing else"
        ),
    ] = "sha512",
    salt: Annotated[
        Annotated[
            str,
            Field(pattern="^[./0-9A-Za-z]{1,16}$"),
            ErrorMessage("must be a salt of 1 to 16 letters, digits, '.' or '/'"),
        ]
        | None,
        Field(description="salt (default: a random one)"),
    ] = None,
) -> str:
    """Return the hash as `$6$salt$hash` (crypt(5))."""
    return hash_password(shell, password, method, salt).get_secret_value()
