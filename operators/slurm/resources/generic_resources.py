"""Count generic resources (GRES), such as GPUs, in the forms that Slurm prints and takes.

`gpu:a100:2(S:0-1)` is what a node has, `gpu:(null):1(IDX:0)` what jobs use of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from typing_extensions import TypedDict

from operators.slurm.parsing import parse_count, parse_text

# Sockets and device numbers in parentheses may contain commas; `(null)` stands for no type.
_DETAILS = re.compile(r"\((?!null\))[^()]*\)")


class ResourceCounts(TypedDict):
    """How many there are, how many of them jobs use, and how many jobs can get."""

    total: int
    allocated: int
    available: int
    """The number that is not allocated, on nodes that accept jobs."""


def parse_gres(text: str) -> dict[tuple[str, str], int]:
    """Count the resources by name and type; the type is empty where Slurm names none.

    Counts may have a unit (`shard:2K`); what is not consumed (`no_consume`) is not counted apart.
    """
    return dict(_counts(text))


def count_by_name(
    configured: str, used: str, *, accepts_jobs: bool = True
) -> dict[str, ResourceCounts]:
    """Return a node's resources, and their use by jobs, by `name` or `name:type`."""
    total, in_use = parse_gres(configured), parse_gres(used)
    allocated: dict[tuple[str, str], int] = {}
    for (name, kind), number in in_use.items():
        key = _same_kind((name, kind), total)
        allocated[key] = allocated.get(key, 0) + number
    keys = dict.fromkeys([*total, *(key for key, number in allocated.items() if number)])
    return {
        ":".join(filter(None, key)): _resource_counts(
            total.get(key, 0), allocated.get(key, 0), accepts_jobs=accepts_jobs
        )
        for key in keys
    }


def gpus_of(resources: Mapping[str, ResourceCounts]) -> dict[str, ResourceCounts]:
    """Return the GPUs among the resources by type; the type is `gpu` if Slurm names none."""
    gpus = {}
    for key, counts in resources.items():
        name, _, kind = key.partition(":")
        if name == "gpu":
            gpus[kind or "gpu"] = counts
    return gpus


def add_up(nodes: Iterable[Mapping[str, ResourceCounts]]) -> dict[str, ResourceCounts]:
    """Return the sums of the resources of several nodes."""
    sums: dict[str, ResourceCounts] = {}
    for resources in nodes:
        for key, counts in resources.items():
            so_far = sums.setdefault(key, ResourceCounts(total=0, allocated=0, available=0))
            so_far["total"] += counts["total"]
            so_far["allocated"] += counts["allocated"]
            so_far["available"] += counts["available"]
    return sums


def _resource_counts(total: int, allocated: int, *, accepts_jobs: bool) -> ResourceCounts:
    available = max(0, total - allocated) if accepts_jobs else 0
    return ResourceCounts(total=total, allocated=allocated, available=available)


def _same_kind(key: tuple[str, str], total: Mapping[tuple[str, str], int]) -> tuple[str, str]:
    """Return the key that the node's resources have, where only one side names the type."""
    name, _ = key
    kinds = [each for each in total if each[0] == name]
    return kinds[0] if key not in total and len(kinds) == 1 else key


# A large cluster has few kinds of nodes, and its jobs ask for few kinds of resources.
@lru_cache(maxsize=4096)
def _counts(text: str) -> tuple[tuple[tuple[str, str], int], ...]:
    counts: dict[tuple[str, str], int] = {}
    for name, kind, number in _entries(text):
        counts[name, kind] = counts.get((name, kind), 0) + number
    return (*counts.items(),)


def _entries(text: str) -> Iterator[tuple[str, str, int]]:
    """Yield the name, the type and the number of each entry of a list."""
    if parse_text(text) is None:
        return
    for entry in _DETAILS.sub("", text).split(","):
        # gpu, gpu:2, gpu:a100:2, gres:gpu:2, gres/gpu:a100=2, gpu:no_consume:2
        words = [word for word in re.split(r"[:=]", entry.strip().removeprefix("gres/")) if word]
        if words and words[0] in ("gres", "gres_list"):
            del words[0]
        words = [word for word in words if word not in ("no_consume", "(null)")]
        if not words:
            continue
        number = parse_count(words[-1]) if len(words) > 1 else None
        name, *kind = words if number is None else words[:-1]
        yield name, ":".join(kind), 1 if number is None else number
