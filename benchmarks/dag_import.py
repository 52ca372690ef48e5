"""What importing a DAG file costs beyond the amazon provider's base classes: at most 0.1 s is the aim.

A fresh process imports Airflow's task SDK and those classes first, as the DAG file of any AWS operator does, and then reads one
of this package's DAG files, sensors and all. Only the second part counts, in CPU time, so that other processes on the machine
do not.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

DAG_FILE = Path(__file__).parents[1] / "dags" / "model_quality_with_sensors.py"
PROGRAM = f"""
import runpy, time
import airflow.sdk
from airflow.providers.amazon.aws.operators.base_aws import AwsBaseOperator
from airflow.providers.amazon.aws.sensors.base_aws import AwsBaseSensor
started = time.process_time()
made = runpy.run_path({str(DAG_FILE)!r})
took = time.process_time() - started
assert "analyze_quality" in made["dag"].task_ids
print(took)
"""


def beyond_amazon(rounds: int, environment: Mapping[str, str]) -> float:
    """Seconds of CPU that the DAG file takes: the median of so many processes, after one that fills caches."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    told = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()[-1]
        for _ in range(rounds + 1)
    ]
    return round(statistics.median(map(float, told[1:])), 3)
