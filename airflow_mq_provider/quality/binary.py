"""Metrics of a binary problem, from its state: SageMaker's names, in SageMaker's order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from airflow_mq_provider.quality.states import SAMPLES, TALLIES, BinaryState, Metric, metrics_of_tallies

CURVE_POINTS: Final = 1000

_BLOCK: Final = 1 << 16
_ONE: Final = np.uint64(1)
_PACKED_SPAN: Final = np.uint64(1 << 58)


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The rows of a state put in order of their probability: made once, needed by both AUC and the curves.

    Attributes:
        scores: float64[d], the distinct probabilities, highest first.
        positives: int64[d], rows of the positive class with at least that probability.
        negatives: int64[d], the same of the negative class.
        auc: of the six tallies; NaN where one of the classes does not occur.
        auc_error_bound: how far the whole set's AUC may be from that of the probabilities before they were binned; None
            where they were not, and AUC is exact.
    """

    scores: NDArray[np.float64]
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]
    auc: tuple[float, ...]
    auc_error_bound: float | None = None


def rank(state: BinaryState) -> Ranking | None:
    """Order the rows of a state by probability; None where it holds no probabilities.

    The order of rows with equal probability has no influence on the result. AUC is exact: pairs of a positive and a
    negative row are counted in integers, those with equal probability as half, and divided once (rule A2). Of binned probabilities the pairs
    within a step count as half: the bound says what that may amount to.
    """
    if state.scores is None or state.tags is None:
        return None
    scores, last, tags, weights = _ordered(state.scores, state.tags, state.weights)
    # where no two scores are equal, every row is the last of its score, and none has to be looked up
    ends = slice(None) if len(last) == len(tags) else last
    positive_rows = tags >> _CLASS
    if weights is None:
        positives = np.cumsum(positive_rows, dtype=np.int64)[ends]
        negatives = last + 1 - positives
        twice_concordant, totals = _pairs(tags, last)
    else:
        positives = np.cumsum(weights * positive_rows, dtype=np.int64)[ends]
        negatives = np.cumsum(weights, dtype=np.int64)[ends] - positives
        twice_concordant, totals = _weighted_pairs(tags, last, weights)
    auc = tuple(
        pairs / (2 * positive * negative) if positive and negative else math.nan
        for pairs, positive, negative in zip(twice_concordant, *totals, strict=True)
    )
    return Ranking(scores, positives, negatives, auc, None if weights is None else _error_bound(positives, negatives))


_CLASS: Final = np.uint8(SAMPLES)
"""The place of the class in a tag that is to be sorted: above the samples, so that of equal scores negative rows come first."""
_FIELD: Final = 10
"""Bits for the count of one tally: six fit into 64 bits, so one sum counts all tallies at once."""
_TAG_BITS: Final = np.uint64(6)
_TAG: Final = np.uint64(63)
_RUN: Final = 512
"""Rows that are counted so; what is summed of them then has the room of two fields."""
_EVERY_OTHER: Final = np.uint64(sum((1 << _FIELD) - 1 << 2 * _FIELD * place for place in range(TALLIES // 2)))


def _fields(positive: bool) -> NDArray[np.uint64]:
    """By tag, a 1 in the field of each tally that counts the row, if it is of the class asked for."""
    members = [1 | sum((tag >> sample & 1) << _FIELD * (sample + 1) for sample in range(SAMPLES)) for tag in range(64)]
    return np.array([one if (tag >> SAMPLES) == positive else 0 for tag, one in enumerate(members)], np.uint64)


_POSITIVE: Final = _fields(True)
_NEGATIVE: Final = _fields(False)
_NEGATIVE_MASK: Final = _NEGATIVE * np.uint64((1 << _FIELD) - 1)


def _unpacked(fields: NDArray[np.uint64], width: int, number: int) -> NDArray[np.int64]:
    """The fields of each sum in columns, one behind the other."""
    places = np.arange(number, dtype=np.uint64) * np.uint64(width)
    return (fields[:, np.newaxis] >> places & np.uint64((1 << width) - 1)).astype(np.int64)


def _pairs(tags: NDArray[np.uint8], last: NDArray[np.int64]) -> tuple[list[int], list[list[int]]]:
    """Twice the concordant pairs of each tally, those of equal scores as half; and the positive and negative rows of each.

    Args:
        tags: of the rows, the highest score first, of equal ones the negative rows.
        last: the last row of each distinct score.
    """
    twice = np.zeros(TALLIES, np.int64)
    above = np.zeros(TALLIES, np.int64)
    below = np.zeros(TALLIES, np.int64)
    for start in range(0, len(tags), _BLOCK):
        block = tags[start : start + _BLOCK]
        whole = len(block) // _RUN * _RUN
        for runs in (block[:whole].reshape(-1, _RUN), block[whole:].reshape(1, -1)):
            if not runs.size:
                continue
            codes = runs.astype(np.intp)
            positives = _POSITIVE.take(codes).cumsum(axis=1)
            mask = _NEGATIVE_MASK.take(codes)
            negatives = _unpacked((mask & _ONES).sum(axis=1), _FIELD, TALLIES)
            # of each negative row, the positives above it in its run
            mask &= positives
            within = np.empty_like(negatives)
            for first in range(2):
                summed = (mask >> np.uint64(_FIELD * first) & _EVERY_OTHER).sum(axis=1)
                within[:, first::2] = _unpacked(summed, 2 * _FIELD, TALLIES // 2)
            here = _unpacked(positives[:, -1], _FIELD, TALLIES)
            before = above + here.cumsum(axis=0) - here
            twice += 2 * (within + before * negatives).sum(axis=0)
            above += here.sum(axis=0)
            below += negatives.sum(axis=0)
    if len(last) < len(tags):
        # no positive row was taken for one above a negative row of its score: such pairs are halves
        first_rows = np.append([0], last[:-1] + 1)
        tied = last > first_rows
        sizes = (last - first_rows + 1)[tied]
        positive, negative = _by_run(tags[np.repeat(tied, last - first_rows + 1)], np.cumsum(sizes) - sizes)
        twice += (positive * negative).sum(axis=1)
    return twice.tolist(), [above.tolist(), below.tolist()]


_ONES: Final = np.uint64(sum(1 << _FIELD * tally for tally in range(TALLIES)))


def _weighted_pairs(
    tags: NDArray[np.uint8], last: NDArray[np.int64], weights: NDArray[np.int64]
) -> tuple[list[int], list[list[int]]]:
    """The same of rows that stand for several each."""
    positive, negative = _by_run(tags, np.append([0], last[:-1] + 1)[: len(last)], weights)
    above = positive.cumsum(axis=1) - positive
    twice = ((2 * above + positive) * negative).sum(axis=1)
    return twice.tolist(), [positive.sum(axis=1).tolist(), negative.sum(axis=1).tolist()]


def _by_run(
    tags: NDArray[np.uint8], first: NDArray[np.int64], weights: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The positive and the negative rows of each tally in runs of rows that start at the places given: int64[6, runs] each."""
    positive, negative = np.zeros((2, TALLIES, len(first)), np.int64)
    for tally in range(TALLIES) if len(first) else ():
        rows = (tags >> np.uint8(tally - 1) & np.uint8(1)).astype(np.int64) if tally else np.ones(len(tags), np.int64)
        if weights is not None:
            rows *= weights
        positive[tally] = np.add.reduceat(rows * (tags >> _CLASS), first)
        negative[tally] = np.add.reduceat(rows, first) - positive[tally]
    return positive, negative


def _error_bound(positives: NDArray[np.int64], negatives: NDArray[np.int64]) -> float:
    """Half the share of pairs whose rows are in one step: each of them counts as half, and may be a whole one or none."""
    if not len(positives) or not positives[-1] or not negatives[-1]:
        return 0.0
    positive, negative = (np.diff(counts, prepend=0).astype(np.float64) for counts in (positives, negatives))
    return float(np.dot(positive, negative)) / 2 / (int(positives[-1]) * int(negatives[-1]))


def _ordered(
    scores: NDArray[np.float64], tags: NDArray[np.uint8], weights: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64] | None]:
    """The distinct scores, highest first; the last row of each; and the tags and weights of the rows in that order.

    Tags come with the class above the samples; rows of equal scores with the negative ones first.
    """
    tags = tags >> np.uint8(1) | (tags & np.uint8(1)) << _CLASS
    if len(scores) == 0:
        return scores, np.zeros(0, dtype=np.int64), tags, weights
    # Floats above zero are ordered as their bits are. Where score and tag fit into 64 bits together (no score between
    # zero and 5e-20 beside one near 1), one sort in place does it, in half the time and memory of an argsort.
    bits = (scores + 0.0).view(np.uint64)  # + 0.0 makes of -0.0 a 0.0
    highest = bits.max()
    # just below the lowest above zero stands in for zero
    zero = min(highest, *((block - _ONE).min() for block in _blocks(bits)))
    if weights is None and highest - zero < _PACKED_SPAN:
        for block, tag in zip(_blocks(bits), _blocks(tags), strict=True):
            np.maximum(block, zero, out=block)
            np.subtract(highest, block, out=block)
            block <<= _TAG_BITS
            block |= tag
        bits.sort()
        for block, tag in zip(_blocks(bits), _blocks(tags), strict=True):
            tag[:] = block & _TAG
            block >>= _TAG_BITS
        new = np.ones(len(bits), np.bool_)
        np.not_equal(bits[1:], bits[:-1], out=new[:-1])
        last = np.flatnonzero(new)
        distinct = bits if len(last) == len(bits) else bits[last]
        np.subtract(highest, distinct, out=distinct)
        distinct[distinct == zero] = 0
        return distinct.view(np.float64), last, tags, None
    order = np.lexsort((tags, -scores))
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return ordered[last], last, tags[order], None if weights is None else weights[order]


def _blocks(column: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Views of a column, piece by piece, which the processor's cache holds."""
    return (column[start : start + _BLOCK] for start in range(0, len(column), _BLOCK))


def metrics(state: BinaryState, ranking: Ranking | None = None) -> dict[str, Metric]:
    """Every metric of the state. ``auc`` is there only where the state holds probabilities.

    Args:
        state: the counts.
        ranking: what `rank` gave for this state, if at hand; it is made otherwise.
    """
    if ranking is None:
        ranking = rank(state)
    tallies: list[dict[str, float]] = []
    for tally in range(TALLIES):
        values = _values(state.confusion[tally].tolist())
        if ranking is not None:
            values["auc"] = ranking.auc[tally]
        tallies.append({name: values[name] for name in _ORDER if name in values})
    return metrics_of_tallies(tallies, state.records)


def confusion_matrix(state: BinaryState, negative_label: str = "0", positive_label: str = "1") -> dict[str, Any]:
    """``{actual: {predicted: rows}}``: both rows and both columns always, the negative class first (rule A4)."""
    labels = (negative_label, positive_label)
    return {
        actual: dict(zip(labels, row, strict=True))
        for actual, row in zip(labels, state.confusion[0].tolist(), strict=True)
    }


def curves(state: BinaryState, threshold: float, ranking: Ranking | None = None) -> dict[str, dict[str, list[float]]]:
    """The ROC and the precision-recall curve: empty where the state holds no probabilities.

    The receiver operating characteristic starts at (0, 0); then comes one point for each distinct probability, as
    threshold, highest first; the last is (1, 1). The precision-recall curve has a point for each of these too, before
    them recall 0 with the precision of the first. Where there are more than 1,000, points are picked at equal steps
    along the curve, the end points and the one of ``threshold`` among them (rule A2). The lists are empty where a
    class does not occur: both curves need positive rows, the first needs negative ones too.

    Args:
        state: the counts.
        threshold: a row is positive if its probability is greater than this.
        ranking: what `rank` gave for this state, if at hand; it is made otherwise.
    """
    if ranking is None:
        ranking = rank(state)
    if ranking is None:
        return {}
    roc: dict[str, list[float]] = {"false_positive_rates": [], "true_positive_rates": []}
    precision_recall: dict[str, list[float]] = {"precisions": [], "recalls": []}
    positives, negatives = (int(counts[-1]) if len(counts) else 0 for counts in (ranking.positives, ranking.negatives))
    if positives:
        picked = _picked(ranking, threshold)
        true_positives, false_positives = ranking.positives[picked], ranking.negatives[picked]
        recalls = (true_positives / positives).tolist()
        precisions = (true_positives / (true_positives + false_positives)).tolist()
        precision_recall = {"precisions": [precisions[0], *precisions], "recalls": [0.0, *recalls]}
        if negatives:
            fallouts = (false_positives / negatives).tolist()
            roc = {"false_positive_rates": [0.0, *fallouts], "true_positive_rates": [0.0, *recalls]}
    return {"receiver_operating_characteristic_curve": roc, "precision_recall_curve": precision_recall}


def _picked(ranking: Ranking, threshold: float) -> NDArray[np.int64]:
    """Which distinct probabilities become points: at most 999, the first, the last and the operating one included."""
    distinct = len(ranking.scores)
    if distinct < CURVE_POINTS:
        return np.arange(distinct)
    # the way from (0, 0) to (1, 1), in whole numbers
    progress = ranking.positives * max(int(ranking.negatives[-1]), 1)
    progress += ranking.negatives * ranking.positives[-1]
    steps = np.searchsorted(progress, np.linspace(0.0, progress[-1], CURVE_POINTS - 4))
    above = distinct - int(np.searchsorted(ranking.scores[::-1], threshold, side="right"))
    # (np.unique would load numpy.ma, which takes longer than all of this)
    return np.array(sorted({*steps.tolist(), 0, max(above - 1, 0), distinct - 1}))


_ORDER: Final = (
    "recall",
    "precision",
    "accuracy",
    "recall_best_constant_classifier",
    "precision_best_constant_classifier",
    "accuracy_best_constant_classifier",
    "true_positive_rate",
    "true_negative_rate",
    "false_positive_rate",
    "false_negative_rate",
    "auc",
    "f0_5",
    "f1",
    "f2",
    "f0_5_best_constant_classifier",
    "f1_best_constant_classifier",
    "f2_best_constant_classifier",
)


def _values(confusion: list[list[int]]) -> dict[str, float]:
    """The metrics of one confusion matrix, in AWS's own arithmetic: the published runs come out to the last digit."""
    (true_negatives, false_positives), (false_negatives, true_positives) = confusion
    negatives, positives = true_negatives + false_positives, false_negatives + true_positives
    records = negatives + positives
    recall = _ratio(true_positives, positives)
    precision = _ratio(true_positives, true_positives + false_positives)
    false_positive_rate = _ratio(false_positives, negatives)
    values = {
        "recall": recall,
        "precision": precision,
        "accuracy": _ratio(true_negatives + true_positives, records),
        "true_positive_rate": recall,
        "true_negative_rate": 1.0 - false_positive_rate,
        "false_positive_rate": false_positive_rate,
        "false_negative_rate": 1.0 - recall,
    }
    # F is 2TP / (2TP + FP + FN) and the like: undefined only where there is nothing to find and nothing was found
    undefined = 0.0 if false_positives + false_negatives else math.nan
    for name, beta in _BETAS.items():
        values[name] = _f_score(precision, recall, beta) if true_positives else undefined
    # the constant classifier: its 0/0 is 0.0 (rule A4), unless there is nothing at all to classify
    share = _ratio(max(negatives, positives), records)
    says_positive = positives > negatives
    nothing = 0.0 if records else math.nan
    values["recall_best_constant_classifier"] = 1.0 if says_positive else nothing
    values["precision_best_constant_classifier"] = share if says_positive else nothing
    values["accuracy_best_constant_classifier"] = share
    for name, beta in _BETAS.items():
        values[f"{name}_best_constant_classifier"] = _f_score(share, 1.0, beta) if says_positive else nothing
    return values


_BETAS: Final = {"f0_5": 0.5, "f1": 1.0, "f2": 2.0}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _f_score(precision: float, recall: float, beta: float) -> float:
    return (1.0 + beta * beta) * (precision * recall) / (beta * beta * precision + recall)
