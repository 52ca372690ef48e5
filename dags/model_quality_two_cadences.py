"""Two cadences of one model: daily, and weekly, which SageMaker's schedules cannot be.

Each cadence is a monitor of its own, so their reports never touch.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_mq_provider import EndpointInput, ModelQualityMonitor, model_quality_dag

ROOT = "{{ var.value.get('model_quality_root', 's3://bucket') }}"
CADENCES = {
    "churn-daily": ("0 5 * * *", "-P2D", "-P1D"),
    "churn-weekly": ("0 5 * * 1", "-P8D", "-P1D"),
}

for name, (schedule, start_time_offset, end_time_offset) in CADENCES.items():
    globals()[name] = model_quality_dag(
        ModelQualityMonitor(
            name=name,
            problem_type="BinaryClassification",
            endpoint_input=EndpointInput(
                endpoint_name="churn",
                data_captured_destination_uri=f"{ROOT}/capture",
                probability_attribute="0",
                start_time_offset=start_time_offset,
                end_time_offset=end_time_offset,
            ),
            ground_truth_uri=f"{ROOT}/labels",
            output_uri=f"{ROOT}/reports",
            constraints_uri=f"{ROOT}/baseline/constraints.json",
        ),
        schedule=schedule,
        start_date=datetime(2026, 11, 1, tzinfo=UTC),
    )
