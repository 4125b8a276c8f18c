"""The record of how an array was submitted, which is kept in the user's home on the cluster.

On most sites Slurm forgets the script of a job with the queue. The file has it, with the values of
a sweep's parameters, so that results can be tied to them and runs can be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from operators.slurm.client import ANSWER_LIMIT
from operators.slurm.submission.job_request import JobRequest
from operators.slurm.submission.submission import Submission
from resop import CommandFailed, ContactLost, Shell, StepTimedOut
from resop.errors import ClusterUnreachable

FOLDER = ".local/share/resop/arrays"
"""Below the home folder; each file is readable for its owner only."""
TIMEOUT = 60.0

STORE = """\
umask 077 && mkdir -p -- "$1" && cd "$1" && cat >"$2.part" && mv -- "$2.part" "$2.json" || exit
line=$3
shift 3
for earlier; do echo "$line" >>"$earlier.reruns" || exit; done
"""
# Prints the record, one line, and then a line for each rerun.
READ = """\
cd "$1" 2>/dev/null || exit 0
[ -f "$2.json" ] || exit 0
cat -- "$2.json" && echo || exit
[ ! -f "$2.reruns" ] || cat -- "$2.reruns"
"""


class ArrayRecord(BaseModel):
    """How an array was submitted."""

    job: int
    cluster: str | None = None
    flags: list[str]
    """As the accounting database has them in the job's submission line."""
    request: JobRequest
    rerun_of: list[int] = []
    """The arrays whose tasks this one repeats: the first one, and the one that was named."""


class Rerun(NamedTuple):
    """An array that repeats tasks of an earlier one."""

    job: int
    indexes: str


class StoredArray(NamedTuple):
    """The record of an array, and its reruns in the order of their submission."""

    record: ArrayRecord | None
    reruns: list[Rerun]


def store(
    shell: Shell, request: JobRequest, submission: Submission, rerun_of: Sequence[int] = ()
) -> None:
    """Store the record of an array that Slurm has accepted.

    That it cannot be stored is in the task's log: the array is submitted all the same.
    """
    job, cluster = submission["job"], submission["cluster"]
    record = ArrayRecord(
        job=job, cluster=cluster, flags=request.flags, request=request, rerun_of=[*rerun_of]
    )
    line = f"{job} {request.indexes}"
    names = [_name(each, cluster) for each in (job, *rerun_of)]
    argv = ("/bin/sh", "-c", STORE, "record", FOLDER, names[0], line, *names[1:])
    try:
        shell.run(*argv, input=record.model_dump_json(exclude_defaults=True), timeout=TIMEOUT)
    except (CommandFailed, StepTimedOut, ContactLost, ClusterUnreachable) as fault:
        shell.log(
            f"the record of array {job} could not be stored, so its parameters will be missing in "
            f"results, and it cannot be run again by rerun: {fault.message}"
        )


def read(shell: Shell, job: int, cluster: str | None) -> StoredArray:
    """Return the record of an array; None in its place if there is none that can be read."""
    name = _name(job, cluster)
    argv = ("/bin/sh", "-c", READ, "record", FOLDER, name)
    answer = shell.run(*argv, timeout=TIMEOUT, max_output=ANSWER_LIMIT, raw=True, check=False)
    if answer.exit_code != 0:
        shell.log(f"the record of array {job} cannot be read: {answer.failure().message}")
        return StoredArray(None, [])
    first, *lines = answer.raw.decode("utf-8", "replace").split("\n")
    if not first:
        return StoredArray(None, [])
    try:
        record = ArrayRecord.model_validate_json(first)
    except ValidationError:
        shell.log(f"~/{FOLDER}/{name}.json cannot be read: it is no record of an array")
        return StoredArray(None, [])
    words = [line.split(" ") for line in lines]
    reruns = [Rerun(int(w[0]), w[1]) for w in words if len(w) == 2 and w[0].isdecimal()]
    return StoredArray(record, reruns)


def describes(record: ArrayRecord, submit_line: str | None) -> bool:
    """Return False for a record of another job: a cluster may use its numbers again."""
    if submit_line is None:
        return True
    flags = " ".join(record.flags).replace('"', "`")
    return flags in submit_line.replace('"', "`")


def _name(job: int, cluster: str | None) -> str:
    return str(job) if cluster is None else f"{cluster}-{job}"
