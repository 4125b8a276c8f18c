"""List past and present jobs from the accounting database."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.accounting import PastJob, list_past_jobs
from operators.slurm.client import on_cluster
from operators.slurm.job_types import JobName, JobState, NameList, SlurmCluster
from operators.slurm.known_names import check_accounts, check_partitions
from resop import ErrorMessage, Shell, operation

# Without a list of all states, sacct omits jobs that were cancelled before they were eligible.
ALL_STATES = "BF,CA,CD,DL,F,NF,OOM,PD,PR,R,RQ,RS,RV,S,TO"

HistoryTime = Annotated[
    datetime
    | Annotated[
        str, Field(pattern=r"^(today|yesterday|now(-[0-9]{1,6}(minute|hour|day|week)s?)?)$")
    ],
    ErrorMessage(
        "must be a time such as 2024-05-01, 2024-05-01T12:00Z, today, yesterday or now-7days"
    ),
]


class HistoryJob(PastJob):
    """A job, or one attempt of it, in the accounting database."""

    restarts: int | None
    """The number of its earlier attempts in the time asked for; None without `attempts`."""


class JobHistory(TypedDict):
    """A page of jobs, the last submitted first."""

    jobs: list[HistoryJob]
    total: int
    """The number of matching jobs on all pages."""
    next: int | None
    """The `offset` of the next page; None on the last one."""


@operation(
    share_for=5,
    examples=[
        {"start": "now-7days", "states": ["FAILED", "TIMEOUT"]},
        {"start": "2024-05-01", "end": "2024-06-01", "all_users": True, "limit": 1000},
    ],
)
def history(
    shell: Shell,
    start: Annotated[
        HistoryTime, Field(description="only jobs that ran or ended at this time or later")
    ] = "now-7days",
    end: Annotated[
        HistoryTime, Field(description="only jobs that were submitted or ran before this time")
    ] = "now",
    states: Annotated[
        list[JobState] | None,
        Field(min_length=1, description="only jobs that are in these states now"),
    ] = None,
    users: Annotated[
        NameList | None, Field(description="jobs of these users (default: your own)")
    ] = None,
    all_users: Annotated[
        bool,
        Field(
            description="jobs of all users, as far as the cluster shows them; ignored with users"
        ),
    ] = False,
    accounts: Annotated[NameList | None, Field(description="only jobs of these accounts")] = None,
    partitions: Annotated[
        NameList | None, Field(description="only jobs in these partitions")
    ] = None,
    names: Annotated[
        list[JobName] | None, Field(min_length=1, description="only jobs with exactly these names")
    ] = None,
    steps: Annotated[bool, Field(description="include the jobs' steps and memory use")] = False,
    attempts: Annotated[
        bool,
        Field(
            description="list each attempt of a job that was requeued, not only the last one: "
            "an earlier one ended as REQUEUED, NODE_FAIL, PREEMPTED, …"
        ),
    ] = False,
    limit: Annotated[
        int, Field(ge=1, le=1000, description="maximum number of jobs on a page")
    ] = 100,
    offset: Annotated[
        int, Field(ge=0, description="number of jobs to skip: `next` of the previous page")
    ] = 0,
    cluster: SlurmCluster = None,
) -> JobHistory:
    """Return a page of the jobs that match all filters.

    Jobs that are still pending are in the queue (`jobs`). Job names have a backtick for each double
    quote. `max_rss` and `steps` are filled only with `steps`.
    """
    lists = {"user": users, "accounts": accounts, "partition": partitions}
    filters = [f"--{name}={','.join(values)}" for name, values in lists.items() if values]
    filters += ["--allusers"] if all_users and not users else []
    filters += [] if steps else ["--allocations"]
    filters += ["--duplicates"] if attempts else []
    span = [f"--starttime={_time(shell, start)}", f"--endtime={_time(shell, end)}"]
    # Not sacct's filters: its --state means "at any time", and it splits names at commas.
    stored_names = [name.replace('"', "`") for name in names or ()]
    with on_cluster(cluster):
        listed = list_past_jobs(shell, *span, f"--state={ALL_STATES}", *filters)
        if not listed:
            check_partitions(shell, partitions)
            check_accounts(shell, accounts)
    restarts = _count_earlier(listed) if attempts else [None] * len(listed)
    found = [
        HistoryJob(**job, restarts=number)
        for job, number in zip(listed, restarts, strict=True)
        if (states is None or job["state"] in states)
        and (not stored_names or job["name"] in stored_names)
    ]
    after = offset + limit
    return JobHistory(
        jobs=found[offset:after], total=len(found), next=after if after < len(found) else None
    )


def _time(shell: Shell, when: datetime | str) -> str:
    """Format a time for sacct, which does not know `yesterday`."""
    if when != "yesterday":
        return format_time(when)
    return shell.run("env", "-u", "TZ", "date", "-d", "yesterday", "+%F").stdout.strip()


def _count_earlier(jobs: Sequence[PastJob]) -> list[int | None]:
    """Return the number of earlier attempts of each job; the jobs are the last submitted first."""
    seen: Counter[tuple[str, str, str]] = Counter()
    counts: list[int | None] = []
    # The number of a job can be used again, after MaxJobId: for another job, with another name.
    for job in reversed(jobs):
        key = (job["id"], job["user"], job["name"])
        counts.append(seen[key])
        seen[key] += 1
    return counts[::-1]


def format_time(when: datetime | str) -> str:
    """Format a time for Slurm's clients; without a zone it is in the cluster's time zone."""
    if isinstance(when, str):
        return when
    return f"uts{int(when.timestamp())}" if when.tzinfo else when.isoformat(timespec="seconds")
