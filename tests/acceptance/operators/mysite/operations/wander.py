"""Says that another worker can take it up, but asks for another step each time."""

import secrets

from resop import Shell, operation


@operation(resumable=True)
def wander(shell: Shell) -> None:
    shell.run("sh", "-c", "sleep 4700", secrets.token_hex(4))
