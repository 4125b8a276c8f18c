"""Show values of a cluster to people: durations, sizes, and the states of jobs."""

from __future__ import annotations

GOOD = frozenset({"COMPLETED"})
BAD = frozenset(
    {"BOOT_FAIL", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", "LAUNCH_FAILED"}
)
ACTIVE = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "STAGE_OUT", "SIGNALING"})
ENDED = GOOD | BAD | {"CANCELLED", "PREEMPTED", "REVOKED"}
UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def duration(seconds: float | str | None) -> str:
    """Return seconds as Slurm writes them: `2-03:04:05`; a word such as UNLIMITED as it is."""
    if seconds is None or isinstance(seconds, str):
        return seconds or ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (
        f"{days}-{hours:02}:{minutes:02}:{rest:02}" if days else f"{hours}:{minutes:02}:{rest:02}"
    )


def size(count: float | None) -> str:
    """Return bytes in the largest unit that leaves at least 1: `1.5 GiB`."""
    if count is None:
        return ""
    number, unit = float(count), 0
    while number >= 1024 and unit < len(UNITS) - 1:
        number, unit = number / 1024, unit + 1
    digits = f"{number:.3g}" if number < 1000 else f"{number:.0f}"
    return f"{digits} {UNITS[unit]}"


def has_ended(state: str) -> bool:
    """Return True for the state of a job that does not change any more."""
    return state.partition(" ")[0] in ENDED


def page_id(id: str) -> str:
    """Return the id under which a job has a page: of pending tasks (`7_[1-5]`) the array's."""
    return id.partition("[")[0].rstrip("_")


def state_class(state: str) -> str:
    """Return the class of a job's state in the style sheet."""
    word = state.partition(" ")[0]
    if word in GOOD:
        return "succeeded"
    if word in BAD:
        return "failed"
    return "running" if word in ACTIVE else ""
