"""Read a job's output file from a byte offset; call again with `next_offset` to follow it."""

import base64
import codecs
import posixpath
import re
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.accounting import PastJob, find
from operators.slurm.job_types import UNFINISHED_STATES, JobIdText
from operators.slurm.operations.job import JobSummary, job
from operators.slurm.parsing import JobId
from resop import RemotePath, Shell, operation

OutputStream = Literal["stdout", "stderr"]

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

_STREAM_FLAGS = {"stdout": "--output|-o", "stderr": "--error|-e"}
_PLACEHOLDER = re.compile(r"%(\d*)([A-Za-z%])")


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
) -> OutputChunk:
    """Return the text from `offset` on, and the offset to continue at.

    Until the job ends, a file that does not exist yet counts as empty. After the job has left the
    queue, the file is searched where its submit line says, then at Slurm's default path. An
    `#SBATCH --output` line in the script is no longer known then: give `path`.
    """
    found = job(shell, id=id)
    if path is None and found.parts:
        shell.fail(f"{id} has several parts: ask for one of them, such as {found.parts[0]['id']}")
    ended = found.state not in UNFINISHED_STATES
    files = [path] if path is not None else _candidate_files(shell, found, id, stream)
    argv = ("/bin/sh", "-c", READ_SCRIPT, "output", str(offset), str(limit), *files)
    answer = shell.run(*argv, timeout=READ_TIMEOUT, max_output=4 << 20, check=False)
    if answer.exit_code == FILE_MISSING and not ended:
        return _chunk(files[0], b"", offset, 0, ended)
    if answer.exit_code == FILE_MISSING:
        shell.fail(f"no output file at {' or '.join(files)}: give its path")
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


def _candidate_files(shell: Shell, found: JobSummary, id: str, stream: OutputStream) -> list[str]:
    """Return where the output may be: from the queue, or else from the accounting database."""
    pattern = found.stdout if stream == "stdout" else found.stderr
    if pattern is not None:
        return [_fill(pattern, {"N": (found.node_names or [""])[0], "j": id.partition("_")[0]})]
    past = find(shell, JobId.parse(id))
    if not past:
        shell.fail(f"Slurm no longer knows the output file of job {id}: give its path")
    files = [_path_from(past[0], pattern) for pattern in _patterns(past[0], stream)]
    # The accounting database stores a backtick for each double quote.
    return [*files, *(file.replace("`", '"') for file in files if "`" in file)]


def _patterns(job: PastJob, stream: OutputStream) -> list[str]:
    """Return the possible filename patterns, the likeliest first."""
    line = job["submit_line"] or ""
    found = []
    for options in dict.fromkeys([_STREAM_FLAGS[stream], _STREAM_FLAGS["stdout"]]):
        # The line does not show where a value ends: it may contain spaces.
        for value in (r"\S+", r".+?(?= --|$)"):
            found += re.findall(rf"(?: (?:{options})[ =]?)({value})", line)
    default = "slurm-%j.out" if job["task"] is None else "slurm-%A_%a.out"
    return list(dict.fromkeys([*found, default]))


def _path_from(job: PastJob, pattern: str) -> str:
    """Return the path that slurmd makes from a pattern; sbatch(1), "filename pattern"."""
    values = {
        "A": str(job["job"]),
        "a": "" if job["task"] is None else str(job["task"]),
        "j": str(job["raw_id"]),
        "J": str(job["raw_id"]),
        "N": (job["node_names"] or [""])[0],
        "u": job["user"],
        "x": job["name"],
        **dict.fromkeys("nst", "0"),
    }
    return posixpath.join(job["work_dir"] or "", _fill(pattern, values))


def _fill(pattern: str, values: dict[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        width, letter = found.groups()
        if letter == "%":
            return "%"
        text = values.get(letter)
        if text is None:
            return found[0]
        return text.zfill(int(width)) if width and text.isdecimal() else text

    return _PLACEHOLDER.sub(value, pattern)
