"""A shadow run: SageMaker's schedule goes on, Airflow judges the same window, and the two reports are laid side by side.

The monitor has the offsets, the constraints and the name of the schedule, so both write to folders of the same name, each
under an output of its own. What differs is said metric by metric; once nothing does, the schedule can go.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable  # from Airflow 3.2 on airflow.sdk has it, too

from airflow_mq_provider import EndpointInput, ModelQualityMonitor, ModelQualityTaskGroup
from airflow_mq_provider.operators.sagemaker import CompareExecutionsOperator
from airflow_mq_provider.sensors.sagemaker import SageMakerMonitoringExecutionSensor

ROOT = "{{ var.value.get('model_quality_root', 's3://bucket') }}"
AWS = {"aws_conn_id": "aws_default"}

churn = ModelQualityMonitor(
    name="churn-hourly",
    problem_type="BinaryClassification",
    endpoint_input=EndpointInput(
        endpoint_name="churn",
        data_captured_destination_uri=f"{ROOT}/capture",
        probability_attribute="0",
    ),
    ground_truth_uri=f"{ROOT}/labels",
    output_uri=f"{ROOT}/reports-of-airflow",
    constraints_uri=f"{ROOT}/baseline/constraints.json",
)

with DAG(
    "churn-shadow",
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2},
) as dag:
    theirs = SageMakerMonitoringExecutionSensor(
        task_id="follow_execution", schedule_name=churn.name, on_not_judged="continue", **AWS
    )
    ours = ModelQualityTaskGroup("airflow", churn, **AWS)
    CompareExecutionsOperator(
        task_id="compare", sagemaker=theirs.output, airflow=ours.result, on_difference="continue", **AWS
    )
