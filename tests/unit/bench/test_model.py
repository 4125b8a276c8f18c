"""The model of bench/model.py finds what a curve was made of."""

import pytest

from bench.model import fitted, model

CALLERS = (1, 8, 32, 100, 500)


def test_what_a_curve_was_made_of_is_found() -> None:
    rates = {n: n / (0.017 + 0.003 * n) for n in CALLERS}
    assert fitted(rates) == pytest.approx((0.017, 0.003))
    figures = model(rates)["figures"]
    assert figures["most answers per s"] == pytest.approx(333.33)
    assert figures["worst off by %"] == pytest.approx(0, abs=0.01)


def test_what_lies_beside_the_curve_is_told() -> None:
    rates = {n: n / (0.017 + 0.003 * n) for n in CALLERS} | {32: 32 / 0.2}
    assert 20 < model(rates)["figures"]["worst off by %"] < 50
