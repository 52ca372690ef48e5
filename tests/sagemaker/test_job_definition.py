"""Monitor ⇄ job definition: what is sent, what is read back, what is refused, and what counts as the same."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_mq_provider.exceptions import MonitorError, RequestError
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.sagemaker.job_definition import (
    definition_diff,
    job_definition_request,
    monitor_from_definition,
    same_definition,
    unknown_to_sagemaker,
)
from airflow_mq_provider.window import OffsetWarning
from tests.sagemaker.conftest import ROLE, monitor

REGION = "us-east-2"
CAPTURE = "s3://example-logs-bucket/endpoint-data-capture"

#: what AWS's own example of model quality creates: a binary problem by probability alone, offsets left out
CHURN: dict[str, Any] = {
    "JobDefinitionName": "model-quality-job-definition-2021-05-18-00-29",
    "ModelQualityAppSpecification": {
        "ImageUri": "159807026194.dkr.ecr.us-west-2.amazonaws.com/sagemaker-model-monitor-analyzer",
        "ProblemType": "BinaryClassification",
        "Environment": {"publish_cloudwatch_metrics": "Enabled"},
    },
    "ModelQualityBaselineConfig": {
        "BaseliningJobName": "DEMO-xgb-churn-model-baseline-job-2021-05-18-0018",
        "ConstraintsResource": {"S3Uri": "s3://sagemaker-us-west-2-111122223333/churn/baselining/constraints.json"},
    },
    "ModelQualityJobInput": {
        "EndpointInput": {
            "EndpointName": "DEMO-xgb-churn-model-quality-monitor-2021-05-18-0013",
            "LocalPath": "/opt/ml/processing/input_data",
            "S3InputMode": "File",
            "S3DataDistributionType": "FullyReplicated",
            "ProbabilityAttribute": "0",
            "ProbabilityThresholdAttribute": 0.5,
        },
        "GroundTruthS3Input": {"S3Uri": "s3://sagemaker-us-west-2-111122223333/churn/ground_truth_data/2021-05-18"},
    },
    "ModelQualityJobOutputConfig": {
        "MonitoringOutputs": [
            {
                "S3Output": {
                    "S3Uri": "s3://sagemaker-us-west-2-111122223333/churn/baselining/results",
                    "LocalPath": "/opt/ml/processing/output",
                    "S3UploadMode": "Continuous",
                }
            }
        ]
    },
    "JobResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 20}},
    "RoleArn": "arn:aws:iam::111122223333:role/service-role/AmazonSageMaker-ExecutionRole-20201201T000000",
    "StoppingCondition": {"MaxRuntimeInSeconds": 1800},
}

#: the definition behind the jobs that a public README prints
ABALONE: dict[str, Any] = {
    "JobDefinitionName": "model-quality-job-definition-2021-05-06-22-40",
    "ModelQualityAppSpecification": {
        "ImageUri": "777275614652.dkr.ecr.us-east-2.amazonaws.com/sagemaker-model-monitor-analyzer",
        "ProblemType": "Regression",
        "Environment": {"publish_cloudwatch_metrics": "Enabled"},
    },
    "ModelQualityBaselineConfig": {
        "ConstraintsResource": {"S3Uri": "s3://example-logs-bucket/baselining/results/constraints.json"}
    },
    "ModelQualityJobInput": {
        "EndpointInput": {
            "EndpointName": "abalone-prod-endpoint",
            "LocalPath": "/opt/ml/processing/input_data",
            "S3InputMode": "File",
            "S3DataDistributionType": "FullyReplicated",
            "InferenceAttribute": "0",
        },
        "GroundTruthS3Input": {"S3Uri": "s3://example-logs-bucket/ground-truth-data/2021-05-06-22-33-42"},
    },
    "ModelQualityJobOutputConfig": {
        "MonitoringOutputs": [
            {
                "S3Output": {
                    "S3Uri": "s3://example-logs-bucket/baselining/results",
                    "LocalPath": "/opt/ml/processing/output",
                    "S3UploadMode": "Continuous",
                }
            }
        ]
    },
    "JobResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 20}},
    "RoleArn": ROLE,
    "StoppingCondition": {"MaxRuntimeInSeconds": 1800},
}
#: everything that a definition can say
FULL: dict[str, Any] = {
    "JobDefinitionName": "full",
    "ModelQualityBaselineConfig": {"BaseliningJobName": "base-1", "ConstraintsResource": {"S3Uri": "s3://b-1/c.json"}},
    "ModelQualityAppSpecification": {
        "ImageUri": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mine:1",
        "ContainerEntrypoint": ["python", "run.py"],
        "ContainerArguments": ["--all"],
        "RecordPreprocessorSourceUri": "s3://b-1/code/pre.py",
        "PostAnalyticsProcessorSourceUri": "s3://b-1/code/post.py",
        "ProblemType": "BinaryClassification",
        "Environment": {"LEVEL": "debug", "positive_label": "yes", "publish_cloudwatch_metrics": "Disabled"},
    },
    "ModelQualityJobInput": {
        "BatchTransformInput": {
            "DataCapturedDestinationS3Uri": "s3://b-1/capture",
            "DatasetFormat": {"Parquet": {}},
            "LocalPath": "/opt/ml/processing/data",
            "S3InputMode": "Pipe",
            "S3DataDistributionType": "ShardedByS3Key",
            "FeaturesAttribute": "features",
            "InferenceAttribute": "label",
            "ProbabilityAttribute": "score",
            "ProbabilityThresholdAttribute": 0.25,
            "StartTimeOffset": "-P8D",
            "EndTimeOffset": "-PT0H",
            "ExcludeFeaturesAttribute": "1,2",
        },
        "GroundTruthS3Input": {"S3Uri": "s3://b-1/labels"},
    },
    "ModelQualityJobOutputConfig": {
        "MonitoringOutputs": [
            {"S3Output": {"S3Uri": "s3://b-1/out", "LocalPath": "/opt/ml/out", "S3UploadMode": "EndOfJob"}}
        ],
        "KmsKeyId": "alias/reports",
    },
    "JobResources": {
        "ClusterConfig": {
            "InstanceCount": 2,
            "InstanceType": "ml.m5.4xlarge",
            "VolumeSizeInGB": 100,
            "VolumeKmsKeyId": "alias/disk",
        }
    },
    "NetworkConfig": {
        "EnableInterContainerTrafficEncryption": True,
        "EnableNetworkIsolation": True,
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1", "subnet-2"]},
    },
    "RoleArn": ROLE,
    "StoppingCondition": {"MaxRuntimeInSeconds": 1800},
    "Tags": [{"Key": "team", "Value": "ml"}],
}
REAL = [pytest.param(CHURN, id="churn"), pytest.param(ABALONE, id="abalone"), pytest.param(FULL, id="full")]


def described(request: dict[str, Any]) -> dict[str, Any]:
    """What describing a definition answers: without its tags."""
    answer = {name: copy.deepcopy(part) for name, part in request.items() if name != "Tags"}
    return {
        **answer,
        "JobDefinitionArn": f"arn:aws:sagemaker:us-east-2:123456789012:x/{request['JobDefinitionName']}",
        "CreationTime": datetime(2021, 5, 6, tzinfo=UTC),
        "ResponseMetadata": {"HTTPStatusCode": 200},
    }


# --- there and back


@pytest.mark.parametrize("definition", REAL)
def test_a_definition_is_imported_exported_and_imported_again_unchanged(definition, accepted):
    accepted("CreateModelQualityJobDefinition", definition)
    imported = monitor_from_definition(definition)
    exported = job_definition_request(imported)
    assert exported == definition
    assert monitor_from_definition(exported) == imported


@pytest.mark.parametrize("definition", REAL)
def test_the_file_of_an_imported_monitor_exports_the_same_definition(definition):
    written = monitor_from_definition(definition).to_yaml()
    assert job_definition_request(ModelQualityMonitor.from_text(written, "monitor.yaml")) == definition


def test_the_monitor_of_a_schedule_bears_its_name_and_keeps_the_definitions():
    imported = monitor_from_definition(ABALONE, name="abalone-hourly")
    assert imported.name == "abalone-hourly"
    assert imported.sagemaker is not None
    assert imported.sagemaker.job_definition_name == "model-quality-job-definition-2021-05-06-22-40"
    assert job_definition_request(imported) == ABALONE


def test_an_imported_endpoint_knows_where_its_captures_lie_if_it_is_told():
    assert monitor_from_definition(ABALONE).input.data_captured_destination_uri is None
    imported = monitor_from_definition(ABALONE, capture_uri=CAPTURE, variant_name="B")
    assert imported.capture_root == f"{CAPTURE}/abalone-prod-endpoint/B"


def test_the_captures_of_a_batch_transform_stand_in_its_definition():
    with pytest.raises(RequestError, match="capture_uri: is given for an endpoint only"):
        monitor_from_definition(FULL, capture_uri=CAPTURE)


def test_publishing_is_the_setting_of_that_name():
    assert monitor_from_definition(CHURN).publish_cloudwatch_metrics
    assert not monitor_from_definition(FULL).publish_cloudwatch_metrics


@pytest.mark.parametrize(
    ("written", "positive", "negative"), [("yes", "yes", "0"), ("0", "0", "1"), ("1.0", "1", "0"), (" ", "1", "0")]
)
def test_the_positive_class_of_the_environment_is_the_setting_of_that_name(written, positive, negative):
    definition = copy.deepcopy(FULL)
    definition["ModelQualityAppSpecification"]["Environment"]["positive_label"] = written
    imported = monitor_from_definition(definition)
    assert (imported.positive_label, imported.negative_label) == (positive, negative)
    assert job_definition_request(imported) == definition


@pytest.mark.parametrize(
    "left_out",
    [
        {"NetworkConfig": {}},
        {"NetworkConfig": {"EnableNetworkIsolation": False}},
        {"StoppingCondition": None},
        {"ModelQualityBaselineConfig": {"ConstraintsResource": {}}},
        {"ModelQualityJobOutputConfig": {**FULL["ModelQualityJobOutputConfig"], "KmsKeyId": ""}},
    ],
)
def test_what_is_empty_or_at_its_default_means_the_same_as_what_is_absent(left_out):
    definition = {**FULL, **left_out}
    exported = job_definition_request(monitor_from_definition(definition))
    assert same_definition(definition, exported)
    assert monitor_from_definition(exported) == monitor_from_definition(
        job_definition_request(monitor_from_definition(exported))
    )


def test_flags_that_a_format_leaves_out_are_off():
    definition = copy.deepcopy(FULL)
    definition["ModelQualityJobInput"]["BatchTransformInput"]["DatasetFormat"] = {"Csv": {}}
    exported = job_definition_request(monitor_from_definition(definition))
    assert exported["ModelQualityJobInput"]["BatchTransformInput"]["DatasetFormat"] == {"Csv": {"Header": False}}
    assert same_definition(definition, exported)


def test_an_offset_that_is_no_iso_8601_comes_back_as_what_was_meant():
    definition = copy.deepcopy(FULL)
    definition["ModelQualityJobInput"]["BatchTransformInput"]["StartTimeOffset"] = "-PT2D"
    with pytest.warns(OffsetWarning, match="'-P2D'"):
        imported = monitor_from_definition(definition)
    exported = job_definition_request(imported)
    assert exported["ModelQualityJobInput"]["BatchTransformInput"]["StartTimeOffset"] == "-P2D"
    assert same_definition(definition, exported)


def test_slashes_at_the_end_of_places_are_dropped_and_make_no_difference():
    definition = copy.deepcopy(FULL)
    definition["ModelQualityJobInput"]["GroundTruthS3Input"]["S3Uri"] += "/"
    definition["ModelQualityJobOutputConfig"]["MonitoringOutputs"][0]["S3Output"]["S3Uri"] += "/"
    definition["ModelQualityJobInput"]["BatchTransformInput"]["DataCapturedDestinationS3Uri"] += "/"
    exported = job_definition_request(monitor_from_definition(definition))
    assert exported == FULL
    assert same_definition(definition, exported)


def test_a_place_by_https_is_refused_in_the_words_of_a_monitor():
    assert "ground_truth_uri: must be s3://bucket/key" in broken(
        ModelQualityJobInput__GroundTruthS3Input={"S3Uri": "https://s3.amazonaws.com/bucket/labels"}
    )


def test_settings_that_no_definition_holds_are_named():
    assert unknown_to_sagemaker(monitor()) == []
    asked = monitor(min_label_coverage=0.5, noise_sd=2.0, segments={"input_attribute": 3}, keep_merged="jsonl")
    assert unknown_to_sagemaker(asked) == ["min_label_coverage", "noise_sd", "segments", "keep_merged"]


# --- what is sent


def test_the_image_of_the_region_is_sent_where_none_is_declared():
    request = job_definition_request(monitor(), region=REGION)
    assert request["ModelQualityAppSpecification"]["ImageUri"] == (
        "777275614652.dkr.ecr.us-east-2.amazonaws.com/sagemaker-model-monitor-analyzer"
    )


@pytest.mark.parametrize(
    ("named", "declared", "sent"),
    [(None, None, "abalone-monitoring-schedule-2021-05-06-2240"), (None, "d-1", "d-1"), ("d-2", "d-1", "d-2")],
)
def test_the_name_is_the_one_given_else_the_declared_else_the_monitors(named, declared, sent):
    asked = monitor(sagemaker={"job_definition_name": declared})
    assert job_definition_request(asked, name=named, region=REGION)["JobDefinitionName"] == sent


def test_weeks_are_sent_as_days():
    asked = monitor(endpoint={"start_time_offset": "-P1W", "end_time_offset": "-PT1H"})
    sent = job_definition_request(asked, region=REGION)["ModelQualityJobInput"]["EndpointInput"]
    assert (sent["StartTimeOffset"], sent["EndTimeOffset"]) == ("-P7D", "-PT1H")


def test_tags_are_the_monitors_and_those_given():
    asked = monitor(sagemaker={"tags": {"team": "ml", "stage": "dev"}})
    assert job_definition_request(asked, region=REGION, tags={"stage": "prod"})["Tags"] == [
        {"Key": "team", "Value": "ml"},
        {"Key": "stage", "Value": "prod"},
    ]


# --- what is refused


def refused(region: str | None = REGION, **changes: Any) -> list[str]:
    given = {name: changes.pop(name) for name in ("name", "tags") if name in changes}
    asked = monitor(**{("name" if name == "monitor_name" else name): value for name, value in changes.items()})
    with pytest.raises(RequestError) as refusal:
        job_definition_request(asked, region=region, **given)
    assert refusal.value.where == "CreateModelQualityJobDefinition of ModelQualityMonitor " + repr(asked.name)
    assert "moving-over.md" in refusal.value.next_step
    return list(refusal.value.faults)


def test_a_monitor_without_a_role_is_refused():
    (fault,) = refused(sagemaker={"role_arn": None})
    assert fault.startswith("sagemaker.role_arn: is needed")


def test_without_image_and_region_there_is_nothing_to_run():
    (fault,) = refused(region=None)
    assert fault.startswith("sagemaker.image_uri: is needed where no region is given")


def test_an_unknown_region_asks_for_the_image():
    (fault,) = refused(region="us-gov-west-1")
    assert fault == (
        "sagemaker.image_uri: is needed, as no account of Model Monitor is known for the region 'us-gov-west-1'"
    )


@pytest.mark.parametrize("field", ["ground_truth_uri", "output_uri", "constraints_uri"])
@pytest.mark.parametrize("uri", ["/data/x", "file:///data/x"])
def test_a_place_that_is_not_on_s3_is_refused(field, uri):
    (fault,) = refused(**{field: uri})
    assert fault.startswith(f"{field}: must lie on S3")


def test_a_template_has_to_be_rendered_first():
    (fault,) = refused(output_uri="s3://{{ var.value.bucket }}/x")
    assert fault.startswith("output_uri: must be rendered first")


def test_a_script_on_this_machine_is_refused():
    (fault,) = refused(sagemaker={"record_preprocessor_source_uri": "/dags/pre.py"})
    assert fault.startswith("sagemaker.record_preprocessor_source_uri: must lie on S3")


@pytest.mark.parametrize("name", ["a_b", "-a", "a" * 64])
def test_a_name_off_the_pattern_is_refused(name):
    (fault,) = refused(name=name)
    assert fault.startswith("job_definition_name: must be 1 to 63 letters, digits and hyphens")


def test_an_offset_beyond_fifteen_characters_is_refused():
    (fault,) = refused(endpoint={"start_time_offset": "-P100DT10H10M10S"})
    assert fault.startswith("endpoint_input.start_time_offset: must be an offset of at most 15 characters")


def test_fifty_variables_and_a_setting_that_is_one_are_too_many():
    asked = {"environment": {f"K{i}": "" for i in range(50)}}
    (fault,) = refused(sagemaker=asked, publish_cloudwatch_metrics=True)
    assert "must have at most 50 entries" in fault
    assert fault.endswith("came 51")


def test_a_positive_class_of_more_than_256_characters_is_refused():
    (fault,) = refused(problem_type="BinaryClassification", positive_label="x" * 257)
    assert fault.startswith("sagemaker.environment.positive_label: must have at most 256 characters")


@pytest.mark.parametrize(
    ("environment", "settings"),
    [
        ({"publish_cloudwatch_metrics": "Enabled"}, {}),
        ({"publish_cloudwatch_metrics": "Disabled"}, {"publish_cloudwatch_metrics": True}),
        ({"positive_label": "yes"}, {}),
        ({"positive_label": "yes"}, {"positive_label": "true"}),
    ],
)
def test_a_variable_that_says_otherwise_than_its_setting_is_refused(environment, settings):
    (fault,) = refused(problem_type="BinaryClassification", sagemaker={"environment": environment}, **settings)
    assert "says otherwise than" in fault


def test_more_than_fifty_tags_are_refused():
    (fault,) = refused(sagemaker={"tags": {f"k{i}": "" for i in range(50)}}, tags={"one": "more"})
    assert fault == "tags: must be at most 50, came 51"


def test_all_faults_of_a_definition_are_told_at_once():
    faults = refused(region=None, name="a_b", sagemaker={"role_arn": None}, ground_truth_uri="/labels")
    assert [fault.partition(":")[0] for fault in faults] == [
        "job_definition_name",
        "sagemaker.role_arn",
        "ground_truth_uri",
        "sagemaker.image_uri",
    ]


# what a monitor itself refuses, so that no request can ever hold it


def broken(**changes: Any) -> str:
    definition = copy.deepcopy(ABALONE)
    for path, value in changes.items():
        *folders, last = path.split("__")
        part: Any = definition
        for folder in folders:
            part = part[folder]
        if value is None:
            del part[last]
        else:
            part[last] = value
    with pytest.raises(MonitorError) as refusal:
        monitor_from_definition(definition)
    assert refusal.value.where == f"job definition {ABALONE['JobDefinitionName']!r}"
    assert "import the file" in refusal.value.next_step
    return " | ".join(refusal.value.faults)


def test_a_definition_of_both_inputs_is_refused():
    batch = FULL["ModelQualityJobInput"]["BatchTransformInput"]
    assert "exactly one of them is needed, came both" in broken(ModelQualityJobInput__BatchTransformInput=batch)


def test_a_definition_of_neither_input_is_refused():
    assert "exactly one of them is needed, came neither" in broken(ModelQualityJobInput__EndpointInput=None)


def test_a_definition_without_ground_truth_is_refused():
    assert "ground_truth_uri: is missing" in broken(ModelQualityJobInput__GroundTruthS3Input=None)


@pytest.mark.parametrize("problem", ["Regression", "MulticlassClassification"])
def test_regression_and_multiclass_without_an_inference_attribute_are_refused(problem):
    said = broken(
        ModelQualityAppSpecification__ProblemType=problem,
        ModelQualityJobInput__EndpointInput__InferenceAttribute=None,
    )
    assert f"endpoint_input.inference_attribute: {problem} needs it" in said


def test_an_offset_in_months_is_refused_with_the_remedy():
    assert "-P30D" in broken(ModelQualityJobInput__EndpointInput__StartTimeOffset="-P1M")


def test_two_formats_of_one_batch_are_refused():
    definition = copy.deepcopy(FULL)
    definition["ModelQualityJobInput"]["BatchTransformInput"]["DatasetFormat"] = {"Csv": {}, "Json": {}}
    with pytest.raises(MonitorError, match="dataset_format: must be"):
        monitor_from_definition(definition)


def test_what_is_no_definition_says_what_it_lacks():
    with pytest.raises(RequestError) as refusal:
        monitor_from_definition({"MonitoringScheduleName": "x"})
    assert [fault.partition(":")[0] for fault in refusal.value.faults] == [
        "JobDefinitionName",
        "ModelQualityAppSpecification",
        "ModelQualityJobInput",
    ]


# --- what counts as the same


@pytest.mark.parametrize("definition", REAL)
def test_a_described_definition_is_the_one_that_made_it(definition):
    assert definition_diff(described(definition), definition) == []


def test_the_defaults_that_aws_writes_out_are_no_difference():
    request = job_definition_request(monitor(sagemaker={"max_runtime_in_seconds": None}), region=REGION)
    there = described(request)
    there["ModelQualityJobInput"]["EndpointInput"] |= {
        "S3InputMode": "File",
        "S3DataDistributionType": "FullyReplicated",
    }
    there["ModelQualityJobOutputConfig"]["MonitoringOutputs"][0]["S3Output"]["S3UploadMode"] = "Continuous"
    there["ModelQualityJobOutputConfig"]["KmsKeyId"] = ""
    there["NetworkConfig"] = {"EnableInterContainerTrafficEncryption": False, "EnableNetworkIsolation": False}
    there["StoppingCondition"] = {"MaxRuntimeInSeconds": 3600}
    assert same_definition(there, request)


def test_another_name_or_other_words_for_the_same_are_no_difference():
    request = job_definition_request(monitor(endpoint={"start_time_offset": "-P2D"}), region=REGION)
    there = described({**request, "JobDefinitionName": "before-1"})
    there["ModelQualityJobInput"]["EndpointInput"]["StartTimeOffset"] = "-PT2D"
    there["ModelQualityJobInput"]["GroundTruthS3Input"]["S3Uri"] += "/"
    assert same_definition(there, request)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"endpoint": {"start_time_offset": "-P8D"}},
            "ModelQualityJobInput.EndpointInput.StartTimeOffset: is None, declared '-P8D'",
        ),
        ({"sagemaker": {"instance_count": 2}}, "JobResources.ClusterConfig.InstanceCount: is 1, declared 2"),
        (
            {"sagemaker": {"max_runtime_in_seconds": 900}},
            "StoppingCondition.MaxRuntimeInSeconds: is 1800, declared 900",
        ),
        (
            {"constraints_uri": None},
            "ModelQualityBaselineConfig.ConstraintsResource.S3Uri: is "
            "'s3://example-logs-bucket/baselining/results/constraints.json', declared None",
        ),
        (
            {"sagemaker": {"output_kms_key_id": "alias/x"}},
            "ModelQualityJobOutputConfig.KmsKeyId: is None, declared 'alias/x'",
        ),
        (
            {"sagemaker": {"network_config": {"enable_network_isolation": True}}},
            "NetworkConfig.EnableNetworkIsolation: is False, declared True",
        ),
    ],
)
def test_each_change_is_told_by_its_field(changes, told):
    there = described(job_definition_request(monitor(), region=REGION))
    request = job_definition_request(monitor(**changes), region=REGION)
    assert [str(one) for one in definition_diff(there, request)] == [told]


def test_values_of_the_environment_are_never_told():
    there = described(job_definition_request(monitor(sagemaker={"environment": {"TOKEN": "hunter2"}}), region=REGION))
    request = job_definition_request(monitor(sagemaker={"environment": {"TOKEN": "hunter3"}}), region=REGION)
    (difference,) = definition_diff(there, request)
    assert str(difference) == "ModelQualityAppSpecification.Environment.TOKEN: differs"
