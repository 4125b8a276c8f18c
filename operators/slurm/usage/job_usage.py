"""Add up what jobs used in each of several periods, from the accounting database's jobs."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence

from operators.slurm import listings, parsing
from operators.slurm.usage.usage_periods import TimeSpan
from resop import Shell

_COLUMNS = {
    "id": "JobID",
    "partition": "Partition",
    "started": "Start",
    "ended": "End",
    "elapsed": "ElapsedRaw",
    "resources": "AllocTRES",
}
_MEBIBYTE = 1 << 20

SecondsByPeriod = list[float]
"""Resource-seconds by period; MiB-seconds of memory."""


def usage_by_partition(
    shell: Shell, spans: Sequence[TimeSpan], resources: Sequence[str], *filters: str
) -> dict[tuple[str, str], SecondsByPeriod]:
    """Return what jobs used by partition and resource, as far as the site shows them.

    Each run of a job that was requeued counts.
    """
    span = (f"--starttime=uts{spans[0][0]}", f"--endtime=uts{spans[-1][1]}")
    # With a span, --state selects the jobs that had the state at any time in it; sacct(1).
    which = ("--allocations", "--duplicates", "--state=RUNNING")
    used: dict[tuple[str, str], SecondsByPeriod] = defaultdict(lambda: [0.0] * len(spans))
    for row in listings.sacct(shell, _COLUMNS, *which, *span, *filters):
        counts = parsing.parse_tres(row["resources"])
        for period, seconds in _seconds(row, spans):
            for resource in resources:
                if count := counts.get(resource, 0):
                    unit = _MEBIBYTE if resource == "mem" else 1
                    used[row["partition"], resource][period] += seconds * count / unit
    return dict(used)


def _seconds(row: listings.TableRow, spans: Sequence[TimeSpan]) -> Iterator[tuple[int, float]]:
    """Yield how long a job ran in each period.

    When it was suspended is not known: what it ran is spread evenly from its start to its end.
    """
    start, elapsed = parsing.parse_int(row["started"]), parsing.parse_int(row["elapsed"])
    if not start or not elapsed:
        return
    end = parsing.parse_int(row["ended"]) or start + elapsed
    share = min(1.0, elapsed / (end - start)) if end > start else 0.0
    first = max(0, bisect_right(spans, (start, start)) - 1)
    for period in range(first, len(spans)):
        begins, ends = spans[period]
        if begins >= end:
            return
        if (seconds := min(end, ends) - max(start, begins)) > 0:
            yield period, seconds * share
