"""The merge on EMR Serverless, for windows that are too much for one machine; the analysis follows in the worker.

docs/spark.md tells how the packed environment is made, docs/iam.md what the role needs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from airflow_mq_provider import EndpointInput, ModelQualityMonitor, model_quality_dag
from airflow_mq_provider.operators.spark_on_aws import EmrServerlessGroundTruthMergeOperator

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

dag = model_quality_dag(
    churn,
    dag_id="churn-on-emr-serverless",
    schedule="0 * * * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    merge_operator=partial(
        EmrServerlessGroundTruthMergeOperator,
        application_id="{{ var.value.get('emr_serverless_application', '00f1abcdefgh2345') }}",
        execution_role_arn="arn:aws:iam::123456789012:role/merging",
        environment=f"{ROOT}/spark/environment.tar.gz",
        spark_submit_parameters="--conf spark.executor.memory=8g",
    ),
)
