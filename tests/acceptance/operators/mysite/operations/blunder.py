"""Fail by a mistake in the code, with the secret in the exception's text."""

from resop import Secret, Shell, operation


@operation
def blunder(shell: Shell, secret: Secret) -> str:
    raise ValueError(f"{shell.username} cannot use {secret.get_secret_value()}")
