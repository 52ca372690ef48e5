"""Where one process merges and analyzes, merged rows go from one to the other in memory: nothing else is different."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider import run
from airflow_mq_provider.engines import bounds, by_hour, memory
from airflow_mq_provider.engines.memory import MIB
from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.quality.states import MergeCounts, MergedRows
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import AsOf
from tests.prepared_world import busy
from tests.world import T, World, capture_line, label_line

PROBLEMS = ["BinaryClassification", "MulticlassClassification", "Regression"]


class Watched(Storage):
    """A storage that notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def write(self, uri: str, data: bytes) -> None:
        self.names.append(uri.rpartition("/")[2])
        super().write(uri, data)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two labelled captures, in two segments."""
    world = World(Watched(), str(tmp_path / "root"), "local", workers=1)
    world.captures(capture_line("a", "0.9", given="7,de"), capture_line("b", "0.1", given="7,fr"))
    world.labels(label_line("a", "1"), label_line("b", "1"))
    return world


def names(world: World) -> list[str]:
    assert isinstance(world.storage, Watched)
    return world.storage.names


def separately(world: World) -> None:
    """Merge and analyze as two processes do."""
    common: dict[str, Any] = {"storage": world.storage, "engine": world.engine, "workers": world.workers}
    handover = run.merge(world.monitor(), world.window(), **common)
    run.analyze(world.monitor(), world.window(), handover=json.loads(json.dumps(handover)), **common)


def merged(world: World, as_of: AsOf | None = None) -> tuple[dict[str, Any], list[MergedRows]]:
    rows: list[MergedRows] = []
    return run.merge(world.monitor(), world.window(), storage=world.storage, as_of=as_of, workers=1, rows=rows), rows


def judged(world: World) -> dict[str, Any]:
    """What was written, but for the timings and what is said of the report before; all of it is taken away."""
    found: dict[str, Any] = dict(world.written())
    report = json.loads(found["report.json"])
    found["report.json"] = report | {"timings": None, "replaces": None, "revision": None}
    world.storage.delete([one.uri for one in world.storage.list(join(world.root, "out"))])
    return found


@pytest.mark.parametrize("problem_type", PROBLEMS)
def test_reports_have_the_bytes_of_those_of_two_processes(
    tmp_path: Path, problem_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_hour, "ROWS", 7)  # in several parts
    world = busy(World(Watched(), str(tmp_path / "root"), "local", workers=1), problem_type)
    separately(world)
    assert {"merge.json", "part-00001.rows"} <= set(names(world))
    expected = judged(world)
    names(world).clear()
    world.run()
    assert not [name for name in names(world) if name == "merge.json" or name.endswith(".rows")]
    assert judged(world) == expected


def test_segments_are_those_of_the_rows_on_disk(world: World) -> None:
    world.settings["segments"] = {"input_attribute": 1}
    separately(world)
    expected = judged(world)
    assert world.run()["segments"]["segments"] == 2
    assert judged(world) == expected


def test_rows_that_ended_with_their_process_are_merged_anew(world: World) -> None:
    world.run()
    world.labels(label_line("a", "0"), hour=T)
    handover, rows = merged(world, AsOf(T + timedelta(hours=1), "now"))  # by a process that is killed here
    assert sum(map(len, rows)) == 2
    assert {name.rpartition("/")[2] for name in world.written()} == {"rejected.jsonl", "former.json", "started"}
    report = run.analyze(world.monitor(), world.window(), handover=handover, storage=world.storage)
    assert report["merge"]["matched"] == 2
    assert report["ground_truth"]["duplicate_labels"] == 1
    assert report["revision"]["number"] == 1


def test_rows_are_let_go_of_when_they_are_judged(world: World) -> None:
    handover, rows = merged(world)
    run.analyze(world.monitor(), world.window(), handover=handover, rows=rows, storage=world.storage)
    assert rows == []


@pytest.mark.parametrize(
    ("settings", "engine"),
    [({"keep_merged": "jsonl"}, "local"), ({"keep_merged": "parquet"}, "local"), ({}, "reference")],
)
def test_rows_that_are_not_made_of_hours_lie_on_disk(world: World, settings: dict[str, Any], engine: str) -> None:
    world.settings |= settings
    world.engine = engine
    assert world.run()["merge"]["matched"] == 2
    assert "merge.json" in names(world)
    assert any(name.endswith(".rows") for name in names(world))


def test_without_any_row_the_handover_stands(world: World) -> None:
    world.labels(label_line("other", "1"))
    handover, rows = merged(world)
    assert not rows
    assert json.loads(world.read("merged/merge.json")) == handover
    assert world.run()["status"] == "NotJudged"


def test_where_memory_runs_out_behind_the_rows_they_are_made_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge = by_hour.merge

    def late(*given: Any) -> MergeCounts:
        merge(*given)
        raise MemoryError

    monkeypatch.setattr(by_hour, "merge", late)
    handover, rows = merged(world)
    assert not rows
    assert "part-00000.rows" in names(world)
    report = run.analyze(world.monitor(), world.window(), handover=handover, rows=rows, storage=world.storage)
    assert report["merge"]["matched"] == 2


def test_rows_in_memory_are_weighed_as_those_on_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_bounded", lambda: False)  # this process has more already
    count = 20_000
    world.captures(*(capture_line(f"id-{number}", "0.7") for number in range(count)))
    world.labels(*(label_line(f"id-{number}", "1") for number in range(count)))
    handover, rows = merged(world)
    limit = memory._PROCESS + MIB
    with pytest.raises(InputError, match="20,000 rows, which need about 101 MiB"):
        run.analyze(
            world.monitor(), world.window(), handover=handover, rows=rows, storage=world.storage, memory_limit=limit
        )
