"""Submit a job: a script sent as text or stored on the cluster. A dry run shows what would run."""

from typing import Unpack

from operators.slurm.array_record import store
from operators.slurm.client import on_cluster
from operators.slurm.job_request import JobRequest, given_options
from operators.slurm.job_types import SlurmCluster
from operators.slurm.submission import Submission
from operators.slurm.submit_options import (
    BatchOptions,
    CheckFolders,
    JobArray,
    JobEnvironment,
    Modules,
    ScriptArguments,
    ScriptPath,
    ScriptText,
    require_one_script,
)
from resop import Shell, operation

EXAMPLE_ENVIRONMENT = {"EXPERIMENT": "first, with a comma", "OMP_NUM_THREADS": "4"}


@operation(
    resumable=True,
    runs_code=True,
    preview=True,
    examples=[
        {"script": "#!/bin/sh\nsrun ./sim\n", "partition": "batch", "time_limit": "1:00:00"},
        {
            "path": "project/run.sh",
            "arguments": ["input 1.dat"],
            "environment": EXAMPLE_ENVIRONMENT,
        },
        {"script": "#!/bin/bash\nsrun ./sim\n", "modules": ["gcc/12", "openmpi"], "ntasks": 64},
    ],
)
def submit(
    shell: Shell,
    script: ScriptText = None,
    path: ScriptPath = None,
    arguments: ScriptArguments = None,
    environment: JobEnvironment = None,
    modules: Modules = None,
    array: JobArray = None,
    check_folders: CheckFolders = True,
    cluster: SlurmCluster = None,
    **options: Unpack[BatchOptions],
) -> Submission:
    """Return the job's id.

    The options override the script's #SBATCH lines, which may set anything else.
    """
    require_one_script(script, path, modules)
    request = JobRequest(
        script=script,
        path=path,
        arguments=arguments or [],
        environment=environment,
        modules=modules or [],
        options=given_options(options),
        array=array,
        check_folders=check_folders,
    )
    with on_cluster(cluster):
        submission = request.submit(shell)
        if request.indexes is not None:
            store(shell, request, submission)
    return submission
