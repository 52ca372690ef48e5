"""The merge on a Spark cluster of one's own, by ``spark-submit`` from the worker; the analysis follows in the worker.

Needs the extra ``spark-submit``, and a connection ``spark_default`` to the cluster.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from airflow_mq_provider import EndpointInput, ModelQualityMonitor, model_quality_dag
from airflow_mq_provider.operators.spark_submit import SparkSubmitGroundTruthMergeOperator

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
    dag_id="churn-on-spark",
    schedule="0 * * * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    merge_operator=partial(
        SparkSubmitGroundTruthMergeOperator,
        conf={"spark.executor.memory": "8g"},
    ),
)
