"""Submit a job: a script sent as text, or one that is on the cluster; a dry run shows it all."""

from typing import Annotated, Unpack

from pydantic import Field

from operators.slurm.batch_script import unix, with_preparation
from operators.slurm.submission import Submitted, sbatch
from operators.slurm.submit_options import Array, BatchOptions, Script, Variable, flags
from resop import Argument, InvalidOptions, RemotePath, Shell, operation

ENVIRONMENT = {"EXPERIMENT": "first, with a comma", "OMP_NUM_THREADS": "4"}

Module = Annotated[str, Field(pattern=r"^[A-Za-z0-9_+.][A-Za-z0-9_+./=-]*$", max_length=255)]

# Only a login shell is sure to have the function `module`.
MODULES = """\
command -v module >/dev/null || . /etc/profile
module load {modules} || exit
"""


@operation(
    resumable=True,
    preview=True,
    examples=[
        {"script": "#!/bin/sh\nsrun ./sim\n", "partition": "batch", "time_limit": "1:00:00"},
        {"path": "project/run.sh", "arguments": ["input 1.dat"], "environment": ENVIRONMENT},
        {"script": "#!/bin/bash\nsrun ./sim\n", "modules": ["gcc/12", "openmpi"], "ntasks": 64},
    ],
)
def submit(
    shell: Shell,
    script: Annotated[
        Script | None, Field(description="batch script, as text; its first line is #!/…")
    ] = None,
    path: Annotated[
        RemotePath | None,
        Field(description="batch script on the cluster, in place of a text; from the home folder"),
    ] = None,
    arguments: Annotated[list[Argument] | None, Field(description="the script's $1, $2, …")] = None,
    environment: Annotated[
        dict[Variable, Argument] | None,
        Field(description="variables for the job, beside those of the login; any text"),
    ] = None,
    modules: Annotated[
        list[Module] | None,
        Field(min_length=1, description="loaded before a script sent as text; else it ends"),
    ] = None,
    array: Annotated[
        Array | None, Field(description="indexes of a job array: 1,3,10-99:5; %10 is ten at once")
    ] = None,
    **options: Unpack[BatchOptions],
) -> Submitted:
    """Return the number of the job.

    An option given here wins over the script's own #SBATCH lines; anything else can stand there.
    """
    if (script is None) == (path is None):
        raise InvalidOptions([{"field": "script", "message": "give either script or path"}])
    if modules and path:
        reason = "only a script sent as text can be changed: let the one at path load them"
        raise InvalidOptions([{"field": "modules", "message": reason}])
    words = flags({**options, "array": array})
    if path is not None:
        # A name that begins with '-' is no option of sbatch; one without '/' is not for PATH.
        place = path if path.startswith("/") else f"./{path}"
        return sbatch(shell, *words, place, *(arguments or []), environment=environment)
    text = unix(script or "")
    if modules:
        text = with_preparation(text, MODULES.format(modules=" ".join(modules)))
    given = ["/dev/stdin", *arguments] if arguments else []
    return sbatch(shell, *words, *given, script=text, environment=environment)
