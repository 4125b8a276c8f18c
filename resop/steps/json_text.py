"""Read JSON strictly, and make any text fit for it."""

from __future__ import annotations

import json
import math
import re
from typing import Any

LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def read_json(text: str) -> Any:
    """Parse what a command printed; ValueError says what is wrong with it.

    What Python reads and JSON does not know (NaN, Infinity) becomes None.
    """
    try:
        return encodable(json.loads(text, parse_constant=lambda _: None, parse_float=_finite))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def encodable(value: Any) -> Any:
    r"""A JSON value that UTF-8 can carry: what stands as half a character (\ud83d) is replaced."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(LONE_SURROGATE.sub("\ufffd", text)) if LONE_SURROGATE.search(text) else value


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None
