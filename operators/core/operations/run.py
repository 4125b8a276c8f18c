"""Run a shell command line on the login node, as `ssh host 'command'` does."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from resop import Alias, CommandLine, Shell, operation


class RunResult(TypedDict):
    """A command's output and exit code."""

    stdout: str
    stderr: str
    exit_code: int


@operation(
    resumable=True,
    runs_code=True,
    examples=[
        {"command": "df -h ~ | tail -1"},
        {"command": "grep -c MPI", "stdin": "one MPI\ntwo\n", "check": False},
    ],
)
def run(
    shell: Shell,
    command: Annotated[
        CommandLine,
        Alias("input"),
        Field(min_length=1, description="command line for the user's shell"),
    ],
    stdin: Annotated[str | None, Field(description="text for the command's standard input")] = None,
    check: Annotated[bool, Field(description="treat a non-zero exit code as a failure")] = True,
) -> RunResult:
    """Return both outputs and the exit code."""
    result = shell.script(command, input=stdin, check=check)
    return RunResult(stdout=result.stdout, stderr=result.stderr, exit_code=result.exit_code)
