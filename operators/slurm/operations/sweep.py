"""Submit a parameter sweep: one job array, with different values for each task.

The script reads the values from environment variables named like the parameters, in any language.
The job itself contains the table of values, before the script.
"""

import re
from typing import Annotated, Unpack

from pydantic import Field

from operators.slurm.arrays.array_record import store
from operators.slurm.client import ask, on_cluster
from operators.slurm.job_types import SlurmCluster
from operators.slurm.submission.job_request import JobRequest, given_options
from operators.slurm.submission.submission import Submission
from operators.slurm.submission.submit_options import (
    BatchOptions,
    BatchScript,
    CheckFolders,
    ParameterName,
    PositiveCount,
)
from operators.slurm.submission.sweep_table import Run, RunValue
from resop import (
    CommandFailed,
    InvalidOptions,
    ParameterValues,
    Shell,
    SweepMode,
    combine_parameters,
    operation,
)

MAX_RUNS = 100_000
"""More would not fit into a batch script: Slurm takes 4 MiB unless the site configures more."""

MAX_TABLE_CHARACTERS = 16 << 20
"""Names and values of all runs together; Slurm takes 4 MiB unless the site configures more."""

MAX_LISTED_RUNS = 1000
"""Runs whose values an answer lists."""

MAX_SCRIPT_BYTES = 4 << 20
"""The longest script that Slurm takes; SchedulerParameters, max_script_size (slurm.conf(5))."""

EXAMPLE_SCRIPT = "#!/bin/sh\nsrun ./sim --temperature $T --seed $SEED\n"


class SweepSubmission(Submission):
    """The job array of a sweep."""

    runs: int
    """The number of array tasks, with the indexes 0, 1, …."""
    values: list[Run] | None
    """The parameters' values of each run, by index; None if there are more than 1000 runs."""


@operation(
    resumable=True,
    runs_code=True,
    preview=True,
    examples=[
        {
            "script": EXAMPLE_SCRIPT,
            "parameters": {"T": [280, 290, 300], "SEED": {"start": 1, "stop": 100}},
            "at_once": 20,
            "output": "sweep-%A_%a.out",
        },
        {"script": EXAMPLE_SCRIPT, "items": [{"T": 280, "SEED": 1}, {"T": 300, "SEED": 7}]},
    ],
)
def sweep(
    shell: Shell,
    script: Annotated[
        BatchScript, Field(description="batch script of each run as text, beginning with #!/…")
    ],
    parameters: Annotated[
        dict[ParameterName, ParameterValues[RunValue]] | None,
        Field(
            min_length=1,
            description="values by parameter: a list, or a range of numbers such as "
            '{"start": 1, "stop": 9, "step": 2}, with stop included',
        ),
    ] = None,
    mode: Annotated[
        SweepMode,
        Field(
            description="product: every combination of the values; "
            "zip: the first values together, the second values together, …"
        ),
    ] = "product",
    items: Annotated[
        list[Annotated[Run, Field(min_length=1)]] | None,
        Field(
            min_length=1,
            max_length=MAX_RUNS,
            description="instead of parameters: the runs, one object each",
        ),
    ] = None,
    at_once: Annotated[
        PositiveCount | None, Field(description="maximum number of runs at the same time")
    ] = None,
    check_folders: CheckFolders = True,
    cluster: SlurmCluster = None,
    **options: Unpack[BatchOptions],
) -> SweepSubmission:
    """Return the job's id, and the values of each run.

    The options override the script's #SBATCH lines, which may set anything else.
    """
    if (parameters is None) == (items is None):
        fault = {"field": "parameters", "message": "give either parameters or items"}
        raise InvalidOptions([fault])
    if items is not None:
        runs = items
    else:
        runs = list(
            combine_parameters(
                parameters or {},
                mode,
                limit=MAX_RUNS,
                field="parameters",
                max_characters=MAX_TABLE_CHARACTERS,
            )
        )
    limit = f"%{at_once}" if at_once else ""
    # The values are validated already, which takes its time for many of them.
    request = JobRequest.model_construct(
        script=script,
        options=given_options(options),
        array=f"0-{len(runs) - 1}{limit}",
        runs=dict(enumerate(runs)),
        check_folders=check_folders,
    )
    try:
        with on_cluster(cluster):
            submission = request.submit(shell)
            store(shell, request, submission)
    except CommandFailed as fault:
        field = "items" if parameters is None else "parameters"
        _explain_refusal(shell, fault, field, len(runs), len((request.text() or "").encode()))
        raise
    values = runs if len(runs) <= MAX_LISTED_RUNS else None
    return SweepSubmission(**submission, runs=len(runs), values=values)


def _explain_refusal(shell: Shell, fault: CommandFailed, field: str, count: int, size: int) -> None:
    """Raise InvalidOptions with the limit, if the sweep exceeds one of the cluster's."""
    if "Invalid job array specification" in fault.message:
        limit, setting = _read_setting(shell, r"MaxArraySize\s*=\s*(\d+)"), "MaxArraySize"
        actual, unit = count, "runs"
    elif "parameter too long" in fault.message:
        limit = _read_setting(shell, r"max_script_size=(\d+)") or MAX_SCRIPT_BYTES
        setting, actual, unit = "max_script_size", size, "bytes of script"
    else:
        return
    if limit is not None and actual > limit:
        message = f"gives {actual} {unit}; this cluster takes at most {limit} ({setting})"
        raise InvalidOptions.of(field, message) from fault


def _read_setting(shell: Shell, pattern: str) -> int | None:
    found = re.search(pattern, ask(shell, "scontrol", "show", "config").stdout)
    return int(found[1]) if found else None
