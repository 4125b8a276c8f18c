"""Parse JSON strictly, and make any text fit for JSON in UTF-8."""

from __future__ import annotations

import json
import math
import re
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


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None
