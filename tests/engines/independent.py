"""The whole job once more, written from the rules alone: plain loops over ``json``, ``csv`` and dicts.

It shares no line with the package and knows nothing of its internals, so that a fault has to be made twice, in two ways,
to go unseen. It is slow, holds everything in memory, and does no curves. Attributes are column numbers in CSV, or names where a
batch transform wrote a header; in JSON, names joined by dots, with ``[*]`` for every element of a list.
"""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import xxhash

LONGEST = 16 * 2**20
HOUR = timedelta(hours=1)
# the ages that data of some days can have
AGES = (*range(1, 7), 8, 10, 12, 15, 18, 21, 24, 30, 36, 42, 48, *range(60, 169, 12), *range(192, 337, 24))
Row = tuple[Any, Any, float | None]
"""Actual value, predicted value, probability."""


class Rejected(Exception):
    """The line says nothing; the only argument is the reason."""


def judge(monitor: dict[str, Any], start: datetime, end: datetime, as_of: datetime) -> dict[str, Any]:
    """The blocks ``capture``, ``ground_truth``, ``merge`` and ``metrics`` of the report, metrics as plain numbers.

    Beside them ``label_ages`` of the merge, and ``standard_deviations`` by metric.
    """
    captured, captures, read = _source(monitor)
    capture: dict[str, Any] = {"outside_window": 0, "dropped": 0}
    used: list[tuple[str, list[Any], list[float] | None]] = []
    made: list[datetime] = []
    # Rule I1: the folders that touch the window, and one more for what was flushed late.
    last_folder = _floor(end - timedelta(microseconds=1)) + HOUR
    for _, record in captures(captured, _floor(start), last_folder, capture):
        try:
            id, time, predicted, probability = read(record, monitor)
        except Rejected as reason:
            capture["rejected"][str(reason)] += 1
            continue
        if start <= time < end:
            used.append((id, predicted, probability))
            made.append(time)
        else:
            capture["outside_window"] += 1
    capture["used"] = len(used)
    capture["duplicate_ids"] = len(used) - len({id for id, _, _ in used})

    # Rule I2: from the window's start on, those hours that were over at the as-of time.
    ground_truth: dict[str, Any] = {"used": 0}
    labels: dict[str, list[Any]] = {}
    seen_from: dict[str, datetime] = {}
    for hour, record in _records(Path(monitor["ground_truth_uri"]), _floor(start), _floor(as_of) - HOUR, ground_truth):
        try:
            id, actual = _label(record, monitor)
        except Rejected as reason:
            ground_truth["rejected"][str(reason)] += 1
            continue
        ground_truth["used"] += 1
        seen_from.setdefault(id, hour + HOUR)
        labels[id] = actual  # rule M2: they come in the order of collection, so the last one stays
    ground_truth["duplicate_labels"] = ground_truth["used"] - len(labels)

    rows: list[Row] = []
    samples: list[list[Row]] = [[] for _ in range(5)]
    mismatched = without_label = 0
    for id, predicted, probability in used:
        if id not in labels:
            without_label += 1
        elif len(labels[id]) != len(predicted):
            mismatched += 1
        else:
            unknown: list[float | None] = [None] * len(predicted)
            for number, row in enumerate(zip(labels[id], predicted, probability or unknown)):
                rows.append(row)
                for sample in _samples(id, number):
                    samples[sample].append(row)
    merge = {
        "matched": len(rows),
        "captures_without_label": without_label,
        "labels_without_capture": len(labels.keys() - {id for id, _, _ in used}),
        "rejected": {"row_count_mismatch": mismatched} if mismatched else {},
        "label_coverage": (len(used) - without_label) / len(used) if used else None,
    }
    problem = {"BinaryClassification": _binary, "MulticlassClassification": _multiclass, "Regression": _regression}
    metrics = problem[monitor["problem_type"]]
    return {
        "capture": capture,
        "ground_truth": ground_truth,
        "merge": merge,
        "label_ages": _ages([(time, seen_from.get(id)) for time, (id, _, _) in zip(made, used)], _floor(as_of)),
        "metrics": metrics(rows, monitor),
        "standard_deviations": _spreads([metrics(sample, monitor) for sample in samples], len(rows)),
    }


def _source(monitor: dict[str, Any]) -> tuple[Path, Callable[..., Any], Callable[..., Any]]:
    """Where captures lie, what gives their lines, and what says what one of these means."""
    source = monitor.get("batch_transform_input") or monitor["endpoint_input"]
    root = Path(source["data_captured_destination_uri"])
    if "endpoint_input" in monitor:
        return root / source["endpoint_name"] / "AllTraffic", _records, _capture
    header = source["dataset_format"].get("csv", {}).get("header", False)
    return root / "output", partial(_outputs_of_transforms, header=header), _transformed


# --- reading ----------------------------------------------------------------------------------------------------------


def _floor(time: datetime) -> datetime:
    return time.replace(minute=0, second=0, microsecond=0)


def _files(root: Path, first: datetime, last: datetime) -> Iterator[tuple[datetime, Path]]:
    """All files of the hour folders from `first` to `last`, in the order of their keys, with the hour."""
    for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).as_posix()):
        if path.is_file():
            year, month, day, hour = map(int, path.relative_to(root).parts[:4])
            folder = datetime(year, month, day, hour, tzinfo=UTC)
            if first <= folder <= last:
                yield folder, path


def _records(root: Path, first: datetime, last: datetime, counts: dict[str, Any]) -> Iterator[tuple[datetime, bytes]]:
    """The lines of all files, with the hour; counts files and lines, and rejects what is no line."""
    counts.update({"files": 0, "lines": 0, "rejected": Counter()})
    for folder, path in _files(root, first, last):
        for line in _lines(*_inflated(path.read_bytes()), counts):
            yield folder, line


def _outputs_of_transforms(
    root: Path, first: datetime, last: datetime, counts: dict[str, Any], header: bool
) -> Iterator[tuple[datetime, tuple[list[str], bytes]]]:
    """Rule M3: the lines of all files that manifests name, with the names of the columns."""
    counts.update({"files": 0, "lines": 0, "rejected": Counter()})
    for folder, manifest in _files(root, first, last):
        about, *keys = json.loads(manifest.read_text())
        for key in keys:
            text, damaged = _inflated(Path(about["prefix"], key).read_bytes())
            names: list[str] = []
            if header:
                head, _, text = text.partition(b"\n")
                names = head.decode().split(",")
            for line in _lines(text, damaged, counts):
                yield folder, (names, line)


def _lines(text: bytes, damaged: bool, counts: dict[str, Any]) -> Iterator[bytes]:
    counts["files"] += 1
    *whole, rest = text.split(b"\n")
    for line in whole if damaged else [*whole, rest]:
        if len(line) > LONGEST:
            counts["lines"] += 1
            counts["rejected"]["line_too_long"] += 1
        elif line.strip():
            counts["lines"] += 1
            yield line
    if damaged:
        counts["lines"] += 1
        counts["rejected"]["corrupt_gzip"] += 1


def _inflated(data: bytes) -> tuple[bytes, bool]:
    """The text of a file, gzipped or not, up to where it is damaged, and whether it is."""
    if data[:2] != b"\x1f\x8b":
        return data, False
    try:
        return gzip.decompress(data), False
    except (OSError, EOFError, zlib.error):
        text = b""
    member = zlib.decompressobj(31)
    for at in range(len(data)):  # byte after byte: nothing that can be read is lost with what follows it
        if member.eof:
            if not data[at]:
                continue
            member = zlib.decompressobj(31)
        try:
            text += member.decompress(data[at : at + 1])
        except zlib.error:
            break
    return text, True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _json(data: bytes | str, reason: str) -> Any:
    try:
        return json.loads(data.decode() if isinstance(data, bytes) else data, parse_constant=_refuse)
    except ValueError as error:
        raise Rejected(reason) from error


def _object(line: bytes) -> dict[str, Any]:
    record = _json(line, "invalid_json")
    if not isinstance(record, dict):
        raise Rejected("invalid_json")
    return record


def _payload(holder: Any) -> tuple[str, Any]:
    """("CSV", rows) or ("JSON", the parsed payload)."""
    if not isinstance(holder, dict) or not isinstance(holder.get("data"), str):
        raise Rejected("missing_payload")
    text, encoding = holder["data"], holder.get("encoding")
    if encoding == "BASE64":
        try:
            text = base64.b64decode(text, validate=True).decode()
        except ValueError as error:
            raise Rejected("bad_base64") from error
        encoding = "JSON" if "json" in (holder.get("observedContentType") or "") else "CSV"
    if encoding == "CSV":
        return "CSV", [row for row in csv.reader(io.StringIO(text)) if row]
    if encoding == "JSON":
        return "JSON", _json(text, "bad_payload")
    raise Rejected("unknown_encoding")


def _values(kind: str, payload: Any, attribute: str) -> list[Any]:
    if kind == "CSV":
        if any(int(attribute) >= len(row) for row in payload):
            raise Rejected("missing_attribute")
        return [row[int(attribute)] for row in payload]
    found, every_one = [payload], False
    for name, every in re.findall(r"(\w+)(\[\*\])?", attribute):
        found = [value[name] for value in found if isinstance(value, dict) and name in value]
        if not found and not every_one:  # of the elements of a list, those that lack the name are left out
            raise Rejected("missing_attribute")
        if every:
            if not any(isinstance(value, list) for value in found):
                raise Rejected("missing_attribute")
            found, every_one = [element for value in found if isinstance(value, list) for element in value], True
    return found


def _text(value: Any) -> str:
    """Rule I5: one form of a class."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value).strip()
    return re.sub(r"^(-?\d+)\.0+$", r"\1", text)


def _number(value: Any, reason: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise Rejected(reason) from error
    if not math.isfinite(number):
        raise Rejected(reason)
    return number


def _target(value: Any, monitor: dict[str, Any]) -> Any:
    if monitor["problem_type"] == "Regression":
        return _number(value, "bad_number")
    text = _text(value)
    classes = (monitor.get("negative_label", "0"), monitor.get("positive_label", "1"))
    if not text or (monitor["problem_type"] == "BinaryClassification" and text not in classes):
        raise Rejected("foreign_label")
    return text


def _capture(line: bytes, monitor: dict[str, Any]) -> tuple[str, datetime, list[Any], list[float] | None]:
    record = _object(line)
    about = record.get("eventMetadata") or {}
    id = about.get("inferenceId") or about.get("eventId")
    if not id:
        raise Rejected("missing_id")
    time = _time(about.get("inferenceTime"))
    source = monitor["endpoint_input"]
    kind, payload = _payload((record.get("captureData") or {}).get("endpointOutput"))
    return id, time, *_predicted(source, monitor, lambda attribute: _values(kind, payload, attribute))


def _predicted(
    source: dict[str, Any], monitor: dict[str, Any], values: Callable[[str], list[Any]]
) -> tuple[list[Any], list[float] | None]:
    predicted: list[Any] = []
    probability: list[float] | None = None
    if source.get("inference_attribute"):
        predicted = [_target(value, monitor) for value in values(source["inference_attribute"])]
    if source.get("probability_attribute"):
        probability = []
        for value in values(source["probability_attribute"]):
            number = _number(value, "bad_probability")
            if not 0 <= number <= 1:
                raise Rejected("bad_probability")
            probability.append(number)
        if not source.get("inference_attribute"):
            threshold = float(source.get("probability_threshold_attribute", 0.5))
            names = (monitor.get("negative_label", "0"), monitor.get("positive_label", "1"))
            predicted = [names[number > threshold] for number in probability]
    if not predicted:
        raise Rejected("bad_payload")
    return predicted, probability


def _time(text: Any) -> datetime:
    if not text:
        raise Rejected("missing_time")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise Rejected("bad_time") from error


def _transformed(
    line: tuple[list[str], bytes], monitor: dict[str, Any]
) -> tuple[str, datetime, list[Any], list[float] | None]:
    names, text = line
    source = monitor["batch_transform_input"]
    if "json" in source["dataset_format"]:
        record = _object(text)
        id = record.pop("SageMakerInferenceId", None)
        if not id:
            raise Rejected("missing_id")
        time = _time(record.pop("SageMakerInferenceTime", None))
        payload = record.get("SageMakerOutput", record)
        return id, time, *_predicted(source, monitor, lambda attribute: _values("JSON", payload, attribute))
    row = next(csv.reader(io.StringIO(text.decode())))
    if len(row) < 3 or not row[-2].strip():
        raise Rejected("missing_id")
    id, time, cells = row[-2].strip(), _time(row[-1].strip()), row[:-2]

    def column(attribute: str) -> list[Any]:
        at = names.index(attribute) if attribute in names else int(attribute)
        if at >= len(cells):
            raise Rejected("missing_attribute")
        return [cells[at]]

    return id, time, *_predicted(source, monitor, column)


def _label(line: bytes, monitor: dict[str, Any]) -> tuple[str, list[Any]]:
    record = _object(line)
    id = (record.get("eventMetadata") or {}).get("eventId")
    if not id:
        raise Rejected("missing_id")
    kind, payload = _payload(record.get("groundTruthData"))
    if kind == "CSV":
        if not payload or any(len(row) != 1 for row in payload):
            raise Rejected("bad_payload")
        values = [row[0] for row in payload]
    else:
        values = _values(kind, payload, monitor["ground_truth_attribute"])
    return id, [_target(value, monitor) for value in values]


def _ages(captures: list[tuple[datetime, datetime | None]], as_of: datetime) -> dict[str, dict[str, int]]:
    """Captures by the age of their first label, told only where the as-of time lies beyond the whole age."""
    found: dict[str, Counter[str]] = {"labelled": Counter(), "unlabelled": Counter()}
    for made, came in captures:
        looked_at = [hours for hours in AGES if made + hours * HOUR <= as_of]
        told = [hours for hours in looked_at if came is not None and came <= made + hours * HOUR]
        if told:
            found["labelled"][str(told[0])] += 1
        else:
            found["unlabelled"][str(looked_at[-1] if looked_at else 0)] += 1
    return {kind: dict(counts) for kind, counts in found.items()}


# --- metrics ----------------------------------------------------------------------------------------------------------


def _samples(id: str, row: int) -> list[int]:
    """Rule A3: in which of the five samples a row is, told by five slices of its id's hash, mixed with its number."""
    whole = 2**64
    high, low = divmod(xxhash.xxh3_128_intdigest(id.encode()), whole)
    mixed = ((low * 0xD6E8FEB86659FD93 % whole ^ high) + (row + 1) * 0x9E3779B97F4A7C15) % whole
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % whole
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % whole
    mixed ^= mixed >> 31
    return [sample for sample in range(5) if mixed >> (4 + 12 * sample) & 0xFFF < 3277]


def _spreads(samples: list[dict[str, Any]], rows: int) -> dict[str, float]:
    """The standard deviation of each metric over the samples, divided by their number."""
    found = {}
    for name in samples[0].keys() - {"confusion_matrix"}:
        values = [sample[name] for sample in samples]
        mean = math.fsum(values) / 5
        found[name] = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / 5) if rows >= 200 else math.nan
    return found


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan


def _f(beta: float, precision: float, recall: float) -> float:
    return _ratio((1 + beta * beta) * precision * recall, beta * beta * precision + recall)


def _binary(rows: list[Row], monitor: dict[str, Any]) -> dict[str, Any]:
    negative, positive = monitor.get("negative_label", "0"), monitor.get("positive_label", "1")
    cells = Counter((actual, predicted) for actual, predicted, _ in rows)
    hit, miss = cells[positive, positive], cells[positive, negative]
    alarm, rest = cells[negative, positive], cells[negative, negative]
    recall, precision = _ratio(hit, hit + miss), _ratio(hit, hit + alarm)
    # The best constant classifier says the majority class; where that is the negative one, nothing is ever found.
    share = (hit + miss) / len(rows)
    constant_precision, constant_recall = (share, 1.0) if hit + miss > alarm + rest else (0.0, 0.0)
    metrics = {
        "confusion_matrix": {
            row: {column: cells[row, column] for column in (negative, positive)} for row in (negative, positive)
        },
        "recall": recall,
        "precision": precision,
        "accuracy": (hit + rest) / len(rows),
        "recall_best_constant_classifier": constant_recall,
        "precision_best_constant_classifier": constant_precision,
        "accuracy_best_constant_classifier": max(share, 1 - share),
        "true_positive_rate": recall,
        "true_negative_rate": _ratio(rest, rest + alarm),
        "false_positive_rate": _ratio(alarm, rest + alarm),
        "false_negative_rate": _ratio(miss, hit + miss),
    }
    for name, beta in (("f0_5", 0.5), ("f1", 1.0), ("f2", 2.0)):
        metrics[name] = _f(beta, precision, recall)
        constant = _f(beta, constant_precision, constant_recall) if constant_recall else 0.0
        metrics[f"{name}_best_constant_classifier"] = constant
    if rows[0][2] is not None:
        metrics["auc"] = _auc(rows, positive)
    return metrics


def _auc(rows: list[Row], positive: str) -> float:
    """The share of (positive, negative) pairs in which the positive has the higher score, ties counting half."""
    by_score: dict[float, list[int]] = defaultdict(lambda: [0, 0])
    for actual, _, score in rows:
        assert score is not None
        by_score[score][actual == positive] += 1
    twice = negatives = positives = 0
    for _, (at_negative, at_positive) in sorted(by_score.items()):
        twice += at_positive * (2 * negatives + at_negative)
        negatives += at_negative
        positives += at_positive
    return _ratio(twice, 2 * negatives * positives)


def _multiclass(rows: list[Row], monitor: dict[str, Any]) -> dict[str, Any]:
    cells = Counter((actual, predicted) for actual, predicted, _ in rows)
    classes = sorted({name for cell in cells for name in cell})
    actual = {name: sum(cells[name, other] for other in classes) for name in classes}
    predicted = {name: sum(cells[other, name] for other in classes) for name in classes}
    recall = {name: _ratio(cells[name, name], actual[name]) for name in classes}
    precision = {name: _ratio(cells[name, name], predicted[name]) for name in classes}
    share = max(actual.values()) / len(rows)

    def weighted(by_class: dict[str, float]) -> float:
        return sum(actual[name] * by_class[name] for name in classes) / len(rows)

    metrics: dict[str, Any] = {
        "confusion_matrix": {row: {column: cells[row, column] for column in classes} for row in classes},
        "accuracy": sum(cells[name, name] for name in classes) / len(rows),
        "weighted_recall": weighted(recall),
        "weighted_precision": weighted(precision),
        "accuracy_best_constant_classifier": share,
        "weighted_recall_best_constant_classifier": share,
        "weighted_precision_best_constant_classifier": share * share,
    }
    for name, beta in (("weighted_f0_5", 0.5), ("weighted_f1", 1.0), ("weighted_f2", 2.0)):
        metrics[name] = weighted({one: _f(beta, precision[one], recall[one]) for one in classes})
        metrics[f"{name}_best_constant_classifier"] = share * _f(beta, share, 1.0)
    return metrics


def _regression(rows: list[Row], monitor: dict[str, Any]) -> dict[str, Any]:
    n = len(rows)
    mean = math.fsum(actual for actual, _, _ in rows) / n
    squared = math.fsum((actual - predicted) ** 2 for actual, predicted, _ in rows)
    spread = math.fsum((actual - mean) ** 2 for actual, _, _ in rows)
    return {
        "mae": math.fsum(abs(actual - predicted) for actual, predicted, _ in rows) / n,
        "mse": squared / n,
        "rmse": math.sqrt(squared / n),
        "r2": 1 - _ratio(squared, spread),
    }
