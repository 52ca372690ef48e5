"""The hash by which a report names the definition it was made under."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from airflow_mq_provider.monitor import EndpointInput, ModelQualityMonitor


def monitor(**given: Any) -> ModelQualityMonitor:
    fields: dict[str, Any] = {
        "name": "churn-model-quality",
        "problem_type": "BinaryClassification",
        "endpoint_input": EndpointInput(
            endpoint_name="churn",
            data_captured_destination_uri="s3://bucket/capture",
            probability_attribute="0",
            probability_threshold_attribute=0.5,
            start_time_offset="-P8D",
            end_time_offset="-P1D",
        ),
        "ground_truth_uri": "s3://bucket/labels",
        "output_uri": "s3://bucket/reports",
    }
    return ModelQualityMonitor(**(fields | given))


PINNED = "29b4916b7ea1b360"


def test_the_hash_is_the_same_for_ever():
    """A changed value here makes every stored report one of another definition: it wants a line in the changelog."""
    assert monitor().definition_hash() == PINNED


def test_the_hash_is_the_same_in_another_process(tmp_path):
    path = tmp_path / "monitor.yaml"
    path.write_text(monitor().to_yaml())
    program = (
        "import sys; from airflow_mq_provider.monitor import ModelQualityMonitor as M;"
        "print(M.from_file(sys.argv[1]).definition_hash())"
    )
    for seed in ("0", "1"):
        answer = subprocess.run(
            [sys.executable, "-c", program, str(path)],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert answer.stdout.strip() == PINNED


def test_the_order_in_which_fields_are_given_does_not_matter():
    given = monitor().model_dump()
    assert ModelQualityMonitor(**dict(reversed(given.items()))).definition_hash() == PINNED


@pytest.mark.parametrize(
    "given",
    [
        {"sagemaker": {"instance_count": 3}},
        {"publish_cloudwatch_metrics": True},
        {"prepared_hours_retention": "P0D"},
        {"output_uri": "s3://bucket/reports/"},
        {"positive_label": "1.0"},
        {"min_label_coverage": 0},
    ],
)
def test_what_does_not_change_the_analysis_does_not_change_the_hash(given):
    assert monitor(**given).definition_hash() == PINNED


@pytest.mark.parametrize(
    "given",
    [
        {"name": "other"},
        {"ground_truth_uri": "s3://bucket/other"},
        {"positive_label": "yes"},
        {"max_rejected_ratio": 0.1},
        {"noise_sd": 2.0},
        {"segments": {"input_attribute": 3}},
        {"keep_merged": "jsonl"},
        {"constraints_uri": "s3://bucket/constraints.json"},
        {"ground_truth_max_delay": "P7D"},
        {"endpoint_input": {"endpoint_name": "churn", "probability_attribute": "0"}},
        # a script decides which records are read, and its environment what it does
        {"sagemaker": {"record_preprocessor_source_uri": "s3://bucket/pre.py"}},
        {"sagemaker": {"record_preprocessor_source_uri": "s3://bucket/pre.py", "environment": {"A": "1"}}},
    ],
)
def test_what_changes_the_analysis_changes_the_hash(given):
    assert monitor(**given).definition_hash() != PINNED
