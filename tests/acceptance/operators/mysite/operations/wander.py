"""Claim to be resumable, but run a different step each time."""

import secrets

from resop import Shell, operation


@operation(resumable=True)
def wander(shell: Shell) -> None:
    shell.run("sh", "-c", "sleep 4700", secrets.token_hex(4))
