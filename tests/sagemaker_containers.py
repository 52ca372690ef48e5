"""What the two images of Model Monitor do in a Processing job, done by this package's own reading and counting.

A job gets its request and the S3 that it reads and writes, and ends with status, exit message and failure reason. Where AWS
says nothing, the less convenient is done: the merger makes a record of each pair of capture and label, names its files anew
each time and replaces none; the analyzer passes over ``f0_5``.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np

from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.monitor import EndpointInput, ModelQualityMonitor
from airflow_mq_provider.quality import documents
from airflow_mq_provider.quality.constraints import judge, suggest
from airflow_mq_provider.quality.dataset import labelled_rows
from airflow_mq_provider.quality.records import Reading, hash_ids, judge_capture, judge_label, reading
from airflow_mq_provider.quality.states import MergedRows, sample_flags, state_of
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import format_time

NO_DATA = "Job inputs had no data"
Ended = tuple[str, str | None, str | None]


def missing_input(request: dict[str, Any], storage: Storage) -> str | None:
    """The first input under which no object lies."""
    for one in request["ProcessingInputs"]:
        uri = one["S3Input"]["S3Uri"]
        if not storage.exists(uri) and next(iter(storage.list(uri)), None) is None:
            return str(uri)
    return None


def work(request: dict[str, Any], storage: Storage) -> Ended:
    """Do what the job's image does."""
    merges = "groundtruth-merger" in request["AppSpecification"]["ImageUri"]
    try:
        return merge(request, storage) if merges else analyze(request, storage)
    except ModelQualityError as error:
        return "Failed", None, f"AlgorithmError: {str(error)[:900]}, exit code: 255"


def merge(request: dict[str, Any], storage: Storage) -> Ended:
    """The ground-truth merger: an inner join, hour folder by hour folder of the captures."""
    environment = request["Environment"]
    labels: dict[str, list[Any]] = {}
    for _, line in lines(request, storage, environment["ground_truth_source"]):
        label = json.loads(line)
        labels.setdefault(label["eventMetadata"]["eventId"], []).append(label["groundTruthData"])
    folders: dict[str, list[bytes]] = {}
    for folder, line in lines(request, storage, environment["dataset_source"]):
        record = json.loads(line)
        meta = record["eventMetadata"]
        merged = folders.setdefault(folder, [])
        for truth in labels.get(meta.get("inferenceId") or meta["eventId"], ()):
            merged.append(json.dumps({**record, "groundTruthData": truth}).encode())
    if not labels or not folders:
        return "Failed", None, NO_DATA
    for folder, merged in folders.items():
        if merged:
            name = f"part-00000-{uuid.uuid4()}.c000.jsonl"
            storage.write(join(output(request), folder, name), b"\n".join(merged) + b"\n")
    return "Completed", None, None


def analyze(request: dict[str, Any], storage: Storage) -> Ended:
    """The analyzer: statistics, and violations of the constraints that are mounted, else suggested constraints."""
    environment = request["Environment"]
    if environment["publish_cloudwatch_metrics"] == "Enabled":
        why = "CloudWatch publishing is available only for jobs from MonitoringSchedules."
        return "Failed", None, f"AlgorithmError: {why}, exit code: 255"
    monitor = monitor_of(environment)
    rows = rows_of(request, storage, reading(monitor))
    if rows is None:
        return "Failed", None, NO_DATA
    statistics = documents.statistics(
        monitor.problem_type,
        state_of(rows),
        threshold=monitor.threshold,
        evaluation_time=environment.get("metric_time"),
        negative_label=monitor.negative_label,
        positive_label=monitor.positive_label,
    )
    found = {"statistics": statistics.as_document()}
    count = 0
    if "baseline_constraints" in environment:
        [uri] = [one["S3Input"]["S3Uri"] for one in request["ProcessingInputs"] if one["InputName"] == "constraints"]
        constraints = documents.read_constraints(documents.loads(storage.read(uri), uri), monitor.problem_type, uri)
        judged = judge(statistics.metrics, constraints, monitor.problem_type)
        violations = [one for one in judged.violations if one.metric_name != "f0_5"]
        found["constraint_violations"] = documents.violations_document(violations)
        count = len(violations)
    else:
        suggested = suggest(statistics.metrics, monitor.problem_type).constraints
        found["constraints"] = documents.constraints_document(monitor.problem_type, suggested)
    for name, document in found.items():
        storage.write(join(output(request), f"{name}.json"), documents.dumps(document))
    if count:
        return "Completed", f"CompletedWithViolations: Job completed successfully with {count} violations.", None
    return "Completed", "Completed: Job completed successfully with no violations.", None


def output(request: dict[str, Any]) -> str:
    [one] = request["ProcessingOutputConfig"]["Outputs"]
    return str(one["S3Output"]["S3Uri"])


def lines(request: dict[str, Any], storage: Storage, source: str) -> Iterator[tuple[str, bytes]]:
    """Every line of what is mounted under a folder of the container, with its own folder below that."""
    for one in request["ProcessingInputs"]:
        local = one["S3Input"]["LocalPath"]
        if local == source or local.startswith(f"{source}/"):
            for stored in storage.list(one["S3Input"]["S3Uri"]):
                for line in storage.read(stored.uri).splitlines():
                    if line.strip():
                        yield local.removeprefix(source).strip("/"), line


def monitor_of(environment: dict[str, str]) -> ModelQualityMonitor:
    """What the variables say of how rows are read."""
    attributes: dict[str, Any] = {
        name: environment[name] for name in ("inference_attribute", "probability_attribute") if name in environment
    }
    if "probability_threshold_attribute" in environment:
        attributes["probability_threshold_attribute"] = float(environment["probability_threshold_attribute"])
    positive = environment.get("positive_label", "1")
    declared: dict[str, Any] = {
        "name": "of-the-container",
        "problem_type": environment["problem_type"],
        "endpoint_input": EndpointInput(endpoint_name="of-the-container", **attributes),
        "ground_truth_uri": "s3://unused/labels",
        "output_uri": "s3://unused/reports",
        "positive_label": positive,
        "negative_label": "1" if positive == "0" else "0",
    }
    return ModelQualityMonitor(**declared)


def rows_of(request: dict[str, Any], storage: Storage, read: Reading) -> MergedRows | None:
    """The rows that the job's format gives; None where there are none."""
    environment = request["Environment"]
    [(kind, options)] = json.loads(environment["dataset_format"]).items()
    if kind == "sagemakerMergeJson":
        return merged_rows(
            [line for _, line in lines(request, storage, environment["dataset_source"])], environment, read
        )
    [uri] = [
        one["S3Input"]["S3Uri"]
        for one in request["ProcessingInputs"]
        if one["S3Input"]["LocalPath"] == environment["dataset_source"]
    ]
    data = b"".join(storage.read(one) for one in ([uri] if storage.exists(uri) else [o.uri for o in storage.list(uri)]))
    named = {"csv": "csv-header" if options.get("header") else "csv", "json": "jsonl", "parquet": "parquet"}[kind]
    return labelled_rows(
        data,
        read,
        dataset_format=named,
        where=uri,
        ground_truth_attribute=environment["ground_truth_attribute"],
        inference_attribute=environment.get("inference_attribute"),
        probability_attribute=environment.get("probability_attribute"),
    )


def merged_rows(records: list[bytes], environment: dict[str, str], read: Reading) -> MergedRows | None:
    """The rows of merged records in the window that the variables give."""
    each: list[tuple[str, int, Any, Any, float | None]] = []
    for line in records:
        prediction = judge_capture(line, read)
        if not environment["start_time"] <= format_time(prediction.time) < environment["end_time"]:
            continue
        truth = {"groundTruthData": json.loads(line)["groundTruthData"], "eventMetadata": {"eventId": prediction.id}}
        label = judge_label(json.dumps(truth).encode(), read)
        for row, actual in enumerate(label.actual):
            score = prediction.probability[row] if prediction.probability else None
            each.append((prediction.id, row, actual, prediction.predicted[row], score))
    if not each:
        return None
    columns: list[list[Any]] = [list(column) for column in zip(*each, strict=True)]
    ids, numbers, actual, predicted, probability = columns
    return MergedRows.of_values(
        read.problem_type,
        sample_flags(hash_ids(ids), np.array(numbers, np.int64)),
        actual,
        predicted,
        None if probability[0] is None else probability,
    )
