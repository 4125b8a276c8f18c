"""Submit a job: a script sent as text or stored on the cluster. A dry run shows what would run."""

from typing import Unpack

from operators.slurm.arrays.array_record import store
from operators.slurm.client import on_cluster
from operators.slurm.submission.job_request import JobRequest
from operators.slurm.submission.submission import Submission
from operators.slurm.submission.submit_options import SubmitOptions
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
def submit(shell: Shell, **options: Unpack[SubmitOptions]) -> Submission:
    """Return the job's id.

    The options override the script's #SBATCH lines, which may set anything else.
    """
    request = JobRequest.of(options)
    with on_cluster(options.get("cluster")):
        submission = request.submit(shell)
        if request.indexes is not None:
            store(shell, request, submission)
    return submission
