"""A monitor in a DAG file: as an object, as a file that is read when tasks run, with templates; and one that is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider import EndpointInput, ModelQualityMonitor, model_quality_dag
from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.storage import Storage, join
from tests.airflow_versions import AIRFLOW
from tests.airflow_world import Churn, MakeDag, Runs

AT_NINE = {"logical_date": "2026-11-10T09:00:00Z"}
NINE = "2026/11/10/09"


@pytest.fixture(autouse=True)
def an_hour_of_traffic(churn: Churn) -> None:
    churn.hours(datetime(2026, 11, 10, 8, tzinfo=UTC), 1)


def declared(**settings: Any) -> ModelQualityMonitor:
    source = {"endpoint_name": "churn", "probability_attribute": "0", **settings.pop("endpoint_input", {})}
    return ModelQualityMonitor(
        **{
            "name": "churn",
            "problem_type": "BinaryClassification",
            "endpoint_input": EndpointInput(**source),
            "ground_truth_uri": "s3://bucket/labels",
            "output_uri": "s3://bucket/reports",
            **settings,
        }
    )


# --- files


def test_a_file_beside_the_dag_file_is_read_when_tasks_run(
    make_dag: MakeDag, runs: Runs, churn: Churn, airflow_dags: Path
) -> None:
    """Parsed before the file exists; changed between two runs; its asset is that of the monitor it holds."""
    dag = make_dag('model_quality_dag("of-a-file.json", schedule="0 * * * *", start_date=START)')
    file = airflow_dags / "of-a-file.json"
    try:
        file.write_text(json.dumps(churn.declared(name="first")))
        runs.trigger(dag, **AT_NINE)
        assert set(runs.finish(dag).values()) == {"success"}
        file.write_text(json.dumps(churn.declared(name="second")))
        runs.trigger(dag, logical_date="2026-11-10T09:00:01Z")
        runs.finish(dag, runs.of(dag)[-1].run_id)
    finally:
        file.unlink()
    for name in ("first", "second"):
        assert churn.storage.exists(join(churn.root, "reports/churn", name, NINE, "report.json"))
        [event] = runs.asset_events(f"x-model-quality://{name}")
        assert event["monitor"] == name
        window = event["window"] if AIRFLOW >= (3, 2) else json.loads(event["window"])
        assert window["start"] == "2026-11-10T08:00:00Z"


def test_a_file_on_s3_is_read_over_the_connection(
    make_dag: MakeDag, runs: Runs, churn: Churn, s3_storage: Storage, s3_bucket: str, aws_connection: str
) -> None:
    uri = f"s3://{s3_bucket}/monitors/churn.json"
    s3_storage.write(uri, json.dumps(churn.declared()).encode())
    dag = make_dag(
        f'model_quality_dag("{uri}", schedule="0 * * * *", start_date=START, aws_conn_id="{aws_connection}")'
    )
    runs.trigger(dag, **AT_NINE)
    assert set(runs.finish(dag).values()) == {"success"}
    assert churn.reports() == [NINE]


def test_a_dag_file_run_as_a_script_finds_the_file_beside_it(airflow_db: None, churn: Churn, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text(
        "from airflow_mq_provider import model_quality_dag\n"
        "dag = model_quality_dag('churn.yaml')\n"
        "print(dag.dag_id, dag.folder)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(tmp_path / "beside.py")],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env=os.environ,
    )
    assert done.stdout.splitlines()[-1] == f"churn {tmp_path}"


@pytest.mark.parametrize("path", ["{{ var.value.monitor }}", "s3://", ""])
def test_a_path_of_which_no_dag_id_can_be_made_asks_for_one(path: str) -> None:
    with pytest.raises(ModelQualityError, match="give it a dag_id"):
        model_quality_dag(path)


# --- templates


@pytest.mark.parametrize("as_file", [False, True])
def test_templates_in_uris_are_rendered_when_tasks_run(
    make_dag: MakeDag, runs: Runs, churn: Churn, airflow_dags: Path, as_file: bool
) -> None:
    rendered = churn.root + "/{{ dag_run.run_type.value }}"
    settings = {"output_uri": rendered}
    file = airflow_dags / "of-templates.json"
    file.write_text(json.dumps(churn.declared(**settings)))
    try:
        monitor = '"of-templates.json"' if as_file else "monitor"
        dag = make_dag(f'model_quality_dag({monitor}, schedule="0 * * * *", start_date=START)', **settings)
        runs.trigger(dag, **AT_NINE)
        assert set(runs.finish(dag).values()) == {"success"}
    finally:
        file.unlink()
    assert churn.storage.exists(join(churn.root, "manual/churn/churn-quality", NINE, "report.json"))


def test_what_a_template_becomes_is_validated(make_dag: MakeDag, runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    dag = make_dag(
        'model_quality_dag(monitor, schedule="0 * * * *", start_date=START)', output_uri="{{ 'ftp://reports' }}"
    )
    runs.trigger(dag, **AT_NINE)
    assert runs.finish(dag)["merge_ground_truth"] == "failed"
    assert "output_uri" in "".join(capfd.readouterr())


# --- what cannot be


def test_a_wrong_monitor_fails_its_task_without_retries(make_dag: MakeDag, runs: Runs, airflow_dags: Path) -> None:
    file = airflow_dags / "of-faults.yaml"
    file.write_text("name: churn\nproblem_type: Regresion\n")
    try:
        dag = make_dag('model_quality_dag("of-faults.yaml", start_date=START, default_args={"retries": 5})')
        runs.trigger(dag, **AT_NINE)
        assert runs.finish(dag)["merge_ground_truth"] == "failed"
    finally:
        file.unlink()


# --- what the DAG says and is


def test_the_documentation_tells_the_window_in_words_and_where_reports_lie() -> None:
    told = model_quality_dag(declared(endpoint_input={"start_time_offset": "-P1W", "end_time_offset": "-PT90M"})).doc_md
    assert told is not None
    assert "from 7 days before it (`-P1W`) up to 1 hour 30 minutes before it (`-PT90M`)" in told
    assert "endpoint `churn`" in told
    assert "`s3://bucket/reports/churn/churn/yyyy/mm/dd/hh/`" in told


def test_the_documentation_of_a_monitor_without_offsets_names_the_interval() -> None:
    told = model_quality_dag(declared()).doc_md
    assert told is not None
    assert "from the start of the run's data interval up to that time" in told


def test_a_dag_runs_one_window_at_a_time_without_catching_up_and_tries_thrice() -> None:
    dag = model_quality_dag(declared(), schedule="@daily", start_date=datetime(2026, 11, 1, tzinfo=UTC))
    assert (dag.dag_id, dag.max_active_runs, dag.catchup) == ("churn", 1, False)
    assert {task.task_id: task.retries for task in dag.tasks} == {"merge_ground_truth": 2, "analyze_quality": 2}


def test_a_dag_that_waits_for_labels_runs_sixteen_windows_side_by_side() -> None:
    dag = model_quality_dag(declared(), wait_for_captures="PT1H", wait_for_ground_truth="P2D", on_violation="fail")
    assert dag.max_active_runs == 16
    order = ["wait_for_captures", "wait_for_ground_truth", "merge_ground_truth", "analyze_quality", "enforce_verdict"]
    assert [task.task_id for task in dag.topological_sort()] == order


@pytest.mark.parametrize(("deferrable", "mode"), [(True, "poke"), (False, "reschedule")])
def test_a_dag_whose_sensors_may_not_defer_frees_their_workers_all_the_same(deferrable: bool, mode: str) -> None:
    dag = model_quality_dag(declared(), wait_for_captures="PT1H", wait_for_ground_truth="P2D", deferrable=deferrable)
    sensors: list[Any] = [dag.get_task(name) for name in ("wait_for_captures", "wait_for_ground_truth")]
    assert [(sensor.deferrable, sensor.mode) for sensor in sensors] == [(deferrable, mode)] * 2


def test_what_a_user_says_of_the_dag_goes_before_what_is_assumed() -> None:
    dag = model_quality_dag(
        declared(), dag_id="mine", max_active_runs=3, default_args={"retries": 7}, doc_md="mine", tags=["quality"]
    )
    assert (dag.dag_id, dag.max_active_runs, dag.doc_md, set(dag.tags)) == ("mine", 3, "mine", {"quality"})
    assert {task.retries for task in dag.tasks} == {7}


def test_a_longest_run_time_is_halved_between_the_tasks_and_there_is_none_by_default() -> None:
    limited = model_quality_dag(declared(), max_runtime=timedelta(hours=1))
    assert {task.execution_timeout for task in limited.tasks} == {timedelta(seconds=1800)}
    assert {task.execution_timeout for task in model_quality_dag(declared()).tasks} == {None}


def test_a_group_of_tasks_stands_in_a_dag_of_ones_own() -> None:
    from airflow.sdk import DAG

    from airflow_mq_provider import ModelQualityTaskGroup

    with DAG("mine", schedule=None) as dag:
        first = ModelQualityTaskGroup("first", declared())
        second = ModelQualityTaskGroup("second", declared(), on_violation="fail")
        first >> second
    assert sorted(dag.task_ids) == [
        "first.analyze_quality",
        "first.merge_ground_truth",
        "second.analyze_quality",
        "second.enforce_verdict",
        "second.merge_ground_truth",
    ]
    assert dag.get_task("second.merge_ground_truth").upstream_task_ids == {"first.analyze_quality"}
    assert first.result.operator.task_id == "first.analyze_quality"
