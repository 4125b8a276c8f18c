"""Run a script sent as text, with the interpreter that its first line names."""

import shlex
from typing import Annotated

from pydantic import Field

from operators.core.operations.run import RunResult
from resop import Argument, ErrorMessage, Shell, operation

# Not on standard input: a program that the script starts could read the rest of the script there.
# Started through its interpreter, since /tmp may be mounted noexec.
RUN_FROM_FILE = """file=$(mktemp) || exit
trap 'rm -f "$file"' EXIT
trap 'exit 143' TERM INT HUP
cat >"$file" && {interpreter} "$file" "$@" </dev/null"""
INTERPRETER_LINE = (
    r"^#!\s*/[^\s\x00][^\n\x00]{0,250}(\n|$)"  # Linux reads about as much of the line
)


@operation(
    resumable=True,
    runs_code=True,
    examples=[
        {"script": "#!/bin/sh\nfor n in 1 2 3; do echo $n; done\n"},
        {"script": "#!/usr/bin/env python3\nimport sys\nprint(sys.argv)\n", "arguments": ["a b"]},
    ],
)
def script(
    shell: Shell,
    script: Annotated[
        str,
        Field(pattern=INTERPRETER_LINE, description="script as text, beginning with #!/…"),
        ErrorMessage("the script must begin with an interpreter line such as #!/bin/bash"),
    ],
    arguments: Annotated[
        list[Argument] | None, Field(description="arguments of the script: $1, $2, …")
    ] = None,
    check: Annotated[bool, Field(description="treat a non-zero exit code as a failure")] = True,
) -> RunResult:
    """Return both outputs and the exit code.

    While the script runs, it is stored in a private temporary file.
    """
    interpreter = shlex.join(script.partition("\n")[0].removeprefix("#!").split())
    starter = RUN_FROM_FILE.format(interpreter=interpreter)
    result = shell.run(
        "/bin/sh", "-c", starter, "script", *(arguments or []), input=script, check=check
    )
    return RunResult(stdout=result.stdout, stderr=result.stderr, exit_code=result.exit_code)
