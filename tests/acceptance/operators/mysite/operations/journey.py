"""Run three stages that append lines to a file; resumable."""

from resop import RemotePath, Shell, operation

STEP = 'echo "$1" >>"$2"; while [ ! -e "$2.$3" ]; do sleep 0.05; done; echo "$1 of $$"'


@operation(resumable=True)
def journey(shell: Shell, file: RemotePath, fail: bool = False) -> list[str]:
    def stage(number: int, until: str) -> str:
        return shell.run("sh", "-c", STEP, "journey", number, file, until).stdout.strip()

    shell.log("it begins")
    shell.on_failure("rm", "-f", f"{file}.gone")
    answers = [stage(1, "first")]
    shell.log(f"after {answers[0]}")
    shell.progress(1, 3)
    answers += shell.map(lambda number: stage(number, "second"), [2, 3, 4])
    shell.log("nearly there")
    shell.progress(2, 3)
    answers.append(stage(5, "second"))
    if fail:
        shell.fail("the journey has failed")
    return answers
