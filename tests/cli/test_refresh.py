"""``model-quality refresh``: one table, exit codes as those of ``run``."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.cli import main
from airflow_mq_provider.storage import Storage, join
from tests.world import T, World, capture_line, label_line

HOUR = timedelta(hours=1)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two hourly windows, half labelled when they were judged; a label of the first has come since."""
    world = World(Storage(), str(tmp_path), "local", {"max_rejected_ratio": 0.5})
    for at in (T, T + HOUR):
        ids = [f"{at:%H}-{row}" for row in range(4)]
        world.captures(*(capture_line(id, "0.9", time=at - HOUR / 2) for id in ids), hour=at - HOUR)
        world.labels(*(label_line(id, "1") for id in ids[:2]), hour=at - HOUR)
        world.run(at=at)
    world.labels(label_line("12-2", "0"), hour=T + 2 * HOUR)
    return world


def refresh(world: World, *arguments: str) -> int:
    path = Path(world.root, "monitor.json")
    path.write_text(world.monitor().to_json())
    return main(["refresh", str(path), *arguments])


def test_the_table_says_what_changed_and_why_others_were_left_alone(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refresh(world) == 0
    first, head, row, other = capsys.readouterr().out.splitlines()
    assert first.startswith("churn-quality: 1 of 2 windows judged again, labels as of ")
    assert head.split() == ["window", "scheduled", "coverage", "status", "why"]
    assert row == (
        "2026-11-02T11:00:00Z to 2026-11-02T12:00:00Z  2026-11-02T12:00:00Z  50.0% -> 75.0%  NotJudged  labels came late"
    )
    assert other == ("left alone    1: no label of its captures came since (the latest scheduled 2026-11-02T13:00:00Z)")


def test_a_dry_run_runs_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert refresh(world, "--dry-run") == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0].startswith("churn-quality: 1 of 2 windows due")
        assert "  50.0%     NotJudged  labels came late" in said[2]


def test_with_json_there_is_one_object(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert refresh(world, "--json") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    [window] = told["windows"]
    assert (window["before"]["label_coverage"], window["after"]["label_coverage"]) == (0.5, 0.75)
    assert window["revision"]["number"] == 1
    assert told["left_alone"] == {"no_new_labels": ["2026-11-02T13:00:00Z"]}


def test_windows_before_since_are_not_looked_at(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert refresh(world, "--since", "2026-11-02T13:00:00Z", "--json") == 0
    assert json.loads(capsys.readouterr().out)["windows"] == []


def test_where_nothing_was_ever_judged_there_is_nothing_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refresh(World(Storage(), str(tmp_path), "local")) == 0
    assert "0 of 0 windows" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--since", "yesterday"], ["--engine", "magic"]])
def test_bad_usage_exits_with_2(world: World, arguments: list[str]) -> None:
    try:
        code = refresh(world, *arguments)
    except SystemExit as error:
        code = int(error.code or 0)
    assert code == 2


def test_under_strict_what_was_judged_again_decides(world: World) -> None:
    assert refresh(world, "--strict") == 4


def test_a_violation_under_strict_exits_with_3(world: World) -> None:
    block = {"recall": {"threshold": 2.0, "comparison_operator": "LessThanThreshold"}}
    document = {"version": 0.0, "binary_classification_constraints": block}
    world.put("constraints.json", json.dumps(document).encode())
    world.settings["constraints_uri"] = join(world.root, "constraints.json")
    world.run()
    assert refresh(world, "--strict") == 3


def test_a_window_that_fails_is_told_and_exits_with_1(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.labels(*[b"broken"] * 99, hour=T + 3 * HOUR)
    assert refresh(world) == 1
    assert any(line.startswith("failed        2026-11-02T12:00:00Z: ") for line in capsys.readouterr().out.splitlines())
