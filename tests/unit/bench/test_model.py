"""Test the latency model of bench/model.py."""

import pytest

from bench.model import fit_model, model_row

CALLERS = (1, 8, 32, 100, 500)


def test_model_finds_fixed_time_and_share_of_an_exact_curve() -> None:
    rates = {n: n / (0.017 + 0.003 * n) for n in CALLERS}
    assert fit_model(rates) == pytest.approx((0.017, 0.003))
    figures = model_row(rates)["figures"]
    assert figures["maximum answers per s"] == pytest.approx(333.33)
    assert figures["largest error in %"] == pytest.approx(0, abs=0.01)


def test_model_reports_error_of_a_point_beside_the_curve() -> None:
    rates = {n: n / (0.017 + 0.003 * n) for n in CALLERS} | {32: 32 / 0.2}
    assert 20 < model_row(rates)["figures"]["largest error in %"] < 50
