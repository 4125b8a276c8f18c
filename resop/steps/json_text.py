"""Parse JSON strictly, and make any text fit for JSON in UTF-8."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def read_json(text: str) -> Any:
    """Parse JSON text. Raises ValueError, which says what is wrong.

    NaN and Infinity, which Python reads but JSON does not define, become None.
    """
    try:
        return encodable(json.loads(text, parse_constant=lambda _: None, parse_float=_finite))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def encodable(value: Any) -> Any:
    r"""Return a JSON value that UTF-8 can carry: lone surrogates (\ud83d) are replaced."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(LONE_SURROGATE.sub("\ufffd", text)) if LONE_SURROGATE.search(text) else value


def is_short(value: Any, limit: int) -> bool:
    """Return True if a JSON value has at most `limit` characters and members; stops beyond."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            limit -= len(value)
        elif isinstance(value, Mapping):
            limit -= len(value)
            if limit >= 0:
                pending += [*value, *value.values()]
        elif isinstance(value, list | tuple):
            limit -= len(value)
            if limit >= 0:
                pending += value
        if limit < 0:
            return False
    return True


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None
