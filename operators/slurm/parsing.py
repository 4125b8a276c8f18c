"""Parse the values that Slurm's clients print: durations, sizes, times, node lists, job ids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache
from typing import Final, Literal, NamedTuple, Self

ABSENT = frozenset(
    ["", "(null)", "N/A", "n/a", "n/s", "None", "NONE", "none", "Unknown", "None assigned"]
)
"""Texts that Slurm prints where there is no value."""

UNLIMITED: Final = "UNLIMITED"
"""Slurm's word for a time limit that never ends a job."""

SECONDS_OF_DAY = 86_400
_UNLIMITED_WORDS = frozenset([UNLIMITED, "INFINITE", "-1"])
_UNITS = {unit: 1024**power for power, unit in enumerate("BKMGTPE")}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([BKMGTPE]?)[nc]?")
_COUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:([KMGTP])(I?B)?)?", re.IGNORECASE)
_DURATION = re.compile(r"(?:([0-9]+)-)?([0-9]+(?::[0-9]+){0,2})(?:\.[0-9]+)?")
_INDEX_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+)(?::([0-9]+))?)?")
_NODES = re.compile(r"(?:[^,\[\]]|\[[^\]]*\])+")
_BRACKET = re.compile(r"\[([^\]]*)\]")
_INTEGER = re.compile(r"-?[0-9]+")
JOB_ID = (
    r"(?P<job>[0-9]+)"
    r"(?:_(?:(?P<task>[0-9]+)|\[(?P<tasks>[0-9,:%-]+)\])|\+(?P<component>[0-9]+))?"
    r"(?:\.(?P<step>[^.]+))?"
)
"""The pattern of a job id, in which each part has a name."""
_JOB = re.compile(JOB_ID)


def parse_text(text: str) -> str | None:
    """Return the text, or None for what Slurm prints where there is no value."""
    return None if text in ABSENT else text


def parse_int(text: str) -> int | None:
    """Parse an integer; None for anything else."""
    # Most are decimals, and a queue has a million of them.
    return int(text) if text.isdecimal() or _INTEGER.fullmatch(text) else None


def parse_float(text: str) -> float | None:
    """Parse a decimal number; None for anything else."""
    return float(text) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) else None


@lru_cache(maxsize=4096)
def parse_duration(text: str) -> int | None:
    """Return the seconds of `1-02:00:00`, `02:00:00`, `10:00`, `1-02`, `60` (minutes).

    None for UNLIMITED, Partition_Limit, INVALID and the like: no limit, or no known one.
    The formats are those of sbatch(1), --time. Fractions of a second are dropped.
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


def parse_time_limit(text: str) -> int | Literal["UNLIMITED"] | None:
    """Return a time limit in seconds, or UNLIMITED; None if Slurm does not say what it is.

    That is so for NOT_SET, Partition_Limit and INVALID: the partition's own limit will apply.
    """
    return UNLIMITED if text.upper() in _UNLIMITED_WORDS else parse_duration(text)


@lru_cache(maxsize=4096)
def parse_size(text: str, unit: str = "M") -> int | None:
    """Return the bytes of `500M`, `62.50G`, `4000Mn`; None for anything else.

    `unit` applies to a number without a unit.
    """
    found = _SIZE.fullmatch(text)
    return round(float(found[1]) * _UNITS[found[2] or unit]) if found else None


def parse_count(text: str) -> int | None:
    """Return the number in `2K` or `2kib` (2048), or in `2kb` (2000); None for anything else.

    Counts of generic resources may have such a unit; suffix_mult in
    src/common/slurm_protocol_defs.c of Slurm 22.05 to 26.11.
    """
    found = _COUNT.fullmatch(text)
    if not found:
        return None
    number, unit, end = found.groups()
    base = 1000 if (end or "").upper() == "B" else 1024
    factor: int = base ** ("KMGTP".index(unit.upper()) + 1) if unit else 1
    return round(float(number) * factor)


def parse_tres(text: str) -> dict[str, int]:
    """Parse `cpu=4,mem=62.50G,gres/gpu:a100=2`: counts, and bytes where there is a unit."""
    pairs = (pair.rpartition("=") for pair in text.split(",") if "=" in pair)
    sizes = {name: parse_size(value, "B") for name, _, value in pairs}
    return {name: size for name, size in sizes.items() if size is not None}


def resource_unit(name: str) -> int:
    """Return the bytes of one unit of a resource in counts without a unit; 1 for other things.

    slurmctld counts memory and burst buffers in MiB.
    """
    return 1 << 20 if name == "mem" or name.startswith("bb/") else 1


def parse_tres_counts(text: str) -> dict[str, int]:
    """Parse `cpu=4,mem=4000`, where memory has no unit: counts; memory in bytes."""
    return {name: count * resource_unit(name) for name, count in parse_tres(text).items()}


def gpus_by_type(resources: dict[str, int]) -> dict[str, int]:
    """Return the GPUs among the resources by type; the type is `gpu` if Slurm names none.

    `gres/gpu` counts all of them, those with a type as well.
    """
    prefix = "gres/gpu:"
    typed = {
        name.removeprefix(prefix): number
        for name, number in resources.items()
        if name.startswith(prefix)
    }
    untyped = resources.get("gres/gpu", 0) - sum(typed.values())
    return typed | ({"gpu": untyped} if untyped > 0 else {})


def parse_time(text: str) -> str | None:
    """Return seconds since 1970 as ISO 8601 in UTC; None for `N/A`, `Unknown`, 0."""
    seconds = parse_int(text)
    if not seconds:
        return None
    days, seconds = divmod(seconds, SECONDS_OF_DAY)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{_date(days)}T{hours:02}:{minutes:02}:{seconds:02}+00:00"


@lru_cache(maxsize=4096)
def _date(days: int) -> str:
    """Return the date that is this number of days after 1970-01-01."""
    return (date(1970, 1, 1) + timedelta(days)).isoformat()


def split_names(text: str) -> list[str]:
    """Split a comma-separated list; `(null)` and the like are empty."""
    return [word for word in text.split(",") if word] if parse_text(text) else []


def expand_nodes(text: str) -> list[str]:
    """Return the nodes of `cn[01-04,07],gpu1`, in order.

    Several brackets multiply; leading zeros are preserved.
    """
    if "[" not in text:
        return split_names(text)
    return [name for one in _NODES.findall(text) for name in _expand(one)]


def parse_exit_code(text: str) -> tuple[int, int] | None:
    """Return the exit code and the signal of `0:9`; None for anything else."""
    found = re.fullmatch(r"([0-9]+):([0-9]+)", text)
    return (int(found[1]), int(found[2])) if found else None


def expand_indexes(text: str) -> list[int]:
    """Return the indexes of an array's `1,3,10-20:5%2`, in order; `%2` is ignored."""
    return [index for each in _index_ranges(text) for index in each]


def count_indexes(text: str) -> int:
    """Return the number of the indexes of an array, such as 5 for `1,3,10-20:5%2`."""
    return sum(len(each) for each in _index_ranges(text))


def _index_ranges(text: str) -> Iterator[range]:
    parts = (_INDEX_RANGE.fullmatch(part) for part in text.partition("%")[0].split(","))
    return (range(int(p[1]), int(p[2] or p[1]) + 1, int(p[3] or 1)) for p in parts if p)


class JobId(NamedTuple):
    """A parsed job id: `123`, `123_4`, `123_[5-9%2]`, `123+1`, or a step such as `123_4.batch`."""

    job: int
    """The job, the array of a task, or the first component of a heterogeneous job."""
    task: int | None = None
    """The index of an array task."""
    tasks: str | None = None
    """The indexes of an array's pending tasks: `5-9%2`."""
    component: int | None = None
    """The component of a heterogeneous job."""
    step: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a job id; ValueError for anything else."""
        if text.isdecimal():
            return cls(int(text))
        found = _JOB.fullmatch(text)
        if not found:
            raise ValueError(f"{text!r} is not a job id such as 123, 123_4 or 123+1")
        task, component = parse_int(found["task"] or ""), parse_int(found["component"] or "")
        return cls(int(found["job"]), task, found["tasks"], component, found["step"])


def _expand(name: str) -> Iterator[str]:
    found = _BRACKET.search(name)
    if not found:
        yield name
        return
    prefix, suffixes = name[: found.start()], list(_expand(name[found.end() :]))
    for part in found[1].split(","):
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield from (f"{prefix}{number:0{len(first)}}{suffix}" for suffix in suffixes)
