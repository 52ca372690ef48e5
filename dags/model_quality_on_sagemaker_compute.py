"""Merge and analysis as Processing jobs of SageMaker, each day's predictions judged with the labels that came within a day.

No Model Monitor is needed: no job definition, no schedule. A day has more hours than SageMaker's merger takes, so the
worker merges, and the analyzer judges the rows.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_mq_provider import EndpointInput, ModelQualityMonitor, SageMakerSettings, model_quality_dag

ROOT = "{{ var.value.get('model_quality_root', 's3://bucket') }}"

churn = ModelQualityMonitor(
    name="churn-daily",
    problem_type="BinaryClassification",
    endpoint_input=EndpointInput(
        endpoint_name="churn",
        data_captured_destination_uri=f"{ROOT}/capture",
        probability_attribute="0",
        start_time_offset="-P2D",
        end_time_offset="-P1D",
    ),
    ground_truth_uri=f"{ROOT}/labels",
    output_uri=f"{ROOT}/reports",
    constraints_uri=f"{ROOT}/baseline/constraints.json",
    sagemaker=SageMakerSettings(role_arn="arn:aws:iam::123456789012:role/monitoring"),
)

dag = model_quality_dag(
    churn,
    dag_id="churn-on-sagemaker-compute",
    schedule="0 0 * * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    compute="sagemaker",
    on_violation="fail",
)
