"""The registry: what each metric is called, which way is better, and when it has no value.

The order of `METRICS` is that of SageMaker's ``statistics.json``, and of everything that lists metrics here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from airflow_mq_provider.quality import binary, multiclass, regression
from airflow_mq_provider.quality.states import (
    BINARY,
    MULTICLASS,
    REGRESSION,
    BinaryState,
    Metric,
    MulticlassState,
    State,
)


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What is known of one metric of one problem type.

    Attributes:
        name: SageMaker's, as in ``statistics.json``.
        problem_type: SageMaker's word.
        higher_is_better: None where it is neither: the best constant classifier is a mark to compare with.
        constrained: whether suggested constraints hold it, as SageMaker's do.
        undefined: when its value is NaN.
        formula: how it is computed; TP, FN, FP and TN are the counts of the confusion matrix, n the rows.
    """

    name: str
    problem_type: str
    higher_is_better: bool | None
    constrained: bool
    undefined: str
    formula: str


_NO_ROWS = "there are no rows"
_NO_POSITIVE = "no row is positive (TP + FN = 0)"
_NO_NEGATIVE = "no row is negative (FP + TN = 0)"
_NOTHING_POSITIVE = "no row is positive and none was predicted so (TP + FP + FN = 0)"


def _binary(name: str, formula: str, undefined: str, *, higher_is_better: bool | None = True) -> MetricInfo:
    return MetricInfo(name, BINARY, higher_is_better, higher_is_better is not None, undefined, formula)


def _multiclass(name: str, formula: str, *, higher_is_better: bool | None = True) -> MetricInfo:
    return MetricInfo(name, MULTICLASS, higher_is_better, higher_is_better is not None, _NO_ROWS, formula)


def _regression(name: str, formula: str, undefined: str, *, higher_is_better: bool) -> MetricInfo:
    return MetricInfo(name, REGRESSION, higher_is_better, True, undefined, formula)


METRICS: Final[tuple[MetricInfo, ...]] = (
    _binary("recall", "TP / (TP + FN)", _NO_POSITIVE),
    _binary("precision", "TP / (TP + FP)", "no row was predicted positive (TP + FP = 0)"),
    _binary("accuracy", "(TP + TN) / n", _NO_ROWS),
    _binary("recall_best_constant_classifier", "`recall` of the constant classifier", _NO_ROWS, higher_is_better=None),
    _binary(
        "precision_best_constant_classifier", "`precision` of the constant classifier", _NO_ROWS, higher_is_better=None
    ),
    _binary(
        "accuracy_best_constant_classifier", "`accuracy` of the constant classifier", _NO_ROWS, higher_is_better=None
    ),
    _binary("true_positive_rate", "TP / (TP + FN)", _NO_POSITIVE),
    _binary("true_negative_rate", "1 - FP / (FP + TN)", _NO_NEGATIVE),
    _binary("false_positive_rate", "FP / (FP + TN)", _NO_NEGATIVE, higher_is_better=False),
    _binary("false_negative_rate", "1 - TP / (TP + FN)", _NO_POSITIVE, higher_is_better=False),
    _binary(
        "auc",
        "(C + E / 2) / ((TP + FN) (FP + TN)), C being the pairs of a positive and a negative row in which the positive "
        "one has the higher probability and E those in which both have the same",
        "one of the classes does not occur; absent where no probability is captured",
    ),
    _binary("f0_5", "1.25 P R / (0.25 P + R), P being `precision` and R `recall`; 0 if TP = 0", _NOTHING_POSITIVE),
    _binary("f1", "2 P R / (P + R); 0 if TP = 0", _NOTHING_POSITIVE),
    _binary("f2", "5 P R / (4 P + R); 0 if TP = 0", _NOTHING_POSITIVE),
    _binary("f0_5_best_constant_classifier", "`f0_5` of the constant classifier", _NO_ROWS, higher_is_better=None),
    _binary("f1_best_constant_classifier", "`f1` of the constant classifier", _NO_ROWS, higher_is_better=None),
    _binary("f2_best_constant_classifier", "`f2` of the constant classifier", _NO_ROWS, higher_is_better=None),
    _multiclass("accuracy", "rows predicted right / n"),
    _multiclass("weighted_recall", "mean of TP_c / (TP_c + FN_c) over the classes c, weighted; equal to `accuracy`"),
    _multiclass("weighted_precision", "mean of TP_c / (TP_c + FP_c), weighted"),
    _multiclass("weighted_f0_5", "mean of 1.25 TP_c / (1.25 TP_c + 0.25 FN_c + FP_c), weighted"),
    _multiclass("weighted_f1", "mean of 2 TP_c / (2 TP_c + FN_c + FP_c), weighted"),
    _multiclass("weighted_f2", "mean of 5 TP_c / (5 TP_c + 4 FN_c + FP_c), weighted"),
    _multiclass("accuracy_best_constant_classifier", "p, the share of the majority class", higher_is_better=None),
    _multiclass("weighted_recall_best_constant_classifier", "p", higher_is_better=None),
    _multiclass("weighted_precision_best_constant_classifier", "p²", higher_is_better=None),
    _multiclass("weighted_f0_5_best_constant_classifier", "p × 1.25 p / (0.25 p + 1)", higher_is_better=None),
    _multiclass("weighted_f1_best_constant_classifier", "p × 2 p / (p + 1)", higher_is_better=None),
    _multiclass("weighted_f2_best_constant_classifier", "p × 5 p / (4 p + 1)", higher_is_better=None),
    _regression("mae", "Σ |predicted - actual| / n", _NO_ROWS, higher_is_better=False),
    _regression("mse", "Σ (predicted - actual)² / n", _NO_ROWS, higher_is_better=False),
    _regression("rmse", "√mse", _NO_ROWS, higher_is_better=False),
    _regression(
        "r2",
        "1 - Σ (predicted - actual)² / Σ (actual - mean)²",
        "all actual values are equal, as those of a single row are; there are no rows",
        higher_is_better=True,
    ),
)


HEADLINES: Final[dict[str, tuple[str, ...]]] = {
    BINARY: ("recall", "precision", "auc"),
    MULTICLASS: ("accuracy", "weighted_f1"),
    REGRESSION: ("rmse", "mae", "r2"),
}
"""The few metrics, by problem type, that tell most where there is no room for all: in a table's row, in an asset event.

Not the accuracy of a binary model: where one class is rare, a model that never finds it has a high one.
"""


def metrics_of(problem_type: str) -> dict[str, MetricInfo]:
    """The metrics of a problem type by name, in SageMaker's order."""
    return {info.name: info for info in METRICS if info.problem_type == problem_type}


def compute(state: State) -> dict[str, Metric]:
    """The metrics of a state, in SageMaker's order. ``auc`` is absent where there are no probabilities."""
    if isinstance(state, BinaryState):
        return binary.metrics(state)
    if isinstance(state, MulticlassState):
        return multiclass.metrics(state)
    return regression.metrics(state)


def violation_name(name: str) -> str:
    """The name that ``constraint_violations.json`` gives a metric: SageMaker writes the four rates in camelCase there."""
    if not name.endswith("_rate"):
        return name
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def block_name(problem_type: str, kind: str) -> str:
    """The key of a problem type's block in SageMaker's documents. ``kind`` is ``metrics`` or ``constraints``."""
    return f"{_BLOCKS[problem_type]}_{kind}"


_BLOCKS: Final = {
    BINARY: "binary_classification",
    MULTICLASS: "multiclass_classification",
    REGRESSION: "regression",
}


def nearest(name: str, names: Iterable[Any]) -> str:
    """`` (nearest: a, b)`` with up to three of ``names`` that resemble ``name``, or nothing."""
    found = difflib.get_close_matches(name, [str(known) for known in names], n=3, cutoff=0.5)
    return f" (nearest: {', '.join(found)})" if found else ""
