"""Say in one word what was done about a person in several systems."""

from __future__ import annotations

from collections.abc import Collection

from resop import Outcome


def overall(outcomes: Collection[Outcome]) -> Outcome:
    """Return created or unchanged if that is the outcome everywhere, else changed."""
    kinds = {*outcomes}
    return kinds.pop() if len(kinds) == 1 else "changed"
