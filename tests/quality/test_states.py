"""States: what is counted, how samples are drawn, and what is refused."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.quality.ages import label_ages
from airflow_mq_provider.quality.states import (
    BINARY,
    MULTICLASS,
    REGRESSION,
    SAMPLES,
    BinaryState,
    CaptureCounts,
    GroundTruthCounts,
    JoinCounts,
    MergeCounts,
    MergedRows,
    MulticlassState,
    RegressionState,
    RejectedLine,
    add_states,
    empty_state,
    label_coverage,
    metrics_of_tallies,
    sample_flags,
    state_of,
)


def binary_rows(actual, predicted, probability=None, flags=None) -> MergedRows:
    n = len(actual)
    return MergedRows(
        BINARY,
        np.zeros(n, dtype=np.uint8) if flags is None else np.array(flags, dtype=np.uint8),
        np.array(actual, dtype=np.uint8),
        np.array(predicted, dtype=np.uint8),
        None if probability is None else np.array(probability, dtype=np.float64),
    )


# samples


def test_the_samples_of_an_id_are_the_same_for_ever():
    """These figures are in reports that were written: another draw would change standard deviations of old windows."""
    ids = np.array([[0, 0], [1, 0], [0, 1], [0xFFFFFFFFFFFFFFFF, 0x0123456789ABCDEF]], dtype=np.uint64)
    assert sample_flags(ids).tolist() == [14, 27, 31, 15]
    assert sample_flags(ids, np.array([0, 0, 0, 0])).tolist() == [14, 27, 31, 15]


def test_the_samples_are_five_slices_of_a_mixed_hash():
    rng = np.random.default_rng(2)
    ids, rows = rng.integers(0, 2**64, (500, 2), dtype=np.uint64), rng.integers(0, 5, 500)

    def drawn(low: int, high: int, row: int) -> int:
        bits = (low ^ (high * 0xD6E8FEB86659FD93)) & (2**64 - 1)
        bits = (bits + (row + 1) * 0x9E3779B97F4A7C15) & (2**64 - 1)
        bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & (2**64 - 1)
        bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & (2**64 - 1)
        bits ^= bits >> 31
        return sum((bits >> (4 + 12 * sample) & 0xFFF < 3277) << sample for sample in range(SAMPLES))

    expected = [drawn(low, high, row) for (low, high), row in zip(ids.tolist(), rows.tolist(), strict=True)]
    assert expected == sample_flags(ids, rows).tolist()


def test_rows_of_one_record_are_drawn_apart():
    ids = np.full((1000, 2), 7, dtype=np.uint64)
    assert len(set(sample_flags(ids, np.arange(1000)).tolist())) > 10


def test_each_sample_holds_four_fifths_of_the_rows_and_is_independent_of_the_others():
    ids = np.random.default_rng(1).integers(0, 2**64, (200_000, 2), dtype=np.uint64)
    members = (sample_flags(ids)[:, None] >> np.arange(SAMPLES) & 1).astype(float)
    assert members.mean(axis=0) == pytest.approx([0.8] * SAMPLES, abs=0.004)
    assert np.corrcoef(members.T) - np.eye(SAMPLES) == pytest.approx(np.zeros((SAMPLES, SAMPLES)), abs=0.01)


def test_ids_that_follow_each_other_are_drawn_like_random_ones():
    ids = np.stack([np.arange(100_000, dtype=np.uint64), np.zeros(100_000, dtype=np.uint64)], axis=1)
    members = (sample_flags(ids)[:, None] >> np.arange(SAMPLES) & 1).astype(float)
    assert members.mean(axis=0) == pytest.approx([0.8] * SAMPLES, abs=0.006)


def test_ids_are_left_as_they_are():
    ids = np.arange(20, dtype=np.uint64).reshape(10, 2)
    row = np.arange(10)
    sample_flags(ids, row)
    assert ids.tolist() == np.arange(20).reshape(10, 2).tolist()
    assert row.tolist() == list(range(10))


def test_no_ids_have_no_samples():
    assert sample_flags(np.zeros((0, 2), dtype=np.uint64)).tolist() == []


# counting


def test_a_binary_state_counts_actual_by_predicted_for_the_whole_and_each_sample():
    state = state_of(binary_rows([1, 1, 0, 0], [1, 0, 0, 1], flags=[0b11111, 0b00001, 0b00001, 0b10000]))
    assert isinstance(state, BinaryState)
    assert state.confusion.tolist() == [
        [[1, 1], [1, 1]],
        [[1, 0], [1, 1]],
        [[0, 0], [0, 1]],
        [[0, 0], [0, 1]],
        [[0, 0], [0, 1]],
        [[0, 1], [0, 1]],
    ]
    assert state.scores is None
    assert state.records == 4


def test_a_binary_state_keeps_class_and_samples_beside_each_probability():
    state = state_of(binary_rows([1, 0], [1, 1], [0.75, 0.5], flags=[0b00011, 0b11111]))
    assert isinstance(state, BinaryState)
    assert state.scores is not None
    assert state.tags is not None
    assert state.scores.tolist() == [0.75, 0.5]
    assert state.tags.tolist() == [0b000111, 0b111110]


def test_a_multiclass_state_holds_only_the_classes_that_occur_in_text_order():
    rows = MergedRows(
        MULTICLASS,
        np.array([0, 1, 1], dtype=np.uint8),
        np.array([2, 0, 2], dtype=np.int32),
        np.array([0, 0, 0], dtype=np.int32),
        classes=("9", "unseen", "10"),
    )
    state = state_of(rows)
    assert isinstance(state, MulticlassState)
    assert state.classes == ("10", "9")
    assert state.pairs.tolist() == [1, 3]
    assert state.counts[:2].tolist() == [[2, 1], [1, 1]]


def test_multiclass_states_of_parts_that_number_their_classes_differently_add_up():
    one = MergedRows(
        MULTICLASS, np.zeros(1, np.uint8), np.array([0], np.int32), np.array([1], np.int32), classes=("b", "a")
    )
    other = MergedRows(
        MULTICLASS, np.zeros(2, np.uint8), np.array([0, 1], np.int32), np.array([1, 1], np.int32), classes=("c", "b")
    )
    total = add_states([state_of(one), state_of(other)], MULTICLASS)
    assert isinstance(total, MulticlassState)
    assert total.classes == ("a", "b", "c")
    assert total.pairs.tolist() == [3, 4, 7]
    assert total.counts[0].tolist() == [1, 1, 1]


def test_many_classes_take_room_for_the_pairs_that_occur_only():
    size = 5000
    codes = np.arange(size, dtype=np.int32)
    rows = MergedRows(
        MULTICLASS, np.zeros(size, np.uint8), codes, np.roll(codes, 1), classes=tuple(f"{code:05}" for code in codes)
    )
    state = state_of(rows)
    assert isinstance(state, MulticlassState)
    assert state.counts.shape == (6, size)


def test_infinite_values_are_counted_without_a_warning():
    rows = MergedRows(REGRESSION, np.zeros(2, np.uint8), np.array([math.inf, 1.0]), np.array([math.inf, 2.0]))
    assert state_of(rows).records == 2


def regression_state(actual, predicted) -> RegressionState:
    rows = MergedRows(REGRESSION, np.zeros(len(actual), np.uint8), np.array(actual, float), np.array(predicted, float))
    state = state_of(rows)
    assert isinstance(state, RegressionState)
    return state


def cells(grid) -> dict[tuple[float, ...], int]:
    """The lower corner of each cell, and its rows."""
    side = 2.0**grid.level
    return {
        tuple(index * side for index in cell): rows
        for cell, rows in zip(grid.cells.tolist(), grid.counts.tolist(), strict=True)
    }


def test_a_regression_state_counts_pairs_and_errors_on_grids():
    state = regression_state([1.0, 1.0, -2.0], [1.5, 1.5, 0.0])
    assert cells(state.pairs) == {(-2.0, 0.0): 1, (1.0, 1.5): 2}
    assert cells(state.errors) == {(0.5,): 2, (2.0,): 1}


def test_a_grid_gets_coarser_where_more_cells_would_hold_something_than_may():
    rng = np.random.default_rng(3)
    state = regression_state(*rng.normal(100, 30, (2, 30_000)))
    assert len(state.pairs.counts) <= 4096
    assert 1.0 <= 2.0**state.pairs.level <= 8.0
    assert state.pairs.counts.sum() == state.errors.counts.sum() == 30_000


def test_an_outlier_costs_a_grid_no_detail():
    rng = np.random.default_rng(4)
    values = rng.normal(100, 30, (2, 5_000))
    alone = regression_state(*values)
    joined = regression_state(*np.append(values, [[1e6], [1e6]], axis=1))
    assert joined.pairs.level - alone.pairs.level <= 1


def test_errors_too_large_for_a_float_are_counted_at_the_end_of_the_grid():
    state = regression_state([-1.7e308, 0.0], [1.7e308, 0.0])
    assert state.errors.counts.tolist() == [1, 1]
    assert cells(state.errors)[0.0,] == 1


# what is refused


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(InputError, match="flags: 2, actual: 2, predicted: 1"):
        MergedRows(BINARY, np.zeros(2, np.uint8), np.zeros(2, np.uint8), np.zeros(1, np.uint8))


def test_an_unknown_problem_type_is_refused():
    with pytest.raises(InputError, match="'Ranking'"):
        empty_state("Ranking")


@pytest.mark.parametrize("cut", [0, 1, 30, -100, -1])
def test_bytes_that_are_not_whole_are_refused(cut):
    data = binary_rows([1, 0], [1, 0]).to_bytes()
    with pytest.raises(InputError, match="merge the window again"):
        MergedRows.from_bytes(data[:cut])


def test_bytes_that_were_changed_are_refused():
    data = bytearray(binary_rows([1] * 100, [0] * 100).to_bytes())
    data[data.index(b"\x01" * 50)] ^= 1
    with pytest.raises(InputError, match="merged rows"):
        MergedRows.from_bytes(bytes(data))


def test_states_of_different_problems_do_not_add_up():
    with pytest.raises(InputError, match="came RegressionState"):
        add_states([empty_state(BINARY), empty_state(REGRESSION)], BINARY)


def test_rows_with_and_without_probabilities_do_not_add_up():
    with pytest.raises(InputError, match="2 rows without one among 3"):
        add_states([state_of(binary_rows([1], [1], [0.5])), state_of(binary_rows([1, 0], [1, 0]))], BINARY)


# standard deviations


def tallies(*values: float) -> list[dict[str, float]]:
    return [{"m": value} for value in values]


def test_the_standard_deviation_is_the_populations_over_the_five_samples():
    made = metrics_of_tallies(tallies(3.0, 1.0, 2.0, 3.0, 4.0, 5.0), 200)["m"]
    assert (made.value, made.standard_deviation) == (3.0, math.sqrt(2.0))


def test_below_200_records_there_is_no_standard_deviation():
    assert math.isnan(metrics_of_tallies(tallies(3.0, 1.0, 2.0, 3.0, 4.0, 5.0), 199)["m"].standard_deviation)


def test_a_metric_that_is_undefined_on_a_sample_has_no_standard_deviation():
    made = metrics_of_tallies(tallies(3.0, 1.0, math.nan, 3.0, 4.0, 5.0), 1000)["m"]
    assert made.value == 3.0
    assert math.isnan(made.standard_deviation)


def test_equal_values_have_a_standard_deviation_of_exactly_zero():
    assert metrics_of_tallies(tallies(*[0.1] * 6), 1000)["m"].standard_deviation == 0.0


@pytest.mark.parametrize("values", [(1e200, 2e200), (1e308, -1e308), (math.inf, 1.0)])
def test_values_too_large_to_compare_have_no_finite_standard_deviation(values):
    one, other = values
    spread = metrics_of_tallies(tallies(one, one, other, one, other, one), 1000)["m"].standard_deviation
    assert not math.isfinite(spread)


# the counts of a merge

COUNTS = MergeCounts(
    CaptureCounts(
        files=2,
        lines=120,
        used=90,
        outside_window=10,
        dropped=5,
        rejected={"id_missing": 5, "bad_json": 10},
        duplicate_ids=1,
        examples=tuple(RejectedLine("capture/12/a.jsonl", line, "bad_json") for line in range(1, 16)),
    ),
    GroundTruthCounts(files=1, lines=50, used=48, rejected={"bad_json": 2}, duplicate_labels=3),
    JoinCounts(
        matched=45,
        captures_without_label=45,
        labels_without_capture=1,
        rejected={},
        label_coverage=label_coverage(90, 45),
        label_ages=label_ages(np.array([0], np.int64), np.array([3], np.int32), datetime(1970, 1, 2, tzinfo=UTC)),
    ),
)


def test_the_counts_are_the_three_blocks_of_the_report():
    blocks = COUNTS.as_dict()
    assert list(blocks) == ["capture", "ground_truth", "merge"]
    assert blocks["capture"]["rejected"] == {"bad_json": 10, "id_missing": 5}
    assert list(blocks["capture"]["rejected"]) == ["bad_json", "id_missing"]
    assert blocks["merge"] == {
        "matched": 45,
        "captures_without_label": 45,
        "labels_without_capture": 1,
        "rejected": {},
        "label_coverage": 0.5,
        "label_ages": {"labelled": {"4": 1}, "unlabelled": {}},
    }


def test_the_report_shows_the_first_ten_rejected_lines():
    examples = COUNTS.as_dict()["capture"]["rejected_examples"]
    assert len(examples) == 10
    assert examples[0] == {"file": "capture/12/a.jsonl", "line": 1, "reason": "bad_json"}


def test_counts_are_read_back_from_their_blocks():
    read = MergeCounts.from_dict({**COUNTS.as_dict(), "monitor": "of the report"})
    assert read.as_dict() == COUNTS.as_dict()


def test_lines_that_went_missing_are_seen():
    assert COUNTS.capture.unaccounted == 0
    assert COUNTS.ground_truth.unaccounted == 0
    assert CaptureCounts(lines=3, used=1, outside_window=1).unaccounted == 1
    assert GroundTruthCounts(lines=3, used=1).unaccounted == 2


def test_coverage_without_captures_is_null():
    assert label_coverage(0, 0) is None
