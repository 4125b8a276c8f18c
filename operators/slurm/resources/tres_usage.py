"""Parse what a step has used of each resource, as sacct and sstat print it (TRESUsageInTot).

Of memory and GPUs, Slurm sums up the highest use of each task (slurmd/slurmstepd/mgr.c).
"""

from __future__ import annotations

from typing import NamedTuple

from operators.slurm.job_types import Bytes, Seconds
from operators.slurm.parsing import parse_duration, parse_float, parse_size

PERCENT = 100


class TresUsage(NamedTuple):
    """The use by all tasks of a step together; None for what Slurm did not record."""

    cpu_seconds: Seconds | None
    memory: Bytes | None
    busy_gpus: float | None
    """The sum of the GPUs' utilization: 1.5 for one GPU at 100 % and another one at 50 %."""
    gpu_memory: Bytes | None


def parse_usage(text: str) -> TresUsage:
    """Parse `cpu=00:01:30,mem=204872K,gres/gpuutil=150,gres/gpumem=36266M`."""
    pairs = (pair.rpartition("=") for pair in text.split(",") if "=" in pair)
    values = {name: value for name, _, value in pairs}
    utilization = parse_float(values.get("gres/gpuutil", ""))
    return TresUsage(
        cpu_seconds=parse_duration(values["cpu"]) if ":" in values.get("cpu", "") else None,
        # A job that ends before its first sample has used more than nothing.
        memory=parse_size(values.get("mem", ""), "B") or None,
        busy_gpus=None if utilization is None else utilization / PERCENT,
        gpu_memory=parse_size(values.get("gres/gpumem", ""), "B"),
    )
