"""Regression metrics: scikit-learn's, and the edges by hand."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_mq_provider.quality import regression
from airflow_mq_provider.quality.states import REGRESSION, SAMPLES, MergedRows, RegressionState, sample_flags, state_of


def counted(actual: Any, predicted: Any, flags: Any = None) -> RegressionState:
    state = state_of(
        MergedRows(
            REGRESSION,
            np.zeros(len(actual), dtype=np.uint8) if flags is None else flags,
            np.asarray(actual, dtype=np.float64),
            np.asarray(predicted, dtype=np.float64),
        )
    )
    assert isinstance(state, RegressionState)
    return state


def values(state: RegressionState) -> dict[str, float]:
    return {name: metric.value for name, metric in regression.metrics(state).items()}


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (1e6, 1.0), (0.0, 1e-3), (-1e9, 1e3)])
def test_scikit_learn_agrees(offset, scale):
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    actual = offset + scale * rng.normal(size=1000)
    predicted = actual + scale * rng.normal(0.1, 0.5, size=1000)
    flags = sample_flags(rng.integers(0, 2**64, (1000, 2), dtype=np.uint64))
    computed = regression.metrics(counted(actual, predicted, flags))

    def expected(a: Any, p: Any) -> dict[str, float]:
        mse = sk.mean_squared_error(a, p)
        return {"mae": sk.mean_absolute_error(a, p), "mse": mse, "rmse": math.sqrt(mse), "r2": sk.r2_score(a, p)}

    whole = expected(actual, predicted)
    assert list(computed) == list(whole)
    assert whole == pytest.approx({name: metric.value for name, metric in computed.items()}, rel=1e-12)
    inside = [(flags >> sample & 1).astype(bool) for sample in range(SAMPLES)]
    samples = [expected(actual[rows], predicted[rows]) for rows in inside]
    spreads = {name: float(np.std([sample[name] for sample in samples])) for name in whole}
    assert spreads == pytest.approx({name: metric.standard_deviation for name, metric in computed.items()}, rel=1e-6)


def test_a_prediction_worse_than_the_mean_has_a_negative_r2():
    assert values(counted([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]))["r2"] == -3.0


def test_small_targets_are_judged_by_their_own_size():
    """No absolute tolerance: targets around 0.001, predicted ten times too high, are a bad fit."""
    assert values(counted([0.001, 0.002], [0.01, 0.02]))["r2"] < -100


@pytest.mark.parametrize("actual", [[5.0], [0.1] * 1001])
def test_without_variance_r2_is_undefined_and_the_errors_are_not(actual):
    """0.1 summed and divided is not 0.1: what forgot that would report a large negative r2."""
    computed = values(counted(actual, [1.0] * len(actual)))
    assert math.isnan(computed.pop("r2"))
    assert all(math.isfinite(value) for value in computed.values())


def test_values_far_from_zero_lose_no_deviation():
    offset, values_near = 1e15, np.arange(8.0)  # the squared deviations are 42, those of the errors 2
    predicted = offset + values_near
    predicted[:2] += 1
    state = counted(offset + values_near, predicted)
    assert values(state + state)["r2"] == 1 - 2 / 42


def nearest(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


@given(st.lists(st.tuples(*[st.floats(-1e3, 1e3)] * 2), min_size=1, max_size=30))
@example([(0.0, 0.0), (1e-195, 1.0)])  # r2 is about -1e390
def test_a_metric_is_the_float_next_to_the_true_value(rows):
    actual, predicted = zip(*rows, strict=True)
    errors = [Fraction(p - a) for a, p in rows]
    mean = sum(map(Fraction, actual), Fraction()) / len(rows)
    squared = sum((e * e for e in errors), Fraction())
    spread = sum(((Fraction(a) - mean) ** 2 for a in actual), Fraction())
    assert values(counted(actual, predicted)) == pytest.approx(
        {
            "mae": float(sum(map(abs, errors)) / len(rows)),
            "mse": float(squared / len(rows)),
            "rmse": math.sqrt(squared / len(rows)),
            "r2": nearest(1 - squared / spread) if spread else math.nan,
        },
        rel=0,
        abs=0,
        nan_ok=True,
    )


def test_without_records_everything_is_undefined():
    assert all(math.isnan(value) for value in values(counted([], [])).values())


def test_values_too_large_to_be_squared_do_not_make_a_model_perfect():
    computed = values(counted([-1e200, 1e200, 0.0], [0.0, 0.0, 1.0]))
    assert computed["r2"] == 0.0
    assert (computed["mse"], computed["rmse"]) == (math.inf, math.inf)
