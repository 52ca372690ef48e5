"""What an engine counts: small states that add up, and the counts of a merge.

A state is all that the metrics need. States of parts, added in any order, are the state of the whole, so engines
may cut the work wherever they like. Each holds six tallies: the whole set (index 0) and the five random samples of
80 % (index 1 to 5) that standard deviations are taken over (rule A3).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.quality.ages import LabelAges
from airflow_mq_provider.quality.packing import packed, unpacked
from airflow_mq_provider.quality.sums import exact_square_sums, exact_sums

BINARY: Final = "BinaryClassification"
MULTICLASS: Final = "MulticlassClassification"
REGRESSION: Final = "Regression"
PROBLEM_TYPES: Final = (BINARY, MULTICLASS, REGRESSION)

SAMPLES: Final = 5
TALLIES: Final = SAMPLES + 1
SPREAD_RECORDS: Final = 200
EXAMPLES: Final = 10
GRID_CELLS: Final = 4096
SCORE_STEPS: Final = 1 << 16
"""Into so many equal steps from 0 to 1 probabilities are binned, where they are too many to be held one by one."""

_ROWS: Final = b"MQROWS\r\n"
_SAMPLE_LIMIT: Final = np.uint64(3277)  # of 4096: P = 0.80005
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_SPREAD_HIGH: Final = np.uint64(0xD6E8FEB86659FD93)
# [tally, flags]: whether rows with these five flags belong to the tally
_MEMBERS: Final = np.array(
    [[1] * (1 << SAMPLES)] + [[flags >> k & 1 for flags in range(1 << SAMPLES)] for k in range(SAMPLES)],
    dtype=np.int64,
)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's value and its standard deviation over the five samples. NaN: undefined."""

    value: float
    standard_deviation: float = math.nan


def metrics_of_tallies(tallies: Sequence[Mapping[str, float]], records: int) -> dict[str, Metric]:
    """Turn the values of the six tallies into metrics: values of the first, standard deviations over the others.

    The standard deviation is the population's (divided by five): AWS does not say which it takes, and the spreads that
    it published are eight times likelier under this one (docs/metrics.md). It is NaN below 200 records, as
    SageMaker's is, and where the metric is undefined on one of the samples.
    """
    whole, *samples = tallies
    return {
        name: Metric(value, _spread([sample[name] for sample in samples]) if records >= SPREAD_RECORDS else math.nan)
        for name, value in whole.items()
    }


def _spread(values: Sequence[float]) -> float:
    if not all(map(math.isfinite, values)):
        return math.nan
    pivot = values[0]  # equal values have exactly no spread
    try:
        mean = math.fsum(value - pivot for value in values) / len(values)
        deviations = [value - pivot - mean for value in values]
        return math.sqrt(math.fsum(deviation * deviation for deviation in deviations) / len(values))
    except (OverflowError, ValueError):  # values near the largest that a float can hold
        return math.nan


def sample_flags(ids: NDArray[np.uint64], row: NDArray[Any] | None = None) -> NDArray[np.uint8]:
    """Say in which of the five samples each row is: bit k (``1 << k``) is set where it is in sample k, k = 0 to 4.

    A row is in a sample with probability 0.8, independently of the other samples and rows. The answer depends on the
    128-bit hash of the row's id and its number within its record alone (rule A3), so every engine, cut and order of
    rows draws the same samples.

    Args:
        ids: shape (n, 2), the two halves of each id's hash.
        row: shape (n,), the row's number within its record; 0 for all when absent.
    """
    with np.errstate(over="ignore"):
        mixed = ids[:, 1] * _SPREAD_HIGH
        mixed ^= ids[:, 0]
        if row is not None:
            mixed += row.astype(np.uint64) * _GOLDEN
        # the finalizer of splitmix64
        mixed += _GOLDEN
        mixed ^= mixed >> np.uint64(30)
        mixed *= _MIX_1
        mixed ^= mixed >> np.uint64(27)
        mixed *= _MIX_2
        mixed ^= mixed >> np.uint64(31)
    flags = np.zeros(len(mixed), dtype=np.uint8)
    for sample in range(SAMPLES):
        mixed >>= np.uint64(4 if sample == 0 else 12)
        flags |= ((mixed & np.uint64(0xFFF)) < _SAMPLE_LIMIT).astype(np.uint8) << np.uint8(sample)
    return flags


@dataclass(frozen=True, slots=True, eq=False)
class MergedRows:
    """Rows of the merge in columns: one part of the analysis' input, n rows.

    Attributes:
        problem_type: one of SageMaker's three.
        flags: uint8[n], the samples of each row (see `sample_flags`).
        actual: binary uint8[n], 1 for the positive class and 0 for the negative; multiclass int32[n], codes into
            ``classes``; regression float64[n].
        predicted: of the same kind as ``actual``.
        probability: binary only: float64[n], or None where no probability is captured.
        classes: multiclass only: the distinct class texts of this part, in any order.
        segment: int32[n], codes into ``segments``, -1 where a row is in none; None where no segments are asked for.
        segments: their distinct texts, in any order.
        weight: binary only: int64[n], how many rows of the merge each of these stands for, where they were binned (see
            `binned`); None where each is one.

    Raises:
        InputError: the columns are not of one length, or the problem type is unknown.
    """

    problem_type: str
    flags: NDArray[np.uint8]
    actual: NDArray[Any]
    predicted: NDArray[Any]
    probability: NDArray[np.float64] | None = None
    classes: tuple[str, ...] = ()
    segment: NDArray[np.int32] | None = None
    segments: tuple[str, ...] = ()
    weight: NDArray[np.int64] | None = None

    @classmethod
    def of_values(
        cls,
        problem_type: str,
        flags: NDArray[np.uint8],
        actual: Sequence[Any],
        predicted: Sequence[Any],
        probability: Sequence[float] | None,
    ) -> MergedRows:
        """Put plain values into columns: 0 and 1 (binary), class texts (multiclass) or numbers (regression)."""
        classes: tuple[str, ...] = ()
        kind: type[np.generic] = np.float64 if problem_type == REGRESSION else np.uint8
        if problem_type == MULTICLASS:
            numbers = {name: number for number, name in enumerate(dict.fromkeys([*predicted, *actual]))}
            actual, predicted = [numbers[name] for name in actual], [numbers[name] for name in predicted]
            classes, kind = tuple(numbers), np.int32
        return cls(
            problem_type=problem_type,
            flags=flags,
            actual=np.array(actual, kind),
            predicted=np.array(predicted, kind),
            probability=None if probability is None else np.array(probability, np.float64),
            classes=classes,
        )

    @classmethod
    def of_parts(cls, parts: Sequence[MergedRows]) -> MergedRows:
        """The rows of one or more parts, one after another. Each part's classes are the first of the last part's."""
        columns: dict[str, Any] = {
            name: np.concatenate([part._columns()[name] for part in parts]) for name in parts[-1]._columns()
        }
        rows = cls(parts[-1].problem_type, **columns, classes=parts[-1].classes)
        if rows.segment is None:
            return rows
        return rows.in_segments([name for part in parts for name in part.names_of_segments()])

    def in_segments(self, names: Sequence[str | None]) -> MergedRows:
        """The same rows, each in the segment named beside it, None in none."""
        numbers = {
            name: number for number, name in enumerate(name for name in dict.fromkeys(names) if name is not None)
        }
        codes = np.fromiter((-1 if name is None else numbers[name] for name in names), np.int32, len(names))
        return replace(self, segment=codes, segments=tuple(numbers))

    @property
    def records(self) -> int:
        """The number of rows of the merge that these stand for."""
        return len(self) if self.weight is None else int(self.weight.sum())

    def binned(self) -> MergedRows:
        """The same rows of a binary problem, counted: those of one class, sample, segment and step of the probability are one.

        A step is one of `SCORE_STEPS`, and its middle stands for the probabilities in it. All else stays exact, and binning
        rows together or in parts gives the same in the end. Rows without a probability are left as they are.
        """
        if self.probability is None:
            return self
        step = np.minimum((self.probability * SCORE_STEPS).astype(np.int64), SCORE_STEPS - 1)
        segment = np.full(len(self), -1, np.int64) if self.segment is None else self.segment.astype(np.int64)
        keys = segment + 1
        for column, room in ((step, SCORE_STEPS), (self.flags, 1 << SAMPLES), (self.actual, 2), (self.predicted, 2)):
            keys = keys * room + column
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        kept = {name: column[first] for name, column in self._columns().items()}
        weight = np.zeros(len(first), np.int64)
        np.add.at(weight, inverse, 1 if self.weight is None else self.weight)
        kept |= {"probability": (step[first] + 0.5) / SCORE_STEPS, "weight": weight}
        return MergedRows(self.problem_type, **kept, classes=self.classes, segments=self.segments)

    @property
    def nbytes(self) -> int:
        """Bytes of the columns."""
        return sum(column.nbytes for column in self._columns().values())

    def names_of_segments(self) -> list[str | None]:
        """The segment of each row."""
        names: list[str | None] = [*self.segments, None]  # which -1 finds
        return [] if self.segment is None else [names[code] for code in self.segment.tolist()]

    def take(self, chosen: NDArray[np.bool_]) -> MergedRows:
        """The rows that are chosen, in their order."""
        columns = {name: column[chosen] for name, column in self._columns().items()}
        return MergedRows(self.problem_type, **columns, classes=self.classes, segments=self.segments)

    def __post_init__(self) -> None:
        _known_problem(self.problem_type)
        lengths = {name: len(column) for name, column in self._columns().items()}
        if len(set(lengths.values())) != 1:
            raise InputError(
                expected="columns of one length",
                came=", ".join(f"{name}: {length}" for name, length in lengths.items()),
                where="merged rows",
                next_step="merge the window again",
            )

    def __len__(self) -> int:
        return len(self.flags)

    def part(self, first: int, last: int) -> MergedRows:
        """The rows from `first` up to `last`, exclusive."""
        columns = {name: column[first:last] for name, column in self._columns().items()}
        return MergedRows(self.problem_type, **columns, classes=self.classes, segments=self.segments)

    def _columns(self) -> dict[str, Any]:
        columns = {"flags": self.flags, "actual": self.actual, "predicted": self.predicted}
        if self.probability is not None:
            columns["probability"] = self.probability
        if self.segment is not None:
            columns["segment"] = self.segment
        if self.weight is not None:
            columns["weight"] = self.weight
        return columns

    def to_bytes(self) -> bytes:
        """The rows as one file (`packing`). Equal rows give equal bytes."""
        about = {"classes": self.classes, "segments": self.segments}
        return packed(_ROWS, self.problem_type, self._columns(), about)

    @classmethod
    def from_bytes(cls, data: bytes) -> MergedRows:
        """Read what `to_bytes` wrote. Columns are views of it, and cannot be written to.

        Raises:
            InputError: ``data`` is not a whole file of merged rows.
        """
        found = unpacked(_ROWS, data)
        if found is not None:
            problem_type, columns, about = found
            with suppress(TypeError, KeyError):
                return cls(problem_type, **columns, classes=tuple(about["classes"]), segments=tuple(about["segments"]))
        raise InputError(
            expected="merged rows as a run wrote them",
            came=f"{len(data)} bytes that are none",
            where="merged rows",
            next_step="merge the window again",
        )


@dataclass(frozen=True, slots=True, eq=False)
class BinaryState:
    """Counts of a binary problem.

    Attributes:
        confusion: int64[6, 2, 2]: tally, actual, predicted; 0 is the negative class and 1 the positive one.
        scores: float64[n], the probability of each row, or None where none is captured.
        tags: uint8[n], beside ``scores``: bit 0 is the actual class, bits 1 to 5 are the row's samples.
        weights: int64[n], how many rows each score and tag stands for, where scores are binned; None where each is one.
    """

    confusion: NDArray[np.int64]
    scores: NDArray[np.float64] | None = None
    tags: NDArray[np.uint8] | None = None
    weights: NDArray[np.int64] | None = None

    @property
    def records(self) -> int:
        """The number of rows counted."""
        return int(self.confusion[0].sum())

    def __add__(self, other: BinaryState) -> BinaryState:
        return _add_binary((self, other))


@dataclass(frozen=True, slots=True, eq=False)
class MulticlassState:
    """Counts of a multiclass problem, sparse: only pairs of classes that occur take room.

    Attributes:
        classes: the class texts that occur, sorted. K of them.
        pairs: int64[p], sorted and distinct: ``actual * K + predicted``, both as indexes into ``classes``.
        counts: int64[6, p]: tally, pair. Each pair occurs in the whole set at least once.
    """

    classes: tuple[str, ...]
    pairs: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def records(self) -> int:
        """The number of rows counted."""
        return int(self.counts[0].sum())

    @property
    def actual(self) -> NDArray[np.int64]:
        """The index of the actual class of each pair."""
        return self.pairs // max(len(self.classes), 1)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The index of the predicted class of each pair."""
        return self.pairs % max(len(self.classes), 1)

    def __add__(self, other: MulticlassState) -> MulticlassState:
        return _add_multiclass((self, other))


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """How many rows fall into each cell of a grid, in one dimension or two.

    A cell's side is ``2 ** level`` along every axis, and cell 0 starts at zero. The level is the lowest at which no more
    than `GRID_CELLS` cells hold anything and each index fits 30 bits and a sign. It follows from the values alone: so
    grids of parts, added in any order, are exactly the grid of the whole. An outlier costs a cell, and detail only where
    it is a million times as far away as the others.

    Attributes:
        level: the binary logarithm of a cell's side.
        cells: int64[c, d], the index of each cell that holds something: ``floor(value / side)``; in Z-order.
        counts: int64[c], the rows in it.
    """

    level: int
    cells: NDArray[np.int64]
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class RegressionState:
    """Sums of a regression problem, each of six tallies, and two grids. All are exact, so no order and no cut changes them.

    Sums are in units of ``2 ** -STEP``, those of squares in units of ``2 ** (-2 * STEP)`` (see `sums`).

    Attributes:
        n: rows.
        actual: sum of the actual values.
        actual_squared: sum of their squares.
        abs_error: sum of ``|predicted - actual|``, each rounded to a float.
        squared_error: sum of the squares of these.
        pairs: all rows by actual and predicted value, in two dimensions.
        errors: all rows by ``predicted - actual``, in one.

    Where an infinity comes in, or an error is too large for a float, the largest that a float can hold counts instead.
    """

    n: tuple[int, ...]
    actual: tuple[int, ...]
    actual_squared: tuple[int, ...]
    abs_error: tuple[int, ...]
    squared_error: tuple[int, ...]
    pairs: Grid
    errors: Grid

    @property
    def records(self) -> int:
        """The number of rows counted."""
        return self.n[0]

    def __add__(self, other: RegressionState) -> RegressionState:
        return _add_regression((self, other))


State: TypeAlias = BinaryState | MulticlassState | RegressionState


def state_of(rows: MergedRows) -> State:
    """Count merged rows. The rows are left as they are."""
    if rows.problem_type == BINARY:
        return _binary_state(rows)
    if rows.problem_type == MULTICLASS:
        return _multiclass_state(rows)
    return _regression_state(rows)


def empty_state(problem_type: str) -> State:
    """The state of no rows: added to any other, it changes nothing."""
    return add_states((), problem_type)


def add_states(states: Iterable[State], problem_type: str) -> State:
    """Add states, in time linear in their size. They are left as they are.

    What is computed of the sum does not depend on the order.

    Raises:
        InputError: states of another problem type, or binary ones with and without probabilities.
    """
    kind = _KINDS[_known_problem(problem_type)]
    parts = list(states)
    for part in parts:
        if not isinstance(part, kind):
            raise InputError(
                expected=f"states of one problem type, {problem_type}",
                came=type(part).__name__,
                where="adding states",
                next_step="analyze one monitor's parts at a time",
            )
    if problem_type == BINARY:
        return _add_binary([part for part in parts if isinstance(part, BinaryState)])
    if problem_type == MULTICLASS:
        return _add_multiclass([part for part in parts if isinstance(part, MulticlassState)])
    return _add_regression([part for part in parts if isinstance(part, RegressionState)])


_KINDS: Final = {BINARY: BinaryState, MULTICLASS: MulticlassState, REGRESSION: RegressionState}


def _known_problem(problem_type: str) -> str:
    if problem_type not in PROBLEM_TYPES:
        raise InputError(
            expected="a problem type: " + ", ".join(PROBLEM_TYPES),
            came=repr(problem_type),
            where="problem_type",
            next_step="use SageMaker's word for the problem",
        )
    return problem_type


# binary


def _binary_state(rows: MergedRows) -> BinaryState:
    cells = rows.flags << np.uint8(2)
    cells |= rows.actual.astype(np.uint8, copy=False) << np.uint8(1)
    cells |= rows.predicted.astype(np.uint8, copy=False)
    # (weights are summed as floats, which are exact for whole numbers below 2 ** 53)
    by_flags = np.bincount(cells, rows.weight, minlength=4 << SAMPLES).astype(np.int64).reshape(1 << SAMPLES, 4)
    confusion = (_MEMBERS @ by_flags).reshape(TALLIES, 2, 2)
    if rows.probability is None:
        return BinaryState(confusion)
    tags = rows.flags << np.uint8(1)
    tags |= rows.actual.astype(np.uint8, copy=False)
    return BinaryState(confusion, rows.probability, tags, rows.weight)


def _add_binary(states: Sequence[BinaryState]) -> BinaryState:
    confusion = np.zeros((TALLIES, 2, 2), dtype=np.int64)
    scores: list[NDArray[np.float64]] = []
    tags: list[NDArray[np.uint8]] = []
    weights: list[NDArray[np.int64]] = []
    bare = 0
    for state in states:
        confusion += state.confusion
        if state.scores is not None and state.tags is not None:
            scores.append(state.scores)
            tags.append(state.tags)
            weights.append(state.weights if state.weights is not None else np.ones(len(state.tags), np.int64))
        else:
            bare += state.records
    if not scores:
        return BinaryState(confusion)
    if bare:
        raise InputError(
            expected="a probability for every row, or for none",
            came=f"{bare} rows without one among {int(confusion[0].sum())}",
            where="adding states",
            next_step="analyze one monitor's parts at a time",
        )
    if len(states) == 1 and states[0].weights is None:
        return states[0]
    all_scores, all_tags = np.concatenate(scores), np.concatenate(tags)
    if all(state.weights is None for state in states):
        return BinaryState(confusion, all_scores, all_tags)
    # equal ones become one: however many parts there are, no more is held than steps and tags
    step = np.minimum((all_scores * SCORE_STEPS).astype(np.int64), SCORE_STEPS - 1)
    _, first, inverse = np.unique(step << 6 | all_tags, return_index=True, return_inverse=True)
    summed = np.zeros(len(first), np.int64)
    np.add.at(summed, inverse, np.concatenate(weights))
    return BinaryState(confusion, (step[first] + 0.5) / SCORE_STEPS, all_tags[first], summed)


# multiclass


def _multiclass_state(rows: MergedRows) -> MulticlassState:
    size = len(rows.classes)
    if len(rows) == 0:
        return _add_multiclass(())
    keys = rows.actual.astype(np.int64)
    keys *= size
    keys += rows.predicted
    keys <<= SAMPLES
    keys |= rows.flags
    limit = size * size << SAMPLES
    if limit <= 4 * len(rows) + (1 << 16):
        table = np.bincount(keys, minlength=limit)
        found = np.flatnonzero(table)
        occurrences = table[found]
    else:
        found, occurrences = np.unique(keys, return_counts=True)
    counts = _MEMBERS[:, found & ((1 << SAMPLES) - 1)] * occurrences
    pairs = found >> SAMPLES
    return _canonical(rows.classes, pairs // size, pairs % size, counts)


def _add_multiclass(states: Sequence[MulticlassState]) -> MulticlassState:
    states = [state for state in states if len(state.pairs)]
    if not states:
        return MulticlassState((), np.zeros(0, dtype=np.int64), np.zeros((TALLIES, 0), dtype=np.int64))
    codes = {name: code for code, name in enumerate(dict.fromkeys(name for state in states for name in state.classes))}
    actual, predicted = [], []
    for state in states:
        new_code = np.array([codes[name] for name in state.classes], dtype=np.int64)
        actual.append(new_code[state.actual])
        predicted.append(new_code[state.predicted])
    counts = np.concatenate([state.counts for state in states], axis=1)
    return _canonical(tuple(codes), np.concatenate(actual), np.concatenate(predicted), counts)


def _canonical(
    classes: tuple[str, ...], actual: NDArray[np.int64], predicted: NDArray[np.int64], counts: NDArray[np.int64]
) -> MulticlassState:
    """Sum equal pairs, drop the classes that do not occur and sort the others."""
    occurring = np.union1d(actual, predicted).tolist()
    order = sorted(occurring, key=classes.__getitem__)
    names: list[str] = []
    new_code = np.zeros(len(classes), dtype=np.int64)
    for code in order:
        if not names or names[-1] != classes[code]:  # a part may name one class twice
            names.append(classes[code])
        new_code[code] = len(names) - 1
    keys = new_code[actual] * len(names) + new_code[predicted]
    by_key = np.argsort(keys, kind="stable")
    keys = keys[by_key]
    first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return MulticlassState(tuple(names), keys[first], np.add.reduceat(counts[:, by_key], first, axis=1))


# regression


def _regression_state(rows: MergedRows) -> RegressionState:
    actual = np.nan_to_num(rows.actual)
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.nan_to_num(rows.predicted - rows.actual)
    sums = (
        np.bincount(rows.flags, minlength=1 << SAMPLES),
        exact_sums(actual, rows.flags, 1 << SAMPLES),
        exact_square_sums(actual, rows.flags, 1 << SAMPLES),
        exact_sums(np.abs(error), rows.flags, 1 << SAMPLES),
        exact_square_sums(error, rows.flags, 1 << SAMPLES),
    )
    return _regression_of(
        [(_MEMBERS @ by_flags).tolist() for by_flags in sums], _grid_of(actual, rows.predicted), _grid_of(error)
    )


def _add_regression(states: Sequence[RegressionState]) -> RegressionState:
    sums = (
        [(0,) * TALLIES] * 5,
        *((state.n, state.actual, state.actual_squared, state.abs_error, state.squared_error) for state in states),
    )
    return _regression_of(
        [[sum(parts) for parts in zip(*column, strict=True)] for column in zip(*sums, strict=True)],
        _add_grids([state.pairs for state in states], 2),
        _add_grids([state.errors for state in states], 1),
    )


def _regression_of(sums: Sequence[Sequence[int]], pairs: Grid, errors: Grid) -> RegressionState:
    n, actual, actual_squared, abs_error, squared_error = map(tuple, sums)
    return RegressionState(n, actual, actual_squared, abs_error, squared_error, pairs, errors)


_INDEX_BITS: Final = 30
_LOWEST_LEVEL: Final = -1104  # at which the smallest number that a float can hold has an index of that many bits


def _grid_of(*axes: NDArray[np.float64]) -> Grid:
    """The grid of values, one array for each axis. Infinite ones count as the largest that a float can hold, NaN as 0."""
    axes = tuple(np.nan_to_num(values) for values in axes)
    largest = max((float(np.abs(values).max()) for values in axes if len(values)), default=0.0)
    level = math.frexp(largest)[1] - _INDEX_BITS if largest else _LOWEST_LEVEL
    cells = np.empty((len(axes[0]), len(axes)), dtype=np.int64)
    for axis, values in enumerate(axes):
        cells[:, axis] = np.floor(np.ldexp(values, -level))
        cells[:, axis] -= (cells[:, axis] == 0) & (values < 0)  # what was too small to be scaled is below zero still
    return _compact(level, cells, None)


def _add_grids(grids: Sequence[Grid], dimensions: int) -> Grid:
    level = max((grid.level for grid in grids), default=_LOWEST_LEVEL)
    # a shift to the right rounds down, as the floor of a division does
    cells = [grid.cells >> min(level - grid.level, 63) for grid in grids]
    counts = [grid.counts for grid in grids]
    none = np.zeros((0, dimensions), dtype=np.int64)
    return _compact(level, np.concatenate([none, *cells]), np.concatenate([none[:, 0], *counts]))


def _compact(level: int, cells: NDArray[np.int64], counts: NDArray[np.int64] | None) -> Grid:
    """Sum equal cells, and double their side until there are few enough. Without counts each cell counts once."""
    dimensions = cells.shape[1]
    # Z-order: with the bits of both axes interleaved, cells that a doubled side unites are neighbours
    codes = np.zeros(len(cells), dtype=np.uint64)
    for axis in range(dimensions):
        index = (cells[:, axis] + (1 << _INDEX_BITS)).astype(np.uint64)
        codes |= (_spread_out(index) if dimensions == 2 else index) << np.uint64(axis)
    if counts is None:
        codes.sort()
    else:
        order = np.argsort(codes, kind="stable")
        codes, counts = codes[order], counts[order]
    differing = codes[1:] ^ codes[:-1]
    doublings = 0
    while np.count_nonzero(differing >> np.uint64(dimensions * doublings)) >= GRID_CELLS:
        doublings += 1
    codes >>= np.uint64(dimensions * doublings)
    first = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))[: len(codes)]
    found = np.empty((len(first), dimensions), dtype=np.int64)
    for axis in range(dimensions):
        index = codes[first] >> np.uint64(axis)
        found[:, axis] = (_drawn_in(index) if dimensions == 2 else index).astype(np.int64)
    found -= 1 << _INDEX_BITS >> doublings
    if counts is None:
        counts = np.diff(first, append=len(codes))
    elif len(first):
        counts = np.add.reduceat(counts, first)
    return Grid(level + doublings, found, counts)


_ZIPPERS: Final = tuple(
    (np.uint64(shift), np.uint64(mask))
    for shift, mask in (
        (16, 0x0000FFFF0000FFFF),
        (8, 0x00FF00FF00FF00FF),
        (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333),
        (1, 0x5555555555555555),
    )
)


def _spread_out(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each of the lower 32 bits to twice its place."""
    for shift, mask in _ZIPPERS:
        bits = (bits | bits << shift) & mask
    return bits


def _drawn_in(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each bit of an even place to half of it: the inverse of `_spread_out`; bits of odd places are dropped."""
    bits = bits & _ZIPPERS[-1][1]
    for (shift, _), (_, mask) in zip(_ZIPPERS[:0:-1], _ZIPPERS[-2::-1], strict=True):
        bits = (bits | bits >> shift) & mask
    return (bits | bits >> _ZIPPERS[0][0]) & np.uint64(0xFFFFFFFF)


# the counts of a merge


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """Where a rejected line stands and why it was rejected. ``line`` counts from 1 within its object.

    ``seen`` is what was found in its place; empty where there is nothing to show or payloads are not to be kept.
    """

    file: str
    line: int
    reason: str
    seen: str = ""

    def as_dict(self) -> dict[str, Any]:
        """``{"file", "line", "reason"}``, and ``seen`` where it is not empty."""
        found: dict[str, Any] = {"file": self.file, "line": self.line, "reason": self.reason}
        return {**found, "seen": self.seen} if self.seen else found


@dataclass(frozen=True, slots=True)
class CaptureCounts:
    """What became of the capture lines (rule I4). ``unaccounted`` is 0 in every correct count.

    ``examples`` are rejected lines in the order in which they stand; the report shows the first ten.
    """

    files: int = 0
    lines: int = 0
    used: int = 0
    outside_window: int = 0
    dropped: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    duplicate_ids: int = 0
    examples: tuple[RejectedLine, ...] = ()

    @property
    def unaccounted(self) -> int:
        """Lines that are neither used, outside the window, dropped nor rejected."""
        return self.lines - self.used - self.outside_window - self.dropped - sum(self.rejected.values())

    def as_dict(self) -> dict[str, Any]:
        """The ``capture`` block of ``report.json``."""
        return {
            "files": self.files,
            "lines": self.lines,
            "used": self.used,
            "outside_window": self.outside_window,
            "dropped": self.dropped,
            "rejected": dict(sorted(self.rejected.items())),
            "duplicate_ids": self.duplicate_ids,
            "rejected_examples": [line.as_dict() for line in self.examples[:EXAMPLES]],
        }

    @classmethod
    def from_dict(cls, block: Mapping[str, Any]) -> CaptureCounts:
        """Read what `as_dict` wrote; keys that it does not write are ignored."""
        return cls(
            files=block["files"],
            lines=block["lines"],
            used=block["used"],
            outside_window=block["outside_window"],
            dropped=block["dropped"],
            rejected=dict(block["rejected"]),
            duplicate_ids=block["duplicate_ids"],
            examples=_examples(block),
        )


@dataclass(frozen=True, slots=True)
class GroundTruthCounts:
    """What became of the label lines (rule I4). ``unaccounted`` is 0 in every correct count."""

    files: int = 0
    lines: int = 0
    used: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    duplicate_labels: int = 0
    examples: tuple[RejectedLine, ...] = ()

    @property
    def unaccounted(self) -> int:
        """Lines that are neither used nor rejected."""
        return self.lines - self.used - sum(self.rejected.values())

    def as_dict(self) -> dict[str, Any]:
        """The ``ground_truth`` block of ``report.json``."""
        return {
            "files": self.files,
            "lines": self.lines,
            "used": self.used,
            "rejected": dict(sorted(self.rejected.items())),
            "duplicate_labels": self.duplicate_labels,
            "rejected_examples": [line.as_dict() for line in self.examples[:EXAMPLES]],
        }

    @classmethod
    def from_dict(cls, block: Mapping[str, Any]) -> GroundTruthCounts:
        """Read what `as_dict` wrote; keys that it does not write are ignored."""
        return cls(
            files=block["files"],
            lines=block["lines"],
            used=block["used"],
            rejected=dict(block["rejected"]),
            duplicate_labels=block["duplicate_labels"],
            examples=_examples(block),
        )


def label_coverage(used: int, captures_without_label: int) -> float | None:
    """The share of used captures that found a label; None where no capture was used."""
    return (used - captures_without_label) / used if used else None


@dataclass(frozen=True, slots=True)
class JoinCounts:
    """What became of the join (rule M1). ``label_coverage`` is what the function of that name gives."""

    matched: int = 0
    captures_without_label: int = 0
    labels_without_capture: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    label_coverage: float | None = None
    label_ages: LabelAges = field(default_factory=LabelAges)

    def as_dict(self) -> dict[str, Any]:
        """The ``merge`` block of ``report.json``."""
        return {
            "matched": self.matched,
            "captures_without_label": self.captures_without_label,
            "labels_without_capture": self.labels_without_capture,
            "rejected": dict(sorted(self.rejected.items())),
            "label_coverage": self.label_coverage,
            "label_ages": self.label_ages.as_dict(),
        }

    @classmethod
    def from_dict(cls, block: Mapping[str, Any]) -> JoinCounts:
        """Read what `as_dict` wrote; keys that it does not write are ignored."""
        return cls(
            matched=block["matched"],
            captures_without_label=block["captures_without_label"],
            labels_without_capture=block["labels_without_capture"],
            rejected=dict(block["rejected"]),
            label_coverage=block["label_coverage"],
            label_ages=LabelAges.from_dict(block["label_ages"]),
        )


@dataclass(frozen=True, slots=True)
class MergeCounts:
    """Every line and id of a merge, accounted for."""

    capture: CaptureCounts
    ground_truth: GroundTruthCounts
    merge: JoinCounts

    def as_dict(self) -> dict[str, Any]:
        """The ``capture``, ``ground_truth`` and ``merge`` blocks of ``report.json``."""
        return {
            "capture": self.capture.as_dict(),
            "ground_truth": self.ground_truth.as_dict(),
            "merge": self.merge.as_dict(),
        }

    @classmethod
    def from_dict(cls, blocks: Mapping[str, Any]) -> MergeCounts:
        """Read what `as_dict` wrote; keys that it does not write are ignored."""
        return cls(
            capture=CaptureCounts.from_dict(blocks["capture"]),
            ground_truth=GroundTruthCounts.from_dict(blocks["ground_truth"]),
            merge=JoinCounts.from_dict(blocks["merge"]),
        )


def _examples(block: Mapping[str, Any]) -> tuple[RejectedLine, ...]:
    return tuple(
        RejectedLine(example["file"], example["line"], example["reason"], example.get("seen", ""))
        for example in block.get("rejected_examples", ())
    )
