"""``python benchmarks/spark_cost.py``: what a record costs on Spark, beside the local engine in the same minutes, into ``unit_costs.json``.

Spark runs on all cores of this machine, so what a cluster adds is not in it: a network, and executors that wait. Processor time and memory
are those of the whole process tree, the Java machine among it, looked at ten times a second. What Spark moves and keeps is what its own event
log says.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from generate import Truth, generate

from airflow_mq_provider.engines.task import ROWS_SUFFIX
from airflow_mq_provider.quality.states import BINARY, SAMPLES, SCORE_STEPS, MergedRows

UNIT_COSTS = Path(__file__).parent / "unit_costs.json"
FEW, MANY = 200, 400_000
BINS = 200
"""Parts in which Spark writes binned scores, by default."""
AGAIN = 4
"""Runs in one process, of which all but the first find a Spark that is warm."""
COMMAND = "import sys; from airflow_mq_provider import cli; sys.exit(max(cli.main(sys.argv[2:]) for _ in range(int(sys.argv[1]))))"
EVENT_LOG = """\
spark.eventLog.enabled true
spark.eventLog.compress false
spark.eventLog.logBlockUpdates.enabled true
spark.eventLog.dir file://{}
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """What runs took.

    Attributes:
        cpu: seconds of the processor.
        memory: the most megabytes (PSS) at a time.
        shuffled: bytes that Spark's shuffles wrote.
        kept: the most bytes of rows that Spark kept at a time, in memory and on disk.
    """

    cpu: float
    memory: float
    shuffled: int = 0
    kept: int = 0


def spent(truth: Truth, folder: Path, engine: str, runs: int = 1) -> Spent:
    """Judge the window so many times in one process."""
    events = folder / "events"
    events.mkdir(parents=True)
    (folder / "spark-defaults.conf").write_text(EVENT_LOG.format(events))
    monitor = folder / "monitor.json"
    monitor.write_text(json.dumps(truth.monitor | {"output_uri": str(folder / "reports")}))
    command = [sys.executable, "-c", COMMAND, str(runs), "run", str(monitor), "--engine", engine, "--json"]
    command += ["--at", f"{truth.at:%Y-%m-%dT%H:%M:%SZ}"]
    environment = os.environ | {"SPARK_CONF_DIR": str(folder)}
    cpu = memory = 0.0
    with (folder / "out").open("wb") as out, psutil.Popen(command, env=environment, stdout=out, stderr=out) as run:
        while run.poll() is None:
            now = held = 0.0
            for process in (run, *run.children(recursive=True)):
                try:
                    now += sum(process.cpu_times()[:4])
                    held += process.memory_full_info().pss
                except psutil.Error:  # it has ended since it was listed
                    continue
            cpu, memory = max(cpu, now), max(memory, held / 1e6)
            time.sleep(0.1)
    if run.returncode:
        raise SystemExit((folder / "out").read_text()[-3000:])
    return Spent(cpu, memory, *_moved(events))


def _moved(events: Path) -> tuple[int, int]:
    """Bytes that shuffles wrote, and the most that was kept, by Spark's event log."""
    shuffled = kept = 0
    blocks: dict[str, int] = defaultdict(int)
    for log in sorted(events.rglob("events_*")):
        for line in log.read_text().splitlines():
            event = json.loads(line)
            if event["Event"] == "SparkListenerTaskEnd":
                shuffled += event["Task Metrics"]["Shuffle Write Metrics"]["Shuffle Bytes Written"]
            elif event["Event"] == "SparkListenerBlockUpdated":
                block = event["Block Updated Info"]
                if block["Block ID"].startswith("rdd_"):
                    blocks[block["Block ID"]] = block["Memory Size"] + block["Disk Size"]
                    kept = max(kept, sum(blocks.values()))
            elif event["Event"] == "SparkListenerUnpersistRDD":
                of_it = f"rdd_{event['RDD ID']}_"
                blocks = defaultdict(int, {name: size for name, size in blocks.items() if not name.startswith(of_it)})
    return shuffled, kept


BINNED = """
import sys
from airflow_mq_provider.engines.task import count
from airflow_mq_provider.quality.documents import statistics
from airflow_mq_provider.quality.states import BINARY
from airflow_mq_provider.storage import Storage
statistics(BINARY, count(Storage(), sys.argv[1], BINARY), threshold=0.5, evaluation_time=None)
"""


def binned_megabytes(folder: Path) -> float:
    """The most that a process holds which analyzes binned scores, however many rows they stand for: each step, class and sample occurs."""
    folder.mkdir()
    kinds = np.random.default_rng(1).permutation(SCORE_STEPS * 2 << SAMPLES)
    for number, part in enumerate(np.array_split(kinds, BINS)):
        probability = (part % SCORE_STEPS + 0.5) / SCORE_STEPS
        flags, actual = ((part // SCORE_STEPS >> 1).astype(np.uint8), (part // SCORE_STEPS & 1).astype(np.uint8))
        weight = np.full(len(part), 24, np.int64)
        rows = MergedRows(BINARY, flags, actual, (probability > 0.5).astype(np.uint8), probability, weight=weight)
        (folder / f"part-{number:05d}-binned{ROWS_SUFFIX}").write_bytes(rows.to_bytes())
    process = subprocess.Popen([sys.executable, "-c", BINNED, str(folder)])
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the binned scores could not be analyzed")
    return used.ru_maxrss * 1024 / 1e6


def main() -> int:
    """Measure, and write."""
    shared = Path("/dev/shm")  # noqa: S108 - no disk is measured
    work = Path(tempfile.mkdtemp(prefix="spark-cost-", dir=shared if shared.is_dir() else None))
    try:
        few, many = (
            generate(work / f"data-{records}", records=records, seed=20261101, hours=hours)
            for records, hours in ((FEW, 4), (MANY, 24))
        )
        local = spent(few, work / "local-few", "local"), spent(many, work / "local-many", "local")
        spark = spent(few, work / "spark-few", "spark"), spent(many, work / "spark-many", "spark")
        again = spent(few, work / "spark-again", "spark", AGAIN)
        binned = binned_megabytes(work / "binned")
        for one in (*local, *spark, again, binned):
            print(one)
    finally:
        shutil.rmtree(work)
    a_record = [(of_many.cpu - of_few.cpu) / MANY for of_few, of_many in (local, spark)]
    how = f"benchmarks/spark_cost.py: local[{os.cpu_count()}], the whole process tree, {MANY:,} records against {FEW}"
    costs = json.loads(UNIT_COSTS.read_text())
    costs |= {
        name: {"value": value, "how": f"{how}: {told}"}
        for name, value, told in (
            (
                "spark_times_local",
                round(a_record[1] / a_record[0], 1),
                "processor time of a record, over the local engine's in the same minutes",
            ),
            ("spark_start_cpu_s", round(spark[0].cpu, 1), f"a run of {FEW} records"),
            (
                "spark_again_cpu_s",
                round((again.cpu - spark[0].cpu) / (AGAIN - 1), 1),
                f"each further run of {FEW} records in the same process, whose Spark stands",
            ),
            ("spark_memory_mb", round(spark[1].memory), "the most it held"),
            (
                "spark_shuffled_bytes",
                round((spark[1].shuffled - spark[0].shuffled) / MANY),
                "what shuffles wrote for a record, by Spark's event log",
            ),
            (
                "spark_kept_bytes",
                round((spark[1].kept - spark[0].kept) / MANY),
                "the most that Spark kept of a record at a time, by the same log",
            ),
        )
    }
    costs["binned_analysis_mb"] = {
        "value": round(binned),
        "how": "benchmarks/spark_cost.py: resident size of a process that analyzes binned scores of which every step, class and sample occurs",
    }
    UNIT_COSTS.write_text(json.dumps(costs, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
