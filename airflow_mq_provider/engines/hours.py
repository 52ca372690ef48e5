"""What one hour folder says, in columns: all that a run needs of it, whichever window asks (*prepared hours*).

    the lines of a folder, piece by piece  --capture_hour, label_hour-->  parts  --joined_hours-->  the hour

Nothing of a window is in it: a time is kept, not compared. Equal lines give equal columns, however they were cut into pieces:
class texts and segments are numbered in their order as texts, and a row count is kept only where some line has not one row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from airflow_mq_provider.engines.task import Rejections, entries_numbered_on, numbered_on
from airflow_mq_provider.quality.columns import numbers_in_records, read_captures, read_labels
from airflow_mq_provider.quality.lines import Lines, Rejection
from airflow_mq_provider.quality.records import Classes, Reading
from airflow_mq_provider.quality.states import BINARY, EXAMPLES, MULTICLASS, REGRESSION, RejectedLine, sample_flags

if TYPE_CHECKING:
    from numpy.typing import NDArray

CAPTURES, LABELS = "captures", "ground_truth"
VALUES: Final = {BINARY: np.uint8, MULTICLASS: np.int32, REGRESSION: np.float64}
"""In what kind of number labels and predictions are held."""


@dataclass(frozen=True, slots=True)
class RejectedLines:
    """The rejected lines of an hour: how many for each reason, the first ones, and all as ``rejected.jsonl`` has them."""

    reasons: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[RejectedLine, ...] = ()
    lines: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class CaptureHour:
    """The captured lines of an hour folder.

    Attributes:
        lines: how many there were, rejected ones among them.
        rejected: those that say nothing.
        high: uint64[n], the first half of the hash of each id, in the order of the lines.
        low: uint64[n], the second half.
        times: int64[n], seconds since 1970, rounded down.
        rows: int32[n], how many rows the line has; None where each has one.
        predicted: a row each: uint8 (binary), int32 into ``classes`` (multiclass), float64 (regression).
        probability: float64, a row each; None where none is captured.
        flags: uint8, a row each: in which samples it is.
        classes: multiclass only: the class texts that occur, sorted.
        segment: int32, a row each, into ``segments``, -1 for none; None where no segments of the input are asked for.
        segments: their texts, sorted.
        run: int64[r], the first of consecutive captures that stand on consecutive lines of one object.
        run_object: int64[r], which of the folder's objects that is.
        run_line: int64[r], the number of the first line there, from 1.
    """

    lines: int
    rejected: RejectedLines
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    times: NDArray[np.int64]
    rows: NDArray[np.int32] | None
    predicted: NDArray[Any]
    probability: NDArray[np.float64] | None
    flags: NDArray[np.uint8]
    classes: tuple[str, ...]
    segment: NDArray[np.int32] | None
    segments: tuple[str, ...]
    run: NDArray[np.int64]
    run_object: NDArray[np.int64]
    run_line: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.high)

    def places(self, captures: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of some captures: which of the folder's objects each stands in, and the number of its line there."""
        run = np.searchsorted(self.run, captures, side="right") - 1
        return self.run_object[run], self.run_line[run] + captures - self.run[run]


@dataclass(frozen=True, slots=True, eq=False)
class LabelHour:
    """The label lines of an hour folder; columns as in `CaptureHour`, ``actual`` as its ``predicted``."""

    lines: int
    rejected: RejectedLines
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    rows: NDArray[np.int32] | None
    actual: NDArray[Any]
    classes: tuple[str, ...]
    segment: NDArray[np.int32] | None
    segments: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.high)


Hour = TypeVar("Hour", CaptureHour, LabelHour)


def made_of_hours(reading: Reading, keep_merged: str | None) -> bool:
    """Whether runs that read so may be made of hours: none that asks for a captured line as it was written, and no batch."""
    return keep_merged is None and reading.batch is None and not reading.processed


# --- from lines ---------------------------------------------------------------------------------------------------------


def capture_hour(
    pieces: Iterable[Lines], reading: Reading, objects: Mapping[str, int], *, keep_lines: bool
) -> CaptureHour:
    """The captured lines of an endpoint's hour folder, or of a part of it.

    Args:
        pieces: the lines, in order.
        reading: how they are read.
        objects: the number of each of the folder's objects, by its URI.
        keep_lines: whether the text of rejected lines is kept.
    """
    classes = Classes(reading)
    parts = []
    for lines in pieces:
        part = read_captures(lines, reading, None, classes)
        block, line = lines.places(part.at)
        of_block = np.array([objects[one.source] for one in lines.blocks], np.int64)[block]
        new = np.ones(len(line), np.bool_)
        new[1:] = (of_block[1:] != of_block[:-1]) | (line[1:] != line[:-1] + 1)
        run = np.flatnonzero(new)
        predicted, names = _named(part.predicted, reading, classes)
        segment, segments = _segments(part.segment)
        parts.append(
            CaptureHour(
                lines=part.lines,
                rejected=_rejected(part.rejected, "capture", keep_lines),
                high=np.ascontiguousarray(part.ids[:, 0]),
                low=np.ascontiguousarray(part.ids[:, 1]),
                times=part.times,
                rows=None if part.rows is None else part.rows.astype(np.int32),
                predicted=predicted,
                probability=part.probability,
                flags=_flags(part.ids, part.rows),
                classes=names,
                segment=segment,
                segments=segments,
                run=run,
                run_object=of_block[run],
                run_line=line[run],
            )
        )
    return joined_captures(parts, reading)


def label_hour(pieces: Iterable[Lines], reading: Reading, *, keep_lines: bool) -> LabelHour:
    """The label lines of an hour folder, or of a part of it; arguments as those of `capture_hour`."""
    classes = Classes(reading)
    parts = []
    for lines in pieces:
        part = read_labels(lines, reading, classes)
        actual, names = _named(part.actual, reading, classes)
        segment, segments = _segments(part.segment)
        parts.append(
            LabelHour(
                lines=part.lines,
                rejected=_rejected(part.rejected, "ground_truth", keep_lines),
                high=np.ascontiguousarray(part.ids[:, 0]),
                low=np.ascontiguousarray(part.ids[:, 1]),
                rows=None if part.rows is None else part.rows.astype(np.int32),
                actual=actual,
                classes=names,
                segment=segment,
                segments=segments,
            )
        )
    return joined_labels(parts, reading)


def _flags(ids: NDArray[np.uint64], rows: NDArray[np.int64] | None) -> NDArray[np.uint8]:
    if rows is None:
        return sample_flags(ids)
    return sample_flags(np.repeat(ids, rows, axis=0), numbers_in_records(rows))


def _rejected(rejected: Sequence[Rejection], side: str, keep_lines: bool) -> RejectedLines:
    if not rejected:
        return RejectedLines()
    collected = Rejections(side, keep_lines)
    for one in rejected:
        collected.add(one)
    return RejectedLines(collected.counts(), tuple(collected.examples), b"".join(collected.lines))


def _named(codes: NDArray[Any], reading: Reading, classes: Classes) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Values in the kind of the problem; class numbers are those of the classes that occur, sorted."""
    if reading.problem_type != MULTICLASS:
        return codes.astype(VALUES[reading.problem_type], copy=False), ()
    return _sorted_names(codes, classes.names)


def _segments(names: Sequence[str | None] | None) -> tuple[NDArray[np.int32] | None, tuple[str, ...]]:
    if names is None:
        return None, ()
    texts = sorted({name for name in names if name is not None})
    numbers: dict[str | None, int] = {text: number for number, text in enumerate(texts)}
    numbers[None] = -1
    return np.fromiter(map(numbers.__getitem__, names), np.int32, len(names)), tuple(texts)


def _sorted_names(codes: NDArray[np.int32], names: Sequence[str]) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    occurring = np.flatnonzero(np.bincount(codes, minlength=len(names))).tolist()
    texts = sorted(names[code] for code in occurring)
    return renumbered(codes, names, {text: number for number, text in enumerate(texts)}), tuple(texts)


def renumbered(
    codes: NDArray[np.int32], names: Sequence[str], numbers: Mapping[str, int], none: int = -1
) -> NDArray[np.int32]:
    """Codes into some names as the numbers that these have elsewhere; -1 stays what it is."""
    table = np.array([*(numbers.get(name, none) for name in names), -1], np.int32)  # the last is what -1 finds
    return table[codes]


# --- parts of an hour ---------------------------------------------------------------------------------------------------


def lines_on(part: Hour, before: int) -> Hour:
    """A part of an hour with its lines numbered as so many lines on in their object."""
    rejected = replace(
        part.rejected,
        examples=tuple(numbered_on(part.rejected.examples, before)),
        lines=b"".join(entries_numbered_on(part.rejected.lines.splitlines(keepends=True), before)),
    )
    if isinstance(part, CaptureHour):
        return replace(part, rejected=rejected, run_line=part.run_line + before)
    return replace(part, rejected=rejected)


def joined_captures(parts: Sequence[CaptureHour], reading: Reading) -> CaptureHour:
    """The parts of an hour's captures as one, in the order given."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part) for part in parts)])[:-1]
    run = _together([part.run + start for part, start in zip(parts, starts, strict=True)], np.int64)
    run_object = _together([part.run_object for part in parts], np.int64)
    run_line = _together([part.run_line for part in parts], np.int64)
    new = np.ones(len(run), np.bool_)
    new[1:] = (run_object[1:] != run_object[:-1]) | (np.diff(run_line) != np.diff(run))
    return CaptureHour(
        **_joined(parts, "predicted", reading),
        times=_together([part.times for part in parts], np.int64),
        probability=None
        if reading.probability is None
        else _together([part.probability for part in parts if part.probability is not None], np.float64),
        flags=_together([part.flags for part in parts], np.uint8),
        run=run[new],
        run_object=run_object[new],
        run_line=run_line[new],
    )


def joined_labels(parts: Sequence[LabelHour], reading: Reading) -> LabelHour:
    """The parts of an hour's labels as one, in the order given."""
    return parts[0] if len(parts) == 1 else LabelHour(**_joined(parts, "actual", reading))


def _joined(parts: Sequence[CaptureHour] | Sequence[LabelHour], values: str, reading: Reading) -> dict[str, Any]:
    """What both sides have in common."""
    classes = sorted({name for part in parts for name in part.classes})
    segments = sorted({name for part in parts for name in part.segments})
    asked = reading.segment_input if values == "predicted" else reading.segment_truth
    columns = [getattr(part, values) for part in parts]
    if reading.problem_type == MULTICLASS:
        columns = in_common(columns, [part.classes for part in parts], classes)
    reasons: Counter[str] = Counter()
    for part in parts:
        reasons.update(part.rejected.reasons)
    return {
        "lines": sum(part.lines for part in parts),
        "rejected": RejectedLines(
            dict(sorted(reasons.items())),
            tuple(example for part in parts for example in part.rejected.examples)[:EXAMPLES],
            b"".join(part.rejected.lines for part in parts),
        ),
        "high": _together([part.high for part in parts], np.uint64),
        "low": _together([part.low for part in parts], np.uint64),
        "rows": rows_together([(part.rows, len(part)) for part in parts]),
        values: _together(columns, VALUES[reading.problem_type]),
        "classes": tuple(classes),
        "segment": None
        if asked is None
        else _together(
            in_common(
                [part.segment for part in parts if part.segment is not None],
                [part.segments for part in parts],
                segments,
            ),
            np.int32,
        ),
        "segments": tuple(segments),
    }


def in_common(
    columns: Sequence[NDArray[np.int32]], names: Sequence[Sequence[str]], common: Sequence[str]
) -> list[NDArray[np.int32]]:
    """Columns of codes into names of their own as codes into common ones."""
    numbers = {name: number for number, name in enumerate(common)}
    return [renumbered(codes, own, numbers) for codes, own in zip(columns, names, strict=True)]


def _together(columns: Sequence[NDArray[Any]], kind: Any) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, kind), *columns])


def rows_together(parts: Sequence[tuple[NDArray[Any] | None, int]]) -> NDArray[Any] | None:
    """Row counts of consecutive parts, in the widest of their kinds; None where every record has one row."""
    if all(rows is None for rows, _ in parts):
        return None
    return np.concatenate([np.ones(count, np.int32) if rows is None else rows for rows, count in parts])
