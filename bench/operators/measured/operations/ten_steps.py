"""Ten steps, one after the other."""

from resop import Shell, operation


@operation
def ten_steps(shell: Shell) -> str:
    """Return what the last of them printed."""
    for _ in range(9):
        shell.run("id")
    return shell.run("id").stdout
