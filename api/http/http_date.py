"""Read dates in header fields: the three formats of RFC 9110, section 5.6.7."""

from __future__ import annotations

import calendar
import time

_TWO_DIGIT_YEAR = "%A, %d-%b-%y %H:%M:%S GMT"
_FORMATS = ("%a, %d %b %Y %H:%M:%S GMT", _TWO_DIGIT_YEAR, "%a %b %d %H:%M:%S %Y")
MAX_DATE_CHARACTERS = 64
_FUTURE_YEARS = 50


def read_http_date(text: str) -> int | None:
    """Return a date in seconds since 1970; None for a text that is no HTTP date."""
    if len(text) > MAX_DATE_CHARACTERS or not text.isascii():
        return None
    for form in _FORMATS:
        try:
            found = time.strptime(text, form)
        except ValueError:
            continue
        year = found.tm_year
        if form == _TWO_DIGIT_YEAR:
            year = _recent(year % 100)
        return calendar.timegm((year, *found[1:6]))
    return None


def _recent(digits: int) -> int:
    """Return the year of two digits that is at most 50 years ahead, as the RFC demands."""
    this_year = time.gmtime().tm_year
    year = this_year - this_year % 100 + digits
    return year - 100 if year > this_year + _FUTURE_YEARS else year
