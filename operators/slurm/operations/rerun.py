"""Run members of a sweep or another array again, under their own indexes.

The new array has the same script, parameters and options, as far as the request changes none.
"""

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.arrays.array_members import UNKNOWN, ArrayMember, ArrayMembers, read_members
from operators.slurm.arrays.array_record import FOLDER, store
from operators.slurm.arrays.index_ranges import format_indexes
from operators.slurm.client import on_cluster
from operators.slurm.job_types import ArrayIdText, SlurmCluster
from operators.slurm.operations.sweep import MAX_LISTED_RUNS
from operators.slurm.output.output_files import READ_SCRIPT_HEAD, SCRIPT_TIMEOUT
from operators.slurm.scripts.batch_script import script_options
from operators.slurm.scripts.filename_patterns import is_discarded, names_job
from operators.slurm.submission.job_request import JobRequest
from operators.slurm.submission.submission import Submission
from operators.slurm.submission.submit_options import (
    ArrayIndexes,
    BatchScript,
    CommaSeparatedNames,
    FilePattern,
    MemorySize,
    TimeLimit,
)
from operators.slurm.submission.sweep_table import Run
from resop import InvalidOptions, OperationFailed, Shell, operation


class RepeatedMember(TypedDict):
    """A member that was submitted again."""

    index: int
    parameters: Run | None
    previous: str
    """The id of its attempt so far."""
    state: str
    """How that ended."""


class RerunSubmission(Submission):
    """The array in which members run again."""

    rerun_of: int
    array: str
    """The indexes that were submitted."""
    runs: int
    options: dict[str, Any]
    """The options that are others than before."""
    members: list[RepeatedMember] | None
    """The members; None if there are more than 1000."""


@operation(
    runs_code=True,
    examples=[
        {"id": 4242},
        {"id": 4242, "time_limit": "2:00:00", "memory": "16G"},
        {"id": 4242, "members": "3,17,58-60", "while_running": True},
    ],
)
def rerun(
    shell: Shell,
    id: ArrayIdText,
    members: Annotated[
        ArrayIndexes | None,
        Field(description="indexes to run again: 3,17,58-60 (default: all that have failed)"),
    ] = None,
    script: Annotated[
        BatchScript | None,
        Field(description="script to run instead, as text; the parameters stay the same"),
    ] = None,
    time_limit: Annotated[
        TimeLimit | None, Field(description="another time limit than before")
    ] = None,
    memory: Annotated[
        MemorySize | None, Field(description="other memory per node than before")
    ] = None,
    memory_per_cpu: Annotated[
        MemorySize | None, Field(description="other memory per CPU than before")
    ] = None,
    partition: Annotated[
        CommaSeparatedNames | None, Field(description="another partition than before")
    ] = None,
    output: Annotated[
        FilePattern | None, Field(description="another file for standard output than before")
    ] = None,
    error: Annotated[
        FilePattern | None, Field(description="another file for standard error than before")
    ] = None,
    overwrite: Annotated[
        bool,
        Field(description="write to the same output files again if their names have no job id"),
    ] = False,
    while_running: Annotated[
        bool, Field(description="do not wait until the other members of the array have ended")
    ] = False,
    cluster: SlurmCluster = None,
) -> RerunSubmission:
    """Return the new array and its members.

    Members have failed if their newest attempt ended and is not COMPLETED; those of which Slurm has
    no record do not count. The operation fails,
    and nothing is submitted, if there is none; if members are unfinished, unless `while_running`
    is set and other ones are repeated; and if the new output would overwrite that of an earlier
    attempt, unless `overwrite` is set. `results` of the first array shows the newest attempts.
    """
    job = int(id)
    changes = {
        "time_limit": time_limit,
        "memory": memory,
        "memory_per_cpu": memory_per_cpu,
        "partition": partition,
        "output": output,
        "error": error,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    with on_cluster(cluster):
        array = read_members(shell, job, cluster)
        if array.record is None:
            raise OperationFailed(
                f"how array {job} was submitted is not known: ~/{FOLDER} on the cluster has no "
                "record of it; only arrays submitted by sweep, submit and rerun can be run again"
            )
        chosen = _choose(array, job, members, while_running=while_running)
        if members is None and (unknown := _unknown(array)):
            shell.log(f"Slurm has no record of {unknown}: choose them by members to run them again")
        request = _repeated(array.record.request, chosen, changes, script)
        if dependency := array.record.request.options.get("dependency"):
            shell.log(f"the dependency {dependency} of array {job} does not apply again")
        if not overwrite:
            _check_output(shell, request, array.record.job)
        submission = request.submit(shell)
        first = [*array.record.rerun_of, job][0]
        store(shell, request, submission, rerun_of=[*{first: None, job: None}])
    runs = request.runs or {}
    listed = [
        RepeatedMember(
            index=each.index,
            parameters=runs.get(each.index),
            previous=each.id,
            state=each.state,
        )
        for each in chosen
    ]
    return RerunSubmission(
        **submission,
        rerun_of=job,
        array=request.array or "",
        runs=len(chosen),
        options=changes,
        members=listed if len(listed) <= MAX_LISTED_RUNS else None,
    )


def _choose(
    array: ArrayMembers, job: int, members: str | None, *, while_running: bool
) -> list[ArrayMember]:
    """Return the members to repeat. Raises OperationFailed or InvalidOptions if that cannot be."""
    everybody = array.chosen(None)
    unfinished = [each for each in everybody if each.is_unfinished]
    if members is not None:
        chosen = array.chosen(members)
        if busy := [each.id for each in chosen if each.is_unfinished]:
            message = f"{', '.join(busy[:20])} have not ended: cancel them first"
            raise InvalidOptions.of("members", message)
    else:
        passed = ("COMPLETED", UNKNOWN)
        chosen = [each for each in everybody if not each.is_unfinished and each.state not in passed]
    if unfinished and not while_running:
        raise OperationFailed(
            f"{len(unfinished)} of {len(everybody)} members of array {job} have not ended, such as "
            f"{unfinished[0].id} ({unfinished[0].state}): wait for them, or set while_running"
        )
    if not chosen:
        unknown = _unknown(array)
        hint = f"; Slurm has no record of {unknown}, choose them by members" if unknown else ""
        raise OperationFailed(f"no member of array {job} has failed: nothing was submitted{hint}")
    return chosen


def _unknown(array: ArrayMembers) -> str:
    """Return the indexes of which nobody knows whether they ran."""
    return format_indexes(each.index for each in array.chosen(None) if each.state == UNKNOWN)


def _repeated(
    before: JobRequest, chosen: list[ArrayMember], changes: dict[str, Any], script: str | None
) -> JobRequest:
    """Return the request for these members, with the changes."""
    indexes = [each.index for each in chosen]
    _, _, at_once = (before.indexes or "").partition("%")
    limit = f"%{at_once}" if at_once else ""
    options = {**before.options, **changes}
    options.pop("dependency", None)  # it was met, or those jobs are gone
    # sbatch takes one of them only.
    if "memory" in changes:
        options.pop("memory_per_cpu", None)
    elif "memory_per_cpu" in changes:
        options.pop("memory", None)
    runs = before.runs
    update: dict[str, Any] = {
        "array": f"{format_indexes(indexes)}{limit}",
        "options": options,
        "runs": None if runs is None else {index: runs[index] for index in indexes},
    }
    if script is not None:
        update |= {"script": script, "path": None}
    return before.model_copy(update=update)


def _check_output(shell: Shell, request: JobRequest, job: int) -> None:
    """Raise InvalidOptions if the output would overwrite that of an earlier attempt."""
    options = {**request.options}
    if request.path is not None:
        path = request.command()[0]
        argv = ("/bin/sh", "-c", READ_SCRIPT_HEAD, "script", path)
        head = shell.run(*argv, timeout=SCRIPT_TIMEOUT, path=path)
        options = {**script_options(head.stdout.partition("\n")[2]), **options}
    else:
        options = {**options, **request.paths.options}
    for name in ("output", "error"):
        pattern = options.get(name)
        if pattern and not names_job(pattern) and not is_discarded(pattern):
            message = (
                f"{pattern} has no %A or %j, so the files of array {job} would be overwritten: "
                "give another name, or set overwrite"
            )
            raise InvalidOptions.of(name, message)
