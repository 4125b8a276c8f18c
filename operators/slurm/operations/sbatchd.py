"""Submit a batch script sent as text, without uploading a file first."""

from typing import Annotated, Unpack

from pydantic import Field

from operators.slurm.client import on_cluster
from operators.slurm.job_types import SlurmCluster
from operators.slurm.submission.output_folders import resolve_paths
from operators.slurm.submission.submission import read_answer, sbatch
from operators.slurm.submission.submit_options import ArrayIndexes, CheckFolders, JobOptions, flags
from resop import ErrorMessage, Shell, operation


@operation(
    resumable=True,
    runs_code=True,
    examples=[
        {"script": "#!/bin/sh\nsrun hostname\n", "partition": "batch", "time_limit": 10},
        {"script": "#!/bin/sh\n./sim $SLURM_ARRAY_TASK_ID\n", "array": "1-100%10", "memory": "4G"},
    ],
)
def sbatchd(
    shell: Shell,
    script: Annotated[
        str,
        Field(pattern="^#!", description="batch script as text, beginning with #!/…"),
        ErrorMessage("the script must begin with an interpreter line such as #!/bin/bash"),
    ],
    array: Annotated[
        ArrayIndexes | None,
        Field(description="indexes of a job array: 1,3,10-99:5; %10: at most ten at once"),
    ] = None,
    check_folders: CheckFolders = True,
    cluster: SlurmCluster = None,
    **options: Unpack[JobOptions],
) -> int:
    """Return the job's id.

    The options override the script's #SBATCH lines, which may set anything else.
    """
    paths = resolve_paths(options, script)
    words = flags({**paths.options, **options, **paths.options, "array": array})
    folders = paths.folders if check_folders else ()
    # Text boxes of HTML forms send CR LF, which sbatch refuses anywhere in a script.
    with on_cluster(cluster):
        answer = sbatch(shell, *words, script=script.replace("\r\n", "\n"), folders=folders)
        return read_answer(shell, answer)["job"]
