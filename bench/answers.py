"""Processor time and memory of large answers of Slurm: what a worker does with what Slurm prints.

Each answer is measured in a process of its own, since a process keeps memory that it once had:
`python -m bench.answers NODES JOBS FOLDER NAME`. The texts are in the folder, made by another such
process before.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.synthetic_slurm import print_nodes, print_partitions, print_queue
from bench.table import Row, figures_row
from operators.slurm import listings
from operators.slurm.operations.jobs import jobs
from operators.slurm.operations.nodes import nodes
from operators.slurm.operations.overview import overview
from operators.slurm.operations.partitions import partitions
from resop.actions.operation import Operation
from resop.steps.result import Result
from resop.steps.step import StepRequest
from resop.testing import FakeExecutor, FakeShell

GOAL = "under 2 s and 256 MiB"
ANSWERS: dict[str, tuple[Operation[..., Any], dict[str, Any]]] = {
    "overview": (overview, {}),
    "nodes": (nodes, {}),
    "nodes, a page of names and states": (nodes, {"fields": ["name", "status"], "limit": 500}),
    "partitions": (partitions, {}),
    "jobs": (jobs, {}),
    "jobs, a page of names and states": (jobs, {"fields": ["name", "state"], "limit": 50}),
}
SEPARATOR = "@5e9a7a70@"
"""Follows each column; for real queries it is a random word of this length."""


@dataclass(slots=True)
class SyntheticExecutor(FakeExecutor):
    """A StepExecutor that answers the queries of Slurm's programs."""

    nodes: int = 0
    jobs: int = 0
    folder: Path = field(default_factory=Path)

    def run(self, step: StepRequest) -> Result:
        """Return what the program prints."""
        name = hashlib.sha256(f"{step.display} {self.nodes} {self.jobs}".encode()).hexdigest()
        file = self.folder / name
        if not file.exists():
            file.write_text(self._print(shlex.split(step.display)))
        return Result(file.read_text(), "", 0, 0.0, False, step.display, b"")

    def _print(self, argv: list[str]) -> str:
        if argv[0] == "squeue":
            return print_queue(self.jobs, argv)
        return print_nodes(self.nodes) if "node" in argv else print_partitions(self.nodes)


def measure_answers(node_count: int, job_count: int, folder: Path) -> list[Row]:
    """Measure each answer for a cluster of that size."""
    size = f"{node_count} nodes and {job_count} jobs"
    command = [sys.executable, "-m", "bench.answers", str(node_count), str(job_count), str(folder)]
    subprocess.run([*command, *ANSWERS], stdout=subprocess.DEVNULL, check=True)
    rows = []
    for name in ANSWERS:
        done = subprocess.run([*command, name], stdout=subprocess.PIPE, check=True)
        rows.append(figures_row(f"{name}: {size}", GOAL, json.loads(done.stdout)))
    return rows


def measure_answer(name: str, node_count: int, job_count: int, folder: Path) -> dict[str, float]:
    """Return the processor seconds and the memory of one answer, in this process."""
    operation, options = ANSWERS[name]
    shell = FakeShell(username="user001")
    shell.executor = SyntheticExecutor(nodes=node_count, jobs=job_count, folder=folder)
    before, began = _peak_memory(), time.process_time()
    answer = operation(shell, **options)
    seconds, peak = time.process_time() - began, _peak_memory()
    return {
        "processor seconds": seconds,
        "memory MiB": peak - before,
        "JSON MiB": len(json.dumps(answer).encode()) / 2**20,
    }


def _peak_memory() -> float:
    """Return the most memory that this process ever had, in MiB.

    Not that of getrusage(2), which counts the process before exec(2), too.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    listings.separator = lambda: SEPARATOR
    node_number, job_number, texts, *asked = sys.argv[1:]
    for each in asked:
        print(json.dumps(measure_answer(each, int(node_number), int(job_number), Path(texts))))
