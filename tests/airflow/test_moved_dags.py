"""The DAG file that `model-quality import --dag` writes is parsed by Airflow and judges a window."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from airflow_mq_provider.cli import main
from airflow_mq_provider.storage import join
from tests.airflow_world import Churn, Runs
from tests.moving.conftest import DEFINITION


def definition(churn: Churn) -> dict[str, object]:
    """The job definition of the endpoint, its places on the local disk."""
    churn.constrained(accuracy=0.5)
    return {
        **DEFINITION,
        "JobDefinitionName": "moved-churn",
        "ModelQualityBaselineConfig": {"ConstraintsResource": {"S3Uri": join(churn.root, "constraints.json")}},
        "ModelQualityJobInput": {
            "EndpointInput": {"EndpointName": "churn", "LocalPath": "/opt/ml/x", "ProbabilityAttribute": "0"},
            "GroundTruthS3Input": {"S3Uri": join(churn.root, "labels")},
        },
        "ModelQualityJobOutputConfig": {
            "MonitoringOutputs": [{"S3Output": {"S3Uri": join(churn.root, "reports"), "LocalPath": "/opt/ml/y"}}]
        },
    }


def test_a_moved_definition_judges_the_windows_that_its_schedule_did(
    churn: Churn, airflow_dags: Path, runs: Runs, tmp_path: Path
) -> None:
    churn.hours(datetime(2026, 11, 2, tzinfo=UTC), 2)
    described, dag_file = tmp_path / "definition.json", airflow_dags / "moved_churn.py"
    described.write_text(json.dumps(definition(churn)))
    arguments = ["--schedule", "0 * * * *", "--capture-uri", join(churn.root, "capture"), "--dag", str(dag_file)]
    assert main(["import", str(described), *arguments]) == 0
    from tests.airflow_versions import take_up

    try:
        (dag,) = take_up(dag_file, airflow_dags).values()
        assert dag.dag_id == "moved-churn"
        runs.trigger(dag, logical_date="2026-11-02T02:00:00Z")
        assert set(runs.finish(dag).values()) == {"success"}
        judged = runs.xcom(dag, "analyze_quality")
    finally:
        dag_file.unlink()
        dag_file.with_suffix(".yaml").unlink()
    assert judged["status"] == "Completed"
    assert (judged["window"]["start"], judged["window"]["end"]) == ("2026-11-02T01:00:00Z", "2026-11-02T02:00:00Z")
