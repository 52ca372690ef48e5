"""A merge that reads each hour once: hours that are prepared are loaded, the others read and prepared, then all are joined.

Used wherever no captured line is asked for as it was written: no `keep_merged`, no preprocessor, no batch transform. A first run
and a later one differ in where the columns of an hour come from, and in nothing else: so they give the same bytes (rule O2).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import IO, TYPE_CHECKING, Any, Generic

import numpy as np

from airflow_mq_provider.engines.hours import (
    CAPTURES,
    LABELS,
    CaptureHour,
    Hour,
    LabelHour,
    capture_hour,
    in_common,
    joined_captures,
    joined_labels,
    label_hour,
    lines_on,
    made_of_hours,
    rows_together,
)
from airflow_mq_provider.engines.matching import Ids, Matches, join
from airflow_mq_provider.engines.memory import hours_fit
from airflow_mq_provider.engines.prepared import (
    HourFolder,
    Shelf,
    decoded,
    encoded,
    hour_folders,
    reading_digest,
)
from airflow_mq_provider.engines.reading import capture_lines, label_lines
from airflow_mq_provider.engines.task import (
    MISMATCH,
    ROWS_SUFFIX,
    Arrivals,
    LinesBefore,
    MergeTask,
    Rejections,
    Unit,
    in_spans,
    part_uri,
    units,
)
from airflow_mq_provider.engines.workers import Later, Step, available_cores, results
from airflow_mq_provider.exceptions import OutputError
from airflow_mq_provider.inputs import Input
from airflow_mq_provider.quality.ages import NEVER, hour_number, label_ages
from airflow_mq_provider.quality.columns import row_places
from airflow_mq_provider.quality.lines import Lines, Rejection
from airflow_mq_provider.quality.records import Reading
from airflow_mq_provider.quality.states import (
    EXAMPLES,
    MULTICLASS,
    CaptureCounts,
    GroundTruthCounts,
    JoinCounts,
    MergeCounts,
    MergedRows,
    RejectedLine,
    label_coverage,
)
from airflow_mq_provider.storage import Storage

if TYPE_CHECKING:
    from numpy.typing import NDArray

_JOINED = "joined"
ROWS = 1 << 20
"""Rows of one part of the merge."""


def serves(task: MergeTask) -> bool:
    """Whether a merge is of the kind that is made of hours."""
    return task.preprocessor is None and made_of_hours(task.reading, task.keep_merged)


def sides(
    task: MergeTask, storage: Storage, workers: int | None, progress: Callable[[str, int, int], None] | None
) -> Sides | None:
    """Both sides of a merge, listed; None where it is not made of hours, or its columns do not fit into memory."""
    if not serves(task):
        return None
    both = Sides(task, storage, workers, progress)
    prepared = both.labels.prepared_size + both.captures.prepared_size
    missing = both.captures.missing, both.labels.missing
    return both if hours_fit(task, storage, workers or available_cores(), prepared, *missing) else None


def merge(sides: Sides, sink: IO[bytes]) -> MergeCounts:
    """Join labels to captures, write the parts, and the rejected lines to the sink. See `engines.Engine.merge`."""
    task, storage = sides.task, sides.storage
    labels, captures = sides.read()
    window = _Window.of(sides, labels, captures)
    sink.writelines(hour.rejected.lines for hour in labels)
    sink.writelines(hour.rejected.lines for hour in captures)
    mismatches = Rejections("merge", task.keep_rejected_lines)
    matched = _leave_rows(task, storage, window, mismatches)
    sink.writelines(mismatches.lines)
    rejected, examples = _rejected(captures)
    label_rejected, label_examples = _rejected(labels)
    used = len(window.times)
    without_label = int(np.count_nonzero(window.matches.last < 0))
    return MergeCounts(
        capture=CaptureCounts(
            files=len(task.captures),
            lines=sum(hour.lines for hour in captures),
            used=used,
            outside_window=sum(map(len, captures)) - used,
            rejected=rejected,
            duplicate_ids=window.matches.duplicate_captures,
            examples=examples,
        ),
        ground_truth=GroundTruthCounts(
            files=len(task.labels),
            lines=sum(hour.lines for hour in labels),
            used=sum(map(len, labels)),
            rejected=label_rejected,
            duplicate_labels=window.matches.duplicate_labels,
            examples=label_examples,
        ),
        merge=JoinCounts(
            matched=matched,
            captures_without_label=without_label,
            labels_without_capture=window.matches.labels_without_capture,
            rejected=mismatches.counts(),
            label_coverage=label_coverage(used, without_label),
            label_ages=label_ages(window.times, window.came(), task.labels_until),
        ),
    )


def arrivals(sides: Sides) -> Arrivals:
    """Find the captures that the labels name. See `engines.Engine.arrivals`."""
    window = _Window.of(sides, *sides.read())
    found = window.matches.last >= 0
    return Arrivals(window.times[found], window.label_hours[window.matches.last[found]])


# --- hours --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _HourUnit(Unit):
    """Consecutive objects of one hour folder, or a span of one; whether they are all of it, and whether its last."""

    folder: HourFolder
    whole: bool
    last: bool


class _Side(Generic[Hour]):
    """The hours of one side: those that stand prepared are loaded, the others are to be read."""

    def __init__(
        self,
        kind: type[Hour],
        side: str,
        objects: Sequence[Input],
        read: Callable[[_HourUnit], tuple[Hour, int]],
        joined: Callable[[Sequence[Hour], Reading], Hour],
        task: MergeTask,
        storage: Storage,
    ) -> None:
        self._kind: type[Hour] = kind
        self._read: Callable[[_HourUnit], tuple[Hour, int]] = read
        self._joined: Callable[[Sequence[Hour], Reading], Hour] = joined
        self._reading = task.reading
        self._storage = storage
        self.folders = hour_folders(objects, reading_digest(side, task.reading, keep_lines=task.keep_rejected_lines))
        self._shelf = None if task.prepared is None else Shelf(storage, task.prepared, side, task.loaded)
        self._standing = {} if self._shelf is None else self._shelf.look(self.folders)
        self._todo: list[_HourUnit] = []
        self._loaded: dict[str, Hour] = {}
        self.refused: OutputError | None = None
        """Why an hour could not be kept, where one could not."""

    @property
    def prepared_size(self) -> int:
        """Bytes of the hours that stand prepared."""
        return sum(self._standing.values())

    @property
    def missing(self) -> list[Input]:
        """The objects of the others."""
        return [one for folder in self.folders if folder.name not in self._standing for one in folder.objects]

    def load(self) -> None:
        """Load what is prepared; what it turns out not to be is read."""
        if self._shelf is not None:
            self._loaded = self._shelf.load(self._kind, list(self._standing))
        missing = [one for one in self.folders if one.name not in self._loaded]
        cut = in_spans([one for folder in missing for one in folder.objects], self._storage)
        self._todo = _hour_units(missing, cut)

    def steps(self, phase: str) -> list[Step]:
        """What is to be read, for the results that `hours` takes."""
        return [Step(phase, self._prepare, unit) for unit in self._todo]

    def _prepare(self, unit: Any) -> tuple[bytes, int, OutputError | None]:
        """What a unit says, as bytes: they go from process to process as they are kept; and the number of its last line."""
        hour, last_line = self._read(unit)
        data = encoded(hour, unit.folder.name)
        return data, last_line, self._shelf.keep(unit.folder, data) if self._shelf is not None and unit.whole else None

    def hours(self, found: Iterator[tuple[bytes, int, OutputError | None]]) -> list[Hour]:
        """All hours, in their order."""
        parts: list[Hour] = []
        lines_before = LinesBefore()
        for unit, (data, last_line, refused) in zip(self._todo, found, strict=False):  # what follows is another side's
            part = _answered(self._kind, data, unit.folder)
            before = lines_before.of(unit, last_line)
            parts.append(lines_on(part, before) if before else part)
            self.refused = self.refused or refused
            if unit.last:
                self._loaded[unit.folder.name] = hour = self._joined(parts, self._reading)
                parts = []
                if self._shelf is not None and not unit.whole:
                    self.refused = self._shelf.keep(unit.folder, encoded(hour, unit.folder.name)) or self.refused
        if self._shelf is not None:
            self._shelf.tidy(self.folders)
            self._shelf.hold(self._loaded)
        return [self._loaded[one.name] for one in self.folders]


class Sides:
    """The labels and the captures of a merge, listed and not yet read."""

    def __init__(
        self,
        task: MergeTask,
        storage: Storage,
        workers: int | None,
        progress: Callable[[str, int, int], None] | None,
    ) -> None:
        self.task = task
        self.storage = storage
        self._workers = workers
        self._progress = progress
        self.labels = _Side(LabelHour, LABELS, task.labels, self._read_labels, joined_labels, task, storage)
        self.captures = _Side(CaptureHour, CAPTURES, task.captures, self._read_captures, joined_captures, task, storage)

    def read(self) -> tuple[list[LabelHour], list[CaptureHour]]:
        """All hours of both, in their order; those that are not prepared are, and kept where the task has a place for them."""
        self.labels.load()
        self.captures.load()
        steps = [*self.labels.steps("ground truth"), *self.captures.steps("captures")]
        with closing(results(steps, Later(), workers=self._workers, progress=self._progress)) as found:
            both = self.labels.hours(found), self.captures.hours(found)
        if refused := self.labels.refused or self.captures.refused:
            warnings.warn(f"hours that were read cannot be kept for later runs: {refused}", UserWarning, stacklevel=2)
        return both

    def _read_labels(self, unit: _HourUnit) -> tuple[LabelHour, int]:
        lines = _Passing(label_lines(self.storage, unit))
        hour = label_hour(lines, self.task.reading, keep_lines=self.task.keep_rejected_lines)
        return hour, lines.last_line

    def _read_captures(self, unit: _HourUnit) -> tuple[CaptureHour, int]:
        objects = {one.uri: number for number, one in enumerate(unit.folder.objects)}
        lines = _Passing(capture_lines(self.task, self.storage, unit))
        hour = capture_hour(lines, self.task.reading, objects, keep_lines=self.task.keep_rejected_lines)
        return hour, lines.last_line


class _Passing:
    """Lines as they pass by, and the number of the last one that did."""

    def __init__(self, pieces: Iterable[Lines]) -> None:
        self._pieces = pieces
        self.last_line = 0

    def __iter__(self) -> Iterator[Lines]:
        for lines in self._pieces:
            self.last_line = lines.last_line
            yield lines


def _hour_units(folders: Iterable[HourFolder], cut: Collection[Input]) -> list[_HourUnit]:
    """The objects of some hour folders cut into units, none of which holds objects of two."""
    found: list[_HourUnit] = []
    for folder in folders:
        parts = units(folder.objects, cut)
        for part in parts:
            whole, last = len(parts) == 1, part is parts[-1]
            unit = _HourUnit(len(found), part.objects, span=part.span, folder=folder, whole=whole, last=last)
            found.append(unit)
    return found


def _answered(kind: type[Hour], data: bytes, folder: HourFolder) -> Hour:
    hour = decoded(kind, data, folder.name)
    if hour is None:
        raise RuntimeError(f"what a worker made of the hour {folder.hour} is damaged")
    return hour


# --- the window ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """The hours of both sides joined: captures are those in the window, numbered in the order of their lines.

    Attributes:
        captures: the hours, and of each the captures that lie in the window; None where all of them do.
        labels: the hours.
        times: int64, of the captures.
        label_hours: int32, in which hour since 1970 each label was collected.
        matches: which label belongs to which capture.
    """

    captures: Sequence[tuple[CaptureHour, NDArray[np.int64] | None]]
    labels: Sequence[LabelHour]
    times: NDArray[np.int64]
    label_hours: NDArray[np.int32]
    matches: Matches

    @classmethod
    def of(cls, sides: Sides, labels: Sequence[LabelHour], captures: Sequence[CaptureHour]) -> _Window:
        """Leave out what lies outside the task's window, and join the others."""
        task = sides.task
        start, end = task.seconds
        chosen: list[tuple[CaptureHour, NDArray[np.int64] | None]] = []
        for hour in captures:
            whole = not len(hour) or (hour.times.min() >= start and hour.times.max() < end)
            chosen.append((hour, None if whole else np.flatnonzero((hour.times >= start) & (hour.times < end))))
        numbers = np.array([hour_number(folder.hour) for folder in sides.labels.folders], np.int32)
        named = [
            Ids(folder.name, hour.high, hour.low) for folder, hour in zip(sides.labels.folders, labels, strict=True)
        ]
        captured = [
            Ids(folder.name, hour.high, hour.low, inside)
            for folder, (hour, inside) in zip(sides.captures.folders, chosen, strict=True)
        ]
        return cls(
            captures=chosen,
            labels=labels,
            times=_together([_inside(hour.times, inside) for hour, inside in chosen], np.int64),
            label_hours=np.repeat(numbers, [len(hour) for hour in labels]),
            matches=_matches(task, named, captured),
        )

    def came(self) -> NDArray[np.int32]:
        """In which hour the first label of each capture was collected; `NEVER` where there is none."""
        # the last of these is what -1 finds ("wrap" does not look first whether all are in bounds)
        hours: NDArray[np.int32] = np.append(self.label_hours, np.int32(NEVER)).take(self.matches.first, mode="wrap")
        return hours

    def of_captures(self, name: str) -> NDArray[Any]:
        """A column of the captures that has an entry for each."""
        return np.concatenate([_inside(getattr(hour, name), inside) for hour, inside in self.captures])

    def of_rows(self, name: str) -> list[NDArray[Any]]:
        """A column of the captures that has an entry for each row, hour by hour."""
        return [_rows_inside(getattr(hour, name), hour.rows, inside) for hour, inside in self.captures]

    def rows(self) -> tuple[NDArray[np.int32] | None, NDArray[np.int32] | None]:
        """How many rows each capture has, and each label; None where all have one."""
        captures = [
            (None if hour.rows is None else _inside(hour.rows, inside), len(hour) if inside is None else len(inside))
            for hour, inside in self.captures
        ]
        return rows_together(captures), rows_together([(hour.rows, len(hour)) for hour in self.labels])


def _matches(task: MergeTask, labels: Sequence[Ids], captures: Sequence[Ids]) -> Matches:
    """The join, from that of the process's last window where there is one, and left for that of the next."""
    if task.loaded is None or task.prepared is None:
        return join(labels, captures).matches(captures)
    held = task.loaded.setdefault(task.prepared.uri, {})
    held[_JOINED] = joined = join(labels, captures, held.pop(_JOINED, None))
    return joined.matches(captures)


def _inside(column: NDArray[Any], inside: NDArray[np.int64] | None) -> NDArray[Any]:
    return column if inside is None else column[inside]


def _rows_inside(
    column: NDArray[Any], rows: NDArray[np.int32] | None, inside: NDArray[np.int64] | None
) -> NDArray[Any]:
    """The same of a column that has an entry for each row."""
    if inside is None or rows is None:
        return _inside(column, inside)
    return column[row_places(rows.astype(np.int64), inside)]


def _together(columns: Sequence[NDArray[Any]], kind: Any) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, kind), *columns])


def _rejected(hours: Sequence[CaptureHour] | Sequence[LabelHour]) -> tuple[dict[str, int], tuple[RejectedLine, ...]]:
    """The rejected lines of all hours: how many for each reason, and the first ones."""
    reasons: Counter[str] = Counter()
    examples: list[RejectedLine] = []
    for hour in hours:
        reasons.update(hour.rejected.reasons)
        examples += hour.rejected.examples[: EXAMPLES - len(examples)]
    return dict(sorted(reasons.items())), tuple(examples)


# --- merged rows --------------------------------------------------------------------------------------------------------


def _leave_rows(task: MergeTask, storage: Storage, window: _Window, mismatches: Rejections) -> int:
    """Leave the rows of captures with their labels, in parts, where the task has them; how many there are.

    Unequal numbers of rows are rejected.
    """
    if not len(window.times):
        return 0
    captures = np.flatnonzero(window.matches.last >= 0)
    labels = window.matches.last[captures].astype(np.int64)
    mine, theirs = window.rows()
    capture_rows, label_rows = captures, labels
    if mine is not None or theirs is not None:
        of_captures, of_labels = _counts(mine, len(window.times)), _counts(theirs, len(window.label_hours))
        equal = of_captures[captures] == of_labels[labels]
        unequal, their_labels = captures[~equal], labels[~equal]
        pairs = zip(of_captures[unequal].tolist(), of_labels[their_labels].tolist(), strict=True)
        seen = [f"{rows} rows and {labelled} labels" for rows, labelled in pairs]
        for rejection in _mismatches(task, storage, window, unequal, seen):
            mismatches.add(rejection)
        captures, labels = captures[equal], labels[equal]
        capture_rows, label_rows = row_places(of_captures, captures), row_places(of_labels, labels)
    if not len(capture_rows):
        return 0
    capture_columns, label_columns, names = _columns(task, window)
    for number, start in enumerate(range(0, len(capture_rows), ROWS)):
        here, there = capture_rows[start : start + ROWS], label_rows[start : start + ROWS]
        columns: dict[str, Any] = {name: column[here] for name, column in capture_columns.items()}
        columns |= {name: column[there] for name, column in label_columns.items()}
        rows = MergedRows(task.reading.problem_type, **columns, **names)
        if task.rows is None:
            storage.write(part_uri(task, number, ROWS_SUFFIX), rows.to_bytes())
        else:
            task.rows.append(rows)
    return len(capture_rows)


def _counts(rows: NDArray[np.int32] | None, records: int) -> NDArray[np.int64]:
    """How many rows each record has."""
    return np.ones(records, np.int64) if rows is None else rows.astype(np.int64)


def _columns(
    task: MergeTask, window: _Window
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], dict[str, Any]]:
    """The columns of `MergedRows` that captures have, an entry for each row, those that labels have, and the names of codes."""
    reading = task.reading
    hours = [hour for hour, _ in window.captures]
    predicted, actual = window.of_rows("predicted"), [hour.actual for hour in window.labels]
    names: dict[str, Any] = {}
    if reading.problem_type == MULTICLASS:
        named, labelled = [hour.classes for hour in hours], [hour.classes for hour in window.labels]
        names["classes"] = tuple(sorted({name for classes in (*named, *labelled) for name in classes}))
        predicted = in_common(predicted, named, names["classes"])
        actual = in_common(actual, labelled, names["classes"])
    of_captures = {"flags": np.concatenate(window.of_rows("flags")), "predicted": np.concatenate(predicted)}
    of_labels = {"actual": np.concatenate(actual)}
    if reading.probability is not None:
        of_captures["probability"] = np.concatenate(window.of_rows("probability"))
    if reading.in_segments:
        if reading.segment_input is not None:
            side, codes, texts = of_captures, window.of_rows("segment"), [hour.segments for hour in hours]
        else:
            side = of_labels
            codes = [hour.segment for hour in window.labels if hour.segment is not None]
            texts = [hour.segments for hour in window.labels]
        names["segments"] = tuple(sorted({text for hour in texts for text in hour}))
        side["segment"] = np.concatenate(in_common(codes, texts, names["segments"]))
    return of_captures, of_labels, names


def _mismatches(
    task: MergeTask, storage: Storage, window: _Window, captures: NDArray[np.int64], seen: Sequence[str]
) -> Iterator[Rejection]:
    """The rejections of some captures, for what was seen of each. Their lines are read again: prepared hours have none."""
    folders = [tuple(objects) for _, objects in groupby(task.captures, lambda one: one.hour)]
    counts = [len(hour) if inside is None else len(inside) for hour, inside in window.captures]
    starts = np.cumsum([0, *counts])
    bounds = np.searchsorted(captures, starts).tolist()
    told = iter(seen)
    for number, (hour, inside) in enumerate(window.captures):
        here = captures[bounds[number] : bounds[number + 1]] - starts[number]
        of_object, line = hour.places(here if inside is None else inside[here])
        places = list(zip((folders[number][one] for one in of_object.tolist()), line.tolist(), strict=True))
        for one, placed in groupby(places, lambda place: place[0]):
            lines = [line for _, line in placed]
            texts = _lines_of(task, storage, one, lines) if task.keep_rejected_lines else {}
            for line in lines:
                yield Rejection(one.uri, line, MISMATCH, next(told), texts.get(line, b""))


def _lines_of(task: MergeTask, storage: Storage, one: Input, wanted: Sequence[int]) -> dict[int, bytes]:
    """Some lines of an object by their number."""
    found: dict[int, bytes] = {}
    for lines in capture_lines(task, storage, Unit(0, (one,))):
        _, numbers = lines.places(np.arange(len(lines)))
        for at in np.flatnonzero(np.isin(numbers, wanted)).tolist():
            found[int(numbers[at])] = lines[at]
    return found
