"""What a report draws beside its metrics: distributions of a state, small and ready for the pencil.

All of it is counted in whole numbers, so it does not depend on the order of rows, on the cut into parts or on the engine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

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
_BLOCK: Final = 1 << 20
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


def binary_figures(state: BinaryState, threshold: float) -> BinaryFigures | None:
    """The figures of a binary state; None where it holds no probabilities."""
    if state.scores is None or state.tags is None:
        return None
    histogram = np.zeros((2, SCORE_BINS), dtype=np.int64)
    sums = np.zeros(CALIBRATION_BINS)
    above = np.zeros(2, dtype=np.int64)
    for start in range(0, len(state.scores), _BLOCK):
        scores = state.scores[start : start + _BLOCK]
        positive = (state.tags[start : start + _BLOCK] & np.uint8(1)).astype(np.intp)
        times = None if state.weights is None else state.weights[start : start + _BLOCK]
        twentieth = _bins(scores, SCORE_BINS)
        histogram += _by_class(twentieth, positive, SCORE_BINS, times)
        tenth = twentieth >> 1  # a product with 20 is rounded as one with 10
        # whole millionths: a sum of whole numbers below 2 ** 53 is the same in every order
        fine = np.rint(scores * _FINE)
        sums += np.bincount(tenth, weights=fine if times is None else fine * times, minlength=CALIBRATION_BINS)
        beyond = scores > threshold
        above += _counts(positive[beyond], 2, None if times is None else times[beyond])
    rows = histogram.reshape(2, CALIBRATION_BINS, 2).sum(axis=2)
    calibration = tuple(
        CalibrationBin(
            low=number / CALIBRATION_BINS,
            rows=negatives + positives,
            positives=positives,
            mean_probability=total / _FINE / (negatives + positives),
            interval=_wilson(positives, negatives + positives),
        )
        for number, (negatives, positives, total) in enumerate(zip(*rows.tolist(), sums.tolist(), strict=True))
        if negatives + positives
    )
    (false_positives, true_positives), (all_negatives, all_positives) = above.tolist(), histogram.sum(axis=1).tolist()
    return BinaryFigures(
        tuple(histogram[0].tolist()),
        tuple(histogram[1].tolist()),
        calibration,
        OperatingPoint(
            threshold,
            _ratio(false_positives, all_negatives),
            _ratio(true_positives, all_positives),
            _ratio(true_positives, true_positives + false_positives),
        ),
    )


def _bins(scores: NDArray[np.float64], number: int) -> NDArray[np.intp]:
    return np.minimum((scores * number).astype(np.intp), number - 1)


def _by_class(
    bins: NDArray[np.intp], positive: NDArray[np.intp], number: int, times: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    return _counts(positive * number + bins, 2 * number, times).reshape(2, number)


def _counts(numbers: NDArray[np.intp], limit: int, times: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """How often each number below the limit occurs, each so many times as it stands for."""
    return np.bincount(numbers, times, minlength=limit).astype(np.int64)


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


def figures(state: State, threshold: float) -> Figures | None:
    """What a report draws of a state with rows; None where there is nothing to draw: a binary one without probabilities."""
    if isinstance(state, BinaryState):
        return binary_figures(state, threshold)
    if isinstance(state, MulticlassState):
        return multiclass_figures(state)
    return regression_figures(state)
