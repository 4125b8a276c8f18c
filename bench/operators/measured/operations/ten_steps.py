"""An operation of ten steps."""

from resop import Shell, operation


@operation
def ten_steps(shell: Shell) -> str:
    """Run ten steps one after the other and return the output of the last."""
    for _ in range(9):
        shell.run("id")
    return shell.run("id").stdout
