"""Two executions of one window, metric by metric: SageMaker's documents against ours, or any two.

What is noise is told by the standard deviations that the documents hold: each says how far a metric moves where a fifth
of the rows is left out at random. What SageMaker is known to write wrong, or otherwise, is named as its quirk and is no
difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from airflow_mq_provider.exceptions import DocumentError
from airflow_mq_provider.monitor import label_text
from airflow_mq_provider.quality import multiclass
from airflow_mq_provider.quality.documents import Statistics, json_number, read_statistics
from airflow_mq_provider.quality.metrics import metrics_of, violation_name
from airflow_mq_provider.quality.states import MULTICLASS, TALLIES, Metric, MulticlassState

SAME, NOISE, QUIRK, DIFFERENT = "same", "noise", "quirk", "different"

#: standard deviations within which two values are one; of two sides the greater one counts
NOISE_SDS: Final = 2.0
#: the share of the rows that a standard deviation's samples have: of counts further apart it tells nothing
SAMPLE_SHARE: Final = 0.8
#: what two orders of one sum can differ by
_RELATIVE, _ABSOLUTE = 1e-9, 1e-12

ITEM_COUNT, CONFUSION_MATRIX = "item_count", "confusion_matrix"
_CONSTANT: Final = "_best_constant_classifier"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that both sides say.

    Attributes:
        name: a metric, ``item_count`` or ``confusion_matrix``; of violations the constrained metric.
        a: what the first side says, None where it says nothing; undefined is NaN.
        b: what the second side says.
        standard_deviation: the greater of both sides'; None where there is none.
        verdict: ``same``, ``noise``, ``quirk`` or ``different``.
        note: why, where the verdict needs a reason; else empty.
    """

    name: str
    a: float | str | None
    b: float | str | None
    standard_deviation: float | None
    verdict: str
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The row ready for JSON."""
        return {
            "name": self.name,
            "a": _json(self.a),
            "b": _json(self.b),
            "standard_deviation": _json(self.standard_deviation),
            "verdict": self.verdict,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two executions side by side.

    Attributes:
        problem_type: of both.
        a: where the first documents come from.
        b: where the second ones come from.
        metrics: counts, confusion matrix, then metrics in SageMaker's order; only what one side has at least.
        violations: one row for each metric that a side reports; None where a side has no such document.
    """

    problem_type: str
    a: str
    b: str
    metrics: tuple[Row, ...]
    violations: tuple[Row, ...] | None

    @property
    def verdict(self) -> str:
        """``different`` if anything is, else ``noise`` if anything is, else ``same``: quirks are no difference."""
        found = {row.verdict for row in (*self.metrics, *(self.violations or ()))}
        return next((verdict for verdict in (DIFFERENT, NOISE) if verdict in found), SAME)

    def as_dict(self) -> dict[str, Any]:
        """The comparison ready for JSON."""
        return {
            "verdict": self.verdict,
            "problem_type": self.problem_type,
            "a": self.a,
            "b": self.b,
            "metrics": [row.as_dict() for row in self.metrics],
            "violations": None if self.violations is None else [row.as_dict() for row in self.violations],
        }


def compare(
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    *,
    a_violations: Mapping[str, Any] | None = None,
    b_violations: Mapping[str, Any] | None = None,
    a_source: str = "a",
    b_source: str = "b",
) -> Comparison:
    """Two ``statistics.json`` and, where both are given, the two ``constraint_violations.json`` beside them.

    Values are the same up to the order of floating-point sums; noise, where they lie within two standard deviations;
    else different. Below 200 rows there are no standard deviations, and nothing is noise. Which side is SageMaker's
    makes no difference.

    Raises:
        DocumentError: one of them is of another kind or of another problem type than the first.
    """
    first = read_statistics(a, a_source)
    second = read_statistics(b, b_source, first.problem_type)
    metrics = [row for name in metrics_of(first.problem_type) if (row := _metric(name, first, second)) is not None]
    rows = [*_counts(first, second), *_matrices(first, second, metrics), *metrics]
    violations = None
    if a_violations is not None and b_violations is not None:
        violations = tuple(
            _violations(
                _violated(a_violations, a_source), _violated(b_violations, b_source), metrics, first.problem_type
            )
        )
    return Comparison(first.problem_type, a_source, b_source, tuple(rows), violations)


def _counts(a: Statistics, b: Statistics) -> list[Row]:
    if a.item_count is None or b.item_count is None:
        return []
    fewer, more = sorted((a.item_count, b.item_count))
    if fewer == more:
        verdict, note = SAME, ""
    elif fewer >= SAMPLE_SHARE * more:
        verdict, note = NOISE, f"{more - fewer:,} rows more on one side; standard deviations speak to that"
    else:
        verdict, note = DIFFERENT, f"{more - fewer:,} rows more on one side: the two did not judge the same data"
    return [Row(ITEM_COUNT, a.item_count, b.item_count, None, verdict, note)]


def _metric(name: str, a: Statistics, b: Statistics) -> Row | None:
    first, second = a.metrics.get(name), b.metrics.get(name)
    if first is None and second is None:
        return None
    if first is None or second is None:
        there = first or second
        undefined = there is not None and math.isnan(there.value)
        note = "undefined: one side writes NaN, the other leaves it out" if undefined else "one side does not have it"
        verdict = QUIRK if undefined else DIFFERENT
        return Row(name, _value(first), _value(second), _sd(first, second), verdict, note)
    verdict, note = _judged(name, first, second, a, b)
    return Row(name, first.value, second.value, _sd(first, second), verdict, note)


def _judged(name: str, first: Metric, second: Metric, a: Statistics, b: Statistics) -> tuple[str, str]:
    if _equal(first.value, second.value):
        return SAME, ""
    for metric, other, side in ((first, second, a), (second, first, b)):
        if quirk := _quirk(name, metric.value, other.value, side):
            return quirk
    if math.isnan(first.value) or math.isnan(second.value):
        cells = _cells(a)
        if 0.0 in (first.value, second.value) and cells is not None and cells == _cells(b):
            return QUIRK, "undefined (0/0): one side writes NaN, the other 0.0, of the same confusion matrix"
        return DIFFERENT, "undefined on one side"
    deviation = _sd(first, second)
    if deviation is None:
        return DIFFERENT, "no standard deviation to measure it by, as below 200 rows"
    if deviation > 0 and abs(first.value - second.value) <= NOISE_SDS * deviation:
        return NOISE, ""
    return DIFFERENT, ""


def _quirk(name: str, value: float, other: float, side: Statistics) -> tuple[str, str] | None:
    """Whether a side's value is one that SageMaker is known to write wrong, or otherwise."""
    if side.problem_type == MULTICLASS and value == 0.0 and _all_zero(side):
        true = multiclass.metrics(_state(side)).get(name)
        if true is not None and true.value != 0.0:
            note = f"SageMaker writes 0.0 for all multiclass metrics; its confusion matrix gives {true.value:.6g}"
            return (QUIRK if _equal(true.value, other) else DIFFERENT), note
    if name.endswith(_CONSTANT) and _took_a_minority(side):
        return QUIRK, "SageMaker has been seen to take another class than the majority for the best constant classifier"
    if name == "auc" and value == 1.0 and _errs_both_ways(side):
        return QUIRK, "early images of SageMaker's wrote an auc of 1.0, which this confusion matrix contradicts"
    return None


def _all_zero(side: Statistics) -> bool:
    """Whether every metric is 0.0 although rows were predicted right."""
    right = sum(row.get(actual, 0) for actual, row in (side.confusion_matrix or {}).items())
    return right > 0 and all(metric.value == 0.0 for metric in side.metrics.values())


def _state(side: Statistics) -> MulticlassState:
    """The confusion matrix as counts, the same in each sample: for values, not for their standard deviations."""
    matrix = side.confusion_matrix or {}
    classes = tuple(sorted({*matrix, *(predicted for row in matrix.values() for predicted in row)}))
    index = {name: i for i, name in enumerate(classes)}
    cells = sorted(
        (index[actual] * len(classes) + index[predicted], rows)
        for actual, row in matrix.items()
        for predicted, rows in row.items()
        if rows
    )
    pairs = np.array([pair for pair, _ in cells], np.int64)
    counts = np.array([[rows for _, rows in cells]] * TALLIES, np.int64)
    return MulticlassState(classes, pairs, counts)


def _took_a_minority(side: Statistics) -> bool:
    """Whether a side's constant classifier is right as often as another class than its majority occurs."""
    accuracy = side.metrics.get(f"accuracy{_CONSTANT}")
    sizes = [sum(row.values()) for row in (side.confusion_matrix or {}).values()]
    if accuracy is None or not any(sizes):
        return False
    majority, *others = sorted((size / sum(sizes) for size in sizes), reverse=True)
    return not _equal(accuracy.value, majority) and any(_equal(accuracy.value, share) for share in others)


def _errs_both_ways(side: Statistics) -> bool:
    """Whether rows of both classes were predicted wrong, which no perfect ranking allows at any threshold."""
    wrong = [
        sum(rows for predicted, rows in row.items() if predicted != actual)
        for actual, row in (side.confusion_matrix or {}).items()
    ]
    return len(wrong) == 2 and all(wrong)


def _matrices(a: Statistics, b: Statistics, metrics: list[Row]) -> list[Row]:
    """A row about the confusion matrices; where they differ, as the metrics do that follow from them."""
    first, second = _cells(a), _cells(b)
    if first is None or second is None:
        return []
    moved = sum(abs(first.get(cell, 0) - second.get(cell, 0)) for cell in {*first, *second})
    told = (f"{sum(first.values()):,} rows", f"{sum(second.values()):,} rows")
    if not moved:
        return [Row(CONFUSION_MATRIX, *told, None, SAME)]
    verdict = DIFFERENT if not metrics or any(row.verdict == DIFFERENT for row in metrics) else NOISE
    return [Row(CONFUSION_MATRIX, *told, None, verdict, f"its cells are {moved:,} rows apart")]


def _cells(side: Statistics) -> dict[tuple[str, str], int] | None:
    """The cells that hold rows, classes in their one form; None where there is no matrix."""
    if side.confusion_matrix is None:
        return None
    cells: dict[tuple[str, str], int] = {}
    for actual, row in side.confusion_matrix.items():
        for predicted, rows in row.items():
            if rows:
                cell = label_text(actual), label_text(predicted)
                cells[cell] = cells.get(cell, 0) + rows
    return cells


def _violated(document: Mapping[str, Any], source: str) -> dict[str, str]:
    """The metrics that a ``constraint_violations.json`` reports, by the name it gives them, with its words.

    Raises:
        DocumentError: it is none of model quality.
    """
    try:
        return {entry["metric_name"]: entry["description"] for entry in document["violations"]}
    except (KeyError, TypeError) as error:
        raise DocumentError(
            expected='{"violations": [{"metric_name", "description", …}]} of model quality',
            came=f"{type(error).__name__}: {error}",
            where=f"{source}, constraint_violations.json",
            next_step="give the document of a model-quality execution",
        ) from None


def _violations(a: Mapping[str, str], b: Mapping[str, str], metrics: list[Row], problem_type: str) -> list[Row]:
    verdicts = {row.name: row.verdict for row in metrics}
    rows = []
    for name in metrics_of(problem_type):
        # rates bear camelCase names in this document alone; a side that does not is read as well
        first, second = (side.get(violation_name(name), side.get(name)) for side in (a, b))
        if first is None and second is None:
            continue
        verdict, note = SAME, ""
        if first is None or second is None:
            if name == "f0_5":
                verdict, note = QUIRK, "SageMaker constrains f0_5 but never reports it"
            elif verdicts.get(name) in (NOISE, QUIRK):
                verdict, note = verdicts[name], "the metric lies about its threshold"
            elif verdicts.get(name) == DIFFERENT:
                verdict, note = DIFFERENT, "one side reports it: the metric itself is different"
            else:
                verdict, note = DIFFERENT, "one side reports it: compare the two constraints.json"
        rows.append(Row(name, first, second, None, verdict, note))
    return rows


def _equal(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)


def _value(metric: Metric | None) -> float | None:
    return None if metric is None else metric.value


def _sd(first: Metric | None, second: Metric | None) -> float | None:
    found = [one.standard_deviation for one in (first, second) if one and not math.isnan(one.standard_deviation)]
    return max(found, default=None)


def _json(value: float | str | None) -> float | str | None:
    return json_number(value) if isinstance(value, float) else value
