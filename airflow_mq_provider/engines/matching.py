"""Which label belongs to which capture: rules M1 and M2 on the hashes of ids, of a whole window at once.

One sort brings equal ids together, labels before captures, each in the order of their lines. It is a sort of plain 64-bit
numbers, which processors do several at a time: the leading bits of each hash, and in the place of the others which entry it is.
Most ids then are one label and one capture side by side; only where three or more entries are is it looked which is first and last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 1 << 16
"""Sorted entries are looked at so many at a time, which the processor's cache holds."""


@dataclass(frozen=True, slots=True)
class Matches:
    """What a join by id found. Labels and captures are numbered in the order of their lines.

    Attributes:
        last: of each capture, its label: the one collected last; -1 where there is none.
        first: of each capture, the label of its id that was collected first; -1 where there is none.
        duplicate_labels: labels after the first of their id.
        duplicate_captures: captures after the first of their id.
        labels_without_capture: distinct ids of labels that no capture has.
    """

    last: NDArray[np.signedinteger[Any]]
    first: NDArray[np.signedinteger[Any]]
    duplicate_labels: int
    duplicate_captures: int
    labels_without_capture: int


def match(
    labels: Sequence[tuple[NDArray[np.uint64], NDArray[np.uint64]]],
    captures: Sequence[tuple[NDArray[np.uint64], NDArray[np.uint64]]],
) -> Matches:
    """Find the labels of all captures, both given in parts: the two halves of the hash of each id.

    Ids are taken for one where the second half and the leading bits of the first are equal: 128 bits without as many as it
    takes to number the entries, so over 100 of them for any number that fits into memory.
    """
    label_count = sum(len(high) for high, _ in labels)
    capture_count = sum(len(high) for high, _ in captures)
    count = label_count + capture_count
    none = np.zeros(0, np.uint64)
    low = np.concatenate([none, *(part for _, part in labels), *(part for _, part in captures)])
    entries = np.concatenate([none, *(part for part, _ in labels), *(part for part, _ in captures)])
    bits = np.uint64(count.bit_length())
    number = np.uint64((1 << int(bits)) - 1)
    entries &= ~number
    entries |= np.arange(count, dtype=np.uint64)
    entries.sort()

    kind: type[np.signedinteger[Any]] = np.int32 if label_count < 1 << 31 else np.int64
    last: NDArray[np.signedinteger[Any]] = np.full(capture_count, -1, kind)
    several: list[_Several] = []
    duplicate_labels = duplicate_captures = 0
    without_capture = label_count
    start = 0
    while start < count:
        end = _end_of_block(entries, start, bits)
        block = entries[start:end]
        start = end
        pairs = np.flatnonzero((block[1:] ^ block[:-1]) <= number)  # the first of each two with equal leading bits
        longer = np.zeros(len(pairs), np.bool_)
        np.equal(pairs[1:], pairs[:-1] + 1, out=longer[1:])
        if longer.any():
            longer[:-1] |= longer[1:]
            chosen = np.zeros(len(block), np.bool_)
            chosen[pairs[longer]] = chosen[pairs[longer] + 1] = True
            several.append(_several((block[chosen] & number).view(np.int64), block[chosen] >> bits, low, label_count))
            without_capture -= several[-1].labels - several[-1].without_capture
            pairs = pairs[~longer]
        one, other = (block[pairs] & number).view(np.int64), (block[pairs + 1] & number).view(np.int64)
        alike = (one >= label_count) | (other < label_count)
        if alike.any():
            equal = low[one[alike]] == low[other[alike]]
            both_labels = int(np.count_nonzero(equal & (other[alike] < label_count)))
            duplicate_labels += both_labels
            without_capture -= both_labels
            duplicate_captures += int(np.count_nonzero(equal)) - both_labels
            one, other = one[~alike], other[~alike]
        last[other - label_count] = one
        without_capture -= len(one)
    without_capture += _take_apart(last, low, label_count)
    first = last.copy()
    for found in several:
        last[found.captured], first[found.captured] = found.last, found.first
        duplicate_labels += found.duplicate_labels
        duplicate_captures += found.duplicate_captures
    return Matches(last, first, duplicate_labels, duplicate_captures, without_capture)


def _take_apart(last: NDArray[np.signedinteger[Any]], low: NDArray[np.uint64], label_count: int) -> int:
    """Part the labels and captures that share leading bits and no more; how many there are.

    It is done in the order of the captures, whose labels mostly lie near each other: in that of the hashes each look would
    be at another place of the memory.
    """
    apart = 0
    of_labels, of_captures = low[:label_count], low[label_count:]
    for start in range(0, len(last), _BLOCK) if label_count else ():
        labels = last[start : start + _BLOCK]
        # -1 finds the last label, and is let be ("wrap" does not look first whether all are in bounds)
        wrong = of_labels.take(labels, mode="wrap") != of_captures[start : start + _BLOCK]
        wrong &= labels >= 0
        if wrong.any():
            labels[wrong] = -1
            apart += int(np.count_nonzero(wrong))
    return apart


@dataclass(frozen=True, slots=True)
class _Several:
    """What is found among entries of which three or more share their leading bits.

    Attributes:
        captured: the captures among them that have a label.
        last: of each of these, its label.
        first: of each, the first label of its id.
        labels: how many labels are among the entries.
        duplicate_labels: of these, those after the first of their id.
        duplicate_captures: captures after the first of their id.
        without_capture: distinct ids of labels that no capture has.
    """

    captured: NDArray[np.int64]
    last: NDArray[np.int64]
    first: NDArray[np.int64]
    labels: int
    duplicate_labels: int
    duplicate_captures: int
    without_capture: int


def _several(which: NDArray[np.int64], lead: NDArray[np.uint64], low: NDArray[np.uint64], label_count: int) -> _Several:
    """Join entries in their order: which they are, and their leading bits."""
    half = low[which]
    new = np.empty(len(which), np.bool_)
    new[0] = True
    np.not_equal(lead[1:], lead[:-1], out=new[1:])
    other = half[1:] != half[:-1]
    if (other & ~new[1:]).any():  # the leading bits of one id are another's: the other half tells them apart
        order = np.lexsort((which, half, lead))
        which, half = which[order], half[order]
        new[1:] |= half[1:] != half[:-1]
    is_capture = which >= label_count
    place = np.arange(1, len(which) + 1)
    label_place = np.maximum.accumulate(place * ~is_capture)
    group = np.maximum.accumulate(place * new)
    again = ~new[1:]
    after_label, after_capture = again & ~is_capture[:-1], again & is_capture[:-1]
    with_capture = int(np.count_nonzero(after_label & is_capture[1:]))
    found = np.flatnonzero(is_capture & (label_place >= group))
    return _Several(
        captured=which[found] - label_count,
        last=which[label_place[found] - 1],
        first=which[group[found] - 1],
        labels=int(np.count_nonzero(~is_capture)),
        duplicate_labels=int(np.count_nonzero(after_label)) - with_capture,
        duplicate_captures=int(np.count_nonzero(after_capture)),  # a label never follows a capture of its id
        without_capture=int(np.count_nonzero(new & ~is_capture)) - with_capture,
    )


def _end_of_block(entries: NDArray[np.uint64], start: int, bits: np.uint64) -> int:
    """Where a block ends that starts there: behind the last entry whose leading bits are those of its last one."""
    end = min(start + _BLOCK, len(entries))
    lead = entries[end - 1] >> bits
    while end < len(entries) and entries[end] >> bits == lead:
        end += 1
    return end
