"""How much memory a run takes, told from its listing before it starts, and how much it may take."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from airflow_mq_provider.engines.task import MergeTask
from airflow_mq_provider.exceptions import InputError, ModelQualityError
from airflow_mq_provider.inputs import Input
from airflow_mq_provider.quality.lines import Block, blocks
from airflow_mq_provider.storage import Storage

MIB = 1024 * 1024

_PROCESS = 100 * MIB
"""Of the process itself: Python, numpy and what one unit of work holds."""
_WORKER = 110 * MIB
"""Of each worker: a unit of captures read ahead, its columns, its merged records."""
_LABEL = 110
"""Bytes of a label while the table of labels is made in memory; half of that stays."""
_LABEL_ON_DISK = 6
"""The same where the table is made on disk: what is held of it is one part in 64, and a mark that a label was found."""
_HOUR_CAPTURE, _HOUR_LABEL = 90, 45
"""Bytes of a capture and of a label where the columns of all hours are held and joined at once."""
_PREPARED = 3
"""The same of a byte of a prepared hour."""
_ROW = 60
"""Bytes of a merged row with a probability while curves and samples are made of the sorted scores."""
_LONGEST_GUESS = 64
"""A listed byte takes no more bytes of memory than this, whatever it is."""


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """The most memory, in bytes, that a run takes in all its processes at once.

    ``in_memory`` where the table of labels is held there, ``on_disk`` where it is not.
    """

    in_memory: int
    on_disk: int


def memory_needed(task: MergeTask, storage: Storage, workers: int) -> MemoryNeed:
    """Estimate what a merge and its analysis take, from what is listed and from the first lines of three objects."""
    captures, labels = _lines(task.captures, storage), _lines(task.labels, storage)
    processes = _PROCESS + (workers * _WORKER if workers > 1 else 0)
    rows = captures * _ROW if task.reading.probability is not None else 0
    return MemoryNeed(
        in_memory=processes + max(labels * _LABEL, labels * _LABEL // 2 + rows),
        on_disk=processes + labels * _LABEL_ON_DISK + rows,
    )


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
    limit = task.memory_limit or memory_limit()
    listed = sum(one.size for one in (*task.captures, *task.labels))
    most = _PROCESS + workers * _WORKER + listed * _LONGEST_GUESS
    need = MemoryNeed(most, most) if most <= limit else memory_needed(task, storage, workers)
    return Weighed(listed, need, limit)


def fits(task: MergeTask, storage: Storage, workers: int) -> bool:
    """Whether the table of labels fits into the memory that the task may take, with all else.

    Raises `InputError` where the run does not fit even with the table on disk.
    """
    found = weigh(task, storage, workers)
    if found.in_memory or found.on_disk:
        return found.in_memory
    raise InputError(
        expected=f"a window that can be judged within {found.limit // MIB:,} MiB of memory",
        came=f"{found.listed // MIB:,} MiB of captures and labels, which need about {found.need.on_disk // MIB:,} MiB with {workers} processes",
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
    limit = task.memory_limit or memory_limit()
    listed = sum(one.size for one in (*captures, *labels))
    held = _PROCESS + workers * _WORKER + prepared * _PREPARED
    if held + listed * _LONGEST_GUESS <= limit:
        return True
    lines = _lines(captures, storage)
    read = lines * _HOUR_CAPTURE + _lines(labels, storage) * _HOUR_LABEL
    return held + read <= limit


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


def _lines(objects: Sequence[Input], storage: Storage) -> int:
    """About how many lines the objects hold: by the lines a byte of the first, the middle and the last one."""
    filled = [one for one in objects if one.size]
    if not filled:
        return 0
    samples = {filled[at].uri: filled[at] for at in (0, len(filled) // 2, -1)}
    size = sum(one.size for one in filled)
    return int(max(_lines_a_byte(one, storage) for one in samples.values()) * size) + 1


def _lines_a_byte(one: Input, storage: Storage) -> float:
    chunk = next(iter(storage.chunks(one.uri)), b"")
    # of an object that goes on, the end of the chunk is taken for damage or for a whole line: neither counts for much
    lines = sum(piece.data.count(b"\n") + 1 for piece in blocks([chunk]) if isinstance(piece, Block))
    return lines / max(1, len(chunk))
