"""The table: its rows, printed one by one and written as JSON.

A row is a contest's summary (bench/contest.py), or a fact: figures with no other way beside them.
"""

from __future__ import annotations

import json
import os
import platform
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.load import Measured

Row = Mapping[str, Any]


def fact(work: str, goal: str, figures: Mapping[str, float]) -> Row:
    """A row of figures, each by its unit and what it is; printed."""
    rounded = {name: round(value, 2) for name, value in figures.items()}
    told = "; ".join(f"{name} {value:g}" for name, value in rounded.items())
    print(f"\n{work}   (goal: {goal})")
    print(textwrap.fill(told, 100, initial_indent="  ", subsequent_indent="  "), flush=True)
    return {"work": work, "goal": goal, "figures": rounded}


def times(measured: Measured, of: str = "") -> dict[str, float]:
    """Median and p99 of calls, as facts have them."""
    return {f"{of}p{part} ms": measured.percentile(part) for part in (50, 99)}


def write(file: Path, rounds: int, rows: Sequence[Row]) -> None:
    """All rows, with when and where they were taken."""
    made = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "rounds": rounds,
        "rows": rows,
    }
    file.write_text(json.dumps(made, indent=1) + "\n")
