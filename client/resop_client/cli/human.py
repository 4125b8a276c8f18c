"""Sizes, times and durations as people read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def size(value: Any) -> str:
    """Return a number of bytes in the unit that makes it short: `1.5 GiB`."""
    if not isinstance(value, int | float):
        return text(value)
    number = float(value)
    for unit in _UNITS:
        if abs(number) < 1000 or unit == _UNITS[-1]:
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"


def duration(value: Any) -> str:
    """Return seconds in the two largest units: `2 d 3 h`, `4 min 5 s`."""
    if not isinstance(value, int | float):
        return text(value)
    if value < 10 and value != int(value):
        return f"{value:.1f} s"
    seconds = round(value)
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min {seconds % _MINUTE} s"
    if seconds < _DAY:
        return f"{seconds // _HOUR} h {seconds % _HOUR // _MINUTE} min"
    return f"{seconds // _DAY} d {seconds % _DAY // _HOUR} h"


def moment(value: Any, now: datetime | None = None) -> str:
    """Return a time stamp in local time: `14:05` if it is today, else with its date."""
    if not isinstance(value, str) or not _TIMESTAMP.fullmatch(value):
        return text(value)
    at = datetime.fromisoformat(value).astimezone()
    today = (now or datetime.now(UTC)).astimezone()
    if at.date() == today.date():
        return f"{at:%H:%M}"
    return f"{at:%d %b %H:%M}" if at.year == today.year else f"{at:%Y-%m-%d}"


def text(value: Any) -> str:
    """Return any value of JSON in one line; an empty string for null."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list():
            return ",".join(text(each) for each in value)
        case dict():
            return ",".join(f"{name}={text(each)}" for name, each in value.items())
        case str() if _TIMESTAMP.fullmatch(value):
            return moment(value)
    return str(value)
