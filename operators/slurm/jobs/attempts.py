"""List the attempts of a job that was started again: requeued, preempted, or after a node failure.

Slurm keeps the id, and gives the job a new time of submission.
"""

from __future__ import annotations

from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.job_types import Seconds, Timestamp
from operators.slurm.parsing import JobId
from resop import Shell

_COLUMNS = {
    "id": "JobID",
    "user": "User",
    "name": "JobName",
    "state": "State",
    "submitted": "Submit",
    "started": "Start",
    "ended": "End",
    "elapsed": "ElapsedRaw",
    "node_names": "NodeList",
    "exit_code": "ExitCode",
    "submit_line": "SubmitLine",
}
_SAME_JOB = ("id", "user", "name", "submit_line")


class Attempt(TypedDict):
    """One start of a job, an array task or a component."""

    id: str
    number: int
    """1 for the first attempt."""
    state: str
    """REQUEUED, NODE_FAIL, PREEMPTED, …; of the last attempt, the state of the job."""
    submitted: Timestamp | None
    """When the job was submitted, or put back into the queue."""
    started: Timestamp | None
    ended: Timestamp | None
    elapsed: Seconds
    node_names: list[str]
    exit_code: int | None
    signal: int | None


def read_attempts(shell: Shell, id: str) -> list[Attempt]:
    """Return the attempts of a job in the order of their starts; of an array, by task."""
    style = ("--duplicates", "--allocations", f"--jobs={id}")
    rows = sorted(listings.sacct(shell, _COLUMNS, *style), key=_sort_key)
    # Where a site has reset its job ids, another job of the past may have had the same.
    latest = {row["id"]: _identity(row) for row in rows}
    attempts: list[Attempt] = []
    for row in rows:
        if _identity(row) == latest[row["id"]]:
            is_same = bool(attempts) and attempts[-1]["id"] == row["id"]
            attempts.append(_attempt(row, attempts[-1]["number"] + 1 if is_same else 1))
    return attempts


def _sort_key(row: listings.TableRow) -> tuple[bool, int, int, int]:
    id = JobId.parse(row["id"])
    submitted = parsing.parse_int(row["submitted"]) or 0
    return (id.tasks is not None, id.task or 0, id.component or 0, submitted)


def _identity(row: listings.TableRow) -> tuple[str, ...]:
    return tuple(row[name] for name in _SAME_JOB)


def _attempt(row: listings.TableRow, number: int) -> Attempt:
    ended, nodes = parsing.parse_time(row["ended"]), parsing.expand_nodes(row["node_names"])
    code, signal = (parsing.parse_exit_code(row["exit_code"]) if ended else None) or (None, None)
    return Attempt(
        id=row["id"],
        number=number,
        state=row["state"].partition(" by ")[0],
        submitted=parsing.parse_time(row["submitted"]),
        # For a job that was cancelled while pending, the database has its end as its start.
        started=parsing.parse_time(row["started"]) if nodes else None,
        ended=ended,
        elapsed=parsing.parse_int(row["elapsed"]) or 0,
        node_names=nodes,
        exit_code=code,
        signal=signal,
    )
