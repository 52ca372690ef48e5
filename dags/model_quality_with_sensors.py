"""A run that waits: for the window's captures up to an hour, for 95 % of its labels up to seven days.

Waiting runs stand side by side, and a violated constraint fails the run once its report stands, so that the alarms that
are there already go off.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_mq_provider import EndpointInput, ModelQualityMonitor, model_quality_dag

ROOT = "{{ var.value.get('model_quality_root', 's3://bucket') }}"

monitor = ModelQualityMonitor(
    name="churn-once-labelled",
    problem_type="BinaryClassification",
    endpoint_input=EndpointInput(
        endpoint_name="churn",
        data_captured_destination_uri=f"{ROOT}/capture",
        probability_attribute="0",
    ),
    ground_truth_uri=f"{ROOT}/labels",
    output_uri=f"{ROOT}/reports",
    constraints_uri=f"{ROOT}/baseline/constraints.json",
    min_label_coverage=0.5,
)
dag = model_quality_dag(
    monitor,
    schedule="0 * * * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    wait_for_captures="PT1H",
    wait_for_ground_truth="P7D",
    ground_truth_coverage=0.95,
    on_violation="fail",
    on_not_judged="skip",
)
