"""Submit a batch script sent as text, with no file to upload first."""

from typing import Annotated, Unpack

from pydantic import Field

from operators.slurm.submission import sbatch
from operators.slurm.submit_options import Array, JobOptions, flags
from resop import Shell, operation


@operation(
    resumable=True,
    examples=[
        {"script": "#!/bin/sh\nsrun hostname\n", "partition": "batch", "time_limit": 10},
        {"script": "#!/bin/sh\n./sim $SLURM_ARRAY_TASK_ID\n", "array": "1-100%10", "memory": "4G"},
    ],
)
def sbatchd(
    shell: Shell,
    script: Annotated[str, Field(pattern="^#!", description="batch script, as text")],
    array: Annotated[
        Array | None, Field(description="indexes of a job array: 1,3,10-99:5; %10 is ten at once")
    ] = None,
    **options: Unpack[JobOptions],
) -> int:
    """Return the Slurm job id.

    An option given here wins over the script's own #SBATCH lines; anything else can stand there.
    """
    words = flags({**options, "array": array})
    # A text box of an HTML form sends CR LF, which sbatch refuses wherever it stands in a script.
    return sbatch(shell, *words, script=script.replace("\r\n", "\n"))["job"]
