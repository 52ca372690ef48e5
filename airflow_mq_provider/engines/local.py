"""The embedded engine: all cores of one machine, nothing held but ids, labels and what one unit of work needs.

Worker processes are forked once. They read the labels first; this process puts them into one table, of which every worker
maps the same memory (`engines.labels`, `engines.workers`). Then they read captures unit by unit, join, and write their
parts. The cut into units depends on the listing alone and the results are taken in the order of the units, so the
number of workers changes nothing in what is written (rule O2).
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from airflow_mq_provider.engines import by_hour
from airflow_mq_provider.engines.bounds import held, within
from airflow_mq_provider.engines.hours import VALUES, rows_together
from airflow_mq_provider.engines.labels import Column, IdParts, LabelTable, label_table
from airflow_mq_provider.engines.memory import MIB, fits, limit_of, refuse_more_rows
from airflow_mq_provider.engines.reading import capture_lines, label_lines, reader
from airflow_mq_provider.engines.task import (
    MISMATCH,
    ROWS_SUFFIX,
    UNIT,
    Arrivals,
    LinesBefore,
    MergeTask,
    Rejections,
    Unit,
    in_spans,
    merged_batch,
    merged_captures,
    merged_head,
    merged_record,
    parquet_rows,
    part_uri,
    units,
)
from airflow_mq_provider.engines.workers import Later, Step, available_cores, keep_freed_memory, results
from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.quality.ages import NEVER, LabelAges, hour_number, label_ages
from airflow_mq_provider.quality.columns import (
    Predictions,
    numbers_in_records,
    processed,
    read_labels,
    row_places,
)
from airflow_mq_provider.quality.lines import Lines
from airflow_mq_provider.quality.records import Classes, judge_batch
from airflow_mq_provider.quality.states import (
    CaptureCounts,
    GroundTruthCounts,
    JoinCounts,
    MergeCounts,
    MergedRows,
    label_coverage,
    sample_flags,
)
from airflow_mq_provider.scripts import Preprocessor
from airflow_mq_provider.storage import Storage

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

_log = logging.getLogger(__name__)


def merge(
    task: MergeTask,
    storage: Storage,
    *,
    workers: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> MergeCounts:
    """Join labels to captures and write the parts and ``rejected.jsonl``. See `engines.Engine.merge`."""
    keep_freed_memory()
    with tempfile.NamedTemporaryFile() as sink:

        def by_hours(sides: by_hour.Sides) -> MergeCounts:
            return by_hour.merge(sides, sink)

        def by_lines(folder: Path | None, workers: int | None) -> MergeCounts:
            return _merged(task, storage, folder, sink, workers, progress)

        def undo() -> None:
            sink.seek(0)
            sink.truncate()
            if task.rows is not None:
                task.rows.clear()
            storage.delete([one.uri for one in storage.list(task.merged_uri) if one.key.endswith(ROWS_SUFFIX)])

        counts = _within_limit(task, storage, workers, progress, by_hours, by_lines, undo)
        sink.flush()
        storage.write_file(task.rejected_uri, sink.name)
    return counts


def _merged(
    task: MergeTask,
    storage: Storage,
    folder: Path | None,
    sink: Any,
    workers: int | None,
    progress: Callable[[str, int, int], None] | None,
) -> MergeCounts:
    """The same line by line: where these are needed as they were written, or the columns of all do not fit into memory."""
    with (
        tempfile.TemporaryFile() as mismatches,
        _joining(_capture_unit, task, storage, folder, sink, workers, progress) as (joined, labels),
    ):
        counts = _added_up(joined, task, labels, folder, sink, mismatches)
        # behind all others: the same bytes however the work was cut
        mismatches.seek(0)
        shutil.copyfileobj(mismatches, sink)
    return counts


def arrivals(
    task: MergeTask,
    storage: Storage,
    *,
    workers: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Arrivals:
    """Find the captures that the labels name. See `engines.Engine.arrivals`."""
    keep_freed_memory()
    task = replace(task, keep_merged=None, preprocessor=None)

    def by_lines(folder: Path | None, workers: int | None) -> Arrivals:
        with (
            open(os.devnull, "wb") as sink,  # rejected lines are told by the runs
            _joining(_arrival_unit, task, storage, folder, sink, workers, progress) as (joined, _),
        ):
            found = [one for _, one in joined]
        return Arrivals(
            _joined([one.times for one in found], np.int64),
            _joined([one.hours for one in found], np.int32),
        )

    return _within_limit(task, storage, workers, progress, by_hour.arrivals, by_lines, undo=lambda: None)


def _within_limit(
    task: MergeTask,
    storage: Storage,
    workers: int | None,
    progress: Callable[[str, int, int], None] | None,
    by_hours: Callable[[by_hour.Sides], T],
    by_lines: Callable[[Path | None, int | None], T],
    undo: Callable[[], None],
) -> T:
    """What comes of the first way that does with the memory of the task: each gives the same, with less memory than the one before.

    By hours, where their columns fit; else line by line, with the table of labels in memory where it fits; with the table on disk; and that
    by this process alone. An estimate chooses the first. Where that was wrong memory runs out, at the limit and not beyond
    (`engines.bounds`); what was written then is undone, and the next way begins anew.

    Raises:
        InputError: the estimate says that none does, or the last one did not.
    """

    def on_disk(workers: int | None) -> T:
        with tempfile.TemporaryDirectory(prefix="model-quality-") as folder:
            return by_lines(Path(folder), workers)

    ways: list[Callable[[], T]] = [partial(on_disk, workers), partial(on_disk, 1)]
    if (sides := by_hour.sides(task, storage, workers, progress)) is not None:
        ways.insert(0, partial(by_hours, sides))
    elif fits(task, storage, workers or available_cores()):
        ways.insert(0, partial(by_lines, None, workers))
    del sides  # nothing but the way itself is to hold what it holds
    limit = limit_of(task)
    while ways:
        way = ways.pop(0)
        with suppress(MemoryError), within(limit):
            return way()
        del way
        gc.collect()  # whatever the error held
        _log.warning(
            "Memory ran out at the limit of %d MiB: the window is begun anew with less in memory.", limit // MIB
        )
        if task.loaded is not None:
            task.loaded.clear()
        undo()
    raise InputError(
        expected=f"a window that can be judged within {limit // MIB:,} MiB of memory",
        came=f"one that needs more, beside the {held() // MIB:,} MiB of this process, also with the labels on disk",
        where="memory_limit",
        next_step="give the task more memory or a shorter window, or run the monitor on Spark",
    )


@contextmanager
def _joining(
    join: Callable[[MergeTask, Storage, Later[LabelTable], Unit], T],
    task: MergeTask,
    storage: Storage,
    folder: Path | None,
    sink: Any,
    workers: int | None,
    progress: Callable[[str, int, int], None] | None,
) -> Iterator[tuple[Iterator[tuple[Unit, T]], GroundTruthCounts]]:
    """Read the labels, and give each unit of captures with what `join` makes of it."""
    table: Later[LabelTable] = Later(folder)
    labels = units(task.labels, in_spans(task.labels, storage))
    captures = units(task.captures, task.captures_in_spans(storage))
    steps = [Step("ground truth", partial(_label_unit, task, storage), unit) for unit in labels]
    steps += [Step("captures", partial(join, task, storage, table), unit) for unit in captures]
    with closing(results(steps, table, workers=workers, progress=progress)) as found:
        collected, counts = _collected(zip(labels, found, strict=False), task, folder, sink)
        table.put(collected)
        del collected
        yield zip(captures, found, strict=True), counts


# --- labels -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _LabelUnit:
    """The labels of one unit, in the order of their lines."""

    lines: int
    last_line: int
    ids: NDArray[np.uint64]
    hours: NDArray[np.int32]
    rows: NDArray[np.int64] | None
    actual: NDArray[Any]
    classes: list[str]
    truth: NDArray[np.int32] | None
    truths: list[bytes]
    rejections: Rejections
    segment: Sequence[str | None] | None
    """A row each; None where no segments of labels are asked for."""


def _label_unit(task: MergeTask, storage: Storage, unit: Unit) -> _LabelUnit:
    classes = Classes(task.reading)
    rejections = Rejections("ground_truth", task.keep_rejected_lines)
    hour_of = {one.uri: hour_number(one.hour) for one in unit.objects}
    parts, hours = [], []
    last_line = 0
    for lines in label_lines(storage, unit):
        last_line = lines.last_line
        parts.append(read_labels(lines, task.reading, classes))
        of_blocks = np.array([hour_of[block.source] for block in lines.blocks], np.int32)
        hours.append(of_blocks[lines.block_numbers(parts[-1].at)])
        for rejection in parts[-1].rejected:
            rejections.add(rejection)
    truth, truths = None, []
    if task.needs_truths:
        seen: dict[bytes, int] = {}
        numbers = [np.array([seen.setdefault(text, len(seen)) for text in part.truths], np.int32) for part in parts]
        truth = _joined([numbers[at][part.truth] for at, part in enumerate(parts)], np.int32)
        truths = list(seen)
    return _LabelUnit(
        lines=sum(part.lines for part in parts),
        last_line=last_line,
        ids=_joined([part.ids for part in parts], np.uint64, (0, 2)),
        hours=_joined(hours, np.int32),
        rows=rows_together([(part.rows, len(part.ids)) for part in parts]),
        actual=_joined([part.actual for part in parts], kind := VALUES[task.reading.problem_type]).astype(
            kind, copy=False
        ),
        classes=classes.names,
        truth=truth,
        truths=truths,
        rejections=rejections,
        segment=_in_common(part.segment for part in parts) if task.reading.segment_truth else None,
    )


def _in_common(parts: Iterable[Sequence[str | None] | None]) -> list[str | None]:
    """The segments of all parts, one after another; of equal texts one is held."""
    texts: dict[str | None, str | None] = {}
    return [texts.setdefault(text, text) for part in parts for text in part or ()]


def _joined(arrays: Sequence[NDArray[Any]], kind: Any, shape: tuple[int, ...] = (0,)) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros(shape, kind)


def _collected(
    parts: Iterable[tuple[Unit, _LabelUnit]], task: MergeTask, folder: Path | None, sink: Any
) -> tuple[LabelTable, GroundTruthCounts]:
    """Keep the last label of each id: in memory, or in files of the folder where one is given."""
    rejections = Rejections("ground_truth", task.keep_rejected_lines)
    classes = Classes(task.reading)
    segments: dict[str, int] = {}
    ids = IdParts(folder, "labels")
    actual, truth = Column(VALUES[task.reading.problem_type], folder, "actual"), Column(np.int32, folder, "truth")
    rows, segment = Column(np.int64, folder, "rows"), Column(np.int32, folder, "segment")
    truth_bytes, truth_ends = Column(np.uint8, folder, "truths"), Column(np.int64, folder, "truth-ends")
    lines = truths = truth_size = 0
    lines_before = LinesBefore()
    several = False
    for unit, part in parts:
        rejections.extend(part.rejections, sink, lines_before.of(unit, part.last_line))
        lines += part.lines
        ids.add(part.ids, part.hours)
        if task.reading.problem_type == "MulticlassClassification":
            numbers = np.array([classes.number(name) for name in part.classes], np.int32)
            part.actual = numbers[part.actual] if len(numbers) else part.actual
        actual.add(part.actual)
        rows.add(np.broadcast_to(np.int64(1), len(part.ids)) if part.rows is None else part.rows)
        several |= part.rows is not None
        if part.truth is not None:
            truth.add(part.truth + np.int32(truths))
            truths += len(part.truths)
            truth_bytes.add(np.frombuffer(b"".join(part.truths), np.uint8))
            truth_ends.add(ends := np.cumsum([0, *map(len, part.truths)])[1:] + truth_size)
            truth_size = int(ends[-1]) if len(ends) else truth_size
        if part.segment is not None:
            codes = [-1 if name is None else segments.setdefault(name, len(segments)) for name in part.segment]
            segment.add(np.array(codes, np.int32))
    table = label_table(
        ids,
        folder,
        actual=actual.whole(),
        rows=rows.whole() if several else None,
        classes=classes.names,
        truth=truth.whole() if task.needs_truths else None,
        truth_starts=np.append([0], truth_ends.whole()),
        truth_bytes=truth_bytes.whole(),
        segment=segment.whole() if task.reading.segment_truth else None,
        segments=list(segments),
    )
    counts = GroundTruthCounts(
        files=len(task.labels),
        lines=lines,
        used=ids.count,
        rejected=rejections.counts(),
        duplicate_labels=ids.count - len(table.high),
        examples=tuple(rejections.examples),
    )
    return table, counts


# --- captures ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _CaptureUnit:
    """What joining one unit of captures gave."""

    lines: int = 0
    last_line: int = 0
    outside_window: int = 0
    dropped: int = 0
    matched_rows: int = 0
    ages: LabelAges = field(default_factory=LabelAges)
    without_label: list[NDArray[np.uint64]] = field(default_factory=list)
    """Ids that no label has."""
    found: list[NDArray[np.uint32]] = field(default_factory=list)
    """Places of the labels that were found, in the table."""
    rejections: Rejections = field(default_factory=lambda: Rejections("capture", True))
    mismatches: Rejections = field(default_factory=lambda: Rejections("merge", True))


def _capture_unit(task: MergeTask, storage: Storage, labels: Later[LabelTable], unit: Unit) -> _CaptureUnit:
    result = _CaptureUnit(
        rejections=Rejections("capture", task.keep_rejected_lines),
        mismatches=Rejections("merge", task.keep_rejected_lines),
    )
    rows: list[MergedRows] = []
    with ExitStack() as stack:
        preprocessor = stack.enter_context(Preprocessor(task.preprocessor)) if task.preprocessor else None
        for number, (lines, part, classes) in enumerate(_captures(task, storage, labels, unit)):
            table = labels.get()
            result.lines += part.lines
            result.last_line = lines.last_line
            result.outside_window += part.outside_window
            if preprocessor is not None:
                part = _preprocessed(task, table, lines, part, classes, preprocessor, result)
            for rejection in part.rejected:
                result.rejections.add(rejection)
            rows.append(_join_piece(task, storage, table, unit, number, lines, part, classes, result))
            if sum(map(len, rows)) >= by_hour.ROWS:
                _write_rows(task, storage, unit, rows, f"-{number:03d}")
                rows = []
    if sum(map(len, rows)):
        _write_rows(task, storage, unit, rows)
    return result


def _write_rows(task: MergeTask, storage: Storage, unit: Unit, rows: Sequence[MergedRows], piece: str = "") -> None:
    """Write the rows of some pieces of a unit: as the part that is the unit's last, or before it as that of a piece."""
    storage.write(part_uri(task, unit.number, piece + ROWS_SUFFIX), MergedRows.of_parts(rows).to_bytes())


def _captures(
    task: MergeTask, storage: Storage, labels: Later[LabelTable], unit: Unit
) -> Iterable[tuple[Lines, Predictions, Classes]]:
    """What the captures of a unit say, piece by piece; where the labels are not in order yet, about `UNIT` bytes are read before."""
    # classes are numbered as the labels number them
    multiclass = task.reading.problem_type == "MulticlassClassification"
    classes = Classes(task.reading, labels.get().classes if multiclass else ())
    read = reader(task)
    found = (
        (lines, read(lines, task.reading, task.seconds, classes), classes)
        for lines in capture_lines(task, storage, unit)
    )
    return found if labels.here() else _read_ahead(found)


def _read_ahead(pieces: Iterator[tuple[Lines, Predictions, Classes]]) -> Iterator[tuple[Lines, Predictions, Classes]]:
    ahead: deque[tuple[Lines, Predictions, Classes]] = deque()
    size = 0
    while size < UNIT and (piece := next(pieces, None)) is not None:
        ahead.append(piece)
        size += len(piece[0].data)
    while ahead:
        yield ahead.popleft()
    yield from pieces


def _arrival_unit(task: MergeTask, storage: Storage, labels: Later[LabelTable], unit: Unit) -> Arrivals:
    times, hours = [], []
    for _, part, _ in _captures(task, storage, labels, unit):
        table = labels.get()
        found = table.find(part.ids)
        times.append(part.times[found >= 0])
        hours.append(table.last_hour[found[found >= 0]])
    return Arrivals(_joined(times, np.int64), _joined(hours, np.int32))


def _preprocessed(
    task: MergeTask,
    table: LabelTable,
    lines: Lines,
    part: Predictions,
    classes: Classes,
    preprocessor: Preprocessor,
    result: _CaptureUnit,
) -> Predictions:
    """The part as the preprocessor makes it of the merged records; captures without a label are not shown to it."""
    found = table.find(part.ids)

    def rows_of(place: int) -> list[dict[str, Any]] | None:
        if found[place] < 0:
            return None
        at = int(part.at[place])
        ((number,), truths) = table.truths_of(table.place[found[place : place + 1]])
        record = merged_record(task.reading, truths[number], lines[at], lines.block(at).header)
        where = lines.rejection(at, "", "")
        return preprocessor.rows(record, f"{where.source}, line {where.line}")

    processed_part, dropped, rejected = processed(lines, part, rows_of, task.reading, classes)
    result.dropped += dropped
    order = {block.source: number for number, block in enumerate(lines.blocks)}
    both = sorted([*part.rejected, *rejected], key=lambda one: (order.get(one.source, -1), one.line))
    return replace(processed_part, rejected=tuple(both))


def _join_piece(
    task: MergeTask,
    storage: Storage,
    table: LabelTable,
    unit: Unit,
    number: int,
    lines: Lines,
    part: Predictions,
    classes: Classes,
    result: _CaptureUnit,
) -> MergedRows:
    """Join the captures of some lines to the table, write what is kept of them, and count. Returns the merged rows."""
    found = table.find(part.ids)
    captures = np.flatnonzero(found >= 0)
    result.found.append(found[captures].astype(np.uint32))
    result.without_label.append(part.ids[found < 0])
    came = np.full(len(found), NEVER, np.int32)
    came[captures] = table.first_hour[found[captures]]
    result.ages += label_ages(part.times, came, task.labels_until)
    labels = table.place[found[captures]]
    row: NDArray[np.int64] | None = None
    rows_of_captures, rows_of_labels, row_owner = captures, labels, captures
    counts: NDArray[np.int64] | None = None
    if part.rows is not None or table.rows is not None:
        mine = np.ones(len(found), np.int64) if part.rows is None else part.rows
        theirs = np.ones(len(table.actual), np.int64) if table.rows is None else table.rows
        equal = mine[captures] == theirs[labels]
        for capture, label in zip(captures[~equal].tolist(), labels[~equal].tolist(), strict=True):
            seen = f"{mine[capture]} rows and {theirs[label]} labels"
            result.mismatches.add(lines.rejection(int(part.at[capture]), MISMATCH, seen))
        captures, labels = captures[equal], labels[equal]
        rows_of_captures, rows_of_labels = row_places(mine, captures), row_places(theirs, labels)
        counts = mine[captures]
        row_owner = np.repeat(captures, counts)
        row = numbers_in_records(counts)
    predicted = part.predicted[rows_of_captures]
    binary = task.reading.problem_type == "BinaryClassification"
    rows = MergedRows(
        problem_type=task.reading.problem_type,
        flags=sample_flags(part.ids[row_owner], row),
        actual=table.actual[rows_of_labels],
        predicted=predicted.astype(np.uint8) if binary else predicted,
        probability=None if part.probability is None else part.probability[rows_of_captures],
        classes=tuple(classes.names) if task.reading.problem_type == "MulticlassClassification" else (),
    )
    if part.segment is not None:
        rows = rows.in_segments([part.segment[at] for at in rows_of_captures.tolist()])
    elif table.segment is not None:
        rows = rows.in_segments(table.segments_of(rows_of_labels))
    result.matched_rows += len(rows)
    if task.keep_merged is None:
        return rows
    for hour, first, last in _by_hour(unit, lines, part.at[captures]):
        uri = part_uri(task, unit.number, f"-{number:03d}.{task.keep_merged}", hour)
        if task.keep_merged == "jsonl":
            merged = _verbatim(task, table, lines, part.at[captures[first:last]], labels[first:last])
            storage.write(uri, merged)
        else:
            ends = np.arange(len(captures) + 1) if counts is None else np.append([0], np.cumsum(counts))
            start, end = int(ends[first]), int(ends[last])
            owners = row_owner[start:end]
            texts = [part.texts[at] for at in part.text[owners].tolist()]
            storage.write(uri, parquet_rows(task.reading, texts, part.times[owners], rows.part(start, end)))
    return rows


def _by_hour(unit: Unit, lines: Lines, at: NDArray[np.int64]) -> Iterator[tuple[str, int, int]]:
    """The hour folders that the lines `at` come from, each with the first and the last of them, exclusive."""
    hours = {one.uri: one.hour for one in unit.objects}
    of_blocks = [hours[block.source] for block in lines.blocks]
    changes = [number for number in range(1, len(of_blocks)) if of_blocks[number] != of_blocks[number - 1]]
    bounds = np.searchsorted(lines.starts[at], lines.block_starts[changes]).tolist()
    for number, first, last in zip([0, *changes], [0, *bounds], [*bounds, len(at)], strict=True):
        if first < last:
            yield of_blocks[number], first, last


def _verbatim(
    task: MergeTask, table: LabelTable, lines: Lines, at: NDArray[np.int64], labels: NDArray[np.int64]
) -> bytes:
    """SageMaker's merged records of the matched captures `at`, in the order of the lines."""
    numbers, truths = table.truths_of(labels)
    if task.reading.batch is not None:
        header = [lines.block(one).header for one in at.tolist()]
        judged = [judge_batch(lines[one], task.reading, head) for one, head in zip(at.tolist(), header, strict=True)]
        return merged_batch([truths[number] for number in numbers], judged)
    view = memoryview(lines.data)
    starts, ends = (lines.starts[at] + 1).tolist(), (lines.ends[at] + 1).tolist()
    bodies: list[bytes | memoryview] = [view[start:end] for start, end in zip(starts, ends, strict=True)]
    # a line may have whitespace between its brace and its newline
    for number in np.flatnonzero(np.frombuffer(lines.data, np.uint8)[lines.ends[at]] != 10).tolist():
        bodies[number] = lines[int(at[number])][1:] + b"\n"
    heads = {number: merged_head(truth) for number, truth in truths.items()}
    return merged_captures(map(heads.__getitem__, numbers), bodies)


def _added_up(
    parts: Iterable[tuple[Unit, _CaptureUnit]],
    task: MergeTask,
    labels: GroundTruthCounts,
    folder: Path | None,
    sink: Any,
    mismatch_sink: Any,
) -> MergeCounts:
    """The counts of every unit of captures together."""
    rejections = Rejections("capture", task.keep_rejected_lines)
    mismatches = Rejections("merge", task.keep_rejected_lines)
    total = _CaptureUnit()
    with_label = 0
    without_label = IdParts(folder, "captures")
    distinct_labels = labels.used - labels.duplicate_labels
    labelled = np.zeros(distinct_labels, np.bool_)
    lines_before = LinesBefore()
    for unit, part in parts:
        total.lines += part.lines
        total.outside_window += part.outside_window
        total.dropped += part.dropped
        total.matched_rows += part.matched_rows
        refuse_more_rows(task, total.matched_rows)
        for ids in part.without_label:
            without_label.add(ids)
        total.ages += part.ages
        for found in part.found:
            with_label += len(found)
            labelled[found] = True
        before = lines_before.of(unit, part.last_line)
        rejections.extend(part.rejections, sink, before)
        mismatches.extend(part.mismatches, mismatch_sink, before)
    used, captured = with_label + without_label.count, int(np.count_nonzero(labelled))
    return MergeCounts(
        capture=CaptureCounts(
            files=len(task.captures),
            lines=total.lines,
            used=used,
            outside_window=total.outside_window,
            dropped=total.dropped,
            rejected=rejections.counts(),
            # one id has one label or none
            duplicate_ids=with_label - captured + without_label.repeats(),
            examples=tuple(rejections.examples),
        ),
        ground_truth=labels,
        merge=JoinCounts(
            matched=total.matched_rows,
            captures_without_label=without_label.count,
            labels_without_capture=distinct_labels - captured,
            rejected=mismatches.counts(),
            label_coverage=label_coverage(used, without_label.count),
            label_ages=total.ages,
        ),
    )
