"""One model, judged every hour: the whole of what a user has to write."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_mq_provider import EndpointInput, ModelQualityMonitor, model_quality_dag

churn = ModelQualityMonitor(
    name="churn-model-quality",
    problem_type="BinaryClassification",
    endpoint_input=EndpointInput(
        endpoint_name="churn",
        data_captured_destination_uri="{{ var.value.get('model_quality_root', 's3://bucket') }}/capture",
        probability_attribute="0",
        start_time_offset="-P8D",
        end_time_offset="-P1D",
    ),
    ground_truth_uri="{{ var.value.get('model_quality_root', 's3://bucket') }}/labels",
    output_uri="{{ var.value.get('model_quality_root', 's3://bucket') }}/reports",
    constraints_uri="{{ var.value.get('model_quality_root', 's3://bucket') }}/baseline/constraints.json",
)
dag = model_quality_dag(churn, schedule="0 * * * *", start_date=datetime(2020, 1, 1, tzinfo=UTC))
