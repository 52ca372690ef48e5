"""The run on SageMaker's own compute: CreateProcessingJob for the merge, the analysis and the baseline.

The requests are those that a monitoring schedule itself makes, but that CloudWatch publishing is off: the analyzer refuses
it in a job that no schedule started. A job takes at most ten inputs, one for each hour's folder: longer windows are merged
by this package, and the analyzer gets the rows as one flat CSV (`flat_analysis_request`).
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from airflow_mq_provider.exceptions import RequestError
from airflow_mq_provider.monitor import EndpointInput, ModelQualityMonitor, SageMakerSettings
from airflow_mq_provider.sagemaker import shapes
from airflow_mq_provider.sagemaker.images import merger_image
from airflow_mq_provider.window import AsOf, Window, format_time, hour_folder

REQUEST: Final = "CreateProcessingJob"
MOST_INPUTS: Final = 10

#: columns of the flat CSV that our own merge hands to the analyzer (`quality.dataset.labelled_csv`)
PREDICTION, PROBABILITY, LABEL = "prediction", "probability", "label"

_GROUND_TRUTH_PATH: Final = "/opt/ml/processing/groundtruth"
_CONSTRAINTS_PATH: Final = "/opt/ml/processing/baseline/constraints"
_FLAT_PATH: Final = "/opt/ml/processing/input/merged"
_BASELINE_INPUT: Final = "baseline_dataset_input"
_SCRIPTS: Final = {
    "record_preprocessor_script": "record_preprocessor_source_uri",
    "post_analytics_processor_script": "post_analytics_processor_source_uri",
}
_MERGED_CAPTURES: Final = '{"sagemakerMergeJson":{"captureIndexNames":["endpointOutput"]}}'
_FLAT_CSV: Final = '{"csv":{"header":true}}'
#: of a baseline's dataset, in the analyzer's words
_BASELINE_FORMATS: Final = {
    "csv": {"csv": {"header": False, "output_columns_position": "START"}},
    "csv-header": {"csv": {"header": True, "output_columns_position": "START"}},
    "jsonl": {"json": {"line": True}},
    "parquet": {"parquet": {}},
}


def job_name(monitor: ModelQualityMonitor, window: Window, kind: str, *, rerun: int = 0) -> str:
    """The name of a run's job: monitor, kind (``merge``, ``analysis``) and scheduled time, and a digest of the rest.

    The same monitor and window give the same name, so that a retry finds the job it started. SageMaker keeps names for
    good: ``rerun`` counts the runs of a window that is judged anew. At most 63 characters.
    """
    told = f"{monitor.name} {monitor.definition_hash()} {window.as_dict()} {rerun}"
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    tail = f"-{kind}-{window.scheduled_time:%Y%m%d%H%M}-{digest}"
    return monitor.name[: 63 - len(tail)].rstrip("-") + tail


def merge_request(
    monitor: ModelQualityMonitor,
    window: Window,
    *,
    job_name: str | None = None,
    region: str | None = None,
    rerun: int = 0,
    tags: Mapping[str, str] | None = None,
    merged_uri: str | None = None,
    captured: Collection[str] | None = None,
    labelled: Collection[str] | None = None,
) -> dict[str, Any]:
    """The job that joins the ground truth of a window's hours to their captures, as a schedule would start it.

    It reads whole hour folders, captures and labels of the same hours; merged records go to
    ``<output>/merge/<endpoint>/<variant>/yyyy/mm/dd/hh/``. The analysis then keeps to the window.

    The merger names its files anew each time and replaces none. Who runs a window again, or windows that overlap, gives
    each run a ``merged_uri`` of its own, or records count twice.

    Args:
        monitor: of an endpoint, with its capture destination and a role; all URIs on S3 and rendered.
        window: of at most five hours, as each has two folders.
        job_name: another name than `job_name` gives.
        region: where images are looked up, unless ``sagemaker.image_uri`` names one.
        rerun: as of `job_name`.
        tags: beside those of the monitor, and before them.
        merged_uri: another place than ``<output>/merge``.
        captured: the hour folders that hold captures, where that is known: SageMaker takes no input without an object.
        labelled: the hour folders that hold labels, likewise.

    Raises:
        RequestError: every fault, each by its field.
    """
    settings = shapes.settings_of(monitor)
    faults = [*_faults(monitor), *_window_faults(window, folders=2, others=0)]
    image = _image(settings, region, faults)
    captures = _captures(monitor, faults)
    local = settings.local_path or shapes.INPUT_PATH
    inputs = [
        *(
            _input(f"groundtruth_input_{i}", f"{monitor.ground_truth_uri}/{hour}", f"{_GROUND_TRUTH_PATH}/{hour}")
            for i, hour in enumerate(_folders(window, labelled), 1)
        ),
        *(
            _input(f"endpoint_input_{i}", f"{captures[0]}/{hour}", f"{local}/{captures[1]}/{hour}", settings)
            for i, hour in enumerate(_folders(window, captured), 1)
        ),
    ]
    environment = {
        "dataset_source": local,
        "ground_truth_source": _GROUND_TRUTH_PATH,
        "output_path": settings.output_local_path or shapes.OUTPUT_PATH,
    }
    return _request(
        monitor,
        job_name or _job_name(monitor, window, "merge", rerun=rerun),
        {"ImageUri": image},
        environment,
        inputs,
        ("result", merged_uri or f"{monitor.output_uri}/merge", "EndOfJob"),
        tags,
        faults,
    )


def analysis_request(
    monitor: ModelQualityMonitor,
    window: Window,
    *,
    job_name: str | None = None,
    region: str | None = None,
    rerun: int = 0,
    tags: Mapping[str, str] | None = None,
    merged_uri: str | None = None,
    merged: Collection[str] | None = None,
) -> dict[str, Any]:
    """The job that judges what `merge_request`'s job wrote, as a schedule would start it.

    Its documents go to the window's report prefix. Without constraints it suggests some instead of judging.

    Args:
        monitor: as of `merge_request`.
        window: as of `merge_request`.
        job_name: another name than `job_name` gives.
        region: as of `merge_request`.
        rerun: as of `job_name`.
        tags: beside those of the monitor, and before them.
        merged_uri: as of `merge_request`.
        merged: the hour folders that hold merged records, where that is known.

    Raises:
        RequestError: every fault, each by its field.
    """
    settings = shapes.settings_of(monitor)
    faults = [*_faults(monitor), *_window_faults(window, folders=1, others=_side_inputs(monitor))]
    image = shapes.image_of(monitor, region, faults)
    captures = _captures(monitor, faults)
    local = settings.local_path or shapes.INPUT_PATH
    root = merged_root(monitor, merged_uri)
    inputs = [
        _input(f"endpoint_input_{i}", f"{root}/{hour}", f"{local}/{captures[1]}/{hour}", settings)
        for i, hour in enumerate(_folders(window, merged), 1)
    ]
    environment = {
        "dataset_format": _MERGED_CAPTURES,
        "dataset_source": local,
        "start_time": format_time(window.start),
        "end_time": format_time(window.end),
        "metric_time": format_time(window.start),
        "sagemaker_endpoint_name": monitor.endpoint_name or "",
        "sagemaker_monitoring_schedule_name": monitor.name,
        **_attributes(monitor, monitor.input.inference_attribute, monitor.input.probability_attribute),
    }
    return _analysis(
        monitor,
        job_name or _job_name(monitor, window, "analysis", rerun=rerun),
        image,
        environment,
        inputs,
        ("result", monitor.report_prefix(window), settings.s3_upload_mode or "Continuous"),
        tags,
        faults,
    )


def flat_analysis_request(
    monitor: ModelQualityMonitor,
    window: Window,
    *,
    dataset_uri: str,
    job_name: str | None = None,
    region: str | None = None,
    rerun: int = 0,
    tags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The job that judges rows which were merged elsewhere: windows of any length, endpoints and batch transforms.

    A record preprocessor is not named to it: who merged has run it already, and it takes captured records, not rows.

    Args:
        monitor: with a role; its output and constraints on S3 and rendered. Captures and labels may lie anywhere.
        window: says where the documents go.
        dataset_uri: the folder on S3 that holds the rows as CSV with a header and the columns ``label`` and, as far as
            the monitor has their attributes, ``prediction`` and ``probability``.
        job_name: another name than `job_name` gives.
        region: as of `merge_request`.
        rerun: as of `job_name`.
        tags: beside those of the monitor, and before them.

    Raises:
        RequestError: every fault, each by its field.
    """
    settings = shapes.settings_of(monitor)
    faults = list(
        shapes.common_faults(
            monitor, dataset_uri=dataset_uri, output_uri=monitor.output_uri, constraints_uri=monitor.constraints_uri
        )
    )
    image = shapes.image_of(monitor, region, faults)
    environment = {
        "dataset_format": _FLAT_CSV,
        "dataset_source": _FLAT_PATH,
        "ground_truth_attribute": LABEL,
        **_attributes(
            monitor,
            PREDICTION if monitor.input.inference_attribute else None,
            PROBABILITY if monitor.input.probability_attribute else None,
        ),
    }
    return _analysis(
        monitor,
        job_name or _job_name(monitor, window, "analysis", rerun=rerun),
        image,
        environment,
        [_input("merged", dataset_uri, _FLAT_PATH)],
        ("result", monitor.report_prefix(window), settings.s3_upload_mode or "Continuous"),
        tags,
        faults,
        raw=False,
    )


def baseline_request(
    monitor: ModelQualityMonitor,
    *,
    dataset_uri: str,
    output_uri: str,
    dataset_format: str = "csv-header",
    ground_truth_attribute: str | None = None,
    inference_attribute: str | None = None,
    probability_attribute: str | None = None,
    job_name: str | None = None,
    region: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The job that suggests constraints from a labelled dataset, as SageMaker's SDK starts it.

    Args:
        monitor: with a role.
        dataset_uri: the dataset, an object or folder on S3.
        output_uri: the folder for ``statistics.json`` and ``constraints.json``.
        dataset_format: ``csv`` (columns are called ``_c0``, ``_c1``, …), ``csv-header``, ``jsonl`` or ``parquet``.
        ground_truth_attribute: the column of the label; else the monitor's, else ``label``.
        inference_attribute: the column of the prediction; else the monitor's.
        probability_attribute: the column of the probability; else the monitor's.
        job_name: another name than monitor and a digest of dataset, output and attributes give.
        region: as of `merge_request`.
        tags: beside those of the monitor, and before them.

    Raises:
        RequestError: every fault, each by its field.
    """
    faults = list(shapes.common_faults(monitor, dataset_uri=dataset_uri, output_uri=output_uri))
    form = _BASELINE_FORMATS.get(dataset_format)
    if form is None:
        faults.append(f"dataset_format: must be one of {', '.join(_BASELINE_FORMATS)}, came {dataset_format!r}")
    image = shapes.image_of(monitor, region, faults)
    local = f"/opt/ml/processing/input/{_BASELINE_INPUT}"
    environment = {
        "dataset_format": json.dumps(form),
        "dataset_source": local,
        "ground_truth_attribute": ground_truth_attribute or monitor.ground_truth_attribute or LABEL,
        **_attributes(
            monitor,
            inference_attribute or monitor.input.inference_attribute,
            probability_attribute or monitor.input.probability_attribute,
        ),
    }
    if job_name is None:
        digest = hashlib.sha256(json.dumps([dataset_uri, output_uri, environment]).encode()).hexdigest()[:8]
        tail = f"-baseline-{digest}"
        job_name = monitor.name[: 63 - len(tail)].rstrip("-") + tail
    return _analysis(
        monitor,
        job_name,
        image,
        environment,
        [_input(_BASELINE_INPUT, dataset_uri, local)],
        ("monitoring_output", output_uri, "EndOfJob"),
        tags,
        faults,
        judged=False,
        raw=False,
    )


def merged_root(monitor: ModelQualityMonitor, merged_uri: str | None = None) -> str:
    """Where the hour folders of merged records lie: those of the endpoint's variant under ``merged_uri``, or ``<output>/merge``."""
    return f"{merged_uri or f'{monitor.output_uri}/merge'}/{_captures(monitor, [])[1]}"


def merger_faults(monitor: ModelQualityMonitor, window: Window | None = None) -> list[str]:
    """Why SageMaker's merger cannot do the merge of a monitor; without a window, as far as the declaration shows it."""
    faults: list[str] = []
    _captures(monitor, faults)
    places = {
        "endpoint_input.data_captured_destination_uri": monitor.input.data_captured_destination_uri,
        "ground_truth_uri": monitor.ground_truth_uri,
    }
    faults += [
        f"{field}: must lie on S3, which is all that SageMaker reads and writes, came {uri!r}"
        for field, uri in places.items()
        if uri is not None and not uri.startswith(("s3://", "{{", "{%"))
    ]
    if monitor.min_label_coverage > 0:
        faults.append(
            "min_label_coverage: must be 0, since SageMaker's merger does not count captures without a label, "
            f"came {monitor.min_label_coverage}"
        )
    if monitor.keep_merged == "parquet":
        faults.append("keep_merged: must be none or 'jsonl', which is what SageMaker's merger writes, came 'parquet'")
    if window is not None:
        faults += _window_faults(window, folders=2, others=0)
        faults += _window_faults(window, folders=1, others=_side_inputs(monitor))
    return list(dict.fromkeys(faults))


def merger_reads_all_labels(window: Window, as_of: AsOf) -> bool:
    """Whether the labels that count are those of the window's own hours, which are all that SageMaker's merger reads."""
    return window.hours()[-1] + timedelta(hours=1) == as_of.time


def refuse_on_sagemaker(monitor: ModelQualityMonitor, *, merger: bool) -> None:
    """Refuse a declaration of which no run on SageMaker's compute can come, when the DAG is parsed.

    Places that hold templates are judged when they are rendered. ``merger`` says that SageMaker's merger must do the merge.

    Raises:
        RequestError: every fault, each by its field.
    """
    places = {"output_uri": monitor.output_uri, "constraints_uri": monitor.constraints_uri}
    faults = [fault for fault in shapes.common_faults(monitor, **places) if "must be rendered first" not in fault]
    shapes.refuse([*faults, *(merger_faults(monitor) if merger else [])], monitor, REQUEST)


# --- in the small

# `job_name` is what callers call an argument, too
_job_name = job_name


def _faults(monitor: ModelQualityMonitor) -> Iterable[str]:
    return shapes.common_faults(
        monitor,
        ground_truth_uri=monitor.ground_truth_uri,
        output_uri=monitor.output_uri,
        constraints_uri=monitor.constraints_uri,
        **{"endpoint_input.data_captured_destination_uri": monitor.input.data_captured_destination_uri},
    )


def _captures(monitor: ModelQualityMonitor, faults: list[str]) -> tuple[str, str]:
    """Where an endpoint's captures lie, and the last two folders of that."""
    source = monitor.input
    if not isinstance(source, EndpointInput):
        faults.append(
            "batch_transform_input: how SageMaker mounts a batch transform's captures is not public; "
            "merge here, and analyze the rows (flat_analysis_request)"
        )
        return "", ""
    if source.data_captured_destination_uri is None:
        faults.append(
            "endpoint_input.data_captured_destination_uri: is needed to read captures, and missing; write there the "
            "DestinationS3Uri of the endpoint's DataCaptureConfig"
        )
        return "", ""
    return monitor.capture_root, f"{source.endpoint_name}/{source.variant_name}"


def _folders(window: Window, known: Collection[str] | None) -> list[str]:
    """The hour folders of a window, only those known to hold something where that is known."""
    hours = [hour_folder(hour) for hour in window.hours()]
    return hours if known is None else [hour for hour in hours if hour in known]


def _window_faults(window: Window, *, folders: int, others: int) -> Iterable[str]:
    """SageMaker takes ten inputs a job."""
    hours = len(window.hours())
    count = hours * folders + others
    if count > MOST_INPUTS:
        yield (
            f"window: must need at most {MOST_INPUTS} inputs of a Processing job, came {count}, for the {hours} hours "
            f"from {format_time(window.start)} to {format_time(window.end)}; merge here, and analyze the rows "
            "(flat_analysis_request)"
        )


def _side_inputs(monitor: ModelQualityMonitor) -> int:
    """The inputs of an analysis beside its data: constraints and scripts."""
    return (monitor.constraints_uri is not None) + len(_scripts(shapes.settings_of(monitor)))


def _scripts(settings: SageMakerSettings) -> dict[str, str]:
    """The scripts that there are: the variable that names each to the analyzer, and where it lies."""
    return {name: uri for name, field in _SCRIPTS.items() if (uri := getattr(settings, field))}


def _image(settings: SageMakerSettings, region: str | None, faults: list[str]) -> str:
    try:
        return merger_image(region, settings.image_uri)
    except RequestError as error:
        faults.extend(error.faults)
        return ""


def _attributes(monitor: ModelQualityMonitor, inference: str | None, probability: str | None) -> dict[str, str]:
    """What names prediction and probability to the analyzer, and the threshold."""
    made: dict[str, str] = {}
    if inference:
        made["inference_attribute"] = inference
    if probability:
        made["probability_attribute"] = probability
    threshold = monitor.input.probability_threshold_attribute
    if probability and threshold is not None:
        # a text, as all of an environment is
        made["probability_threshold_attribute"] = str(threshold)
    return made


def _input(name: str, uri: str, local_path: str, settings: SageMakerSettings | None = None) -> dict[str, Any]:
    """An input; ``settings`` are given where it is the data that they are about."""
    return {
        "InputName": name,
        "AppManaged": False,
        "S3Input": {
            "LocalPath": local_path,
            "S3Uri": uri,
            "S3DataDistributionType": (settings and settings.s3_data_distribution_type) or "FullyReplicated",
            "S3DataType": "S3Prefix",
            "S3InputMode": (settings and settings.s3_input_mode) or "File",
        },
    }


def _analysis(
    monitor: ModelQualityMonitor,
    name: str,
    image: str,
    environment: Mapping[str, str],
    inputs: list[dict[str, Any]],
    output: tuple[str, str, str],
    tags: Mapping[str, str] | None,
    faults: list[str],
    *,
    judged: bool = True,
    raw: bool = True,
) -> dict[str, Any]:
    """What all of the analyzer's jobs have in common; a baseline's is not ``judged``, and rows are not ``raw`` records."""
    settings = shapes.settings_of(monitor)
    variables = {
        **shapes.environment_of(monitor, faults),
        **environment,
        "analysis_type": "MODEL_QUALITY",
        "problem_type": monitor.problem_type,
        "output_path": settings.output_local_path or shapes.OUTPUT_PATH,
        shapes.PUBLISH: "Disabled",
    }
    before: list[dict[str, Any]] = []
    if judged and monitor.constraints_uri:
        before.append(_input("constraints", monitor.constraints_uri, _CONSTRAINTS_PATH))
        variables["baseline_constraints"] = f"{_CONSTRAINTS_PATH}/{posixpath.basename(monitor.constraints_uri)}"
    after: list[dict[str, Any]] = []
    for variable, uri in _scripts(settings).items():
        if not raw and variable == "record_preprocessor_script":
            # rows are no records, and the SDK gives a baseline the other one only
            continue
        folder = f"/opt/ml/processing/input/{variable}_input"
        after.append(_input(f"{variable}_input", uri, folder))
        variables[variable] = f"{folder}/{posixpath.basename(uri)}"
    app = {"ImageUri": image, **shapes.container(settings)}
    return _request(monitor, name, app, variables, [*before, *inputs, *after], output, tags, faults)


def _request(
    monitor: ModelQualityMonitor,
    name: str,
    app: Mapping[str, Any],
    environment: Mapping[str, str],
    inputs: list[dict[str, Any]],
    output: tuple[str, str, str],
    tags: Mapping[str, str] | None,
    faults: list[str],
) -> dict[str, Any]:
    """The request, once nothing is left to refuse."""
    settings = shapes.settings_of(monitor)
    output_name, output_uri, upload = output
    faults += shapes.name_faults(job_name=name)
    faults += [
        f"environment.{variable}: must have at most 256 characters, came {len(value)}"
        for variable, value in environment.items()
        if len(value) > 256
    ]
    outputs: dict[str, Any] = {
        "Outputs": [
            {
                "OutputName": output_name,
                "AppManaged": False,
                "S3Output": {
                    "LocalPath": settings.output_local_path or shapes.OUTPUT_PATH,
                    "S3Uri": output_uri,
                    "S3UploadMode": upload,
                },
            }
        ]
    }
    if settings.output_kms_key_id:
        outputs["KmsKeyId"] = settings.output_kms_key_id
    request = {
        "ProcessingJobName": name,
        "AppSpecification": dict(app),
        "Environment": dict(sorted(environment.items())),
        "ProcessingInputs": inputs,
        "ProcessingOutputConfig": outputs,
        "ProcessingResources": {"ClusterConfig": shapes.cluster(settings)},
        **shapes.network(settings),
        "RoleArn": settings.role_arn,
        **shapes.stopping(settings),
        **shapes.tags_of(settings, tags, faults),
    }
    shapes.refuse(list(dict.fromkeys(faults)), monitor, REQUEST)
    return request
