"""Measure what a running job uses now, with sstat, which asks the nodes of the job."""

from __future__ import annotations

from typing_extensions import TypedDict

from operators.slurm import parsing
from operators.slurm.client import ask, unreadable
from operators.slurm.job_types import Bytes, Seconds
from operators.slurm.parsing import JobId
from operators.slurm.resources.tres_usage import parse_usage
from resop import CommandFailed, DaemonUnavailable, Result, Shell, StepTimedOut

_COLUMNS = ("JobID", "NTasks", "MaxRSS", "TRESUsageInTot")
TIMEOUT = 30.0

NOT_RUNNING = "the job is not running"
SEVERAL = "sstat asks for one job: give the id of an array task or a component"
NOT_YOURS = "Slurm measures a running job for its owner only"
OTHER_CLUSTER = "sstat has no option for another cluster"
NO_STEPS = "sstat reported no step: the cluster gathers no use (JobAcctGatherType), or none runs"


class LiveStep(TypedDict):
    """The use of resources by a running step."""

    id: str
    """batch, extern, interactive, 0, 1, …"""
    tasks: int | None
    cpu_seconds: Seconds | None
    """The CPU time of all tasks until now."""
    memory: Bytes | None
    """The memory that all tasks use now."""
    max_rss: Bytes | None
    """The highest memory use of any task until now."""
    busy_gpus: float | None
    """The sum of the GPUs' utilization: 1.5 for one GPU at 100 % and another one at 50 %."""
    gpu_memory: Bytes | None


class LiveUsage(TypedDict):
    """The use of resources by a running job, as last sampled: every 30 s in most clusters."""

    cpu_seconds: Seconds | None
    """The CPU time of the running steps until now."""
    memory: Bytes | None
    """The memory that the running steps use now, on all nodes."""
    steps: list[LiveStep]
    reason: str | None
    """Why there are no figures."""


def read_usage(shell: Shell, raw_id: int) -> LiveUsage:
    """Return what the steps of a job use that runs on the default cluster.

    It takes Slurm's own number: sstat reads 123_4 and 123+1 as 123.
    """
    style = ("--allsteps", "--noheader", "--parsable2", "--noconvert")
    words = (*style, f"--format={','.join(_COLUMNS)}", f"--jobs={raw_id}")
    try:
        answer = ask(shell, "sstat", *words, timeout=TIMEOUT, check=False)
    except (CommandFailed, DaemonUnavailable, StepTimedOut) as fault:
        return no_usage(fault.message)
    rows = [_row(line, answer) for line in answer.lines]
    # For the last task of an array, whose number is that of the array, sstat shows all tasks.
    steps = [step for job, step in rows if job == raw_id]
    if not steps:
        return no_usage(answer.stderr.strip() or NO_STEPS)
    return LiveUsage(
        cpu_seconds=_sum([step["cpu_seconds"] for step in steps]),
        memory=_sum([step["memory"] for step in steps]),
        steps=steps,
        reason=None if any(step["max_rss"] is not None for step in steps) else NO_STEPS,
    )


def no_usage(reason: str) -> LiveUsage:
    """Return the answer without figures."""
    return LiveUsage(cpu_seconds=None, memory=None, steps=[], reason=reason)


def _row(line: str, answer: Result) -> tuple[int, LiveStep]:
    """Return the job of a row, and the step."""
    try:
        name, tasks, max_rss, used = line.split("|")
        id = JobId.parse(name)
    except ValueError:
        raise unreadable("sstat", answer.stdout) from None
    usage = parse_usage(used)
    return id.job, LiveStep(
        id=id.step or "",
        tasks=parsing.parse_int(tasks),
        cpu_seconds=usage.cpu_seconds,
        memory=usage.memory,
        max_rss=parsing.parse_size(max_rss, "B"),
        busy_gpus=usage.busy_gpus,
        gpu_memory=usage.gpu_memory,
    )


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
