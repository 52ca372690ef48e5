"""Metrics of a regression problem, from its state: SageMaker's names, in SageMaker's order."""

from __future__ import annotations

import math

from airflow_mq_provider.quality.states import TALLIES, Metric, RegressionState, metrics_of_tallies


def metrics(state: RegressionState) -> dict[str, Metric]:
    """Every metric of the state. All are NaN without records; ``r2`` also where all actual values are equal.

    Values too large to be squared make ``mse`` and ``rmse`` infinite, and ``r2`` NaN.
    """
    columns = (state.n, state.m2, state.abs_error, state.squared_error)
    tallies = [_values(*(column[tally].item() for column in columns)) for tally in range(TALLIES)]
    return metrics_of_tallies(tallies, state.records)


def _values(n: int, m2: float, abs_error: float, squared_error: float) -> dict[str, float]:
    if n == 0:
        return dict.fromkeys(("mae", "mse", "rmse", "r2"), math.nan)
    mse = squared_error / n
    return {
        "mae": abs_error / n,
        "mse": mse,
        "rmse": math.sqrt(mse),
        # deviations too large to be squared are no reason to call a model perfect
        "r2": 1.0 - squared_error / m2 if 0.0 < m2 < math.inf else math.nan,
    }
