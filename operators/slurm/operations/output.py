"""Read a job's output file from a byte offset; call again with `next_offset` to follow it."""

import base64
import codecs
import re
from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.accounting import find
from operators.slurm.client import on_cluster
from operators.slurm.filename_patterns import default_pattern, is_discarded
from operators.slurm.job_types import UNFINISHED_STATES, JobIdText, SlurmCluster
from operators.slurm.operations.job import JobSummary, job
from operators.slurm.output_files import (
    OPTIONS,
    OutputStream,
    expanded_paths,
    likely_patterns,
    paths,
    recorded_patterns,
)
from operators.slurm.output_folders import expand_home
from operators.slurm.own_submissions import find_submission, is_certain
from operators.slurm.parsing import JobId
from resop import CommandFailed, JobNotFound, RemotePath, Shell, operation

READ_TIMEOUT = 60.0
FILE_MISSING = 44
"""The exit code of READ_SCRIPT if none of the files exists."""
# Prints the number of the first file that exists and its size, then a part of it in base64.
READ_SCRIPT = f"""\
from=$1 limit=$2 number=0
shift 2
for file; do test -f "$file" && break; number=$((number + 1)); done
test -f "$file" || exit {FILE_MISSING}
size=$(wc -c <"$file") || exit
echo $number $size
tail -c "+$((from + 1))" <"$file" | head -c "$limit" | base64
"""


class OutputChunk(TypedDict):
    """A part of a job's output file."""

    path: str
    text: str
    """The text in UTF-8; invalid bytes are replaced."""
    offset: int
    """Where in the file the text start, in bytes."""
    next_offset: int
    """The `offset` of the next call; an incomplete character at the end is left for that call."""
    size: int
    """The file's size in bytes."""
    ended: bool
    """True if the job has ended: once `next_offset` is `size`, no more output follows."""


@operation(
    examples=[{"id": "4242"}, {"id": "4243_7", "stream": "stderr", "offset": 4096}],
)
def output(
    shell: Shell,
    id: JobIdText,
    stream: Annotated[OutputStream, Field(description="which output to read")] = "stdout",
    offset: Annotated[
        int, Field(ge=0, description="position in the file to start at, in bytes")
    ] = 0,
    limit: Annotated[
        int, Field(ge=16, le=1 << 20, description="maximum number of bytes to read")
    ] = 65_536,
    path: Annotated[
        RemotePath | None,
        Field(description="path of the output file, if Slurm no longer knows it"),
    ] = None,
    cluster: SlurmCluster = None,
) -> OutputChunk:
    """Return the text from `offset` on, and the offset to continue at.

    Until the job ends, a file that does not exist yet counts as empty. After the job has left the
    queue, its file is found by the task of this service that submitted it, by its submit line, by
    the accounting database of Slurm 24.05 and newer, or by the `#SBATCH` lines of a script that has
    not changed since. Where they leave it open, the operation fails: give `path`. It never returns
    another file.
    """
    with on_cluster(cluster):
        sources: Iterable[list[str]]
        try:
            found = job(shell, id=id, cluster=cluster)
        except (CommandFailed, JobNotFound) as fault:
            ended, sources = True, _own_sources(shell, id, stream, fault)
        else:
            if path is None and found.parts:
                part = found.parts[0]["id"]
                shell.fail(f"{id} has several parts: ask for one of them, such as {part}")
            ended = found.state not in UNFINISHED_STATES
            sources = _sources(shell, found, id, stream)
        tried: list[str] = []
        for files in sources if path is None else [[expand_home(path, "path")]]:
            if any(map(is_discarded, files)):
                shell.fail(f"the {stream} of job {id} goes to /dev/null: no file has it")
            tried += files
            chunk = _read(shell, files, offset, limit, ended=ended)
            if chunk is not None:
                return chunk
    if not tried:
        shell.fail(f"Slurm no longer knows the output file of job {id}: give its path")
    if ended:
        shell.fail(f"no output file at {' or '.join(tried)}: give its path")
    return _chunk(tried[0], b"", offset, 0, ended)


def _sources(shell: Shell, found: JobSummary, id: str, stream: OutputStream) -> Iterator[list[str]]:
    """Yield the files that may have the output, the likeliest first; each list costs a question."""
    shown = found.stdout if stream == "stdout" else found.stderr
    # Slurm 22.05 shows a path in which not all patterns are filled.
    if shown is not None and not re.search(r"[%\\]", shown):
        yield [shown]
        return
    target = JobId.parse(id)
    past = find(shell, target)
    if not past:
        yield from [[shown]] if shown is not None else []
        return
    record = past[0]
    record["node_names"] = found.node_names or record["node_names"]
    own = find_submission(shell, target, record["submitted"])
    if own is not None and (pattern := own.pattern(record, OPTIONS[stream])):
        yield paths(record, [pattern])
        yield expanded_paths(shell, record, stream, [pattern])
        return
    likely = likely_patterns(record, stream)
    yield paths(record, likely)
    yield expanded_paths(shell, record, stream, likely)
    if likely[0] == default_pattern(record):
        yield paths(record, recorded_patterns(shell, record, stream))


def _own_sources(
    shell: Shell, id: str, stream: OutputStream, fault: CommandFailed | JobNotFound
) -> list[list[str]]:
    """Return the file of a job that has left the queue and is in no accounting database.

    Raises the `fault` if the service itself does not know the job, or if the queue was not read.
    """
    is_gone = isinstance(fault, JobNotFound) or fault.message.startswith("sacct:")
    target = JobId.parse(id)
    own = find_submission(shell, target) if is_gone else None
    if own is None:
        raise fault
    record = own.describe(target, shell.username)
    pattern = own.pattern(record, OPTIONS[stream])
    if pattern is None or not is_certain(pattern, target):
        raise fault
    return [paths(record, [pattern])]


def _read(
    shell: Shell, files: list[str], offset: int, limit: int, *, ended: bool
) -> OutputChunk | None:
    """Read a part of the first file that exists; None if there is none."""
    if not files:
        return None
    argv = ("/bin/sh", "-c", READ_SCRIPT, "output", str(offset), str(limit), *files)
    answer = shell.run(*argv, timeout=READ_TIMEOUT, max_output=4 << 20, check=False)
    if answer.exit_code == FILE_MISSING:
        return None
    if answer.exit_code != 0:
        raise answer.failure()
    first, _, encoded = answer.stdout.partition("\n")
    number, size = map(int, first.split())
    return _chunk(files[number], base64.b64decode(encoded), offset, size, ended)


def _chunk(path: str, content: bytes, offset: int, size: int, ended: bool) -> OutputChunk:
    start = min(offset, size)  # a requeued job starts its file again
    size = max(size, start + len(content))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(content, final=ended and start + len(content) == size)
    incomplete, _ = decoder.getstate()
    return OutputChunk(
        path=path,
        text=text,
        offset=start,
        next_offset=start + len(content) - len(incomplete),
        size=size,
        ended=ended,
    )
