"""Fill the filename patterns of --output and --error, as slurmstepd does for a batch script.

See sbatch(1), "filename pattern"; src/common/print_fields.c of Slurm 26.05 and
src/slurmd/common/fname.c of 22.05.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from operators.slurm.job_types import Job

MAX_PADDING = 10
BATCH_STEP = "batch"
NO_FILE = "/dev/null"

_WILDCARD = re.compile(r"%(?:%|([0-9]*)([A-Za-z]))")


def fill_pattern(pattern: str, values: Mapping[str, str]) -> str:
    """Replace `%j`, `%4a`, `%%` and so on; a letter without a value stays as it is.

    A width pads numbers with zeros, to ten digits at most. A backslash anywhere switches all
    replacement off, and disappears itself.
    """
    if "\\" in pattern:
        return re.sub(r"\\(\\?)", r"\1", pattern)

    def value(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        width, letter = found.groups()
        text = values.get(letter)
        if text is None:
            return found[0]
        is_padded = width and text.isdecimal() and letter not in "Nux"
        return text.zfill(min(int(width), MAX_PADDING)) if is_padded else text

    return _WILDCARD.sub(value, pattern)


def path_of(job: Job, pattern: str) -> str:
    """Return the path of a batch job's output file."""
    return posixpath.join(job["work_dir"] or "", fill_values(job, pattern))


def fill_with_host(job: Job, pattern: str, host: str) -> str:
    """Return the path of a batch job's output file, with another name of its host for `%N`."""
    return posixpath.join(job["work_dir"] or "", fill_pattern(pattern, {**_values(job), "N": host}))


def fill_values(job: Job, pattern: str) -> str:
    """Return a pattern with the letters replaced by a job's values."""
    return fill_pattern(pattern, _values(job))


def complete_path(job: Job, shown: str | None) -> str | None:
    """Return the path of an output file as scontrol shows it, with the rest of the pattern filled.

    Slurm 22.05 fills five of the letters there, and none that has a width. A path that still has a
    `%` or a backslash is not certain.
    """
    if shown is None or "\\" in shown or "%" in job["name"]:
        return shown
    values = _values(job)
    widened = re.sub(r"%[0-9]+[A-Za-z]", lambda found: fill_pattern(found[0], values), shown)
    rest = {letter: value for letter, value in values.items() if letter not in "Aajux"}
    return fill_pattern(widened, rest)


def _values(job: Job) -> dict[str, str]:
    # For a job that is no array, Slurm prints NO_VAL (4294967294) as its index.
    index = 4294967294 if job["task"] is None else job["task"]
    values = {
        "A": str(job["raw_id"] if job["task"] is None else job["job"]),
        "a": str(index),
        "b": str(index % 10),
        "j": str(job["raw_id"]),
        "J": str(job["raw_id"]),
        "n": "0",
        "s": BATCH_STEP,
        "t": "0",
        "u": job["user"],
        "x": job["name"],
    }
    if job["node_names"]:
        values["N"] = job["node_names"][0]
    return values


def default_pattern(job: Job) -> str:
    """Return the pattern of a job that sets no output file."""
    return "slurm-%j.out" if job["task"] is None else "slurm-%A_%a.out"


def is_discarded(pattern: str) -> bool:
    """Return True if output goes to no file."""
    return pattern.lower() == "none" or posixpath.normpath(pattern) == NO_FILE


def names_job(pattern: str) -> bool:
    """Return True if each job has files of its own by this pattern."""
    return "\\" not in pattern and re.search(r"%[0-9]*[AjJ]", pattern) is not None
