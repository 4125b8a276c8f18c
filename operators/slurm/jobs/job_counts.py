"""Count the jobs in the queue by state, without reading the rest of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.parsing import JobId
from resop import Shell

_COLUMNS = {"id": "i", "state": "T", "partition": "P", "user": "u"}


class JobCounts(TypedDict):
    """A number of jobs, where each task of an array is one."""

    total: int
    by_state: dict[str, int]
    """RUNNING, PENDING, COMPLETING, …"""


class CountedJobs(NamedTuple):
    """Jobs that have state, partitions and user in common."""

    number: int
    state: str
    partitions: tuple[str, ...]
    """One, or several of a pending job that may start in any of them."""
    user: str


def read_counts(shell: Shell) -> list[CountedJobs]:
    """Return the jobs in the queue, counted, as far as the cluster shows them to the user."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in listings.squeue(shell, _COLUMNS):
        tasks = JobId.parse(row["id"]).tasks
        number = parsing.count_indexes(tasks) if tasks else 1
        counts[row["state"], row["partition"], row["user"]] += number
    return [
        CountedJobs(number, state, (*parsing.split_names(partitions),), user)
        for (state, partitions, user), number in counts.items()
    ]


def add_up_jobs(jobs: Iterable[CountedJobs]) -> JobCounts:
    """Return the number of the jobs together."""
    by_state: Counter[str] = Counter()
    for each in jobs:
        by_state[each.state] += each.number
    return JobCounts(total=by_state.total(), by_state=dict(by_state.most_common()))
