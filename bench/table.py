"""The table of results: its rows are printed one by one and written as JSON.

A row is the summary of a comparison (bench/comparison.py), or a set of figures without baseline.
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

from bench.load import Measurement

Row = Mapping[str, Any]


def figures_row(work: str, goal: str, figures: Mapping[str, float]) -> Row:
    """Print and return a row of figures, by name and unit."""
    rounded = {name: round(value, 2) for name, value in figures.items()}
    text = "; ".join(f"{name} {value:g}" for name, value in rounded.items())
    print(f"\n{work}   (goal: {goal})")
    print(textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="  "), flush=True)
    return {"work": work, "goal": goal, "figures": rounded}


def percentile_figures(measurement: Measurement, prefix: str = "") -> dict[str, float]:
    """Return median and p99 of a measurement as figures of a row."""
    return {f"{prefix}p{percent} ms": measurement.percentile(percent) for percent in (50, 99)}


def write_json(file: Path, rounds: int, rows: Sequence[Row]) -> None:
    """Write all rows as JSON, with the date and the machine."""
    content = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "rounds": rounds,
        "rows": rows,
    }
    file.write_text(json.dumps(content, indent=1) + "\n")
