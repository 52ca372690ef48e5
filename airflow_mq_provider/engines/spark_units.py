"""What Spark's executors do with a unit of work: objects to rows, joined rows to parts. Arrow in and out, no Spark.

A row is a label or a capture. The first row of each unit carries in ``told``, as MessagePack, what is said of the unit as a
whole: its counts, its rejected lines, or the error that ended it. So rows and counts come out of one pass over the input, and
an error reaches the task as what it is. ``place`` orders the rows of all units as their lines are ordered: by object and line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec
import numpy as np

from airflow_mq_provider import exceptions
from airflow_mq_provider.engines.reading import capture_lines, label_lines, reader
from airflow_mq_provider.engines.task import (
    MISMATCH,
    ROWS_SUFFIX,
    MergeTask,
    Unit,
    merged_batch,
    merged_captures,
    merged_head,
    merged_record,
    parquet_rows,
    part_uri,
)
from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.inputs import Input
from airflow_mq_provider.quality.ages import NEVER, LabelAges, hour_number, label_ages
from airflow_mq_provider.quality.columns import Predictions, numbers_in_records, read_labels
from airflow_mq_provider.quality.lines import Lines, Rejection
from airflow_mq_provider.quality.records import Classes, Fault, Reading, capture_segments, judge_batch, judge_rows
from airflow_mq_provider.quality.states import MULTICLASS, REGRESSION, MergedRows, sample_flags
from airflow_mq_provider.scripts import Preprocessor
from airflow_mq_provider.storage import Storage

if TYPE_CHECKING:
    from numpy.typing import NDArray

Batch: TypeAlias = Any
"""A ``pyarrow.RecordBatch``: pyarrow has no types."""
Work: TypeAlias = Callable[[Iterable[Batch]], Iterator[Batch]]
"""What ``mapInArrow`` runs on an executor."""

T = TypeVar("T")

UNITS = "unit int, objects binary"
BINS = "probability double, flags int, actual int, predicted int, segment string, weight long, told binary"
"""Of merged rows, how many there are of each kind (`MergedRows.binned`)."""
BINNED = "told binary"
JOINED = "unit int, high long, low long, labelled boolean, told binary"
"""Of each capture that is used, its id's hash and whether it has a label."""


def label_schema(reading: Reading) -> str:
    """The columns of labels, as Spark writes them."""
    return (
        f"unit int, place long, high long, low long, hour int, actual array<{_kind(reading)}>, truth binary, "
        "by_label array<string>, told binary"
    )


def capture_schema(reading: Reading) -> str:
    """The columns of captures; what only some tasks need is null in the others."""
    return (
        f"unit int, place long, piece int, high long, low long, time long, predicted array<{_kind(reading)}>, "
        "probability array<double>, by_input array<string>, id string, object int, number int, line binary, "
        "header array<string>, told binary"
    )


def _kind(reading: Reading) -> str:
    return {MULTICLASS: "string", REGRESSION: "double"}.get(reading.problem_type, "int")


# --- what is said of a unit as a whole --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of this package, on its way from an executor to the task."""

    kind: str
    parts: dict[str, str]

    @classmethod
    def of(cls, error: ModelQualityError) -> Failure:
        """What an executor met."""
        return cls(type(error).__name__, {name: getattr(error, name) for name in _PARTS})

    def error(self) -> ModelQualityError:
        """The same error, to be raised by the task."""
        kind: type[ModelQualityError] = getattr(exceptions, self.kind)
        return kind(**self.parts)


_PARTS = ("expected", "came", "where", "next_step")


@dataclass(frozen=True, slots=True)
class LabelsTold:
    """What is said of a unit of labels. ``several`` says that one of them has another number of rows than one."""

    lines: int = 0
    last_line: int = 0
    used: int = 0
    several: bool = False
    rejected: tuple[Rejection, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class CapturesTold:
    """What is said of a unit of captures: its objects, and what is known before the join."""

    objects: tuple[Input, ...] = ()
    lines: int = 0
    last_line: int = 0
    outside_window: int = 0
    rejected: tuple[Rejection, ...] = ()
    failure: Failure | None = None


@dataclass(slots=True)
class JoinedTold:
    """What joining a unit of captures gave."""

    lines: int = 0
    last_line: int = 0
    outside_window: int = 0
    dropped: int = 0
    used: int = 0
    without_label: int = 0
    matched_rows: int = 0
    ages: LabelAges = field(default_factory=LabelAges)
    rejected: list[Rejection] = field(default_factory=list)
    mismatched: list[Rejection] = field(default_factory=list)
    failure: Failure | None = None


def told(blob: bytes, kind: type[T]) -> T:
    """Read what a unit's first row says."""
    return msgspec.msgpack.decode(blob, type=kind)


def unit_rows(units: Sequence[Unit]) -> list[tuple[int, bytes]]:
    """Units as rows of `UNITS`."""
    return [(unit.number, msgspec.msgpack.encode((unit.objects, unit.span))) for unit in units]


def _units(batches: Iterable[Batch]) -> Iterator[Unit]:
    for batch in batches:
        for row in batch.to_pylist():
            objects, span = msgspec.msgpack.decode(row["objects"], type=_Objects)
            yield Unit(row["unit"], objects, span=span)


_Objects: TypeAlias = tuple[tuple[Input, ...], tuple[int, int] | None]


# --- objects to rows --------------------------------------------------------------------------------------------------


def reading_labels(task: MergeTask, storage: Storage) -> Work:
    """Read the label lines of each unit once, into rows of `label_schema`."""
    schema = label_schema(task.reading)

    def work(batches: Iterable[Batch]) -> Iterator[Batch]:
        for unit in _units(batches):
            try:
                yield from _labels(task, storage, unit, schema)
            except ModelQualityError as error:
                yield _first_row(schema, unit, LabelsTold(failure=Failure.of(error)))

    return work


def reading_captures(task: MergeTask, storage: Storage, *, several: bool) -> Work:
    """Read the captured lines of each unit once, into rows of `capture_schema`.

    `several` says that labels with other numbers of rows than one were found: any capture may then prove to be of another
    number than its label, and brings its line along to be kept.
    """
    schema = capture_schema(task.reading)

    def work(batches: Iterable[Batch]) -> Iterator[Batch]:
        for unit in _units(batches):
            try:
                yield from _captures(task, storage, unit, several, schema)
            except ModelQualityError as error:
                yield _first_row(schema, unit, CapturesTold(failure=Failure.of(error)))

    return work


def _first_row(schema: str, unit: Unit, said: LabelsTold | CapturesTold) -> Batch:
    columns: dict[str, Any] = {"unit": [unit.number], "place": [_first_place(unit)]}
    if "piece" in schema:
        columns["piece"] = [-1]
    return _batch(schema, 1, columns | {"told": [msgspec.msgpack.encode(said)]})


def _first_place(unit: Unit) -> int:
    return unit.number << 32


def _labels(task: MergeTask, storage: Storage, unit: Unit, schema: str) -> Iterator[Batch]:
    reading = task.reading
    classes = Classes(reading)
    hour_of = {one.uri: hour_number(one.hour) for one in unit.objects}
    lines_read = last_line = used = 0
    several = False
    rejected: list[Rejection] = []
    for lines in label_lines(storage, unit):
        last_line = lines.last_line
        part = read_labels(lines, reading, classes)
        count = len(part.at)
        block, _ = lines.places(part.at)
        truths = [part.truths[number] for number in part.truth.tolist()] if task.needs_truths else None
        yield _batch(
            schema,
            count,
            {
                "unit": np.full(count, unit.number, np.int32),
                "place": _first_place(unit) + 1 + used + np.arange(count),
                **_hashes(part.ids),
                "hour": np.array([hour_of[one.source] for one in lines.blocks], np.int32)[block],
                "actual": _lists(_named(part.actual, reading, classes), part.rows, count),
                "truth": truths,
                "by_label": None if part.segment is None else _lists(part.segment, part.rows, count),
            },
        )
        lines_read += part.lines
        used += count
        several = several or part.rows is not None
        rejected += _kept(task, part.rejected)
    yield _first_row(schema, unit, LabelsTold(lines_read, last_line, used, several, tuple(rejected)))


def _captures(task: MergeTask, storage: Storage, unit: Unit, several: bool, schema: str) -> Iterator[Batch]:
    reading = task.reading
    classes = Classes(reading)
    number_of = {one.uri: number for number, one in enumerate(unit.objects)}
    read = reader(task)
    lines_read = last_line = outside = used = 0
    rejected: list[Rejection] = []
    for piece, lines in enumerate(capture_lines(task, storage, unit)):
        last_line = lines.last_line
        part = read(lines, reading, task.seconds, classes)
        count = len(part.at)
        block, number = lines.places(part.at)
        carried = _carried(task, part, several)
        texts = None
        if task.keep_merged == "parquet":
            texts = [part.texts[at] for at in part.text.tolist()]
        predicted = None if reading.processed else _lists(_named(part.predicted, reading, classes), part.rows, count)
        probability = None
        if part.probability is not None and not reading.processed:
            probability = _lists(part.probability, part.rows, count)
        yield _batch(
            schema,
            count,
            {
                "unit": np.full(count, unit.number, np.int32),
                "place": _first_place(unit) + 1 + used + np.arange(count),
                "piece": np.full(count, piece, np.int32),
                **_hashes(part.ids),
                "time": part.times,
                "predicted": predicted,
                "probability": probability,
                "by_input": None if part.segment is None else _lists(part.segment, part.rows, count),
                "id": texts,
                "object": np.array([number_of[one.source] for one in lines.blocks], np.int32)[block],
                "number": number.astype(np.int32),
                "line": None if carried is None else _lines(lines, part.at, carried),
                "header": None if carried is None else [lines.block(at).header for at in part.at.tolist()],
            },
        )
        lines_read += part.lines
        outside += part.outside_window
        used += count
        rejected += _kept(task, part.rejected)
    said = CapturesTold(unit.objects, lines_read, last_line, outside, tuple(rejected))
    yield _first_row(schema, unit, said)


def _carried(task: MergeTask, part: Predictions, several: bool) -> NDArray[np.bool_] | None:
    """Which captures bring their line to the join: for merged records, for scripts, or since it may be rejected there."""
    if task.keep_merged == "jsonl" or task.preprocessor is not None or (several and task.keep_rejected_lines):
        return np.ones(len(part.at), np.bool_)
    if part.rows is None or not task.keep_rejected_lines:
        return None
    several_rows: NDArray[np.bool_] = part.rows != 1
    return several_rows


def _lines(lines: Lines, at: NDArray[np.int64], carried: NDArray[np.bool_]) -> list[bytes | None]:
    return [lines[one] if here else None for one, here in zip(at.tolist(), carried.tolist(), strict=True)]


def _kept(task: MergeTask, rejected: Iterable[Rejection]) -> Iterable[Rejection]:
    """Rejections as they are kept: without the lines where these are not to be."""
    return rejected if task.keep_rejected_lines else (replace(one, text=b"") for one in rejected)


def _hashes(ids: NDArray[np.uint64]) -> dict[str, NDArray[np.int64]]:
    """The halves of ids' hashes as Spark knows them, which has no unsigned numbers."""
    return {name: np.ascontiguousarray(ids[:, half]).view(np.int64) for half, name in enumerate(("high", "low"))}


def _named(values: NDArray[Any], reading: Reading, classes: Classes) -> Any:
    """Class texts for class numbers, which are of one unit only."""
    if reading.problem_type != MULTICLASS:
        return values
    return [classes.names[number] for number in values.tolist()]


# --- joined rows to parts ---------------------------------------------------------------------------------------------


def joining(task: MergeTask, storage: Storage) -> Work:
    """Write the parts of each unit and say what became of its captures, in rows of `JOINED`.

    The rows come unit by unit in the order of ``place``, each with the label of its id where there is one.
    """

    def work(batches: Iterable[Batch]) -> Iterator[Batch]:
        unit: _JoinedUnit | None = None
        for number, piece, rows in _groups(batches):
            if piece < 0:
                if unit is not None:
                    yield unit.end()
                unit = _JoinedUnit(task, storage, number, told(rows["told"][0].as_py(), CapturesTold))
            elif unit is None or unit.number != number:
                raise RuntimeError(f"the rows of unit {number} came without what is said of it")
            else:
                yield from unit.piece(piece, rows)
        if unit is not None:
            yield unit.end()

    return work


def _groups(batches: Iterable[Batch]) -> Iterator[tuple[int, int, Any]]:
    """The rows of each piece of each unit, as a table; they come one after another."""
    import pyarrow as pa

    key: tuple[int, int] | None = None
    held: list[Batch] = []
    for batch in batches:
        units, pieces = _numbers(batch["unit"]), _numbers(batch["piece"])
        changes = np.flatnonzero((np.diff(units) != 0) | (np.diff(pieces) != 0)) + 1
        for first, last in zip([0, *changes.tolist()], [*changes.tolist(), len(units)], strict=True):
            if first == last:
                continue
            here = int(units[first]), int(pieces[first])
            if key is not None and here != key:
                yield (*key, pa.Table.from_batches(held).combine_chunks())
                held = []
            key = here
            held.append(batch.slice(first, last - first))
    if key is not None:
        yield (*key, pa.Table.from_batches(held).combine_chunks())


class _JoinedUnit:
    """The captures of a unit as they come from the join, piece by piece, until `end` writes their part."""

    def __init__(self, task: MergeTask, storage: Storage, number: int, read: CapturesTold) -> None:
        self.number = number
        self._task, self._storage, self._objects = task, storage, read.objects
        self._classes = Classes(task.reading)
        self._parts: list[MergedRows] = []
        self._held = ExitStack()
        self._preprocessor: Preprocessor | None = None
        self._said = JoinedTold(
            read.lines, read.last_line, read.outside_window, rejected=[*read.rejected], failure=read.failure
        )

    def piece(self, number: int, rows: Any) -> Iterator[Batch]:
        """Take the captures of a piece; nothing more once one of them has failed."""
        if self._said.failure is not None:
            return
        try:
            yield self._used(number, rows)
        except ModelQualityError as error:
            self._said.failure = Failure.of(error)

    def end(self) -> Batch:
        """Write the part; what is said of the unit."""
        self._held.close()
        try:
            if self._said.matched_rows and self._said.failure is None and not self._task.counts_only:
                part = MergedRows.of_parts(self._parts).to_bytes()
                self._storage.write(part_uri(self._task, self.number, ROWS_SUFFIX), part)
        except ModelQualityError as error:
            self._said.failure = Failure.of(error)
        if self._task.preprocessor is not None:
            # some were rejected after the script, others before: all in the order of their lines
            order = {one.uri: number for number, one in enumerate(self._objects)}
            self._said.rejected.sort(key=lambda one: (order[one.source], one.line))
        return _batch(JOINED, 1, {"unit": [self.number], "told": [msgspec.msgpack.encode(self._said)]})

    def _used(self, piece: int, rows: Any) -> Batch:
        task, said = self._task, self._said
        if task.preprocessor is not None:
            rows = self._processed(rows)
        count = len(rows)
        hours = rows["first_hour"].fill_null(NEVER)
        found = _flags(rows["first_hour"].is_valid())
        said.used += count
        said.without_label += count - int(np.count_nonzero(found))
        said.ages += label_ages(_numbers(rows["time"]), _numbers(hours), task.labels_until)
        mine, theirs = _row_counts(rows["predicted"]), _row_counts(rows["actual"])
        for at in np.flatnonzero(found & (mine != theirs)).tolist():
            said.mismatched.append(self._rejection(rows, at, MISMATCH, f"{mine[at]} rows and {theirs[at]} labels"))
        matched = found & (mine == theirs)
        self._write(piece, rows.filter(_array(matched)), mine[matched])
        columns = {name: _numbers(rows[name]) for name in ("high", "low")}
        unit = np.full(count, self.number, np.int32)
        return _batch(JOINED, count, {"unit": unit, **columns, "labelled": found})

    def _processed(self, rows: Any) -> Any:
        """The captures as the preprocessor makes them of the merged records; those without a label are not shown to it."""
        task, said = self._task, self._said
        if task.preprocessor is not None and self._preprocessor is None:
            self._preprocessor = self._held.enter_context(Preprocessor(task.preprocessor))
        kept: list[int] = []
        predicted: list[list[Any]] = []
        probability: list[list[float]] = []
        segments: list[list[str | None]] = []
        columns = {
            name: rows[name].to_pylist() for name in ("line", "header", "truth", "first_hour", "object", "number")
        }
        for at, (line, header, truth, hour, number, place) in enumerate(zip(*columns.values(), strict=True)):
            values: tuple[list[Any], list[float] | None] = [], []
            if hour is not None and self._preprocessor is not None:
                where = f"{self._objects[number].uri}, line {place}"
                made = self._preprocessor.rows(merged_record(task.reading, truth, line, header), where)
                if not made:
                    said.dropped += 1
                    continue
                try:
                    values = judge_rows(made, task.reading)
                except Fault as fault:
                    said.rejected.append(self._rejection(rows, at, fault.reason, fault.seen))
                    continue
            kept.append(at)
            predicted.append(values[0])
            probability.append(values[1] or [])
            if task.reading.segment_input is not None:
                segments.append(list(capture_segments(line, task.reading, len(values[0]), header)))
        rows = rows.take(_array(np.array(kept, np.int64)))
        found = {"predicted": predicted, "probability": probability, "by_input": segments or None}
        for name, column in found.items():
            kind = rows.schema.field(name).type
            rows = rows.set_column(rows.schema.get_field_index(name), name, _array(column or [None] * len(kept), kind))
        return rows

    def _rejection(self, rows: Any, at: int, reason: str, seen: str) -> Rejection:
        source = self._objects[rows["object"][at].as_py()].uri
        text = (rows["line"][at].as_py() or b"") if self._task.keep_rejected_lines else b""
        return Rejection(source, rows["number"][at].as_py(), reason, seen, text)

    def _write(self, piece: int, rows: Any, counts: NDArray[np.int64]) -> None:
        """Take the rows of matched captures, and write what is kept of them."""
        task = self._task
        reading = task.reading
        ends = np.append([0], np.cumsum(counts))
        owner = np.repeat(np.arange(len(counts)), counts)
        ids = np.stack([_numbers(rows[name]).view(np.uint64) for name in ("high", "low")], axis=1)
        merged = MergedRows(
            problem_type=reading.problem_type,
            flags=sample_flags(ids[owner], numbers_in_records(counts)),
            actual=self._values(rows["actual"]),
            predicted=self._values(rows["predicted"]),
            probability=None if reading.probability is None else _numbers(_flat(rows["probability"])),
            classes=tuple(self._classes.names) if reading.problem_type == MULTICLASS else (),
        )
        if reading.in_segments:
            by = "by_input" if reading.segment_input is not None else "by_label"
            merged = merged.in_segments(_flat(rows[by]).to_pylist())
        self._parts.append(merged)
        self._said.matched_rows += len(merged)
        if task.keep_merged is None:
            return
        folders = [self._objects[number].hour for number in rows["object"].to_pylist()]
        for hour, first, last in _runs(folders):
            uri = part_uri(task, self.number, f"-{piece:03d}.{task.keep_merged}", hour)
            if task.keep_merged == "jsonl":
                self._storage.write(uri, _verbatim(reading, rows.slice(first, last - first)))
            else:
                start, end = int(ends[first]), int(ends[last])
                owners = _array(owner[start:end])
                texts, times = rows["id"].take(owners).to_pylist(), _numbers(rows["time"].take(owners))
                self._storage.write(uri, parquet_rows(reading, texts, times, merged.part(start, end)))

    def _values(self, lists: Any) -> NDArray[Any]:
        values = _flat(lists)
        if self._task.reading.problem_type == MULTICLASS:
            return self._classes.numbers(values.to_pylist())
        numbers = _numbers(values)
        return numbers if self._task.reading.problem_type == REGRESSION else numbers.astype(np.uint8)


def _verbatim(reading: Reading, rows: Any) -> bytes:
    """SageMaker's merged records of some captures."""
    truths, lines = rows["truth"].to_pylist(), rows["line"].to_pylist()
    if reading.batch is None:
        return merged_captures(map(merged_head, truths), [line[1:] + b"\n" for line in lines])
    headers = rows["header"].to_pylist()
    return merged_batch(
        truths, [judge_batch(line, reading, header) for line, header in zip(lines, headers, strict=True)]
    )


def _runs(values: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Each run of equal values: the value, the first and the last place, exclusive."""
    changes = [at for at in range(1, len(values)) if values[at] != values[at - 1]]
    for first, last in zip([0, *changes], [*changes, len(values)], strict=True):
        if first < last:
            yield values[first], first, last


# --- parts to bins ----------------------------------------------------------------------------------------------------


def binning(storage: Storage) -> Work:
    """Read parts, the URI of one in each row, and count their rows by kind, in rows of `BINS`."""

    def work(batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            for uri in batch["part"].to_pylist():
                try:
                    yield _bins(MergedRows.from_bytes(storage.read(uri)).binned())
                except ModelQualityError as error:
                    yield _batch(BINS, 1, {"told": [msgspec.msgpack.encode(Failure.of(error))]})

    return work


def _bins(rows: MergedRows) -> Batch:
    columns = {name: getattr(rows, name) for name in ("probability", "flags", "actual", "predicted", "weight")}
    segments = None if rows.segment is None else rows.names_of_segments()
    return _batch(BINS, len(rows), {**columns, "segment": segments})


def writing_bins(task: MergeTask, storage: Storage) -> Work:
    """Write the summed rows of `BINS` of each partition, whose number stands in ``partition``, as one part.

    Only failures are said, in rows of `BINNED`.
    """

    def work(batches: Iterable[Batch]) -> Iterator[Batch]:
        import pyarrow as pa

        held = [batch for batch in batches if batch.num_rows]
        if not held:
            return
        rows = pa.Table.from_batches(held).combine_chunks()
        failed = [blob for blob in rows["told"].to_pylist() if blob is not None]
        try:
            if not failed:
                number = rows["partition"][0].as_py()
                storage.write(part_uri(task, number, f"-binned{ROWS_SUFFIX}"), _merged_bins(task, rows).to_bytes())
        except ModelQualityError as error:
            failed = [msgspec.msgpack.encode(Failure.of(error))]
        if failed:
            yield _batch(BINNED, 1, {"told": failed[:1]})

    return work


def _merged_bins(task: MergeTask, rows: Any) -> MergedRows:
    flags, actual, predicted = (_numbers(rows[name]).astype(np.uint8) for name in ("flags", "actual", "predicted"))
    merged = MergedRows(
        problem_type=task.reading.problem_type,
        flags=flags,
        actual=actual,
        predicted=predicted,
        probability=_numbers(rows["probability"]),
        weight=_numbers(rows["weight"]),
    )
    return merged.in_segments(rows["segment"].to_pylist()) if task.reading.in_segments else merged


# --- Arrow ------------------------------------------------------------------------------------------------------------


def _batch(schema: str, count: int, columns: dict[str, Any]) -> Batch:
    """Columns as a batch of the schema; what is None or absent is null."""
    import pyarrow as pa

    arrays, names = [], []
    for column in schema.split(", "):
        name, kind = column.split(" ", 1)
        values = columns.get(name)
        names.append(name)
        if values is None:
            arrays.append(pa.nulls(count, _type(kind)))
        elif isinstance(values, _Lists):
            arrays.append(pa.ListArray.from_arrays(values.offsets, pa.array(values.values, _type(kind[6:-1]))))
        else:
            arrays.append(pa.array(values, _type(kind)))
    return pa.RecordBatch.from_arrays(arrays, names)


def _type(kind: str) -> Any:
    import pyarrow as pa

    if kind.startswith("array<"):
        return pa.list_(_type(kind[6:-1]))
    kinds = {
        "int": pa.int32, "long": pa.int64, "double": pa.float64, "string": pa.string, "binary": pa.binary,
        "boolean": pa.bool_,
    }  # fmt: skip
    return kinds[kind]()


@dataclass(frozen=True, slots=True)
class _Lists:
    """A list of values for each record."""

    values: Any
    offsets: NDArray[np.int32]


def _lists(values: Any, rows: NDArray[np.int64] | None, count: int) -> _Lists:
    """The values of all rows as lists by record; without `rows`, each record has one."""
    offsets = np.arange(count + 1) if rows is None else np.append([0], np.cumsum(rows))
    return _Lists(values, offsets.astype(np.int32))


def _array(values: Any, kind: Any = None) -> Any:
    import pyarrow as pa

    return pa.array(values, kind)


def _flat(lists: Any) -> Any:
    """The elements of all lists."""
    return lists.combine_chunks().flatten()


def _row_counts(lists: Any) -> NDArray[np.int64]:
    """How many elements each list has; 0 where there is none."""
    import pyarrow.compute as pc

    return _numbers(pc.list_value_length(lists).fill_null(0)).astype(np.int64)


def _numbers(column: Any) -> NDArray[Any]:
    found: NDArray[Any] = column.to_numpy(zero_copy_only=False) if _is_array(column) else column.to_numpy()
    return found


def _flags(column: Any) -> NDArray[np.bool_]:
    return _numbers(column).astype(np.bool_)


def _is_array(column: Any) -> bool:
    import pyarrow as pa

    return isinstance(column, pa.Array)
