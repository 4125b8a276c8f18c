"""Submit a batch script sent as text, with no file to upload first."""

import re
from typing import Annotated

from pydantic import Field

from resop import Shell, operation

# What several options are made of. Numbers are welcome where Slurm's own form may be one.
INDEX = r"[0-9]+(-[0-9]+(:[1-9][0-9]*)?)?"
JOB = r"[1-9][0-9]*(_([0-9]+|\*))?(\+[0-9]+)?"
WHEN = rf"(singleton|after(any|burstbuffer|corr|notok|ok)?(:{JOB})+)"
TIME = r"^([0-9]+(:[0-9]{1,2}){0,2}|[0-9]+-[0-9]{1,2}(:[0-9]{1,2}){0,2}|UNLIMITED)$"

Array = Annotated[
    str,
    Field(pattern=rf"^{INDEX}(,{INDEX})*(%[1-9][0-9]*)?$", max_length=4096),
    Field(coerce_numbers_to_str=True),
]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Dependency = Annotated[str, Field(pattern=rf"^{WHEN}((,{WHEN})*|(\?{WHEN})*)$", max_length=65_536)]
Memory = Annotated[str, Field(pattern=r"^[0-9]+[KMGT]?$", coerce_numbers_to_str=True)]
Names = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+-]+(,[A-Za-z0-9_.+-]+)*$", max_length=1024)]
Nodes = Annotated[str, Field(pattern=r"^[1-9][0-9]*(-[1-9][0-9]*)?$", coerce_numbers_to_str=True)]
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=4096)]
Time = Annotated[str, Field(pattern=TIME, coerce_numbers_to_str=True)]


@operation(
    examples=[
        {"script": "#!/bin/sh\nsrun hostname\n", "partition": "batch", "time_limit": 10},
        {"script": "#!/bin/sh\n./sim $SLURM_ARRAY_TASK_ID\n", "array": "1-100%10", "memory": "4G"},
    ]
)
def sbatchd(
    shell: Shell,
    script: Annotated[str, Field(pattern="^#!", description="batch script, as text")],
    partition: Annotated[
        Names | None, Field(description="Slurm partition, or several with commas between")
    ] = None,
    job_name: Annotated[Text | None, Field(description="name of the job")] = None,
    account: Annotated[Names | None, Field(description="account to charge")] = None,
    time_limit: Annotated[
        Time | None, Field(description="minutes, m:s, h:m:s, d-h, d-h:m, d-h:m:s or UNLIMITED")
    ] = None,
    nodes: Annotated[Nodes | None, Field(description="number of nodes, or least-most")] = None,
    ntasks: Annotated[Count | None, Field(description="number of tasks")] = None,
    cpus_per_task: Annotated[Count | None, Field(description="CPUs for each task")] = None,
    memory: Annotated[
        Memory | None, Field(description="of each node: MB, or with unit K, M, G, T; 0 is all")
    ] = None,
    array: Annotated[
        Array | None, Field(description="indexes of a job array: 1,3,10-99:5; %10 is ten at once")
    ] = None,
    dependency: Annotated[
        Dependency | None, Field(description="afterok:20:21,afterany:23 (all), or with ? (any)")
    ] = None,
    chdir: Annotated[
        Text | None, Field(description="folder to run in; the home folder when not given")
    ] = None,
    output: Annotated[
        Text | None, Field(description="file for standard output; %j is the id, %a the index")
    ] = None,
    error: Annotated[
        Text | None, Field(description="file for standard error; goes to output when not given")
    ] = None,
) -> int:
    """Return the Slurm job id.

    An option given here wins over the script's own #SBATCH lines; anything else can stand there.
    """
    flags = {
        "partition": partition,
        "job-name": job_name,
        "account": account,
        "time": time_limit,
        "nodes": nodes,
        "ntasks": ntasks,
        "cpus-per-task": cpus_per_task,
        "mem": memory,
        "array": array,
        "dependency": dependency,
        "chdir": chdir,
        "output": output,
        "error": error,
    }
    given = [f"--{flag}={value}" for flag, value in flags.items() if value is not None]
    # A text box of an HTML form sends CR LF, which sbatch refuses wherever it stands in a script.
    answer = shell.run("sbatch", "--parsable", *given, input=script.replace("\r\n", "\n"))
    job = job_id(answer.stdout)
    if job is None:
        shell.fail(f"sbatch answered no job id: {answer.stdout!r} {answer.stderr!r}")
    shell.log(f"script accepted as job {job}")
    return job


def job_id(printed: str) -> int | None:
    """The job id in what `sbatch --parsable` printed: `4242`, or `4242;cluster` (sbatch(1)).

    The last line counts: a site's own sbatch may say something first.
    """
    lines = printed.strip().splitlines()
    found = re.fullmatch(r"([1-9][0-9]*)(;\S+)?", lines[-1]) if lines else None
    return int(found[1]) if found else None
