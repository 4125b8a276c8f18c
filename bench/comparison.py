"""Comparisons: resop and its baselines do the same work in turn; ratios are formed per round."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.load import Measurement
from bench.table import Row

Benchmark = Callable[[], Awaitable[Measurement]]


@dataclass(slots=True)
class Comparison:
    """One row of the table: resop beside its baselines."""

    work: str
    goal: str
    metric: Literal["p50", "rate"]
    """The figure to compare: the median latency of a call, or good answers per second."""
    resop: Benchmark
    baselines: Mapping[str, Benchmark]
    measurements: dict[str, list[Measurement]] = field(default_factory=dict)
    """One measurement per round, by name of the benchmark."""

    async def run_round(self) -> None:
        """Run each benchmark once."""
        for name, benchmark in {"resop": self.resop, **self.baselines}.items():
            self.measurements.setdefault(name, []).append(await benchmark())

    def summary(self) -> dict[str, Any]:
        """Return medians over the rounds, and resop's ratio to each baseline with its spread."""
        return {
            "work": self.work,
            "goal": self.goal,
            "results": {name: _figures(rounds) for name, rounds in self.measurements.items()},
            "ratio_of": self.metric,
            "ratios": {name: self._ratio(self.measurements[name]) for name in self.baselines},
        }

    def _ratio(self, baseline: list[Measurement]) -> dict[str, float] | None:
        """Compute resop's ratio to a baseline; None if either has a round without good answers."""
        pairs = list(zip(self.measurements["resop"], baseline, strict=True))
        if any(not each.latencies for pair in pairs for each in pair):
            return None
        ratios = [self._value(resop) / self._value(other) for resop, other in pairs]
        return {
            "median": round(statistics.median(ratios), 2),
            "min": round(min(ratios), 2),
            "max": round(max(ratios), 2),
        }

    def _value(self, measurement: Measurement) -> float:
        return measurement.percentile(50) if self.metric == "p50" else measurement.rate


def _figures(rounds: list[Measurement]) -> dict[str, float]:
    def median(values: list[float]) -> float:
        return round(statistics.median(values), 2)

    return {
        "per_s": median([each.rate for each in rounds]),
        "p50_ms": median([each.percentile(50) for each in rounds]),
        "p99_ms": median([each.percentile(99) for each in rounds]),
        "failed": sum(each.failed for each in rounds),
    }


async def run_comparisons(comparisons: Sequence[Comparison], rounds: int) -> list[Row]:
    """Run all comparisons, round by round, then print and return their rows."""
    for _ in range(rounds):
        for comparison in comparisons:
            await comparison.run_round()
    rows: list[Row] = [comparison.summary() for comparison in comparisons]
    for row in rows:
        print_row(row)
    return rows


def print_row(summary: Row) -> None:
    """Print the row of a comparison, one line for each benchmark."""
    print(f"\n{summary['work']}   (goal: {summary['goal']})")
    for name, figures in summary["results"].items():
        line = (
            f"  {name:<28} {figures['per_s']:>8.4g}/s  p50 {figures['p50_ms']:>8.1f} ms  "
            f"p99 {figures['p99_ms']:>8.1f} ms  failed {figures['failed']}"
        )
        if ratio := summary["ratios"].get(name):
            line += "   resop's {ratio_of} to this {median:.2f} ({min:.2f}-{max:.2f})".format(
                ratio_of=summary["ratio_of"], **ratio
            )
        print(line, flush=True)
