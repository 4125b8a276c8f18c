"""Days and times of reports: a time is a time also at midnight."""

from __future__ import annotations

from datetime import date, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from operators.slurm.usage.sreport import ReportTime

TIMES: TypeAdapter[date | datetime] = TypeAdapter(ReportTime)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-12-01", date(2026, 12, 1)),
        ("31/12/2026", date(2026, 12, 31)),
        ("2026-12-01T00:00:00", datetime(2026, 12, 1)),
        ("2026-12-01T00:00", datetime(2026, 12, 1)),
        ("2026-12-01T12:00", datetime(2026, 12, 1, 12)),
    ],
)
def test_time_of_day_is_never_lost(text: str, time: date) -> None:
    found = TIMES.validate_python(text)
    assert (type(found), found) == (type(time), time)


@pytest.mark.parametrize("text", ["2026-12-01T00:00:00Z", "2026-12-01T12:00+01:00", "2026-12-01Tx"])
def test_zone_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TIMES.validate_python(text)
