"""The options of a job of Slurm, from the resources of a job of Snakemake."""

from __future__ import annotations

from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

OPTIONS = {
    "runtime": "time_limit",
    "mem_mb": "memory",
    "mem_mb_per_cpu": "memory_per_cpu",
    "nodes": "nodes",
    "tasks": "ntasks",
    "tasks_per_node": "ntasks_per_node",
    "cpus_per_task": "cpus_per_task",
    "gpu": "gpus",
    "gres": "gres",
    "slurm_partition": "partition",
    "slurm_account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "reservation": "reservation",
}
"""Options of `slurm:submit` by the names of resources, which are those of the plugin `slurm`."""
MIN_MEMORY = 300
"""Megabytes that Snakemake itself needs, which runs the rule in the job."""


def job_options(job: JobExecutorInterface) -> dict[str, Any]:
    """Return the options of a job. Raises WorkflowError for a resource that is not supported."""
    resources = job.resources
    if resources.get("slurm_extra"):
        raise WorkflowError(
            "the resource slurm_extra is not supported: there is a resource for each option"
        )
    found = {
        option: resources.get(name)
        for name, option in OPTIONS.items()
        if resources.get(name) is not None
    }
    found.setdefault("cpus_per_task", max(1, job.threads))
    if "memory" in found:
        found["memory"] = max(MIN_MEMORY, found["memory"])
    if "memory_per_cpu" in found:
        found.pop("memory", None)  # Slurm takes one of them, and mem_mb has a default
    return found
