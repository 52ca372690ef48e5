"""What several requests share: the faults that SageMaker would find, and the parts that mean the same in each."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Final

from airflow_mq_provider.exceptions import OffsetError, RequestError
from airflow_mq_provider.monitor import ModelQualityMonitor, SageMakerSettings, label_text, name_fault
from airflow_mq_provider.sagemaker.images import analyzer_image
from airflow_mq_provider.window import OffsetWarning, parse_offset

#: where SageMaker's containers find their input and leave their output, unless a monitor says otherwise
INPUT_PATH: Final = "/opt/ml/processing/input_data"
OUTPUT_PATH: Final = "/opt/ml/processing/output"

#: variables of the environment that a monitor declares by settings of its own
PUBLISH: Final = "publish_cloudwatch_metrics"
POSITIVE_LABEL: Final = "positive_label"
_PUBLISHED: Final = "Enabled"
_DEFAULT_POSITIVE_LABEL: Final = "1"


def settings_of(monitor: ModelQualityMonitor) -> SageMakerSettings:
    """What the monitor says for SageMaker alone; the defaults where it says nothing."""
    return monitor.sagemaker or SageMakerSettings()


def refuse(faults: list[str], monitor: ModelQualityMonitor, request: str, next_step: str | None = None) -> None:
    """Raise what was found, if anything was.

    Raises:
        RequestError: every fault, each by its field.
    """
    if faults:
        raise RequestError(
            faults,
            where=f"{request} of ModelQualityMonitor {monitor.name!r}",
            next_step=next_step or "correct the named fields; docs/moving-over.md tells what SageMaker needs",
        )


def common_faults(monitor: ModelQualityMonitor, **uris: str | None) -> Iterator[str]:
    """What hinders every request: no role, a template that is not rendered, a URI that does not lie on S3."""
    settings = settings_of(monitor)
    if settings.role_arn is None:
        yield "sagemaker.role_arn: is needed, as SageMaker's jobs run under a role, came none"
    places = {
        "sagemaker.record_preprocessor_source_uri": settings.record_preprocessor_source_uri,
        "sagemaker.post_analytics_processor_source_uri": settings.post_analytics_processor_source_uri,
        **uris,
    }
    for field, uri in places.items():
        if uri is not None and ("{{" in uri or "{%" in uri):
            yield f"{field}: must be rendered first (ModelQualityMonitor.render), came {uri!r}"
        elif uri is not None and not uri.startswith("s3://"):
            yield f"{field}: must lie on S3, which is all that SageMaker reads and writes, came {uri!r}"


def name_faults(**names: str) -> Iterator[str]:
    """Names off SageMaker's pattern, each by its field."""
    for field, name in names.items():
        if fault := name_fault(name):
            yield f"{field}: {fault}"


def image_of(monitor: ModelQualityMonitor, region: str | None, faults: list[str]) -> str:
    """The analyzer's image, declared or that of the region; where neither is known that is one more of ``faults``."""
    declared = settings_of(monitor).image_uri
    if declared is not None:
        return declared
    if region is None:
        faults.append("sagemaker.image_uri: is needed where no region is given, came neither")
        return ""
    try:
        return analyzer_image(region)
    except RequestError as error:
        faults.extend(error.faults)
        return ""


def environment_of(monitor: ModelQualityMonitor, faults: list[str]) -> dict[str, str]:
    """The declared variables, with those that stand for settings of the monitor (see `settings_in_environment`).

    A variable that says otherwise than its setting is a fault, since one of the two would be lost.
    """
    environment = dict(settings_of(monitor).environment)
    means = settings_in_environment(environment, monitor.problem_type)[1]
    if PUBLISH in environment:
        if monitor.publish_cloudwatch_metrics != means.get(PUBLISH, False):
            faults.append(f"sagemaker.environment.{PUBLISH}: says otherwise than {PUBLISH}; leave the variable out")
    elif monitor.publish_cloudwatch_metrics:
        environment[PUBLISH] = _PUBLISHED
    if POSITIVE_LABEL in means:
        if monitor.positive_label != means[POSITIVE_LABEL]:
            faults.append(
                f"sagemaker.environment.{POSITIVE_LABEL}: says otherwise than {POSITIVE_LABEL}; leave the variable out"
            )
    elif monitor.problem_type == "BinaryClassification" and monitor.positive_label != _DEFAULT_POSITIVE_LABEL:
        environment[POSITIVE_LABEL] = monitor.positive_label
    if len(environment) > 50:
        faults.append(
            f"sagemaker.environment: must have at most 50 entries, {PUBLISH} and {POSITIVE_LABEL} among them, "
            f"came {len(environment)}"
        )
    faults += [
        f"sagemaker.environment.{name}: must have at most 256 characters"
        for name, text in environment.items()
        if len(text) > 256
    ]
    return environment


def settings_in_environment(environment: Mapping[str, str], problem_type: str) -> tuple[dict[str, str], dict[str, Any]]:
    """A definition's variables without those that a setting says as well, and these settings.

    SageMaker's analyzer reads ``publish_cloudwatch_metrics`` and, of binary problems, ``positive_label``. Texts that the
    setting would not give back as they are stay among the variables too: ``Disabled``, or a label ``1.0``.
    """
    rest, means = dict(environment), dict[str, Any]()
    if rest.get(PUBLISH) == _PUBLISHED:
        del rest[PUBLISH]
        means[PUBLISH] = True
    written = str(rest.get(POSITIVE_LABEL, "")).strip()
    if written and problem_type == "BinaryClassification":
        label = label_text(written)
        means[POSITIVE_LABEL] = label
        # the other class of those that SageMaker's samples have
        if label == "0":
            means["negative_label"] = "1"
        if rest[POSITIVE_LABEL] == label != _DEFAULT_POSITIVE_LABEL:
            del rest[POSITIVE_LABEL]
    return rest, means


def container(settings: SageMakerSettings) -> dict[str, Any]:
    """Entry point and arguments of a container of one's own, within ``AppSpecification``."""
    made: dict[str, Any] = {}
    if settings.container_entrypoint:
        made["ContainerEntrypoint"] = list(settings.container_entrypoint)
    if settings.container_arguments:
        made["ContainerArguments"] = list(settings.container_arguments)
    return made


def cluster(settings: SageMakerSettings) -> dict[str, Any]:
    """``ClusterConfig``."""
    made: dict[str, Any] = {
        "InstanceCount": settings.instance_count,
        "InstanceType": settings.instance_type,
        "VolumeSizeInGB": settings.volume_size_in_gb,
    }
    if settings.volume_kms_key_id:
        made["VolumeKmsKeyId"] = settings.volume_kms_key_id
    return made


def network(settings: SageMakerSettings) -> dict[str, Any]:
    """``NetworkConfig``, within what is to hold it; nothing where none is declared."""
    declared = settings.network_config
    if declared is None:
        return {}
    made: dict[str, Any] = {
        "EnableInterContainerTrafficEncryption": declared.enable_inter_container_traffic_encryption,
        "EnableNetworkIsolation": declared.enable_network_isolation,
    }
    if declared.subnets:
        made["VpcConfig"] = {
            "SecurityGroupIds": list(declared.security_group_ids),
            "Subnets": list(declared.subnets),
        }
    return {"NetworkConfig": made}


def stopping(settings: SageMakerSettings) -> dict[str, Any]:
    """``StoppingCondition``, within what is to hold it; nothing where no limit is declared."""
    if settings.max_runtime_in_seconds is None:
        return {}
    return {"StoppingCondition": {"MaxRuntimeInSeconds": settings.max_runtime_in_seconds}}


def tags_of(settings: SageMakerSettings, more: Mapping[str, str] | None, faults: list[str]) -> dict[str, Any]:
    """``Tags``, the monitor's and more, within what is to hold them; nothing where there are none."""
    tags = {**settings.tags, **(more or {})}
    if len(tags) > 50:
        faults.append(f"tags: must be at most 50, came {len(tags)}")
    return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]} if tags else {}


def offset_fault(error: OffsetError) -> str:
    """The refusal of an offset as one fault among others."""
    return f"{error.where}: must be {error.expected}, came {error.came}; {error.next_step}"


def offset_meaning(text: str) -> str:
    """One form of all offsets of a length, so that ``-PT24H`` is ``-P1D``; the text itself where it is no offset here."""
    # imported here: a DAG file that is parsed compares none
    from isodate import duration_isoformat

    with warnings.catch_warnings():
        # whoever declared it was told
        warnings.simplefilter("ignore", OffsetWarning)
        try:
            return f"-{duration_isoformat(-parse_offset(text, field='offset'))}"
        except OffsetError:
            return text
