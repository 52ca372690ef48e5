"""A bad monitor is refused when it is made, all its faults at once, each by its field."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mq_provider.exceptions import ModelQualityError, MonitorError
from airflow_mq_provider.monitor import BatchTransformInput, EndpointInput, ModelQualityMonitor, SageMakerSettings

GOOD: dict[str, Any] = {
    "name": "churn-model-quality",
    "problem_type": "BinaryClassification",
    "endpoint_input": {
        "endpoint_name": "churn",
        "data_captured_destination_uri": "s3://bucket/capture",
        "probability_attribute": "0",
    },
    "ground_truth_uri": "s3://bucket/labels",
    "output_uri": "s3://bucket/reports",
}


def refused(given: dict[str, Any]) -> MonitorError:
    with pytest.raises(MonitorError) as refusal:
        ModelQualityMonitor(**given)
    return refusal.value


def test_all_faults_are_told_at_once_each_by_its_dotted_field():
    error = refused(
        {
            "name": "churn_monitor",
            "problem_type": "Regression",
            "endpoint_input": {
                "endpoint_name": "churn",
                "data_captured_destination_uri": "gs://bucket/capture",
                "probability_attribut": "0",
                "start_time_offset": "-P30M",
                "variant_name": 5,
            },
            "output_uri": "",
            "min_records": 0,
            "positive_label": "0.0",
            "sagemaker": {"instance_count": 0, "network_config": {"subnets": ["s n"]}},
        }
    )
    assert sorted(fault.partition(": ")[0] for fault in error.faults) == sorted(
        [
            "name",
            "endpoint_input.data_captured_destination_uri",
            "endpoint_input.variant_name",
            "endpoint_input.start_time_offset",
            "endpoint_input.probability_attribut",
            "endpoint_input.inference_attribute",
            "ground_truth_uri",
            "output_uri",
            "negative_label",
            "min_records",
            "sagemaker.instance_count",
            "sagemaker.network_config.subnets.0",
        ]
    )


def test_a_missing_field_is_named():
    given = dict(GOOD)
    del given["ground_truth_uri"]
    assert refused(given).faults == ("ground_truth_uri: is missing",)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ground_truth_url", "ground_truth_uri"),
        ("GroundTruthUri", "ground_truth_uri"),
        ("ground-truth-uri", "ground_truth_uri"),
        ("min_record", "min_records"),
        ("publish_cloudwatch_metric", "publish_cloudwatch_metrics"),
        ("max_rejected", "max_rejected_ratio"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_name(written, meant):
    (fault,) = refused(GOOD | {written: 1}).faults
    assert fault.startswith(f"{written}: ")
    assert meant in fault


def test_at_most_three_names_are_offered():
    (fault,) = refused(GOOD | {"ground_truth": "s3://bucket/labels"}).faults
    assert 1 <= fault.count("ground_truth_") <= 3


def test_a_field_of_a_part_is_sent_there():
    faults = refused(GOOD | {"start_time_offset": "-P1D", "role_arn": "x"}).faults
    assert "endpoint_input" in faults[0]
    assert "sagemaker" in faults[1]


def test_an_unknown_field_like_no_other_is_refused_without_an_offer():
    (fault,) = refused(GOOD | {"zzz": 1}).faults
    assert fault == "zzz: no field of ModelQualityMonitor"


def test_an_unknown_field_of_a_part_is_named_with_its_path():
    given = GOOD | {"endpoint_input": GOOD["endpoint_input"] | {"endpoint": "churn"}}
    (fault,) = refused(given).faults
    assert fault.startswith("endpoint_input.endpoint: no field of EndpointInput")
    assert "endpoint_name" in fault


@pytest.mark.parametrize("part", ["endpoint_input", "sagemaker"])
@pytest.mark.parametrize("value", ["churn", 5, ["churn"]])
def test_a_part_that_is_no_mapping_is_refused(part, value):
    assert any(fault.startswith(f"{part}: ") for fault in refused(GOOD | {part: value}).faults)


def test_keys_that_are_no_text_are_refused_like_other_unknown_fields():
    given = GOOD | {"endpoint_input": GOOD["endpoint_input"] | {1: "x"}}
    (fault,) = refused(given).faults
    assert fault.startswith("endpoint_input.1: no field")


def test_the_error_names_the_monitor():
    assert refused(GOOD | {"min_records": 0}).where == "ModelQualityMonitor 'churn-model-quality'"
    assert refused({}).where == "ModelQualityMonitor"


def test_parts_made_alone_are_refused_in_the_same_way():
    with pytest.raises(MonitorError) as refusal:
        EndpointInput(endpoint_nme="churn")  # type: ignore[call-arg]
    assert refusal.value.where == "EndpointInput"
    assert refusal.value.faults[0] == "endpoint_name: is missing"
    assert "endpoint_name" in refusal.value.faults[1]
    with pytest.raises(MonitorError):
        BatchTransformInput()  # type: ignore[call-arg]
    with pytest.raises(MonitorError):
        SageMakerSettings(instance_count=0)


def test_a_monitor_error_is_what_validation_of_a_mapping_raises_too():
    with pytest.raises(MonitorError) as refusal:
        ModelQualityMonitor.model_validate(GOOD | {"min_records": 0, "zzz": 1})
    assert len(refusal.value.faults) == 2
    with pytest.raises(MonitorError):
        ModelQualityMonitor.model_validate([])
    with pytest.raises(MonitorError):
        ModelQualityMonitor.model_validate({1: 2})


def test_a_valid_mapping_or_monitor_is_validated_to_a_monitor():
    made = ModelQualityMonitor.model_validate(GOOD)
    assert made == ModelQualityMonitor(**GOOD)
    assert ModelQualityMonitor.model_validate(made) == made


def test_json_that_is_no_monitor_is_refused_in_the_same_way():
    with pytest.raises(MonitorError, match="min_records"):
        ModelQualityMonitor.model_validate_json('{"min_records": 0}')


def test_the_message_has_four_parts_and_says_where_the_settings_are_explained():
    error = refused(GOOD | {"min_records": 0, "zzz": 1})
    assert isinstance(error, ModelQualityError)
    assert "2 faults" in error.came
    assert "docs/settings.md" in error.next_step
    assert error.__cause__ is None


def test_a_long_value_is_not_repeated_whole():
    (fault,) = refused(GOOD | {"keep_merged": "x" * 10_000}).faults
    assert len(fault) < 250
