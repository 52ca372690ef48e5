"""Metrics of a regression problem, from its state: SageMaker's names, in SageMaker's order."""

from __future__ import annotations

import math

from airflow_mq_provider.quality.states import Metric, RegressionState, metrics_of_tallies
from airflow_mq_provider.quality.sums import STEP


def metrics(state: RegressionState) -> dict[str, Metric]:
    """Every metric of the state. All are NaN without records; ``r2`` also where all actual values are equal.

    Each is divided once, of exact sums: it is the float next to the true value, and infinite where that is more than a float
    can hold. ``rmse`` is so wherever ``mse`` is.
    """
    columns = (state.n, state.actual, state.actual_squared, state.abs_error, state.squared_error)
    return metrics_of_tallies([_values(*sums) for sums in zip(*columns, strict=True)], state.records)


def _values(n: int, actual: int, actual_squared: int, abs_error: int, squared_error: int) -> dict[str, float]:
    if n == 0:
        return dict.fromkeys(("mae", "mse", "rmse", "r2"), math.nan)
    mse = _ratio(squared_error, n << 2 * STEP)
    deviations = (
        n * actual_squared - actual * actual
    )  # n times the squared deviations from the mean, which loses nothing
    return {
        "mae": _ratio(abs_error, n << STEP),
        "mse": mse,
        "rmse": math.sqrt(mse),
        "r2": _ratio(deviations - n * squared_error, deviations) if deviations else math.nan,
    }


def _ratio(above: int, below: int) -> float:
    try:
        return above / below
    except OverflowError:
        return math.inf if above > 0 else -math.inf
