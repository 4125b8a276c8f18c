"""Select the jobs that an operation acts on: by id, or by what they have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import accounting
from operators.slurm.job_types import Job, JobName
from operators.slurm.jobs.array_tasks import list_task_jobs
from operators.slurm.jobs.job_outcome import select, unfinished
from operators.slurm.jobs.job_queue import QueuedJob, list_jobs
from operators.slurm.known_names import check_accounts, check_partitions
from operators.slurm.parsing import JobId, expand_indexes
from operators.slurm.submission.submit_options import CommaSeparatedNames
from resop import ErrorMessage, InvalidOptions, Shell, Username

JOBS_PER_CALL = 500
"""Jobs per call of one of Slurm's clients."""
POLL_DELAYS = (0, 0.3, 0.7, 1.0, 1.0)
"""Seconds to wait before each look at the jobs that are changing."""
UNKNOWN_JOB = "Invalid job id"
"""Slurm's words for a job that its queue does not have."""

_SQUEUE_FLAGS = {
    "user": "user",
    "state": "states",
    "partition": "partition",
    "account": "account",
}
_FILTERS = ("name", *_SQUEUE_FLAGS)
_TASK_RANGE = r"[0-9]{1,10}(-[0-9]{1,10})?"
JobSelection = Annotated[
    list[
        Annotated[
            str,
            Field(
                pattern=rf"^[0-9]{{1,10}}(_([0-9]{{1,10}}|\[{_TASK_RANGE}(,{_TASK_RANGE})*\])|\+[0-9]{{1,10}})?$",
                coerce_numbers_to_str=True,
                max_length=1000,
            ),
            ErrorMessage("must be a job: 123, an array task 123_4, or tasks 123_[1-5,9]"),
        ]
    ],
    Field(min_length=1, max_length=10_000),
]


class JobsInCommon(TypedDict, total=False):
    """The jobs by id, or by what jobs in the queue have in common."""

    jobs: Annotated[
        JobSelection | None, Field(description="job ids; array tasks: 123_4, 123_[1-5,9]")
    ]
    name: Annotated[JobName | None, Field(description="only jobs with exactly this name")]
    state: Annotated[
        Literal["PENDING", "RUNNING", "SUSPENDED"] | None,
        Field(description="only jobs in this state"),
    ]
    user: Annotated[
        Username | None,
        Field(description="only jobs of this user (default: your own); by itself: all of them"),
    ]


class SelectionOptions(JobsInCommon, total=False):
    """The jobs by id, or options that select jobs in the queue."""

    partition: Annotated[
        CommaSeparatedNames | None, Field(description="only jobs in this partition")
    ]
    account: Annotated[CommaSeparatedNames | None, Field(description="only jobs of this account")]


def select_ids(shell: Shell, options: SelectionOptions, state: str | None = None) -> list[str]:
    """Return the ids of the selected jobs, as scancel and scontrol take them.

    Without ids, only jobs in `state` are selected, unless the options name another one. Raises
    InvalidOptions unless there are either ids or options that select jobs.
    """
    filters = {key: value for key, value in options.items() if key in _FILTERS and value}
    ids = options.get("jobs")
    if (ids is None) == (not filters):
        message = "give either jobs, or options that select jobs (name, state, user, …)"
        raise InvalidOptions.of("jobs", message)
    if ids is None:
        found = _find_jobs(shell, {"state": state, "user": shell.username, **filters})
        ids = [_client_id(job) for job in found]
        if not ids:
            check_partitions(shell, _split(options.get("partition")), field="partition")
            check_accounts(shell, _split(options.get("account")), field="account")
    return list(dict.fromkeys(ids))


def groups(ids: Sequence[str], size: int = JOBS_PER_CALL) -> Iterator[Sequence[str]]:
    """Yield the ids in groups, one for each call of a client."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def poll_jobs(
    shell: Shell,
    targets: Sequence[JobId],
    is_settled: Callable[[list[QueuedJob]], bool] = lambda _: True,
    *,
    each_task: bool = False,
) -> list[Job]:
    """Return the jobs as they are now; wait up to 3 s until `is_settled` is true of the queue.

    `is_settled` is called with the selected jobs that have not ended. With `each_task`, pending
    tasks of an array have an entry each: else squeue shows them as one, even if they differ.
    """
    read_queue = list_task_jobs if each_task else list_jobs
    ids = list({each if each.tasks is None else JobId(each.job) for each in targets})
    queue: list[QueuedJob] = []
    for delay in POLL_DELAYS:
        time.sleep(delay)
        queue = read_queue(shell, "--states=all", ids=ids)
        remaining = unfinished(queue)
        if is_settled([job for each in targets for job in select(remaining, each)]):
            break
    gone = {each.job for each in ids} - {n for job in queue for n in (job["job"], job["raw_id"])}
    if not gone:
        return [*queue]
    past = accounting.list_past_jobs(shell, f"--jobs={','.join(map(str, sorted(gone)))}")
    # Only the queue knows which tasks are still pending.
    return [*queue, *(job for job in past if not unfinished([job]))]


def _find_jobs(shell: Shell, filters: Mapping[str, Any]) -> list[QueuedJob]:
    """Return the jobs in the queue that match the filters."""
    flags = [f"--{flag}={filters[key]}" for key, flag in _SQUEUE_FLAGS.items() if filters.get(key)]
    # Not squeue's filter by name, which splits names at commas.
    return [job for job in list_jobs(shell, *flags) if filters.get("name") in (None, job["name"])]


def _split(names: str | None) -> list[str]:
    return names.split(",") if names else []


def _client_id(job: QueuedJob) -> str:
    """Return the id for the clients, which take neither the `%` limit of an array nor steps."""
    if job["tasks"] is None:
        return job["id"]
    parts = job["tasks"].partition("%")[0].split(",")
    plain = [",".join(map(str, expand_indexes(each))) if ":" in each else each for each in parts]
    return f"{job['job']}_[{','.join(plain)}]"
