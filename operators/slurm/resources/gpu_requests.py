"""Count the GPUs that jobs ask for, in whatever form, where the site's accounting tracks none.

Slurm counts GPUs among a job's resources only where AccountingStorageTRES has `gres/gpu`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from operators.slurm.parsing import parse_int
from operators.slurm.resources.generic_resources import parse_gres
from operators.slurm.scripts.submit_line import read_line

GPUS = "gres/gpu"

# The options of sbatch that ask for GPUs, and what their counts are multiplied by.
_OPTIONS = {
    "gpus": "per_job",
    "gpus-per-node": "per_node",
    "gres": "per_node",
    "gpus-per-socket": "per_socket",
    "gpus-per-task": "per_task",
    "tres-per-task": "per_task",
}
_MAY_ASK = re.compile(r"gpu|gres|tres|(?:^| )-[A-Za-z]*G")


class JobSize(NamedTuple):
    """The numbers that requests per node, task and socket are multiplied by; None: unknown."""

    nodes: int | None
    tasks: int | None
    sockets_per_node: int | None = None


def count_gpus(requests: Mapping[str, str], size: JobSize) -> Counter[str] | None:
    """Return the GPUs on all nodes together by type (`gpu` where the request names none).

    `requests` are lists of resources by `per_job`, `per_node`, `per_socket` and `per_task`. None:
    they depend on a number that is unknown.
    """
    nodes, sockets = size.nodes, size.sockets_per_node
    factors = {
        "per_job": 1,
        "per_node": nodes,
        "per_task": size.tasks,
        "per_socket": nodes * sockets if nodes and sockets else None,
    }
    counts: Counter[str] = Counter()
    for kind, text in requests.items():
        factor = factors[kind]
        for (name, type), number in parse_gres(text).items():
            if name != "gpu":
                continue
            if factor is None:
                return None
            counts[type or "gpu"] += number * factor
    return counts


def with_gpus(resources: Mapping[str, int], gpus: Counter[str] | None) -> dict[str, int]:
    """Return the resources with the GPUs added under Slurm's names, if they have none."""
    if not gpus or any(name.partition(":")[0] == GPUS for name in resources):
        return dict(resources)
    types = {f"{GPUS}:{type}": number for type, number in gpus.items() if type != "gpu"}
    return {**resources, GPUS: sum(gpus.values()), **types}


def gpus_of_line(line: str, job_name: str, nodes: int) -> Counter[str] | None:
    """Return the GPUs that a submission line asks for; None where it does not say how many."""
    if not _MAY_ASK.search(line):
        return Counter()
    counts = [_gpus_of_options(each.options, nodes) for each in read_line(line, job_name)]
    is_certain = bool(counts) and all(each == counts[0] for each in counts)
    return counts[0] if is_certain else None


def _gpus_of_options(options: Mapping[str, str], nodes: int) -> Counter[str] | None:
    requested: dict[str, str] = {}
    for name, kind in _OPTIONS.items():
        text = options.get(name, "")
        if name.startswith("gpus"):  # a100:2,v100:1
            text = ",".join(f"gpu:{each}" for each in text.split(",") if each)
        requested[kind] = ",".join(filter(None, (requested.get(kind), text)))
    size = JobSize(
        nodes=nodes,
        tasks=parse_int(options.get("ntasks", "")),
        sockets_per_node=parse_int(options.get("sockets-per-node", "")),
    )
    return count_gpus(requested, size)
