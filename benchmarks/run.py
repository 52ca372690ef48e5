"""Measure the whole job against copying the same bytes, in one interleaved run: ``make bench``.

Every row is a process of its own, from its start to its end, measured alternately with the others, so that a busy
machine slows all alike. Wall and CPU are medians over the rounds; memory is sampled in rounds of its own, since looking
costs the looked-at time. Data and results lie in memory (``/dev/shm`` where there is one): figures are CPU and memory,
not disk. A report that is not the generator's truth ends the benchmark: a fast wrong answer is none.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from dag_import import beyond_amazon
from generate import Truth, generate

HERE = Path(__file__).parent
SAMPLED_EVERY = 0.02
SMALL = 200


@dataclass
class Row:
    """One thing that is measured: a command that is made anew for each round, and what came of it."""

    name: str
    command: Callable[[Path], list[str]]
    check: Callable[[Path], None]
    """Told the folder of the round; raises where the result is not the truth."""
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    pss: list[float] = field(default_factory=list)
    anonymous: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Medians, and the spread of the wall times."""
        return {
            "wall_s": round(statistics.median(self.wall), 3),
            "wall_min_s": round(min(self.wall), 3),
            "wall_max_s": round(max(self.wall), 3),
            "cpu_s": round(statistics.median(self.cpu), 3),
            "peak_pss_mb": round(statistics.median(self.pss), 1),
            "peak_anonymous_mb": round(statistics.median(self.anonymous), 1),
        }


def main() -> int:
    """Measure, print the table, write ``results.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5, help="of each time; memory takes 3 (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=20261101)
    parser.add_argument("--workers", type=int, help="processes of the local engine (default: all cores)")
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    given = parser.parse_args()
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder of its own in it
    work = Path(tempfile.mkdtemp(prefix="model-quality-bench-", dir=memory if memory.is_dir() else None))
    try:
        results = measure(work, given.records, given.rounds, given.seed, given.workers)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    given.results.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))
    return 0


def measure(work: Path, records: int, rounds: int, seed: int, workers: int | None) -> dict[str, Any]:
    """Generate the data, run every row in every round, and gather the figures."""
    started = time.perf_counter()
    data = generate(work / "data", records=records, seed=seed, settings={"keep_merged": "jsonl"})
    small = generate(work / "small", records=SMALL, seed=seed, hours=4)
    tell(f"generated {data.files:,} files, {data.size / 1e6:,.0f} MB in {time.perf_counter() - started:.0f} s")

    def run(truth: Truth) -> Callable[[Path], list[str]]:
        return lambda folder: judge(truth, folder, workers)

    rows = [
        Row(
            "copy",
            lambda folder: [sys.executable, str(HERE / "floors.py"), "copy", str(data.root), str(folder / "copy")],
            copied(data),
        ),
        Row(f"model-quality run, {records:,} records", run(data), judged(data)),
        Row("python -c pass", lambda _: [sys.executable, "-c", "pass"], lambda _: None),
        Row(f"model-quality run, {SMALL} records", run(small), judged(small)),
    ]
    for row in rows:  # the first pass fills caches; its figures are thrown away
        once(row, work, watch=False)
        row.wall.clear()
        row.cpu.clear()
    for number in range(rounds):
        for row in rows:
            once(row, work, watch=False)
        tell(f"round {number + 1} of {rounds}: " + ", ".join(f"{row.wall[-1]:.2f} s" for row in rows))
    for _ in range(min(3, rounds)):
        for row in rows:
            once(row, work, watch=True)
    return {
        "machine": machine(),
        "records": records,
        "files": data.files,
        "bytes": data.size,
        "rounds": rounds,
        "seed": seed,
        "load_average": round(os.getloadavg()[0], 2),
        "rows": {row.name: row.figures() for row in rows},
        "dag_import_cpu_s": beyond_amazon(rounds, environment(work) | {"AIRFLOW_HOME": str(work / "airflow")}),
        "times_copy": {
            row.name: round(statistics.median(row.wall) / statistics.median(rows[0].wall), 2) for row in rows[:2]
        },
    }


def judge(truth: Truth, folder: Path, workers: int | None) -> list[str]:
    """The command line of a run that reports below `folder`; its monitor is written there."""
    monitor = folder / "monitor.json"
    monitor.write_text(json.dumps(truth.monitor | {"output_uri": str(folder / "reports")}))
    # the command that users call, from the environment that runs this
    command = [str(Path(sys.executable).with_name("model-quality")), "run", str(monitor)]
    command += ["--at", f"{truth.at:%Y-%m-%dT%H:%M:%SZ}", "--json"]
    return command + (["--workers", str(workers)] if workers else [])


def copied(truth: Truth) -> Callable[[Path], None]:
    """The check of the floor: as many bytes as the captures have."""
    size = sum(path.stat().st_size for path in (truth.root / "capture").rglob("*") if path.is_file())

    def check(folder: Path) -> None:
        if (folder / "copy").stat().st_size != size:
            raise SystemExit("the floor did not copy the captures")

    return check


def judged(truth: Truth) -> Callable[[Path], None]:
    """The check of a run: its counters and its confusion matrix are the generator's."""

    def check(folder: Path) -> None:
        report = json.loads((folder / "answer").read_text())
        for block, wanted in truth.counts.items():
            found = {name: report[block][name] for name in wanted}
            if found != wanted:
                raise SystemExit(f"{block} is wrong: expected {wanted}, came {found}")
        if report["metrics"]["confusion_matrix"] != truth.confusion:
            raise SystemExit(f"the confusion matrix is wrong: {report['metrics']['confusion_matrix']}")

    return check


def once(row: Row, work: Path, *, watch: bool) -> None:
    """One process of one row in a fresh folder: its times, or where `watch` its memory."""
    folder = work / "round"
    folder.mkdir()
    command = row.command(folder)
    with (folder / "answer").open("wb") as answer:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=answer, env=environment(work))
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


def machine() -> dict[str, Any]:
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
        **{name: version(name) for name in ("airflow-mq-provider", "msgspec", "numpy")},
    }


def table(results: dict[str, Any]) -> str:
    """The figures as a table in Markdown."""
    about = results["machine"]
    lines = [
        f"{results['records']:,} records in {results['files']:,} files, {results['bytes'] / 1e6:,.0f} MB; {about['cores']} cores "
        f"({about['cpu']}), Python {about['python']}; medians of {results['rounds']}",
        "",
        "| process | wall s | min – max | × copy | CPU s | peak MB (PSS) | of it anonymous |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results["rows"].items():
        ratio = results["times_copy"].get(name, "")
        lines.append(
            f"| {name} | {row['wall_s']:.2f} | {row['wall_min_s']:.2f} – {row['wall_max_s']:.2f} | {ratio} | {row['cpu_s']:.2f} "
            f"| {row['peak_pss_mb']:.0f} | {row['peak_anonymous_mb']:.0f} |"
        )
    lines += [
        "",
        f"A DAG file takes {results['dag_import_cpu_s']:.3f} s of CPU to import, after the amazon provider's bases.",
    ]
    return "\n".join(lines)


def tell(message: str) -> None:
    """Progress, on standard error."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
