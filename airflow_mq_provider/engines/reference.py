"""The oracle of the tests: one line after another, in plain Python, with dictionaries. Slow on purpose."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from msgspec import structs

from airflow_mq_provider.engines.task import (
    ROWS_SUFFIX,
    Arrivals,
    MergeTask,
    Rejections,
    merged_batch,
    merged_captures,
    merged_head,
    merged_record,
    parquet_rows,
    part_uri,
)
from airflow_mq_provider.inputs import Input
from airflow_mq_provider.quality.ages import NEVER, hour_number, label_ages
from airflow_mq_provider.quality.lines import Block, Rejection, blocks
from airflow_mq_provider.quality.records import (
    Fault,
    Label,
    Prediction,
    capture_segments,
    ground_truth_of,
    hash_ids,
    judge_batch,
    judge_capture,
    judge_label,
    judge_rows,
    label_segments,
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
from airflow_mq_provider.scripts import Preprocessor
from airflow_mq_provider.storage import Storage


@dataclass(frozen=True, slots=True)
class _LabelLine:
    """The label of an id, what of its line may be asked for, and in which hours since 1970 the first and this one came."""

    label: Label
    truth: bytes
    segments: Sequence[str | None]
    first_hour: int
    hour: int


@dataclass(frozen=True, slots=True)
class _Match:
    """A captured line that found its label."""

    prediction: Prediction
    found: _LabelLine
    line: bytes
    segments: Sequence[str | None]
    """Of each row, where segments are asked for."""


Cut = Callable[[Iterable[bytes], str], Iterator[Block | Rejection]]


def merge(
    task: MergeTask,
    storage: Storage,
    *,
    workers: int | None = None,  # noqa: ARG001 - the interface's
    progress: Callable[[str, int, int], None] | None = None,  # noqa: ARG001 - the interface's
) -> MergeCounts:
    """Join labels to captures and write the parts and ``rejected.jsonl``; `workers` and `progress` change nothing."""
    sink = io.BytesIO()
    labels, label_counts = _labels(task, storage, sink)
    with ExitStack() as stack:
        preprocessor = stack.enter_context(Preprocessor(task.preprocessor)) if task.preprocessor else None
        counts = _captures(task, storage, labels, label_counts, preprocessor, sink)
    storage.write(task.rejected_uri, sink.getvalue())
    return counts


def arrivals(
    task: MergeTask,
    storage: Storage,
    *,
    workers: int | None = None,  # noqa: ARG001 - the interface's
    progress: Callable[[str, int, int], None] | None = None,  # noqa: ARG001 - the interface's
) -> Arrivals:
    """Find the captures that the labels name, one after another."""
    labels, _ = _labels(task, storage, io.BytesIO())
    found = [
        (int(item.prediction.time.timestamp()), labels[item.prediction.id].hour)
        for one in task.captures
        for item in _captured(task, storage, one)
        if isinstance(item, _Captured)
        and task.window.start <= item.prediction.time < task.window.end
        and item.prediction.id in labels
    ]
    times, hours = zip(*found, strict=True) if found else ((), ())
    return Arrivals(np.array(times, np.int64), np.array(hours, np.int32))


@dataclass(frozen=True, slots=True)
class _Captured:
    """A captured line that could be read."""

    number: int
    line: bytes
    header: list[str] | None
    prediction: Prediction


def _captured(task: MergeTask, storage: Storage, one: Input) -> Iterator[_Captured | Rejection]:
    """Every captured line of an object, the names of its columns apart."""
    header: list[str] | None = None
    for item in _lines(one, storage, task.blocks):
        if isinstance(item, Rejection):
            yield item
            continue
        number, line = item
        if task.reading.batch == "csv-header" and number == 1:
            header = line.decode("utf-8", "replace").split(",")
            continue
        try:
            prediction = (
                judge_batch(line, task.reading, header) if task.reading.batch else judge_capture(line, task.reading)
            )
        except Fault as fault:
            yield Rejection(one.uri, number, fault.reason, fault.seen, line)
        else:
            yield _Captured(number, line, header, prediction)


def _lines(one: Input, storage: Storage, cut: Cut = blocks) -> Iterator[tuple[int, bytes] | Rejection]:
    """Every line of an object that is not blank, with its number."""
    for piece in cut(storage.chunks(one.uri, etag=one.etag), one.uri):
        if isinstance(piece, Block):
            for number, line in enumerate(piece.data.split(b"\n"), piece.first_line):
                if line.strip():
                    yield number, line.strip()
        else:
            yield piece


def _labels(task: MergeTask, storage: Storage, sink: io.BytesIO) -> tuple[dict[str, _LabelLine], GroundTruthCounts]:
    labels: dict[str, _LabelLine] = {}
    rejections = Rejections("ground_truth", task.keep_rejected_lines)
    lines = used = 0
    for one in task.labels:
        for item in _lines(one, storage):
            lines += 1
            if isinstance(item, Rejection):
                rejections.add(item)
                continue
            number, line = item
            try:
                label = judge_label(line, task.reading)
            except Fault as fault:
                rejections.add(Rejection(one.uri, number, fault.reason, fault.seen, line))
                continue
            used += 1
            hour = hour_number(one.hour)
            first = labels[label.id].first_hour if label.id in labels else hour
            segments = label_segments(line, task.reading, len(label.actual)) if task.reading.segment_truth else ()
            # the one collected last wins (rule M2)
            labels[label.id] = _LabelLine(label, ground_truth_of(line), segments, first, hour)
    sink.writelines(rejections.lines)
    return labels, GroundTruthCounts(
        files=len(task.labels),
        lines=lines,
        used=used,
        rejected=rejections.counts(),
        duplicate_labels=used - len(labels),
        examples=tuple(rejections.examples),
    )


def _captures(
    task: MergeTask,
    storage: Storage,
    labels: dict[str, _LabelLine],
    label_counts: GroundTruthCounts,
    preprocessor: Preprocessor | None,
    sink: io.BytesIO,
) -> MergeCounts:
    rejections = Rejections("capture", task.keep_rejected_lines)
    mismatches = Rejections("merge", task.keep_rejected_lines)
    seen: Counter[str] = Counter()
    lines = outside = dropped = without_label = matched_rows = 0
    times: list[int] = []
    hours: list[int] = []
    by_hour: dict[str, list[_Match]] = {}
    for one in task.captures:
        for item in _captured(task, storage, one):
            lines += 1
            if isinstance(item, Rejection):
                rejections.add(item)
                continue
            number, line, prediction = item.number, item.line, item.prediction
            if not task.window.start <= prediction.time < task.window.end:
                outside += 1
                continue
            if prediction.id not in labels:
                seen[prediction.id] += 1
                without_label += 1
                times.append(int(prediction.time.timestamp()))
                hours.append(NEVER)
                continue
            found = labels[prediction.id]
            label = found.label
            if preprocessor is not None:
                record = merged_record(task.reading, found.truth, line, item.header)
                rows = preprocessor.rows(record, f"{one.uri}, line {number}")
                if not rows:
                    dropped += 1
                    continue
                try:
                    predicted, probability = judge_rows(rows, task.reading)
                except Fault as fault:
                    rejections.add(Rejection(one.uri, number, fault.reason, fault.seen, line))
                    continue
                prediction = structs.replace(prediction, predicted=predicted, probability=probability)
            seen[prediction.id] += 1
            times.append(int(prediction.time.timestamp()))
            hours.append(labels[prediction.id].first_hour)
            if len(label.actual) != len(prediction.predicted):
                what = f"{len(prediction.predicted)} rows and {len(label.actual)} labels"
                mismatches.add(Rejection(one.uri, number, "row_count_mismatch", what, line))
                continue
            matched_rows += len(label.actual)
            segments = found.segments
            if task.reading.segment_input is not None:
                segments = capture_segments(line, task.reading, len(label.actual), item.header)
            by_hour.setdefault(one.hour, []).append(_Match(prediction, found, line, segments))
    sink.writelines(rejections.lines + mismatches.lines)
    for number, (hour, matched) in enumerate(by_hour.items()):
        _write(task, storage, hour, number, matched)
    used = seen.total()
    return MergeCounts(
        capture=CaptureCounts(
            files=len(task.captures),
            lines=lines,
            used=used,
            outside_window=outside,
            dropped=dropped,
            rejected=rejections.counts(),
            duplicate_ids=used - len(seen),
            examples=tuple(rejections.examples),
        ),
        ground_truth=label_counts,
        merge=JoinCounts(
            matched=matched_rows,
            captures_without_label=without_label,
            labels_without_capture=len(labels.keys() - seen.keys()),
            rejected=mismatches.counts(),
            label_coverage=label_coverage(used, without_label),
            label_ages=label_ages(np.array(times, np.int64), np.array(hours, np.int32), task.labels_until),
        ),
    )


def _write(
    task: MergeTask,
    storage: Storage,
    hour: str,
    number: int,
    matched: list[_Match],
) -> None:
    each = [(one.prediction, one.found.label, row) for one in matched for row in range(len(one.found.label.actual))]
    probability = None
    if task.reading.probability is not None:
        probability = [prediction.probability[row] for prediction, _, row in each if prediction.probability]
    ids = [prediction.id for prediction, _, _ in each]
    rows = MergedRows.of_values(
        task.reading.problem_type,
        sample_flags(hash_ids(ids), np.array([row for _, _, row in each], np.int64)),
        [label.actual[row] for _, label, row in each],
        [prediction.predicted[row] for prediction, _, row in each],
        probability,
    )
    if task.reading.in_segments:
        rows = rows.in_segments([segment for one in matched for segment in one.segments])
    storage.write(part_uri(task, number, ROWS_SUFFIX), rows.to_bytes())
    if task.keep_merged == "jsonl":
        truths = [one.found.truth for one in matched]
        if task.reading.batch:
            merged = merged_batch(truths, [one.prediction for one in matched])
        else:
            merged = merged_captures(map(merged_head, truths), [one.line[1:] + b"\n" for one in matched])
        storage.write(part_uri(task, number, ".jsonl", hour), merged)
    elif task.keep_merged == "parquet":
        times = np.array([int(prediction.time.timestamp()) for prediction, _, _ in each], np.int64)
        storage.write(part_uri(task, number, ".parquet", hour), parquet_rows(task.reading, ids, times, rows))
