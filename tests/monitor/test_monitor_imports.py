"""A DAG file that declares a monitor is parsed again and again: what it imports is kept small."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "airflow",
    "boto3",
    "botocore",
    "isodate",
    "jmespath",
    "msgspec",
    "numpy",
    "pandas",
    "pendulum",
    "pyarrow",
    "yaml",
}

DECLARATION = """
import sys
from airflow_mq_provider.monitor import EndpointInput, ModelQualityMonitor
ModelQualityMonitor(
    name="churn",
    problem_type="BinaryClassification",
    endpoint_input=EndpointInput(endpoint_name="churn", probability_attribute="0", start_time_offset="-P8D"),
    ground_truth_uri="s3://bucket/labels",
    output_uri="s3://{{ var.value.bucket }}/reports",
)
print(*(name for name in sys.modules if "." not in name))
"""


def test_declaring_a_monitor_imports_nothing_heavy():
    answer = subprocess.run([sys.executable, "-c", DECLARATION], capture_output=True, text=True, check=True)
    # offsets are durations, which isodate reads: it is small
    assert HEAVY.intersection(answer.stdout.split()) <= {"isodate"}
