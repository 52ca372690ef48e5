"""WHAT is watched: `ModelQualityMonitor` and its parts, in YAML and JSON, and how its labels and attributes are read.

A monitor is frozen, and valid from the moment it exists: all faults of a declaration are told at once, each by its
field, in one `MonitorError`. Field names are SageMaker's in snake_case. docs/settings.md explains every setting.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
)

from airflow_mq_provider.exceptions import ModelQualityError, MonitorError
from airflow_mq_provider.window import Window, normalize_offset, offset_fault, parse_delay

if TYPE_CHECKING:
    from yaml import SafeLoader

#: a probability above it is the positive class, unless the monitor says otherwise (rule A2)
DEFAULT_THRESHOLD: Final = 0.5

ProblemType = Literal["BinaryClassification", "MulticlassClassification", "Regression"]

# --- labels and attributes

_SPELLED_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_INDEX = re.compile(r"\d+", re.ASCII)
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_JMESPATH_SIGNS = frozenset("[]{}()|&*@\"'`")
_EXACT = 2.0**53


def label_text(value: object) -> str:
    """The one form in which labels and classes are compared (rule I5). Its own form is itself.

    A text is trimmed; if then a number in decimal digits that a double holds as whole and below 2**53, it is that
    number without sign of zero, leading zeros, fraction or exponent (``" 1"``, ``1.0``, ``1e0`` are ``1``); if a truth
    value in any case, it is ``true`` or ``false``; else it stays as it is (``1_000`` and ``nan`` too). Numbers and
    truth values of JSON take the form of their text.

    Raises:
        TypeError: the value is no text, number or truth value.
    """
    if isinstance(value, str):
        # nearly all labels of binary problems
        if value in ("0", "1"):
            return value
        text = value.strip()
        if _SPELLED_NUMBER.fullmatch(text):
            number = float(text)
            return str(int(number)) if abs(number) < _EXACT and number.is_integer() else text
        lower = text.lower()
        return lower if lower in ("true", "false") else text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if abs(value) < _EXACT and value.is_integer() else repr(value)
    raise TypeError(f"a label is a text, a number or a truth value, not {type(value).__name__}")


def payload_path(attribute: str) -> str:
    """The JMESPath expression for what an attribute names in a JSON payload (rule I3).

    An index is that element of an array. A leading ``$`` or ``$.`` is dropped. A text with one of the signs
    ``[]{}()|&*@"'`` or the backtick is JMESPath already; any other is a key, or keys separated by dots, which need not
    be JMESPath identifiers (``churn-probability``).

    Raises:
        ValueError: the attribute can name nothing; the message says why.
    """
    text = attribute.strip()
    if not text:
        raise ValueError("must not be empty")
    if _INDEX.fullmatch(text):
        return f"[{int(text)}]"
    if re.fullmatch(r"-\d+", text):
        raise ValueError(f"column indexes count from 0, came {attribute!r}")
    path = text
    if text.startswith("$"):
        if re.match(r"\$\[['\"]", text):
            raise ValueError(f"JMESPath writes a key as $.key, not as $['key'], came {attribute!r}")
        path = text[1:].removeprefix(".") or "@"
    if _DOTTED.fullmatch(path):
        return path
    if not _JMESPATH_SIGNS.intersection(path):
        keys = path.split(".")
        if not all(keys):
            raise ValueError(f"has an empty key between its dots, came {attribute!r}")
        return ".".join(key if _IDENTIFIER.fullmatch(key) else json.dumps(key) for key in keys)
    # imported here: the attributes of most monitors are a number or a name
    import jmespath

    try:
        jmespath.compile(path)
    except jmespath.exceptions.JMESPathError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"is neither column index, name nor JMESPath, came {attribute!r}: {reason}") from None
    return path


# --- what fields hold

_NAME = re.compile(r"[a-zA-Z0-9](?:-*[a-zA-Z0-9])*", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ENVIRONMENT_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_URI_FORMS = "s3://bucket/key, file:///absolute/path or a plain path"


def name_fault(value: str) -> str | None:
    """Why a text is no name, neither here nor of anything in SageMaker; None where it is one."""
    if len(value) <= 63 and _NAME.fullmatch(value):
        return None
    return (
        "must be 1 to 63 letters, digits and hyphens of ASCII that begin and end with a letter or digit, "
        f"came {_shown(value)}"
    )


def _name(value: str) -> str:
    if fault := name_fault(value):
        raise ValueError(fault)
    return value


def _is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def _uri(value: str) -> str:
    return _checked_uri(value, 512)


def _long_uri(value: str) -> str:
    return _checked_uri(value, 1024)


def _object_uri(value: str) -> str:
    uri = _checked_uri(value, 1024)
    if uri.startswith("s3://") and "/" not in uri[5:] and not _is_template(uri):
        raise ValueError(f"must name an object, not a bucket, came {uri!r}")
    return uri


def _checked_uri(value: str, s3_limit: int) -> str:
    """The URI without trailing slashes; a template as it is, since what it becomes is known when a task runs."""
    if _is_template(value):
        return value
    came = f"came {_shown(value)}"
    if not value:
        raise ValueError(f"must not be empty; write {_URI_FORMS}")
    if value != value.strip():
        raise ValueError(f"begins or ends with white space, {came}")
    if _CONTROL.search(value):
        raise ValueError(f"holds a control character, {came}")
    uri = value.rstrip("/")
    if uri in ("", "file:"):
        raise ValueError(f"must name a folder below the root of the file system, {came}")
    if value.startswith("s3://"):
        if not _BUCKET.fullmatch(value[5:].partition("/")[0]):
            raise ValueError(
                f"must name a bucket (3 to 63 lower-case letters, digits, dots and hyphens) after s3://, {came}"
            )
        if len(uri) > s3_limit:
            raise ValueError(f"must have at most {s3_limit} characters, {came} of {len(uri)}")
    elif value.startswith("file:"):
        if not value.startswith("file:///"):
            raise ValueError(f"must be written as file:///absolute/path, {came}")
    elif _SCHEME.match(value):
        raise ValueError(f"must be {_URI_FORMS} (a file whose name has a colon: ./a:b), {came}")
    elif value.startswith("~"):
        raise ValueError(f"must be written out, as ~ stands for no folder here, {came}")
    return uri


def _attribute(value: object, info: ValidationInfo) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"must be a column index, a name or a JMESPath, came {_shown(value)}")
    text = value.strip()
    # a column of CSV may have any name
    if not text or not isinstance(info.data.get("dataset_format"), CsvFormat):
        payload_path(text)
    return text


def _class_label(value: object) -> str:
    try:
        label = label_text(value)
    except TypeError:
        raise ValueError(f"must be a text, a number or a truth value, came {_shown(value)}") from None
    if not label:
        raise ValueError("must not be empty")
    return label


def _other_class_label(value: str, info: ValidationInfo) -> str:
    if value == info.data.get("positive_label"):
        raise ValueError(f"must be another class than positive_label, came {value!r} for both")
    return value


def _threshold(value: float | None, info: ValidationInfo) -> float | None:
    if value is not None and info.data.get("probability_attribute", "unknown") is None:
        raise ValueError("has no meaning without probability_attribute; add that, or leave the threshold out")
    return value


def _offset(value: str, info: ValidationInfo) -> str:
    return normalize_offset(value, field=str(info.field_name))


def _end_offset(value: str | None, info: ValidationInfo) -> str | None:
    fault = offset_fault(info.data.get("start_time_offset"), value)
    if fault:
        raise ValueError(f"start_time_offset {fault}")
    return value


def _delay(value: str, info: ValidationInfo) -> str:
    parse_delay(value, field=str(info.field_name))
    return value


def _part(value: object) -> object:
    """Keys of a mapping as text: a key 1 is an unknown field like any other."""
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else value


def _role(value: str) -> str:
    if len(value) > 2048 or not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/?[\w+=,.@/-]+", value, re.ASCII):
        raise ValueError(f"must be the ARN of a role, arn:aws:iam::123456789012:role/NAME, came {_shown(value)}")
    return value


def _environment(value: dict[str, str]) -> dict[str, str]:
    if len(value) > 50:
        raise ValueError(f"must have at most 50 entries, came {len(value)}")
    for name, text in value.items():
        if len(name) > 256 or not _ENVIRONMENT_NAME.fullmatch(name):
            raise ValueError(
                "names are letters, digits and _, begin with no digit, have at most 256 characters, "
                f"came {_shown(name)}"
            )
        if len(text) > 256:
            # the text itself may be a secret
            raise MonitorError([f"{name}: must have at most 256 characters, came {len(text)}"], where="environment")
    return value


def _tags(value: dict[str, str]) -> dict[str, str]:
    if len(value) > 50:
        raise ValueError(f"must have at most 50 entries, came {len(value)}")
    for name, text in value.items():
        if not 1 <= len(name) <= 128 or len(text) > 256:
            raise ValueError(f"a key has 1 to 128 characters and a value at most 256, came {_shown(name)}")
    return value


Name = Annotated[str, AfterValidator(_name)]
Uri = Annotated[str, AfterValidator(_uri)]
Attribute = Annotated[str, BeforeValidator(_attribute)]
Ratio = Annotated[float, Field(strict=True, ge=0, le=1)]
Threshold = Annotated[Ratio | None, AfterValidator(_threshold)]
StartOffset = Annotated[str, AfterValidator(_offset)]
EndOffset = Annotated[
    Annotated[str, AfterValidator(_offset)] | None, AfterValidator(_end_offset), Field(validate_default=True)
]
ClassLabel = Annotated[str, BeforeValidator(_class_label)]
StrictFlag = Annotated[bool, Field(strict=True)]
KmsKey = Annotated[str, Field(max_length=2048, pattern=r"^[a-zA-Z0-9:/_-]*$")]
ContainerPath = Annotated[str, Field(min_length=1, max_length=256)]
ContainerWord = Annotated[str, Field(max_length=256)]
NetworkId = Annotated[str, Field(max_length=32, pattern=r"^[-0-9a-zA-Z]+$")]


# --- the parts of a monitor


class _Declared(BaseModel):
    """What all parts have in common: frozen, no unknown fields, and every refusal is a `MonitorError`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    # hidden from type checkers, which then know the fields by name and type
    if not TYPE_CHECKING:

        def __init__(self, /, **given: Any) -> None:
            """Validate all that is given.

            Raises:
                MonitorError: every fault, each by its field.
            """
            faults = []
            try:
                super().__init__(**given)
            except ValidationError as error:
                faults += _faults(error, type(self))
            faults += self._faults_between_parts(given)
            if faults:
                name = given.get("name")
                where = type(self).__name__ + (f" {name!r}" if isinstance(name, str) else "")
                raise MonitorError(faults, where=where) from None

    @classmethod
    def _faults_between_parts(cls, given: Mapping[str, Any]) -> list[str]:  # noqa: ARG003 - most parts have none
        """Faults that lie in no single field, found in what was given, whether its fields are valid or not."""
        return []

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """The part that a mapping declares, or the part itself.

        Raises:
            MonitorError: every fault, each by its field.
        """
        with _as_monitor_error(cls):
            return super().model_validate(_part(obj), **options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """The part that a JSON object declares.

        Raises:
            MonitorError: every fault, each by its field.
        """
        with _as_monitor_error(cls):
            return super().model_validate_json(json_data, **options)


class CsvFormat(_Declared):
    """Batch transform output in CSV; ``header`` says whether files begin with the names of their columns."""

    header: StrictFlag


class JsonFormat(_Declared):
    """Batch transform output in JSON. ``line`` is SageMaker's flag; either way an object stands on a line of its own."""

    line: StrictFlag


class ParquetFormat(_Declared):
    """Batch transform output in Parquet."""


_FORMATS: Final[Mapping[str, type[_Declared]]] = {"csv": CsvFormat, "json": JsonFormat, "parquet": ParquetFormat}


def _dataset_format(value: object) -> object:
    """From SageMaker's shape, as ``{"csv": {"header": true}}``, to its class."""
    if isinstance(value, CsvFormat | JsonFormat | ParquetFormat):
        return value
    kind = next(iter(value)) if isinstance(value, Mapping) and len(value) == 1 else None
    form = _FORMATS.get(kind) if isinstance(kind, str) else None
    if not (isinstance(value, Mapping) and form and isinstance(value[kind], Mapping | form)):
        raise ValueError(
            'must be {"csv": {"header": …}}, {"json": {"line": …}} or {"parquet": {}}, '
            f"came {_shown(value)}"
        )
    try:
        return form.model_validate(value[kind])
    except MonitorError as error:
        raise MonitorError([_below(str(kind), fault) for fault in error.faults], where="dataset_format") from None


def _dataset_format_out(value: CsvFormat | JsonFormat | ParquetFormat) -> dict[str, dict[str, bool]]:
    return {next(name for name, kind in _FORMATS.items() if isinstance(value, kind)): value.model_dump()}


DatasetFormat = Annotated[
    CsvFormat | JsonFormat | ParquetFormat, BeforeValidator(_dataset_format), PlainSerializer(_dataset_format_out)
]


class EndpointInput(_Declared):
    """The endpoint whose captured predictions are judged; SageMaker's ``EndpointInput``.

    Captures lie below ``data_captured_destination_uri/endpoint_name/variant_name``. The destination may be absent, as
    an imported job definition does not know it: a run then says so.
    """

    endpoint_name: Name
    data_captured_destination_uri: Uri | None = None
    variant_name: Name = "AllTraffic"
    features_attribute: str | None = None
    inference_attribute: Attribute | None = None
    probability_attribute: Attribute | None = None
    probability_threshold_attribute: Threshold = None
    start_time_offset: StartOffset | None = None
    end_time_offset: EndOffset = None
    exclude_features_attribute: Annotated[str, Field(max_length=100)] | None = None


class BatchTransformInput(_Declared):
    """The batch transform job whose captured predictions are judged; SageMaker's ``BatchTransformInput``.

    Captures are the manifests below ``data_captured_destination_uri/output``.
    """

    data_captured_destination_uri: Uri
    dataset_format: DatasetFormat
    features_attribute: str | None = None
    inference_attribute: Attribute | None = None
    probability_attribute: Attribute | None = None
    probability_threshold_attribute: Threshold = None
    start_time_offset: StartOffset | None = None
    end_time_offset: EndOffset = None
    exclude_features_attribute: Annotated[str, Field(max_length=100)] | None = None


class Segments(_Declared):
    """By what rows are told apart, so that each part of them is judged by itself too: exactly one of the two.

    ``input_attribute`` stands in the captured input of the model; of a batch transform, in the line of its output.
    ``ground_truth_attribute`` is a path into the line of a label, as ``eventMetadata.country``.
    """

    input_attribute: Attribute | None = None
    ground_truth_attribute: Attribute | None = None

    @classmethod
    def _faults_between_parts(cls, given: Mapping[str, Any]) -> list[str]:
        named = [name for name in cls.model_fields if given.get(name) is not None]
        if len(named) != 1:
            came = "both" if named else "neither"
            return [f"{', '.join(cls.model_fields)}: exactly one of them is needed, came {came}"]
        path = given.get("ground_truth_attribute")
        if path is not None and _INDEX.fullmatch(str(path).strip()):
            return [f"ground_truth_attribute: must be a path such as eventMetadata.country, came {_shown(path)}"]
        return []


def _groups_and_subnets(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    if "security_group_ids" in info.data and bool(value) != bool(info.data["security_group_ids"]):
        raise ValueError("security_group_ids and subnets are given together or not at all")
    return value


class NetworkSettings(_Declared):
    """The network in which SageMaker runs its jobs: its ``NetworkConfig``, with ``VpcConfig`` on the same level."""

    enable_inter_container_traffic_encryption: StrictFlag = False
    enable_network_isolation: StrictFlag = False
    security_group_ids: Annotated[tuple[NetworkId, ...], Field(max_length=5)] = ()
    subnets: Annotated[
        tuple[NetworkId, ...], Field(max_length=16, validate_default=True), AfterValidator(_groups_and_subnets)
    ] = ()


class SageMakerSettings(_Declared):
    """What only SageMaker needs to run the monitor: role, image, machines, network, keys, scripts, tags."""

    job_definition_name: Name | None = None
    role_arn: Annotated[str, AfterValidator(_role)] | None = None
    image_uri: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$")] = "ml.m5.xlarge"
    instance_count: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    volume_size_in_gb: Annotated[int, Field(strict=True, ge=1, le=16384)] = 20
    volume_kms_key_id: KmsKey | None = None
    output_kms_key_id: KmsKey | None = None
    max_runtime_in_seconds: Annotated[int, Field(strict=True, ge=1, le=86400)] | None = None
    network_config: Annotated[NetworkSettings, BeforeValidator(_part)] | None = None
    environment: Annotated[dict[str, str], AfterValidator(_environment)] = {}
    tags: Annotated[dict[str, str], AfterValidator(_tags)] = {}
    record_preprocessor_source_uri: Annotated[str, AfterValidator(_long_uri)] | None = None
    post_analytics_processor_source_uri: Annotated[str, AfterValidator(_long_uri)] | None = None
    container_entrypoint: Annotated[tuple[ContainerWord, ...], Field(min_length=1, max_length=100)] | None = None
    container_arguments: Annotated[tuple[ContainerWord, ...], Field(min_length=1, max_length=50)] | None = None
    baselining_job_name: Name | None = None
    local_path: ContainerPath | None = None
    output_local_path: ContainerPath | None = None
    s3_input_mode: Literal["File", "Pipe"] | None = None
    s3_data_distribution_type: Literal["FullyReplicated", "ShardedByS3Key"] | None = None
    s3_upload_mode: Literal["Continuous", "EndOfJob"] | None = None


class ModelQualityMonitor(_Declared):
    """What is watched, how it is judged, and where the results go.

    Exactly one of ``endpoint_input`` and ``batch_transform_input`` is given. Each URI may hold a Jinja template; it is
    then validated when it is rendered (`render`).

    Raises:
        MonitorError: every fault, each by its field.
    """

    name: Name
    problem_type: ProblemType
    endpoint_input: Annotated[EndpointInput, BeforeValidator(_part)] | None = None
    batch_transform_input: Annotated[BatchTransformInput, BeforeValidator(_part)] | None = None
    ground_truth_uri: Uri
    ground_truth_attribute: Attribute | None = None
    output_uri: Uri
    constraints_uri: Annotated[str, AfterValidator(_object_uri)] | None = None
    positive_label: ClassLabel = "1"
    negative_label: Annotated[ClassLabel, AfterValidator(_other_class_label), Field(validate_default=True)] = "0"
    min_records: Annotated[int, Field(strict=True, ge=1)] = 1
    min_label_coverage: Ratio = 0.0
    max_rejected_ratio: Ratio = 0.05
    noise_sd: Annotated[float, Field(strict=True, gt=0)] | None = None
    segments: Annotated[Segments, BeforeValidator(_part)] | None = None
    keep_merged: Literal["parquet", "jsonl"] | None = None
    keep_rejected: Literal["lines", "references"] = "lines"
    ground_truth_max_delay: Annotated[str, AfterValidator(_delay)] | None = None
    prepared_hours_retention: Annotated[str, AfterValidator(_delay)] = "P30D"
    publish_cloudwatch_metrics: StrictFlag = False
    sagemaker: Annotated[SageMakerSettings, BeforeValidator(_part)] | None = None

    _URIS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "": ("ground_truth_uri", "output_uri", "constraints_uri"),
        "endpoint_input": ("data_captured_destination_uri",),
        "batch_transform_input": ("data_captured_destination_uri",),
        "sagemaker": ("record_preprocessor_source_uri", "post_analytics_processor_source_uri"),
    }

    @property
    def input(self) -> EndpointInput | BatchTransformInput:
        """The one input."""
        return cast("EndpointInput | BatchTransformInput", self.endpoint_input or self.batch_transform_input)

    @property
    def endpoint_name(self) -> str | None:
        """The endpoint's name; None for a batch transform."""
        return self.endpoint_input.endpoint_name if self.endpoint_input else None

    @property
    def threshold(self) -> float:
        """The probability above which a prediction is positive: 0.5 unless given (rule A2)."""
        given = self.input.probability_threshold_attribute
        return DEFAULT_THRESHOLD if given is None else given

    @property
    def capture_root(self) -> str:
        """The folder that holds the hour folders of captures (rules I1, M3).

        Raises:
            MonitorError: the destination of an endpoint's captures is not known.
        """
        if self.batch_transform_input:
            return f"{self.batch_transform_input.data_captured_destination_uri}/output"
        endpoint = cast("EndpointInput", self.endpoint_input)
        if endpoint.data_captured_destination_uri is None:
            raise MonitorError(
                ["endpoint_input.data_captured_destination_uri: is needed to read captures, and missing"],
                where=f"ModelQualityMonitor {self.name!r}",
                next_step="write there the DestinationS3Uri of the endpoint's DataCaptureConfig",
            )
        return f"{endpoint.data_captured_destination_uri}/{endpoint.endpoint_name}/{endpoint.variant_name}"

    @property
    def report_root(self) -> str:
        """The folder that holds the reports of all runs (rule O1)."""
        endpoint = f"/{self.endpoint_name}" if self.endpoint_name else ""
        return f"{self.output_uri}{endpoint}/{self.name}"

    @property
    def prepared_root(self) -> str:
        """The folder that holds what runs keep of the hours that they read, for those after them."""
        endpoint = f"/{self.endpoint_name}" if self.endpoint_name else ""
        return f"{self.output_uri}/_prepared{endpoint}/{self.name}"

    def report_prefix(self, window: Window) -> str:
        """The folder that holds the report of one run (rule O1)."""
        return f"{self.report_root}/{window.report_folder}"

    def definition_hash(self) -> str:
        """16 hexadecimal digits that name what decides a run's result; the same in every process and Python.

        All fields count but ``publish_cloudwatch_metrics``, ``prepared_hours_retention`` and ``sagemaker``; of the last
        a preprocessing script and the environment it sees do.
        """
        # imported here: a DAG file that is parsed needs no hash
        import hashlib

        apart = {"sagemaker", "publish_cloudwatch_metrics", "prepared_hours_retention"}
        counted = self.model_dump(mode="json", exclude=apart, exclude_none=True)
        if self.sagemaker and self.sagemaker.record_preprocessor_source_uri:
            counted["record_preprocessor"] = [
                self.sagemaker.record_preprocessor_source_uri,
                self.sagemaker.environment,
            ]
        canonical = json.dumps(counted, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def has_templates(self) -> bool:
        """Whether a URI holds a template that is still to be rendered."""
        return bool(self._templates())

    def render(self, render: Callable[[str], str]) -> ModelQualityMonitor:
        """A new monitor whose templates are replaced by what ``render`` makes of each; other URIs are not asked for.

        Raises:
            MonitorError: what came out is no URI, or is a template again.
        """
        given = self._with_uris(self.model_dump(), lambda uri: render(uri) if _is_template(uri) else uri)
        rendered = type(self)(**given)
        if rendered._templates():
            faults = [f"{field}: is a template still after it was rendered" for field in rendered._templates()]
            raise MonitorError(faults, where=f"ModelQualityMonitor {self.name!r}")
        return rendered

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """The monitor of a YAML or JSON file, named by path or ``file://`` URI; plain paths in it start at its folder.

        Raises:
            MonitorError: the file cannot be read, or declares no monitor; every fault, each by its field.
        """
        text = os.fspath(path)
        if text.startswith("s3://"):
            raise MonitorError(
                ["is on S3, and only files of this machine are read here"],
                where=text,
                next_step="copy it here, or read it and give its text to ModelQualityMonitor.from_text",
            )
        where = os.path.abspath(_path_of_file_uri(text) if text.startswith("file://") else text)
        try:
            with open(where, "rb") as file:
                content = file.read()
        except OSError as error:
            raise MonitorError(
                [f"cannot be read: {error.strerror}"], where=where, next_step="give the path of a monitor's file"
            ) from None
        return cls.from_bytes(content, where)

    @classmethod
    def from_bytes(cls, content: bytes, source: str) -> Self:
        """The monitor that the content of a YAML or JSON file declares, as of `from_text`.

        Raises:
            MonitorError: it is no UTF-8, or declares no monitor; every fault, each by its field.
        """
        try:
            return cls.from_text(content.decode("utf-8-sig"), source)
        except UnicodeDecodeError as error:
            raise MonitorError(
                [f"is no UTF-8: {error.reason} at byte {error.start}"],
                where=source,
                next_step="save it as UTF-8 text",
            ) from None

    @classmethod
    def from_text(cls, text: str, source: str) -> Self:
        """The monitor that YAML or JSON text declares; ``source`` names it in errors.

        Where ``source`` is an absolute path or URI, plain paths in the text are relative to its folder; else they stay
        as they are. The text is JSON where ``source`` ends in ``.json`` or it begins with ``{`` and ``source`` ends in
        neither ``.yaml`` nor ``.yml``.

        Raises:
            MonitorError: every fault, each by its field.
        """
        is_json = source.endswith(".json") or (not source.endswith((".yaml", ".yml")) and text.lstrip().startswith("{"))
        try:
            given = _read_json(text) if is_json else _read_yaml(text)
        except RecursionError:
            raise MonitorError(["is nested too deep to be a monitor"], where=source) from None
        except ValueError as error:
            raise MonitorError([str(error)], where=source, next_step="correct the text") from None
        if not isinstance(given, dict):
            held = "nothing" if given is None else f"a {type(given).__name__}"
            raise MonitorError([f"must hold the fields of a monitor, holds {held}"], where=source)
        folder = _folder_of(source)
        fields = _part(given) if folder is None else cls._with_uris(given, lambda uri: _beside(folder, uri))
        try:
            return cls.model_validate(fields)
        except MonitorError as error:
            raise MonitorError(error.faults, where=source) from None

    def to_yaml(self) -> str:
        """The monitor as YAML that `from_text` reads back equal: its fields in order, but those at their defaults."""
        import yaml

        written = self._written()
        # PyYAML breaks its own lines at these signs unless all that is not ASCII is escaped
        readable = not _CONTROL.search(json.dumps(written, ensure_ascii=False))
        return str(yaml.safe_dump(written, sort_keys=False, allow_unicode=readable, width=120))

    def to_json(self) -> str:
        """The monitor as JSON that `from_text` reads back equal: its fields in order, but those at their defaults."""
        return json.dumps(self._written(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def _written(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_defaults=True)

    def _templates(self) -> list[str]:
        """The dotted fields that hold a template."""
        found: list[str] = []
        for part, fields in self._URIS.items():
            holder = getattr(self, part) if part else self
            for field in fields:
                uri = getattr(holder, field, None)
                if uri is not None and _is_template(uri):
                    found.append(f"{part}.{field}" if part else field)
        return found

    @classmethod
    def _with_uris(cls, given: Mapping[Any, Any], change: Callable[[str], str]) -> dict[str, Any]:
        """The same declaration, valid or not, with each URI changed."""
        changed = {str(key): value for key, value in given.items()}
        for part, fields in cls._URIS.items():
            holder = changed
            if part:
                if not isinstance(changed.get(part), Mapping):
                    continue
                holder = changed[part] = dict(changed[part])
            for field in fields:
                if isinstance(holder.get(field), str):
                    holder[field] = change(holder[field])
        return changed

    @classmethod
    def _faults_between_parts(cls, given: Mapping[str, Any]) -> list[str]:
        inputs = {
            name: given[name] for name in ("endpoint_input", "batch_transform_input") if given.get(name) is not None
        }
        faults = []
        if len(inputs) != 1:
            came = "both" if inputs else "neither"
            faults.append(f"endpoint_input, batch_transform_input: exactly one of them is needed, came {came}")
        problem = given.get("problem_type")
        for name, part in inputs.items():
            if not isinstance(part, Mapping | EndpointInput | BatchTransformInput):
                continue
            fields = part if isinstance(part, Mapping) else dict(part)
            if fields.get("inference_attribute") is not None:
                continue
            if problem in ("MulticlassClassification", "Regression"):
                faults.append(f"{name}.inference_attribute: {problem} needs it")
            elif problem == "BinaryClassification" and fields.get("probability_attribute") is None:
                faults.append(f"{name}.inference_attribute: {problem} needs it, or probability_attribute, or both")
        return faults


# --- faults


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _below(path: str, fault: str) -> str:
    """The fault of a part, told by its path from the whole."""
    return f"{path}.{fault}" if path else fault


@contextmanager
def _as_monitor_error(part: type[_Declared]) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise MonitorError(_faults(error, part), where=part.__name__) from None


def _faults(error: ValidationError, part: type[_Declared]) -> list[str]:
    """One line for each fault that pydantic found, by its dotted field, in our words."""
    faults = []
    for found in error.errors(include_url=False):
        path = ".".join(str(step) for step in found["loc"])
        reason = found.get("ctx", {}).get("error")
        if isinstance(reason, MonitorError):
            faults += [_below(path, fault) for fault in reason.faults]
        elif isinstance(reason, ModelQualityError):
            faults.append(f"{path}: expected {reason.expected}; came {reason.came}; {reason.next_step}")
        elif isinstance(reason, ValueError):
            faults.append(f"{path}: {reason}")
        elif found["type"] == "missing":
            faults.append(f"{path}: is missing")
        elif found["type"] == "extra_forbidden":
            faults.append(_unknown_field(path, part))
        else:
            said = found["msg"].replace("Input should be", "must be")
            said = said[0].lower() + said[1:]
            # values of the environment may be secrets
            came = "" if found["loc"][0:1] == ("environment",) else f", came {_shown(found['input'])}"
            faults.append(f"{path}: {said}{came}" if path else f"{said}{came}")
    return faults


def _unknown_field(name: str, part: type[_Declared]) -> str:
    fault = f"{name}: no field of {part.__name__}"
    # SageMaker's own spelling, as GroundTruthUri, is nearest to ours
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()
    near = difflib.get_close_matches(plain, part.model_fields, n=3)
    if near:
        return f"{fault}; the nearest: {', '.join(near)}"
    if part is ModelQualityMonitor:
        homes: dict[str, type[_Declared]] = {
            "endpoint_input": EndpointInput,
            "batch_transform_input": BatchTransformInput,
            "segments": Segments,
            "sagemaker": SageMakerSettings,
        }
        holders = [home for home, kind in homes.items() if plain in kind.model_fields]
        if holders:
            return f"{fault}; {plain} stands under {' or '.join(holders)}"
    return fault


# --- text


def _path_of_file_uri(uri: str) -> str:
    from urllib.parse import unquote

    return unquote(uri.removeprefix("file://"))


def _folder_of(source: str) -> str | None:
    """The folder of an absolute path or URI, without trailing slash; None for any other text."""
    if source.startswith("file:///"):
        source = _path_of_file_uri(source)
    if source.startswith(("/", "s3://")):
        return source.rpartition("/")[0]
    return None


def _beside(folder: str, uri: str) -> str:
    """A plain relative path made absolute; all else, and what begins with a template, as it is."""
    if not uri or uri.startswith(("/", "~", "{")) or uri != uri.strip() or _SCHEME.match(uri):
        return uri
    while True:
        step, _, rest = uri.partition("/")
        if step == "..":
            # neither above the root nor out of the bucket
            folder = folder.rpartition("/")[0] if re.match(r"/|s3://[^/]+/", folder) else folder
        elif step not in (".", ""):
            return f"{folder}/{uri}"
        if not rest:
            return folder
        uri = rest


def _read_json(text: str) -> object:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"the key {key!r} stands twice in one object")
            found[key] = value
        return found

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error.msg}, line {error.lineno}, column {error.colno}") from None


def _read_yaml(text: str) -> object:
    import yaml

    try:
        return yaml.load(text, _yaml_loader())  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"is no YAML of a monitor: {error.problem or error.context}{place}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"is no YAML of a monitor: {' '.join(str(error).split())}") from None


@cache
def _yaml_loader() -> type[SafeLoader]:
    """A safe loader that refuses a key given twice, and takes for values what YAML 1.2 does.

    YAML 1.1, PyYAML's, reads the label ``yes`` as a truth value, ``12:30`` as a number and ``2020-01-01`` as a date.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if key.value in seen:
                        raise yaml.MarkedYAMLError(
                            problem=f"the key {key.value!r} stands twice in one mapping", problem_mark=key.start_mark
                        )
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

    Loader.yaml_implicit_resolvers = {}
    for tag, pattern, first in (
        ("null", r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
        ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
        ("int", r"[-+]?(?:0|[1-9][0-9]*)\Z", list("-+0123456789")),
        ("float", r"(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?|[-+]?\.inf|\.nan)\Z", list("-+0123456789.")),
        ("merge", r"<<\Z", ["<"]),
    ):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), first)
    return Loader
