"""Options that several operations submit a job with, named as sbatch names them.

A number is accepted wherever Slurm's own notation may be a plain number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from typing_extensions import TypedDict

from operators.slurm.job_types import SlurmCluster
from resop import Argument, ErrorMessage, InvalidOptions, RemotePath

_INDEX = r"[0-9]+(-[0-9]+(:[1-9][0-9]*)?)?"
_JOB = r"[1-9][0-9]*(_([0-9]+|\*))?(\+[0-9]+)?"
_CONDITION = rf"(singleton|after(any|burstbuffer|corr|notok|ok)?(:{_JOB})+)"
# As time_str2secs, str_to_mbytes and suffix_mult of Slurm's src/common read them.
_N = "[0-9]{1,10}"
_TIME = rf"^({_N}(:{_N}){{0,2}}|{_N}-{_N}(:{_N}){{0,2}}|-1|(?i:UNLIMITED|INFINITE))$"
_COUNT = "[1-9][0-9]{0,9}"
_COUNTS = rf"{_COUNT}[KkMm]?(-{_COUNT}[KkMm]?(:{_COUNT})?)?"
_GPUS = rf"([A-Za-z0-9][A-Za-z0-9_.-]*:)?{_N}([KkMmGgTtPp](i?[Bb])?)?"


def _dependency_text(value: object) -> object:
    """Return `afterany:20` for a job's number alone, as sbatch reads it."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number or (isinstance(value, str) and re.fullmatch(rf"{_JOB}(:{_JOB})*", value)):
        return f"afterany:{value}"
    return value


ArrayIndexes = Annotated[
    str,
    Field(pattern=rf"^{_INDEX}(,{_INDEX})*(%[1-9][0-9]*)?$", max_length=4096),
    Field(coerce_numbers_to_str=True),
    ErrorMessage("must be array indexes such as 1,3,10-99:5 or 1-100%10 (at most 4096 characters)"),
]
PositiveCount = Annotated[int, Field(ge=1, le=10_000_000)]
Dependency = Annotated[
    str,
    BeforeValidator(_dependency_text),
    Field(pattern=rf"^{_CONDITION}((,{_CONDITION})*|(\?{_CONDITION})*)$", max_length=65_536),
    ErrorMessage(
        "must be a dependency such as afterok:20:21,afterany:23 or singleton, or a job's number"
    ),
]
NewDependency = Annotated[
    str,
    BeforeValidator(_dependency_text),
    Field(pattern=rf"^(none|{_CONDITION}((,{_CONDITION})*|(\?{_CONDITION})*))$", max_length=65_536),
    ErrorMessage("must be a dependency such as afterok:20:21,afterany:23, a job's number, or none"),
]
"""A dependency in place of another one; `none` removes it."""
GpuRequest = Annotated[
    str,
    Field(pattern=rf"^{_GPUS}(,{_GPUS})*$", coerce_numbers_to_str=True),
    ErrorMessage("must be a number of GPUs, or type:number such as a100:2"),
]
MemorySize = Annotated[
    str,
    Field(pattern=r"^[0-9]+([KkMmGgTt][Bb]?)?$", coerce_numbers_to_str=True),
    ErrorMessage("must be a size in MB, or with a unit: 500, 4G, 4GB, 1T"),
]
BeginTime = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9:/.+-]+$", max_length=64),
    ErrorMessage("must be a time such as 16:00, now+1hour or 2030-01-31T12:00"),
]
CommaSeparatedNames = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_.+-]+(,[A-Za-z0-9_.+-]+)*$", max_length=1024),
    ErrorMessage(
        "must be a name, or several separated by commas: letters, digits and _ . + - only "
        "(at most 1024 characters)"
    ),
]
NodeCount = Annotated[
    str,
    Field(pattern=rf"^{_COUNTS}(,{_COUNTS})*$", max_length=255, coerce_numbers_to_str=True),
    ErrorMessage("must be a number of nodes, or minimum-maximum such as 2-4"),
]


def _check_readable(pattern: str) -> str:
    if re.search(r" -", pattern):
        raise ValueError(
            "must not have a word with a leading '-': the job's record would not show where the "
            "name ends"
        )
    return pattern


BatchScript = Annotated[
    str,
    Field(pattern=r"^#![ \t]*/[^\x00]+$"),
    ErrorMessage("the script must begin with an interpreter line such as #!/bin/bash"),
]
OptionText = Annotated[
    str,
    Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=4096),
    ErrorMessage(
        "must be one line of text: no control characters, 1 to 4096 characters",
    ),
]
FilePattern = Annotated[
    OptionText,
    AfterValidator(_check_readable),
]
CHECK_FOLDERS = (
    "check on the login node that the working folder exists, and create the folders of the output "
    "(default: true); false for folders that only compute nodes have"
)
CheckFolders = Annotated[bool, Field(description=CHECK_FOLDERS)]
TimeLimit = Annotated[
    str,
    Field(pattern=_TIME, coerce_numbers_to_str=True),
    ErrorMessage("must be minutes, or a time such as 1:30:00 or 2-12:00:00, or UNLIMITED"),
]

ModuleName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_+.][A-Za-z0-9_+./=-]*$", max_length=255),
    ErrorMessage("must be a module's name, such as gcc/12"),
]

# Variables that bash sets itself or makes read-only: the script would not see the given value.
_RESERVED_VARIABLES = frozenset(
    [
        *("BASHOPTS", "BASHPID", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME"),
        *("GROUPS", "HISTCMD", "IFS", "LINENO", "OPTIND", "PPID", "RANDOM", "SECONDS", "SHELLOPTS"),
        *("SRANDOM", "UID", "_"),
    ]
)


def _check_not_reserved(name: str) -> str:
    if name in _RESERVED_VARIABLES or re.match(r"SLURM_|SBATCH_|BASH_", name):
        raise ValueError("Slurm or the shell sets this variable itself: choose another name")
    return name


# Variables that a script needs to find its programs and files, or that Slurm sets for GPUs.
_NEEDED_VARIABLES = frozenset(
    [
        *(
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "SHELL",
            "PWD",
            "OLDPWD",
            "TMPDIR",
            "LANG",
            "HOSTNAME",
        ),
        *("TERM", "ENV", "PS4", "CDPATH", "MODULEPATH", "MODULESHOME", "LOADEDMODULES"),
        *("PYTHONHOME", "PYTHONPATH", "PERL5LIB", "KRB5CCNAME", "XDG_RUNTIME_DIR"),
        *("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
        *("ZE_AFFINITY_MASK", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"),
    ]
)


def _check_not_needed(name: str) -> str:
    if name in _NEEDED_VARIABLES or name.startswith(("LD_", "LC_", "LMOD_")):
        raise ValueError("the script's programs need this variable themselves: choose another name")
    return name


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


VariableName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=255),
    ErrorMessage(
        "must be a variable's name: up to 255 letters, digits and '_', not beginning with a digit"
    ),
    AfterValidator(_check_not_reserved),
]
"""The name of an environment variable that a job can be given."""
ParameterName = Annotated[VariableName, AfterValidator(_check_not_needed)]
"""The name of a parameter of a sweep, which becomes an environment variable of the script."""
VariableValue = Annotated[Argument, BeforeValidator(_number_as_text)]
"""The value of an environment variable: text, or a number."""


JobNameOption = Annotated[OptionText | None, Field(description="name of the job")]
AccountOption = Annotated[CommaSeparatedNames | None, Field(description="account to charge")]
TimeLimitOption = Annotated[
    TimeLimit | None,
    Field(description="minutes, m:s, h:m:s, d-h, d-h:m, d-h:m:s or UNLIMITED"),
]
QosOption = Annotated[CommaSeparatedNames | None, Field(description="quality of service")]
NiceOption = Annotated[
    int | None,
    Field(ge=-2_147_483_645, le=2_147_483_645, description="lower the priority by this much"),
]


class JobOptions(TypedDict, total=False):
    """The options that nearly every job is submitted with."""

    partition: Annotated[
        CommaSeparatedNames | None,
        Field(description="Slurm partition, or several separated by commas"),
    ]
    job_name: JobNameOption
    account: AccountOption
    time_limit: TimeLimitOption
    nodes: Annotated[
        NodeCount | None, Field(description="number of nodes, or minimum-maximum: 2-4")
    ]
    ntasks: Annotated[PositiveCount | None, Field(description="number of tasks")]
    cpus_per_task: Annotated[PositiveCount | None, Field(description="CPUs per task")]
    memory: Annotated[
        MemorySize | None,
        Field(description="memory per node in MB, or with unit K, M, G or T; 0: all of it"),
    ]
    dependency: Annotated[
        Dependency | None,
        Field(
            description="start after other jobs: afterok:20:21,afterany:23; "
            "with ? instead of commas, one of the conditions is enough"
        ),
    ]
    kill_on_invalid_dep: Annotated[
        bool | None,
        Field(
            description="cancel the job if its dependency can never be met, instead of keeping it "
            "in the queue (default: as the site configures it)"
        ),
    ]
    chdir: Annotated[
        OptionText | None, Field(description="working folder of the job (default: the home folder)")
    ]
    output: Annotated[
        FilePattern | None,
        Field(description="file for standard output; %j is the job's id, %a the array index"),
    ]
    error: Annotated[
        FilePattern | None,
        Field(description="file for standard error (default: the same file as the output)"),
    ]


class BatchOptions(JobOptions, total=False):
    """The less common options of a batch job."""

    qos: QosOption
    ntasks_per_node: Annotated[PositiveCount | None, Field(description="tasks per node")]
    memory_per_cpu: Annotated[
        MemorySize | None, Field(description="memory per CPU in MB, or with unit K, M, G or T")
    ]
    gres: Annotated[
        OptionText | None,
        Field(description="generic resources per node, such as gpu:a100:2,disk:10"),
    ]
    gpus: Annotated[
        GpuRequest | None, Field(description="GPUs for the whole job: number, or type:number")
    ]
    constraint: Annotated[
        OptionText | None, Field(description="features the nodes must have, such as intel&gpu")
    ]
    exclusive: Annotated[bool | None, Field(description="do not share nodes with other jobs")]
    reservation: Annotated[CommaSeparatedNames | None, Field(description="reservation to use")]
    licenses: Annotated[OptionText | None, Field(description="licences, such as ansys:2")]
    begin: Annotated[
        BeginTime | None,
        Field(description="earliest start: 16:00, now+1hour or 2030-01-31T12:00"),
    ]
    hold: Annotated[bool | None, Field(description="hold the job until it is released")]
    requeue: Annotated[
        bool | None, Field(description="whether to requeue the job when a node fails")
    ]
    nice: NiceOption
    mail_type: Annotated[
        CommaSeparatedNames | None,
        Field(description="events to send mail for: BEGIN, END, FAIL, ALL, …"),
    ]
    mail_user: Annotated[OptionText | None, Field(description="recipient of the mail")]
    comment: Annotated[OptionText | None, Field(description="comment stored with the job")]


class ScriptOptions(TypedDict, total=False):
    """The script of a batch job, and what it is run with."""

    script: Annotated[
        BatchScript | None, Field(description="batch script as text, beginning with #!/…")
    ]
    path: Annotated[
        RemotePath | None,
        Field(
            description="instead of script: path of a batch script on the cluster, "
            "relative to the home folder"
        ),
    ]
    arguments: Annotated[
        list[Argument] | None, Field(description="arguments of the script: $1, $2, …")
    ]
    environment: Annotated[
        dict[VariableName, VariableValue] | None,
        Field(description="extra environment variables for the job; values may contain any text"),
    ]
    modules: Annotated[
        list[ModuleName] | None,
        Field(
            min_length=1,
            description="modules to load first (with script only); "
            "the job stops if one cannot be loaded",
        ),
    ]
    array: Annotated[
        ArrayIndexes | None,
        Field(description="indexes of a job array: 1,3,10-99:5; %10: at most ten at once"),
    ]


class SubmitOptions(ScriptOptions, BatchOptions, total=False):
    """All options of a submission."""

    check_folders: Annotated[bool | None, Field(description=CHECK_FOLDERS)]
    cluster: SlurmCluster


def require_one_script(script: str | None, path: str | None, modules: Sequence[str] | None) -> None:
    """Raise InvalidOptions unless there is one script, with modules only if it is a text."""
    if (script is None) == (path is None):
        raise InvalidOptions.of("script", "give either script or path")
    if modules and path:
        message = "modules need a script sent as text; load them in the script at path instead"
        raise InvalidOptions.of("modules", message)


_FLAG_NAMES = {"time_limit": "time", "memory": "mem", "memory_per_cpu": "mem-per-cpu"}


def flags(options: Mapping[str, Any]) -> list[str]:
    """Return the options as sbatch's flags, in their order; None means not given."""
    words = [_flag(name, value) for name, value in options.items() if value is not None]
    return [word for word in words if word]


def _flag(option: str, value: Any) -> str | None:
    name = _FLAG_NAMES.get(option, option.replace("_", "-"))
    if option == "kill_on_invalid_dep":
        return f"--{name}={'yes' if value else 'no'}"
    if value is True:
        return f"--{name}"
    if value is False:
        return "--no-requeue" if name == "requeue" else None
    return f"--{name}={value}"
