"""What a monitor is made of: fields, defaults, and what follows from them."""

from __future__ import annotations

import copy
import pickle
import warnings
from datetime import UTC, datetime
from typing import Any

import pydantic
import pytest

from airflow_mq_provider.exceptions import MonitorError
from airflow_mq_provider.monitor import (
    BatchTransformInput,
    CsvFormat,
    EndpointInput,
    JsonFormat,
    ModelQualityMonitor,
    NetworkSettings,
    ParquetFormat,
    SageMakerSettings,
)
from airflow_mq_provider.window import OffsetWarning, explicit_window


def endpoint(**given: Any) -> EndpointInput:
    return EndpointInput(
        **{
            "endpoint_name": "churn",
            "data_captured_destination_uri": "s3://bucket/capture",
            "probability_attribute": "0",
            "start_time_offset": "-P8D",
            "end_time_offset": "-P1D",
            **given,
        }
    )


def batch(**given: Any) -> BatchTransformInput:
    return BatchTransformInput(
        **{
            "data_captured_destination_uri": "s3://bucket/capture",
            "dataset_format": {"csv": {"header": False}},
            "inference_attribute": "0",
            **given,
        }
    )


def monitor(**given: Any) -> ModelQualityMonitor:
    fields: dict[str, Any] = {
        "name": "churn-model-quality",
        "problem_type": "BinaryClassification",
        "ground_truth_uri": "s3://bucket/labels",
        "output_uri": "s3://bucket/reports",
    }
    if "batch_transform_input" not in given:
        fields["endpoint_input"] = endpoint()
    return ModelQualityMonitor(**(fields | given))


def faults(**given: Any) -> tuple[str, ...]:
    with pytest.raises(MonitorError) as refusal:
        monitor(**given)
    return refusal.value.faults


# --- the whole


def test_a_monitor_needs_six_things_and_all_else_has_a_default():
    made = monitor()
    assert made.model_dump(exclude={"endpoint_input"}) == {
        "name": "churn-model-quality",
        "problem_type": "BinaryClassification",
        "batch_transform_input": None,
        "ground_truth_uri": "s3://bucket/labels",
        "ground_truth_attribute": None,
        "output_uri": "s3://bucket/reports",
        "constraints_uri": None,
        "positive_label": "1",
        "negative_label": "0",
        "min_records": 1,
        "min_label_coverage": 0.0,
        "max_rejected_ratio": 0.05,
        "noise_sd": None,
        "segments": None,
        "keep_merged": None,
        "keep_rejected": "lines",
        "ground_truth_max_delay": None,
        "prepared_hours_retention": "P30D",
        "publish_cloudwatch_metrics": False,
        "sagemaker": None,
    }


def test_an_endpoint_needs_a_name_and_the_variant_is_the_one_sagemaker_makes():
    made = EndpointInput(endpoint_name="churn")
    assert made.variant_name == "AllTraffic"
    assert made.data_captured_destination_uri is None
    assert made.probability_threshold_attribute is None
    assert made.start_time_offset is None


def test_a_monitor_cannot_be_changed():
    with pytest.raises(pydantic.ValidationError):
        monitor().name = "other"


def test_a_monitor_can_be_copied_and_sent_to_another_process():
    made = monitor(batch_transform_input=batch(), sagemaker=SageMakerSettings(tags={"team": "ml"}))
    assert pickle.loads(pickle.dumps(made)) == made
    assert copy.deepcopy(made) == made


def test_parts_may_be_given_as_mappings():
    made = monitor(endpoint_input={"endpoint_name": "churn", "inference_attribute": "label"})
    assert made.endpoint_input == EndpointInput(endpoint_name="churn", inference_attribute="label")


# --- exactly one input


def test_the_input_is_the_one_that_was_given():
    assert monitor().input == endpoint()
    assert monitor().endpoint_name == "churn"
    made = monitor(batch_transform_input=batch())
    assert made.input == batch()
    assert made.endpoint_name is None


def test_both_inputs_are_refused():
    found = faults(endpoint_input=endpoint(), batch_transform_input=batch())
    assert found == ("endpoint_input, batch_transform_input: exactly one of them is needed, came both",)


def test_no_input_is_refused():
    found = faults(endpoint_input=None)
    assert found == ("endpoint_input, batch_transform_input: exactly one of them is needed, came neither",)


# --- which attributes a problem needs


@pytest.mark.parametrize("attribute", ["inference_attribute", "probability_attribute"])
def test_binary_needs_one_of_two_attributes(attribute):
    made = monitor(endpoint_input={"endpoint_name": "churn", attribute: "0"})
    assert getattr(made.input, attribute) == "0"


def test_binary_without_either_is_refused():
    (fault,) = faults(endpoint_input={"endpoint_name": "churn"})
    assert fault.startswith("endpoint_input.inference_attribute: ")
    assert "probability_attribute" in fault


@pytest.mark.parametrize("problem", ["MulticlassClassification", "Regression"])
def test_other_problems_need_the_inference_attribute(problem):
    (fault,) = faults(problem_type=problem)
    assert fault == f"endpoint_input.inference_attribute: {problem} needs it"
    (fault,) = faults(problem_type=problem, batch_transform_input=batch(inference_attribute=None))
    assert fault == f"batch_transform_input.inference_attribute: {problem} needs it"
    assert monitor(problem_type=problem, endpoint_input=endpoint(inference_attribute="1")).problem_type == problem


def test_another_problem_is_refused_with_the_three_named():
    (fault,) = faults(problem_type="Binary")
    assert fault.startswith("problem_type: ")
    for name in ("BinaryClassification", "MulticlassClassification", "Regression"):
        assert name in fault


def test_the_threshold_is_a_half_unless_given():
    assert monitor().threshold == 0.5
    assert monitor(endpoint_input=endpoint(probability_threshold_attribute=0.8)).threshold == 0.8
    assert monitor(endpoint_input=endpoint(probability_threshold_attribute=0)).threshold == 0.0


@pytest.mark.parametrize("threshold", [-0.1, 1.1, "0.5", True, float("nan")])
def test_a_threshold_outside_zero_and_one_is_refused(threshold):
    (fault,) = faults(
        endpoint_input={
            "endpoint_name": "churn",
            "probability_attribute": "0",
            "probability_threshold_attribute": threshold,
        }
    )
    assert fault.startswith("endpoint_input.probability_threshold_attribute: ")


def test_a_threshold_without_probability_is_refused():
    with pytest.raises(MonitorError, match="probability_attribute") as refusal:
        EndpointInput(endpoint_name="churn", inference_attribute="0", probability_threshold_attribute=0.5)
    assert refusal.value.faults[0].startswith("probability_threshold_attribute: ")


# --- attributes


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("0", "0"),
        (0, "0"),
        (12, "12"),
        ("prediction", "prediction"),
        (" prediction ", "prediction"),
        ("_c0", "_c0"),
        ("$.prediction", "$.prediction"),
        ("predictions[0].score", "predictions[0].score"),
        ("predictions[*].score", "predictions[*].score"),
        ('"a-b".c', '"a-b".c'),
        # columns and keys with signs that JMESPath does not know
        ("churn-probability", "churn-probability"),
        ("my column", "my column"),
        ("größe", "größe"),
    ],
)
def test_an_attribute_is_an_index_a_name_or_a_jmespath(given, kept):
    assert endpoint(probability_attribute=given).probability_attribute == kept


@pytest.mark.parametrize(
    "given",
    ["", "  ", "predictions[0", "predictions[*", "a[?b", "$..a", "a..b", "$['a']", -1, "-1", 1.5, True, [], "a'"],
)
def test_an_attribute_that_can_name_nothing_is_refused_by_its_field(given):
    with pytest.raises(MonitorError) as refusal:
        endpoint(probability_attribute=given)
    assert refusal.value.faults[0].startswith("probability_attribute: ")


def test_the_column_of_a_batch_in_csv_may_have_any_name():
    csv = {"csv": {"header": True}}
    assert batch(dataset_format=csv, inference_attribute="score (new)[1").inference_attribute == "score (new)[1"
    with pytest.raises(MonitorError, match="inference_attribute"):
        batch(dataset_format={"json": {"line": True}}, inference_attribute="score (new)[1")


def test_the_attribute_of_labels_is_checked_as_well():
    assert monitor(ground_truth_attribute="instances[*].label").ground_truth_attribute == "instances[*].label"
    (fault,) = faults(ground_truth_attribute="instances[")
    assert fault.startswith("ground_truth_attribute: ")


# --- classes


@pytest.mark.parametrize(
    ("given", "kept"), [("1.0", "1"), (1, "1"), (True, "true"), (" yes ", "yes"), ("TRUE", "true"), (2.0, "2")]
)
def test_labels_are_kept_in_the_form_of_rule_i5(given, kept):
    assert monitor(positive_label=given).positive_label == kept


def test_equal_labels_are_refused_whatever_their_spelling():
    (fault,) = faults(positive_label="1.0", negative_label=" 1")
    assert fault.startswith("negative_label: ")
    (fault,) = faults(positive_label=0)
    assert "'0'" in fault


@pytest.mark.parametrize("given", ["", " ", None, [], {}])
def test_a_label_that_is_none_is_refused(given):
    (fault,) = faults(positive_label=given)
    assert fault.startswith("positive_label: ")


# --- offsets


def test_offsets_stay_as_written_or_are_rewritten_with_a_warning():
    assert endpoint(start_time_offset="-P1W").start_time_offset == "-P1W"
    with pytest.warns(OffsetWarning, match="start_time_offset"):
        made = endpoint(start_time_offset="-PT2D", end_time_offset="-PT1H")
    assert made.start_time_offset == "-P2D"


def test_a_rewritten_offset_is_warned_about_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monitor(endpoint_input={"endpoint_name": "c", "inference_attribute": "0", "start_time_offset": "-PT2D"})
    assert len(caught) == 1


def test_a_bad_offset_is_refused_by_its_field_with_the_remedy():
    (fault,) = faults(
        endpoint_input={"endpoint_name": "churn", "probability_attribute": "0", "start_time_offset": "-P30M"}
    )
    assert fault.startswith("endpoint_input.start_time_offset: ")
    assert "'-PT30M'" in fault


@pytest.mark.parametrize(("start", "end"), [("-P1D", "-P8D"), ("-P1D", "-PT24H"), ("-PT0H", None)])
def test_offsets_that_make_no_window_are_refused_when_the_monitor_is_made(start, end):
    with pytest.raises(MonitorError) as refusal:
        endpoint(start_time_offset=start, end_time_offset=end)
    (fault,) = refusal.value.faults
    assert fault.startswith("end_time_offset: ")
    assert repr(start) in fault


def test_an_end_offset_alone_may_make_a_window():
    assert endpoint(start_time_offset=None, end_time_offset="-PT1H").end_time_offset == "-PT1H"


@pytest.mark.parametrize("delay", ["P7D", "PT12H", "PT0S", None])
def test_a_delay_of_labels_is_a_duration_forwards(delay):
    assert monitor(ground_truth_max_delay=delay).ground_truth_max_delay == delay


def test_a_bad_delay_is_refused_by_its_field():
    (fault,) = faults(ground_truth_max_delay="-P7D")
    assert fault.startswith("ground_truth_max_delay: ")
    assert "'P7D'" in fault


# --- numbers and choices


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("min_records", [1, 200], [0, -1, 1.5, "5", True, None]),
        ("min_label_coverage", [0, 0.5, 1], [-0.1, 1.01, "0.5", True, float("nan")]),
        ("max_rejected_ratio", [0, 0.05, 1], [-0.1, 1.01, "0.5", float("inf")]),
        ("noise_sd", [None, 0.5, 2, 4.5], [0, -1.0, "2", True, float("nan"), float("inf")]),
        ("keep_merged", [None, "parquet", "jsonl"], ["csv", "", True]),
        ("keep_rejected", ["lines", "references"], [None, "none"]),
        ("prepared_hours_retention", ["P30D", "P0D", "PT12H", "P2W"], [None, "-P1D", "P1M", "forever", 30]),
        ("publish_cloudwatch_metrics", [True, False], ["Enabled", 1, None]),
    ],
)
def test_the_limits_of_a_setting(field, good, bad):
    for value in good:
        assert getattr(monitor(**{field: value}), field) == value
    for value in bad:
        (fault,) = faults(**{field: value})
        assert fault.startswith(f"{field}: ")
        assert repr(value) in fault


# --- segments


@pytest.mark.parametrize(
    "given",
    [
        {"input_attribute": 3},
        {"input_attribute": "$.user.country"},
        {"ground_truth_attribute": "eventMetadata.country"},
    ],
)
def test_segments_are_of_the_input_or_of_the_labels(given):
    made = monitor(segments=given).segments
    assert made is not None
    assert made.model_dump(exclude_none=True) == {name: str(value) for name, value in given.items()}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, "input_attribute, ground_truth_attribute: exactly one of them is needed, came neither"),
        (
            {"input_attribute": 1, "ground_truth_attribute": "a"},
            "input_attribute, ground_truth_attribute: exactly one of them is needed, came both",
        ),
        ({"ground_truth_attribute": 1}, "ground_truth_attribute: must be a path such as eventMetadata.country, came 1"),
        ({"input_attribute": "a["}, "input_attribute: "),
        ({"column": 1, "input_attribute": 1}, "column: no field of Segments"),
    ],
)
def test_segments_that_name_no_place_are_refused_by_their_field(given, fault):
    assert faults(segments=given)[0].startswith(("segments." + fault, "segments: " + fault))


# --- names


@pytest.mark.parametrize("name", ["c", "churn", "Churn-2", "a--b", "x" * 63])
def test_names_follow_sagemakers_pattern(name):
    assert monitor(name=name).name == name
    assert endpoint(endpoint_name=name).endpoint_name == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a_b", "a b", "a/b", "é", "x" * 64, "a\n", 5, None])
def test_other_names_are_refused(name):
    (fault,) = faults(name=name)
    assert fault.startswith("name: ")
    with pytest.raises(MonitorError):
        endpoint(endpoint_name=name)
    with pytest.raises(MonitorError):
        endpoint(variant_name=name)


# --- batch transform


def test_the_format_of_a_batch_is_given_in_sagemakers_shape():
    assert batch(dataset_format={"csv": {"header": True}}).dataset_format == CsvFormat(header=True)
    assert batch(dataset_format={"json": {"line": True}}).dataset_format == JsonFormat(line=True)
    assert batch(dataset_format=JsonFormat(line=False)).dataset_format == JsonFormat(line=False)
    assert batch(dataset_format={"parquet": {}}).dataset_format == ParquetFormat()
    assert batch(dataset_format={"parquet": {}}).model_dump()["dataset_format"] == {"parquet": {}}
    assert batch().model_dump()["dataset_format"] == {"csv": {"header": False}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"orc": {}}, "dataset_format: "),
        ({"parquet": {"header": True}}, "dataset_format.parquet.header: "),
        ("csv", "dataset_format: "),
        ({}, "dataset_format: "),
        ({"csv": {"header": True}, "json": {"line": True}}, "dataset_format: "),
        ({"csv": {}}, "dataset_format.csv.header: "),
        ({"csv": {"heading": True}}, "dataset_format.csv.heading: "),
        ({"json": {"line": "yes"}}, "dataset_format.json.line: "),
        ({"csv": None}, "dataset_format: "),
    ],
)
def test_another_format_is_refused(given, said):
    with pytest.raises(MonitorError) as refusal:
        batch(dataset_format=given)
    assert any(fault.startswith(said) for fault in refusal.value.faults)


# --- where things lie


def test_captures_of_an_endpoint_lie_below_endpoint_and_variant():
    assert monitor().capture_root == "s3://bucket/capture/churn/AllTraffic"
    assert monitor(endpoint_input=endpoint(variant_name="B")).capture_root == "s3://bucket/capture/churn/B"


def test_captures_of_a_batch_transform_lie_below_output():
    assert monitor(batch_transform_input=batch()).capture_root == "s3://bucket/capture/output"


def test_an_endpoint_whose_captures_are_unknown_says_so_when_they_are_needed():
    made = monitor(endpoint_input=endpoint(data_captured_destination_uri=None))
    with pytest.raises(MonitorError, match=r"endpoint_input\.data_captured_destination_uri") as refusal:
        _ = made.capture_root
    assert "churn-model-quality" in refusal.value.where


def test_reports_lie_below_endpoint_and_monitor():
    assert monitor().report_root == "s3://bucket/reports/churn/churn-model-quality"
    window = explicit_window(datetime(2020, 1, 1, 13, tzinfo=UTC), datetime(2020, 1, 8, 13, tzinfo=UTC))
    assert monitor().report_prefix(window) == f"{monitor().report_root}/windows/20200101T130000Z_20200108T130000Z"


def test_reports_of_a_batch_transform_lie_below_the_monitor():
    assert monitor(batch_transform_input=batch()).report_root == "s3://bucket/reports/churn-model-quality"


# --- SageMaker's side


def test_sagemakers_settings_have_the_defaults_of_its_own_jobs():
    made = SageMakerSettings()
    assert (made.instance_type, made.instance_count, made.volume_size_in_gb) == ("ml.m5.xlarge", 1, 20)
    assert made.environment == {}
    assert made.role_arn is None


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        (
            "role_arn",
            ["arn:aws:iam::123456789012:role/monitor", "arn:aws-cn:iam::123456789012:role/service-role/x"],
            ["monitor", "arn:aws:iam::12:role/monitor", "arn:aws:iam::123456789012:role/" + "x" * 2048],
        ),
        ("instance_type", ["ml.t3.large"], ["m5.xlarge", "large", ""]),
        ("instance_count", [1, 100], [0, 101, "1"]),
        ("volume_size_in_gb", [1, 16384], [0, 16385]),
        ("volume_kms_key_id", ["alias/x", "arn:aws:kms:eu-west-1:1:key/a-b"], ["a b", "x" * 2049]),
        ("output_kms_key_id", ["alias/x"], ["a b"]),
        ("image_uri", ["1.dkr.ecr.eu-west-1.amazonaws.com/x"], ["x" * 256, ""]),
        ("environment", [{"A_1": "x"}, {f"K{i}": "" for i in range(50)}], [{f"K{i}": "" for i in range(51)}]),
        ("max_runtime_in_seconds", [1, 1800, 86400], [0, 86401]),
        ("tags", [{"team": "ml"}, {"a": ""}], [{"": "x"}, {"a": "x" * 257}, {"x" * 129: ""}]),
        ("local_path", ["/opt/ml/processing/input"], ["x" * 257, ""]),
        ("output_local_path", ["/opt/ml/processing/output"], ["x" * 257]),
        ("s3_input_mode", ["File", "Pipe"], ["file"]),
        ("s3_data_distribution_type", ["FullyReplicated", "ShardedByS3Key"], ["Sharded"]),
        ("s3_upload_mode", ["Continuous", "EndOfJob"], ["Now"]),
        ("record_preprocessor_source_uri", ["s3://bucket/pre.py"], ["https://b/pre.py", "s3://bucket/" + "x" * 1024]),
        ("post_analytics_processor_source_uri", ["s3://bucket/post.py"], ["gs://b/post.py"]),
        ("baselining_job_name", ["job-1"], ["job_1"]),
        ("job_definition_name", ["definition-1"], ["definition_1"]),
        ("container_entrypoint", [("python", "x.py")], [(), ("x" * 257,), ("x",) * 101, "python"]),
        ("container_arguments", [("--a",)], [(), ("x",) * 51]),
    ],
)
def test_the_limits_of_sagemaker_hold(field, good, bad):
    for value in good:
        assert getattr(SageMakerSettings(**{field: value}), field) == value
    for value in bad:
        with pytest.raises(MonitorError) as refusal:
            SageMakerSettings(**{field: value})
        assert refusal.value.faults[0].startswith(field)


@pytest.mark.parametrize("key", ["1A", "A-B", "", "x" * 257])
def test_a_bad_name_in_the_environment_is_refused(key):
    with pytest.raises(MonitorError, match="environment"):
        SageMakerSettings(environment={key: "x"})


def test_a_value_of_the_environment_is_never_shown():
    """It may be a secret, and messages go to logs."""
    for value in ("hunter2" * 100, 4242):
        with pytest.raises(MonitorError, match=r"environment\.PASSWORD") as refusal:
            SageMakerSettings(environment={"PASSWORD": value})  # type: ignore[dict-item]
        assert "hunter2" not in str(refusal.value)
        assert "4242" not in str(refusal.value)


def test_the_network_has_sagemakers_limits():
    made = SageMakerSettings(
        network_config={  # type: ignore[arg-type]
            "enable_network_isolation": True,
            "security_group_ids": ["sg-1"],
            "subnets": ["subnet-1", "subnet-2"],
        }
    )
    assert made.network_config == NetworkSettings(
        enable_network_isolation=True, security_group_ids=("sg-1",), subnets=("subnet-1", "subnet-2")
    )
    for bad in ({"security_group_ids": [f"sg-{i}" for i in range(6)], "subnets": ["s"]}, {"subnets": ["s n"]}):
        with pytest.raises(MonitorError, match="network_config"):
            SageMakerSettings(network_config=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{"subnets": ["subnet-1"]}, {"security_group_ids": ["sg-1"]}])
def test_a_network_has_both_groups_and_subnets_or_neither(given):
    with pytest.raises(MonitorError, match="together"):
        NetworkSettings(**given)
