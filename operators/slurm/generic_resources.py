"""Count generic resources (GRES), such as GPUs, in the forms that Slurm prints and takes.

`gpu:a100:2(S:0-1)` is what a node has, `gpu:(null):1(IDX:0)` what jobs use of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from typing_extensions import TypedDict

from operators.slurm.parsing import parse_count, parse_text

# Sockets and device numbers in parentheses may contain commas; `(null)` stands for no type.
_DETAILS = re.compile(r"\((?!null\))[^()]*\)")


class ResourceCounts(TypedDict):
    """How many there are, and how many of them jobs use."""

    total: int
    allocated: int


def parse_gres(text: str) -> dict[tuple[str, str], int]:
    """Count the resources by name and type; the type is empty where Slurm names none.

    Counts may have a unit (`shard:2K`); what is not consumed (`no_consume`) is not counted apart.
    """
    counts: dict[tuple[str, str], int] = {}
    for name, kind, number in _entries(text):
        counts[name, kind] = counts.get((name, kind), 0) + number
    return counts


def count_by_name(available: str, used: str) -> dict[str, ResourceCounts]:
    """Return a node's resources, and their use by jobs, by `name` or `name:type`."""
    total, in_use = parse_gres(available), parse_gres(used)
    allocated: dict[tuple[str, str], int] = {}
    for (name, kind), number in in_use.items():
        key = _same_kind((name, kind), total)
        allocated[key] = allocated.get(key, 0) + number
    return {
        ":".join(filter(None, key)): ResourceCounts(
            total=total.get(key, 0), allocated=allocated.get(key, 0)
        )
        for key in dict.fromkeys([*total, *(key for key, number in allocated.items() if number)])
    }


def gpus_of(resources: Mapping[str, ResourceCounts]) -> dict[str, ResourceCounts]:
    """Return the GPUs among the resources by type; the type is `gpu` if Slurm names none."""
    gpus = {}
    for key, counts in resources.items():
        name, _, kind = key.partition(":")
        if name == "gpu":
            gpus[kind or "gpu"] = counts
    return gpus


def _same_kind(key: tuple[str, str], total: Mapping[tuple[str, str], int]) -> tuple[str, str]:
    """Return the key that the node's resources have, where only one side names the type."""
    name, _ = key
    kinds = [each for each in total if each[0] == name]
    return kinds[0] if key not in total and len(kinds) == 1 else key


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
