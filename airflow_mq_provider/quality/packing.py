"""Columns as bytes, for files that this package alone writes and reads: merged rows, prepared hours.

A line of JSON, then the columns, each starting at a multiple of eight, then a checksum of all that. Nothing is compressed or
copied twice, and nothing is read that is not what was written: such files are written and read in every run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import xxhash

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHECKSUM: Final = 16
_ALIGNED: Final = 8


def packed(magic: bytes, name: str, columns: Mapping[str, NDArray[Any] | bytes], about: Mapping[str, Any]) -> bytes:
    """Columns and what is said about them, in plain JSON, as bytes. Equal ones give equal bytes.

    Args:
        magic: what such bytes begin with.
        name: of what they are.
        columns: arrays of one dimension, or bytes.
        about: whatever else belongs to them; not ``name`` or ``columns``.
    """
    table: list[tuple[str, str, int]] = []
    parts: list[Any] = []
    for key, column in columns.items():
        found = np.frombuffer(column, np.uint8) if isinstance(column, bytes) else column
        little = np.ascontiguousarray(found, found.dtype.newbyteorder("<"))
        table.append((key, little.dtype.str, len(little)))
        parts += [little, bytes(-little.nbytes % _ALIGNED)]
    head = magic + msgspec.json.encode({"name": name, "columns": table, **about}) + b"\n"
    content = [head, bytes(-len(head) % _ALIGNED), *parts]
    checksum = xxhash.xxh3_128()
    for part in content:
        checksum.update(part)
    return b"".join([*content, checksum.digest()])


def unpacked(magic: bytes, data: bytes) -> tuple[str, dict[str, NDArray[Any]], dict[str, Any]] | None:
    """Name, columns and the rest of what `packed` wrote; None where the bytes are anything else. Columns are views of them."""
    if not data.startswith(magic) or xxhash.xxh3_128_digest(memoryview(data)[:-_CHECKSUM]) != data[-_CHECKSUM:]:
        return None
    try:
        end = data.index(b"\n", len(magic)) + 1
        about = msgspec.json.decode(data[len(magic) : end])
        start = end + -end % _ALIGNED
        columns: dict[str, NDArray[Any]] = {}
        for key, dtype, length in about.pop("columns"):
            columns[key] = found = np.frombuffer(data, dtype, length, start)
            start += found.nbytes + -found.nbytes % _ALIGNED
        return about.pop("name"), columns, about
    except (ValueError, KeyError, TypeError, AttributeError, msgspec.MsgspecError):
        return None  # whole, and of another writer
