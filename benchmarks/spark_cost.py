"""``python benchmarks/spark_cost.py``: what a record costs on Spark, beside the local engine in the same minutes, into ``unit_costs.json``.

Spark runs on all cores of this machine, so what a cluster adds is not in it: a network, and executors that wait. Processor time and memory
are those of the whole process tree, the Java machine among it, looked at ten times a second.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil
from generate import Truth, generate

UNIT_COSTS = Path(__file__).parent / "unit_costs.json"
FEW, MANY = 200, 400_000


def spent(truth: Truth, folder: Path, engine: str) -> tuple[float, float]:
    """Seconds of the processor and the most megabytes (PSS) that a run takes."""
    folder.mkdir()
    monitor = folder / "monitor.json"
    monitor.write_text(json.dumps(truth.monitor | {"output_uri": str(folder / "reports")}))
    command = [str(Path(sys.executable).with_name("model-quality")), "run", str(monitor), "--engine", engine, "--json"]
    command += ["--at", f"{truth.at:%Y-%m-%dT%H:%M:%SZ}"]
    cpu = memory = 0.0
    with (folder / "out").open("wb") as out, psutil.Popen(command, stdout=out, stderr=out) as run:
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
    return cpu, memory


def main() -> int:
    """Measure, and write."""
    shared = Path("/dev/shm")  # noqa: S108 - no disk is measured
    work = Path(tempfile.mkdtemp(prefix="spark-cost-", dir=shared if shared.is_dir() else None))
    try:
        found = {}
        for records in (FEW, MANY):
            truth = generate(
                work / f"data-{records}", records=records, seed=20261101, hours=4 if records == FEW else 24
            )
            for engine in ("local", "spark"):
                found[engine, records] = spent(truth, work / f"{engine}-{records}", engine)
                print(engine, records, *(round(one, 1) for one in found[engine, records]))
    finally:
        shutil.rmtree(work)
    times = {name: (found[name, MANY][0] - found[name, FEW][0]) / MANY for name in ("local", "spark")}
    how = f"benchmarks/spark_cost.py: local[{os.cpu_count()}], the whole process tree, {MANY:,} records against {FEW}"
    costs = json.loads(UNIT_COSTS.read_text())
    costs |= {
        "spark_times_local": {
            "value": round(times["spark"] / times["local"], 1),
            "how": f"{how}: processor time of a record, over the local engine's in the same minutes",
        },
        "spark_start_cpu_s": {"value": round(found["spark", FEW][0], 1), "how": f"{how}: a run of {FEW} records"},
        "spark_memory_mb": {"value": round(found["spark", MANY][1]), "how": f"{how}: the most it held"},
    }
    UNIT_COSTS.write_text(json.dumps(costs, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
