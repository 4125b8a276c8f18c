"""Show values of a cluster to people: durations, sizes, and the states of jobs."""

from __future__ import annotations

GOOD = frozenset({"COMPLETED"})
BAD = frozenset(
    {"BOOT_FAIL", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", "LAUNCH_FAILED"}
)
ACTIVE = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "STAGE_OUT", "SIGNALING"})
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


def state_class(state: str) -> str:
    """Return the class of a job's state in the style sheet."""
    word = state.split()[0] if state.split() else ""
    if word in GOOD:
        return "succeeded"
    if word in BAD:
        return "failed"
    return "running" if word in ACTIVE else ""
