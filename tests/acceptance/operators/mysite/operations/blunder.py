"""Fail by a bug, with the secret in the message of the exception."""

from resop import Secret, Shell, operation


@operation
def blunder(shell: Shell, secret: Secret) -> str:
    raise ValueError(f"{shell.username} cannot use {secret.get_secret_value()}")
