"""Processes that share the work of one machine: forked once a run, they take what is to be done in turn.

Results come in the order of the work, so the number of workers changes nothing in what is made of them (rule O2). What
the first steps find and the later ones need comes to the workers as a `Later`, through memory that all of them map.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import multiprocessing
import os
import pickle
import select
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from airflow_mq_provider.engines.bounds import borrow, lent, take
from airflow_mq_provider.engines.memory import WORKER, processes_for
from airflow_mq_provider.engines.task import Unit
from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.s3_reads import will_not_fork

T = TypeVar("T")


def available_cores() -> int:
    """The processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: a function and the unit that it is given, and in which phase of the run that is."""

    phase: str
    function: Callable[[Unit], Any]
    unit: Unit


class Later(Generic[T]):
    """A value that this process makes while its workers are at work already.

    Columns of it lie in memory that the workers map, or in a file of the folder given: none of them has a copy, and they
    cannot change it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._value: tuple[T] | None = None
        self._file: IO[bytes] | None = None
        # A pipe that can be read as soon as the value is told, and that nobody reads. What has locks, as an Event, would let
        # this process wait for ever where a worker was killed that waited.
        self._told: tuple[int, int] | None = None

    def share(self) -> None:
        """Prepare to be told to processes that are forked from now on."""
        self._told = os.pipe()
        self._file = _unnamed_file(self._folder)

    def put(self, value: T) -> None:
        """Tell the value, once."""
        if self._file is None:
            self._value = (value,)
            return
        columns: list[pickle.PickleBuffer] = []
        head = pickle.dumps(value, protocol=5, buffer_callback=columns.append)
        if self._folder is None:  # the kernel counts it to nobody
            take(sum(column.raw().nbytes for column in columns))
        spans = []
        for column in columns:
            self._file.seek(-(-self._file.tell() // _ALIGNED) * _ALIGNED)
            start = self._file.tell()
            spans.append((start, self._file.write(column.raw())))
        end = self._file.tell()
        pickle.dump((spans, head), self._file)
        self._file.write(end.to_bytes(8, "little"))
        self._file.flush()
        self._tell()

    def here(self) -> bool:
        """Whether `get` would answer at once."""
        return self._value is not None or self._is_told(0)

    def get(self) -> T:
        """The value, when it is told."""
        if self._value is None:
            if self._file is None:
                raise RuntimeError("a value was asked for before it was made")
            self._is_told(None)
            data = memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))
            end = int.from_bytes(data[-8:], "little")
            spans, head = pickle.loads(data[end:-8])  # noqa: S301 - the parent wrote it
            self._value = (pickle.loads(head, buffers=[data[start : start + size] for start, size in spans]),)  # noqa: S301
        return self._value[0]

    def end(self) -> None:
        """Let go of what waits for a value that will not come, and of the memory. Workers keep what they mapped."""
        if self._file is not None and self._told is not None:
            self._tell()
            for end in self._told:
                os.close(end)
            self._file.close()

    def _tell(self) -> None:
        if self._told is not None:
            os.write(self._told[1], b"1")

    def _is_told(self, patience: int | None) -> bool:
        """Whether the value is told; None waits for it."""
        if self._told is None:
            return False
        waiting = select.poll()
        waiting.register(self._told[0], select.POLLIN)
        return bool(waiting.poll(patience))


_ALIGNED = 64


def _unnamed_file(folder: Path | None) -> IO[bytes]:
    """It ends with the last process that has it."""
    if folder is None and hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("model-quality"), "w+b")
    return tempfile.TemporaryFile(dir=folder)


def results(
    steps: Sequence[Step],
    later: Later[Any],
    *,
    workers: int | None,
    progress: Callable[[str, int, int], None] | None,
) -> Generator[Any, None, None]:
    """The results of all steps, in their order; in this process, or by forked workers with few steps under way.

    The functions are called in the order of the steps too, those of later phases while earlier results are taken: what
    they need of these comes by `later`. A memory limit of this process (`engines.bounds`) is theirs too, in shares:
    MemoryError where one is not enough. `progress` is told the phase, the bytes done and the bytes in all. Close it.
    """
    totals: dict[str, int] = {}
    for step in steps:
        totals[step.phase] = totals.get(step.phase, 0) + step.unit.size
    done = dict.fromkeys(totals, 0)

    def tell(step: Step) -> None:
        done[step.phase] += step.unit.size
        if progress is not None:
            progress(step.phase, done[step.phase], totals[step.phase])

    def finished(step: Step) -> Any:
        result = step.function(step.unit)
        tell(step)  # before it is taken: nobody asks again after the last one
        return result

    cores = processes_for(sum(totals.values()), min(workers or available_cores(), len(steps)))
    if cores < 2:
        for step in steps:
            yield finished(step)
        return
    with lent(cores, WORKER) as share:
        later.share()
        _steps[:] = steps
        pool = ProcessPoolExecutor(
            cores,
            mp_context=multiprocessing.get_context("fork"),
            initializer=_start_worker,
            initargs=(os.getpid(), share),
        )
        try:
            waiting: deque[tuple[Step, Future[Any]]] = deque()
            for number, step in enumerate(steps):
                with _workers_live(step):
                    future = pool.submit(_run_step, number)
                waiting.append((step, future))
                while len(waiting) > 2 * cores:
                    yield _result(waiting, tell)
            while waiting:
                yield _result(waiting, tell)
        finally:
            later.end()
            pool.shutdown(cancel_futures=True)
            _steps.clear()


_STACK = 1024 * 1024
"""Of a thread of a worker, which counts from its start: the eight that read from S3 would take more than half a share."""

_steps: list[Step] = []
"""What forked workers inherit: set before they are forked, so that nothing of it is copied or sent."""


def _run_step(number: int) -> Any:
    return _steps[number].function(_steps[number].unit)


def _result(waiting: deque[tuple[Step, Future[T]]], tell: Callable[[Step], None]) -> T:
    step, future = waiting.popleft()
    with _workers_live(step):
        result = future.result()
    take(0)  # the pool's own threads are to have some left
    tell(step)
    return result


@contextmanager
def _workers_live(step: Step) -> Iterator[None]:
    """Say in four parts that a worker was killed, wherever the pool says it."""
    try:
        yield
    except BrokenProcessPool as error:
        if "MemoryError" in str(error.__cause__):  # where a result was received
            raise MemoryError from error
        raise InputError(
            expected="worker processes that live until their work is done",
            came="one of them was killed",
            where=f"{step.unit.objects[0].uri} and what follows it",
            next_step="most often memory ran out: give the task more, or fewer workers; nothing was reported, run it again",
        ) from error


def _start_worker(parent: int, share: int | None) -> None:
    borrow(share)
    threading.stack_size(_STACK)
    gc.disable()  # for good: see `no_garbage_collection`
    keep_freed_memory()
    will_not_fork()
    _die_with_parent(parent)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Have Python look for no cycles of objects meanwhile, where it did.

    A listing and columns are none, and looking for some goes through all of Airflow each time: a quarter of a window's CPU.
    """
    if not gc.isenabled():  # one who has it so ends it
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def keep_freed_memory() -> None:
    """Have the columns that are freed in this process make room for those that follow.

    glibc hands large blocks back to the system at once: taking them anew, page by page, would cost a fifth of the time. And
    at a bound (`engines.bounds`) it looks for another arena before it takes what is free in the first one, each time anew.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)
        libc.mallopt(_M_ARENA_MAX, 1)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT = 64 * 1024 * 1024


def _die_with_parent(parent: int) -> None:
    """End this worker when its parent ends, however that happens: a killed task must leave no process behind.

    On Linux it ends with it: for the second that it takes to notice elsewhere, it may still write where the next run does.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


_PR_SET_PDEATHSIG = 1
