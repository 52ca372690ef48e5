"""The embedded engine: all cores of one machine, nothing held but ids, labels and what one unit of work needs.

Labels are read first, in parallel, into one table: 128-bit id hashes, sorted, with an index by their leading bits.
Worker processes are then forked, share that table unchanged, read captures unit by unit, join, and write their parts.
The cut into units depends on the listing alone and the results are taken in the order of the units, so the number
of workers changes nothing in what is written (rule O2).
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from airflow_mq_provider.engines.task import (
    PIECE,
    ROWS_SUFFIX,
    MergeTask,
    Rejections,
    Unit,
    merged_batch,
    merged_captures,
    parquet_rows,
    part_uri,
    units,
)
from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.inputs import Input
from airflow_mq_provider.quality.records import (
    Block,
    Classes,
    Predictions,
    Rejection,
    blocks,
    judge_batch,
    read_batch,
    read_captures,
    read_labels,
    row_places,
)
from airflow_mq_provider.quality.states import (
    CaptureCounts,
    GroundTruthCounts,
    JoinCounts,
    MergeCounts,
    MergedRows,
    label_coverage,
    sample_flags,
)
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


def available_cores() -> int:
    """The processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- labels -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _LabelUnit:
    """The labels of one unit, in the order of their lines."""

    lines: int
    ids: NDArray[np.uint64]
    rows: NDArray[np.int64] | None
    actual: NDArray[Any]
    classes: list[str]
    truth: NDArray[np.int32] | None
    truths: list[bytes]
    rejections: Rejections


@dataclass(slots=True)
class LabelTable:
    """The last label of each id (rule M2), found by the id's hash."""

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    place: NDArray[np.int64]
    """Of each distinct id, in the order of the hashes: which label it is, in the order of the lines."""
    actual: NDArray[Any]
    rows: NDArray[np.int64] | None
    classes: list[str]
    truth: NDArray[np.int32] | None
    truths: list[bytes]
    bits: int = 0
    starts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))

    def __post_init__(self) -> None:
        # Buckets by leading bits, about one entry each: an entry is found by a look or two instead of a search.
        self.bits = max(1, min(26, len(self.high).bit_length()))
        bounds = np.arange(1 << self.bits, dtype=np.uint64) << np.uint64(64 - self.bits)
        self.starts = np.append(np.searchsorted(self.high, bounds), len(self.high))

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
    order = np.argsort(ids[:, 0], kind="stable")
    high, low = ids[order, 0], ids[order, 1]
    tie = high[1:] == high[:-1]
    if (tie & (low[1:] != low[:-1])).any():
        order = np.lexsort((ids[:, 1], ids[:, 0]))
        high, low = ids[order, 0], ids[order, 1]
        tie = high[1:] == high[:-1]
    return order, np.append([False] if len(ids) else [], tie & (low[1:] == low[:-1])).astype(np.bool_)


def _label_unit(task: MergeTask, storage: Storage, unit: Unit) -> _LabelUnit:
    classes = Classes(task.reading)
    rejections = Rejections("ground_truth", task.keep_rejected_lines)
    parts = []
    lines = 0
    for one, pieces in _pieces(unit.objects, storage):
        for piece in pieces:
            if isinstance(piece, Rejection):
                lines += 1
                rejections.add(one.uri, piece)
                continue
            part = read_labels(piece.data, task.reading, classes, first_line=piece.first_line)
            lines += part.lines
            for rejection in part.rejected:
                rejections.add(one.uri, rejection)
            parts.append(part)
    truth, truths = None, []
    if task.keep_merged == "jsonl":
        seen: dict[bytes, int] = {}
        numbers = [np.array([seen.setdefault(text, len(seen)) for text in part.truths], np.int32) for part in parts]
        truth = _joined([numbers[at][part.truth] for at, part in enumerate(parts)], np.int32)
        truths = list(seen)
    return _LabelUnit(
        lines=lines,
        ids=_joined([part.ids for part in parts], np.uint64, (0, 2)),
        rows=_joined_rows([(part.rows, len(part.ids)) for part in parts]),
        actual=_joined([part.actual for part in parts], _kind(task)),
        classes=classes.names,
        truth=truth,
        truths=truths,
        rejections=rejections,
    )


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
    jsonl = task.keep_merged == "jsonl"
    table = LabelTable(
        high=np.ascontiguousarray(ids[last, 0]),
        low=np.ascontiguousarray(ids[last, 1]),
        place=last,
        actual=_joined([part.actual for part in collected], _kind(task)),
        rows=_joined_rows([(part.rows, len(part.ids)) for part in collected]),
        classes=classes.names,
        truth=_joined([part.truth for part in collected if part.truth is not None], np.int32) if jsonl else None,
        truths=truths,
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
    matched_rows: int = 0
    without_label: int = 0
    ids: list[NDArray[np.uint64]] = field(default_factory=list)
    found: list[NDArray[np.int64]] = field(default_factory=list)
    """Places of the labels that were found, in the table."""
    rejections: Rejections = field(default_factory=lambda: Rejections("capture", True))
    mismatches: Rejections = field(default_factory=lambda: Rejections("merge", True))


@dataclass(slots=True)
class _Held:
    """Blocks read and not yet written: their object, their bytes, their columns."""

    blocks: list[tuple[Input, bytes, Predictions, tuple[str, ...] | None]] = field(default_factory=list)
    size: int = 0


def _capture_unit(task: MergeTask, storage: Storage, table: LabelTable, unit: Unit) -> _CaptureUnit:
    classes = Classes(task.reading, table.classes)
    result = _CaptureUnit(
        rejections=Rejections("capture", task.keep_rejected_lines),
        mismatches=Rejections("merge", task.keep_rejected_lines),
    )
    held = _Held()
    piece_number = 0
    for one, pieces in _pieces(unit.objects, storage):
        header: tuple[str, ...] | None = None
        for piece in pieces:
            if isinstance(piece, Rejection):
                result.lines += 1
                result.rejections.add(one.uri, piece)
                continue
            if task.reading.batch == "csv-header" and piece.first_line == 1:
                header, piece = _without_header(piece)
            if task.reading.batch is None:
                part = read_captures(piece.data, task.reading, task.seconds, classes, first_line=piece.first_line)
            else:
                part = read_batch(
                    piece.data, task.reading, task.seconds, classes, first_line=piece.first_line, header=header
                )
            result.lines += part.lines
            result.outside_window += part.outside_window
            for rejection in part.rejected:
                result.rejections.add(one.uri, rejection)
            held.blocks.append((one, piece.data, part, header))
            held.size += len(piece.data)
            if held.size >= 2 * PIECE:
                _join_piece(task, storage, table, unit, piece_number, held, classes, result)
                held = _Held()
                piece_number += 1
    if held.blocks:
        _join_piece(task, storage, table, unit, piece_number, held, classes, result)
    return result


def _without_header(piece: Block) -> tuple[tuple[str, ...], Block]:
    head, _, rest = piece.data.partition(b"\n")
    return tuple(head.decode("utf-8", "replace").strip().split(",")), Block(rest, 2)


def _join_piece(
    task: MergeTask,
    storage: Storage,
    table: LabelTable,
    unit: Unit,
    number: int,
    held: _Held,
    classes: Classes,
    result: _CaptureUnit,
) -> None:
    """Join the captures of some blocks to the table, write their part, and count."""
    parts = [part for _, _, part, _ in held.blocks]
    ids = np.concatenate([part.ids for part in parts])
    capture_rows = _joined_rows([(part.rows, len(part.ids)) for part in parts])
    found = table.find(ids)
    captures = np.flatnonzero(found >= 0)
    result.ids.append(ids)
    result.found.append(found[captures].astype(np.uint32))
    result.without_label += len(ids) - len(captures)
    labels = table.place[found[captures]]
    row: NDArray[np.int64] | None = None
    rows_of_captures, rows_of_labels, row_owner = captures, labels, captures
    if capture_rows is not None or table.rows is not None:
        mine = np.ones(len(ids), np.int64) if capture_rows is None else capture_rows
        theirs = np.ones(len(table.actual), np.int64) if table.rows is None else table.rows
        equal = mine[captures] == theirs[labels]
        _reject_mismatches(captures[~equal], mine, theirs[labels[~equal]], held, result)
        captures, labels = captures[equal], labels[equal]
        rows_of_captures, rows_of_labels = row_places(mine, captures), row_places(theirs, labels)
        counts = mine[captures]
        row_owner = np.repeat(captures, counts)
        row = np.arange(len(row_owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    predicted = np.concatenate([part.predicted for part in parts])[rows_of_captures]
    actual = table.actual[rows_of_labels]
    probability = None
    if task.reading.probability is not None:
        probability = np.concatenate([np.zeros(0) if part.probability is None else part.probability for part in parts])[
            rows_of_captures
        ]
    binary = task.reading.problem_type == "BinaryClassification"
    rows = MergedRows(
        problem_type=task.reading.problem_type,
        flags=sample_flags(ids[row_owner], row),
        actual=actual.astype(np.uint8) if binary else actual,
        predicted=predicted.astype(np.uint8) if binary else predicted,
        probability=probability,
        classes=tuple(classes.names) if task.reading.problem_type == "MulticlassClassification" else (),
    )
    result.matched_rows += len(rows)
    if not len(rows):
        return
    uri = part_uri(task, unit.hour, unit.number, number, "")
    storage.write(uri + ROWS_SUFFIX, rows.to_bytes())
    if task.keep_merged == "jsonl":
        storage.write(uri + ".jsonl", _verbatim(task, table, held, captures, labels))
    elif task.keep_merged == "parquet":
        texts = [text for part in parts for text in part.id_texts]
        times = np.concatenate([part.times for part in parts])[row_owner]
        storage.write(
            uri + ".parquet", parquet_rows(task.reading, [texts[at] for at in row_owner.tolist()], times, rows)
        )


def _reject_mismatches(
    captures: NDArray[np.int64],
    mine: NDArray[np.int64],
    theirs: NDArray[np.int64],
    held: _Held,
    result: _CaptureUnit,
) -> None:
    """Rows and labels of unequal number: the record is rejected (rule I3)."""
    if not len(captures):
        return
    ends = np.cumsum([len(part.ids) for _, _, part, _ in held.blocks])
    for capture, labels in zip(captures.tolist(), theirs.tolist(), strict=True):
        at = int(np.searchsorted(ends, capture, side="right"))
        one, data, part, _ = held.blocks[at]
        place = capture - (int(ends[at - 1]) if at else 0)
        start, end = part.spans[place].tolist()
        seen = f"{mine[capture]} rows and {labels} labels"
        result.mismatches.add(one.uri, Rejection(int(part.numbers[place]), MISMATCH, seen, data[start:end]))


def _verbatim(
    task: MergeTask, table: LabelTable, held: _Held, captures: NDArray[np.int64], labels: NDArray[np.int64]
) -> bytes:
    """SageMaker's merged records of the matched captures, in the order of the lines."""
    if table.truth is None:
        raise RuntimeError("labels were read without their groundTruthData")
    truths = [table.truths[number] for number in table.truth[labels].tolist()]
    pieces: list[bytes] = []
    first = done = 0
    for _, data, part, header in held.blocks:
        count = len(part.ids)
        upto = int(np.searchsorted(captures, first + count))
        spans = part.spans[captures[done:upto] - first].tolist()
        if task.reading.batch is None:
            view = memoryview(data)
            pieces.append(merged_captures(truths[done:upto], [view[start + 1 : end] for start, end in spans]))
        else:
            judged = [judge_batch(data[start:end], task.reading, header) for start, end in spans]
            pieces.append(merged_batch(truths[done:upto], judged))
        first, done = first + count, upto
    return b"".join(pieces)


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
        total.matched_rows += part.matched_rows
        total.without_label += part.without_label
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
            dropped=0,
            rejected=rejections.counts(),
            duplicate_ids=int(hash_order(ids)[1].sum()),
            examples=tuple(rejections.examples),
        ),
        ground_truth=label_counts,
        merge=JoinCounts(
            matched=total.matched_rows,
            captures_without_label=total.without_label,
            labels_without_capture=int(len(labelled) - labelled.sum()),
            rejected=mismatches.counts(),
            label_coverage=label_coverage(len(ids), total.without_label),
        ),
    )


# --- workers ----------------------------------------------------------------------------------------------------------

_shared: tuple[Callable[..., Any], MergeTask, Storage, LabelTable | None] | None = None
"""What forked workers inherit: set before they are forked, so that nothing of it is copied or sent."""


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
            min(cores, len(todo)), mp_context=context, initializer=_die_with_parent, initargs=(os.getpid(),)
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


def _pieces(objects: Iterable[Input], storage: Storage) -> Iterator[tuple[Input, Iterator[Block | Rejection]]]:
    """Each object and its blocks. On S3, small objects are fetched some ahead of their turn."""
    objects = list(objects)
    if not (objects and is_s3(objects[0].uri)):
        for one in objects:
            yield one, blocks(storage.chunks(one.uri))
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
            yield one, blocks(storage.chunks(one.uri) if fetched is None else [fetched.result()])
