"""What a run tells of how far it is: the phases and bytes of the local engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_mq_provider import run
from airflow_mq_provider.engines import task
from airflow_mq_provider.storage import Storage, join
from tests.world import T, World, capture_line, label_line


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("keep_merged", [None, "jsonl"], ids=["by hour", "line by line"])
def test_progress_tells_labels_then_captures_in_bytes_up_to_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_merged: str | None, cores: int
) -> None:
    # every object is a step of its own, worth a worker
    monkeypatch.setattr(task, "UNIT", 1)
    monkeypatch.setattr("airflow_mq_provider.engines.memory.SMALL", 0)
    world = World(Storage(), str(tmp_path / "root"), "local", {"keep_merged": keep_merged})
    for number in range(3):
        world.captures(capture_line(f"a{number}", "0.9", given="1" * 100 * number), name=f"{number}.jsonl")
    world.captures(capture_line("late", "0.9"), hour=T)
    world.labels(label_line("a0", "1"))
    world.labels(label_line("a1", "0"), label_line("a2", "1"), name="b.jsonl")

    told: list[tuple[str, int, int]] = []
    run.merge(
        world.monitor(),
        world.window(),
        storage=world.storage,
        workers=cores,
        progress=lambda *one: told.append(one),
    )

    sizes = {
        phase: [one.size for one in world.storage.list(join(world.root, folder))]
        for phase, folder in (("ground truth", "labels"), ("captures", "capture"))
    }
    assert told == [
        (phase, sum(listed[: number + 1]), sum(listed))
        for phase, listed in sizes.items()
        for number in range(len(listed))
    ]
