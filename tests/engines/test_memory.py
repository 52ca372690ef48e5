"""How much memory a run may take, what it needs, and what comes of a window that needs more."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider import run
from airflow_mq_provider.engines import bounds, labels, local, memory
from airflow_mq_provider.engines.memory import MIB, memory_limit, memory_needed, parse_size
from airflow_mq_provider.engines.task import ROWS_SUFFIX, MergeTask
from airflow_mq_provider.exceptions import InputError, ModelQualityError
from airflow_mq_provider.inputs import Input
from airflow_mq_provider.quality.records import reading as reading_of
from airflow_mq_provider.storage import Storage
from tests.world import World, capture_line, label_line


def judged(world: World, limit: int, *, workers: int = 1) -> dict[str, Any]:
    return run.run(
        world.monitor(), world.window(), storage=world.storage, engine="local", workers=workers, memory_limit=limit
    )


@pytest.fixture
def world(tmp_path: Path) -> World:
    # merged records that are kept are joined line by line
    found = World(Storage(), str(tmp_path / "root"), "local", {"keep_merged": "jsonl"})
    found.captures(*(capture_line(f"id-{number:05d}", "0.7") for number in range(20_000)))
    found.labels(*(label_line(f"id-{number:05d}", "1") for number in range(20_000)))
    return found


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """Where each table of labels was made."""
    found: list[Path | None] = []
    make = labels.label_table

    def noted(ids: Any, folder: Path | None, **columns: Any) -> Any:
        found.append(folder)
        return make(ids, folder, **columns)

    monkeypatch.setattr(local, "label_table", noted)
    return found


def test_labels_that_fit_are_held_in_memory(world: World, folders: list[Path | None]) -> None:
    judged(world, 1024 * MIB)
    assert folders == [None]


def between(world: World, monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit that holds the run with its labels on disk, and not with its labels in memory."""
    monkeypatch.setattr(bounds, "_bounded", lambda: False)  # this process has more already
    monkeypatch.setattr(memory, "_PROCESS", 0)
    monkeypatch.setattr(memory, "WORKER", 0)
    monkeypatch.setattr(memory, "_UNIT", 0)
    monkeypatch.setattr(memory, "_UNIT_ROW", 0)
    monkeypatch.setattr(memory, "_JUDGED", 0)
    monkeypatch.setattr(memory, "_JUDGED_LABEL", {"BinaryClassification": 0})
    need: list[memory.MemoryNeed] = []
    needed = memory.memory_needed

    def noted(*given: Any) -> memory.MemoryNeed:
        need.append(needed(*given))
        return need[-1]

    monkeypatch.setattr(memory, "memory_needed", noted)
    with pytest.raises(InputError):
        judged(world, 1)
    assert need[0].on_disk < need[0].in_memory
    return (need[0].on_disk + need[0].in_memory) // 2


def test_labels_that_do_not_fit_lie_on_disk_and_say_the_same(
    world: World, folders: list[Path | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = judged(world, 1024 * MIB)
    on_disk = judged(world, between(world, monkeypatch))
    assert folders[0] is None
    assert folders[1] is not None
    assert not folders[1].exists()  # nothing of it stays
    assert {**in_memory, "timings": None} == {**on_disk, "timings": None}


def test_hours_whose_columns_do_not_fit_are_joined_line_by_line_and_say_the_same(
    world: World, folders: list[Path | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.settings["keep_merged"] = None
    by_hour = judged(world, 1024 * MIB)
    assert folders == []
    line_by_line = judged(world, between(world, monkeypatch))
    assert len(folders) == 1
    assert {**by_hour, "timings": None} == {**line_by_line, "timings": None}


def test_a_window_that_does_not_fit_at_all_is_refused_before_it_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any) -> None:
        raise AssertionError("a unit was read")

    monkeypatch.setattr(local, "_label_unit", read)
    with pytest.raises(InputError) as refused:
        judged(world, 100 * MIB)
    error = refused.value
    assert error.expected == "a window that can be judged within 100 MiB of memory"
    assert "need about 1" in error.came
    assert error.where == "memory_limit"
    assert "Spark" in error.next_step


def task_of(
    *, captures: tuple[Input, ...], labels: tuple[Input, ...], world: World, probability: bool = True
) -> MergeTask:
    reading = reading_of(world.monitor())
    return MergeTask(
        reading=reading if probability else replace(reading, probability=None, inference=reading.probability),
        window=world.window(),
        captures=captures,
        labels=labels,
        labels_until=world.window().end,
        merged_uri="",
        rejected_uri="",
    )


def listed(world: World, side: str) -> tuple[Input, ...]:
    found = world.storage.list(f"{world.root}/{side}")
    return tuple(Input(one.uri, one.size, "2020/01/09/12") for one in found)


def test_the_need_grows_with_the_records_and_not_with_their_bytes(world: World, tmp_path: Path) -> None:
    wide = World(Storage(), str(tmp_path / "wide"), "local")
    wide.captures(*(capture_line(f"id-{number:05d}", "0.7", given="1.5," * 300) for number in range(20_000)))
    needs = [
        memory_needed(task_of(captures=listed(one, "capture"), labels=(), world=one), one.storage, 1)
        for one in (world, wide)
    ]
    assert needs[1].in_memory == pytest.approx(needs[0].in_memory, rel=0.01)


def of_rows(root: Path, rows: int, *, records: int = 200) -> World:
    """A window whose records have so many rows each."""
    found = World(Storage(), str(root), "local", {"keep_merged": "jsonl"})
    found.captures(*(capture_line(f"id-{number:05d}", "\n".join(["0.25"] * rows)) for number in range(records)))
    found.labels(*(label_line(f"id-{number:05d}", "\n".join("01" * (rows // 2) or "0")) for number in range(records)))
    return found


def needed(world: World) -> memory.MemoryNeed:
    task = task_of(captures=listed(world, "capture"), labels=listed(world, "labels"), world=world)
    return memory_needed(task, world.storage, 1)


def test_the_need_grows_with_the_rows_of_a_record(tmp_path: Path) -> None:
    rows = 200 * (1_000 - 1)
    one, many = needed(of_rows(tmp_path / "one", 1)), needed(of_rows(tmp_path / "many", 1_000))
    assert many.on_disk - one.on_disk == pytest.approx(rows * memory._ROW, rel=0.05)
    assert many.in_memory - one.in_memory == pytest.approx(rows * (memory._ROW + memory._LABEL_ROW), rel=0.05)


def test_the_rows_of_a_line_that_is_longer_than_a_chunk_count(tmp_path: Path) -> None:
    world = of_rows(tmp_path / "root", 800_000, records=1)  # 4.8 MB of captures
    assert needed(world).on_disk > memory._PROCESS + 800_000 * memory._ROW


@pytest.mark.parametrize("kind", ["csv-header", "parquet"])
def test_the_rows_of_a_batch_transform_are_looked_at_in_its_own_form(kind: str, tmp_path: Path) -> None:
    world = World(Storage(), str(tmp_path), "local")
    text = "score,id,time\n" + "".join(f"0.5,id-{number},2026-11-02T11:30:00Z\n" for number in range(5_000))
    data = text.encode()
    if kind == "parquet":
        csv = pytest.importorskip("pyarrow.csv")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(csv.read_csv(io.BytesIO(data)), tmp_path / "packed")
        data = (tmp_path / "packed").read_bytes()
    world.put("capture/part", data)
    task = task_of(captures=listed(world, "capture"), labels=(), world=world)
    task = replace(task, reading=replace(task.reading, batch=kind))
    assert memory._of_captures(task, task.captures, world.storage).rows == pytest.approx(5_000, rel=0.01)


def test_the_rows_of_an_inflated_object_count(tmp_path: Path) -> None:
    plain, packed = of_rows(tmp_path / "plain", 1_000), of_rows(tmp_path / "packed", 1_000)
    for one in (*packed.storage.list(f"{packed.root}/capture"), *packed.storage.list(f"{packed.root}/labels")):
        packed.storage.write(one.uri, gzip.compress(packed.storage.read(one.uri)))
    assert needed(packed).on_disk == pytest.approx(needed(plain).on_disk, rel=0.05)


def test_analysis_refuses_more_rows_than_it_has_room_for_before_it_reads_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.merge(world.monitor(), world.window(), storage=world.storage, workers=1)
    monkeypatch.setattr(run, "count", lambda *_: pytest.fail("rows were read"))
    with pytest.raises(InputError) as refused:
        run.analyze(world.monitor(), world.window(), storage=world.storage, memory_limit=memory._PROCESS + MIB)
    assert refused.value.expected == "merged rows whose probabilities can be put in order within 101 MiB of memory"
    assert refused.value.came == "20,000 rows, which need about 101 MiB"
    assert refused.value.where == "memory_limit"
    assert "Spark" in refused.value.next_step


def test_rows_that_were_binned_are_weighed_by_what_is_left_of_them(tmp_path: Path) -> None:
    storage = Storage()
    storage.write(str(tmp_path / f"part-00000{ROWS_SUFFIX}"), b"0" * 1000)
    memory.refuse_rows(storage, str(tmp_path), 10**9, memory._PROCESS + MIB)
    storage.write(str(tmp_path / f"part-00001{ROWS_SUFFIX}"), b"0" * MIB)
    with pytest.raises(InputError, match="1,000,000,000 rows, which need about 105 MiB"):
        memory.refuse_rows(storage, str(tmp_path), 10**9, memory._PROCESS + MIB)


def test_a_merge_that_counts_more_rows_than_its_first_lines_foretold_stops_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "_bounded", lambda: False)  # so that counting alone notices
    world = of_rows(tmp_path / "root", 1)
    world.captures(*[capture_line("long", "\n".join(["0.25"] * 300_000))], name="b.jsonl")
    world.labels(*[label_line("long", "\n".join(["0"] * 300_000))], name="b.jsonl")
    world.captures(capture_line("id-1", "0.5"), name="c.jsonl")
    world.captures(capture_line("id-1", "0.5"), name="d.jsonl")
    world.labels(label_line("id-1", "0"), name="c.jsonl")
    world.labels(label_line("id-1", "0"), name="d.jsonl")
    with pytest.raises(InputError, match="the merge was stopped where it had counted them"):
        judged(world, memory._PROCESS + 10 * MIB)


_JUDGED = """
import sys
from pathlib import Path
from airflow_mq_provider.engines.memory import MIB
from airflow_mq_provider.storage import Storage
from tests.engines.test_memory import judged
from tests.world import World
judged(World(Storage(), sys.argv[1], "local", {"keep_merged": "jsonl"}), int(sys.argv[2]) * MIB)
status = Path("/proc/self/status").read_text()
print(status.partition("VmHWM:")[2].split()[0])
"""


def peak(world: World, limit: int) -> float:
    """The most memory that a process took which judged the window within a limit, both in MiB."""
    told = subprocess.run([sys.executable, "-c", _JUDGED, world.root, str(limit)], capture_output=True, check=True)
    return int(told.stdout) / 1024


def test_a_million_and_a_half_of_rows_are_judged_within_their_limit_or_refused(tmp_path: Path) -> None:
    world = of_rows(tmp_path / "root", 1_000, records=1_500)
    assert 110 < peak(world, 280) < 280
    with pytest.raises(InputError, match="within 110 MiB of memory"):
        judged(world, 110 * MIB)


def test_every_worker_needs_memory(world: World) -> None:
    task = task_of(captures=listed(world, "capture"), labels=listed(world, "labels"), world=world)
    few, many = (memory_needed(task, world.storage, workers) for workers in (2, 16))
    assert many.in_memory - few.in_memory == 14 * memory.WORKER


@pytest.mark.parametrize("keep_merged", [None, "jsonl"])
def test_a_small_window_needs_the_memory_of_the_one_process_that_reads_it(
    world: World, keep_merged: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "_bounded", lambda: False)  # this process has more already
    world.settings["keep_merged"] = keep_merged
    limit = memory._PROCESS + memory.WORKER + 20 * MIB
    monkeypatch.setattr(memory, "SMALL", 16 * MIB)
    assert judged(world, limit, workers=2)["merge"]["matched"] == 20_000
    monkeypatch.setattr(memory, "SMALL", 0)
    with pytest.raises(InputError, match="with 2 processes"):
        judged(world, limit, workers=2)


def test_of_a_large_object_a_worker_holds_no_more_than_a_span(world: World) -> None:
    [one] = world.storage.list(f"{world.root}/capture")
    captures = [Input(one.uri, size, "2020/01/09/12", one.etag) for size in (2**31, 2**32)]
    # what was not listed is not cut
    whole = [one._replace(etag="") for one in captures]
    few, many, few_whole, many_whole = (
        memory_needed(task_of(captures=(one,), labels=(), world=world, probability=False), world.storage, 2).on_disk
        for one in (*captures, *whole)
    )
    assert few == many
    assert few_whole < many_whole


def test_rows_without_scores_are_not_held(world: World) -> None:
    captures = listed(world, "capture")
    scored, plain = (
        memory_needed(task_of(captures=captures, labels=(), world=world, probability=given), world.storage, 1)
        for given in (True, False)
    )
    assert plain.on_disk < scored.on_disk


def test_the_limit_is_most_of_what_the_control_group_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text(f"{100 * MIB}\n")
    monkeypatch.setattr(memory, "_CONTROL_GROUPS", (tmp_path / "none", tmp_path / "memory.max"))
    assert memory_limit() == 80 * MIB


def test_without_a_limit_of_its_own_a_control_group_has_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(memory, "_CONTROL_GROUPS", (tmp_path / "memory.max",))
    assert memory_limit() > 100 * MIB


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 4 * 2**30), ("4G", 4 * 2**30), ("500MB", 500_000_000), ("1.5 GiB", 3 * 2**29), ("1048576", 2**20)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text, field="memory_limit") == size


@pytest.mark.parametrize("text", ["", "much", "-1G", "0", "4 GiBs", "4PiB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ModelQualityError, match="a size of memory"):
        parse_size(text, field="memory_limit")


def test_a_batch_transform_is_not_refused_for_objects_whose_sizes_nobody_knows(
    tmp_path: Path, folders: list[Path | None]
) -> None:
    """As many as would fill a large machine if each were as large as it is taken to be."""
    world = World(Storage(), str(tmp_path / "root"), "local")
    world.settings["batch_transform_input"] = {
        "data_captured_destination_uri": f"{tmp_path}/root/batch",
        "dataset_format": {"csv": {"header": False}},
        "probability_attribute": "0",
    }
    keys = [f"{number}.out" for number in range(200)]
    for key in keys:
        world.put(f"results/{key}", f"0.9,{key},2026-11-02T11:30:00Z\n".encode())
    manifest = json.dumps([{"prefix": f"{tmp_path}/root/results/"}, *keys])
    world.put("batch/output/2026/11/02/11/m.json", manifest.encode())
    world.labels(*(label_line(key, "1") for key in keys))
    assert judged(world, 1024 * MIB)["merge"]["matched"] == 200
    assert folders[0] is not None
