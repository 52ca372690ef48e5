"""``engine="auto"``: chosen by the listing, before anything is read; said in the log and in the report."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_mq_provider import engines, run
from airflow_mq_provider.cli import main
from airflow_mq_provider.engines import bounds, memory
from airflow_mq_provider.engines.memory import MIB
from airflow_mq_provider.engines.spark import connected, session_is_given
from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.storage import Storage
from tests.world import World, capture_line, label_line

ROOM, NO_ROOM, WORKERS = 8 * 1024 * MIB, 110 * MIB, 4
"""Limits: one that has room for a small window with so many workers, and one that has room for its analysis only."""


@pytest.fixture(autouse=True)
def by_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No window here is so small that one process reads it."""
    monkeypatch.setattr(memory, "SMALL", 0)


@pytest.fixture(autouse=True)
def unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of the tests has more than the limits here already."""
    monkeypatch.setattr(bounds, "_bounded", lambda: False)


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(Storage(), str(tmp_path / "root"), "auto")
    found.captures(*(capture_line(f"id-{number}", "0.7") for number in range(20)))
    found.labels(*(label_line(f"id-{number}", "1") for number in range(20)))
    return found


@pytest.fixture(autouse=True)
def no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)  # as where nobody has imported it
    # what stands in for Spark: it joins any window, whatever the limit
    monkeypatch.setitem(engines.ENGINES, "spark", "airflow_mq_provider.engines.reference")


@pytest.fixture
def spark(monkeypatch: pytest.MonkeyPatch, no_spark: None) -> None:
    """A Spark Connect server, by the environment."""
    monkeypatch.setenv("SPARK_REMOTE", "sc://127.0.0.1")


def judged(world: World, limit: int, engine: str = "auto") -> dict[str, Any]:
    return run.run(
        world.monitor(), world.window(), storage=world.storage, engine=engine, workers=WORKERS, memory_limit=limit
    )


def test_a_window_that_fits_is_judged_here_even_where_spark_is_given(world: World, spark: None) -> None:
    report = judged(world, ROOM)
    assert report["engine"] == "local"
    assert "which the memory limit of 8,192 MiB has room for" in report["engine_why"]


def test_a_window_that_does_not_fit_goes_to_spark_where_it_is_given(
    world: World, spark: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "airflow_mq_provider")
    report = judged(world, NO_ROOM)
    assert report["engine"] == "spark"
    assert "more than the memory limit of 110 MiB; a Spark session is given" in report["engine_why"]
    [said] = [one.getMessage() for one in caplog.records if one.name.startswith("airflow_mq_provider")]
    assert said == f"Engine spark: {report['engine_why']}."


def test_without_spark_the_local_engine_says_what_a_window_needs(world: World) -> None:
    with pytest.raises(InputError, match="within 110 MiB of memory") as refused:
        judged(world, NO_ROOM)
    assert "Spark" in refused.value.next_step


def test_whatever_is_chosen_the_report_says_the_same(world: World, spark: None) -> None:
    def said(report: dict[str, Any]) -> dict[str, Any]:
        of_the_machine = ("engine", "engine_why", "timings", "versions")
        return {name: one for name, one in report.items() if name not in of_the_machine}

    assert said(judged(world, ROOM)) == said(judged(world, NO_ROOM)) == said(judged(world, ROOM, "reference"))


def test_an_engine_that_was_named_is_not_explained(world: World, spark: None) -> None:
    report = judged(world, ROOM, "local")
    assert (report["engine"], "engine_why" in report) == ("local", False)


def test_the_merge_s_choice_is_that_of_the_report_whatever_the_analysis_would_take(world: World, spark: None) -> None:
    settings: dict[str, Any] = {"storage": world.storage, "engine": "auto", "workers": WORKERS}
    handover = run.merge(world.monitor(), world.window(), memory_limit=NO_ROOM, **settings)
    report = run.analyze(world.monitor(), world.window(), handover=handover, memory_limit=ROOM, **settings)
    assert (report["engine"], report["engine_why"]) == ("spark", handover["engine_why"])


@pytest.mark.parametrize("name", ["SPARK_REMOTE", "PYSPARK_GATEWAY_PORT"])
def test_spark_is_given_by_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not session_is_given()
    monkeypatch.setenv(name, "1")
    assert session_is_given()


def test_spark_is_given_by_a_connection_of_airflow() -> None:
    with connected("sc://127.0.0.1"):
        assert session_is_given()
    assert not session_is_given()


@pytest.mark.parametrize(("session", "given"), [(None, False), (object(), True)])
def test_spark_is_given_by_a_session_of_this_process(
    session: object, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = SimpleNamespace(SparkSession=SimpleNamespace(getActiveSession=lambda: session))
    monkeypatch.setitem(sys.modules, "pyspark.sql", sql)
    assert session_is_given() is given


def test_the_command_line_chooses_too_and_says_why(
    world: World, spark: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monitor = tmp_path / "monitor.yaml"
    monitor.write_text(world.monitor().to_yaml())
    window = world.window()
    given = [
        "run",
        str(monitor),
        "--at",
        window.as_dict()["scheduled_time"],
        "--interval-start",
        window.as_dict()["start"],
    ]
    assert main([*given, "--engine", "auto", "--workers", "4", "--memory-limit", "8GiB"]) == 0
    assert "engine        local: 0 MiB are listed" in capsys.readouterr().out
    assert main([*given, "--engine", "auto", "--workers", "4", "--memory-limit", "110MiB", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["engine"] == "spark"
