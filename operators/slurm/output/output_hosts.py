"""Find the output file of a job whose name has the host, `%N`: slurmd fills it in.

That is the name that the host has itself, up to the first dot. Usually the node has the same name,
or it is its NodeHostName; only the file shows any other.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from operators.slurm.client import ask
from operators.slurm.job_types import Job
from operators.slurm.scripts.filename_patterns import fill_with_host, names_job
from resop import Shell

_HOST = re.compile(r"%[0-9]*N")
_HOSTNAME = re.compile(r"\bNodeHostName=(\S+)")
_LABEL = r"[A-Za-z0-9][A-Za-z0-9-]*"
_SPECIAL = re.compile(r"[\[*?\\]")
SEARCH_TIMEOUT = 60.0


def host_paths(shell: Shell, job: Job, patterns: Sequence[str]) -> list[str]:
    """Return the paths with another name for the host than that of the node."""
    named = [each for each in patterns if _HOST.search(each) and "\\" not in each]
    if not named or not job["node_names"]:
        return []
    node = job["node_names"][0]
    answer = ask(shell, "scontrol", "show", "node", node, check=False)
    found = _HOSTNAME.search(answer.stdout)
    host = found[1].partition(".")[0] if found else node
    paths = [fill_with_host(job, each, host) for each in named]
    return list(dict.fromkeys([*paths, *_existing(shell, job, named)]))


def _existing(shell: Shell, job: Job, patterns: Sequence[str]) -> Iterator[str]:
    """Yield the only file that a pattern with the job's id can mean, whatever the host."""
    for pattern in patterns:
        folder, name = posixpath.split(pattern)
        if not names_job(name) or _HOST.search(folder):
            continue
        place = fill_with_host(job, posixpath.join(folder, "x"), "")
        glob = fill_with_host(job, _SPECIAL.sub(_bracketed, name), "*")
        argv = ("find", posixpath.dirname(place), "-maxdepth", "1", "-type", "f", "-name")
        answer = shell.run(*argv, posixpath.basename(glob), timeout=SEARCH_TIMEOUT, check=False)
        exact = re.compile(re.escape(fill_with_host(job, pattern, "\0")).replace("\0", _LABEL))
        matches = [line for line in answer.lines if exact.fullmatch(line)]
        if len(matches) == 1:
            yield matches[0]


def _bracketed(found: re.Match[str]) -> str:
    return f"[{found[0]}]" if found[0] != "\\" else "\\\\"
