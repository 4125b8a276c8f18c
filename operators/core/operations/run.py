"""Run any line of shell on the login node, as `ssh host 'line'` would."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from resop import Argument, Shell, operation


class Answer(TypedDict):
    """What the line printed, and how it ended."""

    stdout: str
    stderr: str
    exit_code: int


@operation(
    resumable=True,
    examples=[
        {"command": "df -h ~ | tail -1"},
        {"command": "grep -c MPI", "stdin": "one MPI\ntwo\n", "check": False},
    ],
)
def run(
    shell: Shell,
    command: Annotated[Argument, Field(min_length=1, description="a line of shell")],
    stdin: Annotated[str | None, Field(description="text for its standard input")] = None,
    check: Annotated[bool, Field(description="a non-zero exit code is a failure")] = True,
) -> Answer:
    """Return what the line printed on both streams, and its exit code."""
    result = shell.script(command, input=stdin, check=check)
    return Answer(stdout=result.stdout, stderr=result.stderr, exit_code=result.exit_code)
