"""What `model-quality clean` removes of prepared hours, and what it lets be."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_mq_provider import cli
from airflow_mq_provider.engines.hours import CAPTURES
from airflow_mq_provider.exceptions import WindowError
from airflow_mq_provider.retention import clean
from airflow_mq_provider.storage import Storage, join
from tests.prepared_world import busy, prepared
from tests.world import T, World


@pytest.fixture
def world(place: tuple[Storage, str]) -> World:
    storage, root = place
    world = busy(World(storage, root, "local"), "BinaryClassification")
    world.run()
    return world


def hours(world: World) -> set[str]:
    return {one.key[11:13] for one in prepared(world)}


def test_hours_that_no_later_window_touches_go(world: World) -> None:
    before = prepared(world)
    told = clean(world.monitor(), world.storage, now=T + timedelta(hours=1, minutes=30))
    assert hours(world) == {"09", "10", "11"}  # windows have four hours, and the next one starts at half past nine
    gone = [one for one in before if one.key[11:13] == "08"]
    assert told == {
        "monitor": "churn-quality",
        "prepared_hours": world.monitor().prepared_root,
        "before": "2026-11-02T09:30:00Z",
        "removed": 2,
        "removed_bytes": sum(one.size for one in gone),
        "kept": 6,
    }


def test_hours_older_than_asked_for_go(world: World) -> None:
    assert clean(world.monitor(), world.storage, now=T, older_than=timedelta(hours=2))["removed"] == 4
    assert hours(world) == {"10", "11"}


def test_hours_of_an_earlier_definition_go_and_what_others_put_there_stays(world: World) -> None:
    foreign = join(world.monitor().prepared_root, CAPTURES, "notes.txt")
    world.storage.write(foreign, b"mine")
    world.settings["positive_label"] = "yes"
    assert clean(world.monitor(), world.storage, now=T)["removed"] == 8
    assert world.storage.exists(foreign)


def test_all_hours_go_where_the_monitor_keeps_none(world: World) -> None:
    world.settings["prepared_hours_retention"] = "P0D"
    assert clean(world.monitor(), world.storage, now=T)["kept"] == 0
    assert not prepared(world)


def test_a_monitor_without_a_start_offset_has_to_be_told_how_old(world: World) -> None:
    world.settings["endpoint"] = {}
    with pytest.raises(WindowError, match="--older-than"):
        clean(world.monitor(), world.storage, now=T)
    assert clean(world.monitor(), world.storage, now=T, older_than=timedelta(0))["removed"] == 8


def test_leftovers_of_killed_writers_go_and_what_is_being_written_stays(tmp_path: Path) -> None:
    world = busy(World(Storage(), str(tmp_path), "local"), "BinaryClassification")
    world.run()
    folder = Path(world.monitor().prepared_root, CAPTURES)
    old, new = (folder / f".{number:016x}.unfinished" for number in (1, 2))
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    clean(world.monitor(), world.storage, now=T)
    assert not old.exists()
    assert new.exists()


def test_the_command_says_how_many_and_how_much(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = busy(World(Storage(), str(tmp_path / "root"), "local"), "BinaryClassification")
    world.run(at=T)
    size = sum(one.size for one in prepared(world))
    monitor = tmp_path / "monitor.json"
    monitor.write_text(world.monitor().to_json())
    assert cli.main(["clean", str(monitor), "--older-than", "P99999D", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 8
    assert cli.main(["clean", str(monitor), "--older-than", "soon"]) == 2
    assert "--older-than" in capsys.readouterr().err
    monitor.write_text(world.monitor().model_copy(update={"prepared_hours_retention": "P0D"}).to_json())
    assert cli.main(["clean", str(monitor)]) == 0
    assert capsys.readouterr().out.startswith(f"churn-quality: 8 prepared hours removed, {size / 1e6:,.1f} MB; 0 kept")
