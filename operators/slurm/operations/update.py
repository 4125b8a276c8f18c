"""Change jobs in the queue: their time limit, partition, priority, name and so on."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Unpack, cast

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import parsing
from operators.slurm.client import on_cluster
from operators.slurm.job_types import SlurmCluster, TimeLimitSeconds
from operators.slurm.jobs.array_tasks import list_tasks
from operators.slurm.jobs.job_changes import JobChange, change_jobs, fail_if_refused
from operators.slurm.jobs.job_outcome import count_by_state
from operators.slurm.jobs.job_queue import QueuedJob
from operators.slurm.jobs.job_selection import (
    JOBS_PER_CALL,
    JobsInCommon,
    SelectionOptions,
    groups,
    select_ids,
)
from operators.slurm.parsing import JobId
from operators.slurm.submission.submit_options import (
    AccountOption,
    CommaSeparatedNames,
    JobNameOption,
    NewDependency,
    NiceOption,
    NodeCount,
    QosOption,
    TimeLimitOption,
)
from resop import InvalidOptions, Shell, operation

NO_DEPENDENCY = "none"
_WORDS = {
    "time_limit": "TimeLimit",
    "partition": "Partition",
    "priority": "Priority",
    "nice": "Nice",
    "job_name": "JobName",
    "account": "Account",
    "qos": "QOS",
    "dependency": "Dependency",
    "nodes": "NumNodes",
    "at_once": "ArrayTaskThrottle",
}
# What only administrators may do, which Slurm refuses with "Access/permission denied".
_FOR_ADMINISTRATORS = {
    "time_limit": "extend the time limit of a running job, or beyond that of the partition",
    "priority": "raise the priority of a job",
    "nice": "give a job a negative nice value",
}
_DENIED = "Access/permission denied"


class NewValues(TypedDict, total=False):
    """The new values; an option that is not given leaves the job as it is."""

    time_limit: TimeLimitOption
    partition: Annotated[
        CommaSeparatedNames | None,
        Field(description="move the job to this partition, or to one of several"),
    ]
    priority: Annotated[
        int | None,
        Field(ge=1, le=2**32 - 3, description="priority; users can lower it only: see `nice`"),
    ]
    nice: NiceOption
    job_name: JobNameOption
    account: AccountOption
    qos: QosOption
    dependency: Annotated[
        NewDependency | None,
        Field(description="start after other jobs: afterok:20:21,afterany:23; none: at once"),
    ]
    nodes: Annotated[
        NodeCount | None,
        Field(description="number of nodes, or minimum-maximum; a running job can only get fewer"),
    ]
    at_once: Annotated[
        int | None,
        Field(ge=0, le=10_000_000, description="tasks of an array that may run at once; 0: all"),
    ]


class ChangeOptions(NewValues, JobsInCommon, total=False):
    """The jobs, and their new values."""


class JobUpdate(TypedDict):
    """The result for one job."""

    id: str
    result: Literal["updated", "had_ended", "refused"]
    states: dict[str, int]
    """The number of jobs, tasks or components by state now."""
    applied: list[str]
    """The options that are in force now for all parts that have not ended. Slurm applies several
    options one after the other, so some may be in force though it refused another one."""
    message: str | None
    """Slurm's message, if it refused."""


@operation(
    examples=[
        {"jobs": ["4242", "4244_[1-5]"], "time_limit": "2:00:00"},
        {"name": "test run", "state": "PENDING", "partition": "debug"},
    ]
)
def update(
    shell: Shell,
    cluster: SlurmCluster = None,
    **options: Unpack[ChangeOptions],
) -> list[JobUpdate]:
    """Return what happened to each job, given by id or selected by `name`, `state` and `user`.

    Slurm changes everything of a job that is pending. Of a job that runs it changes the time
    limit, which users can only shorten, its name, a nice value, the number of nodes, which can
    only become smaller, and the number of an array's tasks at once. A job that has ended is not
    changed, and not a failure. The operation fails if Slurm refuses or does not know any of the
    jobs; the error then has the whole list as `jobs`. JobNotFound: it knows none of those it
    refused.
    """
    given = {name: options.get(name) for name in _WORDS if options.get(name) is not None}
    if not given:
        raise InvalidOptions.of("time_limit", f"give what to change: {', '.join(_WORDS)}")
    words = [f"{_WORDS[name]}={_value(value)}" for name, value in given.items()]
    # scontrol takes a number of nodes for one job at a time only.
    size = 1 if "nodes" in given else JOBS_PER_CALL
    answer: list[JobUpdate] = []
    unknown: list[str] = []
    selection = {name: options.get(name) for name in JobsInCommon.__annotations__}
    with on_cluster(cluster):
        for group in groups(select_ids(shell, cast("SelectionOptions", selection)), size):
            changes = change_jobs(
                shell, lambda ids: ("scontrol", "update", f"JobId={ids}", *words), group
            )
            nice = _read_nice(shell, changes) if "nice" in given else {}
            answer += [_outcome(change, given, nice) for change in changes]
            unknown += [change.id for change in changes if change.is_unknown]
    fail_if_refused(answer, unknown)
    return answer


def _value(value: object) -> object:
    return "" if value == NO_DEPENDENCY else value


def _read_nice(shell: Shell, changes: Sequence[JobChange]) -> dict[int, int | None]:
    """Return the nice value by Slurm's own job number."""
    ids = [JobId(job["job"]) for change in changes for job in change.remaining]
    if not ids:
        return {}
    rows = list_tasks(shell, "--states=all", ids=ids, fields=["nice"])
    return {row.raw_id: parsing.parse_int(row.cell("nice")) for row in rows}


def _outcome(
    change: JobChange, given: Mapping[str, Any], nice: Mapping[int, int | None]
) -> JobUpdate:
    jobs = change.remaining
    seen = {name: [_has(job, name, value, nice) for job in jobs] for name, value in given.items()}
    ignored = [name for name, found in seen.items() if False in found]
    messages: Sequence[str] = [_explain(each, given) for each in change.messages]
    result: Literal["updated", "had_ended", "refused"]
    if messages:
        result = "refused"
    elif not jobs:
        result = "had_ended"
    elif ignored:
        result = "refused"
        messages = [f"Slurm has accepted the request, but not changed {', '.join(ignored)}"]
    else:
        result = "updated"
    in_force = [name for name, found in seen.items() if result == "updated" or all(found)]
    return JobUpdate(
        id=change.id,
        result=result,
        states=count_by_state(change.jobs),
        applied=in_force if jobs else [],
        message="; ".join(messages) or None,
    )


def _explain(message: str, given: Mapping[str, Any]) -> str:
    """Return Slurm's message, with what only an administrator may do."""
    reserved = [text for name, text in _FOR_ADMINISTRATORS.items() if name in given]
    if not message.endswith(_DENIED) or not reserved:
        return message
    return f"{message}: only an administrator may {', or '.join(reserved)}"


def _has(job: QueuedJob, name: str, value: Any, nice: Mapping[int, int | None]) -> bool | None:
    """Return True if a job has the value; None if that cannot be seen in the queue."""
    if name == "time_limit":
        return job["time_limit"] == _whole_minutes(value)
    if name == "partition":
        return {*job["partition"].split(",")} <= {*value.split(",")}
    if name == "nice":
        found = nice.get(job["raw_id"])
        return None if found is None else bool(found == value)
    if name == "nodes":
        return bool(job["nodes"] == int(value)) if value.isdecimal() and job["nodes"] else None
    if name == "at_once":
        is_array = job["task"] is not None or job["tasks"] is not None
        return None if is_array else False
    names = {"priority": job["priority"], "qos": job["qos"], "account": job["account"]}
    seen = {**names, "job_name": job["name"]}
    return bool(seen[name] == value) if name in seen else None


def _whole_minutes(text: str) -> TimeLimitSeconds | None:
    """Return a time limit in seconds, rounded up to minutes as Slurm does; or UNLIMITED."""
    limit = parsing.parse_time_limit(text)
    return -(-limit // 60) * 60 if isinstance(limit, int) else limit
