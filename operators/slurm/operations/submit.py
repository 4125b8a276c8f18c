"""Submit a job: a script sent as text or stored on the cluster. A dry run shows what would run."""

from typing import Annotated, Unpack

from pydantic import Field

from operators.slurm.batch_script import with_preparation, with_unix_line_ends
from operators.slurm.client import on_cluster
from operators.slurm.job_types import SlurmCluster
from operators.slurm.output_folders import expand_home, resolve_paths
from operators.slurm.submission import Submission, sbatch
from operators.slurm.submit_options import (
    ArrayIndexes,
    BatchOptions,
    BatchScript,
    CheckFolders,
    VariableName,
    VariableValue,
    flags,
)
from resop import Argument, ErrorMessage, InvalidOptions, RemotePath, Shell, operation

EXAMPLE_ENVIRONMENT = {"EXPERIMENT": "first, with a comma", "OMP_NUM_THREADS": "4"}

ModuleName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_+.][A-Za-z0-9_+./=-]*$", max_length=255),
    ErrorMessage("must be a module's name, such as gcc/12"),
]

# `module` is a shell function, which only a login shell is certain to have.
LOAD_MODULES = """\
command -v module >/dev/null || . /etc/profile
module load {modules} || exit
"""


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
    script: Annotated[
        BatchScript | None, Field(description="batch script as text, beginning with #!/…")
    ] = None,
    path: Annotated[
        RemotePath | None,
        Field(
            description="instead of script: path of a batch script on the cluster, "
            "relative to the home folder"
        ),
    ] = None,
    arguments: Annotated[
        list[Argument] | None, Field(description="arguments of the script: $1, $2, …")
    ] = None,
    environment: Annotated[
        dict[VariableName, VariableValue] | None,
        Field(description="extra environment variables for the job; values may contain any text"),
    ] = None,
    modules: Annotated[
        list[ModuleName] | None,
        Field(
            min_length=1,
            description="modules to load first (with script only); "
            "the job stops if one cannot be loaded",
        ),
    ] = None,
    array: Annotated[
        ArrayIndexes | None,
        Field(description="indexes of a job array: 1,3,10-99:5; %10: at most ten at once"),
    ] = None,
    check_folders: CheckFolders = True,
    cluster: SlurmCluster = None,
    **options: Unpack[BatchOptions],
) -> Submission:
    """Return the job's id.

    The options override the script's #SBATCH lines, which may set anything else.
    """
    if (script is None) == (path is None):
        raise InvalidOptions.of("script", "give either script or path")
    if modules and path:
        message = "modules need a script sent as text; load them in the script at path instead"
        raise InvalidOptions.of("modules", message)
    paths = resolve_paths(options, script)
    words = flags({**paths.options, **options, **paths.options, "array": array})
    if path is not None:
        path = expand_home(path, "path")
        # './' keeps sbatch from searching PATH.
        command = [path if path.startswith("/") else f"./{path}", *(arguments or [])]
        text = None
    else:
        command = ["/dev/stdin", *arguments] if arguments else []
        text = with_unix_line_ends(script or "")
        if modules:
            text = with_preparation(text, LOAD_MODULES.format(modules=" ".join(modules)))
    with on_cluster(cluster):
        return sbatch(
            shell,
            *words,
            script=text,
            command=command,
            environment=environment,
            folders=paths.folders if check_folders else (),
        )
