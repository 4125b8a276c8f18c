"""What the curve of many callers follows: a request of N at once takes a fixed time, and N shares.

By Little's law N callers who each wait for their answer get N / t answers a second, where t is the
time of one. In t = fixed + N * share, `share` is what a request takes of whatever is used up first,
and 1 / share the most answers a second however many ask.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.table import Row, fact


def fitted(rates: Mapping[int, float]) -> tuple[float, float]:
    """Fixed part and share in seconds, from answers a second by the number of callers.

    Least squares of the relative error, so that few callers count as much as many.
    """
    times = {callers: callers / rate for callers, rate in rates.items()}
    # Of (fixed + callers * share) / time = 1 for each: the normal equations.
    a = sum(1 / time**2 for time in times.values())
    b = sum(callers / time**2 for callers, time in times.items())
    c = sum(callers**2 / time**2 for callers, time in times.items())
    p = sum(1 / time for time in times.values())
    q = sum(callers / time for callers, time in times.items())
    determinant = a * c - b * b
    return (p * c - q * b) / determinant, (a * q - b * p) / determinant


def model(rates: Mapping[int, float]) -> Row:
    """The row of a fit, with how far the worst of what was measured lies from it."""
    fixed, share = fitted(rates)
    off = [abs((fixed + n * share) * rate / n - 1) for n, rate in rates.items()]
    figures = {
        "fixed ms": fixed * 1e3,
        "share ms": share * 1e3,
        "most answers per s": 1 / share,
        "worst off by %": max(off) * 100,
    }
    return fact("a model of resop's: N callers wait fixed + N * share", "none", figures)
