"""``python benchmarks/unit_costs.py``: what a listing and a write on S3 cost the process that makes them, into ``unit_costs.json``.

Against the stand-in of `s3_server`, a process of its own, so only the processor time of this side is in it. No byte goes over a network:
that costs time, and little of the processor's. Reads are measured by `at_scale`; the other figures of ``unit_costs.json`` say how they were.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from at_scale import stand_in
from measure import work_folder

UNIT_COSTS = Path(__file__).parent / "unit_costs.json"
OBJECTS = 1000
ROUNDS = 5


def cpu(work: Callable[[], Any]) -> float:
    """Seconds of the processor that this process spends on some work."""
    before = time.process_time()
    work()
    return time.process_time() - before


def main() -> int:
    """Measure, and write."""
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    root = Path(tempfile.mkdtemp(prefix="unit-costs-", dir=work_folder()))
    keys = [f"objects/{number:05d}" for number in range(OBJECTS)]
    try:
        (root / "bucket" / "objects").mkdir(parents=True)
        for key in keys:
            (root / "bucket" / key).write_bytes(b"x")
        with stand_in(root) as endpoint:
            found = requests(endpoint)
    finally:
        shutil.rmtree(root)
    costs = json.loads(UNIT_COSTS.read_text()) if UNIT_COSTS.exists() else {}
    what = {
        "list_cpu_ms": f"a listing of {OBJECTS} keys, which is one request",
        "put_cpu_ms": "a write of a byte, one at a time",
    }
    for name, rounds in found.items():
        how = f"benchmarks/unit_costs.py, processor time of the client, median of {ROUNDS}: {what[name]}"
        costs[name] = {"value": round(statistics.median(rounds), 2), "how": how}
        print(name, costs[name]["value"], [round(one, 2) for one in sorted(rounds)])
    UNIT_COSTS.write_text(json.dumps(costs, indent=2) + "\n")
    return 0


def requests(endpoint: str) -> dict[str, list[float]]:
    """Milliseconds of a listing and of a write."""
    from airflow_mq_provider.storage import Storage

    os.environ["AWS_ENDPOINT_URL"] = endpoint
    storage = Storage()
    storage.write("s3://bucket/first", b"x")  # which makes the client

    def listing() -> None:
        assert sum(1 for _ in storage.list("s3://bucket/objects")) == OBJECTS

    def writes() -> None:
        for number in range(100):
            storage.write(f"s3://bucket/written/{number}", b"x")

    return {
        "list_cpu_ms": [1000 * cpu(listing) for _ in range(ROUNDS)],
        "put_cpu_ms": [10 * cpu(writes) for _ in range(ROUNDS)],
    }


if __name__ == "__main__":
    sys.exit(main())
