"""Other words for the type and the days of a report: those of the JavaScript resop."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

_TYPES = {
    "project": "user_utilization_by_account",
    "account": "user_utilization_by_account",
    "user": "account_utilization_by_user",
    "cluster": "utilization",
}
_DAY = re.compile(r"(?:([0-9]{1,2})/)?([0-9]{1,2})(?:/([0-9]{4}))?")
"""31/12/2026, 31/12, or 12/2026 for the first of the month."""
_DAY_OF_MONTH = re.compile(r"[0-9]{1,2}")


def read_type(value: Any) -> Any:
    """Return the type of report that a word stands for."""
    return _TYPES.get(value, value) if isinstance(value, str) else value


def read_day(value: Any) -> Any:
    """Return 31 (of this month), 31/12 (of this year) or 31/12/2026 as an ISO date.

    A text with a time becomes one, also at midnight, which pydantic would take as the day. Raises
    ValueError for another text with a `T`, and for a time with a zone.
    """
    if not isinstance(value, str):
        return value
    if "T" in value:
        at = datetime.fromisoformat(value)
        if at.tzinfo is not None:
            raise ValueError("it has a zone")
        return at
    today = datetime.now(UTC)
    if _DAY_OF_MONTH.fullmatch(value):
        return f"{today:%Y-%m}-{value:>02}"
    found = _DAY.fullmatch(value)
    if found is None:
        return value
    return f"{found[3] or today.year}-{found[2]:>02}-{found[1] or '1':>02}"
