"""From the objects of a unit of work to their lines, some at a time: what engines share that read many lines at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from airflow_mq_provider.engines.task import PIECE, UNIT, MergeTask, Unit
from airflow_mq_provider.inputs import Input
from airflow_mq_provider.quality.columns import Predictions, read_captures, read_one_by_one
from airflow_mq_provider.quality.lines import Block, Lines, Rejection, blocks, lines_of
from airflow_mq_provider.storage import Storage, is_s3

_READERS = 8
"""Objects fetched at once by one worker, on S3."""
_AHEAD = 8 * 1024 * 1024
"""Objects of up to so many bytes are fetched ahead of their turn."""


def label_lines(storage: Storage, unit: Unit) -> Iterator[Lines]:
    """The label lines of a unit, at least `PIECE` bytes at a time."""
    if unit.span is not None:
        return _gathered(_span_blocks(unit.objects[0], unit.span, storage))
    return _gathered(_pieces(unit.objects, storage, blocks))


def capture_lines(task: MergeTask, storage: Storage, unit: Unit) -> Iterator[Lines]:
    """The captured lines of a unit, likewise, the names of columns taken from where they stand."""
    if unit.span is not None:
        return _gathered(_span_blocks(unit.objects[0], unit.span, storage))
    pieces = _pieces(unit.objects, storage, task.blocks)
    return _gathered(headed(pieces) if task.reading.batch == "csv-header" else pieces)


def reader(task: MergeTask) -> Callable[..., Predictions]:
    """What reads the captured lines of a task: one of the functions of `quality.columns`."""
    return read_one_by_one if task.reading.batch or task.reading.processed else read_captures


def _gathered(pieces: Iterable[Block | Rejection]) -> Iterator[Lines]:
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


def headed(pieces: Iterable[Block | Rejection]) -> Iterator[Block | Rejection]:
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


def _pieces(
    objects: Sequence[Input], storage: Storage, cut: Callable[[Iterable[bytes], str], Iterator[Block | Rejection]]
) -> Iterator[Block | Rejection]:
    """The blocks of all objects, in their order. On S3, small objects are fetched some ahead of their turn."""
    if not (objects and is_s3(objects[0].uri)):
        for one in objects:
            yield from cut(_chunks(one, storage), one.uri)
        return
    with ThreadPoolExecutor(_READERS) as pool:
        ahead: deque[tuple[Input, Future[bytes] | None]] = deque()
        rest = iter(objects)
        while True:
            while len(ahead) < _READERS and (coming := next(rest, None)) is not None:
                small = coming.size <= _AHEAD
                ahead.append((coming, pool.submit(storage.read, coming.uri, etag=coming.etag) if small else None))
            if not ahead:
                return
            one, fetched = ahead.popleft()
            yield from cut(storage.chunks(one.uri, etag=one.etag) if fetched is None else [fetched.result()], one.uri)


def _span_blocks(one: Input, span: tuple[int, int], storage: Storage) -> Iterator[Block | Rejection]:
    """The blocks of the lines whose first byte lies in a span of an object; they are numbered from 1."""
    return blocks(_span_chunks(one, span, storage), one.uri, plain=True)


def _span_chunks(one: Input, span: tuple[int, int], storage: Storage) -> Iterator[bytes]:
    start, stop = span
    # the byte before a span tells whether a line starts with it
    at = max(0, start - 1)
    begun, ended = start == 0, False
    until, tail = stop, _TAIL
    while not ended and at < one.size:
        until, tail = min(until + tail, one.size), min(2 * tail, UNIT)
        # pieces of at least `PIECE`, the last one with the tail: each is joined by itself
        size = -(-(until - at) // max(1, (until - at) // PIECE))
        for chunk in storage.chunks(one.uri, size, etag=one.etag, start=at, stop=until):
            first, last = 0, len(chunk)
            if not begun:
                first = chunk.find(b"\n") + 1
                begun = first > 0
                # a line that starts behind the span is another's, and so is all that follows
                ended = ended or at + (first or last) >= stop
            if begun and not ended:
                newline = chunk.find(b"\n", max(first, stop - 1 - at))
                ended = newline >= 0
                yield chunk[first : newline + 1 if ended else last]
            # to the end of what was asked for: there it is seen whether the object is still the one that was listed
            at += len(chunk)


_TAIL = 64 * 1024
"""So many bytes behind a span are read for the end of its last line; where they are too few, more and more."""


def _chunks(one: Input, storage: Storage) -> Iterable[bytes]:
    if one.size <= PIECE:
        return [storage.read(one.uri, etag=one.etag)]
    return storage.chunks(one.uri, etag=one.etag)
