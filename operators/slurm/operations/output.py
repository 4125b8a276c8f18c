"""Read what a job has written to its output, from a place on: a page can follow it."""

import base64
import codecs
import posixpath
import re
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.accounting import PastJob, find
from operators.slurm.job_types import NOT_ENDED
from operators.slurm.operations.job import FoundJob, job
from operators.slurm.parsing import JobId
from operators.slurm.submit_options import OneJob
from resop import RemotePath, Shell, operation

Stream = Literal["stdout", "stderr"]

SECONDS = 60.0
MISSING = 44
# Its answer: which of the files it is, and how large; then a part of it, whatever bytes these are.
READ = f"""\
from=$1 most=$2 number=0
shift 2
for file; do test -f "$file" && break; number=$((number + 1)); done
test -f "$file" || exit {MISSING}
size=$(wc -c <"$file") || exit
echo $number $size
tail -c "+$((from + 1))" <"$file" | head -c "$most" | base64
"""

_OPTIONS = {"stdout": "--output|-o", "stderr": "--error|-e"}
_PATTERN = re.compile(r"%(\d*)([A-Za-z%])")


class Written(TypedDict):
    """A part of what a job has written."""

    path: str
    text: str
    """As UTF-8; bytes that are none are replaced."""
    offset: int
    """Where in the file it begins, in bytes."""
    next_offset: int
    """Where to go on; a character that is not whole yet is left for then."""
    size: int
    """Of the file, in bytes."""
    ended: bool
    """Whether the job has ended: with `next_offset` at `size`, there is no more to come."""


@operation(
    examples=[{"id": "4242"}, {"id": "4243_7", "stream": "stderr", "offset": 4096}],
)
def output(
    shell: Shell,
    id: OneJob,
    stream: Annotated[Stream, Field(description="which of the two")] = "stdout",
    offset: Annotated[int, Field(ge=0, description="where to begin, in bytes")] = 0,
    most: Annotated[int, Field(ge=16, le=1 << 20, description="the most bytes to read")] = 65_536,
    path: Annotated[
        RemotePath | None, Field(description="the file, where it cannot be found by the job")
    ] = None,
) -> Written:
    """Return the text from there on, and where to go on.

    A file that is not there is empty as long as the job has not ended. When the job has left the
    queue, its file is looked for where the line of its submission says, then where Slurm puts it
    by itself; `#SBATCH --output` in a script is not known any more: give `path` then.
    """
    found = job(shell, id=id)
    if path is None and found.parts:
        shell.fail(f"{id} has several parts: name one, such as {found.parts[0]['id']}")
    ended = found.state not in NOT_ENDED
    files = [path] if path is not None else _files(shell, found, id, stream)
    reading = ("/bin/sh", "-c", READ, "output", str(offset), str(most), *files)
    answer = shell.run(*reading, timeout=SECONDS, max_output=4 << 20, check=False)
    if answer.exit_code == MISSING and not ended:
        return _written(files[0], b"", offset, 0, ended)
    if answer.exit_code == MISSING:
        shell.fail(f"there is no such file: {', or '.join(files)}; give its path")
    if answer.exit_code != 0:
        raise answer.failure()
    first, _, encoded = answer.stdout.partition("\n")
    number, size = map(int, first.split())
    return _written(files[number], base64.b64decode(encoded), offset, size, ended)


def _written(path: str, content: bytes, offset: int, size: int, ended: bool) -> Written:
    begins = min(offset, size)  # a job that is started again begins its file anew
    size = max(size, begins + len(content))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(content, final=ended and begins + len(content) == size)
    left_over, _ = decoder.getstate()
    return Written(
        path=path,
        text=text,
        offset=begins,
        next_offset=begins + len(content) - len(left_over),
        size=size,
        ended=ended,
    )


def _files(shell: Shell, found: FoundJob, id: str, stream: Stream) -> list[str]:
    """Where the stream may be: as the queue says, else as what is left of the job suggests."""
    told = found.stdout if stream == "stdout" else found.stderr
    if told is not None:
        return [_filled(told, {"N": (found.node_names or [""])[0], "j": id.partition("_")[0]})]
    past = find(shell, JobId.parse(id))
    if not past:
        shell.fail(f"nothing is known of where job {id} writes: give the path")
    files = [_placed(past[0], pattern) for pattern in _patterns(past[0], stream)]
    # The accounting database has a backtick for each double quote.
    return [*files, *(file.replace("`", '"') for file in files if "`" in file)]


def _patterns(job: PastJob, stream: Stream) -> list[str]:
    """What the name of the file may have been made from, the likeliest first."""
    line = job["submit_line"] or ""
    found = []
    for options in dict.fromkeys([_OPTIONS[stream], _OPTIONS["stdout"]]):
        # Where a value ends, the line does not tell: a space may be a part of it.
        for value in (r"\S+", r".+?(?= --|$)"):
            found += re.findall(rf"(?: (?:{options})[ =]?)({value})", line)
    default = "slurm-%j.out" if job["task"] is None else "slurm-%A_%a.out"
    return list(dict.fromkeys([*found, default]))


def _placed(job: PastJob, pattern: str) -> str:
    """The path that slurmd makes of such a pattern; sbatch(1), filename pattern."""
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
    return posixpath.join(job["work_dir"] or "", _filled(pattern, values))


def _filled(pattern: str, values: dict[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        width, letter = found.groups()
        if letter == "%":
            return "%"
        text = values.get(letter)
        if text is None:
            return found[0]
        return text.zfill(int(width)) if width and text.isdecimal() else text

    return _PATTERN.sub(value, pattern)
