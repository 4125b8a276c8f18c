"""Append one line per step to a file, so that tests can count the steps that ran."""

from resop import RemotePath, Shell, operation


@operation
def trail(shell: Shell, file: RemotePath, steps: int = 3, seconds: float = 0) -> int:
    for number in range(steps):
        line = 'echo "$1" >>"$2" && sleep "$3"'
        shell.run("sh", "-c", line, "trail", str(number), file, seconds)
    return steps
