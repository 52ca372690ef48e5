"""Monitor ⇄ job definition: the CreateModelQualityJobDefinition request, and what describing one answers.

Nothing of a definition is lost: its request, made a monitor and exported again, is the same request. Of a monitor that
much comes back which SageMaker knows (`unknown_to_sagemaker` names the rest).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from airflow_mq_provider.exceptions import MonitorError, OffsetError, RequestError
from airflow_mq_provider.monitor import (
    CsvFormat,
    DatasetFormat,
    EndpointInput,
    JsonFormat,
    ModelQualityMonitor,
    SageMakerSettings,
)
from airflow_mq_provider.sagemaker import shapes
from airflow_mq_provider.sagemaker.differences import Difference, differences, without_empty
from airflow_mq_provider.window import sagemaker_offset

REQUEST: Final = "CreateModelQualityJobDefinition"

# AWS's member → ours, in both kinds of input
_INPUT_FIELDS: Final = {
    "FeaturesAttribute": "features_attribute",
    "InferenceAttribute": "inference_attribute",
    "ProbabilityAttribute": "probability_attribute",
    "ProbabilityThresholdAttribute": "probability_threshold_attribute",
    "StartTimeOffset": "start_time_offset",
    "EndTimeOffset": "end_time_offset",
    "ExcludeFeaturesAttribute": "exclude_features_attribute",
}
_OFFSETS: Final = ("StartTimeOffset", "EndTimeOffset")

# what `DescribeModelQualityJobDefinition` adds, or does not tell
_NOT_COMPARED: Final = ("JobDefinitionArn", "JobDefinitionName", "CreationTime", "Tags", "ResponseMetadata")

# what SageMaker does where a request says nothing
_INPUT_DEFAULTS: Final = {"S3InputMode": "File", "S3DataDistributionType": "FullyReplicated"}
_OUTPUT_DEFAULTS: Final = {"S3UploadMode": "Continuous"}
_NETWORK_DEFAULTS: Final = {"EnableInterContainerTrafficEncryption": False, "EnableNetworkIsolation": False}

_NOT_OURS: Final = {
    "min_records": 1,
    "min_label_coverage": 0.0,
    "max_rejected_ratio": 0.05,
    "keep_merged": None,
    "keep_rejected": "lines",
    "ground_truth_attribute": None,
    "ground_truth_max_delay": None,
}


# --- monitor → request


def job_definition_request(
    monitor: ModelQualityMonitor,
    *,
    name: str | None = None,
    region: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The arguments of CreateModelQualityJobDefinition.

    Args:
        monitor: with a role under ``sagemaker``; all its URIs rendered and on S3.
        name: the definition's; else ``sagemaker.job_definition_name``, else the monitor's name.
        region: where the analyzer's image is looked up, unless ``sagemaker.image_uri`` names one.
        tags: beside those of the monitor, and before them.

    Raises:
        RequestError: every fault that SageMaker would find, each by its field.
    """
    settings = shapes.settings_of(monitor)
    name = name or settings.job_definition_name or monitor.name
    batch = monitor.batch_transform_input
    faults = [
        *shapes.name_faults(job_definition_name=name),
        *shapes.common_faults(
            monitor,
            ground_truth_uri=monitor.ground_truth_uri,
            output_uri=monitor.output_uri,
            constraints_uri=monitor.constraints_uri,
            **(
                {"batch_transform_input.data_captured_destination_uri": batch.data_captured_destination_uri}
                if batch
                else {}
            ),
        ),
    ]
    app: dict[str, Any] = {
        "ImageUri": shapes.image_of(monitor, region, faults),
        "ProblemType": monitor.problem_type,
        **shapes.container(settings),
    }
    if settings.record_preprocessor_source_uri:
        app["RecordPreprocessorSourceUri"] = settings.record_preprocessor_source_uri
    if settings.post_analytics_processor_source_uri:
        app["PostAnalyticsProcessorSourceUri"] = settings.post_analytics_processor_source_uri
    if environment := shapes.environment_of(monitor, faults):
        app["Environment"] = environment

    output: dict[str, Any] = {
        "S3Uri": monitor.output_uri,
        "LocalPath": settings.output_local_path or shapes.OUTPUT_PATH,
    }
    if settings.s3_upload_mode:
        output["S3UploadMode"] = settings.s3_upload_mode
    outputs: dict[str, Any] = {"MonitoringOutputs": [{"S3Output": output}]}
    if settings.output_kms_key_id:
        outputs["KmsKeyId"] = settings.output_kms_key_id

    request = {
        "JobDefinitionName": name,
        **_baseline(monitor),
        "ModelQualityAppSpecification": app,
        "ModelQualityJobInput": {
            **_job_input(monitor, faults),
            "GroundTruthS3Input": {"S3Uri": monitor.ground_truth_uri},
        },
        "ModelQualityJobOutputConfig": outputs,
        "JobResources": {"ClusterConfig": shapes.cluster(settings)},
        **shapes.network(settings),
        "RoleArn": settings.role_arn,
        **shapes.stopping(settings),
        **shapes.tags_of(settings, tags, faults),
    }
    shapes.refuse(faults, monitor, REQUEST)
    return request


def unknown_to_sagemaker(monitor: ModelQualityMonitor) -> list[str]:
    """The settings, away from their defaults, that no job definition can hold: SageMaker judges without them."""
    return [name for name, default in _NOT_OURS.items() if getattr(monitor, name) != default]


def _baseline(monitor: ModelQualityMonitor) -> dict[str, Any]:
    made: dict[str, Any] = {}
    job = shapes.settings_of(monitor).baselining_job_name
    if job:
        made["BaseliningJobName"] = job
    if monitor.constraints_uri:
        made["ConstraintsResource"] = {"S3Uri": monitor.constraints_uri}
    return {"ModelQualityBaselineConfig": made} if made else {}


def _job_input(monitor: ModelQualityMonitor, faults: list[str]) -> dict[str, Any]:
    settings, source = shapes.settings_of(monitor), monitor.input
    made: dict[str, Any] = {"LocalPath": settings.local_path or shapes.INPUT_PATH}
    if settings.s3_input_mode:
        made["S3InputMode"] = settings.s3_input_mode
    if settings.s3_data_distribution_type:
        made["S3DataDistributionType"] = settings.s3_data_distribution_type
    part = "endpoint_input" if isinstance(source, EndpointInput) else "batch_transform_input"
    for member, field in _INPUT_FIELDS.items():
        value = getattr(source, field)
        if value is not None and member in _OFFSETS:
            try:
                value = sagemaker_offset(value, field=f"{part}.{field}")
            except OffsetError as error:
                faults.append(shapes.offset_fault(error))
        if value is not None:
            made[member] = value
    if isinstance(source, EndpointInput):
        return {"EndpointInput": {"EndpointName": source.endpoint_name, **made}}
    return {
        "BatchTransformInput": {
            "DataCapturedDestinationS3Uri": source.data_captured_destination_uri,
            "DatasetFormat": _dataset_format(source.dataset_format),
            **made,
        }
    }


def _dataset_format(declared: DatasetFormat) -> dict[str, dict[str, bool]]:
    if isinstance(declared, CsvFormat):
        return {"Csv": {"Header": declared.header}}
    if isinstance(declared, JsonFormat):
        return {"Json": {"Line": declared.line}}
    return {"Parquet": {}}


# --- description → monitor


def monitor_from_definition(
    definition: Mapping[str, Any],
    *,
    schedule: Mapping[str, Any] | None = None,
    capture_uri: str | None = None,
    variant_name: str | None = None,
) -> ModelQualityMonitor:
    """The monitor that a job definition declares.

    Args:
        definition: what describing it answers, or the request that made it; tags are read where it has any, which an
            answer has not.
        schedule: what describing a schedule of it answers: the monitor, and with it the folder of its reports, bears that
            one's name; else the definition's.
        capture_uri: where the endpoint's captures lie, which a definition does not know: the DestinationS3Uri of the
            endpoint's DataCaptureConfig. Of a batch transform it has to be absent.
        variant_name: the endpoint's variant, where it is not SageMaker's own ``AllTraffic``.

    Raises:
        MonitorError: what is no monitor here, by its field: an offset in months, an output that does not lie on S3.
    """
    formats = _formats(definition)
    definition = without_empty(definition)
    source = _described(definition)
    if capture_uri is not None and "EndpointInput" not in definition["ModelQualityJobInput"]:
        raise RequestError(
            ["capture_uri: is given for an endpoint only, as the definition itself says where a batch transform's lie"],
            where=source,
            next_step="leave it out",
        )
    name = (schedule or {}).get("MonitoringScheduleName") or definition["JobDefinitionName"]
    job_input = definition["ModelQualityJobInput"]
    app = definition["ModelQualityAppSpecification"]
    environment, means = shapes.settings_in_environment(app.get("Environment", {}), app.get("ProblemType", ""))
    fields: dict[str, Any] = {
        "name": name,
        "problem_type": app.get("ProblemType"),
        "ground_truth_uri": job_input.get("GroundTruthS3Input", {}).get("S3Uri"),
        "output_uri": _output(definition).get("S3Uri"),
        "constraints_uri": definition.get("ModelQualityBaselineConfig", {}).get("ConstraintsResource", {}).get("S3Uri"),
        "sagemaker": _settings(definition, name, environment),
        **means,
    }
    if "EndpointInput" in job_input:
        fields["endpoint_input"] = {
            "endpoint_name": job_input["EndpointInput"].get("EndpointName"),
            "data_captured_destination_uri": capture_uri,
            "variant_name": variant_name,
            **_attributes(job_input["EndpointInput"]),
        }
    if "BatchTransformInput" in job_input:
        batch = job_input["BatchTransformInput"]
        fields["batch_transform_input"] = {
            "data_captured_destination_uri": batch.get("DataCapturedDestinationS3Uri"),
            "dataset_format": formats,
            **_attributes(batch),
        }
    try:
        return ModelQualityMonitor.model_validate(_present(fields))
    except MonitorError as error:
        raise MonitorError(
            error.faults,
            where=source,
            next_step="save what describe-model-quality-job-definition answers, correct it there, and import the file",
        ) from None


def _described(definition: Mapping[str, Any]) -> str:
    """How errors call the definition.

    Raises:
        RequestError: it is none.
    """
    needed = ("JobDefinitionName", "ModelQualityAppSpecification", "ModelQualityJobInput")
    missing = [name for name in needed if name not in definition]
    if missing:
        raise RequestError(
            [f"{name}: is missing" for name in missing],
            where="what was given as a job definition",
            next_step="give what describe-model-quality-job-definition answers, or a create request, as one JSON object",
        )
    return f"job definition {definition['JobDefinitionName']!r}"


def _attributes(described: Mapping[str, Any]) -> dict[str, Any]:
    return {field: described.get(member) for member, field in _INPUT_FIELDS.items()}


def _formats(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The format of a batch transform's output as a monitor writes it: of its members, Parquet's is always empty."""
    job_input = definition.get("ModelQualityJobInput", {})
    described = (job_input.get("BatchTransformInput") or {}).get("DatasetFormat") or {}
    flags = {"Csv": ("header", "Header"), "Json": ("line", "Line")}
    made: dict[str, Any] = {}
    for kind, inside in described.items():
        if kind in flags and inside is not None:
            ours, theirs = flags[kind]
            made[kind.lower()] = {ours: inside.get(theirs, False)}
        elif inside is not None:
            made[kind.lower()] = {}
    return made


def _output(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    outputs = definition.get("ModelQualityJobOutputConfig", {}).get("MonitoringOutputs", [])
    output: Mapping[str, Any] = outputs[0].get("S3Output", {}) if outputs else {}
    return output


def _settings(definition: Mapping[str, Any], name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    app = definition["ModelQualityAppSpecification"]
    job_input = definition["ModelQualityJobInput"]
    source = job_input.get("EndpointInput") or job_input.get("BatchTransformInput") or {}
    output = _output(definition)
    cluster_config = definition.get("JobResources", {}).get("ClusterConfig", {})
    network_config = definition.get("NetworkConfig")
    vpc = (network_config or {}).get("VpcConfig", {})
    definition_name = definition["JobDefinitionName"]
    defaults = SageMakerSettings()
    return {
        "job_definition_name": definition_name if definition_name != name else None,
        "role_arn": definition.get("RoleArn"),
        "image_uri": app.get("ImageUri"),
        "instance_type": cluster_config.get("InstanceType", defaults.instance_type),
        "instance_count": cluster_config.get("InstanceCount", defaults.instance_count),
        "volume_size_in_gb": cluster_config.get("VolumeSizeInGB", defaults.volume_size_in_gb),
        "volume_kms_key_id": cluster_config.get("VolumeKmsKeyId") or None,
        "output_kms_key_id": definition.get("ModelQualityJobOutputConfig", {}).get("KmsKeyId") or None,
        "max_runtime_in_seconds": definition.get("StoppingCondition", {}).get("MaxRuntimeInSeconds"),
        "network_config": network_config
        and {
            "enable_inter_container_traffic_encryption": network_config.get(
                "EnableInterContainerTrafficEncryption", False
            ),
            "enable_network_isolation": network_config.get("EnableNetworkIsolation", False),
            "security_group_ids": vpc.get("SecurityGroupIds", ()),
            "subnets": vpc.get("Subnets", ()),
        },
        "environment": dict(environment),
        "tags": {tag["Key"]: tag["Value"] for tag in definition.get("Tags", ())},
        "record_preprocessor_source_uri": app.get("RecordPreprocessorSourceUri"),
        "post_analytics_processor_source_uri": app.get("PostAnalyticsProcessorSourceUri"),
        "container_entrypoint": app.get("ContainerEntrypoint"),
        "container_arguments": app.get("ContainerArguments"),
        "baselining_job_name": definition.get("ModelQualityBaselineConfig", {}).get("BaseliningJobName"),
        "local_path": _unless(source.get("LocalPath"), shapes.INPUT_PATH),
        "output_local_path": _unless(output.get("LocalPath"), shapes.OUTPUT_PATH),
        "s3_input_mode": source.get("S3InputMode"),
        "s3_data_distribution_type": source.get("S3DataDistributionType"),
        "s3_upload_mode": output.get("S3UploadMode"),
    }


def _unless(value: str | None, default: str) -> str | None:
    return None if value == default else value


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is absent, so that a missing field is told as missing and not as None."""
    return {
        name: _present(value) if name in ("endpoint_input", "batch_transform_input") else value
        for name, value in fields.items()
        if value is not None
    }


# --- described against declared


def definition_diff(described: Mapping[str, Any], request: Mapping[str, Any]) -> list[Difference]:
    """Where a described job definition is another than the request would make, field by field.

    What AWS adds (ARN, creation time) and does not tell (tags) is not compared, nor the name, as a changed definition
    bears another one. A member that one side leaves out counts as SageMaker's default; a runtime limit that the request
    does not give is left to SageMaker; trailing slashes and the spelling of an offset make no difference.
    """
    declared = _canonical(request)
    found = _canonical(described)
    if "StoppingCondition" not in declared:
        found.pop("StoppingCondition", None)
    return list(differences(found, declared))


def same_definition(described: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    """Whether `definition_diff` finds nothing: the definition can be used as it is."""
    return not definition_diff(described, request)


def _canonical(definition: Mapping[str, Any]) -> dict[str, Any]:
    """What a definition means, whoever wrote it: without what is not compared, defaults written out."""
    plain = without_empty({name: part for name, part in definition.items() if name not in _NOT_COMPARED})
    job_input = dict(plain.get("ModelQualityJobInput", {}))
    for kind in ("EndpointInput", "BatchTransformInput"):
        if kind in job_input:
            source = {**_INPUT_DEFAULTS, **job_input[kind]}
            for member in _OFFSETS:
                if member in source:
                    source[member] = shapes.offset_meaning(source[member])
            if "DataCapturedDestinationS3Uri" in source:
                source["DataCapturedDestinationS3Uri"] = source["DataCapturedDestinationS3Uri"].rstrip("/")
            job_input[kind] = source
    if "BatchTransformInput" in job_input:
        job_input["BatchTransformInput"]["DatasetFormat"] = _formats(definition)
    if "GroundTruthS3Input" in job_input:
        job_input["GroundTruthS3Input"] = {"S3Uri": job_input["GroundTruthS3Input"]["S3Uri"].rstrip("/")}
    output = dict(plain.get("ModelQualityJobOutputConfig", {}))
    output.pop("MonitoringOutputs", None)
    written = _output(plain)
    output["S3Output"] = {**_OUTPUT_DEFAULTS, **written, "S3Uri": written.get("S3Uri", "").rstrip("/")}
    return {
        **plain,
        "ModelQualityJobInput": job_input,
        "ModelQualityJobOutputConfig": output,
        "NetworkConfig": {**_NETWORK_DEFAULTS, **plain.get("NetworkConfig", {})},
    }
