"""Read a job's output file from a byte offset; call again with `next_offset` to follow it."""

import base64
import codecs
import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.accounting import find
from operators.slurm.client import on_cluster
from operators.slurm.job_types import UNFINISHED_STATES, JobIdText, SlurmCluster
from operators.slurm.operations.job import JobSummary, job
from operators.slurm.output.output_excerpt import (
    FILE_MISSING,
    MAX_LINES,
    WINDOW,
    Excerpt,
    Selection,
)
from operators.slurm.output.output_files import (
    OPTIONS,
    OutputStream,
    expanded_paths,
    likely_patterns,
    paths,
    recorded_patterns,
)
from operators.slurm.output.output_hosts import host_paths
from operators.slurm.parsing import JobId
from operators.slurm.scripts.filename_patterns import default_pattern, is_discarded
from operators.slurm.submission.output_folders import expand_home
from operators.slurm.submission.own_submissions import find_submission, is_certain
from resop import CommandFailed, InvalidOptions, JobNotFound, RemotePath, Shell, operation

READ_TIMEOUT = 60.0


class OutputChunk(TypedDict):
    """A part of a job's output file."""

    path: str
    text: str
    """The text in UTF-8; invalid bytes are replaced."""
    offset: int
    """Where in the file the text starts, in bytes."""
    next_offset: int
    """The `offset` of the next call; an incomplete character at the end is left for that call."""
    size: int
    """The file's size in bytes."""
    ended: bool
    """True if the job has ended: once `next_offset` is `size`, no more output follows."""


@operation(
    examples=[
        {"id": "4242"},
        {"id": "4243_7", "stream": "stderr", "offset": 4096},
        {"id": "4242", "tail": 20},
    ],
)
def output(
    shell: Shell,
    id: JobIdText,
    stream: Annotated[OutputStream, Field(description="which output to read")] = "stdout",
    offset: Annotated[
        int,
        Field(
            ge=-WINDOW,
            description="position in the file to start at, in bytes; negative: from its end",
        ),
    ] = 0,
    limit: Annotated[
        int, Field(ge=16, le=1 << 20, description="maximum number of bytes to read")
    ] = 65_536,
    path: Annotated[
        RemotePath | None,
        Field(description="path of the output file, if Slurm no longer knows it"),
    ] = None,
    tail: Annotated[
        int | None,
        Field(ge=1, le=MAX_LINES, description="only the last lines of the file: this many"),
    ] = None,
    cluster: SlurmCluster = None,
) -> OutputChunk:
    """Return the text from `offset` on, and the offset to continue at.

    With `tail` the text is the last lines: as many of them as fit into `limit`, or the end of the
    last one. Of a line in which a progress bar was redrawn, it has the last state only.

    Until the job ends, a file that does not exist yet counts as empty. After the job has left the
    queue, its file is found by the task of this service that submitted it, by its submit line, by
    the accounting database of Slurm 24.05 and newer, or by the `#SBATCH` lines of a script that has
    not changed since. Where they leave it open, the operation fails: give `path`. It never returns
    another file.
    """
    if tail is not None and offset:
        raise InvalidOptions.of("tail", "give either tail or offset")
    excerpt = Excerpt(offset, limit, tail)
    with on_cluster(cluster):
        sources: Iterable[list[str]]
        try:
            found = job(shell, id=id, cluster=cluster)
        except (CommandFailed, JobNotFound) as fault:
            ended, sources = True, _own_sources(shell, id, stream, fault)
        else:
            if path is None:
                _check_part(shell, found, id)
            ended = found.state not in UNFINISHED_STATES
            sources = _sources(shell, found, id, stream)
        tried: list[str] = []
        for files in sources if path is None else [[expand_home(path, "path")]]:
            if any(map(is_discarded, files)):
                shell.fail(f"the {stream} of job {id} goes to /dev/null: no file has it")
            tried += files
            chunk = _read(shell, files, excerpt, ended=ended)
            if chunk is not None:
                return chunk
    if not tried:
        shell.fail(f"Slurm no longer knows the output file of job {id}: give its path")
    if ended:
        shell.fail(f"no output file at {' or '.join(tried)}: give its path")
    return _chunk(tried[0], Selection(b"", 0, 0), 0, ended)


def _check_part(shell: Shell, found: JobSummary, id: str) -> None:
    """Fail for a job with several parts, and for a part that has no output of its own."""
    if found.parts:
        part = found.parts[0]["id"]
        shell.fail(f"{id} has several parts: ask for one of them, such as {part}")
    target = JobId.parse(found.id)
    if target.component:
        first = f"{target.job}+0"
        shell.fail(f"{found.id} has no output: the script runs in {first}, ask for that")


def _sources(shell: Shell, found: JobSummary, id: str, stream: OutputStream) -> Iterator[list[str]]:
    """Yield the files that may have the output, the likeliest first; each list costs a question."""
    shown = found.stdout if stream == "stdout" else found.stderr
    # Slurm 22.05 shows a path in which not all patterns are filled.
    if shown is not None and not re.search(r"[%\\]", shown):
        yield [shown]
        if not _names_node(shown, found):
            return
    target = JobId.parse(id)
    past = find(shell, target)
    if not past:
        yield from [[shown]] if shown is not None else []
        return
    record = past[0]
    record["node_names"] = found.node_names or record["node_names"]
    has_started = found.state != "PENDING"
    own = find_submission(shell, target, record["submitted"])
    if own is not None and (pattern := own.pattern(record, OPTIONS[stream])):
        yield paths(record, [pattern])
        yield host_paths(shell, record, [pattern]) if has_started else []
        yield expanded_paths(shell, record, stream, [pattern])
        return
    likely = likely_patterns(record, stream)
    yield paths(record, likely)
    yield host_paths(shell, record, likely) if has_started else []
    yield expanded_paths(shell, record, stream, likely)
    if likely[0] == default_pattern(record):
        yield paths(record, recorded_patterns(shell, record, stream))


def _names_node(path: str, found: JobSummary) -> bool:
    """Return True if the name of a file may contain that of the node, which is not the host's."""
    return bool(found.node_names) and found.node_names[0] in posixpath.basename(path)


def _own_sources(
    shell: Shell, id: str, stream: OutputStream, fault: CommandFailed | JobNotFound
) -> list[list[str]]:
    """Return the file of a job that has left the queue and is in no accounting database.

    Raises the `fault` if the service itself does not know the job, or if the queue was not read.
    """
    is_gone = isinstance(fault, JobNotFound) or fault.message.startswith("sacct:")
    target = JobId.parse(id)
    own = find_submission(shell, target) if is_gone else None
    if own is None or target.component:
        raise fault
    record = own.describe(target, shell.username)
    pattern = own.pattern(record, OPTIONS[stream])
    if pattern is None or not is_certain(pattern, target):
        raise fault
    return [paths(record, [pattern])]


def _read(shell: Shell, files: list[str], excerpt: Excerpt, *, ended: bool) -> OutputChunk | None:
    """Read a part of the first file that exists; None if there is none."""
    if not files:
        return None
    script, *arguments = excerpt.command()
    argv = ("/bin/sh", "-c", script, "output", *arguments, *files)
    answer = shell.run(*argv, timeout=READ_TIMEOUT, max_output=4 << 20, check=False)
    if answer.exit_code == FILE_MISSING:
        return None
    if answer.exit_code != 0:
        raise answer.failure()
    first, _, encoded = answer.stdout.partition("\n")
    number, size = map(int, first.split())
    selection = excerpt.select(base64.b64decode(encoded), size)
    return _chunk(files[number], selection, size, ended)


def _chunk(path: str, selection: Selection, size: int, ended: bool) -> OutputChunk:
    content, start, end = selection
    size = max(size, end)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(content, final=ended and end == size)
    incomplete, _ = decoder.getstate()
    return OutputChunk(
        path=path,
        text=text,
        offset=start,
        next_offset=end - len(incomplete),
        size=size,
        ended=ended,
    )
