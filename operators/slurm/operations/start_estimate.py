"""Estimate when a job would start, before it is submitted: sbatch --test-only."""

from __future__ import annotations

import re
from typing import Unpack

from typing_extensions import TypedDict

from operators.slurm import parsing
from operators.slurm.client import ask, on_cluster
from operators.slurm.job_types import Timestamp
from operators.slurm.scripts.submit_line import END_OF_OPTIONS
from operators.slurm.submission.job_request import JobRequest
from operators.slurm.submission.submission import messages_of
from operators.slurm.submission.submit_options import SubmitOptions
from resop import CommandFailed, Result, Shell, operation

# src/api/allocate.c: a heterogeneous job has no partition; releases from 25.05 say "a using", and
# name the cluster where there are several.
_START = re.compile(
    r"Job [0-9]+ to start at (?P<start>\S+)(?: on cluster (?P<cluster>\S+))?(?: a)? "
    r"using (?P<cpus>[0-9]+) processors on (?:nodes )?(?P<nodes>\S+)"
    r"(?: in partition (?P<partition>\S+))?"
)
_PREEMPTS = re.compile(r"^\s*Preempts: ([0-9,]+)$", re.MULTILINE)
_REFUSED = "allocation failure: "


class StartEstimate(TypedDict):
    """When and where a job would start if it were submitted now."""

    start: Timestamp | None
    """None: Slurm has no estimate, or the job can never run; `message` says why."""
    node_names: list[str]
    nodes: int
    cpus: int | None
    partition: str | None
    """The partition it would run in."""
    cluster: str | None
    """The Slurm cluster, if sbatch names one (sites with several clusters)."""
    preempts: list[int]
    """The jobs that it would preempt."""
    message: str
    """All that sbatch said, also what the site's own rules add."""


@operation(
    share_for=5,
    examples=[
        {"script": "#!/bin/sh\nsrun ./sim\n", "partition": "batch", "nodes": 4},
        {"path": "project/run.sh", "gpus": "a100:2", "time_limit": "12:00:00"},
    ],
)
def start_estimate(shell: Shell, **options: Unpack[SubmitOptions]) -> StartEstimate:
    """Return when the job would start. Takes the options of `submit`, and submits nothing.

    No folder is checked or created.

    It is when the scheduler would start it as things are: other jobs may end earlier, or come
    before it. Of an array it is the first task. Slurm counts neither `dependency` and `hold` nor
    limits that only keep a job waiting.
    """
    request = JobRequest.of(options)
    with on_cluster(options.get("cluster")):
        answer = _ask(shell, request)
        if request.learn(answer):
            answer = _ask(shell, request)
    said = "\n".join(messages_of(answer.stderr))
    is_refused = any(line.startswith(_REFUSED) for line in said.splitlines())
    if answer.exit_code != 0 and not is_refused:
        fault = answer.failure()
        raise CommandFailed(f"sbatch: {said or fault.message}", **fault.details)
    return _parse_answer(said)


def _ask(shell: Shell, request: JobRequest) -> Result:
    argv = ("sbatch", "--test-only", *request.flags, END_OF_OPTIONS, *request.command())
    return ask(shell, *argv, input=request.text(), check=False, prepare=request.preparation())


def _parse_answer(said: str) -> StartEstimate:
    found, preempts = _START.search(said), _PREEMPTS.search(said)
    parts = found.groupdict() if found else {}
    nodes = parsing.expand_nodes(parts.get("nodes") or "")
    start = parsing.parse_time(parts.get("start") or "")
    if start is not None:  # people read the message
        said = said.replace(parts["start"], start)
    return StartEstimate(
        start=start,
        node_names=nodes,
        nodes=len(nodes),
        cpus=parsing.parse_int(parts.get("cpus") or ""),
        partition=parts.get("partition"),
        cluster=parts.get("cluster"),
        preempts=[int(job) for job in preempts[1].split(",")] if preempts else [],
        message=said,
    )
