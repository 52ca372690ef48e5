"""Processes that are killed in the middle of what they do: at a chosen change of a disk, or at a chosen request to S3.

What is killed is a forked child with all its workers, by SIGKILL, as an executor, an out-of-memory killer or a machine that
goes away would do: nothing is cleaned up. Nothing waits for the clock, so a kill comes where it is asked for.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_mq_provider import storage as storage_room
from airflow_mq_provider.storage import Storage
from benchmarks.s3_server import S3, serving
from tests.loopback import S3Clients


class Disk:
    """Kills at a change of what lies below a folder: a file opened to be written, half written, renamed or removed, a folder
    made or removed."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.storage = Storage()

    def killed(self, work: Callable[[], object], at: int) -> bool:
        """Whether a child was killed right before its change of that number, or got its work done without so many."""

        def watched() -> None:
            seen = mmap.mmap(-1, 8)  # shared with the workers of the child

            def look(event: str, arguments: tuple[Any, ...]) -> None:
                if _changes(event, arguments) and os.fsdecode(arguments[0]).startswith(self.root):
                    number = int.from_bytes(seen[:], "little")
                    seen[:] = (number + 1).to_bytes(8, "little")
                    if number >= at:
                        kill_group()

            storage_room._write_new = _write_in_two_halves
            sys.addaudithook(look)
            work()

        return _killed(watched)


class LoopbackS3:
    """Kills at a request that changes something: it is carried out or not, in turn, and never answered."""

    def __init__(self, s3: S3, endpoint: str) -> None:
        self.root = "s3://bucket/root"
        self.storage = Storage(S3Clients(endpoint))
        self.storage.exists("s3://bucket/none")  # what a client is made of is read before there are children
        self._s3 = s3

    @classmethod
    @contextmanager
    def serving(cls) -> Iterator[LoopbackS3]:
        """One that serves until it is left."""
        s3 = S3()
        with serving(s3) as endpoint:
            yield cls(s3, endpoint)

    def killed(self, work: Callable[[], object], at: int) -> bool:
        """Whether a child was killed at its change of that number, or got its work done without so many."""
        seen = 0
        victim = 0

        def look(operation: str, key: str) -> str | None:
            nonlocal seen
            if operation in ("GetObject", "HeadObject", "ListObjectsV2"):
                return None
            seen += 1
            if seen <= at:
                return None
            os.killpg(victim, signal.SIGKILL)
            return "reset" if at % 2 else None

        def told(child: int) -> None:
            nonlocal victim
            victim = child

        self._s3.fault = look
        try:
            return _killed(work, told)
        finally:
            self._s3.fault = lambda *_: None


def kill_group() -> None:
    """Kill this child with all its workers."""
    os.killpg(0, signal.SIGKILL)


def state_of_process(pid: int) -> str:
    """The letter that the system has for what a process does: R where it runs, S where it waits, Z where it has ended."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _changes(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        return isinstance(arguments[0], str | bytes) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
    return event in ("half written", "os.rename", "os.remove", "os.mkdir", "os.rmdir")


def _write_in_two_halves(path: Path, data: bytes) -> None:
    with path.open("xb", buffering=0) as file:
        file.write(data[: len(data) // 2])
        sys.audit("half written", str(path))
        file.write(data[len(data) // 2 :])


def _killed(work: Callable[[], object], told: Callable[[int], None] = lambda _: None) -> bool:
    """Do the work in a forked child, the leader of a group: whether that was killed. Raises what the child raises, as text."""
    started, start = os.pipe()
    answer, answering = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            os.read(started, 1)
            work()
        except BaseException:  # noqa: BLE001 - whatever it is, the test shows it
            os.write(answering, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(0)
    told(child)
    os.write(start, b"1")
    _, status = os.waitpid(child, 0)
    for end in (started, start, answering):
        os.close(end)
    if os.WIFSIGNALED(status):
        # a worker that a signal has not reached yet may hold the other end
        os.close(answer)
        return True
    with os.fdopen(answer, "rb") as said:
        if text := said.read():
            raise AssertionError(text.decode())
    return False
