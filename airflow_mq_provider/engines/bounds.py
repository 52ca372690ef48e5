"""A run held to its memory limit by the kernel: what would be more is refused, as a MemoryError where it is asked for.

The kernel counts the memory that a process may write to and that is its own, and bounds it: ``RLIMIT_DATA`` of `setrlimit`. What a run
has in memory when it starts counts against its limit; the rest it may take, and lends some of it to its workers. So the sum of all bounds
is the limit, whatever was estimated, and nobody has to kill anybody. Only on Linux; elsewhere estimates alone decide. A bound is of a
process: of several runs in threads of one, the first has it.
"""

from __future__ import annotations

import ctypes
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MIB = 1024 * 1024
_LEAST = 16 * _MIB
"""Whoever has less left stops before threads and messages have too little."""
_UNTOUCHED = 8 * _MIB
"""Bytes that a process may write to already when it is bounded, and that are not in memory before it does."""
_COPIED = 24 * _MIB
"""Bytes of its parent's memory that a worker comes to have a copy of, by looking at objects: the kernel does not count them as more."""
_TO_WORKERS = 8
"""One part in so many of what is left beside workers as they usually are is theirs too."""


@contextmanager
def within(limit: int) -> Iterator[None]:
    """Hold this process, and the workers that it starts meanwhile, to so many bytes of memory together.

    Raises:
        MemoryError: what the process has already leaves nothing to work with. Else whoever asks for too much meets it.
    """
    if not _bounded() or not _turn.acquire(blocking=False):
        yield
        return
    try:
        former, most = resource.getrlimit(resource.RLIMIT_DATA)
        own, data = _taken()
        bound = data + max(0, limit - _UNTOUCHED - own)
        if former != resource.RLIM_INFINITY:
            bound = min(bound, former)
        if limit - _UNTOUCHED - own + _free() < _LEAST:
            raise MemoryError
        resource.setrlimit(resource.RLIMIT_DATA, (bound, most))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (former, most))
    finally:
        _turn.release()


_turn = threading.RLock()
"""Of the thread that has the bound of this process."""


@contextmanager
def lent(workers: int, usual: int) -> Iterator[int | None]:
    """What each of so many workers may take for itself, in bytes: `usual` where there is as much, and a part of what is left.

    This process may take the less as long as they live. None where nothing is bounded.
    """
    left = _left()
    if left is None:
        yield None
        return
    spare = left - workers * usual
    share = usual + spare // (_TO_WORKERS * workers) if spare > 0 else left // (workers + 1)
    former = resource.getrlimit(resource.RLIMIT_DATA)
    take(workers * share)
    try:
        yield share
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, former)


def borrow(share: int | None) -> None:
    """Hold this process, a worker that was just forked, to its share."""
    if share is not None:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (_taken()[1] + max(share - _COPIED, 0), most))


def take(size: int) -> None:
    """Count bytes that are taken in a way which the kernel does not count as this process's own.

    Raises:
        MemoryError: they are not left.
    """
    left = _left()
    if left is not None:
        if left - size < _LEAST:
            raise MemoryError
        bound, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (bound - size, most))


def held() -> int:
    """Bytes of its own that this process has in memory; 0 where the system does not say."""
    return _taken()[0] if _bounded() else 0


def _left() -> int | None:
    """Bytes that this process may still take; None where nothing bounds them, or the bound is another thread's."""
    if not _bounded() or not _turn.acquire(blocking=False):
        return None
    _turn.release()
    bound = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return None if bound == resource.RLIM_INFINITY else bound - _taken()[1]


class _MallInfo(ctypes.Structure):
    # (ten numbers, of which the ninth is "fordblks")
    _fields_ = [(f"at_{number}", ctypes.c_size_t) for number in range(10)]


def _free() -> int:
    """Bytes in memory that are free for this process to use again: it keeps them (`workers.keep_freed_memory`)."""
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):  # another C library
        return 0
    ask.restype = _MallInfo
    return int(ask().at_8)


def _bounded() -> bool:
    return sys.platform == "linux"


def _taken() -> tuple[int, int]:
    """Bytes of its own that this process has in memory, and those that it may write to. Mapped files are none of either."""
    _, resident, shared, _, _, data, _ = map(int, Path("/proc/self/statm").read_text().split())
    return (resident - shared) * resource.getpagesize(), data * resource.getpagesize()
