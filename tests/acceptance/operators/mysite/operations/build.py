"""Make files one after the other; remove them if the operation fails."""

from resop import RemotePath, Shell, operation


@operation
def build(shell: Shell, file: RemotePath, steps: int, stop_at: int) -> int:
    for number in range(steps):
        name = f"{file}.{number}"
        shell.on_failure("rm", "-f", name)
        shell.run("touch", name)
        if number == stop_at:
            shell.run("sleep", 60)
    return steps
