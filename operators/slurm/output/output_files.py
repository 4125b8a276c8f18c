"""Find out where a batch job's output is, in the queue and after the job has left it.

A file that may belong to something else is never taken: where the records leave the name open, only
a name that contains the job's id counts.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from operators.slurm import listings
from operators.slurm.accounting import PastJob
from operators.slurm.client import ask
from operators.slurm.job_types import Job
from operators.slurm.parsing import parse_text
from operators.slurm.scripts.batch_script import script_options
from operators.slurm.scripts.filename_patterns import (
    NO_FILE,
    default_pattern,
    is_discarded,
    path_of,
)
from operators.slurm.scripts.job_script import stored_script
from operators.slurm.scripts.script_file import MAX_HEADER
from operators.slurm.scripts.submit_line import find_option, read_line
from resop import Shell

OutputStream = Literal["stdout", "stderr"]

# Standard error goes where the output goes, unless the job names a file for it.
OPTIONS: dict[OutputStream, tuple[str, ...]] = {
    "stdout": ("output",),
    "stderr": ("error", "output"),
}

READ_SCRIPT_HEAD = f'stat -c %Y -- "$1" && head -c {MAX_HEADER} -- "$1"'
SCRIPT_TIMEOUT = 60.0

_JOB_ID = re.compile(r"%[0-9]*[AjJ]")
_KNOWN_TO_SLURM = re.compile(r"%[0-9]*[rS]")
"""The number of restarts, and the SLUID of the job."""


def likely_patterns(job: PastJob, stream: OutputStream) -> list[str]:
    """Return the patterns that the submission line gives, and none that may be another job's."""
    values = find_option(job["submit_line"] or "", job["name"], *OPTIONS[stream]) or [None]
    first, *others = [default_pattern(job) if each is None else each for each in values]
    # The line can be read in several ways: a name with the job's id is nobody else's, nor is one
    # that continues the likeliest one with the words after it.
    certain = [each for each in others if _JOB_ID.search(each) or each.startswith(f"{first} ")]
    return [first, *certain]


def recorded_patterns(shell: Shell, job: PastJob, stream: OutputStream) -> list[str]:
    """Return the pattern that Slurm keeps elsewhere, for a job whose submission line has none."""
    for find in (_accounted_pattern, _stored_script_pattern, _script_file_pattern):
        if (pattern := find(shell, job, stream)) is not None:
            return [pattern]
    return []


def paths(job: Job, patterns: Sequence[str]) -> list[str]:
    """Return the paths of a job's patterns."""
    found = [NO_FILE if is_discarded(each) else path_of(job, each) for each in patterns]
    # The accounting database stores a backtick for each double quote.
    return list(dict.fromkeys([*found, *(each.replace("`", '"') for each in found)]))


def expanded_paths(
    shell: Shell, job: PastJob, stream: OutputStream, patterns: Sequence[str]
) -> list[str]:
    """Return the path as sacct fills it, if one of the patterns has a letter that only Slurm knows.

    sacct of Slurm 24.05 and newer can; Slurm 25.11 and newer have such letters.
    """
    if not any(map(_KNOWN_TO_SLURM.search, patterns)):
        return []
    path = _accounted_pattern(shell, job, stream, "--expand-patterns")
    return [] if path is None or _KNOWN_TO_SLURM.search(path) else [path]


def _accounted_pattern(
    shell: Shell, job: PastJob, stream: OutputStream, *options: str
) -> str | None:
    """Return the pattern in the accounting database of Slurm 24.05 and newer."""
    end = listings.separator()
    style = ("--noheader", "--parsable", f"--delimiter={end}", "--allocations", *options)
    query = (f"--jobs={job['id']}", "--format=JobID,StdOut,StdErr")
    answer = ask(shell, "sacct", *style, *query, check=False)
    if answer.exit_code != 0:  # "Invalid field requested"
        return None
    table = listings.rows(answer.stdout, end, ["id", "stdout", "stderr"])
    row = next((row for row in table if row["id"] == job["id"]), {})
    stderr = row.get("stderr", "") if stream == "stderr" else ""
    return parse_text(stderr) or parse_text(row.get("stdout", ""))


def _stored_script_pattern(shell: Shell, job: PastJob, stream: OutputStream) -> str | None:
    """Return the pattern in the script, where the accounting database stores scripts."""
    script = stored_script(shell, job["job"])
    return _pattern_of_script(script, stream) if script else None


def _script_file_pattern(shell: Shell, job: PastJob, stream: OutputStream) -> str | None:
    """Return the pattern in the script's file, if that has not changed since."""
    readings = read_line(job["submit_line"] or "", job["name"])
    files = {posixpath.join(job["work_dir"] or "", each.script) for each in readings if each.script}
    if len(files) != 1 or any("chdir" in each.options for each in readings):
        return None
    argv = ("/bin/sh", "-c", READ_SCRIPT_HEAD, "script", *files)
    answer = shell.run(*argv, timeout=SCRIPT_TIMEOUT, check=False)
    changed, _, script = answer.stdout.partition("\n")
    if answer.exit_code != 0 or not changed.isdecimal() or _is_later(changed, job):
        return None
    return _pattern_of_script(script, stream)


def _is_later(changed: str, job: PastJob) -> bool:
    submitted = job["submitted"]
    return submitted is None or int(changed) > datetime.fromisoformat(submitted).timestamp()


def _pattern_of_script(script: str, stream: OutputStream) -> str | None:
    options = script_options(script)
    return next((options[name] for name in OPTIONS[stream] if name in options), None)
