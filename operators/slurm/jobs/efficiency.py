"""Compare what a job used with what was allocated to it, from the accounting database.

As seff does, for an array or a heterogeneous job as well: all parts that have ended count together.
What Slurm did not record is None, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.job_types import UNFINISHED_STATES, Bytes
from operators.slurm.parsing import JobId
from operators.slurm.resources.tres_usage import TresUsage, parse_usage
from resop import CommandFailed, DaemonUnavailable, Shell

_COLUMNS = {
    "id": "JobID",
    "state": "State",
    "cpus": "NCPUS",
    "elapsed": "ElapsedRaw",
    "time_limit": "Timelimit",
    "ended": "End",
    "cpu_seconds": "TotalCPU",
    "allocated": "AllocTRES",
    "usage": "TRESUsageInTot",
}

Number = TypeVar("Number", int, float)
_Use = tuple[int | float | None, int | None]
"""The used and the allocated amount of a resource; None if it is not known."""

NOT_ACCOUNTED = "the accounting database does not have the job yet"
NOT_ENDED = "Slurm sums up the use of a step when it ends: see live_usage"
NO_RUN_TIME = "the job ran for less than a second, or not at all"
NOT_RECORDED = (
    "Slurm recorded no use: the cluster gathers none (JobAcctGatherType), or the job was too short"
)


class Figure(TypedDict):
    """The use of a resource."""

    ratio: float | None
    """`used` divided by `allocated`: 1 is all of it."""
    used: int | float | None
    allocated: int | float | None
    parts: int
    """How many jobs, array tasks or components the figures sum up."""


class Efficiency(TypedDict):
    """The use of the resources that a job got."""

    cpu: Figure
    """CPU seconds, of those of all allocated CPUs while the job ran. More than 1 only where a
    cluster does not bind jobs to their CPUs."""
    memory: Figure
    """The peak, of the memory on all nodes, in bytes. It is that of the largest step, for which
    the peaks of all its tasks are summed up: tasks that do not peak together used less."""
    gpu: Figure
    """The highest utilization, in GPUs; Slurm records no average, and only with NVML."""
    gpu_memory: Bytes | None
    """The highest use of the GPUs' memory."""
    time: Figure
    """The run time, of the time limit, in seconds."""
    reason: str | None
    """Why figures are missing."""


@dataclass
class _Part:
    """A job, array task or component, with the use of its steps."""

    row: listings.TableRow
    steps: list[TresUsage] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        state = self.row["state"].partition(" ")[0]
        return state not in UNFINISHED_STATES and parsing.parse_time(self.row["ended"]) is not None

    @property
    def elapsed(self) -> int:
        return parsing.parse_int(self.row["elapsed"]) or 0

    def allocated(self) -> dict[str, int]:
        return parsing.parse_tres(self.row["allocated"])

    def cpu(self) -> _Use:
        cpus = parsing.parse_int(self.row["cpus"]) or 0
        # TotalCPU lacks processes that nobody waited for; without a gatherer it is 0.
        total = _parse_cpu_time(self.row["cpu_seconds"])
        sampled = [each.cpu_seconds for each in self.steps if each.cpu_seconds is not None]
        used = max(total, sum(sampled)) if total or sampled else None
        return used, cpus * self.elapsed or None

    def memory(self) -> _Use:
        return _highest(each.memory for each in self.steps), self.allocated().get("mem")

    def gpu(self) -> _Use:
        gpus = sum(parsing.gpus_by_type(self.allocated()).values())
        return _highest(each.busy_gpus for each in self.steps), gpus or None

    def time(self) -> _Use:
        return self.elapsed, parsing.parse_duration(self.row["time_limit"])


def read_efficiency(shell: Shell, id: str) -> Efficiency:
    """Return the efficiency of a job, an array task (123_4), a component (123+1) or of a whole."""
    try:
        found = _read_parts(shell, id)
    except (CommandFailed, DaemonUnavailable) as fault:
        return _efficiency([], fault.message)
    ended = [part for part in found if part.has_ended]
    ran = [part for part in ended if part.elapsed]
    if not found:
        return _efficiency(ran, NOT_ACCOUNTED)
    return _efficiency(ran, NO_RUN_TIME if ended else NOT_ENDED)


def _read_parts(shell: Shell, id: str) -> list[_Part]:
    found: list[_Part] = []
    for row in listings.sacct(shell, _COLUMNS, f"--jobs={id}"):
        if JobId.parse(row["id"]).step is None:
            found.append(_Part(row))
        elif found:  # a step follows its job
            found[-1].steps.append(parse_usage(row["usage"]))
    return found


def _efficiency(parts: Sequence[_Part], reason_for_none: str) -> Efficiency:
    """Sum up the parts that have run; without any, there is a reason."""
    cpu, memory = _figure(parts, _Part.cpu), _figure(parts, _Part.memory)
    is_known = None not in (cpu["ratio"], memory["ratio"])
    return Efficiency(
        cpu=cpu,
        memory=memory,
        gpu=_figure(parts, _Part.gpu),
        gpu_memory=_highest(step.gpu_memory for part in parts for step in part.steps),
        time=_figure(parts, _Part.time),
        reason=None if is_known else NOT_RECORDED if parts else reason_for_none,
    )


def _figure(parts: Sequence[_Part], read: Callable[[_Part], _Use]) -> Figure:
    """Sum up a resource over the parts in which it is known; without use, what was allocated."""
    pairs = [read(part) for part in parts]
    known = [(used, all_of_it) for used, all_of_it in pairs if used is not None and all_of_it]
    if not known:
        amounts = [all_of_it for _, all_of_it in pairs if all_of_it]
        return Figure(ratio=None, used=None, allocated=sum(amounts) or None, parts=len(amounts))
    used, allocated = (sum(column) for column in zip(*known, strict=True))
    return Figure(
        ratio=round(used / allocated, 4), used=used, allocated=allocated, parts=len(known)
    )


def _parse_cpu_time(text: str) -> float:
    """Return the seconds of `00:06:57`, `06:57.815`; 0 for anything else."""
    whole, _, fraction = text.partition(".")
    return (parsing.parse_duration(whole) or 0) + float(f"0.{fraction or 0}")


def _highest(values: Iterable[Number | None]) -> Number | None:
    return max((value for value in values if value is not None), default=None)
