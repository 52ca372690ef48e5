"""SageMaker runs it: a schedule that Airflow keeps as it is declared here, and whose every execution it follows.

For accounts that still have Model Monitor. Change an offset, and the next run replaces the job definition, points the
schedule to the new one and deletes the old one; where nothing was changed, nothing is touched.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable  # from Airflow 3.2 on airflow.sdk has it, too

from airflow_mq_provider import EndpointInput, ModelQualityMonitor, SageMakerSettings
from airflow_mq_provider.operators.sagemaker import (
    SageMakerModelQualityJobDefinitionOperator,
    SageMakerMonitoringScheduleOperator,
)
from airflow_mq_provider.sensors.sagemaker import SageMakerMonitoringExecutionSensor

ROOT = "{{ var.value.get('model_quality_root', 's3://bucket') }}"
AWS = {"aws_conn_id": "aws_default"}

churn = ModelQualityMonitor(
    name="churn-on-sagemaker",
    problem_type="BinaryClassification",
    endpoint_input=EndpointInput(
        endpoint_name="churn",
        probability_attribute="0",
        start_time_offset="-P8D",
        end_time_offset="-P1D",
    ),
    ground_truth_uri=f"{ROOT}/labels",
    output_uri=f"{ROOT}/reports",
    constraints_uri=f"{ROOT}/baseline/constraints.json",
    sagemaker=SageMakerSettings(role_arn="arn:aws:iam::123456789012:role/model-monitor"),
)

with DAG(
    "churn-on-sagemaker",
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2},
) as dag:
    definition = SageMakerModelQualityJobDefinitionOperator(
        task_id="keep_job_definition", monitor=churn, if_exists="replace", **AWS
    )
    schedule = SageMakerMonitoringScheduleOperator(
        task_id="keep_schedule",
        monitor=churn,
        schedule="hourly",
        job_definition_name=definition.output["job_definition_name"],
        **AWS,
    )
    SageMakerMonitoringExecutionSensor(
        task_id="follow_execution",
        schedule_name=schedule.output["schedule_name"],
        on_violation="fail",
        # an hour without traffic is no reason for an alarm; SageMaker fails its execution
        on_not_judged="skip",
        **AWS,
    )
