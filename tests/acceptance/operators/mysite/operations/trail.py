"""Append one line a step to a file, so that what ran, and how often, can be counted."""

from resop import RemotePath, Shell, operation


@operation
def trail(shell: Shell, file: RemotePath, steps: int = 3, seconds: float = 0) -> int:
    for number in range(steps):
        line = 'echo "$1" >>"$2" && sleep "$3"'
        shell.run("sh", "-c", line, "trail", str(number), file, seconds)
    return steps
