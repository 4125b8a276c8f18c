"""What a job is submitted with: options that several operations share, named as sbatch does.

Numbers are welcome where Slurm's own form may be one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

INDEX = r"[0-9]+(-[0-9]+(:[1-9][0-9]*)?)?"
JOB = r"[1-9][0-9]*(_([0-9]+|\*))?(\+[0-9]+)?"
WHEN = rf"(singleton|after(any|burstbuffer|corr|notok|ok)?(:{JOB})+)"
TIME = r"^([0-9]+(:[0-9]{1,2}){0,2}|[0-9]+-[0-9]{1,2}(:[0-9]{1,2}){0,2}|UNLIMITED)$"
MOMENT = r"^[A-Za-z0-9:/.+-]+$"
GPUS = r"([A-Za-z][A-Za-z0-9_.-]*:)?[0-9]+"

Array = Annotated[
    str,
    Field(pattern=rf"^{INDEX}(,{INDEX})*(%[1-9][0-9]*)?$", max_length=4096),
    Field(coerce_numbers_to_str=True),
]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Dependency = Annotated[str, Field(pattern=rf"^{WHEN}((,{WHEN})*|(\?{WHEN})*)$", max_length=65_536)]
Gpus = Annotated[str, Field(pattern=rf"^{GPUS}(,{GPUS})*$", coerce_numbers_to_str=True)]
Memory = Annotated[str, Field(pattern=r"^[0-9]+[KMGT]?$", coerce_numbers_to_str=True)]
Moment = Annotated[str, Field(pattern=MOMENT, max_length=64)]
Names = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+-]+(,[A-Za-z0-9_.+-]+)*$", max_length=1024)]
Nodes = Annotated[str, Field(pattern=r"^[1-9][0-9]*(-[1-9][0-9]*)?$", coerce_numbers_to_str=True)]
Script = Annotated[str, Field(pattern=r"^#![ \t]*/[^\x00]+$")]
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=4096)]
Time = Annotated[str, Field(pattern=TIME, coerce_numbers_to_str=True)]

OneJob = Annotated[
    str,
    Field(pattern=r"^[0-9]{1,10}([_+][0-9]{1,10})?$", coerce_numbers_to_str=True),
    Field(description="123, a task of an array (123_4), or a component (123+1)"),
]

# What bash sets by itself, or does not let anyone set: a value given would not be read again.
_SHELLS_OWN = frozenset(
    [
        *("BASHOPTS", "BASHPID", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME"),
        *("GROUPS", "HISTCMD", "IFS", "LINENO", "OPTIND", "PPID", "RANDOM", "SECONDS", "SHELLOPTS"),
        *("SRANDOM", "UID", "_"),
    ]
)


def _free_for_use(name: str) -> str:
    if name in _SHELLS_OWN or re.match(r"SLURM_|SBATCH_|BASH_", name):
        raise ValueError("is a variable that Slurm or the shell sets by itself: take another name")
    return name


Variable = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=255),
    AfterValidator(_free_for_use),
]
"""The name of an environment variable that a job can be given."""


class JobOptions(TypedDict, total=False):
    """What nearly every job is submitted with."""

    partition: Annotated[
        Names | None, Field(description="Slurm partition, or several with commas between")
    ]
    job_name: Annotated[Text | None, Field(description="name of the job")]
    account: Annotated[Names | None, Field(description="account to charge")]
    time_limit: Annotated[
        Time | None, Field(description="minutes, m:s, h:m:s, d-h, d-h:m, d-h:m:s or UNLIMITED")
    ]
    nodes: Annotated[Nodes | None, Field(description="number of nodes, or least-most")]
    ntasks: Annotated[Count | None, Field(description="number of tasks")]
    cpus_per_task: Annotated[Count | None, Field(description="CPUs for each task")]
    memory: Annotated[
        Memory | None, Field(description="of each node: MB, or with unit K, M, G, T; 0 is all")
    ]
    dependency: Annotated[
        Dependency | None, Field(description="afterok:20:21,afterany:23 (all), or with ? (any)")
    ]
    chdir: Annotated[
        Text | None, Field(description="folder to run in; the home folder when not given")
    ]
    output: Annotated[
        Text | None, Field(description="file for standard output; %j is the id, %a the index")
    ]
    error: Annotated[
        Text | None, Field(description="file for standard error; goes to output when not given")
    ]


class BatchOptions(JobOptions, total=False):
    """What else people submit a job with."""

    qos: Annotated[Names | None, Field(description="quality of service")]
    ntasks_per_node: Annotated[Count | None, Field(description="tasks on each node")]
    memory_per_cpu: Annotated[
        Memory | None, Field(description="for each CPU: MB, or with unit K, M, G, T")
    ]
    gres: Annotated[
        Text | None, Field(description="further resources of each node: gpu:a100:2,disk:10")
    ]
    gpus: Annotated[Gpus | None, Field(description="GPUs of the whole job: number, or type:number")]
    constraint: Annotated[Text | None, Field(description="features of the nodes: intel&gpu")]
    exclusive: Annotated[bool | None, Field(description="share no node with other jobs")]
    reservation: Annotated[Names | None, Field(description="reservation to use")]
    licenses: Annotated[Text | None, Field(description="licences: ansys:2")]
    begin: Annotated[
        Moment | None, Field(description="not before: 16:00, now+1hour, 2030-01-31T12:00")
    ]
    hold: Annotated[bool | None, Field(description="do not start before it is released")]
    requeue: Annotated[
        bool | None, Field(description="start it again, or never, when a node fails")
    ]
    nice: Annotated[
        int | None, Field(ge=-2_147_483_645, le=2_147_483_645, description="lower the priority")
    ]
    mail_type: Annotated[
        Names | None, Field(description="when to send mail: BEGIN, END, FAIL, ALL, …")
    ]
    mail_user: Annotated[Text | None, Field(description="whom to send it")]
    comment: Annotated[Text | None, Field(description="kept with the job")]


_FLAGS = {"time_limit": "time", "memory": "mem", "memory_per_cpu": "mem-per-cpu"}


def flags(options: Mapping[str, Any]) -> list[str]:
    """The options as sbatch takes them, in their order; one that is None was not given."""
    given = {_FLAGS.get(name, name.replace("_", "-")): each for name, each in options.items()}
    words = [_flag(name, value) for name, value in given.items() if value is not None]
    return [word for word in words if word]


def _flag(name: str, value: Any) -> str | None:
    if value is True:
        return f"--{name}"
    if value is False:
        return "--no-requeue" if name == "requeue" else None
    return f"--{name}={value}"
