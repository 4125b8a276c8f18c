"""Read jobs from slurmctld's queue, which has them from submission until some time after the end.

That time is MinJobAge: five minutes unless the site configures it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.client import ask
from operators.slurm.job_types import (
    UNFINISHED_STATES,
    Job,
    TimeLimitSeconds,
    Timestamp,
    matches_id,
)
from operators.slurm.parsing import JobId
from operators.slurm.reasons.job_reasons import reason_of_end
from operators.slurm.resources.gpu_requests import JobSize, count_gpus, with_gpus
from resop import CommandFailed, Shell

_COLUMNS = {
    "id": "i",
    "raw_id": "A",
    "name": "j",
    "user": "u",
    "account": "a",
    "partition": "P",
    "qos": "q",
    "state": "T",
    "reason": "r",
    "nodes": "D",
    "node_names": "N",
    "cpus": "C",
    "submitted": "V",
    "start": "S",
    "end": "e",
    "elapsed": "M",
    "time_limit": "l",
    "time_left": "L",
    "work_dir": "Z",
    "dependency": "E",
    "priority": "Q",
    "gres": "b",
    "features": "f",
    "script": "o",
    "comment": "k",
}
# Requested only if a caller names them.
_FURTHER_COLUMNS = {"nice": "y"}
_ALWAYS = ("id", "raw_id", "state")
# The columns of fields that have another name.
_COLUMN_OF = {
    "started": "start",
    "expected_start": "start",
    "ended": "end",
    "expected_end": "end",
}
# scontrol prints each on its own line. The last match counts: a job's name may contain newlines.
_DETAILS = re.compile(
    r"^   (StdErr|StdOut|AllocTRES|ReqTRES|TRES|TresPer(?:Job|Node|Socket|Task))=(.*)$",
    re.MULTILINE,
)
_SIZE = re.compile(r"^   NumNodes=(\d+)\S* .*NumTasks=(\d+) ", re.MULTILINE)
_SOCKETS = re.compile(r"^   Socks/Node=(\d+) ", re.MULTILINE)
_RECORD = re.compile(r"^(?=JobId=(\d+) )", re.MULTILINE)
_EXIT_STATUS = re.compile(r"^   Requeue=.* Restarts=(\d+) .*ExitCode=(\d+:\d+)$", re.MULTILINE)


NO_SUCH_JOB = "Invalid job id"
"""squeue says this of a single job that is not in the queue; of several, it omits those."""


class QueuedJob(Job):
    """A job in the queue."""

    expected_start: Timestamp | None
    """When the job will start, if the scheduler has planned it already."""
    expected_end: Timestamp | None
    """When the time limit ends the job."""
    time_left: TimeLimitSeconds | None
    """UNLIMITED if the job has no time limit."""
    dependency: str | None
    """The conditions the job waits for: afterok:20(unfulfilled)."""
    priority: int | None
    gres: str | None
    """Generic resources per node: gres:gpu:a100:1."""
    features: str | None
    script: str | None
    """Path of the batch script; None if it was sent as text."""
    comment: str | None


class JobDetails(TypedDict):
    """Details that the queue reports for a single job only."""

    stdout: str | None
    """Path of the file for standard output."""
    stderr: str | None
    exit_code: int | None
    signal: int | None
    resources: dict[str, int]
    """Allocated or requested resources: counts; memory in bytes."""
    restarts: int | None


class JobRow(NamedTuple):
    """A row of squeue, unparsed: the job takes ten times the memory."""

    id: JobId
    raw_id: int
    columns: tuple[str, ...]
    text: str
    """The cells, with NUL between them: it can be in none of them."""

    @property
    def position(self) -> tuple[int, int, int]:
        """The key of the order by id."""
        return self.id.job, self.id.task or 0, self.id.component or 0

    def of_task(self, index: int) -> JobRow:
        """Return the row of another task of the same array."""
        cells = self.text.split("\0")
        cells[self.columns.index("id")] = f"{self.id.job}_{index}"
        return self._replace(id=JobId(self.id.job, index), text="\0".join(cells))

    def cell(self, column: str) -> str:
        """Return the text of a column that was requested."""
        return self.text.split("\0")[self.columns.index(column)]

    def job(self) -> QueuedJob:
        """Return the job; a field whose column was not requested is empty."""
        cells = dict(zip(self.columns, self.text.split("\0"), strict=True))
        return _job(dict.fromkeys(_COLUMNS, "") | cells)


def list_jobs(shell: Shell, *filters: str, ids: Sequence[JobId] = ()) -> list[QueuedJob]:
    """Return the jobs that match squeue's filters, ordered by id; only `ids`, if there are any."""
    return [row.job() for row in list_rows(shell, *filters, ids=ids)]


def list_rows(
    shell: Shell,
    *filters: str,
    ids: Sequence[JobId] = (),
    names: Collection[str] | None = None,
    fields: Collection[str] | None = None,
) -> list[JobRow]:
    """Return the rows of the jobs that match squeue's filters, ordered by id.

    Only `ids`, if there are any, and jobs with one of the `names`. Only the columns that the
    `fields` of a job need are requested; None: all of them.
    """
    columns = _columns(fields, with_names=names is not None)
    try:
        table = listings.squeue(shell, columns, *filters, *id_filter(ids))
    except CommandFailed as fault:
        if ids and NO_SUCH_JOB in fault.message:
            return []
        raise
    found = [_row(row, tuple(columns)) for row in table if names is None or row["name"] in names]
    if ids:
        jobs = [(row, row.job()) for row in found]
        found = [row for row, job in jobs if any(matches_id(job, each) for each in ids)]
    return sorted(found, key=lambda row: row.position)


def _columns(fields: Collection[str] | None, *, with_names: bool) -> dict[str, str]:
    if fields is None:
        return _COLUMNS
    needed = {*_ALWAYS, *(_COLUMN_OF.get(name, name) for name in fields)}
    if with_names:
        needed.add("name")
    known = {**_COLUMNS, **_FURTHER_COLUMNS}
    return {name: letter for name, letter in known.items() if name in needed}


def _row(row: listings.TableRow, columns: tuple[str, ...]) -> JobRow:
    id = JobId.parse(row["id"])
    return JobRow(id, int(row["raw_id"]), columns, "\0".join(row.values()))


def id_filter(ids: Sequence[JobId]) -> tuple[str, ...]:
    """Return squeue's filter for jobs; none for no `ids`."""
    # Numbers only: squeue does not find a component by 123+1.
    return (f"--jobs={','.join(sorted({str(each.job) for each in ids}))}",) if ids else ()


def read_details(shell: Shell, id: str, *, has_ended: bool) -> JobDetails | None:
    """Read the details of a single job; None if it has left the queue in the meantime."""
    answer = ask(shell, "scontrol", "show", "job", id, check=False)
    if answer.exit_code != 0:
        return None
    fields = dict(_DETAILS.findall(answer.stdout))
    requested = fields.get("ReqTRES") or fields.get("TRES", "")  # 22.05 has one field for both
    restarts, exit_status = (_EXIT_STATUS.findall(answer.stdout) or [("", "")])[-1]
    code, signal = (parsing.parse_exit_code(exit_status) if has_ended else None) or (None, None)
    return JobDetails(
        stdout=parsing.parse_text(fields.get("StdOut", "")),
        stderr=parsing.parse_text(fields.get("StdErr", "")),
        exit_code=code,
        signal=signal,
        resources=with_gpus(
            parsing.parse_tres(fields.get("AllocTRES", "")) or parsing.parse_tres(requested),
            _requested_gpus(fields, answer.stdout),
        ),
        restarts=parsing.parse_int(restarts),
    )


def _requested_gpus(fields: dict[str, str], record: str) -> Counter[str] | None:
    """Return the GPUs that a job asks for, which its resources may not count."""
    requests = {
        kind: fields.get(name, "")
        for kind, name in {
            "per_job": "TresPerJob",
            "per_node": "TresPerNode",
            "per_socket": "TresPerSocket",
            "per_task": "TresPerTask",
        }.items()
    }
    nodes, tasks = (_SIZE.findall(record) or [("", "")])[-1]
    sockets = (_SOCKETS.findall(record) or [""])[-1]
    return count_gpus(requests, JobSize(*map(parsing.parse_int, (nodes, tasks, sockets))))


def exit_codes(shell: Shell, job: int) -> dict[int, tuple[int, int]]:
    """Return exit code and signal by `raw_id`, for each part that the queue still has."""
    answer = ask(shell, "scontrol", "show", "job", str(job), check=False)
    _, *parts = _RECORD.split(answer.stdout)
    codes = {}
    for raw_id, record in zip(parts[::2], parts[1::2], strict=True):
        _, exit_status = (_EXIT_STATUS.findall(record) or [("", "")])[-1]
        if code := parsing.parse_exit_code(exit_status):
            codes[int(raw_id)] = code
    return codes


def parse_reason(state: str, said: str) -> str | None:
    """Return why a job is pending, or why it failed; exit codes are not in this list."""
    reason = parsing.parse_text(said)
    if state in UNFINISHED_STATES:
        return reason
    return reason_of_end(state, None, _raised_signal(reason), reason)


def _raised_signal(reason: str | None) -> int | None:
    """Return the number in `RaisedSignal:53(Real-time_signal_19)`."""
    found = re.match(r"RaisedSignal:([0-9]+)", reason or "")
    return int(found[1]) if found else None


def _job(row: listings.TableRow) -> QueuedJob:
    job = JobId.parse(row["id"])
    state, start, end = (
        row["state"],
        parsing.parse_time(row["start"]),
        parsing.parse_time(row["end"]),
    )
    is_pending, has_ended = state == "PENDING", state not in UNFINISHED_STATES
    return QueuedJob(
        id=row["id"],
        job=job.job,
        raw_id=int(row["raw_id"]),
        task=job.task,
        tasks=job.tasks,
        component=job.component,
        name=row["name"],
        user=row["user"],
        account=parsing.parse_text(row["account"]),
        partition=row["partition"],
        qos=parsing.parse_text(row["qos"]),
        state=state,
        reason=parse_reason(state, row["reason"]),
        nodes=parsing.parse_int(row["nodes"]) or 0,
        node_names=parsing.expand_nodes(row["node_names"]),
        cpus=parsing.parse_int(row["cpus"]) or 0,
        submitted=parsing.parse_time(row["submitted"]),
        started=None if is_pending else start,
        ended=end if has_ended else None,
        elapsed=parsing.parse_duration(row["elapsed"]) or 0,
        time_limit=parsing.parse_time_limit(row["time_limit"]),
        work_dir=parsing.parse_text(row["work_dir"]),
        expected_start=start if is_pending else None,
        expected_end=None if has_ended else end,
        time_left=None if has_ended else parsing.parse_time_limit(row["time_left"]),
        dependency=parsing.parse_text(row["dependency"]),
        priority=parsing.parse_int(row["priority"]),
        # Releases after 22.05 print gres/gpu:1.
        gres=parsing.parse_text(row["gres"].replace("gres/", "gres:")),
        features=parsing.parse_text(row["features"]),
        script=parsing.parse_text(row["script"]),
        comment=parsing.parse_text(row["comment"]),
    )
