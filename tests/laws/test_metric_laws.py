"""Laws of metrics: they know their bounds and which way is better, and agree with slow arithmetic on plain rows."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_mq_provider.quality import binary
from airflow_mq_provider.quality.metrics import METRICS, compute, metrics_of
from airflow_mq_provider.quality.states import (
    BINARY,
    MULTICLASS,
    PROBLEM_TYPES,
    REGRESSION,
    SAMPLES,
    BinaryState,
    MergedRows,
    Metric,
    state_of,
)

FLAGS = st.integers(0, 2**SAMPLES - 1)
# smaller than 1e-100, and the squares of two values that differ vanish
REALS = st.floats(-1e6, 1e6).filter(lambda number: number == 0 or abs(number) > 1e-100)
PROBABILITIES = st.one_of(st.sampled_from((0.0, -0.0, 0.25, 0.5, 1.0, 1e-300)), st.floats(0, 1))
ROWS: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
    BINARY: st.tuples(FLAGS, st.integers(0, 1), st.integers(0, 1), PROBABILITIES),
    MULTICLASS: st.tuples(FLAGS, st.integers(0, 3), st.integers(0, 3)),
    REGRESSION: st.tuples(FLAGS, REALS, REALS),
}
DTYPES = {BINARY: np.uint8, MULTICLASS: np.int32, REGRESSION: np.float64}


def state(problem_type: str, rows: list[tuple[Any, ...]]) -> Any:
    flags, actual, predicted, *rest = zip(*rows, strict=True) if rows else ((), (), (), ())
    return state_of(
        MergedRows(
            problem_type,
            np.array(flags, dtype=np.uint8),
            np.array(actual, dtype=DTYPES[problem_type]),
            np.array(predicted, dtype=DTYPES[problem_type]),
            np.array(rest[0], dtype=np.float64) if problem_type == BINARY else None,
            ("a", "b", "c", "d") if problem_type == MULTICLASS else (),
        )
    )


def computed(problem_type: str, rows: list[tuple[Any, ...]]) -> dict[str, Metric]:
    return compute(state(problem_type, rows))


@st.composite
def problems(draw: st.DrawFn, min_size: int = 0) -> tuple[str, list[tuple[Any, ...]]]:
    problem_type = draw(st.sampled_from(PROBLEM_TYPES))
    return problem_type, draw(st.lists(ROWS[problem_type], min_size=min_size, max_size=30))


@given(problems())
def test_every_metric_of_the_registry_is_computed_in_its_order(problem):
    problem_type, rows = problem
    assert list(metrics_of(problem_type)) == list(computed(problem_type, rows))


@given(problems())
def test_metrics_lie_within_their_bounds(problem):
    problem_type, rows = problem
    for name, metric in computed(problem_type, rows).items():
        if math.isnan(metric.value):
            continue
        if problem_type != REGRESSION:
            assert 0 <= metric.value <= 1, name
        elif name == "r2":
            assert metric.value <= 1
        else:
            assert metric.value >= 0, name


@given(problems(min_size=1))
def test_a_metric_is_undefined_only_as_the_registry_says(problem):
    problem_type, rows = problem
    undefined = {name for name, metric in computed(problem_type, rows).items() if math.isnan(metric.value)}
    if problem_type == BINARY:
        actual, predicted = {row[1] for row in rows}, {row[2] for row in rows}
        expected = set()
        if 1 not in actual:
            expected |= {"recall", "true_positive_rate", "false_negative_rate", "auc"}
        if 0 not in actual:
            expected |= {"false_positive_rate", "true_negative_rate", "auc"}
        if 1 not in predicted:
            expected.add("precision")
        if 1 not in actual | predicted:
            expected |= {"f0_5", "f1", "f2"}
        assert expected == undefined
    elif problem_type == MULTICLASS:
        assert undefined == set()
    else:
        assert undefined == ({"r2"} if len({row[1] for row in rows}) == 1 else set())


@given(st.sampled_from(PROBLEM_TYPES), st.data())
def test_standard_deviations_lie_between_zero_and_half_the_range_of_the_metric(problem_type, data):
    rows = data.draw(st.lists(ROWS[problem_type], min_size=8, max_size=8)) * 25
    for name, metric in computed(problem_type, rows).items():
        if problem_type != REGRESSION and not math.isnan(metric.standard_deviation):
            assert 0 <= metric.standard_deviation <= 0.5, name


def improved(problem_type: str, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row, predicted right."""
    flags, actual, _, *rest = row
    return (flags, actual, actual, *rest)


@given(problems(min_size=1), st.data())
def test_a_better_model_never_scores_worse(problem, data):
    """One wrong prediction made right: no metric that knows its direction gets worse."""
    problem_type, rows = problem
    at = data.draw(st.integers(0, len(rows) - 1))
    assume(rows[at][1] != rows[at][2])
    before = computed(problem_type, rows)
    after = computed(problem_type, [*rows[:at], improved(problem_type, rows[at]), *rows[at + 1 :]])
    assert_not_worse(problem_type, before, after)


@given(st.lists(ROWS[BINARY], min_size=1, max_size=30), st.data())
def test_a_better_score_never_lowers_auc(rows, data):
    """A positive row with a higher probability, or a negative one with a lower."""
    at = data.draw(st.integers(0, len(rows) - 1))
    flags, actual, predicted, probability = rows[at]
    better = data.draw(st.floats(probability, 1) if actual else st.floats(0, probability + 0.0))
    after = [*rows[:at], (flags, actual, predicted, better), *rows[at + 1 :]]
    assert_not_worse(BINARY, computed(BINARY, rows), computed(BINARY, after))


def assert_not_worse(problem_type: str, before: dict[str, Metric], after: dict[str, Metric]) -> None:
    for name, info in metrics_of(problem_type).items():
        one, other = before[name].value, after[name].value
        if info.higher_is_better is None or math.isnan(one) or math.isnan(other):
            continue
        slack = 1e-12 * max(abs(one), abs(other), 1.0)  # floating-point sums may move in their last digits
        assert other >= one - slack if info.higher_is_better else other <= one + slack, name


@given(problems(min_size=1))
def test_a_model_that_is_always_right_is_perfect(problem):
    problem_type, rows = problem
    metrics = computed(problem_type, [improved(problem_type, row) for row in rows])
    for name, info in metrics_of(problem_type).items():
        value = metrics[name].value
        if info.higher_is_better is None or name == "auc" or math.isnan(value):
            continue
        assert value == (1.0 if info.higher_is_better else 0.0), name


@given(st.lists(ROWS[BINARY], max_size=30))
def test_binary_metrics_are_those_of_fractions(rows):
    cells = {cell: sum(row[1:3] == cell for row in rows) for cell in itertools.product((0, 1), repeat=2)}
    tp, fn, fp, tn = cells[1, 1], cells[1, 0], cells[0, 1], cells[0, 0]
    expected = {
        "recall": ratio(tp, tp + fn),
        "precision": ratio(tp, tp + fp),
        "accuracy": ratio(tp + tn, len(rows)),
        "true_negative_rate": ratio(tn, tn + fp),
        "false_positive_rate": ratio(fp, tn + fp),
        "false_negative_rate": ratio(fn, tp + fn),
        "f0_5": ratio(5 * tp, 5 * tp + fn + 4 * fp),
        "f1": ratio(2 * tp, 2 * tp + fn + fp),
        "f2": ratio(5 * tp, 5 * tp + 4 * fn + fp),
    }
    metrics = computed(BINARY, rows)
    assert expected == pytest.approx({name: metrics[name].value for name in expected}, abs=1e-14, nan_ok=True)


@given(st.lists(ROWS[BINARY], max_size=30))
def test_auc_is_the_share_of_pairs_in_the_right_order(rows):
    pairs = [(p[3], q[3]) for p in rows if p[1] for q in rows if not q[1]]
    wins = sum(2 * (high > low) + (high == low) for high, low in pairs)
    assert computed(BINARY, rows)["auc"].value == pytest.approx(ratio(wins, 2 * len(pairs)), abs=0, nan_ok=True)


def ratio(part: int, whole: int) -> float:
    return float(Fraction(part, whole)) if whole else math.nan


@given(st.lists(ROWS[BINARY], max_size=30))
def test_both_ways_to_rank_give_the_same(rows):
    """Packing scores and tags into one number is only a faster sort."""
    made: BinaryState = state(BINARY, rows)
    packed = binary.rank(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binary, "_PACKED_SPAN", np.uint64(0))
        sorted_apart = binary.rank(made)
    assert packed is not None
    assert sorted_apart is not None
    assert packed.scores.tolist() == sorted_apart.scores.tolist()
    assert packed.positives.tolist() == sorted_apart.positives.tolist()
    assert packed.negatives.tolist() == sorted_apart.negatives.tolist()
    assert repr(packed.auc) == repr(sorted_apart.auc)


@given(st.lists(ROWS[BINARY], max_size=30), st.floats(0, 1))
def test_curves_rise_from_the_origin_to_the_end(rows, threshold):
    made: BinaryState = state(BINARY, rows)
    drawn = binary.curves(made, threshold)
    roc = drawn["receiver_operating_characteristic_curve"]
    for rates in roc.values():
        assert rates == sorted(rates)
        assert not rates or (rates[0], rates[-1]) == (0.0, 1.0)
    both = drawn["precision_recall_curve"]
    assert both["recalls"] == sorted(both["recalls"])
    assert all(0 <= precision <= 1 for precision in both["precisions"])
    assert len(both["recalls"]) == len(both["precisions"])


@given(st.lists(ROWS[BINARY], min_size=2, max_size=30))
def test_the_area_under_the_curve_is_auc(rows):
    assume({row[1] for row in rows} == {0, 1})
    made: BinaryState = state(BINARY, rows)
    roc = binary.curves(made, 0.5)["receiver_operating_characteristic_curve"]
    area = float(np.trapezoid(roc["true_positive_rates"], roc["false_positive_rates"]))
    assert compute(made)["auc"].value == pytest.approx(area, abs=1e-12)


def test_every_metric_has_a_direction_or_is_a_mark_to_compare_with():
    for info in METRICS:
        assert (info.higher_is_better is None) == info.name.endswith("_best_constant_classifier")
        assert info.constrained == (info.higher_is_better is not None)
