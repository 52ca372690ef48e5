"""Which label belongs to which capture: rules M1 and M2 on the hashes of ids, of a whole window at once.

One sort brings equal ids together, labels before captures, each in the order of their lines. It is a sort of plain 64-bit
numbers, which processors do several at a time: the leading bits of each hash, and in the place of the others which entry it is.
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
    differing: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    duplicate_labels = duplicate_captures = without_capture = 0
    start = 0
    while start < count:
        end = _end_of_block(entries, start, bits)
        block = entries[start:end]
        start = end
        which = (block & number).astype(np.int64)
        half = low[which]
        new = np.empty(len(block), np.bool_)
        new[0] = True
        lead = block >> bits
        np.not_equal(lead[1:], lead[:-1], out=new[1:])
        other = half[1:] != half[:-1]
        if (other & ~new[1:]).any():  # the leading bits of one id are another's: the other half tells them apart
            order = np.lexsort((which, half, lead))
            which, half = which[order], half[order]
            other = half[1:] != half[:-1]
            new[1:] |= other
        is_capture = which >= label_count
        place = np.arange(1, len(block) + 1)
        label_place = np.maximum.accumulate(place * ~is_capture)
        group = np.maximum.accumulate(place * new)
        again = ~new[1:]
        after_label, after_capture = again & ~is_capture[:-1], again & is_capture[:-1]
        duplicate_captures += int(np.count_nonzero(after_capture))  # a label never follows a capture of its id
        with_capture = int(np.count_nonzero(after_label & is_capture[1:]))
        duplicate_labels += int(np.count_nonzero(after_label)) - with_capture
        without_capture += int(np.count_nonzero(new & ~is_capture)) - with_capture
        found = np.flatnonzero(is_capture & (label_place >= group))
        captured = which[found] - label_count
        label_place, group = label_place[found], group[found]
        last[captured] = which[label_place - 1]
        if len(several := np.flatnonzero(label_place != group)):
            differing.append((captured[several], which[group[several] - 1]))
    first = last.copy()
    for captured, label in differing:
        first[captured] = label
    return Matches(last, first, duplicate_labels, duplicate_captures, without_capture)


def _end_of_block(entries: NDArray[np.uint64], start: int, bits: np.uint64) -> int:
    """Where a block ends that starts there: behind the last entry whose leading bits are those of its last one."""
    end = min(start + _BLOCK, len(entries))
    lead = entries[end - 1] >> bits
    while end < len(entries) and entries[end] >> bits == lead:
        end += 1
    return end
