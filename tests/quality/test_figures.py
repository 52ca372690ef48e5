"""What a report draws: counted from states, in whole numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mq_provider.quality.figures import (
    BinaryFigures,
    Figures,
    MulticlassFigures,
    RegressionFigures,
    figures,
)
from airflow_mq_provider.quality.states import BINARY, MULTICLASS, REGRESSION, MergedRows, add_states, state_of


def merged(problem_type: str, rows) -> MergedRows:
    """Rows of actual, predicted and, where there is one, probability."""
    actual, predicted, *probability = map(list, zip(*rows, strict=True))
    flags = np.zeros(len(actual), dtype=np.uint8)
    return MergedRows.of_values(problem_type, flags, actual, predicted, probability[0] if probability else None)


def of(problem_type: str, *columns) -> Figures | None:
    return figures(state_of(merged(problem_type, list(zip(*columns, strict=True)))), 0.5)


def binary(actual, probability) -> BinaryFigures:
    found = of(BINARY, actual, [0] * len(actual), probability)
    assert isinstance(found, BinaryFigures)
    return found


def multiclass(actual, predicted) -> MulticlassFigures:
    found = of(MULTICLASS, actual, predicted)
    assert isinstance(found, MulticlassFigures)
    return found


def regression(actual, predicted) -> RegressionFigures:
    found = of(REGRESSION, actual, predicted)
    assert isinstance(found, RegressionFigures)
    return found


# binary


def test_probabilities_are_counted_by_twentieth_and_class():
    found = binary([1, 1, 0, 0], [1.0, 0.96, 0.04, 0.05])
    assert found.positives == (*[0] * 19, 2)
    assert found.negatives == (1, 1, *[0] * 18)


def test_calibration_says_of_each_tenth_how_probable_its_rows_were_and_how_many_were_positive():
    [low, high] = binary([0, 1, 1, 1], [0.125, 0.1875, 0.75, 0.78125]).calibration
    assert (low.low, low.rows, low.positives, low.mean_probability, low.share) == (0.1, 2, 1, 0.15625, 0.5)
    assert (high.rows, high.positives, high.mean_probability, high.share) == (2, 2, 0.765625, 1.0)


def test_the_interval_of_a_share_is_wilsons():
    # the worked figure of many textbooks: 10 of 20 is 0.2993 to 0.7007
    [tenth] = binary([0, 1] * 10, [0.5] * 20).calibration
    assert tenth.interval == pytest.approx((0.2993, 0.7007), abs=5e-5)
    [sure] = binary([1] * 5, [0.95] * 5).calibration
    assert sure.interval == pytest.approx((0.5655, 1.0), abs=5e-5)


def test_the_operating_point_takes_what_is_greater_than_the_threshold():
    point = binary([1, 1, 0, 0, 0], [0.9, 0.5, 0.6, 0.2, 0.1]).operating_point
    assert (point.threshold, point.recall, point.precision) == (0.5, 0.5, 0.5)
    assert point.false_positive_rate == pytest.approx(1 / 3)


def test_an_operating_point_that_finds_nothing_has_no_precision():
    assert math.isnan(binary([1, 0], [0.1, 0.1]).operating_point.precision)


def test_a_binary_state_without_probabilities_has_nothing_to_draw():
    assert of(BINARY, [1, 0], [1, 1]) is None


def test_blocks_of_rows_are_added(monkeypatch):
    actual, probability = [0, 1] * 50, [index / 100 for index in range(100)]
    whole = binary(actual, probability)
    monkeypatch.setattr("airflow_mq_provider.quality.figures._BLOCK", 7)
    assert binary(actual, probability) == whole


# multiclass


def test_classes_come_commonest_first_with_their_counts():
    found = multiclass(["b", "b", "a", "c", "c", "c"], ["b", "a", "a", "c", "c", "d"])
    assert [(one.name, one.records, one.predicted, one.right) for one in found.classes] == [
        ("c", 3, 2, 2),
        ("b", 2, 1, 1),
        ("a", 1, 2, 1),
        ("d", 0, 1, 0),
    ]
    assert found.classes[0].recall == pytest.approx(2 / 3)
    assert found.classes[0].precision == 1.0
    assert found.classes[0].f1 == pytest.approx(0.8)
    assert math.isnan(found.classes[3].recall)


def test_the_matrix_has_a_row_for_each_actual_class_and_a_column_for_each_predicted_one():
    found = multiclass(["b", "b", "a", "c", "c", "c"], ["b", "a", "a", "c", "c", "d"])
    assert found.matrix == ((2, 0, 0, 1), (0, 1, 1, 0), (0, 0, 1, 0), (0, 0, 0, 0))


def test_classes_beyond_the_commonest_share_a_row_and_a_column_and_no_record_is_lost():
    actual = [f"{number:03d}" for number in range(150) for _ in range(150 - number)]
    found = multiclass(actual, actual[1:] + actual[:1])
    assert (found.number, len(found.classes), len(found.matrix)) == (150, 100, 13)
    assert sum(map(sum, found.matrix)) == len(actual)


def test_thirteen_classes_need_no_others():
    actual = [f"{number:02d}" for number in range(13)]
    assert multiclass(actual, actual).matrix == tuple(
        tuple(int(row == column) for column in range(13)) for row in range(13)
    )


def test_confusions_are_the_commonest_mistakes():
    found = multiclass(["a", "a", "b", "b", "b"], ["b", "b", "a", "b", "c"])
    assert found.confusions == (("a", "b", 2), ("b", "a", 1), ("b", "c", 1))


# regression


def test_every_row_lies_in_a_cell_or_is_counted_outside():
    rng = np.random.default_rng(5)
    actual = rng.normal(100, 30, 3000)
    found = regression(actual, actual + rng.standard_t(1.2, 3000))
    assert sum(rows for _, _, rows in found.pairs.cells) + found.pairs.outside == 3000
    assert sum(found.errors.counts) + found.errors.below + found.errors.above == 3000
    assert found.errors.below > 0
    assert found.errors.above > 0


def test_cells_hold_the_values_that_lie_in_them():
    rng = np.random.default_rng(6)
    actual, predicted = rng.normal(100, 30, (2, 500))
    pairs = regression(actual, predicted).pairs
    assert pairs.outside == 0
    for x, y, rows in pairs.cells:
        within = (np.floor((actual - pairs.low) / pairs.side) == x) & (
            np.floor((predicted - pairs.low) / pairs.side) == y
        )
        assert within.sum() == rows


def test_bins_of_errors_hold_the_errors_that_lie_in_them():
    rng = np.random.default_rng(7)
    error = rng.normal(3, 2, 500)
    found = regression(np.zeros(500), error).errors
    edges = found.low + found.side * np.arange(len(found.counts) + 1)
    assert found.counts == tuple(np.histogram(error, edges)[0].tolist())
    assert 16 <= len(found.counts) <= 33


@pytest.mark.parametrize(
    ("actual", "predicted"),
    [
        ([5.0] * 3, [5.0] * 3),
        ([0.0], [0.0]),
        ([1e308, -1e308], [-1e308, 1e308]),
        ([1e-320, 3e-320], [2e-320, 0.0]),
        ([1e9, 1e9 + 1], [1e9, 1e9]),
    ],
)
def test_axes_of_odd_values_are_axes_still(actual, predicted):
    found = regression(actual, predicted)
    for low, side, steps in (
        (found.pairs.low, found.pairs.side, found.pairs.steps),
        (found.errors.low, found.errors.side, len(found.errors.counts)),
    ):
        assert side > 0
        assert 1 <= steps <= 33
        assert math.isfinite(low + side * steps)
    assert sum(rows for _, _, rows in found.pairs.cells) + found.pairs.outside == len(actual)


# laws

ROWS = {
    BINARY: st.tuples(st.integers(0, 1), st.integers(0, 1), st.floats(0, 1)),
    MULTICLASS: st.tuples(st.sampled_from("abcdé"), st.sampled_from("abcdé")),
    REGRESSION: st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)),
}


@given(st.data(), st.sampled_from(sorted(ROWS)), st.randoms(use_true_random=False), st.integers(1, 9))
def test_figures_depend_on_no_order_and_no_cut(data, problem_type, random, size):
    rows = data.draw(st.lists(ROWS[problem_type], min_size=1, max_size=40))
    shuffled = random.sample(rows, len(rows))
    parts = [state_of(merged(problem_type, shuffled[start : start + size])) for start in range(0, len(rows), size)]
    whole = state_of(merged(problem_type, rows))
    assert figures(whole, 0.5) == figures(add_states(parts, problem_type), 0.5)
