"""Judge one window after another, an hour apart, and tell how many rows each merged.

python benchmarks/backfill.py MONITOR FIRST WINDOWS [apart]

In one process, as a script or a refresh does: hours stay in memory from window to window. Or `apart`, as Airflow's tasks do: merge
and analysis of each window in a process of its own, forked from one that has loaded the package, with memory that is taken anew
and nothing left of the window before but what stands on disk. The processor time of all processes is that of this one, less what
Airflow itself takes, and the loading of the package that each of its tasks does again.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_mq_provider import run
from airflow_mq_provider.engines.task import LoadedHours
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.window import Window, analysis_window

HOUR = timedelta(hours=1)


def main(path: Path, first: datetime, windows: int, *, apart: bool) -> list[int]:
    """The rows that each window merged."""
    monitor = ModelQualityMonitor.model_validate_json(path.read_text())
    offsets = monitor.input.start_time_offset, monitor.input.end_time_offset
    storage = run.storage_for(monitor)
    loaded: LoadedHours = {}
    merged = []
    for number in range(windows):
        at = first + number * HOUR
        window = analysis_window(at, *offsets, interval_start=at - HOUR, source="command_line")
        report = in_processes(monitor, window) if apart else run.run(monitor, window, storage=storage, loaded=loaded)
        merged.append(report["merge"]["matched"])
    return merged


def in_processes(monitor: ModelQualityMonitor, window: Window) -> dict[str, Any]:
    """Merge and analyze, each in a process of its own."""
    handover = in_a_process(lambda: run.merge(monitor, window))
    return in_a_process(lambda: run.analyze(monitor, window, handover=handover))


def in_a_process(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What comes of the work of a child."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        failed = True
        try:
            with open(there, "w") as answer:
                json.dump(work(), answer)
            failed = False
        finally:
            os._exit(failed)
    os.close(there)
    with open(here) as answer:
        told = answer.read()
    if os.waitpid(child, 0)[1]:
        sys.exit("a window failed")
    found: dict[str, Any] = json.loads(told)
    return found


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5) or sys.argv[4:] not in ([], ["apart"]):
        sys.exit(f"usage: {__doc__.splitlines()[2] if __doc__ else ''}")
    print(
        json.dumps(
            main(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), int(sys.argv[3]), apart=len(sys.argv) == 5)
        )
    )
