"""What the queue and the accounting database both say of a job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.parsing import JobId, indexes

Seconds = int
Bytes = int
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""ISO 8601, in UTC."""

State = Literal[
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "COMPLETING",
    "CONFIGURING",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PENDING",
    "PREEMPTED",
    "REQUEUED",
    "RUNNING",
    "STOPPED",
    "SUSPENDED",
    "TIMEOUT",
]
"""States that a request may ask for; squeue(1), JOB STATE CODES."""

NOT_ENDED = frozenset(
    [
        *("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
        *("COMPLETING", "CONFIGURING", "RESIZING", "RUNNING", "SIGNALING", "STAGE_OUT"),
        *("STOPPED", "SUSPENDED"),
    ]
)

Names = Annotated[
    list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@+-]*$", max_length=255)]],
    Field(min_length=1, max_length=100),
]
"""Users, accounts, partitions: what may stand in a list with commas between."""
JobName = Annotated[str, Field(pattern=r"^[^\x00]+$", max_length=1024)]
OneJob = Annotated[
    str, Field(pattern=r"^[0-9]{1,10}([_+][0-9]{1,10})?$", coerce_numbers_to_str=True)
]
"""123, a task of an array (123_4), or a component of a heterogeneous job (123+1)."""
JobIds = Annotated[
    list[OneJob],
    Field(min_length=1, max_length=1000),
]


class Job(TypedDict):
    """A job, a task of an array, the tasks of an array that wait, or a heterogeneous component."""

    id: str
    """As Slurm shows it: 123, 123_4, 123_[5-9%2], 123+1."""
    job: int
    """The number in it: of the job, the array, or the first component."""
    raw_id: int
    """The number that Slurm has for this one alone."""
    task: int | None
    tasks: str | None
    component: int | None
    name: str
    user: str
    account: str | None
    partition: str
    qos: str | None
    state: str
    reason: str | None
    """Why it waits, or failed."""
    nodes: int
    node_names: list[str]
    cpus: int
    submitted: Time | None
    started: Time | None
    ended: Time | None
    elapsed: Seconds
    time_limit: Seconds | None
    work_dir: str | None


def is_asked(job: Job, wanted: JobId) -> bool:
    """Whether this is the job that is asked for, a part of it, or tasks that it is one of."""
    if wanted.task is None and wanted.component is None:
        return wanted.job in (job["job"], job["raw_id"])
    if job["job"] != wanted.job:
        return False
    if job["tasks"] is not None:
        return wanted.task in indexes(job["tasks"])
    return (job["task"], job["component"]) == (wanted.task, wanted.component)
