"""Laws of states: they add up, whatever the cut and the order of rows."""

from __future__ import annotations

import itertools
import pickle
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_mq_provider.quality import states
from airflow_mq_provider.quality.binary import rank
from airflow_mq_provider.quality.metrics import compute
from airflow_mq_provider.quality.segments import segment_states
from airflow_mq_provider.quality.states import (
    BINARY,
    MULTICLASS,
    PROBLEM_TYPES,
    REGRESSION,
    SAMPLES,
    BinaryState,
    Grid,
    MergedRows,
    MulticlassState,
    RegressionState,
    State,
    add_states,
    empty_state,
    sample_flags,
    state_of,
)

NAMES = ("b", "10", "9", "ä", "a")
WIDE = st.one_of(
    st.sampled_from((0.0, -0.0, 1.0, -5e-324, 1.7e308, -1.7e308)), st.floats(allow_nan=False, allow_infinity=False)
)
REALS = st.one_of(st.floats(-1e6, 1e6, allow_nan=False), WIDE)
FLAGS = st.integers(0, 2**SAMPLES - 1)
PROBABILITIES = st.one_of(st.sampled_from((0.0, -0.0, 0.25, 0.5, 1.0, 1e-300)), st.floats(0, 1))
COLUMNS: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
    BINARY: st.tuples(FLAGS, st.integers(0, 1), st.integers(0, 1), PROBABILITIES),
    MULTICLASS: st.tuples(FLAGS, st.integers(0, 4), st.integers(0, 4)),
    REGRESSION: st.tuples(FLAGS, REALS, REALS),
}
DTYPES = {BINARY: np.uint8, MULTICLASS: np.int32, REGRESSION: np.float64}


def merged(problem_type: str, rows: list[tuple[Any, ...]], *, probabilities: bool = True) -> MergedRows:
    flags, actual, predicted, *rest = zip(*rows, strict=True) if rows else ((), (), (), ())
    made = MergedRows(
        problem_type,
        np.array(flags, dtype=np.uint8),
        np.array(actual, dtype=DTYPES[problem_type]),
        np.array(predicted, dtype=DTYPES[problem_type]),
        np.array(rest[0], dtype=np.float64) if problem_type == BINARY and probabilities else None,
        NAMES if problem_type == MULTICLASS else (),
    )
    for column in (made.flags, made.actual, made.predicted, made.probability):
        if column is not None:
            column.setflags(write=False)  # whatever writes into its input fails here
    return made


def frozen(state: State) -> State:
    for name in type(state).__slots__:
        column = getattr(state, name)
        for array in (column.cells, column.counts) if isinstance(column, Grid) else (column,):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)
    return state


def facts(state: State) -> Any:
    """What a state says, in a form that can be compared: rows with probabilities as a bag."""
    if isinstance(state, BinaryState):
        if state.scores is None or state.tags is None:
            return state.confusion.tolist(), None
        return state.confusion.tolist(), sorted(zip(state.scores.tolist(), state.tags.tolist(), strict=True))
    if isinstance(state, MulticlassState):
        return state.classes, state.pairs.tolist(), state.counts.tolist()
    return exact(state)


def told(grid: Grid) -> Any:
    return grid.level, grid.cells.tolist(), grid.counts.tolist()


def exact(state: State) -> list[Any]:
    return [
        column.tolist() if isinstance(column, np.ndarray) else told(column) if isinstance(column, Grid) else column
        for column in (getattr(state, name) for name in type(state).__slots__)
    ]


@st.composite
def problems(draw: st.DrawFn) -> tuple[str, list[tuple[Any, ...]]]:
    problem_type = draw(st.sampled_from(PROBLEM_TYPES))
    return problem_type, draw(st.lists(COLUMNS[problem_type], max_size=40))


@given(problems(), st.lists(st.integers(0, 40), max_size=5), st.booleans())
def test_the_states_of_parts_add_up_to_the_state_of_the_whole(problem, cuts, probabilities):
    problem_type, rows = problem
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [
        frozen(state_of(merged(problem_type, rows[start:end], probabilities=probabilities)))
        for start, end in itertools.pairwise(edges)
    ]
    whole = state_of(merged(problem_type, rows, probabilities=probabilities))
    assert facts(whole) == facts(add_states(parts, problem_type))
    assert whole.records == len(rows)


SEGMENTS = st.sampled_from((None, "a", "b", "ä", "10", "c", "d"))


@given(problems(), st.lists(SEGMENTS, min_size=40, max_size=40), st.lists(st.integers(0, 40), max_size=4), st.data())
def test_the_states_of_segments_add_up_to_the_state_of_the_whole(problem, names, cuts, data):
    problem_type, rows = problem
    assume(rows)  # without any, nobody asks
    names = names[: len(rows)]
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [
        merged(problem_type, rows[start:end]).in_segments(names[start:end]) for start, end in itertools.pairwise(edges)
    ]
    listed, rarest = data.draw(st.integers(0, 4)), data.draw(st.integers(1, 8))
    found = segment_states(lambda: parts, problem_type, listed=listed, rarest=rarest)
    pieces = [*found.listed.values(), found.others, found.without]
    assert facts(add_states(pieces, problem_type)) == facts(state_of(merged(problem_type, rows)))
    for name, state in found.listed.items():
        own = [row for row, one in zip(rows, names, strict=True) if one == name]
        assert facts(state) == facts(state_of(merged(problem_type, own)))
    assert found.without.records == names.count(None)


@given(st.lists(SEGMENTS, max_size=40), st.integers(1, 40), st.integers(1, 4), st.integers(1, 8))
def test_the_segments_that_are_listed_are_the_largest_however_the_rows_are_cut(names, size, listed, rarest):
    rows = merged(BINARY, [(0, 0, 0, 0.5)] * len(names)).in_segments(names)
    parts = [rows.part(start, start + size) for start in range(0, len(names), size)]
    found = segment_states(lambda: parts, BINARY, listed=listed, rarest=rarest)
    sizes = {name: names.count(name) for name in names if name is not None}
    bounded = len(sizes) > rarest
    worth = [name for name, rows in sizes.items() if not bounded or rows * (rarest + 1) > len(names)]
    assert list(found.listed) == sorted(worth, key=lambda name: (-sizes[name], name))[:listed]
    assert found.segments == (None if bounded else len(sizes))


@given(st.lists(SEGMENTS, max_size=20))
def test_segments_survive_their_bytes(names):
    rows = merged(BINARY, [(0, 0, 0, 0.5)] * len(names)).in_segments(names)
    assert MergedRows.from_bytes(rows.to_bytes()).names_of_segments() == names


@given(st.lists(st.tuples(WIDE, WIDE), max_size=30), st.integers(1, 30), st.integers(4, 8))
def test_grids_of_parts_are_exactly_the_grid_of_the_whole_in_any_order(rows, size, most):
    """With few cells allowed, so that sides do double."""
    values = [(0, actual, predicted) for actual, predicted in rows]
    with mock.patch.object(states, "GRID_CELLS", most):
        whole = state_of(merged(REGRESSION, values))
        parts = [state_of(merged(REGRESSION, values[start : start + size])) for start in range(0, len(rows), size)]
        total = add_states(parts[::-1], REGRESSION)
    assert isinstance(whole, RegressionState)
    assert isinstance(total, RegressionState)
    for one, other in ((whole.pairs, total.pairs), (whole.errors, total.errors)):
        assert told(one) == told(other)
        assert len(one.counts) <= most
        assert one.counts.sum() == len(rows)


@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(problem, random):
    problem_type, rows = problem
    shuffled = random.sample(rows, len(rows))
    one, other = state_of(merged(problem_type, rows)), state_of(merged(problem_type, shuffled))
    assert facts(one) == facts(other)
    assert repr(compute(one)) == repr(compute(other))


@given(problems())
def test_the_empty_state_changes_nothing(problem):
    problem_type, rows = problem
    state = frozen(state_of(merged(problem_type, rows)))
    empty = frozen(empty_state(problem_type))
    for total in (add_states([empty, state], problem_type), add_states([state, empty], problem_type)):
        assert exact(total) == exact(state)
    assert empty.records == 0


@given(problems())
def test_a_sum_of_two_is_what_plus_gives(problem):
    problem_type, rows = problem
    state: Any = frozen(state_of(merged(problem_type, rows)))
    assert exact(state + state) == exact(add_states([state, state], problem_type))


@given(problems())
def test_each_sample_counts_the_rows_that_are_flagged_for_it(problem):
    problem_type, rows = problem
    state = state_of(merged(problem_type, rows))
    for sample in range(SAMPLES):
        chosen = state_of(merged(problem_type, [row for row in rows if row[0] >> sample & 1]))
        if isinstance(state, BinaryState):
            assert isinstance(chosen, BinaryState)
            assert state.confusion[1 + sample].tolist() == chosen.confusion[0].tolist()
        elif isinstance(state, MulticlassState):
            assert isinstance(chosen, MulticlassState)
            assert pair_counts(state, 1 + sample) == pair_counts(chosen, 0)
        else:
            assert isinstance(chosen, RegressionState)
            for name in ("n", "actual", "actual_squared", "abs_error", "squared_error"):
                assert getattr(chosen, name)[0] == getattr(state, name)[1 + sample]


def pair_counts(state: MulticlassState, tally: int) -> dict[tuple[str, str], int]:
    cells = zip(state.actual.tolist(), state.predicted.tolist(), state.counts[tally].tolist(), strict=True)
    return {(state.classes[actual], state.classes[predicted]): rows for actual, predicted, rows in cells if rows}


@given(problems())
def test_a_state_survives_pickling(problem):
    problem_type, rows = problem
    state = state_of(merged(problem_type, rows))
    assert exact(pickle.loads(pickle.dumps(state))) == exact(state)


@given(problems(), st.booleans())
def test_merged_rows_survive_their_bytes(problem, probabilities):
    problem_type, rows = problem
    written = merged(problem_type, rows, probabilities=probabilities)
    read = MergedRows.from_bytes(written.to_bytes())
    assert (read.problem_type, read.classes, len(read)) == (problem_type, written.classes, len(rows))
    for name in ("flags", "actual", "predicted", "probability"):
        one, other = getattr(written, name), getattr(read, name)
        if one is None:
            assert other is None
        else:
            assert (one.dtype, one.tolist()) == (other.dtype, other.tolist())
    assert read.to_bytes() == written.to_bytes()


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 9)), max_size=30))
def test_the_samples_of_a_row_do_not_depend_on_the_other_rows(rows):
    ids = np.array([row[:2] for row in rows], dtype=np.uint64).reshape(-1, 2)
    numbers = np.array([row[2] for row in rows], dtype=np.int64)
    together = sample_flags(ids, numbers).tolist()
    apart = [sample_flags(ids[i : i + 1], numbers[i : i + 1])[0] for i in range(len(rows))]
    assert together == apart


# --- binned scores


BINARY_ROWS = st.lists(COLUMNS[BINARY], max_size=40)


@given(BINARY_ROWS, st.integers(0, 40))
def test_binning_parts_or_the_whole_or_twice_is_the_same(rows: list[tuple[Any, ...]], cut: int) -> None:
    whole = merged(BINARY, rows).binned()
    parts = [merged(BINARY, part).binned() for part in (rows[:cut], rows[cut:])]

    def kinds(state: State) -> Any:
        assert isinstance(state, BinaryState)
        assert state.scores is not None
        assert state.tags is not None
        assert state.weights is not None
        columns = (state.scores.tolist(), state.tags.tolist(), state.weights.tolist())
        return state.confusion.tolist(), sorted(zip(*columns, strict=True))

    together = kinds(add_states([state_of(whole)], BINARY))
    assert kinds(add_states(map(state_of, parts), BINARY)) == together
    assert kinds(add_states([state_of(whole.binned())], BINARY)) == together
    assert whole.records == len(rows)
    assert MergedRows.from_bytes(whole.to_bytes()).records == len(rows)


@given(BINARY_ROWS)
def test_binning_changes_no_count_and_auc_by_no_more_than_its_bound(rows: list[tuple[Any, ...]]) -> None:
    exact = add_states([state_of(merged(BINARY, rows))], BINARY)
    binned = add_states([state_of(merged(BINARY, rows).binned())], BINARY)
    assert isinstance(exact, BinaryState)
    assert isinstance(binned, BinaryState)
    assert binned.confusion.tolist() == exact.confusion.tolist()
    exact_ranking, ranking = rank(exact), rank(binned)
    assert exact_ranking is not None
    assert ranking is not None
    assert exact_ranking.auc_error_bound is None
    assert ranking.auc_error_bound is not None
    if rows and 0 < sum(actual for _, actual, *_ in rows) < len(rows):
        assert abs(ranking.auc[0] - exact_ranking.auc[0]) <= ranking.auc_error_bound + 1e-15
