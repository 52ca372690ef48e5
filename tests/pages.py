"""Reports of every kind, made by real runs: what the tests of the page look at."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow_mq_provider import report_folder, run, run_on_sagemaker
from airflow_mq_provider.report_folder import STATISTICS, VIOLATIONS
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import AsOf
from tests.world import T, World, capture_line, label_line

HOSTILE = "\"'><script>window.hit=1</script><img src=http://203.0.113.1/x onerror=window.hit=1>${7*7}{{7*7}}</style></title>&\\u202e"
"""What should do nothing, in data: markup for every place that text can stand in."""
LONG = "W" * 3000
MARKS = "Z" + "\u0301" * 500
TURNED = "\u202eabc\u2066\x00\x1b[31m"


def constraints(world: World, block: str, **limits: tuple[float, str]) -> None:
    document = {
        "version": 0.0,
        block: {
            name: {"threshold": threshold, "comparison_operator": operator}
            for name, (threshold, operator) in limits.items()
        },
    }
    world.put("constraints.json", json.dumps(document).encode())
    world.settings["constraints_uri"] = join(world.root, "constraints.json")


def csv(*cells: str) -> str:
    """A line of CSV in which each cell is quoted."""
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)


def binary(world: World) -> None:
    """300 records with probabilities, most of them right; three constraints, two of them violated; broken lines."""
    draw = random.Random(1)
    rows = [(f"id{number}", draw.betavariate(2, 2)) for number in range(300)]
    labels = [(id, int(draw.random() < probability)) for id, probability in rows]
    world.captures(*[capture_line(id, f"{probability:.4f}") for id, probability in rows], b"broken", b"{}")
    world.labels(*[label_line(id, str(label)) for id, label in labels[:280]], label_line("id290", "maybe"))
    constraints(
        world,
        "binary_classification_constraints",
        recall=(0.9, "LessThanThreshold"),
        auc=(0.5, "LessThanThreshold"),
        false_positive_rate=(0.05, "GreaterThanThreshold"),
    )


def labels_alone(world: World) -> None:
    """A binary problem whose predicted label was captured and no probability; one constraint has nothing to judge."""
    world.settings["endpoint"] = {"inference_attribute": "0", "probability_attribute": None}
    world.captures(*[capture_line(f"id{number}", str(number % 2)) for number in range(20)])
    world.labels(*[label_line(f"id{number}", str(number % 4 // 2)) for number in range(20)])
    constraints(
        world,
        "binary_classification_constraints",
        accuracy=(0.4, "LessThanThreshold"),
        auc=(0.5, "LessThanThreshold"),
    )


def segments(world: World) -> None:
    """A binary problem in forty segments, a hundred captures without one, and a few that are small."""
    draw = random.Random(4)
    binary(world)
    world.settings |= {"segments": {"input_attribute": 0}, "min_records": 20}
    rows = [(f"s{number}", f"country {draw.randrange(40)}" if number % 10 else "") for number in range(4000)]
    world.captures(
        *[capture_line(id, f"{draw.betavariate(2, 2):.3f}", given=csv(country)) for id, country in rows], name="b.jsonl"
    )
    world.labels(*[label_line(id, str(draw.randrange(2))) for id, _ in rows], name="b.jsonl")


def multiclass(world: World) -> None:
    """Twenty classes, some of them mixed up."""
    draw = random.Random(2)
    world.settings["problem_type"] = "MulticlassClassification"
    world.settings["endpoint"] = {"inference_attribute": "0", "probability_attribute": None}
    names = [f"class {number}" for number in range(20)]
    actual = [names[min(int(draw.expovariate(0.3)), 19)] for _ in range(400)]
    found = [name if draw.random() < 0.8 else draw.choice(names) for name in actual]
    world.captures(*[capture_line(f"id{number}", csv(name)) for number, name in enumerate(found)])
    world.labels(*[label_line(f"id{number}", csv(name)) for number, name in enumerate(actual)])
    constraints(world, "multiclass_classification_constraints", accuracy=(0.5, "LessThanThreshold"))


def regression(world: World) -> None:
    """Five hundred numbers, predicted too low by ten on the average, and a far outlier."""
    draw = random.Random(3)
    world.settings["problem_type"] = "Regression"
    world.settings["endpoint"] = {"inference_attribute": "0", "probability_attribute": None}
    actual = [draw.gauss(100, 30) for _ in range(500)]
    found = [value - 10 + draw.gauss(0, 12) for value in actual]
    found[17] = 4000.0
    world.captures(*[capture_line(f"id{number}", repr(value)) for number, value in enumerate(found)])
    world.labels(*[label_line(f"id{number}", repr(value)) for number, value in enumerate(actual)])
    constraints(world, "regression_constraints", mae=(5.0, "GreaterThanThreshold"), r2=(0.9, "LessThanThreshold"))


def not_judged(world: World) -> None:
    """Captures, and no label yet."""
    binary(world)
    world.storage.delete([one.uri for one in world.storage.list(join(world.root, "labels"))])


def few(world: World) -> None:
    """Rows that are analyzed and not judged: fewer than min_records."""
    binary(world)
    world.settings["min_records"] = 1000


def hostile(world: World) -> None:
    """Every text that data can bring into a report, hostile, long or without form."""
    names = [HOSTILE, LONG, MARKS, TURNED, "ا" * 60, "a", "b"]
    multiclass(world)
    found = [names[number % len(names)] for number in range(300)]
    actual = [names[number % 6] for number in range(300)]
    world.settings["segments"] = {"input_attribute": 0}
    world.captures(
        *[capture_line(f"{HOSTILE}{number}", csv(name), given=csv(name[:250])) for number, name in enumerate(found)],
        name="a.jsonl",
    )
    world.labels(
        *[label_line(f"{HOSTILE}{number}", csv(name)) for number, name in enumerate(actual)],
        *[json.dumps({"eventMetadata": {"eventId": HOSTILE}, "groundTruthData": {"data": HOSTILE, "encoding": other}}).encode() for other in (HOSTILE, LONG, MARKS, TURNED)],
    )  # fmt: skip
    world.labels(b"{", hour=T - timedelta(hours=1), name="<script>hit=1</script>'\"&.jsonl")


def hostile_settings(world: World) -> None:
    """The same in what the monitor itself says: labels and URIs, as far as a monitor takes them."""
    world.settings["endpoint"] = {"inference_attribute": "0", "probability_attribute": None}
    world.settings["positive_label"] = HOSTILE
    world.settings["negative_label"] = LONG[:200]
    world.captures(*[capture_line(f"id{number}", csv(HOSTILE)) for number in range(9)])
    world.labels(*[label_line(f"id{number}", csv(HOSTILE if number % 2 else LONG[:200])) for number in range(9)])
    constraints(world, "binary_classification_constraints", accuracy=(0.9, "LessThanThreshold"))


def of_jobs(world: World) -> None:
    """The binary one, merged and judged by SageMaker's jobs."""
    binary(world)


def of_the_analyzer(world: World) -> None:
    """The binary one, merged here and judged by SageMaker's analyzer."""
    binary(world)


def of_no_job(world: World) -> None:
    """Captures and no label yet, on SageMaker's compute: no job was started."""
    not_judged(world)


KINDS: dict[str, Callable[[World], Any]] = {
    made.__name__: made
    for made in (
        binary,
        labels_alone,
        segments,
        multiclass,
        regression,
        not_judged,
        few,
        hostile,
        hostile_settings,
        of_jobs,
        of_the_analyzer,
        of_no_job,
    )
}
ON_SAGEMAKER = ("of_jobs", "of_the_analyzer", "of_no_job")
MERGE_JOB, ANALYSIS_JOB = "churn-quality-merge-202611021200-0123abcd", "churn-quality-analysis-202611021200-0123abcd"
EXIT_MESSAGE = "CompletedWithViolations: Job completed successfully with 2 violations."


def made(kind: str, folder: Path, *, engine: str = "local", workers: int | None = None, late: bool = False) -> World:
    """A world in which a run of the kind has been made. `late`: as of five days after the scheduled time."""
    world = World(Storage(), str(folder), engine, workers=workers)
    KINDS[kind](world)
    if kind in ON_SAGEMAKER:
        run_on_sagemaker_of(world, kind)
    else:
        world.run(AsOf(T + timedelta(days=5), "time") if late else None)
    return world


def run_on_sagemaker_of(world: World, kind: str) -> None:
    """Do what the tasks on SageMaker's compute do; a run of ours stands in for the analyzer, and leaves its two documents."""
    monitor, window, storage = world.monitor(), world.window(), world.storage
    world.run()
    documents = {name: data for name, data in world.written().items() if name in (STATISTICS, VIOLATIONS)}
    run_on_sagemaker.make_way(monitor, window, report_folder.MERGE_JOB, 1, storage=storage)
    if kind == "of_the_analyzer":
        handover = run.merge(monitor, window, storage=storage, engine=world.engine, workers=world.workers)
    else:
        handover = run_on_sagemaker.hand_over_merger(
            monitor,
            window,
            storage=storage,
            job=MERGE_JOB if kind == "of_jobs" else None,
            seconds=0.0,
            without_rows=None if kind == "of_jobs" else ("no_labels", "no labels: no object in the window's hours"),
        )
    told: dict[str, Any] = {}
    if kind != "of_no_job":
        told = {"job": ANALYSIS_JOB, "exit_message": EXIT_MESSAGE}
        for name, data in documents.items():
            storage.write(join(world.prefix(), name), data)
    run_on_sagemaker.report_of_jobs(monitor, window, handover=handover, storage=storage, **told)
