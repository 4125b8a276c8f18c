"""Answer a query after a moment, and append a line to a file each time it runs."""

from resop import Shell, operation


@operation(share_for=60)
def ask(shell: Shell, key: str, exit_code: int = 0, seconds: float = 0.5, size: int = 1) -> str:
    """Return `size` characters."""
    line = f"echo once >>asked-{key}; sleep {seconds}; exit {exit_code}"
    shell.run("sh", "-c", line)
    return "x" * size
