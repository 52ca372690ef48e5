"""Every morning: past windows whose labels came late are judged again, each by a task of its own.

The monitor is that of the DAG which judges the windows in the first place: the same name, the same definition.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from airflow_mq_provider import EndpointInput, ModelQualityMonitor
from airflow_mq_provider.operators.refresh import refresh_tasks

ROOT = "{{ var.value.get('model_quality_root', 's3://bucket') }}"

churn = ModelQualityMonitor(
    name="churn-model-quality",
    problem_type="BinaryClassification",
    endpoint_input=EndpointInput(
        endpoint_name="churn",
        data_captured_destination_uri=f"{ROOT}/capture",
        probability_attribute="0",
        start_time_offset="-P8D",
        end_time_offset="-P1D",
    ),
    ground_truth_uri=f"{ROOT}/labels",
    output_uri=f"{ROOT}/reports",
    constraints_uri=f"{ROOT}/baseline/constraints.json",
)

with DAG(
    "churn-model-quality-refresh",
    schedule="0 6 * * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
) as dag:
    refresh_tasks(churn, since="P30D")
