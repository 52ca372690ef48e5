"""A refresh as Airflow runs it: one task that finds, one for each window, each with its own event."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.airflow_world import Churn, MakeDag, Runs

REFRESH = """
from airflow_mq_provider.operators.refresh import refresh_tasks
with DAG(schedule=None, start_date=START) as dag:
    refresh_tasks(monitor, since="P30D", retries=0)
"""
HOUR = timedelta(hours=1)


@pytest.fixture
def start() -> datetime:
    """The start of the first of three hours, three days ago: a refresh looks back from now."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=3)


@pytest.fixture
def judged(churn: Churn, make_dag: MakeDag, runs: Runs, start: datetime) -> str:
    """A monitor of three hourly windows, judged when a quarter of their labels was missing; its name."""
    churn.hours(start, 3, labelled=6)
    name = f"churn-{uuid.uuid4().hex[:12]}"
    dag = make_dag('model_quality_dag(monitor, schedule="0 * * * *", start_date=START)', name=name)
    for number in (1, 2, 3):
        runs.trigger(dag, logical_date=(start + number * HOUR).isoformat(), dag_run_id=f"{number}")
        runs.finish(dag, f"{number}")
    return name


def late(churn: Churn, hour: datetime) -> None:
    """The labels that were missing of an hour come, an hour after its end."""
    churn.hours(hour, 1, labelled=8)
    whole = churn.storage.read(f"{churn.root}/labels/{hour:%Y/%m/%d/%H}/a.jsonl").splitlines()
    churn.put(f"labels/{hour:%Y/%m/%d/%H}/a.jsonl", whole[:6])
    later = hour + 2 * HOUR
    churn.put(f"labels/{later:%Y/%m/%d/%H}/late.jsonl", whole[6:])


def mapped(dag: Any, run_id: str) -> dict[str, str]:
    """The states of the windows' tasks, by the name that the grid shows."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        query = select(TaskInstance).where(
            TaskInstance.dag_id == dag.dag_id, TaskInstance.run_id == run_id, TaskInstance.task_id == "judge_again"
        )
        return {str(one.rendered_map_index): str(one.state) for one in session.scalars(query)}


def told(runs: Runs, name: str) -> list[dict[str, Any]]:
    return runs.asset_events(f"x-model-quality://{name}")


def test_each_due_window_is_a_task_of_its_own_and_tells_of_its_revision(
    churn: Churn, make_dag: MakeDag, runs: Runs, judged: str, start: datetime
) -> None:
    late(churn, start)
    late(churn, start + 2 * HOUR)
    dag = make_dag(REFRESH, name=judged)
    runs.trigger(dag, logical_date=None, dag_run_id="first")
    runs.finish(dag, "first")
    names = [f"{start + number * HOUR:%Y-%m-%dT%H:00:00Z}" for number in (1, 3)]
    assert mapped(dag, "first") == dict.fromkeys(names, "success")
    before, after = told(runs, judged)[:3], told(runs, judged)[3:]
    assert [one["revision"] for one in before] == [None] * 3
    assert [one["window"]["scheduled_time"] for one in after] == names
    assert [one["revision"]["number"] for one in after] == [1, 1]
    assert [one["revision"]["before"]["label_coverage"] for one in after] == [0.75, 0.75]
    assert [one["newest_window"] for one in after] == [False, True]
    assert [one["cadence_seconds"] for one in after] == [3600, 3600]


def test_looking_for_late_labels_keeps_to_the_memory_limit_of_the_configuration(
    churn: Churn, make_dag: MakeDag, runs: Runs, judged: str, start: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    late(churn, start)
    monkeypatch.setenv("AIRFLOW__MODEL_QUALITY__MEMORY_LIMIT", "1MiB")
    dag = make_dag(REFRESH, name=judged)
    runs.trigger(dag, logical_date=None, dag_run_id="first")
    assert runs.finish(dag, "first") == {"find_late_labels": "failed", "judge_again": "upstream_failed"}


def test_where_nothing_is_due_no_window_is_judged(
    churn: Churn, make_dag: MakeDag, runs: Runs, judged: str, start: datetime
) -> None:
    dag = make_dag(REFRESH, name=judged)
    runs.trigger(dag, logical_date=None, dag_run_id="first")
    assert runs.finish(dag, "first") == {"find_late_labels": "success", "judge_again": "skipped"}
    assert len(told(runs, judged)) == 3


def test_a_window_s_task_that_is_run_again_gives_the_same_report(
    churn: Churn, make_dag: MakeDag, runs: Runs, judged: str, start: datetime
) -> None:
    late(churn, start)
    dag = make_dag(REFRESH, name=judged)
    runs.trigger(dag, logical_date=None)
    runs.finish(dag)
    runs.clear(dag, "judge_again")
    runs.finish(dag)
    first, again = told(runs, judged)[3:]
    assert first == again


def test_no_more_windows_are_returned_than_the_limit_and_the_oldest_come_first(
    churn: Churn, make_dag: MakeDag, runs: Runs, judged: str, start: datetime
) -> None:
    late(churn, start)
    late(churn, start + HOUR)
    dag = make_dag(REFRESH.replace("retries=0", "retries=0, limit=1"), name=judged)
    runs.trigger(dag, logical_date=None)
    runs.finish(dag)
    [due] = runs.xcom(dag, "find_late_labels")
    assert due["window"]["start"] == f"{start:%Y-%m-%dT%H:00:00Z}"
