"""Multiclass metrics: AWS's documented figures, scikit-learn's, and the edges by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from airflow_mq_provider.quality import multiclass
from airflow_mq_provider.quality.states import MULTICLASS, SAMPLES, MergedRows, MulticlassState, sample_flags, state_of


def counted(actual: Any, predicted: Any, classes: tuple[str, ...], flags: Any = None) -> MulticlassState:
    state = state_of(
        MergedRows(
            MULTICLASS,
            np.zeros(len(actual), dtype=np.uint8) if flags is None else flags,
            np.asarray(actual, dtype=np.int32),
            np.asarray(predicted, dtype=np.int32),
            classes=classes,
        )
    )
    assert isinstance(state, MulticlassState)
    return state


def values(state: MulticlassState) -> dict[str, float]:
    return {name: metric.value for name, metric in multiclass.metrics(state).items()}


def of_matrix(matrix: list[list[int]]) -> MulticlassState:
    cells = [(a, p) for a, row in enumerate(matrix) for p, rows in enumerate(row) for _ in range(rows)]
    actual, predicted = zip(*cells, strict=True)
    return counted(actual, predicted, tuple(str(code) for code in range(len(matrix))))


def test_metrics_come_in_sagemakers_order():
    assert list(values(of_matrix([[1, 0], [0, 1]]))) == [
        "accuracy",
        "weighted_recall",
        "weighted_precision",
        "weighted_f0_5",
        "weighted_f1",
        "weighted_f2",
        "accuracy_best_constant_classifier",
        "weighted_recall_best_constant_classifier",
        "weighted_precision_best_constant_classifier",
        "weighted_f0_5_best_constant_classifier",
        "weighted_f1_best_constant_classifier",
        "weighted_f2_best_constant_classifier",
    ]


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_scikit_learn_agrees(classes):
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(classes)
    actual = np.minimum(rng.geometric(0.2, 3000), classes) - 1
    predicted = np.where(rng.random(3000) < 0.6, actual, rng.integers(0, max(classes - 1, 1), 3000))
    flags = sample_flags(rng.integers(0, 2**64, (3000, 2), dtype=np.uint64))
    computed = multiclass.metrics(counted(actual, predicted, tuple(f"{code:02}" for code in range(classes)), flags))

    def expected(a: Any, p: Any) -> dict[str, float]:
        given = {"average": "weighted", "zero_division": 0}
        return {
            "accuracy": sk.accuracy_score(a, p),
            "weighted_recall": sk.recall_score(a, p, **given),
            "weighted_precision": sk.precision_score(a, p, **given),
            "weighted_f0_5": sk.fbeta_score(a, p, beta=0.5, **given),
            "weighted_f1": sk.f1_score(a, p, **given),
            "weighted_f2": sk.fbeta_score(a, p, beta=2, **given),
        }

    def constant(a: Any) -> dict[str, float]:
        said = np.full_like(a, np.bincount(a).argmax())
        return {f"{name}_best_constant_classifier": value for name, value in expected(a, said).items()}

    whole = {**expected(actual, predicted), **constant(actual)}
    assert whole == pytest.approx({name: metric.value for name, metric in computed.items()}, abs=1e-12)
    inside = [(flags >> sample & 1).astype(bool) for sample in range(SAMPLES)]
    samples = [{**expected(actual[rows], predicted[rows]), **constant(actual[rows])} for rows in inside]
    spreads = {name: float(np.std([sample[name] for sample in samples])) for name in whole}
    assert spreads == pytest.approx({name: metric.standard_deviation for name, metric in computed.items()}, abs=1e-12)


def test_a_class_that_is_never_predicted_has_a_precision_of_zero_in_the_mean():
    """Two rows of class 0 right, one of class 1 missed: (2 × 2/3 + 1 × 0) / 3, and never 0.0 for everything."""
    computed = values(of_matrix([[2, 0], [1, 0]]))
    assert computed["weighted_precision"] == pytest.approx(4 / 9, abs=1e-15)
    assert computed["weighted_recall"] == 2 / 3


def test_a_class_that_only_was_predicted_weighs_nothing():
    computed = values(of_matrix([[2, 1], [0, 0]]))
    assert computed["weighted_precision"] == 1.0
    assert computed["accuracy"] == 2 / 3


def test_the_best_constant_classifier_says_the_majority_class():
    """Shares 3/4 and 1/4: the arithmetic of AWS's documented sample, applied to the majority."""
    computed = values(of_matrix([[1, 2], [1, 0]]))
    assert computed["accuracy_best_constant_classifier"] == 0.75
    assert computed["weighted_recall_best_constant_classifier"] == 0.75
    assert computed["weighted_precision_best_constant_classifier"] == 0.75**2
    assert computed["weighted_f1_best_constant_classifier"] == pytest.approx(0.75 * 1.5 / 1.75, abs=1e-15)


def test_without_records_everything_is_undefined():
    assert all(math.isnan(value) for value in values(counted([], [], ())).values())


def test_the_matrix_has_every_class_in_rows_and_columns():
    assert multiclass.confusion_matrix(counted([0, 0], [0, 1], ("cat", "ant"))) == {
        "ant": {"ant": 0, "cat": 0},
        "cat": {"ant": 1, "cat": 1},
    }


def test_the_matrix_of_very_many_classes_leaves_cells_without_rows_out():
    names = tuple(f"{code:03}" for code in range(multiclass.FULL_MATRIX_CLASSES + 1))
    codes = np.arange(len(names))
    matrix = multiclass.confusion_matrix(counted(codes, np.zeros(len(names), dtype=int), names))
    assert matrix == {name: {"000": 1} for name in names}


def test_the_matrix_of_many_classes_is_full():
    names = tuple(f"{code:03}" for code in range(multiclass.FULL_MATRIX_CLASSES))
    codes = np.arange(len(names))
    matrix = multiclass.confusion_matrix(counted(codes, codes, names))
    assert {len(row) for row in matrix.values()} == {len(names)}
