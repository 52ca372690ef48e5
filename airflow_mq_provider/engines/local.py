"""The embedded engine: all cores of one machine, nothing held but ids, labels and what one unit of work needs.

Labels are read first, in parallel, into one table: 128-bit id hashes, sorted, with an index by their leading bits.
Worker processes are then forked, share that table unchanged, read captures unit by unit, join, and write their parts.
The cut into units depends on the listing alone and the results are taken in the order of the units, so the number
of workers changes nothing in what is written (rule O2).
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from airflow_mq_provider.engines.task import (
    PIECE,
    ROWS_SUFFIX,
    Arrivals,
    MergeTask,
    Rejections,
    Unit,
    merged_batch,
    merged_captures,
    merged_record,
    parquet_rows,
    part_uri,
    units,
)
from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.inputs import Input
from airflow_mq_provider.quality.ages import NEVER, LabelAges, hour_number, label_ages
from airflow_mq_provider.quality.columns import (
    Predictions,
    processed,
    read_captures,
    read_labels,
    read_one_by_one,
    row_places,
)
from airflow_mq_provider.quality.lines import Block, Lines, Rejection, blocks, lines_of
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
from airflow_mq_provider.storage import Storage, is_s3

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

_SMALL = 8 * 1024 * 1024
"""Inputs of fewer bytes are read in this process: forking would cost more than it saves."""
_READERS = 8
"""Objects fetched at once by one worker, on S3."""
MISMATCH = "row_count_mismatch"


def merge(
    task: MergeTask,
    storage: Storage,
    *,
    workers: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> MergeCounts:
    """Join labels to captures and write the parts and ``rejected.jsonl``. See `engines.Engine.merge`."""
    cores = workers or available_cores()
    with tempfile.NamedTemporaryFile() as sink:
        labels, label_side = _collect_labels(task, storage, cores, sink, progress)
        counts = _join_captures(task, storage, labels, label_side, cores, sink, progress)
        sink.flush()
        storage.write_file(task.rejected_uri, sink.name)
    return counts


def arrivals(
    task: MergeTask,
    storage: Storage,
    *,
    workers: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Arrivals:
    """Find the captures that the labels name. See `engines.Engine.arrivals`."""
    cores = workers or available_cores()
    task = replace(task, keep_merged=None, preprocessor=None)
    with open(os.devnull, "wb") as sink:  # rejected lines are told by the runs
        labels, _ = _collect_labels(task, storage, cores, sink, progress)
    found = list(_work(_arrival_unit, units(task.captures), task, storage, labels, cores, "captures", progress))
    return Arrivals(
        _joined([one.times for one in found], np.int64),
        _joined([one.hours for one in found], np.int32),
    )


def available_cores() -> int:
    """The processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- labels -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _LabelUnit:
    """The labels of one unit, in the order of their lines."""

    lines: int
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


@dataclass(slots=True)
class LabelTable:
    """The last label of each id (rule M2), found by the id's hash."""

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    place: NDArray[np.int64]
    """Of each distinct id, in the order of the hashes: which label it is, in the order of the lines."""
    first_hour: NDArray[np.int32]
    """In which hour since 1970 its first label was collected."""
    last_hour: NDArray[np.int32]
    """The same of this one."""
    actual: NDArray[Any]
    rows: NDArray[np.int64] | None
    classes: list[str]
    truth: NDArray[np.int32] | None
    truths: list[bytes]
    segment: Sequence[str | None] | None = None
    """A row each, of all labels; None where no segments of labels are asked for."""
    bits: int = 0
    starts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))

    def __post_init__(self) -> None:
        # Buckets by leading bits, about one entry each: an entry is found by a look or two instead of a search.
        self.bits = max(1, min(26, len(self.high).bit_length()))
        bucket = (self.high >> np.uint64(64 - self.bits)).astype(np.int64)
        self.starts = np.append([0], np.cumsum(np.bincount(bucket, minlength=1 << self.bits)))

    def truths_of(self, labels: NDArray[np.int64]) -> list[bytes]:
        """The ``groundTruthData`` of some labels, in a merge that needs them."""
        if self.truth is None:
            raise RuntimeError("labels were read without their groundTruthData")
        return [self.truths[number] for number in self.truth[labels].tolist()]

    def find(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Where each id stands among the distinct ids, -1 for an id without a label."""
        high, low = ids[:, 0], ids[:, 1]
        bucket = (high >> np.uint64(64 - self.bits)).astype(np.int64)
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


def hash_order(ids: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """An order that brings equal ids together, first come first, and which of the ordered repeat the one before."""
    order = np.argsort(ids[:, 0])
    high = ids[order, 0]
    tie = high[1:] == high[:-1]
    repeats = np.zeros(len(ids), np.bool_)
    if tie.any():
        # Where the leading halves are equal, the others decide, then the order in which they came.
        tied = np.flatnonzero(np.append(tie, [False]) | np.append([False], tie))
        among = order[tied]
        order[tied] = among = among[np.lexsort((among, ids[among, 1], ids[among, 0]))]
        repeats[tied[1:]] = (ids[among[1:]] == ids[among[:-1]]).all(axis=1)
    return order, repeats


def repeats(ids: NDArray[np.uint64]) -> int:
    """How many of the ids came before: the same as `hash_order` says, without an order of all."""
    high = np.sort(ids[:, 0])
    tied = high[1:][high[1:] == high[:-1]]
    # only an id whose leading half another one has can be one of them
    suspect = np.zeros(1 << 20, np.bool_)
    suspect[tied >> np.uint64(44)] = True
    return int(hash_order(ids[suspect[ids[:, 0] >> np.uint64(44)]])[1].sum())


def _label_unit(task: MergeTask, storage: Storage, unit: Unit) -> _LabelUnit:
    classes = Classes(task.reading)
    rejections = Rejections("ground_truth", task.keep_rejected_lines)
    hour_of = {one.uri: hour_number(one.hour) for one in unit.objects}
    parts, hours = [], []
    for lines in _gathered(_pieces(unit.objects, storage, blocks)):
        parts.append(read_labels(lines, task.reading, classes))
        of_blocks = np.array([hour_of[block.source] for block in lines.blocks], np.int32)
        starts = lines.starts[parts[-1].at]
        hours.append(of_blocks[np.searchsorted(lines.block_starts[: len(of_blocks)], starts, side="right") - 1])
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
        ids=_joined([part.ids for part in parts], np.uint64, (0, 2)),
        hours=_joined(hours, np.int32),
        rows=_joined_rows([(part.rows, len(part.ids)) for part in parts]),
        actual=_joined([part.actual for part in parts], _kind(task)),
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


def _kind(task: MergeTask) -> type[np.generic]:
    return np.float64 if task.reading.problem_type == "Regression" else np.int32


def _joined(arrays: Sequence[NDArray[Any]], kind: Any, shape: tuple[int, ...] = (0,)) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros(shape, kind)


def _joined_rows(parts: Sequence[tuple[NDArray[np.int64] | None, int]]) -> NDArray[np.int64] | None:
    """Row counts of consecutive parts; None where every record has one row."""
    if all(rows is None for rows, _ in parts):
        return None
    return np.concatenate([np.ones(count, np.int64) if rows is None else rows for rows, count in parts])


def _collect_labels(
    task: MergeTask, storage: Storage, cores: int, sink: Any, progress: Callable[[str, int, int], None] | None
) -> tuple[LabelTable, GroundTruthCounts]:
    """Read every label and keep the last of each id."""
    rejections = Rejections("ground_truth", task.keep_rejected_lines)
    collected: list[_LabelUnit] = []
    classes = Classes(task.reading)
    truths: list[bytes] = []
    lines = 0
    for part in _work(_label_unit, units(task.labels), task, storage, None, cores, "ground truth", progress):
        rejections.extend(part.rejections, sink)
        part.rejections = Rejections("ground_truth", False)
        lines += part.lines
        if task.reading.problem_type == "MulticlassClassification":
            numbers = np.array([classes.number(name) for name in part.classes], np.int32)
            part.actual = numbers[part.actual] if len(numbers) else part.actual
        if part.truth is not None:
            part.truth += len(truths)
            truths.extend(part.truths)
        collected.append(part)
    ids = _joined([part.ids for part in collected], np.uint64, (0, 2))
    order, repeats = hash_order(ids)
    last = order[~np.append(repeats[1:], [False] if len(ids) else []).astype(np.bool_)]
    hours = _joined([part.hours for part in collected], np.int32)
    table = LabelTable(
        high=np.ascontiguousarray(ids[last, 0]),
        low=np.ascontiguousarray(ids[last, 1]),
        place=last,
        first_hour=hours[order[~repeats]],
        last_hour=hours[last],
        actual=_joined([part.actual for part in collected], _kind(task)),
        rows=_joined_rows([(part.rows, len(part.ids)) for part in collected]),
        classes=classes.names,
        truth=_joined([part.truth for part in collected if part.truth is not None], np.int32)
        if task.needs_truths
        else None,
        truths=truths,
        segment=_in_common(part.segment for part in collected) if task.reading.segment_truth else None,
    )
    counts = GroundTruthCounts(
        files=len(task.labels),
        lines=lines,
        used=len(ids),
        rejected=rejections.counts(),
        duplicate_labels=int(repeats.sum()),
        examples=tuple(rejections.examples),
    )
    return table, counts


# --- captures ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _CaptureUnit:
    """What joining one unit of captures gave."""

    lines: int = 0
    outside_window: int = 0
    dropped: int = 0
    matched_rows: int = 0
    without_label: int = 0
    ages: LabelAges = field(default_factory=LabelAges)
    ids: list[NDArray[np.uint64]] = field(default_factory=list)
    found: list[NDArray[np.int64]] = field(default_factory=list)
    """Places of the labels that were found, in the table."""
    rejections: Rejections = field(default_factory=lambda: Rejections("capture", True))
    mismatches: Rejections = field(default_factory=lambda: Rejections("merge", True))


def _capture_unit(task: MergeTask, storage: Storage, table: LabelTable, unit: Unit) -> _CaptureUnit:
    classes = Classes(task.reading, table.classes)
    result = _CaptureUnit(
        rejections=Rejections("capture", task.keep_rejected_lines),
        mismatches=Rejections("merge", task.keep_rejected_lines),
    )
    read = _read(task)
    rows: list[MergedRows] = []
    with ExitStack() as stack:
        preprocessor = stack.enter_context(Preprocessor(task.preprocessor)) if task.preprocessor else None
        for number, lines in enumerate(_gathered(_capture_pieces(task, storage, unit))):
            part = read(lines, task.reading, task.seconds, classes)
            result.lines += part.lines
            result.outside_window += part.outside_window
            if preprocessor is not None:
                part = _preprocessed(task, table, lines, part, classes, preprocessor, result)
            for rejection in part.rejected:
                result.rejections.add(rejection)
            rows.append(_join_piece(task, storage, table, unit, number, lines, part, classes, result))
    if result.matched_rows:
        storage.write(part_uri(task, unit.number, ROWS_SUFFIX), MergedRows.of_parts(rows).to_bytes())
    return result


def _arrival_unit(task: MergeTask, storage: Storage, table: LabelTable, unit: Unit) -> Arrivals:
    classes = Classes(task.reading, table.classes)
    times, hours = [], []
    for lines in _gathered(_capture_pieces(task, storage, unit)):
        part = _read(task)(lines, task.reading, task.seconds, classes)
        found = table.find(part.ids)
        times.append(part.times[found >= 0])
        hours.append(table.last_hour[found[found >= 0]])
    return Arrivals(_joined(times, np.int64), _joined(hours, np.int32))


def _capture_pieces(task: MergeTask, storage: Storage, unit: Unit) -> Iterator[Block | Rejection]:
    pieces = _pieces(unit.objects, storage, task.blocks)
    return _headed(pieces) if task.reading.batch == "csv-header" else pieces


def _read(task: MergeTask) -> Callable[..., Predictions]:
    return read_one_by_one if task.reading.batch or task.reading.processed else read_captures


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
        (truth,) = table.truths_of(table.place[found[place : place + 1]])
        record = merged_record(task.reading, truth, lines[at], lines.block(at).header)
        where = lines.rejection(at, "", "")
        return preprocessor.rows(record, f"{where.source}, line {where.line}")

    processed_part, dropped, rejected = processed(lines, part, rows_of, task.reading, classes)
    result.dropped += dropped
    order = {block.source: number for number, block in enumerate(lines.blocks)}
    both = sorted([*part.rejected, *rejected], key=lambda one: (order.get(one.source, -1), one.line))
    return replace(processed_part, rejected=tuple(both))


def _headed(pieces: Iterable[Block | Rejection]) -> Iterator[Block | Rejection]:
    """Take the first line of each object for the names of its columns."""
    header: tuple[str, ...] | None = None
    for piece in pieces:
        if isinstance(piece, Rejection):
            yield piece
        elif piece.first_line > 1:
            yield replace(piece, header=header)
        else:
            head, _, rest = piece.data.partition(b"\n")
            header = tuple(head.decode("utf-8", "replace").strip().split(","))
            yield Block(piece.source, 2, rest, header)


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
    result.ids.append(part.ids)
    result.found.append(found[captures].astype(np.uint32))
    result.without_label += len(found) - len(captures)
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
        row = np.arange(len(row_owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    predicted = part.predicted[rows_of_captures]
    actual = table.actual[rows_of_labels]
    binary = task.reading.problem_type == "BinaryClassification"
    rows = MergedRows(
        problem_type=task.reading.problem_type,
        flags=sample_flags(part.ids[row_owner], row),
        actual=actual.astype(np.uint8) if binary else actual,
        predicted=predicted.astype(np.uint8) if binary else predicted,
        probability=None if part.probability is None else part.probability[rows_of_captures],
        classes=tuple(classes.names) if task.reading.problem_type == "MulticlassClassification" else (),
    )
    if part.segment is not None:
        rows = rows.in_segments([part.segment[at] for at in rows_of_captures.tolist()])
    elif table.segment is not None:
        rows = rows.in_segments([table.segment[at] for at in rows_of_labels.tolist()])
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
    truths = table.truths_of(labels)
    if task.reading.batch is not None:
        header = [lines.block(one).header for one in at.tolist()]
        judged = [judge_batch(lines[one], task.reading, head) for one, head in zip(at.tolist(), header, strict=True)]
        return merged_batch(truths, judged)
    view = memoryview(lines.data)
    starts, ends = (lines.starts[at] + 1).tolist(), (lines.ends[at] + 1).tolist()
    bodies: list[bytes | memoryview] = [view[start:end] for start, end in zip(starts, ends, strict=True)]
    # a line may have whitespace between its brace and its newline
    for number in np.flatnonzero(np.frombuffer(lines.data, np.uint8)[lines.ends[at]] != 10).tolist():
        bodies[number] = lines[int(at[number])][1:] + b"\n"
    return merged_captures(truths, bodies)


def _join_captures(
    task: MergeTask,
    storage: Storage,
    table: LabelTable,
    label_counts: GroundTruthCounts,
    cores: int,
    sink: Any,
    progress: Callable[[str, int, int], None] | None,
) -> MergeCounts:
    """Join every unit of captures, and add up."""
    rejections = Rejections("capture", task.keep_rejected_lines)
    mismatches = Rejections("merge", task.keep_rejected_lines)
    total = _CaptureUnit()
    labelled = np.zeros(len(table.high), np.bool_)
    for part in _work(_capture_unit, units(task.captures), task, storage, table, cores, "captures", progress):
        total.lines += part.lines
        total.outside_window += part.outside_window
        total.dropped += part.dropped
        total.matched_rows += part.matched_rows
        total.without_label += part.without_label
        total.ages += part.ages
        total.ids.extend(part.ids)
        for found in part.found:
            labelled[found] = True
        rejections.extend(part.rejections, sink)
        mismatches.extend(part.mismatches, sink)
    ids = _joined(total.ids, np.uint64, (0, 2))
    total.ids.clear()
    return MergeCounts(
        capture=CaptureCounts(
            files=len(task.captures),
            lines=total.lines,
            used=len(ids),
            outside_window=total.outside_window,
            dropped=total.dropped,
            rejected=rejections.counts(),
            duplicate_ids=repeats(ids),
            examples=tuple(rejections.examples),
        ),
        ground_truth=label_counts,
        merge=JoinCounts(
            matched=total.matched_rows,
            captures_without_label=total.without_label,
            labels_without_capture=int(len(labelled) - labelled.sum()),
            rejected=mismatches.counts(),
            label_coverage=label_coverage(len(ids), total.without_label),
            label_ages=total.ages,
        ),
    )


# --- workers ----------------------------------------------------------------------------------------------------------

_shared: tuple[Callable[..., Any], MergeTask, Storage, LabelTable | None] | None = None
"""What forked workers inherit: set before they are forked, so that nothing of it is copied or sent."""


def _start_worker(parent: int) -> None:
    """Keep the memory that pieces of work free for the pieces that follow, and end when the parent ends."""
    gc.disable()  # columns are no cycles, and looking for some took a twentieth of the time
    # glibc hands large blocks back to the system at once: taking them anew, page by page, would cost a fifth of the time
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)
    _die_with_parent(parent)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 64 * 1024 * 1024


def _die_with_parent(parent: int) -> None:
    """End this worker when its parent ends, however that happens: a killed task must leave no process behind."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run_shared(unit: Unit) -> Any:
    if _shared is None:
        raise RuntimeError("a worker was started without its task")
    return _run(*_shared, unit)


def _run(function: Callable[..., Any], task: MergeTask, storage: Storage, table: LabelTable | None, unit: Unit) -> Any:
    return function(task, storage, unit) if table is None else function(task, storage, table, unit)


def _work(
    function: Callable[..., T],
    todo: Sequence[Unit],
    task: MergeTask,
    storage: Storage,
    table: LabelTable | None,
    cores: int,
    phase: str,
    progress: Callable[[str, int, int], None] | None,
) -> Iterator[T]:
    """The results of all units, in their order; in this process, or by forked workers with few units under way."""
    global _shared
    total = sum(unit.size for unit in todo)
    done = 0

    def tell(unit: Unit) -> None:
        nonlocal done
        done += unit.size
        if progress is not None:
            progress(phase, done, total)

    if cores == 1 or len(todo) < 2 or total < _SMALL:
        for unit in todo:
            yield _run(function, task, storage, table, unit)
            tell(unit)
        return
    _shared = (function, task, storage, table)
    context = multiprocessing.get_context("fork")
    try:
        with ProcessPoolExecutor(
            min(cores, len(todo)), mp_context=context, initializer=_start_worker, initargs=(os.getpid(),)
        ) as pool:
            waiting: deque[tuple[Unit, Future[T]]] = deque()
            for unit in todo:
                waiting.append((unit, pool.submit(_run_shared, unit)))
                while len(waiting) > 2 * cores:
                    yield _result(waiting, tell)
            while waiting:
                yield _result(waiting, tell)
    finally:
        _shared = None


def _result(waiting: deque[tuple[Unit, Future[T]]], tell: Callable[[Unit], None]) -> T:
    unit, future = waiting.popleft()
    try:
        result = future.result()
    except BrokenProcessPool as error:
        raise InputError(
            expected="worker processes that live until their work is done",
            came="one of them was killed",
            where=f"{unit.objects[0].uri} and what follows it",
            next_step="most often memory ran out: give the task more, or fewer workers; nothing was reported, run it again",
        ) from error
    tell(unit)
    return result


def _gathered(pieces: Iterable[Block | Rejection]) -> Iterator[Lines]:
    """The lines of a unit's blocks, at least `PIECE` bytes at a time."""
    held: list[Block | Rejection] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece.data) if isinstance(piece, Block) else 0
        if size >= PIECE:
            yield lines_of(held)
            held, size = [], 0
    if held:
        yield lines_of(held)


def _pieces(
    objects: Sequence[Input], storage: Storage, cut: Callable[[Iterable[bytes], str], Iterator[Block | Rejection]]
) -> Iterator[Block | Rejection]:
    """The blocks of all objects, in their order. On S3, small objects are fetched some ahead of their turn."""
    if not (objects and is_s3(objects[0].uri)):
        for one in objects:
            yield from cut([storage.read(one.uri)] if one.size <= PIECE else storage.chunks(one.uri), one.uri)
        return
    with ThreadPoolExecutor(_READERS) as pool:
        ahead: deque[tuple[Input, Future[bytes] | None]] = deque()
        rest = iter(objects)
        while True:
            while len(ahead) < _READERS and (coming := next(rest, None)) is not None:
                small = coming.size <= _SMALL
                ahead.append((coming, pool.submit(storage.read, coming.uri) if small else None))
            if not ahead:
                return
            one, fetched = ahead.popleft()
            yield from cut(storage.chunks(one.uri) if fetched is None else [fetched.result()], one.uri)
