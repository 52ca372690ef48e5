"""Processes measured: their wall time, processor time and memory. What the benchmarks share."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

SAMPLED_EVERY = 0.02


@dataclass
class Row:
    """One thing that is measured: a command that is made anew for each round, and what came of it."""

    name: str
    command: Callable[[Path], list[str]]
    check: Callable[[Path], None]
    """Told the folder of the round, whose ``answer`` holds what was printed; raises where the result is not the truth."""
    rounds: int
    warm: Row | None = None
    """What fills caches for it before it is measured; itself, unless given."""
    environment: Mapping[str, str] = field(default_factory=dict)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    pss: list[float] = field(default_factory=list)
    anonymous: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Medians, and the spread of the wall times."""
        found = {
            "wall_s": round(statistics.median(self.wall), 3),
            "wall_min_s": round(min(self.wall), 3),
            "wall_max_s": round(max(self.wall), 3),
            "cpu_s": round(statistics.median(self.cpu), 3),
            "rounds": len(self.wall),
        }
        if self.pss:
            found["peak_pss_mb"] = round(statistics.median(self.pss), 1)
            found["peak_anonymous_mb"] = round(statistics.median(self.anonymous), 1)
        return found


def interleaved(rows: list[Row], work: Path, *, memory_rounds: int) -> None:
    """Measure all rows in turn, round by round, so that a busy machine slows all alike; then their memory.

    Looking at memory costs the looked-at time, so it is looked at in rounds of its own.
    """
    for row in rows:
        once(row.warm or Row(row.name, row.command, row.check, 1, environment=row.environment), work, watch=False)
    rounds = max(row.rounds for row in rows)
    for number in range(rounds):
        taking_part = [row for row in rows if number < row.rounds]
        for row in taking_part:
            once(row, work, watch=False)
        tell(f"round {number + 1} of {rounds}: " + ", ".join(f"{row.name} {row.wall[-1]:.2f} s" for row in taking_part))
    for number in range(memory_rounds):
        for row in rows:
            if number == 0 or row.rounds == rounds:
                once(row, work, watch=True)


def once(row: Row, work: Path, *, watch: bool) -> None:
    """One process of one row in a fresh folder: its times, or where `watch` its memory."""
    folder = work / "round"
    folder.mkdir()
    command = row.command(folder)
    with (folder / "answer").open("wb") as answer:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=answer, env={**environment(work), **row.environment})
        peak = Peak(process.pid) if watch else None
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if peak is not None:
        pss, anonymous = peak.end()
        row.pss.append(pss / 1e6)
        row.anonymous.append(anonymous / 1e6)
    else:
        row.wall.append(wall)
        # of the process and of every child that it waited for
        row.cpu.append(usage.ru_utime + usage.ru_stime)
    if process.returncode != 0:
        raise SystemExit(f"exit code {process.returncode} of {' '.join(command)}")
    row.check(folder)
    shutil.rmtree(folder)


def environment(work: Path) -> dict[str, str]:
    """As users have it: compiled modules are kept, here beside the data; the first, unmeasured pass fills them."""
    changed = {"PYTHONPYCACHEPREFIX": str(work / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    return {**os.environ, **changed}


class Peak:
    """The highest sum, over a process and all that descend from it, of the memory that is theirs.

    PSS shares a page among the processes that map it, so forked workers are not counted twice.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._peak = (0, 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.is_set():
            pss = anonymous = 0
            try:
                family = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for one in family:
                found = rollup(one.pid)
                pss += found.get("Pss", 0)
                anonymous += found.get("Pss_Anon", 0)
            self._peak = (max(self._peak[0], pss), max(self._peak[1], anonymous))
            self._ended.wait(SAMPLED_EVERY)

    def end(self) -> tuple[int, int]:
        """The peaks in bytes: PSS, and its anonymous part."""
        self._ended.set()
        self._thread.join()
        return self._peak


def rollup(pid: int) -> dict[str, int]:
    """The kernel's summary of a process's memory in bytes, by name; nothing of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: int(amount.split()[0]) * 1024 for name, _, amount in (line.partition(":") for line in lines)}


def machine(*packages: str) -> dict[str, Any]:
    """What decides the figures; nothing that names the machine."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        **{name: version(name) for name in ("airflow-mq-provider", *packages)},
    }


def work_folder() -> Path:
    """Where to look for room: in memory, so that figures are those of processor and memory, not of a disk."""
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder of its own in it
    return memory if memory.is_dir() else Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108


def tell(message: str) -> None:
    """Progress, on standard error."""
    print(message, file=sys.stderr, flush=True)
