"""Metrics of a multiclass problem, from its state: SageMaker's names, in SageMaker's order."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from airflow_mq_provider.quality.states import TALLIES, Metric, MulticlassState, metrics_of_tallies

FULL_MATRIX_CLASSES: Final = 100

_BETAS: Final = {"weighted_f0_5": 0.5, "weighted_f1": 1.0, "weighted_f2": 2.0}


def metrics(state: MulticlassState) -> dict[str, Metric]:
    """Every metric of the state: means of per-class values, weighted by how often each class actually occurs.

    A class that occurs and is never predicted has a precision of 0.0 in that mean, as in scikit-learn with
    ``zero_division=0``: its rows were all missed. Everything is NaN without records.
    """
    return metrics_of_tallies([_values(*class_counts(state, tally)) for tally in range(TALLIES)], state.records)


def class_counts(
    state: MulticlassState, tally: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Three counts of each class, int64[K]: rows that are of it, that were predicted as it, and both (TP)."""
    size = len(state.classes)
    actual, predicted, counts = state.actual, state.predicted, state.counts[tally]
    right = actual == predicted
    return (
        _summed(actual, counts, size),
        _summed(predicted, counts, size),
        _summed(actual[right], counts[right], size),
    )


def confusion_matrix(state: MulticlassState) -> dict[str, dict[str, int]]:
    """``{actual: {predicted: rows}}``, classes sorted as text.

    Every class has a row. Up to 100 classes every row has every column; of more, cells without rows are left out, for
    a document of thousands of classes would be a list of zeros.
    """
    columns = state.classes if len(state.classes) <= FULL_MATRIX_CLASSES else ()
    matrix = {actual: dict.fromkeys(columns, 0) for actual in state.classes}
    for actual, predicted, rows in zip(
        state.actual.tolist(), state.predicted.tolist(), state.counts[0].tolist(), strict=True
    ):
        matrix[state.classes[actual]][state.classes[predicted]] = rows
    return matrix


def _summed(codes: NDArray[np.int64], counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    total = np.zeros(size, dtype=np.int64)
    np.add.at(total, codes, counts)
    return total


def _values(support: NDArray[np.int64], predicted: NDArray[np.int64], right: NDArray[np.int64]) -> dict[str, float]:
    records = int(support.sum())
    names = ("accuracy", "weighted_recall", "weighted_precision", *_BETAS)
    if records == 0:
        return dict.fromkeys((*names, *(f"{name}_best_constant_classifier" for name in names)), math.nan)
    accuracy = int(right.sum()) / records
    # weights cancel the denominators of recall: its weighted mean is the accuracy
    values = {
        "accuracy": accuracy,
        "weighted_recall": accuracy,
        "weighted_precision": _weighted(support, right / np.maximum(predicted, 1), records),
    }
    for name, beta in _BETAS.items():
        weight = beta * beta
        wanted = weight * support + predicted  # of each class: (1 + weight) TP + weight FN + FP
        values[name] = _weighted(support, (1.0 + weight) * right / np.maximum(wanted, weight), records)
    majority = int(support.max())
    share = majority / records
    values["accuracy_best_constant_classifier"] = share
    values["weighted_recall_best_constant_classifier"] = share
    values["weighted_precision_best_constant_classifier"] = share * share
    for name, beta in _BETAS.items():
        weight = beta * beta
        score = (1.0 + weight) * majority / (weight * majority + records)
        values[f"{name}_best_constant_classifier"] = share * score
    return values


def _weighted(support: NDArray[np.int64], values: NDArray[np.float64], records: int) -> float:
    # summed exactly, so that no order of classes and no processor changes a digit
    return math.fsum((support * values).tolist()) / records
