"""Laws of SageMaker's side: any definition survives being a monitor, any monitor survives being a definition."""

from __future__ import annotations

import contextlib
import copy
from datetime import UTC, datetime
from functools import cache
from typing import Any

import botocore.session
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_mq_provider.exceptions import MonitorError
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.sagemaker.job_definition import (
    definition_diff,
    job_definition_request,
    monitor_from_definition,
)
from airflow_mq_provider.sagemaker.schedule import airflow_cron, cadence, sagemaker_cron

# how long a large request takes to make is a matter of the machine and its load, which is no test's business
unhurried = settings(suppress_health_check=[HealthCheck.too_slow])

ROLE = "arn:aws:iam::123456789012:role/monitor"
names = st.from_regex(r"[a-zA-Z0-9](-{0,2}[a-zA-Z0-9]){0,20}", fullmatch=True)
network_ids = st.from_regex(r"[a-z]{2,6}-[0-9a-f]{1,8}", fullmatch=True)
s3_uris = st.from_regex(r"s3://[a-z0-9]{3,10}(/[A-Za-z0-9_.=-]{1,8}){1,3}", fullmatch=True)
attributes = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}(\.[a-z]{1,4}|\[[0-9]\]){0,2}|[0-9]{1,3}", fullmatch=True)
words = st.text("abc/-=. ", min_size=1, max_size=12)
variables = st.from_regex(r"[A-Z_]{1,5}", fullmatch=True) | st.just("publish_cloudwatch_metrics")
values = st.sampled_from(["Enabled", "Disabled", ""]) | st.text(max_size=9)
start_offsets = st.sampled_from(["-P8D", "-PT90M", "-P1DT12H"])
end_offsets = st.sampled_from(["-PT0H", "-P0D", "PT0H", "-PT1H"])

#: members whose values have rules beyond those of botocore's model: SageMaker's patterns, and what a monitor can mean
RULED: dict[str, st.SearchStrategy[Any]] = {
    "JobDefinitionName": names,
    "BaseliningJobName": names,
    "EndpointName": names,
    "S3Uri": s3_uris,
    "DataCapturedDestinationS3Uri": s3_uris,
    "RecordPreprocessorSourceUri": s3_uris,
    "PostAnalyticsProcessorSourceUri": s3_uris,
    "RoleArn": st.just(ROLE),
    "ImageUri": words,
    "LocalPath": words,
    "FeaturesAttribute": st.text(max_size=9),
    "InferenceAttribute": attributes,
    "ProbabilityAttribute": attributes,
    "ProbabilityThresholdAttribute": st.floats(0, 1),
    "StartTimeOffset": start_offsets,
    "EndTimeOffset": end_offsets,
    "Environment": st.dictionaries(variables, values, max_size=4),
    "KmsKeyId": st.from_regex(r"[a-zA-Z0-9:/_-]{1,20}", fullmatch=True),
    "VolumeKmsKeyId": st.from_regex(r"[a-zA-Z0-9:/_-]{1,20}", fullmatch=True),
    "SecurityGroupIds": st.lists(network_ids, min_size=1, max_size=2),
    "Subnets": st.lists(network_ids, min_size=1, max_size=2),
    "Tags": st.dictionaries(st.text("abc", min_size=1, max_size=4), st.text("abc", max_size=4), max_size=3).map(
        lambda tags: [{"Key": key, "Value": value} for key, value in tags.items()]
    ),
    "DatasetFormat": st.sampled_from(
        [{"Csv": {"Header": True}}, {"Csv": {}}, {"Json": {"Line": True}}, {"Json": {"Line": False}}, {"Parquet": {}}]
    ),
}


@cache
def input_shape() -> Any:
    model = botocore.session.get_session().get_service_model("sagemaker")
    return model.operation_model("CreateModelQualityJobDefinition").input_shape


def of_shape(shape: Any) -> st.SearchStrategy[Any]:
    """Any value that botocore's model admits, members with rules of their own by those."""
    if shape.type_name == "structure":
        members = {name: RULED[name] if name in RULED else of_shape(member) for name, member in shape.members.items()}
        return st.fixed_dictionaries(
            {name: strategy for name, strategy in members.items() if name in shape.required_members},
            optional={name: strategy for name, strategy in members.items() if name not in shape.required_members},
        )
    if shape.type_name == "list":
        return st.lists(of_shape(shape.member), min_size=shape.metadata["min"], max_size=min(3, shape.metadata["max"]))
    if shape.type_name == "integer":
        return st.integers(shape.metadata["min"], shape.metadata["max"])
    if shape.type_name == "boolean":
        return st.booleans()
    if "enum" in shape.metadata:
        return st.sampled_from(shape.metadata["enum"])
    assert shape.type_name == "string"
    return st.text("abc,", max_size=min(9, shape.metadata.get("max", 9)))


@cache
def whole() -> st.SearchStrategy[Any]:
    return of_shape(input_shape())


@cache
def one_input(kind: str) -> st.SearchStrategy[Any]:
    return of_shape(input_shape().members["ModelQualityJobInput"].members[kind])


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request that SageMaker would take: exactly one input, with the attributes that its problem needs."""
    request: dict[str, Any] = copy.deepcopy(draw(whole()))
    job_input = request["ModelQualityJobInput"]
    kind, other = draw(st.permutations(["EndpointInput", "BatchTransformInput"]))
    job_input.pop(other, None)
    if kind not in job_input:
        job_input[kind] = copy.deepcopy(draw(one_input(kind)))
    source = job_input[kind]
    job_input["GroundTruthS3Input"] = {"S3Uri": draw(s3_uris)}
    app = request["ModelQualityAppSpecification"]
    problem = app.setdefault("ProblemType", "BinaryClassification")
    if problem != "BinaryClassification" or "ProbabilityAttribute" not in source:
        source["InferenceAttribute"] = draw(attributes)
    if "ProbabilityAttribute" not in source:
        source.pop("ProbabilityThresholdAttribute", None)
    if source.get("StartTimeOffset") == "-PT90M" and source.get("EndTimeOffset") == "-PT2H":
        del source["EndTimeOffset"]
    constraints = request.get("ModelQualityBaselineConfig", {}).get("ConstraintsResource", {}).get("S3Uri")
    if constraints is not None:
        request["ModelQualityBaselineConfig"]["ConstraintsResource"]["S3Uri"] = f"{constraints}/constraints.json"
    return request


def written_out(part: Any, name: str = "") -> Any:
    """A request with what is empty left out and with the flags that an absent one means."""
    if not isinstance(part, dict) or name == "Environment":
        return part
    flags = {
        "NetworkConfig": ("EnableInterContainerTrafficEncryption", "EnableNetworkIsolation"),
        "Csv": ("Header",),
        "Json": ("Line",),
    }
    found = {key: written_out(value, key) for key, value in part.items()}
    found = {key: value for key, value in found.items() if key == "Parquet" or value not in ({}, [])}
    # an empty network is none, an empty format is one
    return {**dict.fromkeys(flags.get(name, ()), False), **found} if found or name in ("Csv", "Json") else {}


def described(request: dict[str, Any]) -> dict[str, Any]:
    """What describing a definition answers: no tags, and defaults written out."""
    answer = copy.deepcopy({name: part for name, part in request.items() if name != "Tags"})
    for source in answer["ModelQualityJobInput"].values():
        if "LocalPath" in source:
            source.setdefault("S3InputMode", "File")
            source.setdefault("S3DataDistributionType", "FullyReplicated")
    answer["ModelQualityJobOutputConfig"]["MonitoringOutputs"][0]["S3Output"].setdefault("S3UploadMode", "Continuous")
    return {
        **answer,
        "JobDefinitionArn": "arn:aws:sagemaker:eu-west-1:123456789012:model-quality-job-definition/x",
        "CreationTime": datetime(2026, 11, 1, tzinfo=UTC),
    }


def assert_accepted(request: dict[str, Any]) -> None:
    report = ParamValidator().validate(request, input_shape())
    assert not report.has_errors(), report.generate_report()


@unhurried
@given(requests())
def test_a_definition_survives_being_a_monitor(request):
    assert_accepted(request)
    imported = monitor_from_definition(request)
    exported = job_definition_request(imported)
    assert_accepted(exported)
    assert written_out(exported) == written_out(request)
    assert definition_diff(request, exported) == []
    assert monitor_from_definition(exported) == imported
    assert job_definition_request(monitor_from_definition(exported)) == exported


@unhurried
@given(requests())
def test_an_imported_monitor_survives_its_file(request):
    imported = monitor_from_definition(request)
    assert ModelQualityMonitor.from_text(imported.to_yaml(), "monitor.yaml") == imported


@unhurried
@given(requests())
def test_what_is_described_is_what_was_requested(request):
    assert definition_diff(described(request), request) == []


optional = {
    "features_attribute": st.text("ab,", max_size=5),
    "inference_attribute": attributes,
    "probability_threshold_attribute": st.floats(0, 1),
    "start_time_offset": start_offsets,
    "end_time_offset": end_offsets,
    "exclude_features_attribute": st.text("ab,", max_size=5),
}
endpoints = st.fixed_dictionaries(
    {"endpoint_name": names, "probability_attribute": attributes},
    optional={**optional, "data_captured_destination_uri": s3_uris, "variant_name": names},
)
batches = st.fixed_dictionaries(
    {
        "data_captured_destination_uri": s3_uris,
        "dataset_format": st.sampled_from([{"csv": {"header": True}}, {"json": {"line": False}}, {"parquet": {}}]),
        "probability_attribute": attributes,
    },
    optional=optional,
)
sagemaker_settings = st.fixed_dictionaries(
    {"role_arn": st.just(ROLE), "image_uri": words},
    optional={
        "instance_type": st.sampled_from(["ml.t3.large", "ml.m5.xlarge"]),
        "instance_count": st.integers(1, 100),
        "volume_size_in_gb": st.integers(1, 16384),
        "volume_kms_key_id": st.just("alias/disk"),
        "output_kms_key_id": st.just("alias/reports"),
        "max_runtime_in_seconds": st.integers(1, 86400),
        "network_config": st.sampled_from(
            [{}, {"enable_network_isolation": True}, {"security_group_ids": ["sg-1"], "subnets": ["subnet-1"]}]
        ),
        "environment": st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), st.text(max_size=9), max_size=3),
        "record_preprocessor_source_uri": s3_uris,
        "post_analytics_processor_source_uri": s3_uris,
        "container_entrypoint": st.lists(words, min_size=1, max_size=3),
        "container_arguments": st.lists(words, min_size=1, max_size=3),
        "baselining_job_name": names,
        "local_path": words,
        "output_local_path": words,
        "s3_input_mode": st.sampled_from(["File", "Pipe"]),
        "s3_data_distribution_type": st.sampled_from(["FullyReplicated", "ShardedByS3Key"]),
        "s3_upload_mode": st.sampled_from(["Continuous", "EndOfJob"]),
    },
)
declarations = st.builds(
    lambda needed, source, more: needed | source | more,
    st.fixed_dictionaries(
        {
            "name": names,
            "problem_type": st.just("BinaryClassification"),
            "ground_truth_uri": s3_uris,
            "output_uri": s3_uris,
            "sagemaker": sagemaker_settings,
        }
    ),
    endpoints.map(lambda part: {"endpoint_input": part}) | batches.map(lambda part: {"batch_transform_input": part}),
    st.fixed_dictionaries(
        {},
        optional={
            "constraints_uri": s3_uris.map("{}/constraints.json".format),
            "positive_label": st.sampled_from(["1", "yes", "true", "2"]),
            "publish_cloudwatch_metrics": st.booleans(),
        },
    ),
)


@unhurried
@given(declarations, names)
def test_a_monitor_survives_being_a_definition(declared, definition_name):
    """All of it comes back that SageMaker knows; its schedule, its endpoint and its tags tell the rest."""
    made = ModelQualityMonitor(**declared)
    request = job_definition_request(made, name=definition_name)
    assert_accepted(request)
    source = made.endpoint_input
    back = monitor_from_definition(
        described(request),
        name=made.name,
        capture_uri=source.data_captured_destination_uri if source else None,
        variant_name=source.variant_name if source else None,
    )
    defaults = {
        name: back.model_dump()["sagemaker"][name]
        for name in ("job_definition_name", "s3_input_mode", "s3_data_distribution_type", "s3_upload_mode")
        if name == "job_definition_name" or name not in declared["sagemaker"]
    }
    expected = made.model_dump()
    expected["sagemaker"] |= defaults
    assert back.model_dump() == expected
    assert (defaults["job_definition_name"] or made.name) == definition_name
    assert job_definition_request(back) == described_again(request)


def described_again(request: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in described(request).items() if name not in ("JobDefinitionArn", "CreationTime")}


members = st.sampled_from(
    [
        "JobDefinitionName",
        "ModelQualityAppSpecification",
        "ModelQualityJobInput",
        "ModelQualityJobOutputConfig",
        "MonitoringOutputs",
        "EndpointInput",
        "BatchTransformInput",
        "DatasetFormat",
        "Environment",
        "Tags",
        "S3Output",
        "S3Uri",
    ]
)
anything = st.recursive(
    st.none() | st.text(max_size=5) | st.integers(),
    lambda part: st.dictionaries(members, part, max_size=4) | st.lists(part, max_size=2),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries(
        {
            "JobDefinitionName": names | anything,
            "ModelQualityAppSpecification": st.dictionaries(members, anything, min_size=1, max_size=3) | anything,
            "ModelQualityJobInput": st.dictionaries(members, anything, min_size=1, max_size=3) | anything,
        },
        optional={
            "ModelQualityJobOutputConfig": anything,
            "Tags": anything,
            "NetworkConfig": anything,
            "JobResources": anything,
        },
    )
)
def test_whatever_is_given_as_a_definition_is_imported_or_refused_in_words(given_definition):
    with contextlib.suppress(MonitorError):
        monitor_from_definition(given_definition)


@given(st.text("0123456789*/,- ", max_size=12).map(lambda hours: f"0 {hours} * * *"))
def test_a_cron_is_taken_with_the_hours_it_names_or_refused_in_words(cron):
    with contextlib.suppress(MonitorError):
        expression = sagemaker_cron(cron)
        there = airflow_cron(expression)
        assert there is not None
        assert sagemaker_cron(there) == sagemaker_cron(expression) or cadence(there) == cadence(expression)
