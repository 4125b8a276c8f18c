"""Contests: several ways of the same work, in turn, round after round; ratios within a round."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.load import Measured
from bench.table import Row

Way = Callable[[], Awaitable[Measured]]


@dataclass(slots=True)
class Contest:
    """One row of the table: ours, and what it is compared with."""

    work: str
    goal: str
    by: Literal["p50", "rate"]
    """What is compared: the time of the median call, or good answers a second."""
    ours: Way
    others: Mapping[str, Way]
    taken: dict[str, list[Measured]] = field(default_factory=dict)

    async def round(self) -> None:
        """Measure each way once."""
        for name, way in {"resop": self.ours, **self.others}.items():
            self.taken.setdefault(name, []).append(await way())

    def summary(self) -> dict[str, Any]:
        """Medians over the rounds; for each other way the ratio of ours to it, with its spread."""
        return {
            "work": self.work,
            "goal": self.goal,
            "ways": {name: _figures(taken) for name, taken in self.taken.items()},
            "ratio_of": self.by,
            "ratios": {name: self._ratio(self.taken[name]) for name in self.others},
        }

    def _ratio(self, other: list[Measured]) -> dict[str, float] | None:
        """Of each round; None where a way had no good answer at all."""
        pairs = list(zip(self.taken["resop"], other, strict=True))
        if any(not each.good for pair in pairs for each in pair):
            return None
        found = [self._value(ours) / self._value(theirs) for ours, theirs in pairs]
        middle, least, most = statistics.median(found), min(found), max(found)
        return {"median": round(middle, 2), "min": round(least, 2), "max": round(most, 2)}

    def _value(self, measured: Measured) -> float:
        return measured.percentile(50) if self.by == "p50" else measured.rate


def _figures(taken: list[Measured]) -> dict[str, float]:
    def middle(values: list[float]) -> float:
        return round(statistics.median(values), 2)

    return {
        "per_s": middle([each.rate for each in taken]),
        "p50_ms": middle([each.percentile(50) for each in taken]),
        "p99_ms": middle([each.percentile(99) for each in taken]),
        "failed": sum(each.failed for each in taken),
    }


async def compete(contests: Sequence[Contest], rounds: int) -> list[Row]:
    """All contests, round after round; printed when all are done."""
    for _ in range(rounds):
        for contest in contests:
            await contest.round()
    rows: list[Row] = [contest.summary() for contest in contests]
    for row in rows:
        show(row)
    return rows


def show(summary: Row) -> None:
    """Print a row: a line for each way."""
    print(f"\n{summary['work']}   (goal: {summary['goal']})")
    for name, each in summary["ways"].items():
        line = (
            f"  {name:<28} {each['per_s']:>8.4g}/s  p50 {each['p50_ms']:>8.1f} ms  "
            f"p99 {each['p99_ms']:>8.1f} ms  failed {each['failed']}"
        )
        if ratio := summary["ratios"].get(name):
            line += "   {ratio_of} of resop to it {median:.2f} ({min:.2f}-{max:.2f})".format(
                ratio_of=summary["ratio_of"], **ratio
            )
        print(line, flush=True)
