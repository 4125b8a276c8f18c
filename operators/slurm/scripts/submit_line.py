"""Read options out of the command line of sbatch that the accounting database keeps.

Slurm stores the words joined by spaces, without quotes, so a value that contains spaces can be read
in several ways. What the readings do not agree on is not known.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

# The options of sbatch in 22.05 to 26.05 (src/common/slurm_opt.c): first the options that take a
# value, then the others, which take none, or one behind '=' only.
_WITH_VALUE = re.findall(
    r"\S+",
    """
account acctg-freq array autocomplete batch bb bbf begin chdir cluster cluster-constraint clusters
comment constraint container container-id container-type context core-spec cores-per-socket
cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency distribution error exclude
export export-file extra extra-node-info gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket
gpus-per-task gres gres-flags hint input job-name kill-on-invalid-dep licenses mail-type mail-user
mcs-label mem mem-bind mem-per-cpu mem-per-gpu mem-update mincpus network nodefile nodelist nodes
ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket ntasks-per-tres open-mode
output partition power prefer priority profile qos reservation resources segment signal
sockets-per-node switches tasks-per-node thread-spec threads-per-core time time-min tmp tres-bind
tres-per-task uid wait-all-nodes wckey wrap
""",
)
_WITHOUT_VALUE = re.findall(
    r"\S+",
    """
consolidate-segments contiguous exclusive external get-user-env help hold ignore-pbs nice no-kill
no-requeue oom-kill-step overcommit oversubscribe parsable propagate quiet reboot requeue
resv-ports spread-job spread-segments stepmgr test-only usage use-min-nodes verbose version wait
""",
)
_SHORT = {
    "A": "account",
    "a": "array",
    "b": "begin",
    "B": "extra-node-info",
    "c": "cpus-per-task",
    "C": "constraint",
    "d": "dependency",
    "D": "chdir",
    "e": "error",
    "F": "nodefile",
    "G": "gpus",
    "i": "input",
    "J": "job-name",
    "L": "licenses",
    "m": "distribution",
    "M": "clusters",
    "n": "ntasks",
    "N": "nodes",
    "o": "output",
    "p": "partition",
    "q": "qos",
    "S": "core-spec",
    "t": "time",
    "w": "nodelist",
    "x": "exclude",
}
_SHORT_FLAGS = "HhkOQsvVW"
# Values of other options are one word.
_FREE_TEXT = frozenset(
    [
        *("bb", "bbf", "chdir", "comment", "constraint", "container", "error", "export"),
        *("export-file", "extra", "input", "nodefile", "output", "prefer"),
    ]
)
_NAMES = (*_WITH_VALUE, *_WITHOUT_VALUE)

MAX_READINGS = 500
"""More readings than a line has that a person wrote."""
END_OF_OPTIONS = "--"
NAME_OF_STDIN = "sbatch"
"""The job's name where neither an option nor the script's file gives one."""


class Reading(NamedTuple):
    """One way to read a line."""

    options: dict[str, str]
    """The values by long name; the last one counts, as in sbatch."""
    script: str | None
    """The script's file; None if it came by standard input."""
    has_end_of_options: bool
    """True if `--` separates the options from the script."""


def find_option(line: str, job_name: str, *names: str) -> list[str | None]:
    """Return what the first of the options `names` that is given may be; None: not given.

    Several values: the line does not say which, the likeliest is the first. Empty: it is not a
    line of sbatch.
    """
    readings = read_line(line, job_name)
    return list(dict.fromkeys(_first_given(each, names) for each in readings))


def _first_given(reading: Reading, names: Sequence[str]) -> str | None:
    return next((reading.options[name] for name in names if name in reading.options), None)


def read_line(line: str, job_name: str) -> list[Reading]:
    """Return the likely readings of a line; the job's name rules out the others."""
    words = line.split(" ")
    if not re.search(r"(?:^|/)sbatch$", words[0]):
        return []
    name = _normal(job_name)
    readings = [*islice(_readings(words[1:], name), MAX_READINGS + 1)]
    if len(readings) > MAX_READINGS:
        return []
    # Without --job-name, the name is that of the script, unless a line in the script sets it.
    confirmed = [each for each in readings if _name_of(each) == name]
    # Operations that submit jobs write `--` always, a person hardly ever.
    marked = [each for each in confirmed or readings if each.has_end_of_options]
    return marked or confirmed or readings


def read_words(words: Sequence[str]) -> dict[str, str]:
    """Return the options among words that are known one by one; what follows them is ignored."""
    options: dict[str, str] = {}
    left = list(words)
    while left and re.match(r"-.", left[0]) and left[0] != END_OF_OPTIONS:
        name, value, has_value = _option(left.pop(0))
        if has_value and value is None:
            value = left.pop(0) if left else ""
        options[name] = value or ""
    return options


def _name_of(reading: Reading) -> str:
    if "job-name" in reading.options:
        return _normal(reading.options["job-name"])
    if "wrap" in reading.options:
        return "wrap"
    return _normal(posixpath.basename(reading.script or NAME_OF_STDIN))


def _normal(name: str) -> str:
    return name.replace('"', "`")  # as the accounting database stores it


def _readings(words: Sequence[str], job_name: str) -> Iterator[Reading]:
    """Yield the readings of the words behind `sbatch`, the likeliest first."""
    if not words or not re.match(r"-.", words[0]):
        yield Reading({}, words[0] if words else None, False)
        return
    if words[0] == END_OF_OPTIONS:
        yield Reading({}, words[1] if words[1:] else None, True)
        return
    name, value, has_value = _option(words[0])
    rest = words[1:]
    if has_value and value is None:
        value, rest = (rest[0] if rest else ""), rest[1:]
    for length in _lengths(name, value or "", rest, job_name):
        text = " ".join([value or "", *rest[:length]])
        for options, script, is_marked in _readings(rest[length:], job_name):
            yield Reading({name: text, **options}, script, is_marked)


def _lengths(name: str, value: str, rest: Sequence[str], job_name: str) -> Iterable[int]:
    """Return how many of the following words may belong to an option's value."""
    if name == "job-name":  # known, so nothing else is possible
        length = job_name.count(" ") - value.count(" ")
        text = _normal(" ".join([value, *rest[: max(length, 0)]]))
        return [length] if text == job_name and length >= 0 else []
    if name == "wrap":
        # A command with options of its own, of which nothing shows where it ends.
        return range(len(rest), -1, -1)
    if name not in _FREE_TEXT:
        return [0]
    dashed = next((n for n, word in enumerate(rest) if re.match(r"-.", word)), len(rest))
    return range(dashed + 1)


def _option(word: str) -> tuple[str, str | None, bool]:
    """Return the name of an option, its value in the same word, and whether it has a value."""
    if word.startswith("--"):
        name, joined, value = word[2:].partition("=")
        # getopt_long(3) takes any unambiguous beginning of a name.
        matches = [name] if name in _NAMES else [each for each in _NAMES if each.startswith(name)]
        full = matches[0] if matches else name
        return full, value if joined else None, bool(joined) or full in _WITH_VALUE
    letters = word[1:].lstrip(_SHORT_FLAGS)
    if letters[:1] not in _SHORT:
        return "", None, False
    return _SHORT[letters[0]], letters[1:] or None, True
