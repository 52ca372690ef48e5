"""The labels of a run in one table: the last of each id (rule M2), found by the id's hash.

Where the table is too large for the memory of the run it is built on disk, part by part: each part holds the ids of some
leading bits, so the parts sorted one by one, one behind the other, are the whole in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PART_BITS = 6
"""Leading bits of a hash that say in which part on disk an id lies."""


class Column:
    """Values that come piece by piece, as one array: in memory, or in a file of a folder where one is given."""

    def __init__(self, kind: Any, folder: Path | None, name: str, width: tuple[int, ...] = ()) -> None:
        self._kind = np.dtype(kind)
        self._path = None if folder is None else folder / name
        self._width = width
        self._pieces: list[NDArray[Any]] = []

    def add(self, values: NDArray[Any]) -> None:
        """Put them behind those that came before."""
        if self._path is None:
            self._pieces.append(values)
        else:
            with self._path.open("ab") as file:
                file.write(np.ascontiguousarray(values, self._kind).data)

    def whole(self) -> NDArray[Any]:
        """All of them, and no more to come. One that lies in a file is read by the page, as it is looked at."""
        if self._path is not None and self._path.exists() and self._path.stat().st_size:
            return np.asarray(np.memmap(self._path, self._kind, mode="r")).reshape(-1, *self._width)
        pieces, self._pieces = self._pieces, []
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces, dtype=self._kind) if pieces else np.zeros((0, *self._width), self._kind)


class IdParts:
    """Ids, and in which hour each was collected: in one part, or on disk in a part for each beginning of their hashes."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self.count = 0
        self._bits = 0 if folder is None else _PART_BITS
        self._parts: list[tuple[Column, Column, Column]] = [
            (
                Column(np.uint64, folder, f"{name}-{part}-ids", (2,)),
                Column(np.int32, folder, f"{name}-{part}-hours"),
                Column(np.int64, folder, f"{name}-{part}-places"),
            )
            for part in range(1 << self._bits)
        ]

    def add(self, ids: NDArray[np.uint64], hours: NDArray[np.int32] | None = None) -> None:
        """Take ids, shape (n, 2), behind those that came before."""
        before, self.count = self.count, self.count + len(ids)
        hours = np.zeros(len(ids), np.int32) if hours is None else hours
        if not self._bits:
            self._parts[0][0].add(ids)
            self._parts[0][1].add(hours)
            return
        places = np.arange(before, self.count)
        part = (ids[:, 0] >> np.uint64(64 - self._bits)).astype(np.uint8)
        order = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[order], np.arange(len(self._parts) + 1)).tolist()
        for (ids_, hours_, places_), start, end in zip(self._parts, bounds, bounds[1:], strict=False):
            if start < end:
                chosen = order[start:end]
                ids_.add(ids[chosen])
                hours_.add(hours[chosen])
                places_.add(places[chosen])

    def parts(self) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.int64] | None]]:
        """Ids, hours and places of each part, by the beginnings of the hashes; of a single part, no places are needed."""
        for ids, hours, places in self._parts:
            yield ids.whole(), hours.whole(), places.whole() if self._bits else None

    def repeats(self) -> int:
        """How many of the ids came before."""
        return sum(int(np.count_nonzero(hash_order(ids)[2])) for ids, _, _ in self.parts())


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The last label of each of n distinct ids, among m labels in the order of their lines."""

    high: NDArray[np.uint64]
    """[n], sorted."""
    low: NDArray[np.uint64]
    place: NDArray[np.signedinteger[Any]]
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
    """[m], which ``groundTruthData`` it carries."""
    truth_starts: NDArray[np.int64]
    """Where each of the different ones starts in `truth_bytes`, and where the last one ends."""
    truth_bytes: NDArray[np.uint8]
    segment: NDArray[np.int32] | None
    """One for each row of the m labels, into `segments`, -1 for none; None where no segments of labels are asked for."""
    segments: list[str]

    def truths_of(self, labels: NDArray[np.signedinteger[Any]]) -> tuple[list[int], dict[int, bytes]]:
        """The ``groundTruthData`` of some labels, in a merge that needs them: the number of each, and each by its number."""
        if self.truth is None:
            raise RuntimeError("labels were read without their groundTruthData")
        numbers = self.truth[labels].tolist()
        different = list(set(numbers))
        starts, ends = self.truth_starts[different].tolist(), self.truth_starts[1:][different].tolist()
        triples = zip(different, starts, ends, strict=True)
        return numbers, {number: self.truth_bytes[start:end].tobytes() for number, start, end in triples}

    def segments_of(self, rows: NDArray[np.int64]) -> list[str | None]:
        """The segment of some rows, in a merge that asks for segments of labels."""
        if self.segment is None:
            raise RuntimeError("labels were read without their segments")
        names: list[str | None] = [*self.segments, None]  # which -1 finds
        return [names[code] for code in self.segment[rows].tolist()]

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


def label_table(labels: IdParts, folder: Path | None, **columns: Any) -> LabelTable:
    """The table of labels, given in the order of their lines; `columns` are the other columns of `LabelTable`."""
    high, low = Column(np.uint64, folder, "high"), Column(np.uint64, folder, "low")
    number = np.int32 if labels.count < 1 << 31 else np.int64
    place = Column(number, folder, "place")
    first_hour, last_hour = Column(np.int32, folder, "first-hour"), Column(np.int32, folder, "last-hour")
    for ids, hours, places in labels.parts():
        # the most memory of a run is taken here: each column is let go of where it was looked at last
        order, ordered, repeated = hash_order(ids)
        several = bool(repeated.any())
        if several:
            first_hour.add(hours[order[~repeated]])
            final = ~np.append(repeated[1:], [False])
            order, ordered = order[final], ordered[final]
        last_hour.add(of_last := hours[order])
        if not several:
            first_hour.add(of_last)
        high.add(ordered)
        del hours, ordered, of_last
        low.add(ids[order, 1])
        del ids
        place.add((order if places is None else places[order]).astype(number))
        del order
    leading = high.whole()
    return LabelTable(
        high=leading,
        low=low.whole(),
        place=place.whole(),
        first_hour=first_hour.whole(),
        last_hour=last_hour.whole(),
        starts=_starts(leading),
        **columns,
    )


def _starts(high: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Where the ids with each beginning start, among ids in order."""
    starts = np.zeros((1 << max(1, min(26, len(high).bit_length()))) + 1, np.int32)
    for first in range(0, len(high), _AT_ONCE):
        some = _beginnings(high[first : first + _AT_ONCE], len(starts))
        low, end = int(some[0]), int(some[-1]) + 1
        starts[low + 1 : end + 1] += np.bincount(some - low, minlength=end - low).astype(np.int32)
    return np.cumsum(starts, dtype=np.int32, out=starts)


_AT_ONCE = 1 << 20


def _beginnings(high: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
    """The beginning of each hash, as many bits of it as make a place among so many starts."""
    return (high >> np.uint64(64 - (count - 1).bit_length() + 1)).view(np.int64)


def hash_order(ids: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.bool_]]:
    """An order that brings equal ids together, first come first.

    Args:
        ids: [m, 2], the halves of each id's hash.

    Returns:
        the order; the leading halves in it; which of the ordered repeat the one before.
    """
    # plain numbers are sorted faster than their order is found: leading bits, and in the place of the others which id it is
    number = np.uint64((1 << len(ids).bit_length()) - 1)
    entries = ids[:, 0] & ~number
    entries |= np.arange(len(ids), dtype=np.uint64)
    entries.sort()
    tie = (entries[1:] ^ entries[:-1]) <= number
    entries &= number
    order = entries.view(np.int64)
    repeated = np.zeros(len(ids), np.bool_)
    if tie.any():
        # Where the leading bits are equal, the others decide, then the order in which they came.
        tied = np.flatnonzero(np.append(tie, [False]) | np.append([False], tie))
        among = order[tied]
        order[tied] = among = among[np.lexsort((among, ids[among, 1], ids[among, 0]))]
        repeated[tied[1:]] = (ids[among[1:]] == ids[among[:-1]]).all(axis=1)
    return order, ids[order, 0], repeated
