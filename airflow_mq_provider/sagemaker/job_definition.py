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
    "noise_sd": None,
    "segments": None,
    "keep_merged": None,
    "keep_rejected": "lines",
    "ground_truth_attribute": None,
    "ground_truth_max_delay": None,
    "prepared_hours_retention": "P30D",
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
    name: str | None = None,
    capture_uri: str | None = None,
    variant_name: str | None = None,
) -> ModelQualityMonitor:
    """The monitor that a job definition declares.

    Args:
        definition: what describing it answers, or the request that made it; tags are read where it has any, which an
            answer has not.
        name: the monitor's, after which the folder of its reports is called, as SageMaker's is after the schedule; else the
            definition's.
        capture_uri: where the endpoint's captures lie, which a definition does not know: the DestinationS3Uri of the
            endpoint's DataCaptureConfig. Of a batch transform it has to be absent.
        variant_name: the endpoint's variant, where it is not SageMaker's own ``AllTraffic``.

    Raises:
        MonitorError: what is no monitor here, by its field: an offset in months, an output that does not lie on S3.
    """
    source = _described(definition)
    job_input = _part(definition, "ModelQualityJobInput")
    app = _part(definition, "ModelQualityAppSpecification")
    if capture_uri is not None and "EndpointInput" not in job_input:
        raise RequestError(
            ["capture_uri: is given for an endpoint only, as the definition itself says where a batch transform's lie"],
            where=source,
            next_step="leave it out",
        )
    name = name or str(definition["JobDefinitionName"])
    environment, means = shapes.settings_in_environment(_part(app, "Environment"), str(app.get("ProblemType")))
    fields: dict[str, Any] = {
        "name": name,
        "problem_type": app.get("ProblemType"),
        "ground_truth_uri": _part(job_input, "GroundTruthS3Input").get("S3Uri"),
        "output_uri": _output(definition).get("S3Uri"),
        "constraints_uri": _part(definition, "ModelQualityBaselineConfig", "ConstraintsResource").get("S3Uri"),
        "sagemaker": _settings(definition, name, environment),
        **means,
    }
    if endpoint := _part(job_input, "EndpointInput"):
        fields["endpoint_input"] = {
            "endpoint_name": endpoint.get("EndpointName"),
            "data_captured_destination_uri": capture_uri,
            "variant_name": variant_name,
            **_attributes(endpoint),
        }
    if batch := _part(job_input, "BatchTransformInput"):
        fields["batch_transform_input"] = {
            "data_captured_destination_uri": batch.get("DataCapturedDestinationS3Uri"),
            "dataset_format": _formats(batch),
            **_attributes(batch),
        }
    try:
        return ModelQualityMonitor.model_validate(_present(fields))
    except MonitorError as error:
        raise MonitorError(
            error.faults,
            where=source,
            next_step="correct what was given beside the definition; for what it says itself, save what "
            "describe-model-quality-job-definition answers, correct it there, and import the file",
        ) from None


def _described(definition: Mapping[str, Any]) -> str:
    """How errors call the definition.

    Raises:
        RequestError: it is none.
    """
    needed = ("JobDefinitionName", "ModelQualityAppSpecification", "ModelQualityJobInput")
    missing = [name for name in needed if not definition.get(name)]
    if missing:
        raise _no_definition([f"{name}: is missing" for name in missing])
    return f"job definition {definition['JobDefinitionName']!r}"


def _no_definition(faults: list[str]) -> RequestError:
    return RequestError(
        faults,
        where="what was given as a job definition",
        next_step="give what describe-model-quality-job-definition answers, or a create request, as one JSON object",
    )


def _part(holder: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """An object within an object; empty where it is absent.

    Raises:
        RequestError: there is something else in its place.
    """
    for i, name in enumerate(path):
        inside = holder.get(name)
        if inside is not None and not isinstance(inside, Mapping):
            raise _no_definition([f"{'.'.join(path[: i + 1])}: must be an object, came a {type(inside).__name__}"])
        holder = inside or {}
    return holder


def _objects(holder: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects of a list; none where it is absent.

    Raises:
        RequestError: there is something else in its place.
    """
    listed = holder.get(name) or []
    if not isinstance(listed, list) or not all(isinstance(one, Mapping) for one in listed):
        raise _no_definition([f"{name}: must be a list of objects"])
    return listed


def _attributes(described: Mapping[str, Any]) -> dict[str, Any]:
    return {field: described.get(member) for member, field in _INPUT_FIELDS.items()}


def _formats(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The format of a batch transform's output as a monitor writes it; flags that are left out are off."""
    flags = {"Csv": ("header", "Header"), "Json": ("line", "Line")}
    formats = _part(batch, "DatasetFormat")
    made: dict[str, Any] = {}
    for kind in (kind for kind, inside in formats.items() if inside is not None):
        inside = _part(formats, kind)
        made[kind.lower()] = {flags[kind][0]: inside.get(flags[kind][1], False)} if kind in flags else dict(inside)
    return made


def _output(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    outputs = _objects(_part(definition, "ModelQualityJobOutputConfig"), "MonitoringOutputs")
    return _part(outputs[0], "S3Output") if outputs else {}


def _settings(definition: Mapping[str, Any], name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    app = _part(definition, "ModelQualityAppSpecification")
    job_input = _part(definition, "ModelQualityJobInput")
    source = _part(job_input, "EndpointInput") or _part(job_input, "BatchTransformInput")
    output = _output(definition)
    machines = _part(definition, "JobResources", "ClusterConfig")
    network = _part(definition, "NetworkConfig")
    vpc = _part(network, "VpcConfig")
    definition_name = definition["JobDefinitionName"]
    fields = {
        "job_definition_name": _unless(definition_name, name),
        "role_arn": definition.get("RoleArn"),
        "image_uri": app.get("ImageUri"),
        "instance_type": machines.get("InstanceType"),
        "instance_count": machines.get("InstanceCount"),
        "volume_size_in_gb": machines.get("VolumeSizeInGB"),
        "volume_kms_key_id": machines.get("VolumeKmsKeyId") or None,
        "output_kms_key_id": _part(definition, "ModelQualityJobOutputConfig").get("KmsKeyId") or None,
        "max_runtime_in_seconds": _part(definition, "StoppingCondition").get("MaxRuntimeInSeconds"),
        "environment": dict(environment),
        "tags": {str(tag.get("Key")): tag.get("Value") for tag in _objects(definition, "Tags")},
        "record_preprocessor_source_uri": app.get("RecordPreprocessorSourceUri"),
        "post_analytics_processor_source_uri": app.get("PostAnalyticsProcessorSourceUri"),
        "container_entrypoint": app.get("ContainerEntrypoint") or None,
        "container_arguments": app.get("ContainerArguments") or None,
        "baselining_job_name": _part(definition, "ModelQualityBaselineConfig").get("BaseliningJobName"),
        "local_path": _unless(source.get("LocalPath"), shapes.INPUT_PATH),
        "output_local_path": _unless(output.get("LocalPath"), shapes.OUTPUT_PATH),
        "s3_input_mode": source.get("S3InputMode"),
        "s3_data_distribution_type": source.get("S3DataDistributionType"),
        "s3_upload_mode": output.get("S3UploadMode"),
    }
    if network:
        fields["network_config"] = {
            "enable_inter_container_traffic_encryption": network.get("EnableInterContainerTrafficEncryption", False),
            "enable_network_isolation": network.get("EnableNetworkIsolation", False),
            "security_group_ids": vpc.get("SecurityGroupIds") or (),
            "subnets": vpc.get("Subnets") or (),
        }
    return {field: value for field, value in fields.items() if value is not None}


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
    job_input = dict(_part(plain, "ModelQualityJobInput"))
    for kind in ("EndpointInput", "BatchTransformInput"):
        if kind in job_input:
            source = {**_INPUT_DEFAULTS, **job_input[kind]}
            for member in _OFFSETS:
                if member in source:
                    source[member] = shapes.offset_meaning(source[member])
            job_input[kind] = source
    if "BatchTransformInput" in job_input:
        # an empty format is one, so it is read from what was given
        job_input["BatchTransformInput"] |= {
            "DatasetFormat": _formats(definition["ModelQualityJobInput"]["BatchTransformInput"]),
            **_without_slash(job_input["BatchTransformInput"], "DataCapturedDestinationS3Uri"),
        }
    if "GroundTruthS3Input" in job_input:
        job_input["GroundTruthS3Input"] = _without_slash(job_input["GroundTruthS3Input"], "S3Uri")
    output = dict(_part(plain, "ModelQualityJobOutputConfig"))
    output.pop("MonitoringOutputs", None)
    written = _output(plain)
    output["S3Output"] = {**_OUTPUT_DEFAULTS, **written, **_without_slash(written, "S3Uri")}
    return {
        **plain,
        "ModelQualityJobInput": job_input,
        "ModelQualityJobOutputConfig": output,
        "NetworkConfig": {**_NETWORK_DEFAULTS, **_part(plain, "NetworkConfig")},
    }


def _without_slash(holder: Mapping[str, Any], member: str) -> dict[str, str]:
    return {member: holder[member].rstrip("/")} if member in holder else {}
