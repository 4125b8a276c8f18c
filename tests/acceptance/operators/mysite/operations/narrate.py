"""Log a line before each step, report progress, then run concurrent steps."""

from resop import Shell, operation


@operation
def narrate(shell: Shell, steps: int, seconds: float = 0, at_once: int = 1) -> int:
    for number in range(steps):
        shell.log(f"before step {number}")
        shell.run("sleep", seconds)
        shell.progress(number + 1, steps)
    shell.map(lambda number: shell.run("sleep", number * seconds), range(at_once))
    shell.log("after all steps")
    return steps
