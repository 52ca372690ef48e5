"""From the bytes of objects to their lines: gzip, over-long lines, where each line stands (rule I4).

    chunks of an object  --blocks-->  blocks of whole lines  --lines_of-->  the lines of many blocks in one piece of memory

Whitespace is no line. Whatever cannot be read as a line is a `Rejection`, so that nothing goes missing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from airflow_mq_provider.quality import parquet

if TYPE_CHECKING:
    from numpy.typing import NDArray

LINE_LIMIT = 16 * 1024 * 1024
"""Longer lines are rejected unread (rule I4)."""
GZIP = b"\x1f\x8b"
"""What gzip is known by: the first bytes of an object."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected line: its object, its number there (from 1), the reason, what was seen, and its bytes."""

    source: str
    line: int
    reason: str
    seen: str
    text: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of an object: which object, the number of the first line, their bytes.

    `header` names the columns where the object's first line did; that line is then not among these.
    """

    source: str
    first_line: int
    data: bytes
    header: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of some blocks, one after another: blank ones left out, without surrounding whitespace.

    Attributes:
        blocks: what the lines are of, without their bytes.
        block_starts: int64[blocks], where each block's bytes start within ``data``.
        data: the bytes of all blocks; each ends with a newline.
        starts: int64[lines], where each line starts within ``data``.
        ends: int64[lines], where it ends, exclusive.
        newlines: int64, where each newline stands, those of blank lines among them.
        unread: what stands between the lines and could not be read: how many lines come before it, and its rejection.
    """

    blocks: tuple[Block, ...]
    block_starts: NDArray[np.int64]
    data: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    newlines: NDArray[np.int64]
    unread: tuple[tuple[int, Rejection], ...] = ()

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, at: int) -> bytes:
        return self.data[self.starts[at] : self.ends[at]]

    @property
    def last_line(self) -> int:
        """Of lines of one object, the number of the last one there, blank or not, read or not."""
        unread = max((rejection.line for _, rejection in self.unread), default=0)
        if not self.blocks:
            return unread
        newlines = len(self.newlines) - int(np.searchsorted(self.newlines, self.block_starts[-1]))
        return max(unread, self.blocks[-1].first_line + newlines - 1)

    def block(self, at: int) -> Block:
        """The block of a line."""
        return self.blocks[int(self.block_numbers(at))]

    def block_numbers(self, at: Any) -> NDArray[np.int64]:
        """Which of the blocks a line is of, or each of some lines."""
        numbers: NDArray[np.int64] = np.searchsorted(self.block_starts, self.starts[at], side="right") - 1
        return numbers

    def places(self, at: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of some lines, in their order: the block of each, and its number in its object, as `rejection` has it."""
        block = self.block_numbers(at)
        blank = len(self.newlines) > len(self.starts)
        newline = np.searchsorted(self.newlines, self.starts[at]) if blank else at
        first = np.array([one.first_line for one in self.blocks], np.int64)
        first -= np.searchsorted(self.newlines, self.block_starts)
        return block, newline + first[block]

    def rejection(self, at: int, reason: str, seen: str) -> Rejection:
        """The rejection of a line."""
        number = int(self.block_numbers(at))
        block = self.blocks[number]
        before = np.searchsorted(self.newlines, [self.block_starts[number], self.starts[at]])
        line = block.first_line + int(before[1] - before[0])
        return Rejection(block.source, line, reason, seen, self[at])


def lines_of(pieces: Iterable[Block | Rejection]) -> Lines:
    """The lines of some blocks, and what could not be read between them, in the order given."""
    blocks: list[Block] = []
    parts: list[bytes] = []
    unread: list[tuple[int, Rejection]] = []
    for piece in pieces:
        if isinstance(piece, Rejection):
            unread.append((len(blocks), piece))
            continue
        blocks.append(Block(piece.source, piece.first_line, b"", piece.header))
        parts.append(piece.data if piece.data.endswith(b"\n") else piece.data + b"\n")
    data = b"".join(parts) if len(parts) != 1 else parts[0]
    block_starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    newlines = _newlines(data)
    starts, ends = _spans(data, newlines)
    before = np.searchsorted(starts, block_starts[[number for number, _ in unread]]) if unread else ()
    return Lines(
        blocks=tuple(blocks),
        block_starts=block_starts[:-1],
        data=data,
        starts=starts,
        ends=ends,
        newlines=newlines,
        unread=tuple((int(at), rejection) for at, (_, rejection) in zip(before, unread, strict=True)),
    )


def _spans(data: bytes, newlines: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and end of each line that is not blank, without surrounding whitespace. The data end with a newline."""
    signs = np.frombuffer(data, np.uint8)
    starts = np.zeros_like(newlines)
    starts[1:] = newlines[:-1] + 1
    odd = np.flatnonzero((signs[starts] <= 32) | (signs[newlines - 1] <= 32))  # an empty line starts with its newline
    if not len(odd):
        return starts, newlines
    ends = newlines.copy()
    for at in odd.tolist():
        line = data[starts[at] : ends[at]]
        starts[at] += len(line) - len(line.lstrip())
        ends[at] = starts[at] + len(line.strip())
    filled = starts < ends
    return starts[filled], ends[filled]


def _newlines(data: bytes) -> NDArray[np.int64]:
    """Where each newline stands."""
    marks = np.frombuffer(data, np.uint8) == 10
    # most bytes are none: eight at a time are passed over
    whole = len(marks) // 8 * 8
    words = marks[:whole].view("<u8")
    at = np.flatnonzero(words != 0)
    words = words[at]
    found = []
    while len(at):
        first = words & -words
        found.append(8 * at + np.log2(first).astype(np.int64) // 8)
        words ^= first
        more = words != 0
        at, words = at[more], words[more]
    found.append(whole + np.flatnonzero(marks[whole:]))
    newlines = np.concatenate(found)
    if len(found) > 2:  # two among eight bytes
        newlines.sort()
    return newlines


# --- bytes to blocks --------------------------------------------------------------------------------------------------


def blocks(
    chunks: Iterable[bytes], source: str = "", *, limit: int = LINE_LIMIT, plain: bool = False
) -> Iterator[Block | Rejection]:
    """Cut the bytes of the object `source` into blocks of whole lines; gzip is known by its first bytes, inflated in pieces.

    Lines that are known to be `plain` are taken as they are: those of a span do not begin where their object begins. A line over `limit` bytes and a damaged gzip stream come as a `Rejection` each; the memory used is bounded by
    the limit and the size of the chunks.
    """
    held: list[bytes] = []
    size = 0
    line = 1
    skipping = False
    body = b""
    try:
        for chunk in chunks if plain else _inflated(chunks):
            line += body.count(b"\n")  # not before it is needed: most objects are one block
            body = b""
            cut = chunk.rfind(b"\n") + 1
            if not cut:
                held.append(chunk)
                size += len(chunk)
                if size > limit:
                    held, size, skipping = [], 0, True
                continue
            head = chunk.find(b"\n") + 1
            if skipping or size + head - 1 > limit:
                yield Rejection(source, line, "line_too_long", f"over {limit} bytes", b"")
                line += 1
                skipping, held = False, []
                body = chunk[head:cut]
            else:
                body = b"".join([*held, chunk[:cut]]) if held else chunk[:cut]
            yield from _within(body, source, line, limit)
            held = [chunk[cut:]] if cut < len(chunk) else []
            size = len(chunk) - cut
        line += body.count(b"\n") if held or skipping else 0
    except _DamagedGzipError as error:
        # The cut-off line is part of the damage: one rejection stands for both.
        yield Rejection(source, line + body.count(b"\n"), "corrupt_gzip", str(error), b"")
        return
    rest = b"".join(held)
    if skipping or len(rest) > limit:
        yield Rejection(source, line, "line_too_long", f"over {limit} bytes", b"")
    elif rest:
        yield Block(source, line, rest)


def parquet_blocks(chunks: Iterable[bytes], source: str) -> Iterator[Block | Rejection]:
    """The rows of a Parquet object as JSON Lines; the whole object is held in memory."""
    line = 1
    try:
        for rows in parquet.rows(b"".join(chunks)):
            yield Block(source, line, b"".join(msgspec.json.encode(row, enc_hook=str) + b"\n" for row in rows))
            line += len(rows)
    except ValueError as error:
        yield Rejection(source, line, "corrupt_parquet", str(error)[:200], b"")


def _within(body: bytes, source: str, first_line: int, limit: int) -> Iterator[Block | Rejection]:
    """Lines of a chunk; a chunk may itself be larger than the limit."""
    if len(body) <= limit:
        if body:
            yield Block(source, first_line, body)
        return
    kept: list[bytes] = []
    start = first_line
    for number, line in enumerate((line + b"\n" for line in body.split(b"\n")[:-1]), first_line):
        if len(line) - 1 > limit:
            if kept:
                yield Block(source, start, b"".join(kept))
            yield Rejection(source, number, "line_too_long", f"over {limit} bytes", b"")
            kept, start = [], number + 1
        else:
            kept.append(line)
    if kept:
        yield Block(source, start, b"".join(kept))


class _DamagedGzipError(Exception):
    pass


_PIECE = 4 * 1024 * 1024


def _inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks as they are or, of a gzip object, inflated in pieces of at most 4 MiB, member after member."""
    source = iter(chunks)
    first = b""
    for chunk in source:
        first += chunk
        if len(first) >= 2:
            break
    if first[:2] != GZIP:
        if first:
            yield first
        yield from source
        return
    inflater = zlib.decompressobj(31)
    for chunk in chain([first], source):
        data, more = chunk, True
        while data or more:
            if inflater.eof:
                data = data.lstrip(b"\0")  # padding after a member is allowed
                if not data:
                    break
                inflater = zlib.decompressobj(31)
            before = inflater.copy()
            try:
                piece = inflater.decompress(data, _PIECE)
            except zlib.error as error:
                if str(error).startswith(_NO_MEMORY):
                    raise MemoryError from error
                yield from _before_damage(before, data)
                raise _DamagedGzipError(str(error)) from error
            if piece:
                yield piece
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            more = len(piece) == _PIECE
    if not inflater.eof:
        raise _DamagedGzipError("the stream ends before its end mark")


_NO_MEMORY = "Error -4 "
"""What zlib says where it gets none: that is no damage."""


def _before_damage(inflater: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """Inflate data up to the byte at which it is found damaged, less than a piece in all.

    zlib keeps nothing of what it inflated in the call that finds the damage. That would make what counts depend on how the
    object happened to be cut into chunks.
    """
    for step in (4096, 1):
        while data:
            ahead = inflater.copy()
            try:
                piece = ahead.decompress(data[:step])
            except zlib.error as error:
                if str(error).startswith(_NO_MEMORY):
                    raise MemoryError from error
                break
            if piece:
                yield piece
            inflater, data = ahead, data[step:]
