"""Processing requests: those that a schedule makes, field by field, and what they refuse."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_mq_provider.exceptions import RequestError
from airflow_mq_provider.sagemaker.differences import differences
from airflow_mq_provider.sagemaker.processing import (
    analysis_request,
    baseline_request,
    flat_analysis_request,
    job_name,
    merge_request,
    merged_root,
    merger_faults,
    merger_reads_all_labels,
    refuse_on_sagemaker,
)
from airflow_mq_provider.window import Window, ground_truth_as_of
from tests.sagemaker.conftest import ROLE, monitor, window

REGION = "us-east-2"
KEY = "arn:aws:kms:us-east-2:123456789012:key/a-b"
BATCH = {
    "data_captured_destination_uri": "s3://bucket/capture",
    "dataset_format": {"csv": {"header": False}},
    "inference_attribute": "69",
}


#: the hour before one o'clock on 18 May 2021
EIGHTEENTH = Window(
    start=datetime(2021, 5, 18, 0, tzinfo=UTC),
    end=datetime(2021, 5, 18, 1, tzinfo=UTC),
    scheduled_time=datetime(2021, 5, 18, 1, tzinfo=UTC),
    source="data_interval",
)


def differing(request: dict[str, Any], real: dict[str, Any]) -> dict[str, Any]:
    return {one.field: one.declared for one in differences(real, request)}


def test_the_merge_is_the_job_that_a_schedule_starts(real_jobs, accepted):
    request = merge_request(monitor(), window(), region=REGION)
    accepted("CreateProcessingJob", request)
    assert differing(request, real_jobs["merge"]) == {
        "ProcessingJobName": request["ProcessingJobName"],
        "RoleArn": ROLE,
    }


def test_the_analysis_is_the_job_that_a_schedule_starts_but_for_publishing(real_jobs, accepted):
    """The analyzer refuses to publish in a job that no schedule started."""
    request = analysis_request(monitor(), window(), region=REGION)
    accepted("CreateProcessingJob", request)
    assert differing(request, real_jobs["analyze"]) == {
        "ProcessingJobName": request["ProcessingJobName"],
        "RoleArn": ROLE,
        "Environment.publish_cloudwatch_metrics": "Disabled",
    }


def test_the_merge_of_aws_own_example_is_the_job_that_its_schedule_started(real, accepted):
    job = json.loads((real / "amazon-sagemaker-examples" / "churn_run_execution.json").read_text())
    described = job["describe_processing_job_merge"]
    root = described["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"].partition("/baselining/")[0]
    churn = monitor(
        name="DEMO-xgb-churn-monitoring-schedule-2021-05-18-0029",
        problem_type="BinaryClassification",
        endpoint={
            "endpoint_name": "DEMO-xgb-churn-model-quality-monitor-2021-05-18-0013",
            "data_captured_destination_uri": f"{root}/datacapture",
            "inference_attribute": None,
            "probability_attribute": "0",
        },
        ground_truth_uri=f"{root}/ground_truth_data/2021-05-18-00-13-12",
        output_uri=f"{root}/baselining/results",
    )
    request = merge_request(churn, EIGHTEENTH, region="us-west-2")
    accepted("CreateProcessingJob", request)
    for one in described["ProcessingInputs"]:
        # what an answer adds: it is the default
        assert one["S3Input"].pop("S3CompressionType") == "None"
    of_the_answer = {"ProcessingJobStatus", "CreationTime", "MonitoringScheduleArn"}
    asked = {key: value for key, value in described.items() if key not in of_the_answer}
    assert differing(request, asked) == {"ProcessingJobName": request["ProcessingJobName"], "RoleArn": ROLE}


def test_the_baseline_is_the_job_that_the_sdk_starts(real_jobs, accepted):
    request = baseline_request(
        monitor(),
        dataset_uri="s3://example-logs-bucket/baselining/data/baseline.csv",
        output_uri="s3://example-logs-bucket/baselining/results",
        inference_attribute="prediction",
        region=REGION,
    )
    accepted("CreateProcessingJob", request)
    assert differing(request, real_jobs["baseline"]) == {
        "ProcessingJobName": request["ProcessingJobName"],
        "RoleArn": ROLE,
    }


def test_a_baseline_may_have_columns_that_the_captures_have_not():
    endpoint = {"probability_attribute": "0", "inference_attribute": None, "probability_threshold_attribute": 0.8}
    request = baseline_request(
        monitor(problem_type="BinaryClassification", endpoint=endpoint),
        dataset_uri="s3://bucket/b.csv",
        output_uri="s3://bucket/out",
        dataset_format="csv",
        ground_truth_attribute="_c2",
        inference_attribute="_c1",
        probability_attribute="_c0",
        region=REGION,
    )
    told = {name: value for name, value in request["Environment"].items() if name.endswith("_attribute")}
    assert told == {
        "ground_truth_attribute": "_c2",
        "inference_attribute": "_c1",
        "probability_attribute": "_c0",
        "probability_threshold_attribute": "0.8",
    }


def test_names_tell_monitor_and_scheduled_time_and_are_the_same_for_a_retry():
    name = job_name(monitor(), window(), "merge")
    assert name.startswith("abalone-monitoring-schedule-2021-05-merge-202105062300-")
    assert len(name) <= 63
    assert job_name(monitor(), window(), "merge") == name


@pytest.mark.parametrize(
    "other",
    [
        lambda: job_name(monitor(), window(), "merge", rerun=1),
        lambda: job_name(monitor(), window(21), "merge"),
        lambda: job_name(monitor(min_records=7), window(), "merge"),
        lambda: job_name(monitor(), window(), "analysis"),
    ],
)
def test_another_run_window_definition_or_kind_has_another_name(other):
    assert other() != job_name(monitor(), window(), "merge")


def test_a_window_of_several_hours_has_a_folder_of_each_side_for_each_hour(accepted):
    request = merge_request(monitor(), window(18), region=REGION)
    accepted("CreateProcessingJob", request)
    inputs = {one["InputName"]: one["S3Input"] for one in request["ProcessingInputs"]}
    assert len(inputs) == 10
    assert inputs["groundtruth_input_1"]["S3Uri"].endswith("/2021/05/06/18")
    assert inputs["endpoint_input_5"]["LocalPath"] == (
        "/opt/ml/processing/input_data/abalone-prod-endpoint/AllTraffic/2021/05/06/22"
    )


def test_a_merge_of_more_than_five_hours_is_refused_with_our_own_merge_as_the_way():
    with pytest.raises(RequestError, match="came 12, for the 6 hours") as refusal:
        merge_request(monitor(), window(17), region=REGION)
    assert "flat_analysis_request" in refusal.value.faults[0]


def test_an_analysis_takes_nine_hours_beside_its_constraints(accepted):
    accepted("CreateProcessingJob", analysis_request(monitor(), window(14), region=REGION))
    with pytest.raises(RequestError, match="came 11, for the 10 hours"):
        analysis_request(monitor(), window(13), region=REGION)


def test_scripts_are_mounted_and_named_to_the_analyzer(accepted):
    scripts = {
        "record_preprocessor_source_uri": "s3://bucket/code/pre.py",
        "post_analytics_processor_source_uri": "s3://bucket/code/post.py",
    }
    request = analysis_request(monitor(sagemaker=scripts), window(), region=REGION)
    accepted("CreateProcessingJob", request)
    mounted = {one["S3Input"]["S3Uri"]: one["S3Input"]["LocalPath"] for one in request["ProcessingInputs"]}
    for variable, uri in (
        ("record_preprocessor_script", "s3://bucket/code/pre.py"),
        ("post_analytics_processor_script", "s3://bucket/code/post.py"),
    ):
        assert request["Environment"][variable] == f"{mounted[uri]}/{uri.rpartition('/')[2]}"


def test_a_baseline_runs_the_script_that_follows_alone():
    scripts = {
        "record_preprocessor_source_uri": "s3://bucket/code/pre.py",
        "post_analytics_processor_source_uri": "s3://bucket/code/post.py",
    }
    request = baseline_request(
        monitor(sagemaker=scripts), dataset_uri="s3://bucket/b.csv", output_uri="s3://bucket/out", region=REGION
    )
    assert "record_preprocessor_script" not in request["Environment"]
    assert "post_analytics_processor_script" in request["Environment"]


@pytest.mark.parametrize("make", [merge_request, analysis_request])
def test_machines_network_keys_and_tags_are_the_monitors(make, accepted):
    settings = {
        "instance_type": "ml.t3.large",
        "instance_count": 2,
        "volume_size_in_gb": 50,
        "volume_kms_key_id": KEY,
        "output_kms_key_id": KEY,
        "network_config": {"subnets": ["subnet-1"], "security_group_ids": ["sg-1"]},
        "tags": {"team": "ml"},
    }
    request = make(monitor(sagemaker=settings), window(), region=REGION, tags={"run": "1"})
    accepted("CreateProcessingJob", request)
    assert request["ProcessingResources"]["ClusterConfig"] == {
        "InstanceCount": 2,
        "InstanceType": "ml.t3.large",
        "VolumeSizeInGB": 50,
        "VolumeKmsKeyId": KEY,
    }
    assert request["ProcessingOutputConfig"]["KmsKeyId"] == KEY
    assert request["NetworkConfig"]["VpcConfig"] == {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
    assert request["Tags"] == [{"Key": "team", "Value": "ml"}, {"Key": "run", "Value": "1"}]


def test_the_environment_of_the_definition_reaches_the_analyzer_alone():
    asked = monitor(sagemaker={"environment": {"LEVEL": "debug"}})
    assert analysis_request(asked, window(), region=REGION)["Environment"]["LEVEL"] == "debug"
    assert "LEVEL" not in merge_request(asked, window(), region=REGION)["Environment"]


def test_a_job_of_ours_never_publishes_whatever_the_monitor_says():
    request = analysis_request(monitor(publish_cloudwatch_metrics=True), window(), region=REGION)
    assert request["Environment"]["publish_cloudwatch_metrics"] == "Disabled"


def test_a_threshold_is_sent_as_text(accepted):
    """The SDK sends a number, which botocore refuses."""
    endpoint = {"probability_attribute": "0", "probability_threshold_attribute": 0.8}
    request = analysis_request(monitor(problem_type="BinaryClassification", endpoint=endpoint), window(), region=REGION)
    accepted("CreateProcessingJob", request)
    assert request["Environment"]["probability_threshold_attribute"] == "0.8"


def test_another_positive_class_is_told_to_the_analyzer():
    asked = monitor(problem_type="BinaryClassification", positive_label="yes")
    assert analysis_request(asked, window(), region=REGION)["Environment"]["positive_label"] == "yes"


def test_merged_rows_are_judged_as_flat_csv_by_the_names_of_their_columns(accepted):
    endpoint = {"probability_attribute": "0", "inference_attribute": None}
    asked = monitor(problem_type="BinaryClassification", endpoint=endpoint)
    request = flat_analysis_request(asked, window(0), dataset_uri="s3://bucket/merged", region=REGION)
    accepted("CreateProcessingJob", request)
    assert request["Environment"] == {
        "analysis_type": "MODEL_QUALITY",
        "baseline_constraints": "/opt/ml/processing/baseline/constraints/constraints.json",
        "dataset_format": '{"csv":{"header":true}}',
        "dataset_source": "/opt/ml/processing/input/merged",
        "ground_truth_attribute": "label",
        "output_path": "/opt/ml/processing/output",
        "probability_attribute": "probability",
        "problem_type": "BinaryClassification",
        "publish_cloudwatch_metrics": "Disabled",
    }


def test_rows_of_a_batch_transform_are_judged_as_flat_csv_only(accepted):
    asked = monitor(batch_transform_input=BATCH)
    with pytest.raises(RequestError, match="flat_analysis_request"):
        merge_request(asked, window(), region=REGION)
    request = flat_analysis_request(asked, window(), dataset_uri="s3://bucket/merged", region=REGION)
    accepted("CreateProcessingJob", request)
    assert request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] == (
        "s3://example-logs-bucket/baselining/results/abalone-monitoring-schedule-2021-05-06-2240/2021/05/06/23"
    )


def test_all_faults_of_a_job_are_told_at_once():
    endpoint = {"data_captured_destination_uri": None, "inference_attribute": "a" * 257}
    asked = monitor(endpoint=endpoint, sagemaker={"role_arn": None}, ground_truth_uri="/labels")
    with pytest.raises(RequestError) as refusal:
        analysis_request(asked, window(0), region="us-gov-west-1", job_name="a_b")
    fields = {fault.partition(":")[0] for fault in refusal.value.faults}
    assert fields == {
        "sagemaker.role_arn",
        "ground_truth_uri",
        "window",
        "sagemaker.image_uri",
        "endpoint_input.data_captured_destination_uri",
        "job_name",
        "environment.inference_attribute",
    }


def test_an_unknown_format_of_a_baseline_is_refused():
    with pytest.raises(RequestError, match="dataset_format: must be one of csv, csv-header, jsonl, parquet"):
        baseline_request(
            monitor(), dataset_uri="s3://b-1/x", output_uri="s3://b-1/y", dataset_format="xml", region=REGION
        )


# --- where the jobs of one run read and write


def test_a_run_s_own_place_for_merged_records_is_written_and_read(accepted):
    place = "s3://bucket/of-this-run"
    merge = merge_request(monitor(), window(), region=REGION, merged_uri=place)
    analysis = analysis_request(monitor(), window(), region=REGION, merged_uri=place)
    for request in (merge, analysis):
        accepted("CreateProcessingJob", request)
    assert merge["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] == place
    [read] = [one["S3Input"]["S3Uri"] for one in analysis["ProcessingInputs"] if one["InputName"] == "endpoint_input_1"]
    assert read == f"{merged_root(monitor(), place)}/2021/05/06/22"


def test_only_hours_that_hold_something_are_inputs(accepted):
    known = ["2021/05/06/20", "2021/05/06/22"]
    request = merge_request(monitor(), window(18), region=REGION, captured=known, labelled=known[:1])
    accepted("CreateProcessingJob", request)
    found = {one["InputName"]: one["S3Input"]["S3Uri"][-13:] for one in request["ProcessingInputs"]}
    assert found == {
        "groundtruth_input_1": "2021/05/06/20",
        "endpoint_input_1": "2021/05/06/20",
        "endpoint_input_2": "2021/05/06/22",
    }


def test_rows_are_not_given_to_a_record_preprocessor():
    scripts = {
        "record_preprocessor_source_uri": "s3://bucket/code/pre.py",
        "post_analytics_processor_source_uri": "s3://bucket/code/post.py",
    }
    request = flat_analysis_request(
        monitor(sagemaker=scripts), window(), dataset_uri="s3://bucket/merged", region=REGION
    )
    assert "record_preprocessor_script" not in request["Environment"]
    assert "post_analytics_processor_script" in request["Environment"]


# --- what SageMaker's merger can do


def test_sagemaker_s_merger_takes_an_endpoint_of_five_hours():
    assert merger_faults(monitor(), window(18)) == []


@pytest.mark.parametrize(
    ("settings", "start", "field"),
    [
        ({}, 17, "window"),
        ({"batch_transform_input": BATCH}, 22, "batch_transform_input"),
        ({"endpoint": {"data_captured_destination_uri": None}}, 22, "endpoint_input.data_captured_destination_uri"),
        ({"ground_truth_uri": "/labels"}, 22, "ground_truth_uri"),
        ({"min_label_coverage": 0.5}, 22, "min_label_coverage"),
        ({"keep_merged": "parquet"}, 22, "keep_merged"),
    ],
)
def test_what_sagemaker_s_merger_cannot_do_is_told_by_field(settings, start, field):
    assert [fault.partition(":")[0] for fault in merger_faults(monitor(**settings), window(start))] == [field]


@pytest.mark.parametrize(("as_of", "all_of_them"), [("2021-05-06T23:00:00Z", True), ("2021-05-07T00:00:00Z", False)])
def test_sagemaker_s_merger_reads_the_labels_of_the_window_s_hours(as_of, all_of_them):
    assert merger_reads_all_labels(window(), ground_truth_as_of(as_of, window())) is all_of_them


def test_a_declaration_with_templates_is_not_refused_for_them():
    refuse_on_sagemaker(monitor(output_uri="{{ var.value.root }}/out"), merger=True)


def test_a_declaration_is_refused_with_all_its_faults():
    asked = monitor(sagemaker={"role_arn": None}, output_uri="/out", min_label_coverage=0.5)
    with pytest.raises(RequestError) as refusal:
        refuse_on_sagemaker(asked, merger=True)
    fields = [fault.partition(":")[0] for fault in refusal.value.faults]
    assert fields == ["sagemaker.role_arn", "output_uri", "min_label_coverage"]
