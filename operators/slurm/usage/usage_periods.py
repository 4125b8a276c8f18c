"""Divide a span of time into hours, days or months of the login node."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import islice, pairwise, takewhile
from typing import Literal

from typing_extensions import TypedDict

from operators.slurm import parsing
from operators.slurm.client import ask, unreadable
from operators.slurm.job_types import Timestamp
from resop import InvalidOptions, Shell

Interval = Literal["hour", "day", "month"]
TimeSpan = tuple[int, int]
"""The first second, and the first one after it, since 1970."""

MAX_PERIODS = 750
"""A month by hours, two years by days."""
YEARS = range(1971, 2101)
_HOUR = 3600


class Period(TypedDict):
    """An hour, a day or a month; the first and the last one may be a part of it."""

    start: Timestamp
    end: Timestamp
    """The first second after it."""


def check_span(start: date, end: date | None, interval: Interval) -> None:
    """Raise InvalidOptions for an empty span, and for times that do not fit the interval."""
    for field, at in (("start", start), ("end", end)):
        if at is not None and at.year not in YEARS:
            raise InvalidOptions.of(field, f"must be between {YEARS[0]} and {YEARS[-1]}")
        if not isinstance(at, datetime):
            continue
        if interval != "hour":
            raise InvalidOptions.of(field, f"a series by {interval} takes days, without a time")
        if (at.minute, at.second, at.microsecond) != (0, 0, 0):
            raise InvalidOptions.of(field, "must be a full hour")
    after = _after(end)
    if after is not None and after.isoformat() <= start.isoformat():
        raise InvalidOptions.of("end", "the end is before the start")


def divide(shell: Shell, start: date, end: date | None, interval: Interval) -> list[TimeSpan]:
    """Return the periods from `start` to the end of the day `end`, to a time, or to now (None).

    Raises InvalidOptions for a start in the future and for too many periods.
    """
    after = _after(end)
    if interval == "hour":
        edges = [start] if after is None else [start, after]
    elif after is None:
        edges = [*_days(start, _today(shell) + timedelta(days=1), interval)]
    else:
        edges = [*_days(start, after, interval), after]
    seconds, now = _seconds_since_1970(shell, edges)
    if after is None:
        seconds = [*(at for at in seconds if at < now), now]
    if interval == "hour":
        seconds = [*range(seconds[0], seconds[-1], _HOUR), seconds[-1]]
    if len(seconds) < 2:
        raise InvalidOptions.of("start", f"{start} is in the future")
    if len(seconds) > MAX_PERIODS + 1:
        message = f"too many {interval}s: at most {MAX_PERIODS} are reported at once"
        raise InvalidOptions.of("start", message)
    return [*pairwise(seconds)]


def period(span: TimeSpan) -> Period:
    """Return a period as clients see it."""
    start, end = (parsing.parse_time(str(at)) or "" for at in span)
    return Period(start=start, end=end)


def _after(end: date | None) -> date | None:
    """Return the first moment after the span; None: now."""
    return end if end is None or isinstance(end, datetime) else end + timedelta(days=1)


def _today(shell: Shell) -> date:
    answer = ask(shell, "date", "+%F")
    try:
        return date.fromisoformat(answer.stdout.strip())
    except ValueError:
        raise unreadable("date", answer.stdout) from None


def _days(start: date, after: date, interval: Interval) -> Iterator[date]:
    """Return the first day of each period; no more than can be reported, and one."""
    starts = islice(_starts(start, interval), MAX_PERIODS + 1)
    return takewhile(lambda day: day < after, starts)


def _starts(day: date, interval: Interval) -> Iterator[date]:
    while True:
        yield day
        month = day.replace(day=1) + timedelta(days=31)
        day = month.replace(day=1) if interval == "month" else day + timedelta(days=1)


def _seconds_since_1970(shell: Shell, edges: list[date]) -> tuple[list[int], int]:
    """Return the times, and the present one, by the login node's clock."""
    # In some zones there is no midnight when summer time begins: a day may begin at 1.
    times = [f"{hour}:00" for edge in edges for hour in _hours(edge)]
    input = "\n".join([*times, "now", ""])
    answer = ask(shell, "date", "--file=-", "+%FT%H %s", input=input, check=False)
    try:
        *lines, last = [line.split() for line in answer.lines]
        known, now = {hour: int(seconds) for hour, seconds in lines}, int(last[1])
    except (ValueError, IndexError):
        raise unreadable("date", answer.stdout + answer.stderr) from None
    found = [next((known[hour] for hour in _hours(edge) if hour in known), None) for edge in edges]
    if missing := [edge for edge, seconds in zip(edges, found, strict=True) if seconds is None]:
        raise InvalidOptions.of("start", f"the login node's clock has no time {missing[0]}")
    return [seconds for seconds in found if seconds is not None], now


def _hours(edge: date) -> list[str]:
    if isinstance(edge, datetime):
        return [f"{edge:%Y-%m-%dT%H}"]
    return [f"{edge:%Y-%m-%d}T00", f"{edge:%Y-%m-%d}T01"]
