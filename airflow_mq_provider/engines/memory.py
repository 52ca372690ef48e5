"""How much memory a run takes, told from its listing before it starts, and how much it may take.

A listing tells neither lines nor rows: both are counted in the beginnings of three objects of each side, by the engines' own
reading of a line. Where that misjudges, the run notices once it has counted, and stops: `refuse_more_rows`, `refuse_rows`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from airflow_mq_provider.engines.bounds import held, within
from airflow_mq_provider.engines.reading import headed, reader
from airflow_mq_provider.engines.task import PIECE, ROWS_SUFFIX, UNIT, MergeTask, in_spans, units
from airflow_mq_provider.exceptions import InputError, ModelQualityError
from airflow_mq_provider.inputs import Input
from airflow_mq_provider.quality.columns import read_labels
from airflow_mq_provider.quality.lines import LINE_LIMIT, Block, Lines, Rejection, blocks, lines_of
from airflow_mq_provider.quality.records import Classes, Reading
from airflow_mq_provider.quality.states import BINARY, MULTICLASS, REGRESSION, MergedRows
from airflow_mq_provider.storage import Storage

MIB = 1024 * 1024

_PROCESS = 100 * MIB
"""Of the process itself: Python, numpy and what one unit of work holds."""
WORKER = 110 * MIB
"""Of each worker: a unit of captures read ahead, its columns, its merged records."""
SMALL = 8 * MIB
"""Inputs of fewer bytes are read in the process itself: forking would cost more than it saves."""
_LABEL = 110
"""Bytes of a label while the table of labels is made in memory; half of that stays."""
_LABEL_ROW = 24
"""The same of each row beyond a label's first."""
_TRUTH = 3
"""The same of each byte of the labels' different texts, where merged records need them."""
_LABEL_ON_DISK = 6
"""The same where the table is made on disk: what is held of it is one part in 64, and a mark that a label was found."""
_HOUR_CAPTURE, _HOUR_LABEL = 90, 45
"""Bytes of a capture and of a label where the columns of all hours are held and joined at once."""
_HOUR_CAPTURE_ROW, _HOUR_LABEL_ROW = 45, 20
"""The same of each row beyond a line's first."""
_PREPARED, _PREPARED_ROWS = 3, 6
"""The same of a byte of a prepared hour: of one with a row a line, and of one that is mostly rows."""
_UNIT, _UNIT_ROW = 40 * MIB, 30
"""Bytes of a worker, and of each row of the unit that it works on: more than `WORKER` where a unit is many rows."""
_JUDGED = 95
"""Bytes of a row of a captured record beside it, while the records of one piece are judged one by one."""
_JUDGED_LABEL = {BINARY: 35, MULTICLASS: 80, REGRESSION: 80}
"""The same of a row of a label."""
_ROW = 60
"""Bytes of a merged row with a probability while curves and samples are made of the sorted scores."""
_PART = 5
"""The same of a byte of the parts that a merge wrote, whose rows may have been binned."""
_LONGEST_GUESS = 1024
"""A listed byte takes no more bytes of memory than this, of rows as short as they can be, in gzip."""
_LOOKED_AT = 16 * 1024
"""Of so many bytes at the beginning of an object the rows are counted, and of one whole line at least."""


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """The most memory, in bytes, that a run takes in all its processes at once.

    ``in_memory`` where the table of labels is held there, ``on_disk`` where it is not.
    """

    in_memory: int
    on_disk: int


def processes_for(listed: int, workers: int) -> int:
    """How many processes work on inputs of so many bytes, of as many as may."""
    return 1 if listed < SMALL else workers


def memory_needed(task: MergeTask, storage: Storage, workers: int) -> MemoryNeed:
    """Estimate what a merge and its analysis take, from what is listed and from the first lines of three objects."""
    captures, labels = _of_captures(task, task.captures, storage), _of_labels(task, task.labels, storage)
    processes = _processes(workers, captures, labels)
    more = labels.more_rows * _LABEL_ROW + (labels.texts * _TRUTH if task.needs_truths else 0)
    rows = captures.rows * _ROW if task.reading.probability is not None else 0
    table = labels.lines * _LABEL + more
    return MemoryNeed(
        in_memory=max(processes + table, _processes(workers) + labels.lines * _LABEL // 2 + more + rows),
        on_disk=labels.lines * _LABEL_ON_DISK + max(processes, _processes(workers) + rows),
    )


def _processes(workers: int, *sides: _Content) -> int:
    """What the processes take whatever the window: themselves, and in each a unit of the sides given."""
    unit = max([WORKER, *(_UNIT + side.at_work for side in sides)])
    return _PROCESS + (workers * unit if workers > 1 else unit - WORKER)


@dataclass(frozen=True, slots=True)
class Weighed:
    """A run's size in bytes: listed, needed, and how much it may take."""

    listed: int
    need: MemoryNeed
    limit: int

    @property
    def in_memory(self) -> bool:
        """Whether the table of labels fits into the memory that the run may take, with all else."""
        return self.need.in_memory <= self.limit

    @property
    def on_disk(self) -> bool:
        """Whether the run fits with the table on disk."""
        return self.need.on_disk <= self.limit


def weigh(task: MergeTask, storage: Storage, workers: int) -> Weighed:
    """Weigh a run against the memory that it may take; one that must fit whatever its lines are is not looked into."""
    limit = limit_of(task)
    listed = sum(one.size for one in (*task.captures, *task.labels))
    workers = processes_for(listed, workers)
    most = _PROCESS + workers * WORKER + listed * _LONGEST_GUESS
    need = MemoryNeed(most, most) if most <= limit else memory_needed(task, storage, workers)
    return Weighed(listed, need, limit)


def fits(task: MergeTask, storage: Storage, workers: int) -> bool:
    """Whether the table of labels fits into the memory that the task may take, with all else.

    Raises `InputError` where the run does not fit even with the table on disk. A batch transform never does: how large the
    objects are that its manifests name is not known before they are read.
    """
    found = weigh(task, storage, workers)
    if found.in_memory or found.on_disk or task.reading.batch:
        return found.in_memory
    processes = processes_for(found.listed, workers)
    raise InputError(
        expected=f"a window that can be judged within {found.limit // MIB:,} MiB of memory",
        came=f"{found.listed // MIB:,} MiB of captures and labels, which need about {found.need.on_disk // MIB:,} MiB with {processes} process{'es' if processes > 1 else ''}",
        where="memory_limit",
        next_step="nothing was read yet: give the task more memory, fewer workers or a shorter window, or run the monitor on Spark",
    )


def hours_fit(
    task: MergeTask, storage: Storage, workers: int, prepared: int, captures: Sequence[Input], labels: Sequence[Input]
) -> bool:
    """Whether the columns of all hours fit into the memory that the task may take, with all else.

    Args:
        task: which merge.
        storage: of the objects.
        workers: processes of it.
        prepared: bytes of the hours that are prepared.
        captures: objects of the hours that are not.
        labels: the same.
    """
    limit = limit_of(task)
    listed = sum(one.size for one in (*captures, *labels))
    workers = processes_for(listed, workers)
    processes = _PROCESS + workers * WORKER
    if processes + prepared * _PREPARED_ROWS + listed * _LONGEST_GUESS <= limit:
        return True
    # what is prepared does not say how many rows its lines have: the lines themselves do
    some, several = (
        _of_captures(task, captures or task.captures, storage),
        _of_labels(task, labels or task.labels, storage),
    )
    columns = prepared * (_PREPARED_ROWS if some.more_rows > some.lines else _PREPARED)
    if captures:
        columns += some.lines * _HOUR_CAPTURE + some.more_rows * _HOUR_CAPTURE_ROW
    if labels:
        columns += several.lines * _HOUR_LABEL + several.more_rows * _HOUR_LABEL_ROW
    return _processes(workers, some, several) + columns <= limit


def refuse_rows(
    storage: Storage, merged_uri: str, rows: int, limit: int | None, parts: Sequence[MergedRows] = ()
) -> None:
    """Refuse to analyze merged rows with probabilities that the memory has no room for.

    Args:
        storage: of the rows.
        merged_uri: under which they lie in parts.
        rows: how many the merge counted.
        limit: bytes that may be taken; None for most of what this process may have.
        parts: the rows, where they are in memory.

    Raises:
        InputError: they do not fit. Rows that were binned are judged by what is left of them.
    """
    limit = limit or memory_limit()
    if _PROCESS + rows * _ROW <= limit:
        return
    if parts:
        size = sum(part.nbytes for part in parts)
    else:
        size = sum(one.size for one in storage.list(merged_uri) if one.key.endswith(ROWS_SUFFIX))
    if (need := _PROCESS + min(rows * _ROW, size * _PART)) > limit:
        raise _too_many_rows(rows, need, limit, "the rows are merged, but were not read")


def refuse_more_rows(task: MergeTask, rows: int) -> None:
    """Refuse to go on with a merge that has counted more rows than the analysis after it has room for.

    Raises:
        InputError: it has, since its lines are not like those by which it was weighed.
    """
    if task.reading.probability is None or task.counts_only:
        return
    limit = limit_of(task)
    if (need := _PROCESS + rows * _ROW) > limit:
        raise _too_many_rows(rows, need, limit, "the merge was stopped where it had counted them")


@contextmanager
def rows_within(limit: int | None) -> Iterator[None]:
    """Hold what is made of merged rows to a memory limit in bytes; None for most of what this process may have.

    Raises:
        InputError: it needs more, as rows in many segments may.
    """
    limit = limit or memory_limit()
    before = held()
    try:
        with within(limit):
            yield
    except MemoryError as error:
        raise InputError(
            expected=f"merged rows that can be analyzed within {limit // MIB:,} MiB of memory",
            came=f"rows that need more, beside the {before // MIB:,} MiB of this process",
            where="memory_limit",
            next_step="the rows are merged: give the task more memory or a shorter window, or run the monitor on Spark",
        ) from error


@contextmanager
def analysis_within(
    limit: int | None,
    reading: Reading,
    storage: Storage,
    merged_uri: str,
    rows: int,
    parts: Sequence[MergedRows] = (),
) -> Iterator[None]:
    """The same for an analysis of so many merged rows: those with probabilities are refused before they are read (`refuse_rows`)."""
    if reading.probability is not None:  # no other rows are held
        refuse_rows(storage, merged_uri, rows, limit, parts)
    with rows_within(limit):
        yield


def _too_many_rows(rows: int, need: int, limit: int, so_far: str) -> InputError:
    return InputError(
        expected=f"merged rows whose probabilities can be put in order within {limit // MIB:,} MiB of memory",
        came=f"{rows:,} rows, which need about {need // MIB:,} MiB",
        where="memory_limit",
        next_step=f"{so_far}: give the task more memory or a shorter window, or run the monitor on Spark, where so many are binned",
    )


def limit_of(task: MergeTask) -> int:
    """Bytes that the processes of a merge may take together."""
    return task.memory_limit or memory_limit()


def memory_limit(share: float = 0.8) -> int:
    """Bytes that a run may take where nobody says: a share of what this process may have, by its control group or the machine."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _CONTROL_GROUPS:
        with suppress(OSError, ValueError):  # no such control group, or "max"
            found.append(int(Path(path).read_text()))
    return int(min(found) * share)


_CONTROL_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)B?|B?)\s*\Z", re.IGNORECASE)


def parse_size(text: str, *, field: str) -> int:
    """Bytes of a size such as ``4GiB``, ``4G``, ``500 MB`` or a number of bytes; ``G`` and ``GiB`` are powers of 1,024."""
    match = _SIZE.match(text)
    if match is None or float(match[1]) <= 0:
        raise ModelQualityError(
            expected="a size of memory, such as 4GiB or 500MB",
            came=repr(text),
            where=field,
            next_step="write a number and one of KiB, MiB, GiB, TiB",
        )
    number, unit, binary = match[1], match[2], match[3] or not text.strip().upper().endswith("B")
    step = 1024 if binary else 1000
    return int(float(number) * step ** (1 + "KMGT".index(unit.upper()) if unit else 0))


@dataclass(frozen=True, slots=True)
class _Content:
    """About how much some objects hold.

    Attributes:
        lines: how many.
        more_rows: rows beyond the first of each line.
        at_work: bytes that the rows of a unit take while one works on it.
        texts: bytes of the different ``groundTruthData`` values.
    """

    lines: int = 0
    more_rows: int = 0
    at_work: int = 0
    texts: int = 0

    @property
    def rows(self) -> int:
        """All rows."""
        return self.lines + self.more_rows


def _of_captures(task: MergeTask, objects: Sequence[Input], storage: Storage) -> _Content:
    """What captured objects hold. What a preprocessor makes of their records is not known before it runs: a row of each."""
    read = reader(task)

    def told(lines: Lines) -> tuple[int, int, int]:
        part = read(lines, task.reading, None, Classes(task.reading))
        return len(part.at), int(len(part.at) if part.rows is None else part.rows.sum()), 0

    cut = task.blocks
    if task.reading.batch == "csv-header":
        return _content(objects, storage, lambda chunks, uri: headed(cut(chunks, uri)), told, _JUDGED)
    whole, shared = task.reading.batch == "parquet", task.preprocessor is None
    return _content(objects, storage, cut, told, _JUDGED, whole=whole, shared=shared)


def _of_labels(task: MergeTask, objects: Sequence[Input], storage: Storage) -> _Content:
    """What objects of labels hold."""

    def told(lines: Lines) -> tuple[int, int, int]:
        part = read_labels(lines, task.reading, Classes(task.reading))
        rows = int(len(part.at) if part.rows is None else part.rows.sum())
        return len(part.at), rows, sum(map(len, part.truths))

    return _content(objects, storage, blocks, told, _JUDGED_LABEL[task.reading.problem_type])


def _content(
    objects: Sequence[Input],
    storage: Storage,
    cut: Callable[[Iterable[bytes], str], Iterator[Block | Rejection]],
    told: Callable[[Lines], tuple[int, int, int]],
    judged: int,
    *,
    whole: bool = False,
    shared: bool = True,
) -> _Content:
    """By the lines a byte, and what a line holds, of the first, the middle and the last object, whichever has most.

    `told` says of some lines how many can be used, their rows, and the bytes of their labels' different texts; `judged` is what each
    row takes while it is. An object that has to be, is read `whole`; large ones are `shared` by workers where they can be cut.
    """
    filled = [one for one in objects if one.size]
    if not filled:
        return _Content()
    lines_a_byte = more_a_byte = texts_a_byte = rows_of_a_piece = 0.0
    for one in {filled[at].uri: filled[at] for at in (0, len(filled) // 2, -1)}.values():
        pieces, read = _first_lines(one, storage, cut, whole=whole)
        lines = sum(piece.data.count(b"\n") + 1 for piece in pieces)
        here = lines / max(1, read)
        looked_at = [_beginning(piece) for piece in pieces[:1]]
        used, rows, texts = told(lines_of(looked_at))
        rows_a_byte = rows / max(1, sum(len(piece.data) for piece in looked_at))
        rows_of_a_piece = max(rows_of_a_piece, rows_a_byte * _piece(filled))
        lines_a_byte = max(lines_a_byte, here)
        more_a_byte = max(more_a_byte, here * (rows - used) / max(1, used))
        texts_a_byte = max(texts_a_byte, here * texts / max(1, used))
    size = sum(one.size for one in filled)
    unit = min(size, max(UNIT, max(one.size for one in units(filled, in_spans(filled, storage) if shared else ()))))
    unit_rows = (lines_a_byte + more_a_byte) * unit
    return _Content(
        lines=int(lines_a_byte * size) + 1,
        more_rows=int(more_a_byte * size),
        at_work=int(unit_rows * _UNIT_ROW + min(rows_of_a_piece, unit_rows) * judged),
        texts=int(texts_a_byte * size),
    )


def _first_lines(
    one: Input, storage: Storage, cut: Callable[[Iterable[bytes], str], Iterator[Block | Rejection]], *, whole: bool
) -> tuple[list[Block], int]:
    """The blocks of the first chunk of an object, or of as many as its first line takes, and the bytes of these chunks."""
    found: list[Block] = []
    read = 0

    def chunks() -> Iterator[bytes]:
        nonlocal read
        for chunk in storage.chunks(one.uri):
            read += len(chunk)
            yield chunk
            if not whole and (found or read > LINE_LIMIT):
                return

    # the end of the last chunk is taken for damage or for a whole line: neither counts for much
    for piece in cut(chunks(), one.uri):
        if isinstance(piece, Block):
            found.append(piece)  # noqa: PERF401 - `chunks` looks at it meanwhile
    return found, read


def _piece(objects: Sequence[Input]) -> int:
    """Bytes of the largest piece that lines are read in: what is nearly one is followed by a whole object, or by a piece of it."""
    return PIECE + min(PIECE, max(one.size for one in objects))


def _beginning(block: Block) -> Block:
    """Its first lines, whole."""
    end = block.data.find(b"\n", _LOOKED_AT)
    return block if end < 0 else replace(block, data=block.data[: end + 1])
