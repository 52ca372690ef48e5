"""``python benchmarks/scale.py``: the tables of docs/scale.md, computed from what was measured, and written there between their marks.

Two hours are computed: one model with a hundred million captures, and ten thousand models that share as many. Nothing here is
measured at that size; each figure is a unit cost of ``results.json``, ``at_scale.json`` or ``unit_costs.json``, times how often it is paid.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from airflow_mq_provider.engines import memory
from airflow_mq_provider.engines.spark import MOST_SCORES

HERE = Path(__file__).resolve().parent
UNIT_COSTS = HERE / "unit_costs.json"
PAGE = HERE.parent / "docs" / "scale.md"
CAPTURES = 100_000_000
MONITORS = 10_000
HOUR = 3600
SOON = 900
"""Seconds in which the hour of one model is to be judged: a quarter of it."""
LISTED = 1000
"""Keys in one answer of S3."""
UNIT = 16 * 2**20
"""Bytes of captures that make one part of the merged rows (`engines.task.UNIT`)."""
MAPPED = 1024
"""Elements that Airflow maps a task over by default."""
BINS = 200
"""Parts in which Spark writes binned scores: its own default for what a shuffle gives."""
EXECUTOR = 4
"""Cores of an executor, as EMR and Glue have them by default."""
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured, in seconds of one core, bytes and counts.

    Attributes:
        record: of reading, joining and judging one captured record with its label, without S3.
        record_bytes: of one record and its label, as captured.
        object_bytes: of one object.
        get: of reading one object by boto3.
        get_by_obstore: the same by obstore.
        put: of writing one.
        listing: of one answer of a listing.
        requests: of one monitor beside those of its data, by operation, two tasks together.
        task: of starting and ending one task, Airflow's own parts but the scheduler, and what a run takes whatever its size.
        scheduler: of the scheduler, for each task.
        task_memory: bytes of a task's process.
        database: bytes of Airflow's database for each monitor that is judged.
        spark_times: how many times a record's cost on the local engine is its cost on Spark.
        spark_start: of a run on Spark, whatever its size, where it starts a Spark of its own.
        spark_again: the same, on a Spark that stands.
        spark_shuffled: bytes that Spark's shuffles write for a record.
        spark_kept: bytes that Spark keeps of a record until the merge is done.
        binned: bytes of a process that analyzes binned scores.
    """

    record: float
    record_bytes: float
    object_bytes: float
    get: float
    get_by_obstore: float
    put: float
    listing: float
    requests: dict[str, int]
    task: float
    scheduler: float
    task_memory: float
    database: float
    spark_times: float
    spark_start: float
    spark_again: float
    spark_shuffled: float
    spark_kept: float
    binned: float


def costs() -> Costs:
    """What was measured."""
    bench = json.loads((HERE / "results.json").read_text())
    unit = {name: one["value"] for name, one in json.loads(UNIT_COSTS.read_text()).items()}
    reads = json.loads((HERE / "at_scale.json").read_text())["objects"]["read_cpu_ms"]
    records, rows = bench["records"], bench["rows"]
    whole, small = rows[f"model-quality run, {records:,} records"], rows["model-quality run, 200 records"]
    return Costs(
        record=(whole["cpu_s"] - small["cpu_s"]) / records,
        record_bytes=bench["bytes"] / records,
        object_bytes=bench["bytes"] / bench["files"],
        get=reads["boto3"] / 1000,
        get_by_obstore=reads["obstore"] / 1000,
        put=unit["put_cpu_ms"] / 1000,
        listing=unit["list_cpu_ms"] / 1000,
        requests=unit["requests_of_a_monitor"],
        task=unit["task_cpu_s"],
        scheduler=unit["scheduler_cpu_s"],
        task_memory=unit["task_memory_mb"] * MEGABYTE,
        database=unit["database_bytes_of_a_monitor"],
        spark_times=unit["spark_times_local"],
        spark_start=unit["spark_start_cpu_s"],
        spark_again=unit["spark_again_cpu_s"],
        spark_shuffled=unit["spark_shuffled_bytes"],
        spark_kept=unit["spark_kept_bytes"],
        binned=unit["binned_analysis_mb"] * MEGABYTE,
    )


def one_model(given: Costs) -> list[tuple[str, ...]]:
    """What one model's hour costs: on the local engine, in one task on one worker; on Spark, whose analysis is a task like that."""
    size = CAPTURES * given.record_bytes
    objects = math.ceil(size / given.object_bytes)
    parts = math.ceil(size / UNIT)
    listings = math.ceil(objects / LISTED)
    reading = objects * given.get + listings * given.listing
    by_obstore = objects * given.get_by_obstore + listings * given.listing
    asked = objects + listings + 2 * parts + sum(given.requests.values())
    # parts of so many rows are read once more and replaced by binned ones
    binning = 2 * math.ceil(parts / LISTED) + 2 * BINS if CAPTURES > MOST_SCORES else 0
    writing = 2 * parts * given.put
    local = CAPTURES * given.record + writing
    spark = CAPTURES * given.record * given.spark_times + writing + binning * given.put + given.spark_start
    spark_cores = math.ceil((reading + spark) / SOON)
    # the engine's own estimate, by which it decides
    in_memory = CAPTURES * max(memory._LABEL, memory._LABEL // 2 + memory._ROW)
    on_disk = CAPTURES * (memory._LABEL_ON_DISK + memory._ROW)
    analysis = given.binned if CAPTURES > MOST_SCORES else CAPTURES * memory._ROW

    def both(name: str, figure: str) -> tuple[str, str, str]:
        return name, figure, figure

    return [
        both("objects read", f"{objects:,} of {given.object_bytes / 1000:.0f} KB, {size / 1e9:.0f} GB"),
        ("requests of S3", f"{asked:,}", f"{asked + binning:,}"),
        (
            "processor time of reading S3",
            f"{_time(reading)}; {_time(by_obstore)} with the extra `obstore`",
            _time(reading),
        ),
        ("processor time of merge and analysis", _time(local), _time(spark)),
        (
            f"cores, to end in {SOON // 60} minutes",
            f"{math.ceil((reading + local) / SOON)}; {math.ceil((by_obstore + local) / SOON)} with `obstore`",
            f"{spark_cores}",
        ),
        (
            "memory of the worker",
            f"{in_memory / 1e9:.1f} GB; {on_disk / 1e9:.1f} GB with labels in order on disk",
            f"{analysis / 1e9:.1f} GB for the analysis, of binned scores",
        ),
        (
            "memory of each core beside it",
            f"{memory.WORKER / MEGABYTE:.0f} MB",
            "as executors are made, some 100 MB of it here",
        ),
        (
            "kept by Spark until the merge is done, in memory or on disk",
            "–",
            f"{CAPTURES * given.spark_kept / 1e9:.0f} GB",
        ),
        (
            "written by Spark's shuffles, to the executors' disks",
            "–",
            f"{CAPTURES * given.spark_shuffled / 1e9:.0f} GB",
        ),
        both("network, of S3", f"{8 * size / SOON / 1e9:.2f} Gbit/s for those {SOON // 60} minutes"),
        ("workers", "1", f"1, and {math.ceil(spark_cores / EXECUTOR)} executors of {EXECUTOR} cores"),
    ]


def many_models(given: Costs, *, tasks: int) -> list[tuple[str, ...]]:
    """What an hour of many models costs as fleets, each monitor so many tasks, one process each."""
    each = CAPTURES // MONITORS
    size = each * given.record_bytes
    objects = math.ceil(size / given.object_bytes)
    asked = sum(given.requests.values())
    starting = MONITORS * tasks * given.task
    # one process reads by boto3; a listing of few keys costs what another request does
    requests = MONITORS * (objects * given.get + asked * given.put)
    work = CAPTURES * given.record
    busy = (starting + requests + work) / HOUR
    schedulers = MONITORS * tasks * given.scheduler / HOUR
    needed = given.task_memory + each * max(memory._LABEL, memory._LABEL // 2 + memory._ROW)
    return [
        ("folders, each with a DAG", f"{math.ceil(MONITORS / MAPPED)}"),
        (
            "objects read",
            f"{MONITORS * objects:,} of at most {given.object_bytes / 1000:.0f} KB, {MONITORS * size / 1e9:.0f} GB",
        ),
        ("requests of S3", f"{MONITORS * (objects + asked):,}, {MONITORS * asked:,} of them not of the data"),
        ("tasks", f"{MONITORS * tasks:,}, {MONITORS * tasks / HOUR:.1f} a second"),
        ("processor time of starting tasks", _time(starting)),
        ("processor time of S3", _time(requests)),
        ("processor time of merge and analysis", _time(work)),
        ("cores of workers that are busy all the hour", f"{math.ceil(busy)}"),
        ("memory of these, a task on each", f"{math.ceil(busy) * needed / 1e9:.1f} GB"),
        ("cores of schedulers that are busy all the hour", f"{schedulers:.1f}"),
        ("processor time of merges on Spark instead, one that each starts", _time(MONITORS * given.spark_start)),
        ("processor time of merges on Spark instead, one that stands", _time(MONITORS * given.spark_again)),
        (
            "growth of Airflow's database",
            f"{MONITORS * given.database / MEGABYTE:.0f} MB an hour, {MONITORS * given.database * 24 / 1e9:.1f} GB a day",
        ),
    ]


def tables() -> dict[str, str]:
    """The tables of the page, by the names of their marks."""
    given = costs()
    unit = json.loads(UNIT_COSTS.read_text())
    one = one_model(given)
    two, single = many_models(given, tasks=2), many_models(given, tasks=1)
    return {
        "one model": _table(("", "local engine", "Spark"), one),
        "many models": _table(
            ("", "two tasks a monitor", "`merge_apart=False`"),
            [(name, figure, other[1]) for (name, figure), other in zip(two, single, strict=True)],
        ),
        "unit costs": _table(
            ("unit", "cost", "measured by"),
            [
                ("a record", f"{1e6 * given.record:.1f} µs of one core", "results.json, 1,000,000 records less 200"),
                (
                    "a label in memory, on disk",
                    f"{memory._LABEL}, {memory._LABEL_ON_DISK} bytes",
                    "engines/memory.py, by which the engine decides",
                ),
                ("a merged row with a probability", f"{memory._ROW} bytes", "the same"),
                (
                    "a read from S3",
                    f"{1000 * given.get:.2f} ms of one core; {1000 * given.get_by_obstore:.2f} ms by obstore",
                    "at_scale.json, about 50 KB each",
                ),
                *((name, _value(found["value"]), found["how"]) for name, found in unit.items()),
            ],
        ),
    }


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items())
    return str(value)


def _time(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds < 3 * HOUR else f"{seconds / HOUR:,.1f} h"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def written(page: str) -> str:
    """The page with the tables between their marks."""
    for name, table in tables().items():
        start, end = f"<!-- table: {name} -->\n", "<!-- end -->\n"
        found = re.findall(f"{start}.*?{end}", page, flags=re.DOTALL)
        if len(found) != 1:
            raise SystemExit(
                f"expected one table {name!r}; came {len(found)}; where: {PAGE.name}; next: put its marks there"
            )
        page = page.replace(found[0], start + table + end)
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
