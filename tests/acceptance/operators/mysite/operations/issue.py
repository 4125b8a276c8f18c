"""Make a password, pass it to a program that prints it, and answer with it."""

import secrets

from typing_extensions import TypedDict

from resop import Secret, Shell, operation


class Issued(TypedDict):
    """A user's name and password."""

    name: str
    password: Secret
    parts: list[Secret]


@operation
def issue(shell: Shell, name: str, exit_code: int = 0, seconds: float = 0) -> Issued:
    """Return a password."""
    password = Secret(f"pw-{secrets.token_hex(12)}")
    shell.script(f"sleep {seconds}; cat; exit {exit_code}", input=password)
    shell.log(f"it is {password.get_secret_value()}")
    return {"name": name, "password": password, "parts": [password]}
