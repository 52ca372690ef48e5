"""The merge on Spark over Spark Connect: the task is the client of a server, and holds a worker's slot but none of its memory.

``SPARK_REMOTE`` in the environment of the workers names the server, as in ``sc://spark.internal:15002``; so does
``spark_conn_id``, by a connection of Airflow's. Needs the extra ``spark`` on the workers.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_mq_provider import EndpointInput, ModelQualityMonitor, model_quality_dag

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
    dag_id="churn-on-spark-connect",
    schedule="0 * * * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    engine="spark",
)
