"""Which label belongs to which capture: rules M1 and M2 on the hashes of ids, of a whole window at once.

One sort brings equal ids together, labels before captures, each in the order of their lines. It is a sort of plain 64-bit
numbers, which processors do several at a time: the leading bits of each hash, and in the place of the others which entry it is.
Most ids then are one label and one capture side by side; only where three or more entries are is it looked which is first and last.

The next window of a process has most hours in common with this one. What its join then differs in are the ids of the hours that
go and come: these are taken out of the order and put into it, and looked at again with whatever has their leading bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from airflow_mq_provider.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 1 << 16
"""Sorted entries are looked at so many at a time, which the processor's cache holds."""
_CAPTURE: Final = 1 << 31
"""The bit that tells captures from labels. Those below it are the entry's number."""
_NUMBER: Final = np.uint64(2 * _CAPTURE - 1)
_LEAD: Final = np.uint64(32)
"""Bits of a hash that are no number."""
_UNMARKED: Final = np.uint64(42)
"""Bits of an entry that are no part of the mark of its id."""


@dataclass(frozen=True, slots=True, eq=False)
class Ids:
    """The ids of one hour of either side.

    Attributes:
        name: of the hour: equal names have equal ids.
        high: uint64[n], the first half of the hash of each id.
        low: uint64[n], the second half.
        inside: of captures, which of them lie in the window; None where all do.
    """

    name: str
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    inside: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class Matches:
    """What a join by id found. Labels, and captures inside the window, are numbered in the order of their lines.

    Attributes:
        last: of each capture, its label: the one collected last; -1 where there is none.
        first: of each capture, the label of its id that was collected first; -1 where there is none.
        duplicate_labels: labels after the first of their id.
        duplicate_captures: captures after the first of their id.
        labels_without_capture: distinct ids of labels that no capture has.
    """

    last: NDArray[np.int32]
    first: NDArray[np.int32]
    duplicate_labels: int
    duplicate_captures: int
    labels_without_capture: int


@dataclass(frozen=True, slots=True, eq=False)
class _Hours:
    """The hours of one side that were joined, and the numbers of what is in them: one behind the other, hour by hour."""

    names: tuple[str, ...]
    inside: tuple[NDArray[np.int64] | None, ...]
    starts: tuple[int, ...]
    """Of each hour, and at last where the next one's would be."""

    @classmethod
    def of(cls, parts: Sequence[Ids], first: int) -> _Hours:
        starts = [first]
        for part in parts:
            starts.append(starts[-1] + len(part.high))
        return cls(tuple(part.name for part in parts), tuple(part.inside for part in parts), tuple(starts))

    @property
    def span(self) -> int:
        """How many numbers there are."""
        return self.starts[-1] - self.starts[0]

    def followed_by(self, parts: Sequence[Ids]) -> int | None:
        """Which of these hours others begin with, where all from that one on are the first of the others; else None."""
        if not parts or parts[0].name not in self.names:
            return None
        first = self.names.index(parts[0].name)
        common = tuple(part.name for part in parts[: len(self.names) - first])
        return first if self.names[first:] == common else None


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """The join of a window's hours, as the next window's begins with.

    Attributes:
        labels: the hours of labels.
        captures: those of captures; captures outside the window have numbers too, and no label.
        low: the second halves of the hashes of all labels, then of all captures.
        entries: sorted: leading bits, whether it is a capture, number.
        last: of each capture, the number of its last label; where there is none, one that is below those of all labels.
        first: the same of its first one.
        counts: duplicate labels, duplicate captures, ids of labels without a capture.
    """

    labels: _Hours
    captures: _Hours
    low: NDArray[np.uint64]
    entries: NDArray[np.uint64]
    last: NDArray[np.int32]
    first: NDArray[np.int32]
    counts: tuple[int, int, int]

    def matches(self, captures: Sequence[Ids]) -> Matches:
        """What was found, for the captures inside the window."""
        return Matches(self._inside(self.last, captures), self._inside(self.first, captures), *self.counts)

    def _inside(self, found: NDArray[np.int32], captures: Sequence[Ids]) -> NDArray[np.int32]:
        start = self.captures.starts[0]
        hours = [
            found[first - start : end - start] for first, end in zip(self.captures.starts, self.captures.starts[1:])
        ]
        inside = [np.zeros(0, np.int32)]
        inside += [hour if ids.inside is None else hour[ids.inside] for ids, hour in zip(captures, hours, strict=True)]
        numbers = np.concatenate(inside)
        if first := self.labels.starts[0]:
            numbers -= np.int32(first)
            np.maximum(numbers, -1, out=numbers)  # the labels of hours that have gone were numbered before them
        return numbers


def join(labels: Sequence[Ids], captures: Sequence[Ids], former: Joined | None = None) -> Joined:
    """Find the labels of all captures that are inside the window, hour by hour in their order.

    Ids are taken for one where the second half and the leading 32 bits of the first are equal: 96 bits. A `former` join, of
    whatever hours, changes nothing in what is found, but how soon.
    """
    return (None if former is None else _moved_on(former, labels, captures)) or _anew(labels, captures)


def _anew(labels: Sequence[Ids], captures: Sequence[Ids]) -> Joined:
    label_hours, capture_hours = _Hours.of(labels, 0), _Hours.of(captures, 0)
    label_count, capture_count = label_hours.span, capture_hours.span
    if max(label_count, capture_count) > _CAPTURE:
        raise InputError(
            expected=f"at most {_CAPTURE:,} captures and as many labels in a window",
            came=f"{capture_count:,} captures and {label_count:,} labels",
            where="the hours of the window",
            next_step="shorten the window, or run the monitor on Spark",
        )
    entries = _entries(zip(labels, label_hours.starts), zip(captures, capture_hours.starts))
    low = _low(labels, captures)
    last = np.full(capture_count, -1, np.int32)
    without_capture = label_count
    others: list[NDArray[np.uint64]] = [np.zeros(0, np.uint64)]
    start = 0
    while start < len(entries):
        end = _end_of_block(entries, start)
        block = entries[start:end]
        start = end
        pairs = np.flatnonzero((block[1:] ^ block[:-1]) <= _NUMBER)  # the first of each two with equal leading bits
        one, other = (block[pairs] & _NUMBER).view(np.int64), (block[pairs + 1] & _NUMBER).view(np.int64)
        alone = (one < _CAPTURE) & (other >= _CAPTURE)
        longer = np.flatnonzero(pairs[1:] == pairs[:-1] + 1)
        alone[longer] = alone[longer + 1] = False
        if not alone.all():
            chosen = np.zeros(len(block), np.bool_)
            chosen[pairs[~alone]] = chosen[pairs[~alone] + 1] = True
            others.append(block[chosen])
            one, other = one[alone], other[alone]
        last[other - _CAPTURE] = one
        without_capture -= len(one)
    without_capture += _take_apart(last, low, label_count)
    first = last.copy()
    found = _several(np.concatenate(others), low, label_hours, capture_hours)
    last[found.captured], first[found.captured] = found.last, found.first
    without_capture -= found.labels - found.without_capture
    counts = found.duplicate_labels, found.duplicate_captures, without_capture
    return Joined(label_hours, capture_hours, low, entries, last, first, counts)


def _moved_on(former: Joined, labels: Sequence[Ids], captures: Sequence[Ids]) -> Joined | None:
    """The same from a former join; None where its last hours are not the first of these."""
    of_labels, of_captures = former.labels.followed_by(labels), former.captures.followed_by(captures)
    if of_labels is None or of_captures is None:
        return None
    label_hours = _Hours.of(labels, former.labels.starts[of_labels])
    capture_hours = _Hours.of(captures, former.captures.starts[of_captures])
    if max(label_hours.starts[-1], capture_hours.starts[-1]) > _CAPTURE:
        return None
    left, entered = [], []
    for was, ids, start in zip(former.captures.inside[of_captures:], captures, capture_hours.starts):
        if was is not None or ids.inside is not None:
            before, now = _mask(was, len(ids.high)), _mask(ids.inside, len(ids.high))
            left.append((replace(ids, inside=np.flatnonzero(before & ~now)), start))
            entered.append((replace(ids, inside=np.flatnonzero(now & ~before)), start))
    new_labels = list(zip(labels, label_hours.starts))[len(former.labels.names) - of_labels :]
    new_captures = list(zip(captures, capture_hours.starts))[len(former.captures.names) - of_captures :]
    come = _entries(new_labels, entered + new_captures)
    kept = _from(former.entries, label_hours.starts[0], capture_hours.starts[0])
    kept[np.searchsorted(former.entries, _entries((), left))] = False
    gone, entries = former.entries[~kept], former.entries[kept]
    beside = _beside(entries, gone, come)
    low = _low(labels, captures)
    old = _several(_sorted(gone, beside), former.low, former.labels, former.captures)
    new = _several(_sorted(beside, come), low, label_hours, capture_hours)
    shift = capture_hours.starts[0] - former.captures.starts[0]
    last, first = (
        np.concatenate([found[shift:], np.full(capture_hours.span + shift - len(found), -1, np.int32)])
        for found in (former.last, former.first)
    )
    last[new.captured], first[new.captured] = new.last, new.first
    return Joined(
        label_hours,
        capture_hours,
        low,
        _sorted(entries, come),
        last,
        first,
        counts=(
            former.counts[0] - old.duplicate_labels + new.duplicate_labels,
            former.counts[1] - old.duplicate_captures + new.duplicate_captures,
            former.counts[2] - old.without_capture + new.without_capture,
        ),
    )


def _entries(labels: Iterable[tuple[Ids, int]], captures: Iterable[tuple[Ids, int]]) -> NDArray[np.uint64]:
    """The entries of some hours, sorted, given the number of the first id of each."""
    hours = [*((ids, start) for ids, start in labels), *((ids, _CAPTURE + start) for ids, start in captures)]
    sizes = [len(ids.high if ids.inside is None else ids.inside) for ids, _ in hours]
    entries = np.empty(sum(sizes), np.uint64)
    end = 0
    for (ids, first), size in zip(hours, sizes, strict=True):
        start, end = end, end + size
        here = entries[start:end]
        if ids.inside is None:
            here[:] = np.arange(first, first + size, dtype=np.uint64)
            here |= ids.high & ~_NUMBER
        else:
            np.add(ids.inside.view(np.uint64), np.uint64(first), out=here)
            here |= ids.high[ids.inside] & ~_NUMBER
    entries.sort()
    return entries


def _sorted(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The entries of both, each of them sorted, or nearly: a merge takes a fraction of a sort."""
    entries = np.concatenate([one, other])
    entries.sort(kind="stable")
    return entries


def _low(labels: Sequence[Ids], captures: Sequence[Ids]) -> NDArray[np.uint64]:
    return np.concatenate([np.zeros(0, np.uint64), *(ids.low for ids in labels), *(ids.low for ids in captures)])


def _beside(entries: NDArray[np.uint64], *others: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The entries that share leading bits with one of others: all of its id, and few besides."""
    marked = np.zeros(1 << (64 - int(_UNMARKED)), np.bool_)
    for other in others:
        marked[other >> _UNMARKED] = True
    found = [entries[:0]]
    for start in range(0, len(entries), _BLOCK):
        block = entries[start : start + _BLOCK]
        found.append(block[marked.take((block >> _UNMARKED).view(np.int64))])
    return np.concatenate(found)


def _from(entries: NDArray[np.uint64], label: int, capture: int) -> NDArray[np.bool_]:
    """Which entries are of labels, or of captures, from those with these numbers on."""
    found = np.empty(len(entries), np.bool_)
    for start in range(0, len(entries), _BLOCK):
        number = entries[start : start + _BLOCK] & _NUMBER
        found[start : start + _BLOCK] = number >= _CAPTURE + capture
        number -= np.uint64(label)  # what is below wraps around, and is above all
        found[start : start + _BLOCK] |= number < _CAPTURE - label
    return found


def _mask(inside: NDArray[np.int64] | None, count: int) -> NDArray[np.bool_]:
    if inside is None:
        return np.ones(count, np.bool_)
    found = np.zeros(count, np.bool_)
    found[inside] = True
    return found


def _take_apart(last: NDArray[np.int32], low: NDArray[np.uint64], label_count: int) -> int:
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
    last: NDArray[np.int32]
    first: NDArray[np.int32]
    labels: int
    duplicate_labels: int
    duplicate_captures: int
    without_capture: int


def _several(entries: NDArray[np.uint64], low: NDArray[np.uint64], labels: _Hours, captures: _Hours) -> _Several:
    """Join entries in their order."""
    lead, number = entries >> _LEAD, (entries & _NUMBER).view(np.int64)
    label_count, offset = labels.span, labels.span - captures.starts[0] - _CAPTURE
    which = np.where(number < _CAPTURE, number - labels.starts[0], number + offset)
    half = low[which]
    new = np.empty(len(which), np.bool_)
    new[:1] = True
    np.not_equal(lead[1:], lead[:-1], out=new[1:])
    mixed = (half[1:] != half[:-1]) & ~new[1:]
    # of a few, the leading bits of one id are another's: the other half tells them apart
    if mixed.any():
        same_lead = np.cumsum(new)
        several = np.zeros(same_lead[-1] + 1, np.bool_)
        several[same_lead[1:][mixed]] = True
        rows = np.flatnonzero(several[same_lead])
        order = rows[np.lexsort((which[rows], half[rows], lead[rows]))]
        which[rows], half[rows] = which[order], half[order]
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
        last=(which[label_place[found] - 1] + labels.starts[0]).astype(np.int32),
        first=(which[group[found] - 1] + labels.starts[0]).astype(np.int32),
        labels=int(np.count_nonzero(~is_capture)),
        duplicate_labels=int(np.count_nonzero(after_label)) - with_capture,
        duplicate_captures=int(np.count_nonzero(after_capture)),  # a label never follows a capture of its id
        without_capture=int(np.count_nonzero(new & ~is_capture)) - with_capture,
    )


def _end_of_block(entries: NDArray[np.uint64], start: int) -> int:
    """Where a block ends that starts there: behind the last entry whose leading bits are those of its last one."""
    end = min(start + _BLOCK, len(entries))
    lead = entries[end - 1] >> _LEAD
    while end < len(entries) and entries[end] >> _LEAD == lead:
        end += 1
    return end
