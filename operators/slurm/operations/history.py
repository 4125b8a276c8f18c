"""Jobs of the past and present, from the accounting database."""

from datetime import datetime
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.accounting import PastJob, accounted
from operators.slurm.job_types import JobName, Names, State
from resop import Shell, operation

# Named all of them: without, sacct leaves out jobs that were cancelled before they were eligible.
STATES = "BF,CA,CD,DL,F,NF,OOM,PD,PR,R,RQ,RS,RV,S,TO"

When = datetime | Annotated[str, Field(pattern=r"^now(-[0-9]{1,6}(minutes|hours|days|weeks))?$")]


class History(TypedDict):
    """A page of jobs, those submitted last first."""

    jobs: list[PastJob]
    total: int
    """How many fit, on all pages."""
    next: int | None
    """The `offset` of the next page."""


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
        When, Field(description="jobs that ran, or ended, then or later")
    ] = "now-7days",
    end: Annotated[When, Field(description="... and no later than that")] = "now",
    states: Annotated[
        list[State] | None, Field(min_length=1, description="only jobs that are in these states")
    ] = None,
    users: Annotated[Names | None, Field(description="jobs of these users; else your own")] = None,
    all_users: Annotated[
        bool,
        Field(
            description="jobs of every user, where the cluster shows them, if `users` is not given"
        ),
    ] = False,
    accounts: Annotated[Names | None, Field(description="only jobs of these accounts")] = None,
    partitions: Annotated[Names | None, Field(description="only jobs in these partitions")] = None,
    names: Annotated[
        list[JobName] | None, Field(min_length=1, description="only jobs of exactly these names")
    ] = None,
    steps: Annotated[bool, Field(description="their steps, too, and the memory they used")] = False,
    limit: Annotated[int, Field(ge=1, le=1000, description="jobs on a page")] = 100,
    offset: Annotated[int, Field(ge=0, description="jobs to skip: `next` of the page before")] = 0,
) -> History:
    """Return a page of jobs that fit every filter given.

    What has never begun and still waits is in the queue: `jobs`. A name has a backtick for each
    double quote. `max_rss` and `steps` are there if `steps` is asked for.
    """
    lists = {"user": users, "accounts": accounts, "partition": partitions}
    filters = [f"--{name}={','.join(given)}" for name, given in lists.items() if given]
    filters += ["--allusers"] if all_users and not users else []
    filters += [] if steps else ["--allocations"]
    span = (f"--starttime={as_slurm(start)}", f"--endtime={as_slurm(end)}")
    # Filtered here: sacct's own state means "in the state at some time", and a name has no comma.
    called = [name.replace('"', "`") for name in names or ()]
    found = [
        job
        for job in accounted(shell, *span, f"--state={STATES}", *filters)
        if (states is None or job["state"] in states) and (not called or job["name"] in called)
    ]
    after = offset + limit
    return History(
        jobs=found[offset:after], total=len(found), next=after if after < len(found) else None
    )


def as_slurm(when: datetime | str) -> str:
    """A time as Slurm's clients read it; one without a zone is in the cluster's own."""
    if isinstance(when, str):
        return when
    return f"uts{int(when.timestamp())}" if when.tzinfo else when.isoformat(timespec="seconds")
