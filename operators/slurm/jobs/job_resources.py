"""Count the resources of jobs in the queue: memory, and GPUs however a job asks for them."""

from __future__ import annotations

from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.client import ask
from operators.slurm.job_types import Bytes
from operators.slurm.resources.gpu_requests import JobSize, count_gpus
from resop import OperationFailed, Shell

# Names of squeue's --Format, which prints them in full if a word follows each.
_COLUMNS = {
    "id": "JobID",
    "allocated": "tres-alloc",
    "per_job": "tres-per-job",
    "per_node": "tres-per-node",
    "per_task": "tres-per-task",
    "tasks": "NumTasks",
    "nodes": "NumNodes",
    "per_socket": "tres-per-socket",
    "sockets": "sct",
}


class JobResources(TypedDict):
    """The resources of a job; of one task, if several tasks of an array share an entry."""

    memory: Bytes | None
    """The memory on all nodes together."""
    gpus: dict[str, int]
    """The GPUs on all nodes together, by type (`gpu` where Slurm names none)."""
    ntasks: int | None


NO_RESOURCES = JobResources(memory=None, gpus={}, ntasks=None)


def read_resources(shell: Shell, *filters: str) -> dict[int, JobResources]:
    """Return the resources of the jobs that match squeue's filters, by Slurm's own job number.

    Empty if squeue fails: the jobs may have left the queue meanwhile.
    """
    end = listings.separator()
    format = ",".join(f"{name}:{end}" for name in _COLUMNS.values())
    flags = ("--noheader", "--all", f"--Format={format}", *filters)
    answer = ask(shell, "squeue", *flags, check=False)
    if answer.exit_code != 0:
        return {}
    # Most jobs of a large queue ask for the same as others.
    known: dict[tuple[str, ...], JobResources] = {}
    found = {}
    try:
        for row in listings.iterate_job_rows("squeue", answer, end, list(_COLUMNS)):
            id, *cells = row.values()
            found[int(id)] = known.get(tuple(cells)) or known.setdefault(
                tuple(cells), _resources(row)
            )
    except OperationFailed as fault:  # what else is known of the jobs is worth an answer
        shell.log(f"memory and GPUs are unknown: {fault.message}")
        return {}
    return found


def _resources(row: listings.TableRow) -> JobResources:
    resources = parsing.parse_tres(row["allocated"])
    return JobResources(
        memory=resources.get("mem"),
        gpus=_gpus(row, resources),
        ntasks=parsing.parse_int(row["tasks"]),
    )


def _gpus(row: listings.TableRow, resources: dict[str, int]) -> dict[str, int]:
    """Return the GPUs by type.

    The resources have them only if the site tracks GPUs, and their types only if it tracks those.
    """
    size = JobSize(
        nodes=parsing.parse_int(row["nodes"]) or 1,
        tasks=parsing.parse_int(row["tasks"]) or 1,
        sockets_per_node=parsing.parse_int(row["sockets"].partition(":")[0]) or 1,
    )
    requests = {name: row[name] for name in ("per_job", "per_node", "per_task", "per_socket")}
    requested = dict(count_gpus(requests, size) or {})
    tracked = parsing.gpus_by_type(resources)
    is_same = sum(tracked.values()) == sum(requested.values())
    return requested if is_same or not tracked else tracked
