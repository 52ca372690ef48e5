"""What an engine is asked to do, and how its results lie under a report prefix.

``merged/part-NNNNN.rows`` holds the merged rows that the analysis needs, in columns. With `keep_merged` the merged
records stand under the hour folder of their captures, ``merged/yyyy/mm/dd/hh/part-NNNNN…``: as ``.parquet`` (id, time,
prediction, probability, label) or ``.jsonl`` (SageMaker's merged records: the captures verbatim with
``groundTruthData``). ``rejected.jsonl`` holds every rejected line (rules I4, O1).
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np

from airflow_mq_provider.inputs import Input
from airflow_mq_provider.quality.lines import GZIP, Block, Rejection, blocks, parquet_blocks
from airflow_mq_provider.quality.parquet import pyarrow_modules
from airflow_mq_provider.quality.records import Prediction, Reading, judge_batch
from airflow_mq_provider.quality.segments import SegmentStates, segment_states
from airflow_mq_provider.quality.states import (
    EXAMPLES,
    MergedRows,
    RejectedLine,
    State,
    add_states,
    state_of,
)
from airflow_mq_provider.scripts import Script
from airflow_mq_provider.storage import Storage, is_s3, join
from airflow_mq_provider.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS_SUFFIX = ".rows"
UNIT = 16 * 1024 * 1024
"""A worker takes objects of about so many bytes at a time."""
SPAN = UNIT
"""Larger objects are cut into spans of about so many bytes, each a unit by itself."""
PIECE = 4 * 1024 * 1024
"""It reads and joins them in pieces of about so many bytes, which processor caches hold. All cuts depend on the listing alone,
and on which large objects are gzip."""
MISMATCH = "row_count_mismatch"
"""Why a capture is rejected whose label has another number of rows."""


@dataclass(frozen=True, slots=True)
class PreparedPlace:
    """Where the prepared hours of a monitor lie, and from which time on they are to be kept."""

    uri: str
    keep_from: datetime


LoadedHours: TypeAlias = dict[str, dict[str, Any]]
"""Prepared hours that are in memory, by the folder they lie in and their name: a merge leaves here those of its window, and
their join under the folder of all. The next one of the process need neither load nor join what it has in common with it."""


@dataclass(frozen=True, slots=True)
class MergeTask:
    """A ground-truth merge: whose lines, of which window, from where, and where the results go.

    ``labels_until`` is the as-of time up to which the labels were listed. ``memory_limit`` is in bytes; None for most of what
    the process may have. With ``counts_only``, nobody reads what is written: an engine whose workers are on other machines,
    where nobody would take it away, writes no rows. Without ``prepared``, no hour is kept for later runs.
    ``loaded`` and ``rows`` are of the process that merges, and say nothing of what is to be merged: a merge that makes its rows
    in this process leaves them in ``rows``, part by part, in place of files; any other leaves files and nothing there.
    """

    reading: Reading
    window: Window
    captures: tuple[Input, ...]
    labels: tuple[Input, ...]
    labels_until: datetime
    merged_uri: str
    rejected_uri: str
    keep_merged: str | None = None
    keep_rejected_lines: bool = True
    preprocessor: Script | None = None
    memory_limit: int | None = None
    counts_only: bool = False
    prepared: PreparedPlace | None = None
    loaded: LoadedHours | None = field(default=None, compare=False, repr=False)
    rows: list[MergedRows] | None = field(default=None, compare=False, repr=False)

    @property
    def needs_truths(self) -> bool:
        """Whether labels are needed as they were written, for merged records."""
        return self.keep_merged == "jsonl" or self.preprocessor is not None

    def blocks(self, chunks: Iterable[bytes], uri: str) -> Iterator[Block | Rejection]:
        """The blocks of a captured object."""
        return (parquet_blocks if self.reading.batch == "parquet" else blocks)(chunks, uri)

    def captures_in_spans(self, storage: Storage) -> set[Input]:
        """The captured objects that are to be cut: none for a script, since an error of it names the number of the line."""
        return set() if self.preprocessor is not None else in_spans(self.captures, storage)

    @property
    def seconds(self) -> tuple[int, int]:
        """The window in seconds since 1970."""
        return int(self.window.start.timestamp()), int(self.window.end.timestamp())


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The captures of a window that have a label among those of a task: no more than when, and since when.

    Attributes:
        times: of the captures, in seconds since 1970.
        hours: in which the last label of each was collected, in hours since 1970.
    """

    times: NDArray[np.int64]
    hours: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Unit:
    """Consecutive objects, or a span of one large object: what one worker reads at a time.

    Of a span, ``start, stop``, a unit has the lines whose first byte lies in it, and numbers them from 1: how many lines stand
    before them nobody knows who reads no more than these. `LinesBefore` tells.
    """

    number: int
    objects: tuple[Input, ...]
    span: tuple[int, int] | None = field(default=None, kw_only=True)

    @property
    def size(self) -> int:
        """Bytes listed."""
        return sum(one.size for one in self.objects) if self.span is None else self.span[1] - self.span[0]


def units(objects: Sequence[Input], cut: Collection[Input] = ()) -> list[Unit]:
    """Cut a listing into units of about `UNIT` bytes, and those of the objects that are in `cut` into spans."""
    found: list[Unit] = []
    held: list[Input] = []
    size = 0
    for one in objects:
        if held and (one in cut or size + one.size > UNIT):
            found.append(Unit(len(found), tuple(held)))
            held, size = [], 0
        if one in cut:
            found += [Unit(number, (one,), span=span) for number, span in enumerate(spans(one.size), len(found))]
            continue
        held.append(one)
        size += one.size
    if held:
        found.append(Unit(len(found), tuple(held)))
    return found


def spans(size: int) -> list[tuple[int, int]]:
    """Cut so many bytes into spans of equal size, of `SPAN` bytes at most."""
    count = -(-size // SPAN)
    bounds = [number * size // count for number in range(count + 1)]
    return list(pairwise(bounds))


def in_spans(objects: Iterable[Input], storage: Storage) -> set[Input]:
    """The objects that are to be cut into spans: large ones, but for gzip, which has to be read from its start.

    What was not listed, as the data of a batch transform, stays whole too: nobody knows how large it is.
    """
    large = [one for one in objects if one.size > SPAN and one.etag]

    def begins_as_gzip(one: Input) -> bool:
        return b"".join(storage.chunks(one.uri, etag=one.etag, stop=len(GZIP))) == GZIP

    if len(large) > 1 and is_s3(large[0].uri):
        with ThreadPoolExecutor(_LOOKS) as pool:
            gzip = list(pool.map(begins_as_gzip, large))
    else:
        gzip = list(map(begins_as_gzip, large))
    return {one for one, packed in zip(large, gzip, strict=True) if not packed}


_LOOKS = 8
"""At once, on S3."""


@dataclass(slots=True)
class LinesBefore:
    """How many lines of its object stand before each unit. It is told of all units in their order."""

    _told: int = 0

    def of(self, unit: Unit, last_line: int) -> int:
        """The lines before a unit, whose own are numbered up to `last_line`; 0 where it is no span."""
        before = self._told if unit.span is not None and unit.span[0] else 0
        self._told = before + last_line
        return before


def part_uri(task: MergeTask, unit: int, suffix: str, hour: str = "") -> str:
    """Where a part of the merge lies; names sort in the order of the rows."""
    return join(task.merged_uri, hour, f"part-{unit:05d}{suffix}")


def count(storage: Storage, merged_uri: str, problem_type: str, rows: Sequence[MergedRows] = ()) -> State:
    """The state of all merged rows, of those in memory or else under a prefix: the same bits however they were cut (rule O2)."""
    return add_states(map(state_of, rows or _parts(storage, merged_uri)), problem_type)


def count_segments(
    storage: Storage, merged_uri: str, problem_type: str, rows: Sequence[MergedRows] = ()
) -> SegmentStates:
    """The same of the rows of each segment."""
    return segment_states(lambda: rows or _parts(storage, merged_uri), problem_type)


def _parts(storage: Storage, merged_uri: str) -> Iterator[MergedRows]:
    for one in storage.list(merged_uri):
        if one.key.endswith(ROWS_SUFFIX):
            yield MergedRows.from_bytes(storage.read(one.uri))


@dataclass(slots=True)
class Rejections:
    """Rejected lines of one side as they come: counts by reason, the first examples, and the lines themselves."""

    side: str
    keep_lines: bool
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[RejectedLine] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)

    def add(self, rejection: Rejection) -> None:
        """Take one line."""
        self.reasons[rejection.reason] += 1
        seen = rejection.seen if self.keep_lines else ""
        if len(self.examples) < EXAMPLES:
            self.examples.append(RejectedLine(rejection.source, rejection.line, rejection.reason, seen))
        entry: dict[str, Any] = {
            "side": self.side,
            "file": rejection.source,
            "line": rejection.line,
            "reason": rejection.reason,
            "seen": seen,
        }
        if self.keep_lines:
            entry["record"] = rejection.text.decode("utf-8", "backslashreplace")
        self.lines.append(msgspec.json.encode(entry) + b"\n")

    def extend(self, other: Rejections, sink: IO[bytes], lines_before: int = 0) -> None:
        """Take what another collected after this one, so many lines on in its object, and write its lines away."""
        self.reasons.update(other.reasons)
        self.examples.extend(numbered_on(other.examples[: EXAMPLES - len(self.examples)], lines_before))
        sink.writelines(entries_numbered_on(other.lines, lines_before))

    def counts(self) -> dict[str, int]:
        """Lines by reason, sorted by reason."""
        return dict(sorted(self.reasons.items()))


def numbered_on(examples: Sequence[RejectedLine], lines_before: int) -> Sequence[RejectedLine]:
    """Rejected lines by the numbers that they have so many lines on."""
    return [replace(one, line=one.line + lines_before) for one in examples] if lines_before else examples


def entries_numbered_on(entries: Iterable[bytes], lines_before: int) -> Iterable[bytes]:
    """Lines of ``rejected.jsonl`` likewise."""
    if not lines_before:
        return entries
    decoded = map(msgspec.json.decode, entries)
    return [msgspec.json.encode({**entry, "line": entry["line"] + lines_before}) + b"\n" for entry in decoded]


def merged_head(truth: bytes) -> bytes:
    """What a merged record has in front of the captured line: the label's ``groundTruthData``."""
    return b'{"groundTruthData":%b,' % truth


def merged_captures(heads: Iterable[bytes], bodies: Sequence[bytes | memoryview]) -> bytes:
    """SageMaker's merged records, one a line: the captured line verbatim with the label's ``groundTruthData`` in front.

    `heads` are of `merged_head`; `bodies` are the captured lines without the brace they start with, and with the newline
    they end with.
    """
    pieces: list[bytes | memoryview] = [b""] * (2 * len(bodies))
    pieces[0::2] = heads
    pieces[1::2] = bodies
    return b"".join(pieces)


def merged_record(reading: Reading, truth: bytes, line: bytes, header: Sequence[str] | None) -> bytes:
    """The merged record of one captured line, without a newline: what a preprocessor is given."""
    if reading.batch:
        return merged_batch([truth], [judge_batch(line, reading, header)])[:-1]
    return merged_head(truth) + line[1:]


def merged_batch(truths: Sequence[bytes], predictions: Sequence[Prediction]) -> bytes:
    """The same for a batch transform, which has no captured record: as SageMaker's merger writes it.

    The output line without id and time becomes ``batchTransformOutput``, the id ``eventId``.
    """
    encode = msgspec.json.encode
    return b"".join(
        b'{"groundTruthData":%b,"captureData":{"batchTransformOutput":{"data":%b,"encoding":%b}},'
        b'"eventMetadata":{"eventId":%b},"eventVersion":"0"}\n'
        % (truth, encode(one.payload), encode(one.encoding), encode(one.id))
        for truth, one in zip(truths, predictions, strict=True)
    )


def parquet_rows(
    reading: Reading,
    ids: Sequence[str],
    times: NDArray[np.int64],
    rows: MergedRows,
) -> bytes:
    """Merged rows as one Parquet file: id, time, prediction, probability (null where there is none), label."""
    pa, pq = pyarrow_modules('keep_merged="parquet"')
    names: Any = None
    if reading.problem_type == "MulticlassClassification":
        names = np.array(rows.classes, dtype=object)
    elif reading.problem_type == "BinaryClassification":
        names = np.array([reading.negative_label, reading.positive_label], dtype=object)
    predicted, actual = (rows.predicted, rows.actual) if names is None else (names[rows.predicted], names[rows.actual])
    kind = pa.float64() if names is None else pa.string()
    count = len(rows)
    probability = rows.probability if rows.probability is not None else [None] * count
    table = pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "time": pa.array(times.astype("datetime64[s]"), pa.timestamp("s", tz="UTC")),
            "prediction": pa.array(predicted, kind),
            "probability": pa.array(probability, pa.float64()),
            "label": pa.array(actual, kind),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
