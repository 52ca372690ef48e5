"""What a report draws beside its metrics: distributions of a state, small and ready for the pencil.

All of it is counted in whole numbers, so it does not depend on the order of rows, on the cut into parts or on the engine.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from airflow_mq_provider.quality.binary import Ranking, rank
from airflow_mq_provider.quality.multiclass import class_counts
from airflow_mq_provider.quality.states import BinaryState, Grid, MulticlassState, RegressionState, State

SCORE_BINS: Final = 20
CALIBRATION_BINS: Final = 10
CLASSES_LISTED: Final = 100
CLASSES_IN_MATRIX: Final = 12
CONFUSIONS_LISTED: Final = 10
GRID_STEPS: Final = 32
"""About so many cells along an axis: never more, and at least half as many where the state is fine enough."""

_FINE: Final = float(1 << 20)
_BLOCK: Final = 1 << 16
_NORMAL_95: Final = 1.959963984540054
_OUTER_SHARE: Final = 0.005
_FAR: Final = 2.5
_LARGEST: Final = 8e307  # half of what a float can hold: a span between two such is a float still


# binary


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The rows whose probability lies in one tenth of 0 to 1.

    Attributes:
        low: the least probability of the bin; the next bin starts a tenth higher.
        rows: how many, 1 at least.
        positives: how many of them are of the positive class.
        mean_probability: of these rows, to a millionth.
        interval: where the share of positives lies with 95 % confidence (Wilson's score interval).
    """

    low: float
    rows: int
    positives: int
    mean_probability: float
    interval: tuple[float, float]

    @property
    def share(self) -> float:
        """Of positives among the rows."""
        return self.positives / self.rows


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What the threshold makes of the probabilities. NaN where a ratio has nothing below its line."""

    threshold: float
    false_positive_rate: float
    recall: float
    precision: float


@dataclass(frozen=True, slots=True)
class BinaryFigures:
    """The probabilities of a binary problem.

    Attributes:
        negatives: rows of the negative class in each twentieth of 0 to 1; a probability of 1 counts into the last.
        positives: the same of the positive class.
        calibration: the tenths that hold rows, lowest first.
        operating_point: of the threshold.
    """

    negatives: tuple[int, ...]
    positives: tuple[int, ...]
    calibration: tuple[CalibrationBin, ...]
    operating_point: OperatingPoint


def binary_figures(ranking: Ranking, threshold: float) -> BinaryFigures:
    """The figures of the rows of a binary state, in order of their probability: what lies in a bin is one run of them."""
    upwards, highest = ranking.scores[::-1], len(ranking.scores)
    # a product with 20 is rounded as one with 10, so every other bound of a twentieth is that of a tenth
    inner = (bisect_left(upwards, number, key=lambda score: score * SCORE_BINS) for number in range(1, SCORE_BINS))
    ends = [highest, *(highest - place for place in inner), 0]
    negatives, positives = (
        [_before(counts, end) - _before(counts, start) for end, start in pairwise(ends)]
        for counts in (ranking.negatives, ranking.positives)
    )
    above = highest - int(np.searchsorted(upwards, threshold, side="right"))
    false_positives, true_positives = _before(ranking.negatives, above), _before(ranking.positives, above)
    return BinaryFigures(
        tuple(negatives),
        tuple(positives),
        tuple(_calibration(ranking, negatives, positives, ends)),
        OperatingPoint(
            threshold,
            _ratio(false_positives, sum(negatives)),
            _ratio(true_positives, sum(positives)),
            _ratio(true_positives, true_positives + false_positives),
        ),
    )


def _calibration(
    ranking: Ranking, negatives: Sequence[int], positives: Sequence[int], ends: Sequence[int]
) -> Iterator[CalibrationBin]:
    """Of the tenths that hold rows, from the rows of each twentieth and where it ends and starts in the order."""
    for number in range(CALIBRATION_BINS):
        twentieths = slice(2 * number, 2 * number + 2)
        positive = sum(positives[twentieths])
        rows = positive + sum(negatives[twentieths])
        if rows:
            yield CalibrationBin(
                low=number / CALIBRATION_BINS,
                rows=rows,
                positives=positive,
                mean_probability=_sum(ranking, ends[2 * number + 2], ends[2 * number]) / _FINE / rows,
                interval=_wilson(positive, rows),
            )


def _before(counts: NDArray[np.int64], place: int) -> int:
    """How many rows stand before a place, by how many stand up to each."""
    return int(counts[place - 1]) if place else 0


def _sum(ranking: Ranking, start: int, end: int) -> float:
    """Of the probabilities of all rows there, in whole millionths: whole numbers below 2 ** 53 have one sum in every order."""
    total = 0.0
    for first in range(start, end, _BLOCK):
        here = slice(first, min(first + _BLOCK, end))
        before = _before(ranking.positives, first) + _before(ranking.negatives, first)
        rows = np.diff(ranking.positives[here] + ranking.negatives[here], prepend=before)
        total += float((np.rint(ranking.scores[here] * _FINE) * rows).sum())  # a dot product would take threads for it
    return total


def _wilson(part: int, whole: int) -> tuple[float, float]:
    share, weight = part / whole, _NORMAL_95 * _NORMAL_95 / whole
    middle = (share + weight / 2) / (1 + weight)
    half = _NORMAL_95 / (1 + weight) * math.sqrt(share * (1 - share) / whole + weight / (4 * whole))
    return max(0.0, middle - half), min(1.0, middle + half)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


# multiclass


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class: its rows, the rows predicted as it, and those that are both. A ratio is NaN where it has no rows."""

    name: str
    records: int
    predicted: int
    right: int

    @property
    def precision(self) -> float:
        """Of the rows predicted as this class, the share that is of it."""
        return _ratio(self.right, self.predicted)

    @property
    def recall(self) -> float:
        """Of the rows of this class, the share predicted as it."""
        return _ratio(self.right, self.records)

    @property
    def f1(self) -> float:
        """The harmonic mean of the two, in counts: 2 TP / (2 TP + FP + FN)."""
        return _ratio(2 * self.right, self.records + self.predicted)


@dataclass(frozen=True, slots=True)
class MulticlassFigures:
    """The classes of a multiclass problem, the commonest first; equally common ones in the order of their text.

    Attributes:
        number: of classes that occur, as a label or as a prediction.
        classes: up to 100 of them.
        matrix: rows by actual and by predicted class, each up to 12 classes and, if there are more, all others.
        confusions: the commonest mistakes, up to 10: actual class, predicted class, rows.
    """

    number: int
    classes: tuple[ClassFigures, ...]
    matrix: tuple[tuple[int, ...], ...]
    confusions: tuple[tuple[str, str, int], ...]


def multiclass_figures(state: MulticlassState) -> MulticlassFigures:
    """The figures of a multiclass state."""
    records, predicted, right = class_counts(state)
    order = np.argsort(-records, kind="stable")
    classes = tuple(
        ClassFigures(state.classes[code], int(records[code]), int(predicted[code]), int(right[code]))
        for code in order[:CLASSES_LISTED].tolist()
    )
    # 12 classes and a thirteenth for the others; thirteen classes need no others
    drawn = len(order) if len(order) <= CLASSES_IN_MATRIX + 1 else CLASSES_IN_MATRIX
    size = drawn + (len(order) > drawn)
    place = np.full(len(order), size - 1)
    place[order[:drawn]] = np.arange(drawn)
    matrix = np.zeros((size, size), dtype=np.int64)
    np.add.at(matrix, (place[state.actual], place[state.predicted]), state.counts[0])
    wrong = np.flatnonzero(state.actual != state.predicted)
    commonest = wrong[np.argsort(-state.counts[0][wrong], kind="stable")][:CONFUSIONS_LISTED]
    return MulticlassFigures(
        len(order),
        classes,
        tuple(map(tuple, matrix.tolist())),
        tuple(
            (state.classes[actual], state.classes[found], rows)
            for actual, found, rows in zip(
                state.actual[commonest].tolist(),
                state.predicted[commonest].tolist(),
                state.counts[0][commonest].tolist(),
                strict=True,
            )
        ),
    )


# regression


@dataclass(frozen=True, slots=True)
class Squares:
    """Rows on a square grid: both axes go from ``low`` in ``steps`` steps of ``side``.

    Attributes:
        low: where the axes begin.
        side: of a cell.
        steps: cells along an axis.
        cells: step along the first axis, step along the second, rows; only cells that hold some.
        outside: rows beyond the axes.
    """

    low: float
    side: float
    steps: int
    cells: tuple[tuple[int, int, int], ...]
    outside: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Rows in bins of equal width: bin i begins at ``low + i * side`` and does not hold its end.

    ``below`` and ``above`` are the rows beyond the bins.
    """

    low: float
    side: float
    counts: tuple[int, ...]
    below: int
    above: int


@dataclass(frozen=True, slots=True)
class RegressionFigures:
    """Actual values (first axis) with predicted ones (second), and the errors: predicted minus actual."""

    pairs: Squares
    errors: Histogram


def regression_figures(state: RegressionState) -> RegressionFigures:
    """The figures of a regression state that holds rows.

    The axes show every value, unless some lie so far out that the others would be crowded: then half a percent at either
    end may lie beyond them, and is counted.
    """
    actual, predicted = _middles(state.pairs, 0), _middles(state.pairs, 1)
    both, rows = np.concatenate((actual, predicted)), np.tile(state.pairs.counts, 2)
    level, low, steps = _axis(*_span(both, rows), state.pairs.level)
    moved = (state.pairs.cells >> (level - state.pairs.level)) - low
    inside = ((moved >= 0) & (moved < steps)).all(axis=1)
    square = np.zeros((steps, steps), dtype=np.int64)
    np.add.at(square, tuple(moved[inside].T), state.pairs.counts[inside])
    found = np.argwhere(square)
    pairs = Squares(
        math.ldexp(low, level),
        math.ldexp(1, level),
        steps,
        tuple(zip(*found.T.tolist(), square[tuple(found.T)].tolist(), strict=True)),
        int(state.pairs.counts[~inside].sum()),
    )
    first, last = _span(_middles(state.errors, 0), state.errors.counts)
    level, low, steps = _axis(min(first, 0.0), max(last, 0.0), state.errors.level)
    bins = (state.errors.cells[:, 0] >> (level - state.errors.level)) - low
    inside = (bins >= 0) & (bins < steps)
    counts = np.zeros(steps, dtype=np.int64)
    np.add.at(counts, bins[inside], state.errors.counts[inside])
    errors = Histogram(
        math.ldexp(low, level),
        math.ldexp(1, level),
        tuple(counts.tolist()),
        int(state.errors.counts[bins < 0].sum()),
        int(state.errors.counts[bins >= steps].sum()),
    )
    return RegressionFigures(pairs, errors)


def _middles(grid: Grid, axis: int) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        middles: NDArray[np.float64] = np.ldexp(grid.cells[:, axis] + 0.5, grid.level)
    return np.clip(middles, -_LARGEST, _LARGEST)


def _span(values: NDArray[np.float64], rows: NDArray[np.int64]) -> tuple[float, float]:
    """From where to where an axis goes: all values, or the middle 99 % where the others lie far out."""
    order = np.argsort(values, kind="stable")
    values, below = values[order], np.cumsum(rows[order])
    last = min(int(np.searchsorted(below, below[-1] * (1 - _OUTER_SHARE))), len(values) - 1)
    inner = (float(values[np.searchsorted(below, below[-1] * _OUTER_SHARE)]), float(values[last]))
    outer = (float(values[0]), float(values[-1]))
    return outer if outer[1] - outer[0] <= _FAR * (inner[1] - inner[0]) else inner


def _axis(first: float, last: float, finest: int) -> tuple[int, int, int]:
    """The level of the cells that an axis needs, the index of its first cell, and how many they are."""
    if first == last:  # one value: room around it
        room = abs(first) / 20 or 1.0
        first, last = first - room, last + room
    level = max(math.frexp((last - first) / (GRID_STEPS - 1))[1], finest)
    low = math.floor(math.ldexp(first, -level))
    return level, low, math.floor(math.ldexp(last, -level)) - low + 1


Figures: TypeAlias = BinaryFigures | MulticlassFigures | RegressionFigures


def figures(state: State, threshold: float, ranking: Ranking | None = None) -> Figures | None:
    """What a report draws of a state with rows; None where there is nothing to draw: a binary one without probabilities.

    Args:
        state: the counts.
        threshold: of a binary problem.
        ranking: what `rank` gave for this state, if at hand; it is made otherwise.
    """
    if isinstance(state, BinaryState):
        ranking = ranking or rank(state)
        return None if ranking is None else binary_figures(ranking, threshold)
    if isinstance(state, MulticlassState):
        return multiclass_figures(state)
    return regression_figures(state)
