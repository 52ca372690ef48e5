"""The merge in a Glue job, for windows that are too much for one machine; the analysis follows in the worker.

The operator makes the Glue job where there is none. docs/spark.md tells what the job is to install, docs/iam.md what its
role needs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from airflow_mq_provider import EndpointInput, ModelQualityMonitor, model_quality_dag
from airflow_mq_provider.operators.spark_on_aws import GlueGroundTruthMergeOperator

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
    dag_id="churn-on-glue",
    schedule="0 * * * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    merge_operator=partial(
        GlueGroundTruthMergeOperator,
        job_name="model-quality-merge",
        iam_role_arn="arn:aws:iam::123456789012:role/merging",
        create_job_kwargs={"GlueVersion": "5.1", "WorkerType": "G.1X", "NumberOfWorkers": 10},
        concurrent_run_limit=4,
        wheel=f"{ROOT}/spark/airflow_mq_provider-0.1.0-py3-none-any.whl",
    ),
)
