"""Hash a password with MD5 for programs that accept nothing else: MD5 is insecure."""

from typing import Annotated

from pydantic import Field

from operators.linux_user.hashes import Password, hash_password
from resop import Alias, Shell, operation


@operation(examples=[{"password": "correct horse"}])
def hash_md5(
    shell: Shell,
    password: Annotated[Password, Field(description="password to hash")],
    escape_char: Annotated[
        bool, Alias("escapeChar"), Field(description="put a backslash before each '$'")
    ] = False,
) -> str:
    """Return the hash as `$1$salt$hash` (crypt(5)); `hash` offers better methods."""
    hashed = hash_password(shell, password, "md5").get_secret_value()
    return hashed.replace("$", r"\$") if escape_char else hashed
