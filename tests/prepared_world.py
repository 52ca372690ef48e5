"""A world with something of everything in several hours, for what must not depend on prepared hours."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow_mq_provider.engines.hours import CAPTURES, LABELS
from airflow_mq_provider.engines.task import LoadedHours
from airflow_mq_provider.storage import StoredObject, join
from tests.world import T, World, capture_line, label_line

HOUR = timedelta(hours=1)
PROBLEMS: dict[str, dict[str, Any]] = {
    "BinaryClassification": {"segments": {"input_attribute": 0}},
    "MulticlassClassification": {"endpoint": {"inference_attribute": "0", "probability_attribute": None}},
    "Regression": {
        "endpoint": {"inference_attribute": "0", "probability_attribute": None},
        "segments": {"ground_truth_attribute": "eventMetadata.country"},
    },
}
VALUES = {
    "BinaryClassification": (["0.9", "0.1", "0.4", "0.75"], ["1", "0"]),
    "MulticlassClassification": (["cat", "dog", "a bird", "1.0"], ["cat", "dog", "1"]),
    "Regression": (["1.5", "-2", "0.25", "1e3"], ["1.25", "7"]),
}


def set_up(world: World, problem_type: str) -> World:
    """The world with a monitor of that problem, whose window has four hours."""
    settings = PROBLEMS[problem_type]
    offsets = {"start_time_offset": "-PT4H", "end_time_offset": "-PT0H"}
    world.settings |= {
        **settings, "problem_type": problem_type, "endpoint": {**offsets, **settings.get("endpoint", {})},
    }  # fmt: skip
    return world


def busy(world: World, problem_type: str, hours_ago: Sequence[int] = (4, 3, 2, 1)) -> World:
    """Four hours: records of one and of several rows, ids and labels twice, late ones, broken ones, unequal ones, blank lines."""
    set_up(world, problem_type)
    predicted, actual = VALUES[problem_type]
    for hours in hours_ago:
        start = T - hours * HOUR
        ids = [f"{hours}-{number}" for number in range(12)]
        captured = [
            capture_line(
                id, predicted[(number + hours) % 4], time=start + timedelta(minutes=number), given=f"{hours % 2},2"
            )
            for number, id in enumerate(ids)
        ]
        several = "\n".join(predicted[:2])
        captured[3] = capture_line(ids[3], several, time=start + timedelta(minutes=30, microseconds=5))
        captured[5] = capture_line(ids[4], predicted[1], time=start + timedelta(minutes=31))
        captured[7] = capture_line("outside", predicted[0], time=T + timedelta(minutes=1))
        captured[8:8] = [b"", b'{"broken', capture_line("no", "", time=start), b"   "]
        world.captures(*captured[:6], hour=start, name="a.jsonl")
        world.captures(*captured[6:], hour=start + (hours == 2) * HOUR, name="b.jsonl")
        labels = [
            label_line(id, actual[(number + hours) % len(actual)], country="de" if number % 3 else "fr")
            for number, id in enumerate(ids[:-2])
        ]
        labels[3] = label_line(ids[3], "\n".join([actual[0], actual[1]]), country="se")
        labels[6] = label_line(ids[6], "\n".join([actual[0], actual[1]]))  # of another number of rows
        world.labels(*labels, b"broken", label_line("orphan", actual[0]), hour=start, name="l.jsonl")
        if hours > 1:
            world.labels(label_line(ids[1], actual[1]), hour=start + HOUR, name="again.jsonl")
    return world


def result(world: World, at: Any = T) -> dict[str, Any]:
    """All that a run writes, but for its times."""
    written: dict[str, Any] = {
        one.key: world.storage.read(one.uri) for one in world.storage.list(world.prefix(at)) if "merged/" not in one.key
    }
    report = json.loads(written["report.json"])
    report.pop("timings")
    return {**written, "report.json": report}


def run(world: World, at: Any = T, loaded: LoadedHours | None = None) -> dict[str, Any]:
    """Run, and give what `result` does; what stood there before is no part of it."""
    world.storage.delete([one.uri for one in world.storage.list(world.prefix(at))])
    world.run(at=at, loaded=loaded)
    return result(world, at)


def prepared(world: World, side: str | None = None) -> list[StoredObject]:
    """The prepared hours that stand there."""
    sides = (CAPTURES, LABELS) if side is None else (side,)
    return [one for name in sides for one in world.storage.list(join(world.monitor().prepared_root, name))]


def as_it_was(path: Path, content: bytes) -> None:
    """Write a file anew of which a listing says that it is the old one."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
