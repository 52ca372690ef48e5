"""What a line means: a capture line becomes a prediction, a label line a label.

Every engine reads lines through this module or through `columns`; here encodings, attributes, ids and reasons for
rejection are said. `judge_capture`, `judge_batch` and `judge_label` say what one line means, plainly; `columns` says the same of many lines
at once, and hands every line that is not of the plain sort to these.

A line is judged in this order: JSON, id, time, payload and attributes; it is rejected at the first fault, and only
then comes the window (rule I4). Whitespace is no line. The reasons are the keys of `REASONS`.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np
import xxhash

from airflow_mq_provider.monitor import (
    BatchTransformInput,
    CsvFormat,
    ModelQualityMonitor,
    ParquetFormat,
    label_text,
    payload_path,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

REASONS = {
    "line_too_long": "the line is longer than 16 MiB and was not read",
    "corrupt_gzip": "the gzip stream is damaged or ends early; the lines before the damage count",
    "corrupt_parquet": "the object is no Parquet file, or a damaged one; the rows before the damage count",
    "invalid_json": "the line is not one JSON object in UTF-8",
    "missing_id": "there is no inferenceId and no eventId that is a non-empty text",
    "missing_time": "a captured record has no inferenceTime",
    "bad_time": "inferenceTime is not an ISO 8601 time with its zone",
    "missing_payload": "captureData.endpointOutput.data (captures) or groundTruthData.data (labels) is no text",
    "unknown_encoding": "the encoding is none of CSV, JSON and BASE64",
    "bad_base64": "the payload says BASE64 and is not, or holds no UTF-8 text",
    "bad_payload": "the payload cannot be read as what its encoding says",
    "missing_attribute": "the payload has no such column or path",
    "foreign_label": "a binary label that is neither positive_label nor negative_label, or an empty class",
    "bad_probability": "a probability that is no number within [0, 1]",
    "bad_number": "a regression value that is no finite number",
}
"""Every reason for which a line is rejected, and what it says. `row_count_mismatch` is found after the join."""


class Fault(Exception):
    """Why one line is rejected: a key of `REASONS`, and what was seen."""

    def __init__(self, reason: str, seen: str = "") -> None:
        super().__init__(reason, seen)
        self.reason = reason
        self.seen = seen


# --- attributes ---------------------------------------------------------------------------------------------------------

_INDEX = re.compile(r"(?:_c)?(\d+)\Z")
_STEPS = r"(?:\.[A-Za-z_]\w*|\[\d+\])*"
_PLAIN_PATH = re.compile(rf"([A-Za-z_]\w*{_STEPS})(?:\[\*\]({_STEPS}))?\Z")
"""``a.b[0]``, or one of those for each element of a list: ``a[*].b``."""
_STEP = re.compile(r"([A-Za-z_]\w*)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Attribute:
    """Where a value stands in a payload: a column index or name in CSV, a JMESPath in JSON (rule I3)."""

    text: str
    index: int | None
    find: Callable[[Any], Any]
    """From a parsed JSON payload to the value found there, or to None."""


def attribute(text: str, *, columns_only: bool = False) -> Attribute:
    """Compile an attribute. A leading ``$.`` is accepted, `_c3` is column 3; plain paths cost no JMESPath.

    `columns_only` says that there will be no JSON payload, so the text may be any column's name.
    """
    index = _INDEX.match(text)
    if index:
        number = int(index.group(1))
        return Attribute(text, number, lambda payload: _element(payload, number))
    if columns_only:
        return Attribute(text, None, lambda _: None)
    path = payload_path(text)
    plain = _PLAIN_PATH.match(path)
    if not plain:
        import jmespath

        return Attribute(text, None, jmespath.compile(path).search)
    first = _steps(plain.group(1))
    if plain.group(2) is None:
        return Attribute(text, None, first)
    each = _steps(plain.group(2))

    def find(payload: Any) -> Any:
        found = first(payload)
        if not isinstance(found, list):
            return None
        return [value for value in map(each, found) if value is not None]

    return Attribute(text, None, find)


def _steps(path: str) -> Callable[[Any], Any]:
    """From a value to what a path of names and indexes finds in it, None where that is nothing."""
    steps = tuple(int(number) if number else name for name, number in _STEP.findall(path))

    def find(payload: Any) -> Any:
        for step in steps:
            if type(step) is int:
                payload = payload[step] if isinstance(payload, list) and step < len(payload) else None
            else:
                payload = payload.get(step) if isinstance(payload, dict) else None
        return payload

    return find


def _element(payload: Any, number: int) -> Any:
    if isinstance(payload, list):
        return payload[number] if number < len(payload) else None
    return payload if number == 0 and not isinstance(payload, dict) else None


@dataclass(frozen=True, slots=True)
class Reading:
    """What of a monitor decides how its lines are read. Two monitors of equal readings read every line alike."""

    problem_type: str
    inference: Attribute | None
    probability: Attribute | None
    """Of binary problems only: SageMaker documents no use of it for the others."""
    ground_truth: Attribute | None
    threshold: float
    positive_label: str
    negative_label: str
    batch: str | None
    """None for an endpoint; "csv", "csv-header", "json" or "parquet" for a batch transform."""
    segment_input: Attribute | None = None
    """Where the segment of a row stands in the captured input, where that is asked for."""
    segment_truth: Attribute | None = None
    """Where it stands in the label's line, where that is asked for."""
    processed: bool = False
    """Whether a preprocessor makes rows of the merged record: a line then says no more than its id and time."""

    @property
    def in_segments(self) -> bool:
        """Whether rows are told apart by segments."""
        return self.segment_input is not None or self.segment_truth is not None


def reading(monitor: ModelQualityMonitor) -> Reading:
    """The reading of a monitor whose URIs need not be rendered yet."""
    source = monitor.input
    batch = None
    if isinstance(source, BatchTransformInput):
        batch = "parquet" if isinstance(source.dataset_format, ParquetFormat) else "json"
        if isinstance(source.dataset_format, CsvFormat):
            batch = "csv-header" if source.dataset_format.header else "csv"
    binary = monitor.problem_type == "BinaryClassification"

    def compiled(text: str | None) -> Attribute | None:
        return attribute(text, columns_only=batch in ("csv", "csv-header")) if text else None

    return Reading(
        problem_type=monitor.problem_type,
        inference=compiled(source.inference_attribute),
        probability=compiled(source.probability_attribute) if binary else None,
        ground_truth=attribute(monitor.ground_truth_attribute) if monitor.ground_truth_attribute else None,
        threshold=monitor.threshold,
        positive_label=monitor.positive_label,
        negative_label=monitor.negative_label,
        batch=batch,
        segment_input=compiled(monitor.segments.input_attribute) if monitor.segments else None,
        segment_truth=(
            attribute(monitor.segments.ground_truth_attribute)
            if monitor.segments and monitor.segments.ground_truth_attribute
            else None
        ),
        processed=bool(monitor.sagemaker and monitor.sagemaker.record_preprocessor_source_uri),
    )


class Classes:
    """Class texts as small numbers, the same number for every spelling of one class (rule I5).

    Binary problems know two, negative 0 and positive 1; anything else is foreign (-1). Multiclass problems number the
    classes as they come: `names` has them in that order.
    """

    def __init__(self, reading: Reading, names: Sequence[str] = ()) -> None:
        self._open = reading.problem_type == "MulticlassClassification"
        self.names: list[str] = list(names) if self._open else [reading.negative_label, reading.positive_label]
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self._spellings: dict[str, int] = {}

    def number(self, value: Any) -> int:
        """The number of a class, -1 if it is foreign or empty."""
        name = label_text(value)
        found = self._numbers.get(name)
        if found is None:
            if not self._open or not name:
                return -1
            found = self._numbers[name] = len(self.names)
            self.names.append(name)
        return found

    def numbers(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """`number` of each text; a spelling is looked at once."""
        spellings = self._spellings
        for text in set(texts).difference(spellings):
            spellings[text] = self.number(text)
        return np.fromiter(map(spellings.__getitem__, texts), np.int32, len(texts))


# --- one line, plainly ------------------------------------------------------------------------------------------------


class Prediction(msgspec.Struct, frozen=True):
    """What a captured line says: its join id, its time, and one or more rows; none where a preprocessor is to make them."""

    id: str
    time: datetime
    predicted: list[Any]
    """Of each row: 0 or 1 (binary), a class text (multiclass), a number (regression)."""
    probability: list[float] | None
    payload: str = ""
    encoding: str = ""


class Label(msgspec.Struct, frozen=True):
    """What a label line says: the id it belongs to, and the actual value of one or more rows."""

    id: str
    actual: list[Any]
    """Of each row: 0 or 1 (binary), a class text (multiclass), a number (regression)."""


_NULL = msgspec.Raw(b"null")


class _Line(msgspec.Struct, gc=False):
    """A line of captures or labels as it may be: of what is not asked for the form is looked at, and nothing is read.

    So it is where many lines are decoded at once: a number that no float holds is a fault only where a number is wanted.
    """

    captureData: msgspec.Raw = _NULL
    groundTruthData: msgspec.Raw = _NULL
    eventMetadata: msgspec.Raw = _NULL


class _CaptureData(msgspec.Struct, gc=False):
    endpointOutput: msgspec.Raw = _NULL


class _Payload(msgspec.Struct, gc=False):
    data: msgspec.Raw = _NULL
    encoding: msgspec.Raw = _NULL
    observedContentType: msgspec.Raw = _NULL


class _Meta(msgspec.Struct, gc=False):
    inferenceId: msgspec.Raw = _NULL
    eventId: msgspec.Raw = _NULL
    inferenceTime: msgspec.Raw = _NULL


_any = msgspec.json.Decoder()
_line = msgspec.json.Decoder(_Line)
_capture_data = msgspec.json.Decoder(_CaptureData)
_payload = msgspec.json.Decoder(_Payload)
_meta = msgspec.json.Decoder(_Meta)


def _decoded(decoder: msgspec.json.Decoder[T], data: bytes | str, reason: str) -> T:
    try:
        if isinstance(data, bytes):
            data.decode()
        return decoder.decode(data)
    except (UnicodeError, msgspec.DecodeError) as error:
        raise Fault(reason, str(error)) from error
    except RecursionError as error:
        raise Fault(reason, "nested too deeply to be read") from error


def _object(line: bytes) -> dict[str, Any]:
    found = _decoded(_any, line, "invalid_json")
    if not isinstance(found, dict):
        raise Fault("invalid_json", f"a JSON {type(found).__name__}, no object")
    return found


def _within(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T:
    """What an object says of the names of a struct; nothing where it is no object."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        return decoder.decode(b"{}")


def _value(raw: msgspec.Raw) -> Any:
    try:
        return _any.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return bytes(raw)[:80]  # no text, whatever else


def _id(*candidates: Any) -> str:
    for candidate in candidates:
        if isinstance(candidate, str) and candidate:
            return candidate
    raise Fault("missing_id")


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)\Z")


def time_of(text: Any) -> datetime:
    """The time of a record, in UTC, or `Fault`."""
    if text is None or text == "":
        raise Fault("missing_time")
    if not isinstance(text, str) or not _TIME.match(text):
        raise Fault("bad_time", repr(text)[:80])
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Fault("bad_time", repr(text)[:80]) from error


def _payload_in(raw: msgspec.Raw) -> tuple[str, str]:
    held = _within(_payload, raw)
    return payload_of(_value(held.data), _value(held.encoding), _value(held.observedContentType))


def payload_of(data: Any, encoding: Any, content_type: Any) -> tuple[str, str]:
    """The payload's text and whether it is "CSV" or "JSON", or `Fault`."""
    if not isinstance(data, str):
        raise Fault("missing_payload")
    if encoding == "BASE64":
        try:
            data = base64.b64decode(data, validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise Fault("bad_base64", str(error)) from error
        return data, _content(content_type)
    if encoding not in ("CSV", "JSON"):
        raise Fault("unknown_encoding", repr(encoding)[:80])
    return data, encoding


def _content(content_type: Any) -> str:
    return "JSON" if isinstance(content_type, str) and "json" in content_type.lower() else "CSV"


def _csv_rows(text: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(io.StringIO(text.strip("\r\n")), strict=True) if row]
    except csv.Error as error:
        raise Fault("bad_payload", str(error)) from error


def _json_payload(text: str) -> Any:
    return _decoded(_any, text, "bad_payload")


def _column(rows: list[list[str]], wanted: Attribute) -> list[Any]:
    number = wanted.index
    if number is None:
        # A name: the payload brings its own header line.
        header = [name.strip() for name in rows[0]] if rows else []
        if wanted.text not in header:
            raise Fault("missing_attribute", f"no column {wanted.text!r} in {header[:20]}")
        number, rows = header.index(wanted.text), rows[1:]
    try:
        return [row[number] for row in rows]
    except IndexError as error:
        raise Fault("missing_attribute", f"no column {wanted.text!r} in {min(map(len, rows))} columns") from error


def _found(payload: Any, wanted: Attribute) -> list[Any]:
    try:
        value = wanted.find(payload)
    except MemoryError:
        raise
    except Exception as error:  # jmespath raises its own kinds for a function applied to the wrong type
        raise Fault("missing_attribute", f"{wanted.text!r}: {error}") from error
    if value is None:
        seen = sorted(payload)[:20] if isinstance(payload, dict) else type(payload).__name__
        raise Fault("missing_attribute", f"nothing at {wanted.text!r}; the payload has {seen}")
    return value if isinstance(value, list) else [value]


def number_of(value: Any) -> float | None:
    """A finite number or None. Python's own liberties (`1_000`, true) are none of a payload's."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or (isinstance(value, str) and "_" in value):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None


def probability_of(value: Any) -> float:
    """A probability within [0, 1], or `Fault`."""
    number = number_of(value)
    if number is None or not 0 <= number <= 1:
        raise Fault("bad_probability", repr(value)[:80])
    return number


def target_of(value: Any, reading: Reading) -> Any:
    """A predicted or an actual value: 0 or 1, a class text, or a number."""
    if reading.problem_type == "Regression":
        number = number_of(value)
        if number is None:
            raise Fault("bad_number", repr(value)[:80])
        return number
    name = "" if isinstance(value, (dict, list)) or value is None else label_text(value)
    if reading.problem_type == "MulticlassClassification":
        if not name:
            raise Fault("foreign_label", repr(value)[:80])
        return name
    if name == reading.positive_label:
        return 1
    if name == reading.negative_label:
        return 0
    raise Fault("foreign_label", repr(value)[:80])


def _predicted(reading: Reading, values: Callable[[Attribute], list[Any]]) -> tuple[list[Any], list[float] | None]:
    """The predicted value and the probability of each row, by what the attributes find."""
    predicted: list[Any] | None = None
    probability: list[float] | None = None
    if reading.inference:
        predicted = [target_of(value, reading) for value in values(reading.inference)]
    if reading.probability:
        probability = [probability_of(value) for value in values(reading.probability)]
        if predicted is None:
            predicted = [int(value > reading.threshold) for value in probability]
    if not predicted or (probability is not None and len(probability) != len(predicted)):
        raise Fault("bad_payload", "no row, or labels and probabilities of unequal number")
    return predicted, probability


def judge_rows(rows: Sequence[dict[str, Any]], reading: Reading) -> tuple[list[Any], list[float] | None]:
    """The predicted value and the probability of each row that a preprocessor made of a record, or `Fault`.

    An attribute names a column, or is its place in the order of their names, or a JMESPath into the row.
    """
    return _predicted(reading, lambda wanted: [_in_row(row, wanted) for row in rows])


def _in_row(row: dict[str, Any], wanted: Attribute) -> Any:
    if wanted.text in row:
        return row[wanted.text]
    if wanted.index is not None:
        if wanted.index < len(row):
            return row[sorted(row)[wanted.index]]
        raise Fault("missing_attribute", f"no column {wanted.text!r} in {len(row)} columns")
    return _found(row, wanted)[0]


def judge_capture(line: bytes, reading: Reading) -> Prediction:
    """What one line of an endpoint's capture file says, or `Fault`. The window is the caller's business."""
    found = _decoded(_line, line, "invalid_json")
    meta = _within(_meta, found.eventMetadata)
    id = _id(_value(meta.inferenceId), _value(meta.eventId))
    time = time_of(_value(meta.inferenceTime))
    if reading.processed:
        return Prediction(id, time, [], None)
    text, kind = _payload_in(_within(_capture_data, found.captureData).endpointOutput)
    return Prediction(id, time, *_predicted(reading, _values(text, kind)), text, kind)


def _values(text: str, kind: str) -> Callable[[Attribute], list[Any]]:
    if kind == "CSV":
        rows = _csv_rows(text)
        return lambda wanted: _column(rows, wanted)
    payload = _json_payload(text)
    return lambda wanted: _found(payload, wanted)


def judge_batch(line: bytes, reading: Reading, header: Sequence[str] | None = None) -> Prediction:
    """What one line of a batch transform's output says (rule M3), or `Fault`.

    CSV: the last two columns are id and time; `header` names the columns of a file that has one. JSON:
    ``SageMakerInferenceId`` and ``SageMakerInferenceTime``; Parquet likewise, a row being a record; the prediction is ``SageMakerOutput`` where that is there.
    """
    if reading.batch in ("json", "parquet"):
        record = _object(line)
        id = _id(record.pop("SageMakerInferenceId", None))
        time = time_of(record.pop("SageMakerInferenceTime", None))
        payload = record.get("SageMakerOutput", record)

        def values(wanted: Attribute) -> list[Any]:
            # With join_source=Input the attributes may be told from the output or from the whole joined record.
            inner = wanted.find(payload) if payload is not record else None
            return _found(record if inner is None else payload, wanted)

        text, kind = msgspec.json.encode(record).decode(), "JSON"
        return Prediction(id, time, *(([], None) if reading.processed else _predicted(reading, values)), text, kind)
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise Fault("bad_payload", str(error)) from error
    rows = _csv_rows(text)
    row = rows[0] if rows else []
    if len(row) < 3:
        raise Fault("missing_id", f"{len(row)} columns, at least 3 are needed: prediction, id, time")
    id, time = _id(row[-2].strip()), time_of(row[-1].strip())
    names = [name.strip() for name in header or ()]
    body = row[:-2]

    def column(wanted: Attribute) -> list[Any]:
        return [_batch_cell(body, wanted, names)]

    text, kind = text.rstrip("\r\n").rsplit(",", 2)[0], "CSV"
    return Prediction(id, time, *(([], None) if reading.processed else _predicted(reading, column)), text, kind)


def _batch_cell(body: Sequence[str], wanted: Attribute, names: Sequence[str]) -> str:
    number = wanted.index
    if wanted.text in names:
        number = names.index(wanted.text)
    if number is None or number >= len(body):
        raise Fault("missing_attribute", f"no column {wanted.text!r} in {len(body)} columns")
    return body[number]


def judge_label(line: bytes, reading: Reading) -> Label:
    """What one line of a ground-truth file says, or `Fault`.

    CSV: one column, one label a row. JSON: what ``ground_truth_attribute`` finds; without it a value, a list, an
    object with ``label`` (or with one entry only), or ``{"instances": [...]}`` of those.
    """
    found = _decoded(_line, line, "invalid_json")
    id = _id(_value(_within(_meta, found.eventMetadata).eventId))
    text, kind = _payload_in(found.groundTruthData)
    if kind == "CSV":
        rows = _csv_rows(text)
        if any(len(row) != 1 for row in rows):
            raise Fault("bad_payload", "a CSV label has one column")
        values: list[Any] = [row[0] for row in rows]
    elif reading.ground_truth:
        values = _found(_json_payload(text), reading.ground_truth)
    else:
        values = _labels(_json_payload(text))
    if not values:
        raise Fault("bad_payload", "no label")
    return Label(id, [target_of(value, reading) for value in values])


def _labels(payload: Any) -> list[Any]:
    if isinstance(payload, dict) and isinstance(payload.get("instances"), list):
        payload = payload["instances"]
    return [label_in(one) for one in payload] if isinstance(payload, list) else [label_in(payload)]


def label_in(payload: Any) -> Any:
    """The label in a JSON value: what ``label`` names in an object, its only entry, or the value itself."""
    if isinstance(payload, dict):
        if "label" in payload:
            return payload["label"]
        if len(payload) == 1:
            return next(iter(payload.values()))
        raise Fault("missing_attribute", f"no 'label' in {sorted(payload)[:20]}; name it as ground_truth_attribute")
    return payload


# --- segments -----------------------------------------------------------------------------------------------------------

SEGMENT_LENGTH = 256
"""Longer values are no segment."""


class _Input(msgspec.Struct, gc=False):
    data: str
    encoding: str
    observedContentType: str | None = None


class _InputData(msgspec.Struct, gc=False):
    endpointInput: _Input


class _InputLine(msgspec.Struct, gc=False):
    captureData: _InputData


_input_lines = msgspec.json.Decoder(_InputLine)


def capture_segments(
    line: bytes, reading: Reading, rows: int, header: Sequence[str] | None = None
) -> Sequence[str | None]:
    """The segment of each row of a captured line: what stands in its input, None where nothing usable does.

    Values have the one form of labels (rule I5). Where the input has one value and the record several rows, all have it;
    where the numbers differ otherwise, none has any. `header` is that of a batch transform's file.
    """
    wanted = reading.segment_input
    if wanted is None:
        raise RuntimeError("segments of a reading that asks for none of the captured input")
    try:
        if reading.batch in ("json", "parquet"):
            values = _found(_object(line), wanted)
        elif reading.batch:
            names = [name.strip() for name in header or ()]
            values = [_batch_cell(_csv_rows(line.decode())[0][:-2], wanted, names)]
        else:
            given = _input_lines.decode(line).captureData.endpointInput
            values = _values(*payload_of(given.data, given.encoding, given.observedContentType))(wanted)
    except (Fault, msgspec.DecodeError, UnicodeDecodeError, IndexError, RecursionError):
        values = []
    return _segments(values, rows)


def label_segments(line: bytes, reading: Reading, rows: int) -> Sequence[str | None]:
    """The same of a label's line, into which the attribute is a path."""
    wanted = reading.segment_truth
    if wanted is None:
        raise RuntimeError("segments of a reading that asks for none of the labels")
    try:
        values = _found(_object(line), wanted)
    except Fault:
        values = []
    return _segments(values, rows)


def _segments(values: Sequence[Any], rows: int) -> Sequence[str | None]:
    if len(values) not in (1, rows):
        return [None] * rows
    found = [_segment(value) for value in values]
    return found if len(found) == rows else found * rows


def _segment(value: Any) -> str | None:
    text = label_text(value) if isinstance(value, (str, int, float)) else ""
    return text if 0 < len(text) <= SEGMENT_LENGTH else None


class _Truth(msgspec.Struct, gc=False):
    groundTruthData: msgspec.Raw


_truth_of = msgspec.json.Decoder(_Truth)


def ground_truth_of(line: bytes) -> bytes:
    """The ``groundTruthData`` of a label line, verbatim."""
    return bytes(_truth_of.decode(line).groundTruthData)


# --- ids ----------------------------------------------------------------------------------------------------------------


def hash_ids(texts: Iterable[str]) -> NDArray[np.uint64]:
    """Join ids as the halves of their 128-bit XXH3 hashes, shape (n, 2): the same on every machine and engine."""
    digests = b"".join(map(xxhash.xxh3_128_digest, map(str.encode, texts)))
    return np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2)
