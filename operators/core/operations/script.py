"""Run a script sent as text, in the interpreter its first line names."""

import shlex
from typing import Annotated

from pydantic import Field

from operators.core.operations.run import Answer
from resop import Argument, Shell, operation

# A file, not standard input: what the script runs may read that, and would eat the script.
# Called through its interpreter, since /tmp may be mounted noexec.
IN_A_FILE = """file=$(mktemp) || exit
trap 'rm -f "$file"' EXIT
trap 'exit 143' TERM INT HUP
cat >"$file" && {interpreter} "$file" "$@" </dev/null"""
FIRST_LINE = r"^#!\s*/[^\s\x00][^\n\x00]{0,250}(\n|$)"  # about as much as Linux reads of it


@operation(
    resumable=True,
    examples=[
        {"script": "#!/bin/sh\nfor n in 1 2 3; do echo $n; done\n"},
        {"script": "#!/usr/bin/env python3\nimport sys\nprint(sys.argv)\n", "arguments": ["a b"]},
    ],
)
def script(
    shell: Shell,
    script: Annotated[str, Field(pattern=FIRST_LINE, description="its first line is '#!/…'")],
    arguments: Annotated[list[Argument] | None, Field(description="$1, $2, …")] = None,
    check: Annotated[bool, Field(description="a non-zero exit code is a failure")] = True,
) -> Answer:
    """Return what the script printed on both streams, and its exit code.

    It stands in a private temporary file while it runs.
    """
    interpreter = shlex.join(script.partition("\n")[0].removeprefix("#!").split())
    starter = IN_A_FILE.format(interpreter=interpreter)
    result = shell.run(
        "/bin/sh", "-c", starter, "script", *(arguments or []), input=script, check=check
    )
    return Answer(stdout=result.stdout, stderr=result.stderr, exit_code=result.exit_code)
