"""Every DAG under dags/ is parsed by Airflow and run to its report."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.storage import Storage, join
from tests.airflow_world import Churn, Runs
from tests.sagemaker_world import SageMaker, make_schedule
from tests.spark_world import Clusters

EXAMPLES = Path(__file__).parents[2] / "dags"
WINDOW = {"window_start": "2026-11-02T00:00:00Z", "window_end": "2026-11-02T06:00:00Z"}
CONSTRAINTS = {"accuracy": {"threshold": 0.5, "comparison_operator": "LessThanThreshold"}}


@pytest.fixture
def load(airflow_dags: Path) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Has Airflow take up an example as a user's DAG file, and returns its DAGs; gone after the test."""
    copies: list[Path] = []

    def load_example(name: str) -> dict[str, Any]:
        from tests.airflow_versions import take_up

        copies.append(airflow_dags / f"model_quality_{name}.py")
        shutil.copy(EXAMPLES / copies[-1].name, copies[-1])
        return take_up(copies[-1], airflow_dags)

    yield load_example
    for copy in copies:
        copy.unlink()


@pytest.mark.parametrize("name", ["minimal", "with_sensors", "two_cadences"])
def test_an_example_judges_a_window(
    name: str, churn: Churn, load: Callable[[str], dict[str, Any]], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    churn.hours(datetime(2026, 11, 2, tzinfo=UTC), 6)
    document = json.dumps({"version": 0.0, "binary_classification_constraints": CONSTRAINTS}).encode()
    Storage().write(join(churn.root, "baseline/constraints.json"), document)
    monkeypatch.setenv("AIRFLOW_VAR_MODEL_QUALITY_ROOT", churn.root)
    for dag in load(name).values():
        runs.trigger(dag, logical_date="2026-11-02T06:30:00Z", conf=WINDOW)
        states = runs.finish(dag)
        assert set(states.values()) == {"success"}, states
        judged = runs.xcom(dag, "analyze_quality")
        assert (judged["status"], judged["window"]["source"]) == ("Completed", "params")


def test_the_refresh_judges_again_what_the_minimal_example_judged(
    churn: Churn, load: Callable[[str], dict[str, Any]], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    churn.hours(today - timedelta(days=6), 48, labelled=6)
    document = json.dumps({"version": 0.0, "binary_classification_constraints": CONSTRAINTS}).encode()
    Storage().write(join(churn.root, "baseline/constraints.json"), document)
    monkeypatch.setenv("AIRFLOW_VAR_MODEL_QUALITY_ROOT", churn.root)
    [minimal] = load("minimal").values()
    runs.trigger(minimal, logical_date=f"{today - timedelta(days=1):%Y-%m-%dT00:00:00Z}", dag_run_id="late")
    assert set(runs.finish(minimal, "late").values()) == {"success"}
    churn.hours(today - timedelta(days=6), 48, labelled=8)
    [dag] = load("refresh").values()
    runs.trigger(dag, logical_date=None)
    assert runs.finish(dag) == {"find_late_labels": "success", "judge_again": "success"}
    [due] = runs.xcom(dag, "find_late_labels")
    assert due["former"]["label_coverage"] == 0.75
    folder = f"{today - timedelta(days=1):%Y/%m/%d/%H}"
    report = json.loads(Storage().read(join(churn.root, "reports/churn/churn-model-quality", folder, "report.json")))
    assert (report["merge"]["label_coverage"], report["revision"]["number"]) == (1.0, 1)


def test_the_fleet_judges_every_monitor_of_its_folder(
    churn: Churn, load: Callable[[str], dict[str, Any]], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    churn.hours(datetime(2026, 11, 2, tzinfo=UTC), 6)
    churn.constrained(accuracy=0.5)
    for name in ("first", "second"):
        declared = json.dumps(churn.declared(name=f"example-{name}")).encode()
        Storage().write(join(churn.root, f"monitors/{name}.json"), declared)
    monkeypatch.setenv("AIRFLOW_VAR_MODEL_QUALITY_ROOT", churn.root)
    [dag] = load("fleet").values()
    runs.trigger(dag, logical_date="2026-11-02T06:30:00Z", conf=WINDOW)
    assert set(runs.finish(dag).values()) == {"success"}
    for name in ("first", "second"):
        [event] = runs.asset_events(f"x-model-quality://example-{name}")
        assert (event["status"], event["records"]) == ("Completed", 48)


def test_the_demo_dags_judge_the_demo_windows(
    tmp_path: Path, load: Callable[[str], dict[str, Any]], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    from airflow_mq_provider.cli import main

    assert main(["demo", str(tmp_path / "demo")]) == 0
    monkeypatch.setenv("MODEL_QUALITY_DEMO", str(tmp_path / "demo"))
    dags = load("demo")
    assert sorted(dags) == ["demo_diabetes", "demo_digits", "demo_tumours"]
    found = {}
    for dag_id, dag in dags.items():
        runs.trigger(dag, logical_date="2026-11-09T00:00:00Z")
        assert set(runs.finish(dag).values()) == {"success"}
        found[dag_id] = runs.xcom(dag, "analyze_quality")["status"]
    assert found == {
        "demo_diabetes": "CompletedWithViolations",
        "demo_digits": "Completed",
        "demo_tumours": "Completed",
    }


# --- with SageMaker


NINE = datetime(2026, 11, 10, 9, tzinfo=UTC)


@pytest.fixture
def account(sagemaker: SageMaker, churn_on_s3: Churn, aws_connection: str, monkeypatch: pytest.MonkeyPatch) -> Churn:
    """The examples' own account: their connection, their root, their baseline."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", os.environ["AIRFLOW_CONN_S3_OF_TESTS"])
    monkeypatch.setenv("AIRFLOW_VAR_MODEL_QUALITY_ROOT", churn_on_s3.root)
    constraints = {"accuracy": {"threshold": 0.9, "comparison_operator": "LessThanThreshold"}}
    document = json.dumps({"version": 0.0, "binary_classification_constraints": constraints}).encode()
    churn_on_s3.storage.write(join(churn_on_s3.root, "baseline/constraints.json"), document)
    return churn_on_s3


def test_the_example_on_sagemaker_keeps_a_schedule_and_follows_its_execution(
    account: Churn, sagemaker: SageMaker, load: Callable[[str], dict[str, Any]], runs: Runs
) -> None:
    [dag] = load("on_sagemaker").values()
    for task in dag.tasks:
        task.waiter_delay = 0
    runs.trigger(dag, logical_date="2026-11-10T08:00:00Z", dag_run_id="first")
    assert runs.finish(dag, "first") == {
        "keep_job_definition": "success",
        "keep_schedule": "success",
        "follow_execution": "skipped",  # the schedule is younger than its slot
    }
    account.hours(NINE - timedelta(days=3), 1, wrong=3)
    sagemaker.pass_time(NINE + timedelta(minutes=20))
    sagemaker.calls.clear()
    runs.trigger(dag, logical_date="2026-11-10T09:00:00Z", dag_run_id="second")
    assert runs.finish(dag, "second")["follow_execution"] == "failed"  # violations are to fail it
    assert sagemaker.changed() == []


def test_the_shadow_example_compares_both_verdicts(
    account: Churn, sagemaker: SageMaker, load: Callable[[str], dict[str, Any]], runs: Runs
) -> None:
    make_schedule(
        sagemaker,
        account.declared(name="churn-hourly", constraints_uri=join(account.root, "baseline/constraints.json")),
    )
    account.hours(NINE - timedelta(hours=1), 1, wrong=3)
    sagemaker.pass_time(NINE + timedelta(minutes=20))
    [dag] = load("shadow").values()
    runs.trigger(dag, logical_date="2026-11-10T09:00:00Z")
    states = runs.finish(dag)
    assert set(states.values()) == {"success"}, states
    compared = runs.xcom(dag, "compare")
    assert compared["verdict"] == "same"
    assert compared["a"] == join(account.root, "reports/churn/churn-hourly/2026/11/10/09")
    assert compared["b"] == join(account.root, "reports-of-airflow/churn/churn-hourly/2026/11/10/09")
    assert [row["name"] for row in compared["violations"]] == ["accuracy"]


def test_the_example_on_sagemaker_s_compute_judges_a_day(
    account: Churn, sagemaker: SageMaker, load: Callable[[str], dict[str, Any]], runs: Runs
) -> None:
    sagemaker.analyzing = timedelta(seconds=30)
    account.hours(datetime(2026, 11, 8, tzinfo=UTC), 24, wrong=3)
    [dag] = load("on_sagemaker_compute").values()
    for task in dag.tasks:
        task.waiter_delay = 0
    runs.trigger(dag, logical_date="2026-11-10T00:00:00Z")
    assert runs.finish(dag) == {
        "merge_ground_truth": "success",
        "analyze_quality": "success",
        "enforce_verdict": "failed",  # violations are to fail it
    }
    judged = runs.xcom(dag, "analyze_quality")
    assert (judged["status"], judged["engine"], judged["merge"]["matched"]) == (
        "CompletedWithViolations",
        "sagemaker",
        192,
    )


# --- with the merge on a cluster


@pytest.mark.parametrize("name", ["on_emr_serverless", "on_glue", "on_spark", "on_spark_connect"])
def test_an_example_on_a_cluster_judges_a_window(
    name: str,
    clusters: Clusters,
    emr_application: str,
    churn_on_s3: Churn,
    load: Callable[[str], dict[str, Any]],
    runs: Runs,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name == "on_spark":
        request.getfixturevalue("spark_submit")
    churn = churn_on_s3
    churn.hours(datetime(2026, 11, 2, tzinfo=UTC), 6)
    document = json.dumps({"version": 0.0, "binary_classification_constraints": CONSTRAINTS}).encode()
    churn.storage.write(join(churn.root, "baseline/constraints.json"), document)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", os.environ["AIRFLOW_CONN_S3_OF_TESTS"])
    monkeypatch.setenv("AIRFLOW_VAR_MODEL_QUALITY_ROOT", churn.root)
    monkeypatch.setenv("AIRFLOW_VAR_EMR_SERVERLESS_APPLICATION", emr_application)
    [dag] = load(name).values()
    for task in dag.tasks:
        task.engine = "reference"  # what Spark itself counts is tested under engines/
    runs.trigger(dag, logical_date="2026-11-02T06:30:00Z", conf=WINDOW)
    assert set(runs.finish(dag).values()) == {"success"}, clusters.said
    judged = runs.xcom(dag, "analyze_quality")
    assert (judged["status"], judged["engine"], judged["merge"]["matched"]) == ("Completed", "reference", 48)


def test_every_example_is_tested() -> None:
    tested = {
        "minimal", "with_sensors", "two_cadences", "fleet", "refresh", "on_sagemaker", "on_sagemaker_compute", "shadow", "demo",
        "on_emr_serverless", "on_glue", "on_spark", "on_spark_connect",
    }  # fmt: skip
    retraining = "retrain_on_violation"  # by test_retraining.py
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {retraining, *(f"model_quality_{name}" for name in tested)}
