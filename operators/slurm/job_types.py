"""The parts of a job's description that the queue and the accounting database share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.parsing import JobId, expand_indexes
from resop import ErrorMessage

Seconds = int
TimeLimitSeconds = Seconds | Literal["UNLIMITED"]
"""A time limit: seconds, or Slurm's word for none. A limit that is not known is None."""
Bytes = int
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""ISO 8601, in UTC."""

JobState = Literal[
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "COMPLETING",
    "CONFIGURING",
    "DEADLINE",
    "EXPEDITING",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PENDING",
    "PREEMPTED",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "RESIZING",
    "RESV_DEL_HOLD",
    "REVOKED",
    "RUNNING",
    "SIGNALING",
    "SPECIAL_EXIT",
    "STAGE_OUT",
    "STOPPED",
    "SUSPENDED",
    "TIMEOUT",
]
"""The states that a request can filter by; squeue(1), JOB STATE CODES."""

UNFINISHED_STATES = frozenset(
    [
        *("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
        *(
            "COMPLETING",
            "CONFIGURING",
            "EXPEDITING",
            "RESIZING",
            "RUNNING",
            "SIGNALING",
            "STAGE_OUT",
        ),
        *("STOPPED", "SUSPENDED"),
    ]
)

Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@+-]*$", max_length=255),
    ErrorMessage(
        "must be a name: up to 255 letters, digits and _ . @ + -, "
        "beginning with a letter, a digit or '_'"
    ),
]
"""A user, an account or a partition: a name that is safe in a comma-separated list."""
NameList = Annotated[list[Name], Field(min_length=1, max_length=100)]
SlurmCluster = Annotated[
    Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=255),
        ErrorMessage("must be the name of a Slurm cluster, such as those of sacctmgr show cluster"),
    ]
    | None,
    Field(description="Slurm cluster, where there are several (default: the login node's)"),
]
JobName = Annotated[
    str,
    Field(pattern=r"^[^\x00]+$", max_length=1024),
    ErrorMessage("must be a job's name: 1 to 1024 characters, none of them NUL"),
]
JobIdText = Annotated[
    str,
    Field(pattern=r"^[0-9]{1,10}([_+][0-9]{1,10})?$", coerce_numbers_to_str=True),
    ErrorMessage("must be a job's id: 123, 123_4 (array task) or 123+1 (component)"),
    Field(
        description="job id: 123, an array task (123_4), "
        "or a component of a heterogeneous job (123+1)"
    ),
]
ArrayIdText = Annotated[
    str,
    Field(pattern=r"^[0-9]{1,10}$", coerce_numbers_to_str=True),
    ErrorMessage("must be the number of a sweep or array, such as 4242"),
    Field(description="number of the sweep or array"),
]
JobIds = Annotated[
    list[JobIdText],
    Field(min_length=1, max_length=1000),
]


class JobEntry(TypedDict):
    """A job, an array task, pending tasks or a component, as far as a watch shows it."""

    id: str
    """As Slurm prints it: 123, 123_4, 123_[5-9%2], 123+1."""
    job: int
    """The number in `id`: the job, the array, or the first component."""
    raw_id: int
    """Slurm's own number for this job, array task or component; 0 if it is not known."""
    task: int | None
    tasks: str | None
    component: int | None
    state: str
    reason: str | None
    """Why the job is pending, or why it failed."""
    submitted: Timestamp | None


class Job(JobEntry):
    """A job, an array task, the pending tasks of an array, or a heterogeneous component."""

    name: str
    user: str
    account: str | None
    partition: str
    qos: str | None
    nodes: int
    node_names: list[str]
    cpus: int
    started: Timestamp | None
    ended: Timestamp | None
    elapsed: Seconds
    time_limit: TimeLimitSeconds | None
    """UNLIMITED if it has none; None if it is not known, or not set yet."""
    work_dir: str | None


def matches_id(job: JobEntry, target: JobId) -> bool:
    """Return True if `job` is the target, a part of it, or pending tasks that include it."""
    if target.task is None and target.component is None:
        return target.job in (job["job"], job["raw_id"])
    if job["job"] != target.job:
        return False
    if job["tasks"] is not None:
        return target.task in expand_indexes(job["tasks"])
    return (job["task"], job["component"]) == (target.task, target.component)
