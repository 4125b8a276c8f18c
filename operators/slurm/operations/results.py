"""Collect the results of a sweep or another array: a table with one row for each member.

A row has the member's parameters, how it ended, what it used, and the content of chosen files.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.arrays.array_members import ArrayMember, ArrayMembers, read_members
from operators.slurm.arrays.array_record import FOLDER
from operators.slurm.arrays.member_files import MemberFile, find_file, read_files, variables_of
from operators.slurm.client import on_cluster
from operators.slurm.job_types import ArrayIdText, Bytes, Seconds, SlurmCluster, Timestamp
from operators.slurm.submission.output_folders import relative_to_home
from operators.slurm.submission.submit_options import ArrayIndexes, OptionText
from operators.slurm.submission.sweep_table import Run
from resop import InvalidOptions, Shell, csv_lines, operation

MAX_FILES = 20
MAX_FILE_BYTES = 1 << 20
MAX_TOTAL_BYTES = 8 << 20


class MemberResult(TypedDict):
    """A member of an array: its newest attempt."""

    index: int
    """Its index in the array: SLURM_ARRAY_TASK_ID."""
    id: str
    """The id of the array task; of another array if it was run again."""
    parameters: Run | None
    """The values of its parameters; None if it is not known to be a run of a sweep."""
    state: str
    """UNKNOWN if Slurm has no record of it."""
    exit_code: int | None
    signal: int | None
    reason: str | None
    """Why it is pending, or why it failed."""
    attempts: int
    """How often it was submitted: 1 without a rerun."""
    started: Timestamp | None
    ended: Timestamp | None
    elapsed: Seconds | None
    cpu_seconds: Seconds | None
    max_rss: Bytes | None
    """The highest memory use of any task of any step."""
    allocated: dict[str, int] | None
    """Resources by name: counts; memory in bytes. None until the database has them."""
    node_names: list[str]
    files: dict[str, MemberFile]
    """The chosen files, by the name in the request."""


class ArrayResults(TypedDict):
    """The results of an array."""

    job: int
    reruns: list[int]
    """The arrays in which members were run again, the oldest first."""
    states: dict[str, int]
    """The number of members by state."""
    members: list[MemberResult]


@operation(
    examples=[
        {"id": 4242},
        {"id": 4242, "files": ["out/energy-$T.dat", "stdout"], "format": "csv"},
        {"id": 4242, "members": "3,17,58-60", "reruns": False},
    ]
)
def results(
    shell: Shell,
    id: ArrayIdText,
    files: Annotated[
        list[OptionText] | None,
        Field(
            min_length=1,
            max_length=MAX_FILES,
            description="files of each member: names as in the script, with its parameters ($T), "
            "$SLURM_ARRAY_TASK_ID, %A and %a; relative to the member's working folder; "
            "stdout and stderr are its output files",
        ),
    ] = None,
    members: Annotated[
        ArrayIndexes | None, Field(description="only these indexes: 3,17,58-60 (default: all)")
    ] = None,
    reruns: Annotated[
        bool, Field(description="show the newest attempt of members that were run again")
    ] = True,
    file_limit: Annotated[
        int, Field(ge=1, le=MAX_FILE_BYTES, description="bytes of each file to read at most")
    ] = 65_536,
    total_limit: Annotated[
        int, Field(ge=1, le=MAX_TOTAL_BYTES, description="bytes of all files together")
    ] = 4 << 20,
    format: Annotated[
        Literal["json", "ndjson", "csv"],
        Field(description="the form of output: an object, or a text with a line for each member"),
    ] = "json",
    cluster: SlurmCluster = None,
) -> ArrayResults | str:
    """Return a row for each member, by index; with `ndjson` or `csv`, the rows as one text.

    Files that cannot be read are null, with the reason. The parameters come from a file that
    `sweep` keeps in the user's home on the cluster. JobNotFound: Slurm knows no such array.
    """
    job, names = int(id), list(dict.fromkeys(files or ()))
    for name in names:
        _check_name(name)
    with on_cluster(cluster):
        array = read_members(shell, job, cluster, reruns=reruns)
        if array.record is None:
            shell.log(f"the parameters are not known: ~/{FOLDER} has no record of array {job}")
        _check_variables(names, array)
        chosen = array.chosen(members)
        wanted = [find_file(name, member, array.record) for member in chosen for name in names]
        contents = iter(read_files(shell, wanted, limit=file_limit, total=total_limit))
    rows = [_result(member, array, {name: next(contents) for name in names}) for member in chosen]
    if format == "ndjson":
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    if format == "csv":
        return _csv(rows, names)
    states: dict[str, int] = {}
    for row in rows:
        states[row["state"]] = states.get(row["state"], 0) + 1
    later = [each.job for each in array.reruns]
    return ArrayResults(job=job, reruns=later, states=states, members=rows)


def _check_name(name: str) -> None:
    """Raise InvalidOptions for a name that only a shell would expand further."""
    is_of_somebody = name.startswith("~") and relative_to_home(name) is None
    if "`" in name or "$(" in name or is_of_somebody:
        message = f"{name!r} would need a shell: use $NAME, %A, %a, and ~/ at the beginning only"
        raise InvalidOptions.of("files", message)


def _check_variables(names: Sequence[str], array: ArrayMembers) -> None:
    """Raise InvalidOptions for a variable that no run of the sweep has."""
    if array.record is None or array.record.request.runs is None:
        return
    own = {"SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", "SLURM_JOB_NAME"}
    parameters = {name for run in array.record.request.runs.values() for name in run}
    for pattern in names:
        for name in variables_of(pattern):
            if name not in parameters | own | {"USER"}:
                known = ", ".join(sorted(parameters))
                message = f"{pattern}: the sweep has no parameter {name}; it has {known}"
                raise InvalidOptions.of("files", message)


def _result(member: ArrayMember, array: ArrayMembers, files: dict[str, MemberFile]) -> MemberResult:
    runs = array.record.request.runs if array.record is not None else None
    job, past = member.job, member.past
    has_started = job is not None and job["started"] is not None
    return MemberResult(
        index=member.index,
        id=member.id,
        parameters=None if runs is None else runs.get(member.index),
        state=member.state,
        exit_code=member.exit_status[0],
        signal=member.exit_status[1],
        reason=member.reason,
        attempts=member.attempts,
        started=None if job is None else job["started"],
        ended=None if job is None else job["ended"],
        elapsed=job["elapsed"] if job is not None and has_started else None,
        cpu_seconds=None if past is None else past["cpu_seconds"],
        max_rss=None if past is None else past["max_rss"],
        allocated=None if past is None else past["allocated"],
        node_names=job["node_names"] if job is not None and has_started else [],
        files=files,
    )


def _csv(rows: Sequence[MemberResult], names: Sequence[str]) -> str:
    """Return the rows with a column for each parameter, and one for the text of each file.

    A name that another column has gets a prefix.
    """
    fixed = [key for key in MemberResult.__annotations__ if key not in ("parameters", "files")]
    parameters = list(dict.fromkeys(name for row in rows for name in row["parameters"] or ()))
    columns = {name: f"parameter.{name}" if name in fixed else name for name in parameters}
    taken = {*fixed, *columns.values()}
    texts = {name: f"file.{name}" if name in taken else name for name in names}
    cells: list[dict[str, Any]] = [
        {
            **row,
            **{columns[name]: value for name, value in (row["parameters"] or {}).items()},
            **{texts[name]: content["text"] for name, content in row["files"].items()},
        }
        for row in rows
    ]
    order = [*fixed[:2], *columns.values(), *fixed[2:], *texts.values()]
    return "".join(csv_lines(order, cells))
