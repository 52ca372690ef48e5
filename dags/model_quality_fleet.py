"""Every model of a folder, judged every hour: a file that is added there is a monitor from the next run on."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_mq_provider import model_quality_fleet_dag

dag = model_quality_fleet_dag(
    "{{ var.value.get('model_quality_root', 's3://bucket') }}/monitors",
    dag_id="model_quality_fleet",
    schedule="0 * * * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    on_violation="fail",
    max_active_tasks=16,
)
