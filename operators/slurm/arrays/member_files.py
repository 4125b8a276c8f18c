"""Read chosen files of an array's members: names as their script has them, with limits."""

from __future__ import annotations

import base64
import codecs
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from typing_extensions import TypedDict

from operators.slurm.arrays.array_members import ArrayMember
from operators.slurm.arrays.array_record import ArrayRecord
from operators.slurm.job_types import Job
from operators.slurm.output.output_files import OutputStream, likely_patterns
from operators.slurm.scripts.filename_patterns import (
    default_pattern,
    fill_values,
    is_discarded,
    path_of,
)
from operators.slurm.submission.output_folders import relative_to_home
from operators.slurm.submission.sweep_table import value_text
from resop import CommandFailed, Shell, StepTimedOut

READ_TIMEOUT = 300.0
MAX_ARGUMENT_BYTES = 60_000
"""Bytes of paths in one step; a command line may have twice as many."""
STREAMS: tuple[OutputStream, ...] = ("stdout", "stderr")
"""Names that stand for a member's own output files."""

# Gets the limit of each file and of all together; prints for each file what it is, or its size and
# a line with its beginning in base64.
READ = """\
limit=$1 left=$2
shift 2
for file; do
  if [ -d "$file" ]; then echo folder
  elif [ ! -e "$file" ]; then echo missing
  elif [ ! -f "$file" ]; then echo special
  elif [ ! -r "$file" ]; then echo denied
  else
    size=$(wc -c <"$file") || size=0
    take=$limit
    [ "$take" -le "$left" ] || take=$left
    [ "$take" -le "$size" ] || take=$size
    left=$((left - take))
    echo $((size))
    head -c "$take" <"$file" | base64 | tr -d '\\n'
    echo
  fi
done
"""
_WHY_NOT = {
    "folder": "it is a folder",
    "missing": "there is no such file",
    "special": "it is no regular file",
    "denied": "it cannot be read: permission denied",
}
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


class MemberFile(TypedDict):
    """A file of a member, or why there is none."""

    path: str | None
    text: str | None
    """The text in UTF-8; invalid bytes are replaced."""
    size: int | None
    """The file's size in bytes."""
    truncated: bool
    """True if the file has more than `text`."""
    reason: str | None
    """Why there is no text."""


class Wanted(NamedTuple):
    """A file to read, or why its name is not known."""

    path: str | None
    reason: str | None = None


def read_files(
    shell: Shell, wanted: Sequence[Wanted], *, limit: int, total: int
) -> list[MemberFile]:
    """Return the beginnings of files: `limit` bytes of each at most, `total` of all together."""
    answers: dict[str, MemberFile] = {}
    paths = [*dict.fromkeys(each.path for each in wanted if each.path is not None)]
    for group in _groups(paths):
        argv = ("/bin/sh", "-c", READ, "files", str(limit), str(total), *group)
        max_output = 2 * total + (8 << 20)
        try:
            answer = shell.run(*argv, timeout=READ_TIMEOUT, max_output=max_output, raw=True)
        except (CommandFailed, StepTimedOut) as fault:
            answers |= {path: _absent(path, fault.message) for path in group}
            continue
        lines = iter(answer.raw.decode("ascii", "replace").split("\n"))
        for path in group:
            answers[path], used = _content(path, lines)
            total -= used
    return [
        _absent(each.path, each.reason or "") if each.path is None else answers[each.path]
        for each in wanted
    ]


def _groups(paths: Sequence[str]) -> Iterator[list[str]]:
    """Yield the paths in groups that fit into a command line."""
    group: list[str] = []
    size = 0
    for path in paths:
        length = len(path.encode("utf-8", "surrogateescape")) + 4 * path.count("'") + 3
        if group and size + length > MAX_ARGUMENT_BYTES:
            yield group
            group, size = [], 0
        group.append(path)
        size += length
    if group:
        yield group


def _content(path: str, lines: Iterator[str]) -> tuple[MemberFile, int]:
    """Return a file's content, and the number of bytes that were read."""
    first = next(lines, "")
    if not first.isdecimal():
        return _absent(path, _WHY_NOT.get(first, "it could not be read")), 0
    size, content = int(first), base64.b64decode(next(lines, ""))
    if size > 0 and not content:
        reason = "not read: total_limit is used up by the files before it"
        return MemberFile(path=path, text=None, size=size, truncated=True, reason=reason), 0
    truncated = len(content) < size
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(content, final=not truncated)
    return MemberFile(path=path, text=text, size=size, truncated=truncated, reason=None), len(
        content
    )


def _absent(path: str | None, reason: str) -> MemberFile:
    return MemberFile(path=path, text=None, size=None, truncated=False, reason=reason)


def find_file(pattern: str, member: ArrayMember, record: ArrayRecord | None) -> Wanted:
    """Return the path of a member's file.

    The pattern may have the parameters and the variables of the array as a script has them ($T,
    ${SEED}, $SLURM_ARRAY_TASK_ID), and the letters of output files (%A, %a). `stdout` and `stderr`
    are the member's own output files.
    """
    job = member.job
    if job is None:
        return Wanted(None, member.reason)
    task = _as_task(job, member)
    stream = next((each for each in STREAMS if each == pattern), None)
    if stream is not None:
        return _output_file(stream, task, member, record)
    values = _variables(task, member, record)
    missing = [name for name in variables_of(pattern) if name not in values]
    if missing and record is None:
        return Wanted(None, "the parameters are not known: there is no record of the array")
    if missing:
        return Wanted(None, f"the run has no parameter {missing[0]}")
    if (at_home := relative_to_home(pattern)) is not None:
        return Wanted(_filled(at_home, task, values))
    return Wanted(posixpath.join(task["work_dir"] or "", _filled(pattern, task, values)))


def variables_of(pattern: str) -> list[str]:
    """Return the names of the variables in a pattern, without the home folder at its beginning."""
    rest = relative_to_home(pattern) or pattern
    return [found[1] or found[2] for found in _VARIABLE.finditer(rest)]


def _filled(pattern: str, task: Job, values: Mapping[str, str]) -> str:
    """Return a pattern with its variables and letters replaced; values are not looked into."""
    parts, at = [], 0
    for found in _VARIABLE.finditer(pattern):
        parts += [
            fill_values(task, pattern[at : found.start()]),
            values[found[1] or found[2]],
        ]
        at = found.end()
    return "".join([*parts, fill_values(task, pattern[at:])])


def _variables(task: Job, member: ArrayMember, record: ArrayRecord | None) -> dict[str, str]:
    """Return the variables that a name may have, as the member's script has them."""
    own = {
        "SLURM_ARRAY_JOB_ID": str(member.array),
        "SLURM_ARRAY_TASK_ID": str(member.index),
        "SLURM_JOB_ID": str(task["raw_id"]),
        "SLURM_JOB_NAME": task["name"],
        "USER": task["user"],
    }
    runs = (record.request.runs if record is not None else None) or {}
    return own | {name: value_text(value) for name, value in runs.get(member.index, {}).items()}


def _as_task(job: Job, member: ArrayMember) -> Job:
    """Return the member's own entry, where several pending tasks share one."""
    task = job.copy()
    task["task"], task["tasks"] = member.index, None
    return task


def _output_file(
    stream: OutputStream, task: Job, member: ArrayMember, record: ArrayRecord | None
) -> Wanted:
    if member.past is not None:
        past = member.past.copy()
        past["task"], past["tasks"] = member.index, None
        [pattern, *_] = likely_patterns(past, stream)
    elif record is not None and record.request.script is not None:
        paths = record.request.paths.options
        error = paths.get("error") if stream == "stderr" else None
        pattern = error or paths.get("output") or default_pattern(task)
    else:
        return Wanted(None, "the name of the output file is not known")
    if is_discarded(pattern):
        return Wanted(None, "it goes to /dev/null")
    return Wanted(path_of(task, pattern))
