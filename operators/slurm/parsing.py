"""Reads the values that Slurm's clients print: durations, sizes, times, node lists, job ids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple, Self

ABSENT = frozenset(
    ["", "(null)", "N/A", "n/a", "n/s", "None", "NONE", "none", "Unknown", "None assigned"]
)
"""What Slurm prints where there is no value."""

_UNITS = {unit: 1024**power for power, unit in enumerate("BKMGTPE")}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([BKMGTPE]?)[nc]?")
_DURATION = re.compile(r"(?:([0-9]+)-)?([0-9]+(?::[0-9]+){0,2})(?:\.[0-9]+)?")
_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+)(?::([0-9]+))?)?")
_NODES = re.compile(r"(?:[^,\[\]]|\[[^\]]*\])+")
_BRACKET = re.compile(r"\[([^\]]*)\]")
_WHOLE = re.compile(r"-?[0-9]+")
_JOB = re.compile(
    r"(?P<job>[0-9]+)"
    r"(?:_(?:(?P<task>[0-9]+)|\[(?P<tasks>[0-9,:%-]+)\])|\+(?P<component>[0-9]+))?"
    r"(?:\.(?P<step>[^.]+))?"
)


def given(text: str) -> str | None:
    """The text, or None for what Slurm prints where there is no value."""
    return None if text in ABSENT else text


def whole(text: str) -> int | None:
    """A whole number; None for anything else."""
    return int(text) if _WHOLE.fullmatch(text) else None


def decimal(text: str) -> float | None:
    """A number; None for anything else."""
    return float(text) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) else None


def duration(text: str) -> int | None:
    """Seconds of `1-02:00:00`, `02:00:00`, `10:00`, `1-02`, `60` (minutes).

    None for UNLIMITED, Partition_Limit, INVALID and the like: no limit, or none that is known.
    Slurm's forms: sbatch(1), --time. Fractions of a second are dropped.
    """
    found = _DURATION.fullmatch(text)
    if not found:
        return None
    days, clock = found.groups()
    parts = [int(part) for part in clock.split(":")]
    if days is not None:
        hours, minutes, seconds = [*parts, 0, 0][:3]
        return ((int(days) * 24 + hours) * 60 + minutes) * 60 + seconds
    if len(parts) == 1:
        return parts[0] * 60
    hours, minutes, seconds = [0, *parts][-3:]
    return (hours * 60 + minutes) * 60 + seconds


def memory(text: str, unit: str = "M") -> int | None:
    """Bytes of `500M`, `62.50G`, `4000Mn`; `unit` is that of a bare number. None if it is none."""
    found = _SIZE.fullmatch(text)
    return round(float(found[1]) * _UNITS[found[2] or unit]) if found else None


def tres(text: str) -> dict[str, int]:
    """`cpu=4,mem=62.50G,gres/gpu:a100=2` as a dict: counts, and bytes where there is a unit."""
    pairs = (pair.rpartition("=") for pair in text.split(",") if "=" in pair)
    sizes = {name: memory(value, "B") for name, _, value in pairs}
    return {name: size for name, size in sizes.items() if size is not None}


def gpus(resources: dict[str, int]) -> dict[str, int]:
    """The GPUs among such resources, by type; `gpu` where no type is told."""
    typed = {name.partition(":")[2]: n for name, n in resources.items() if "gres/gpu:" in name}
    untyped = resources.get("gres/gpu", 0)
    return typed or ({"gpu": untyped} if untyped else {})


def time(text: str) -> str | None:
    """ISO 8601, in UTC, of seconds since 1970; None for none (`N/A`, `Unknown`, 0)."""
    seconds = whole(text)
    return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else None


def words(text: str) -> list[str]:
    """The words of a list with commas between; none of `(null)` and the like."""
    return [word for word in text.split(",") if word] if given(text) else []


def hostlist(text: str) -> list[str]:
    """The nodes of `cn[01-04,07],gpu1`, in order: several brackets multiply, zeros are kept."""
    return [name for one in _NODES.findall(given(text) or "") for name in _expanded(one)]


def exit_code(text: str) -> tuple[int, int] | None:
    """Exit code and signal of `0:9`; None if it is none."""
    found = re.fullmatch(r"([0-9]+):([0-9]+)", text)
    return (int(found[1]), int(found[2])) if found else None


def indexes(text: str) -> list[int]:
    """The tasks of an array's `1,3,10-20:5%2`, in order; what limits them (`%2`) is left out."""
    parts = (_RANGE.fullmatch(part) for part in text.partition("%")[0].split(","))
    ranges = (range(int(p[1]), int(p[2] or p[1]) + 1, int(p[3] or 1)) for p in parts if p)
    return [index for each in ranges for index in each]


class JobId(NamedTuple):
    """A job's id taken apart: `123`, `123_4`, `123_[5-9%2]`, `123+1`, and steps: `123_4.batch`."""

    job: int
    """The job; the array of a task, the first component of a heterogeneous job."""
    task: int | None = None
    """The index of an array task."""
    tasks: str | None = None
    """The indexes of those tasks of an array that have not begun: `5-9%2`."""
    component: int | None = None
    """The component of a heterogeneous job."""
    step: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """ValueError for what is no job id."""
        found = _JOB.fullmatch(text)
        if not found:
            raise ValueError(f"{text!r} is no job id: 123, 123_4 or 123+1")
        task, component = whole(found["task"] or ""), whole(found["component"] or "")
        return cls(int(found["job"]), task, found["tasks"], component, found["step"])


def _expanded(name: str) -> Iterator[str]:
    found = _BRACKET.search(name)
    if not found:
        yield name
        return
    before, after = name[: found.start()], list(_expanded(name[found.end() :]))
    for part in found[1].split(","):
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield from (f"{before}{number:0{len(first)}}{rest}" for rest in after)
