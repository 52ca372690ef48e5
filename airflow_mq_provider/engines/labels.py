"""The labels of a run in one table: the last of each id (rule M2), found by the id's hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The last label of each of n distinct ids, among m labels in the order of their lines."""

    high: NDArray[np.uint64]
    """[n], sorted."""
    low: NDArray[np.uint64]
    place: NDArray[np.int32]
    """[n], which of the m labels it is."""
    first_hour: NDArray[np.int32]
    """[n], in which hour since 1970 its first label was collected."""
    last_hour: NDArray[np.int32]
    """[n], the same of this one."""
    starts: NDArray[np.int32]
    """Where the ids with each beginning start. There are about as many beginnings as ids: a look or two finds one."""
    actual: NDArray[Any]
    """One for each row of the m labels."""
    rows: NDArray[np.int64] | None
    """[m]; None where every label has one row."""
    classes: list[str]
    truth: NDArray[np.int32] | None
    """[m], which of `truths` it carries."""
    truths: list[bytes]
    segment: Sequence[str | None] | None
    """One for each row of the m labels; None where no segments of labels are asked for."""

    def truths_of(self, labels: NDArray[np.int64]) -> list[bytes]:
        """The ``groundTruthData`` of some labels, in a merge that needs them."""
        if self.truth is None:
            raise RuntimeError("labels were read without their groundTruthData")
        return [self.truths[number] for number in self.truth[labels].tolist()]

    def find(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Where each id stands among the distinct ids, -1 for an id without a label."""
        high, low = ids[:, 0], ids[:, 1]
        bucket = _beginnings(high, len(self.starts))
        at, end = self.starts[bucket], self.starts[bucket + 1]
        found = np.full(len(ids), -1, np.int64)
        open_ = np.flatnonzero(at < end)
        while len(open_):
            here = at[open_]
            same = (self.high[here] == high[open_]) & (self.low[here] == low[open_])
            found[open_[same]] = here[same]
            at[open_] += 1
            open_ = open_[~same & (here + 1 < end[open_])]
        return found


def label_table(
    ids: NDArray[np.uint64],
    hours: NDArray[np.int32],
    actual: NDArray[Any],
    *,
    rows: NDArray[np.int64] | None,
    classes: list[str],
    truth: NDArray[np.int32] | None,
    truths: list[bytes],
    segment: Sequence[str | None] | None,
) -> LabelTable:
    """The table of m labels, given in the order of their lines, in columns as `LabelTable` and `hash_order` say."""
    order, high, repeated = hash_order(ids)
    first = last = order
    if repeated.any():
        first = order[~repeated]
        final = ~np.append(repeated[1:], [False])
        last, high = order[final], high[final]
    starts = np.zeros(_beginning_count(len(high)), np.int32)
    beginnings = np.bincount(_beginnings(high, len(starts)), minlength=len(starts) - 1)
    np.cumsum(beginnings, dtype=np.int32, out=starts[1:])
    last_hour = hours[last]
    return LabelTable(
        high=high,
        low=ids[last, 1],
        place=last.astype(np.int32),
        first_hour=last_hour if first is last else hours[first],
        last_hour=last_hour,
        starts=starts,
        actual=actual,
        rows=rows,
        classes=classes,
        truth=truth,
        truths=truths,
        segment=segment,
    )


def _beginning_count(count: int) -> int:
    """How many beginnings of hashes are told apart among so many ids, and one."""
    return (1 << max(1, min(26, count.bit_length()))) + 1


def _beginnings(high: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
    """The beginning of each hash, where `_beginning_count` is `count`."""
    return (high >> np.uint64(64 - (count - 1).bit_length() + 1)).view(np.int64)


def hash_order(ids: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.bool_]]:
    """An order that brings equal ids together, first come first.

    Args:
        ids: [m, 2], the halves of each id's hash.

    Returns:
        the order; the leading halves in it; which of the ordered repeat the one before.
    """
    high = np.ascontiguousarray(ids[:, 0])
    order = np.argsort(high)
    high = high[order]
    tie = high[1:] == high[:-1]
    repeated = np.zeros(len(ids), np.bool_)
    if tie.any():
        # Where the leading halves are equal, the others decide, then the order in which they came.
        tied = np.flatnonzero(np.append(tie, [False]) | np.append([False], tie))
        among = order[tied]
        order[tied] = among = among[np.lexsort((among, ids[among, 1], ids[among, 0]))]
        repeated[tied[1:]] = (ids[among[1:]] == ids[among[:-1]]).all(axis=1)
    return order, high, repeated
