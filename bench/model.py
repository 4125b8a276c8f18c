"""A latency model of many callers: a request takes a fixed time, plus a share for each caller.

By Little's law, N callers who each wait for their answer get N / t answers per second, where t is
the time of one answer. In t = fixed + N * share, `share` is the time that a request takes of the
scarcest resource, and 1 / share is the maximum of answers per second for any number of callers.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.table import Row, figures_row


def fit_model(rates: Mapping[int, float]) -> tuple[float, float]:
    """Fit the fixed time and the share, in seconds, to answers per second by number of callers.

    Minimizes the squares of the relative error, so that few callers count as much as many.
    """
    times = {callers: callers / rate for callers, rate in rates.items()}
    # The normal equations of (fixed + callers * share) / time = 1 for each point.
    a = sum(1 / time**2 for time in times.values())
    b = sum(callers / time**2 for callers, time in times.items())
    c = sum(callers**2 / time**2 for callers, time in times.items())
    p = sum(1 / time for time in times.values())
    q = sum(callers / time for callers, time in times.items())
    determinant = a * c - b * b
    return (p * c - q * b) / determinant, (a * q - b * p) / determinant


def model_row(rates: Mapping[int, float]) -> Row:
    """Fit the model and return its row, with the largest relative error of a measured point."""
    fixed, share = fit_model(rates)
    errors = [abs((fixed + n * share) * rate / n - 1) for n, rate in rates.items()]
    figures = {
        "fixed ms": fixed * 1e3,
        "share ms": share * 1e3,
        "maximum answers per s": 1 / share,
        "largest error in %": max(errors) * 100,
    }
    return figures_row("latency model: N callers wait fixed + N * share", "none", figures)
