"""What a line means: blocks of capture lines become predictions, blocks of label lines become labels.

Every engine reads lines through this module, so encodings, attributes, ids and reasons for rejection are said once.
`judge_capture`, `judge_batch` and `judge_label` say what one line means, plainly; `read_captures`, `read_batch` and
`read_labels` say the same of a whole block, in columns, and hand every line that is not of the plain sort to the former.

A line is judged in this order: JSON, id, time, payload and attributes; it is rejected at the first fault, and only
then comes the window (rule I4). Whitespace is no line. The reasons are the keys of `REASONS`.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import xxhash

from airflow_mq_provider.monitor import BatchTransformInput, CsvFormat, ModelQualityMonitor, label_text, payload_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

LINE_LIMIT = 16 * 1024 * 1024
"""Longer lines are rejected unread (rule I4)."""

REASONS = {
    "line_too_long": "the line is longer than 16 MiB and was not read",
    "corrupt_gzip": "the gzip stream is damaged or ends early; the lines before the damage count",
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


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected line: its number within the object (from 1), the reason, what was seen, and its bytes."""

    line: int
    reason: str
    seen: str
    text: bytes


# --- attributes ---------------------------------------------------------------------------------------------------------

_INDEX = re.compile(r"(?:_c)?(\d+)\Z")
_PLAIN_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[\d+\])*\Z")
_STEP = re.compile(r"([A-Za-z_]\w*)|\[(\d+)\]")
_ABSENT = object()


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
    if not _PLAIN_PATH.match(path):
        import jmespath

        return Attribute(text, None, jmespath.compile(path).search)
    steps = tuple(int(number) if number else name for name, number in _STEP.findall(path))

    def find(payload: Any) -> Any:
        for step in steps:
            if type(step) is int:
                payload = payload[step] if isinstance(payload, list) and step < len(payload) else None
            else:
                payload = payload.get(step) if isinstance(payload, dict) else None
        return payload

    return Attribute(text, None, find)


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
    """None for an endpoint; "csv", "csv-header" or "json" for a batch transform."""


def reading(monitor: ModelQualityMonitor) -> Reading:
    """The reading of a monitor whose URIs need not be rendered yet."""
    source = monitor.input
    batch = None
    if isinstance(source, BatchTransformInput):
        batch = "json"
        if isinstance(source.dataset_format, CsvFormat):
            batch = "csv-header" if source.dataset_format.header else "csv"
    binary = monitor.problem_type == "BinaryClassification"

    def compiled(text: str | None) -> Attribute | None:
        return attribute(text, columns_only=batch not in (None, "json")) if text else None

    return Reading(
        problem_type=monitor.problem_type,
        inference=compiled(source.inference_attribute),
        probability=compiled(source.probability_attribute) if binary else None,
        ground_truth=attribute(monitor.ground_truth_attribute) if monitor.ground_truth_attribute else None,
        threshold=monitor.threshold,
        positive_label=monitor.positive_label,
        negative_label=monitor.negative_label,
        batch=batch,
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
    """What a captured line says: its join id, its time, and one or more rows."""

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


_any = msgspec.json.Decoder()


def _object(line: bytes) -> dict[str, Any]:
    try:
        line.decode()
        found = _any.decode(line)
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise Fault("invalid_json", str(error)) from error
    if not isinstance(found, dict):
        raise Fault("invalid_json", f"a JSON {type(found).__name__}, no object")
    return found


def _part(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _id(*candidates: Any) -> str:
    for candidate in candidates:
        if isinstance(candidate, str) and candidate:
            return candidate
    raise Fault("missing_id")


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)\Z")


def _time(text: Any) -> datetime:
    if text is None or text == "":
        raise Fault("missing_time")
    if not isinstance(text, str) or not _TIME.match(text):
        raise Fault("bad_time", repr(text)[:80])
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Fault("bad_time", repr(text)[:80]) from error


def _payload(data: Any, encoding: Any, content_type: Any) -> tuple[str, str]:
    """The payload's text and whether it is "CSV" or "JSON"."""
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
    try:
        return _any.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise Fault("bad_payload", str(error)) from error


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
    except Exception as error:  # jmespath raises its own kinds for a function applied to the wrong type
        raise Fault("missing_attribute", f"{wanted.text!r}: {error}") from error
    if value is None:
        seen = sorted(payload)[:20] if isinstance(payload, dict) else type(payload).__name__
        raise Fault("missing_attribute", f"nothing at {wanted.text!r}; the payload has {seen}")
    return value if isinstance(value, list) else [value]


def _number(value: Any) -> float | None:
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
    number = _number(value)
    if number is None or not 0 <= number <= 1:
        raise Fault("bad_probability", repr(value)[:80])
    return number


def target_of(value: Any, reading: Reading) -> Any:
    """A predicted or an actual value: 0 or 1, a class text, or a number."""
    if reading.problem_type == "Regression":
        number = _number(value)
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


def _prediction(
    id: str,
    time: datetime,
    text: str,
    kind: str,
    reading: Reading,
    values: Callable[[Attribute], list[Any]],
) -> Prediction:
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
    return Prediction(id, time, predicted, probability, text, kind)


def judge_capture(line: bytes, reading: Reading) -> Prediction:
    """What one line of an endpoint's capture file says, or `Fault`. The window is the caller's business."""
    record = _object(line)
    meta = record.get("eventMetadata")
    id = _id(_part(meta, "inferenceId"), _part(meta, "eventId"))
    time = _time(_part(meta, "inferenceTime"))
    output = _part(record, "captureData", "endpointOutput")
    text, kind = _payload(_part(output, "data"), _part(output, "encoding"), _part(output, "observedContentType"))
    return _prediction(id, time, text, kind, reading, _values(text, kind))


def _values(text: str, kind: str) -> Callable[[Attribute], list[Any]]:
    if kind == "CSV":
        rows = _csv_rows(text)
        return lambda wanted: _column(rows, wanted)
    payload = _json_payload(text)
    return lambda wanted: _found(payload, wanted)


def judge_batch(line: bytes, reading: Reading, header: Sequence[str] | None = None) -> Prediction:
    """What one line of a batch transform's output says (rule M3), or `Fault`.

    CSV: the last two columns are id and time; `header` names the columns of a file that has one. JSON:
    ``SageMakerInferenceId`` and ``SageMakerInferenceTime``; the prediction is ``SageMakerOutput`` where that is there.
    """
    if reading.batch == "json":
        record = _object(line)
        id = _id(record.pop("SageMakerInferenceId", None))
        time = _time(record.pop("SageMakerInferenceTime", None))
        payload = record.get("SageMakerOutput", record)

        def values(wanted: Attribute) -> list[Any]:
            # With join_source=Input the attributes may be told from the output or from the whole joined record.
            inner = wanted.find(payload) if payload is not record else None
            return _found(record if inner is None else payload, wanted)

        return _prediction(id, time, msgspec.json.encode(record).decode(), "JSON", reading, values)
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise Fault("bad_payload", str(error)) from error
    rows = _csv_rows(text)
    row = rows[0] if rows else []
    if len(row) < 3:
        raise Fault("missing_id", f"{len(row)} columns, at least 3 are needed: prediction, id, time")
    id, time = _id(row[-2].strip()), _time(row[-1].strip())
    names = [name.strip() for name in header] if header is not None else None
    body = row[:-2]

    def column(wanted: Attribute) -> list[Any]:
        number = wanted.index
        if names is not None and wanted.text in names:
            number = names.index(wanted.text)
        if number is None or number >= len(body):
            raise Fault("missing_attribute", f"no column {wanted.text!r} in {len(body)} columns")
        return [body[number]]

    return _prediction(id, time, text.rstrip("\r\n").rsplit(",", 2)[0], "CSV", reading, column)


def judge_label(line: bytes, reading: Reading) -> Label:
    """What one line of a ground-truth file says, or `Fault`.

    CSV: one column, one label a row. JSON: what ``ground_truth_attribute`` finds; without it a value, a list, an
    object with ``label`` (or with one entry only), or ``{"instances": [...]}`` of those.
    """
    record = _object(line)
    id = _id(_part(record, "eventMetadata", "eventId"))
    truth = record.get("groundTruthData")
    text, kind = _payload(_part(truth, "data"), _part(truth, "encoding"), _part(truth, "observedContentType"))
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
    return [_label(one) for one in payload] if isinstance(payload, list) else [_label(payload)]


def _label(payload: Any) -> Any:
    if isinstance(payload, dict):
        if "label" in payload:
            return payload["label"]
        if len(payload) == 1:
            return next(iter(payload.values()))
        raise Fault("missing_attribute", f"no 'label' in {sorted(payload)[:20]}; name it as ground_truth_attribute")
    return payload


# --- ids ----------------------------------------------------------------------------------------------------------------


def hash_ids(texts: Iterable[str]) -> NDArray[np.uint64]:
    """Join ids as the halves of their 128-bit XXH3 hashes, shape (n, 2): the same on every machine and engine."""
    digests = b"".join(map(xxhash.xxh3_128_digest, map(str.encode, texts)))
    return np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2)


# --- blocks, in columns -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Predictions:
    """The captured lines of one block. The columns have one entry for each used line or, where said, each row."""

    lines: int
    outside_window: int
    rejected: tuple[Rejection, ...]
    numbers: NDArray[np.int64]
    """Line number within the object, from 1."""
    ids: NDArray[np.uint64]
    rows: NDArray[np.int64] | None
    """Rows of each line; None where every line has one."""
    predicted: NDArray[Any]
    """A row each: int32 class numbers, or float64."""
    probability: NDArray[np.float64] | None
    """A row each; None where the reading has no probability."""
    spans: NDArray[np.int64]
    """Where the line's bytes start and end within the block, without its newline."""
    id_texts: list[str]
    times: NDArray[np.int64]
    """Seconds since 1970, rounded down."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The label lines of one block. Columns as in `Predictions`."""

    lines: int
    rejected: tuple[Rejection, ...]
    ids: NDArray[np.uint64]
    rows: NDArray[np.int64] | None
    actual: NDArray[Any]
    truth: NDArray[np.int32]
    """Of each line, which of `truths` it carries."""
    truths: list[bytes]
    """The different ``groundTruthData`` values of the block, verbatim."""


class _Meta(msgspec.Struct, gc=False):
    eventId: str
    inferenceTime: str
    inferenceId: str | None = None


class _Output(msgspec.Struct, gc=False):
    data: str
    encoding: str
    observedContentType: str | None = None


class _CaptureData(msgspec.Struct, gc=False):
    endpointOutput: _Output


class _Capture(msgspec.Struct, gc=False):
    captureData: _CaptureData
    eventMetadata: _Meta


class _LabelMeta(msgspec.Struct, gc=False):
    eventId: str


class _LabelLine(msgspec.Struct, gc=False):
    groundTruthData: msgspec.Raw
    eventMetadata: _LabelMeta


class _Truth(msgspec.Struct, gc=False):
    groundTruthData: msgspec.Raw


_captures = msgspec.json.Decoder(_Capture)
_label_lines = msgspec.json.Decoder(_LabelLine)
_truth_of = msgspec.json.Decoder(_Truth)
_output = msgspec.json.Decoder(_Output)
_NO_OUTPUT = _Output("", "")


def line_spans(block: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and end of each line that is not blank, without surrounding whitespace, shape (n, 2); and its number, from 1."""
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == 10)
    if len(block) and (not len(ends) or ends[-1] != len(block) - 1):
        ends = np.append(ends, len(block))
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1] + 1
    spans = np.stack([starts, ends], axis=1).astype(np.int64, copy=False)
    numbers = np.arange(1, len(spans) + 1, dtype=np.int64)
    blank = starts == ends
    filled = np.where(blank, 0, starts)
    odd = blank | (data[filled] <= 32) | (data[np.where(blank, 0, ends - 1)] <= 32) if len(block) else blank
    if odd.any():
        for at in np.flatnonzero(odd):
            start, end = spans[at].tolist()
            line = block[start:end]
            start += len(line) - len(line.lstrip())
            spans[at] = start, start + len(line.strip())
        filled = spans[:, 0] < spans[:, 1]
        spans, numbers = spans[filled], numbers[filled]
    return spans, numbers


def _decode(block: bytes, spans: NDArray[np.int64], decoder: msgspec.json.Decoder[Any]) -> list[Any]:
    """The structs of a block's lines, None for a line that is not of the plain sort.

    One call decodes the block where that is safe: decoded as a block, an object may span lines and a line may hold two.
    Neither can be where each line starts with a brace and ends with one, and there are as many objects as lines.
    """
    data = np.frombuffer(block, np.uint8)
    text = block.isascii() or _is_utf8(block)
    if text and (data[spans[:, 0]] == 123).all() and (data[spans[:, 1] - 1] == 125).all():
        try:
            found = decoder.decode_lines(block)
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = []
        if len(found) == len(spans):
            return found
    one = decoder.decode
    structs: list[Any] = []
    for start, end in spans.tolist():
        line = block[start:end]
        try:
            structs.append(one(line) if text or _is_utf8(line) else None)
        except (msgspec.DecodeError, UnicodeDecodeError):
            structs.append(None)
    return structs


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


_MONTHS = np.arange("1970-01", "2200-02", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int64)
"""Days since 1970 at which each month begins, up to the end of 2199."""
_SIGNS = np.array([4, 7, 10, 13, 16, 19])
_DIGITS = np.array([0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18])
# From the fourteen digits to year, month, day, hour, minute and second.
_PLACES = np.zeros((14, 6))
_PLACES[:4, 0] = 1000, 100, 10, 1
for _part_number in range(5):
    _PLACES[4 + 2 * _part_number : 6 + 2 * _part_number, _part_number + 1] = 10, 1
_LOWEST = np.array([1970, 1, 1, 0, 0, 0])
_HIGHEST = np.array([2199, 12, 31, 23, 59, 59])
_UNITS = np.array([0, 0, 86400, 3600, 60, 1])


def _seconds(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Seconds since 1970 of ``YYYY-MM-DDTHH:MM:SSZ`` texts, and which of the texts are of that form."""
    joined = "".join(texts)
    if len(joined) != 20 * len(texts) or not joined.isascii() or set(map(len, texts)) - {20}:
        return _mixed_seconds(texts)
    signs = np.frombuffer(joined.encode(), np.uint8).reshape(-1, 20)
    digits = signs[:, _DIGITS] - np.uint8(48)  # what lies below "0" wraps round to far above 9
    parts = (digits @ _PLACES).astype(np.int64)
    plain = (signs[:, _SIGNS] == np.frombuffer(b"--T::Z", np.uint8)).all(axis=1)
    plain &= (digits <= 9).all(axis=1) & ((parts >= _LOWEST) & (parts <= _HIGHEST)).all(axis=1)
    month = np.where(plain, (parts[:, 0] - 1970) * 12 + parts[:, 1] - 1, 0)
    plain &= parts[:, 2] <= _MONTHS[month + 1] - _MONTHS[month]
    return (_MONTHS[month] - 1) * 86400 + parts @ _UNITS, plain


def _mixed_seconds(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    plain = np.array([len(text) == 20 and text.isascii() for text in texts], np.bool_)
    seconds = np.zeros(len(texts), np.int64)
    chosen = [text for text, good in zip(texts, plain.tolist(), strict=True) if good]
    if chosen:
        seconds[plain], plain[plain] = _seconds(chosen)
    return seconds, plain


def _texts(outputs: Sequence[_Output]) -> tuple[list[str | None], list[str]]:
    """Payload texts (None where they are not plain) and their kinds."""
    texts: list[str | None] = [output.data for output in outputs]
    kinds = [output.encoding for output in outputs]
    if "BASE64" in kinds:
        for at, kind in enumerate(kinds):
            if kind == "BASE64":
                try:
                    texts[at], kinds[at] = _payload(texts[at], kind, outputs[at].observedContentType)
                except Fault:
                    texts[at] = None
    return texts, kinds


_NOT_PLAIN_CSV = re.compile(r'["\r\n\x00]')


def _csv_column(texts: list[str], number: int) -> list[str | None]:
    """The fields of one column, None where a text is not one plain row that has it."""
    joined = ",".join(texts)
    if _NOT_PLAIN_CSV.search(joined):
        texts = [text.strip("\r\n") for text in texts]
        if _NOT_PLAIN_CSV.search("".join(texts)):
            return [None if _NOT_PLAIN_CSV.search(text) else _field(text, number) for text in texts]
        joined = ",".join(texts)
    if number == 0 and joined.count(",") == len(texts) - 1:
        return texts  # type: ignore[return-value]
    return [_field(text, number) for text in texts]


def _field(text: str, number: int) -> str | None:
    fields = text.split(",", number + 1)
    return fields[number] if number < len(fields) else None


def _json_columns(texts: list[str], finds: Sequence[Callable[[Any], Any]]) -> list[list[Any]]:
    """A column for each finder; None where the text is no JSON or holds nothing or several there."""
    columns: list[list[Any]] = [[] for _ in finds]
    decode = _any.decode
    for text in texts:
        try:
            payload = decode(text)
            found = [find(payload) for find in finds]
        except Exception:  # noqa: BLE001 - whatever is odd is judged again by itself, where its reason is named
            found = [None] * len(finds)
        for column, value in zip(columns, found, strict=True):
            column.append(value if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None)
    return columns


def _floats(values: Sequence[Any]) -> NDArray[np.float64]:
    """Numbers, NaN where a value is none."""
    if not values:
        return np.zeros(0)
    try:
        if "_" not in "".join(values if isinstance(values[0], str) else map(str, values)):
            return np.fromiter(map(float, values), np.float64, len(values))
    except (TypeError, ValueError, OverflowError):
        # One of them is no number: which one is found below.
        pass
    found = (_number(value) for value in values)
    return np.array([np.nan if number is None else number for number in found], np.float64)


def _targets(values: list[Any], reading: Reading, classes: Classes) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Predicted or actual values as numbers, and which of them are plain."""
    if reading.problem_type == "Regression":
        numbers = _floats(values)
        return numbers, np.isfinite(numbers)
    texts = [value if type(value) is str else "" if value is None else label_text(value) for value in values]
    codes = classes.numbers(texts)
    return codes, codes >= 0


def _columns(
    texts: list[str | None], kinds: list[str], wanted: Sequence[Attribute]
) -> tuple[list[list[Any]], NDArray[np.bool_]]:
    """The value of each wanted attribute in each payload, and which payloads are plain."""
    count = len(texts)
    columns: list[list[Any]] = [[None] * count for _ in wanted]
    for kind in {"CSV", "JSON"}.intersection(kinds):
        places = [at for at in range(count) if kinds[at] == kind and texts[at] is not None]
        chosen = [text for at in places if (text := texts[at]) is not None]
        if kind == "JSON":
            found = _json_columns(chosen, [one.find for one in wanted])
        else:
            found = [
                _csv_column(chosen, one.index) if one.index is not None else [None] * len(chosen) for one in wanted
            ]
        if len(places) == count:
            columns = found
        else:
            for column, part in zip(columns, found, strict=True):
                for at, value in zip(places, part, strict=True):
                    column[at] = value
    plain = np.ones(count, np.bool_)
    for column in columns:
        if None in column:
            plain &= np.array([value is not None for value in column], np.bool_)
    return columns, plain


def read_captures(
    block: bytes, reading: Reading, window: tuple[int, int], classes: Classes, *, first_line: int = 1
) -> Predictions:
    """The captured lines of a block that holds whole lines.

    `window` is half open, in seconds since 1970. Lines keep their order; `first_line` is the number of the block's first.
    """
    spans, numbers = line_spans(block)
    structs = _decode(block, spans, _captures) if len(spans) else []
    at, kept = _plain(structs)
    metas = [struct.eventMetadata for struct in kept]
    ids = [meta.inferenceId or meta.eventId for meta in metas]
    seconds, plain = _seconds([meta.inferenceTime for meta in metas])
    texts, kinds = _texts([struct.captureData.endpointOutput for struct in kept])
    wanted = [one for one in (reading.inference, reading.probability) if one is not None]
    columns, there = _columns(texts, kinds, wanted)
    plain &= there
    if "" in ids:
        plain &= np.array([id != "" for id in ids], np.bool_)
    probability: NDArray[np.float64] | None = None
    predicted = _no_targets(reading)
    if reading.probability is not None:
        probability = _floats(columns[-1])
        plain &= (probability >= 0) & (probability <= 1)
        predicted = (probability > reading.threshold).astype(np.int32)
    if reading.inference is not None:
        predicted, good = _targets(columns[0], reading, classes)
        plain &= good
    return _predictions(
        block, spans, numbers + (first_line - 1), at, ids, seconds, plain, predicted, probability,
        lambda line: judge_capture(line, reading), reading, window, classes,
    )  # fmt: skip


def read_batch(
    block: bytes,
    reading: Reading,
    window: tuple[int, int],
    classes: Classes,
    *,
    first_line: int = 1,
    header: Sequence[str] | None = None,
) -> Predictions:
    """The lines of a batch transform's output, line by line; otherwise as `read_captures`."""
    spans, numbers = line_spans(block)
    nothing = np.zeros(0, np.int64)
    return _predictions(
        block, spans, numbers + (first_line - 1), nothing, [], nothing, np.zeros(0, np.bool_), _no_targets(reading),
        np.zeros(0) if reading.probability else None,
        lambda line: judge_batch(line, reading, header), reading, window, classes,
    )  # fmt: skip


def _others(count: int, plain: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places that are not among the plain ones."""
    rest = np.ones(count, np.bool_)
    rest[plain] = False
    return np.flatnonzero(rest)


def _no_targets(reading: Reading) -> NDArray[Any]:
    return np.zeros(0, np.float64 if reading.problem_type == "Regression" else np.int32)


def _plain(structs: list[Any]) -> tuple[NDArray[np.int64], list[Any]]:
    if None not in structs:
        return np.arange(len(structs), dtype=np.int64), structs
    at = [number for number, struct in enumerate(structs) if struct is not None]
    return np.array(at, np.int64), [structs[number] for number in at]


def _predictions(
    block: bytes,
    spans: NDArray[np.int64],
    numbers: NDArray[np.int64],
    at: NDArray[np.int64],
    ids: list[str],
    seconds: NDArray[np.int64],
    plain: NDArray[np.bool_],
    predicted: NDArray[Any],
    probability: NDArray[np.float64] | None,
    judge: Callable[[bytes], Prediction],
    reading: Reading,
    window: tuple[int, int],
    classes: Classes,
) -> Predictions:
    """Put the plain lines (`at`, where `plain`) and the others, judged one by one, together in the order of the lines."""
    inside = plain & (seconds >= window[0]) & (seconds < window[1])
    outside = int(plain.sum() - inside.sum())
    if inside.all() and len(at) == len(spans):
        return Predictions(
            len(spans), outside, (), numbers, hash_ids(ids), None, predicted, probability, spans, ids, seconds
        )
    keep = np.flatnonzero(inside)
    others = _others(len(spans), at[plain])
    rejected: list[Rejection] = []
    judged: list[tuple[int, Prediction]] = []
    start, end = datetime.fromtimestamp(window[0], UTC), datetime.fromtimestamp(window[1], UTC)
    for other in others.tolist():
        line = block[spans[other, 0] : spans[other, 1]]
        try:
            prediction = judge(line)
        except Fault as fault:
            rejected.append(Rejection(int(numbers[other]), fault.reason, fault.seen, line))
            continue
        if start <= prediction.time < end:
            judged.append((other, prediction))
        else:
            outside += 1
    lines = np.concatenate([at[keep], np.array([other for other, _ in judged], np.int64)])
    order = np.argsort(lines, kind="stable")
    id_texts = [ids[one] for one in keep.tolist()] + [one.id for _, one in judged]
    rows = np.concatenate([np.ones(len(keep), np.int64), np.array([len(one.predicted) for _, one in judged], np.int64)])
    added = _coded(chain.from_iterable(one.predicted for _, one in judged), reading, classes)
    return Predictions(
        lines=len(spans),
        outside_window=outside,
        rejected=tuple(rejected),
        numbers=numbers[lines[order]],
        ids=hash_ids(id_texts)[order],
        rows=rows[order] if (rows != 1).any() else None,
        predicted=_ordered(np.concatenate([predicted[keep], added]), rows, order),
        probability=None
        if probability is None
        else _ordered(
            np.concatenate([probability[keep], np.array([p for _, one in judged for p in one.probability or ()])]),
            rows,
            order,
        ),
        spans=spans[lines[order]],
        id_texts=[id_texts[one] for one in order.tolist()],
        times=np.concatenate([seconds[keep], np.array([int(one.time.timestamp()) for _, one in judged], np.int64)])[
            order
        ],
    )


def _coded(values: Iterable[Any], reading: Reading, classes: Classes) -> NDArray[Any]:
    """Judged values as a column: class texts become numbers; 0 and 1 and floats stay."""
    if reading.problem_type == "MulticlassClassification":
        return np.array([classes.number(value) for value in values], np.int32)
    return np.array(list(values), np.float64 if reading.problem_type == "Regression" else np.int32)


def _ordered(values: NDArray[Any], rows: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[Any]:
    """Rows put in the order of their records."""
    return values[row_places(rows, order)] if (rows != 1).any() else values[order]


def row_places(rows: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the rows of the records `order` stand, given how many rows each record has."""
    starts = np.cumsum(rows) - rows
    counts = rows[order]
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts[order] - (ends - counts), counts) + np.arange(total, dtype=np.int64)


def read_labels(block: bytes, reading: Reading, classes: Classes, *, first_line: int = 1) -> Labels:
    """The label lines of a block that holds whole lines, in their order."""
    spans, numbers = line_spans(block)
    structs = _decode(block, spans, _label_lines) if len(spans) else []
    at, kept = _plain(structs)
    ids = [struct.eventMetadata.eventId for struct in kept]
    # Few labels differ in most problems: each different one is read once.
    seen: dict[bytes, int] = {}
    truth = np.array([seen.setdefault(bytes(struct.groundTruthData), len(seen)) for struct in kept], np.int32)
    values, known = _truths(list(seen), reading, classes)
    plain = known[truth]
    if "" in ids:
        plain &= np.array([id != "" for id in ids], np.bool_)
    if plain.all() and len(at) == len(spans):
        return Labels(len(spans), (), hash_ids(ids), None, values[truth], truth, list(seen))
    keep = np.flatnonzero(plain)
    rejected: list[Rejection] = []
    judged: list[tuple[int, Label]] = []
    judged_truth: list[int] = []
    for other in _others(len(spans), at[plain]).tolist():
        line = block[spans[other, 0] : spans[other, 1]]
        try:
            judged.append((other, judge_label(line, reading)))
        except Fault as fault:
            rejected.append(Rejection(int(numbers[other]) + first_line - 1, fault.reason, fault.seen, line))
        else:
            judged_truth.append(seen.setdefault(ground_truth_of(line), len(seen)))
    lines = np.concatenate([at[keep], np.array([other for other, _ in judged], np.int64)])
    order = np.argsort(lines, kind="stable")
    rows = np.concatenate([np.ones(len(keep), np.int64), np.array([len(one.actual) for _, one in judged], np.int64)])
    added = _coded(chain.from_iterable(one.actual for _, one in judged), reading, classes)
    return Labels(
        lines=len(spans),
        rejected=tuple(rejected),
        ids=hash_ids([ids[one] for one in keep.tolist()] + [one.id for _, one in judged])[order],
        rows=rows[order] if (rows != 1).any() else None,
        actual=_ordered(np.concatenate([values[truth[keep]], added]), rows, order),
        truth=np.concatenate([truth[keep], np.array(judged_truth, np.int32)])[order],
        truths=list(seen),
    )


def ground_truth_of(line: bytes) -> bytes:
    """The ``groundTruthData`` of a label line, verbatim."""
    return bytes(_truth_of.decode(line).groundTruthData)


def _truths(truths: list[bytes], reading: Reading, classes: Classes) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The actual value of each ``groundTruthData``, and which of them are plain: one row, nothing odd."""
    outputs = []
    known = np.ones(len(truths), np.bool_)
    for at, truth in enumerate(truths):
        try:
            outputs.append(_output.decode(truth))
        except msgspec.DecodeError:
            outputs.append(_NO_OUTPUT)
            known[at] = False
    texts, kinds = _texts(outputs)
    find = reading.ground_truth.find if reading.ground_truth else _plain_label
    (found,), there = _columns(texts, kinds, [Attribute("", 0, find)])
    if "CSV" in kinds:
        # A CSV label is the only column: what has a second one is judged by itself.
        pairs = zip(texts, kinds, strict=True)
        known &= np.array([kind != "CSV" or "," not in (text or "") for text, kind in pairs], np.bool_)
    values, good = _targets(found, reading, classes)
    return values, known & there & good


def _plain_label(payload: Any) -> Any:
    if isinstance(payload, dict) and "instances" not in payload and ("label" in payload or len(payload) == 1):
        return _label(payload)
    return payload


# --- bytes to blocks --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of an object: their bytes and the number of the first."""

    data: bytes
    first_line: int


def blocks(chunks: Iterable[bytes], *, limit: int = LINE_LIMIT) -> Iterator[Block | Rejection]:
    """Cut an object's bytes into blocks of whole lines; gzip is known by its first bytes and inflated in pieces.

    A line over `limit` bytes and a damaged gzip stream come as a `Rejection` each; the memory used is bounded by
    the limit and the size of the chunks.
    """
    held: list[bytes] = []
    size = 0
    line = 1
    skipping = False
    body = b""
    try:
        for chunk in _inflated(chunks):
            line += body.count(b"\n")  # not before it is needed: most objects are one block
            body = b""
            cut = chunk.rfind(b"\n") + 1
            if not cut:
                held.append(chunk)
                size += len(chunk)
                if size > limit:
                    held, size, skipping = [], 0, True
                continue
            head = chunk.find(b"\n") + 1
            if skipping or size + head - 1 > limit:
                yield Rejection(line, "line_too_long", f"over {limit} bytes", b"")
                line += 1
                skipping, held = False, []
                body = chunk[head:cut]
            else:
                body = b"".join([*held, chunk[:cut]]) if held else chunk[:cut]
            yield from _within(body, line, limit)
            held = [chunk[cut:]] if cut < len(chunk) else []
            size = len(chunk) - cut
        line += body.count(b"\n") if held or skipping else 0
    except _DamagedGzipError as error:
        # The cut-off line is part of the damage: one rejection stands for both.
        yield Rejection(line + body.count(b"\n"), "corrupt_gzip", str(error), b"")
        return
    rest = b"".join(held)
    if skipping or len(rest) > limit:
        yield Rejection(line, "line_too_long", f"over {limit} bytes", b"")
    elif rest:
        yield Block(rest, line)


def _within(body: bytes, first_line: int, limit: int) -> Iterator[Block | Rejection]:
    """Lines of a chunk; a chunk may itself be larger than the limit."""
    if len(body) <= limit:
        if body:
            yield Block(body, first_line)
        return
    kept: list[bytes] = []
    start = first_line
    for number, line in enumerate((line + b"\n" for line in body.split(b"\n")[:-1]), first_line):
        if len(line) - 1 > limit:
            if kept:
                yield Block(b"".join(kept), start)
            yield Rejection(number, "line_too_long", f"over {limit} bytes", b"")
            kept, start = [], number + 1
        else:
            kept.append(line)
    if kept:
        yield Block(b"".join(kept), start)


class _DamagedGzipError(Exception):
    pass


_PIECE = 4 * 1024 * 1024


def _inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks as they are or, of a gzip object, inflated in pieces of at most 4 MiB, member after member."""
    source = iter(chunks)
    first = b""
    for chunk in source:
        first += chunk
        if len(first) >= 2:
            break
    if first[:2] != b"\x1f\x8b":
        if first:
            yield first
        yield from source
        return
    inflater = zlib.decompressobj(31)
    for chunk in chain([first], source):
        data, more = chunk, True
        while data or more:
            if inflater.eof:
                data = data.lstrip(b"\0")  # padding after a member is allowed
                if not data:
                    break
                inflater = zlib.decompressobj(31)
            try:
                piece = inflater.decompress(data, _PIECE)
            except zlib.error as error:
                raise _DamagedGzipError(str(error)) from error
            if piece:
                yield piece
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            more = len(piece) == _PIECE
    if not inflater.eof:
        raise _DamagedGzipError("the stream ends before its end mark")
