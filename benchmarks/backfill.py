"""Judge one window after another in one process, an hour apart, as a backfill by one worker does.

python benchmarks/backfill.py MONITOR FIRST WINDOWS
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path

from airflow_mq_provider import run
from airflow_mq_provider.engines.task import LoadedHours
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.window import analysis_window

HOUR = timedelta(hours=1)


def main(path: Path, first: datetime, windows: int) -> list[int]:
    """The rows that each window merged."""
    monitor = ModelQualityMonitor.model_validate_json(path.read_text())
    offsets = monitor.input.start_time_offset, monitor.input.end_time_offset
    storage = run.storage_for(monitor)
    loaded: LoadedHours = {}
    merged = []
    for number in range(windows):
        at = first + number * HOUR
        window = analysis_window(at, *offsets, interval_start=at - HOUR, source="command_line")
        merged.append(run.run(monitor, window, storage=storage, loaded=loaded)["merge"]["matched"])
    return merged


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python benchmarks/backfill.py MONITOR FIRST WINDOWS")
    print(json.dumps(main(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), int(sys.argv[3]))))
