"""Metrics in CloudWatch, published by a task over its Airflow connection (rule O3)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from tests.airflow_world import Churn, MakeDag, Runs


def test_a_task_publishes_over_its_connection_to_the_namespace_of_the_settings(
    make_dag: MakeDag, runs: Runs, churn: Churn, aws_connection: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace = f"of-a-test-{uuid.uuid4().hex}"
    monkeypatch.setenv("AIRFLOW__MODEL_QUALITY__CLOUDWATCH_NAMESPACE", namespace)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    churn.hours(hour, 1)
    dag = make_dag(
        f'model_quality_dag(monitor, schedule="0 * * * *", start_date=START, aws_conn_id="{aws_connection}")',
        publish_cloudwatch_metrics=True,
    )
    runs.trigger(dag, logical_date=(hour + timedelta(hours=1)).isoformat())
    assert set(runs.finish(dag).values()) == {"success"}
    told = runs.xcom(dag, "analyze_quality")["cloudwatch"]
    assert (told["status"], told["namespace"]) == ("published", namespace)
    listed = boto3.client("cloudwatch", endpoint_url=s3_endpoint).list_metrics(Namespace=namespace)["Metrics"]
    assert len(listed) == told["metrics"]
