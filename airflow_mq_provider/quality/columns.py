"""What many lines mean, in columns: the same as `records` says of each, as fast as Python can say it.

Lines of the plain sort (one row, one value where the attribute points, a UTC time in whole seconds) are read together.
Every other line is handed to the functions of `records`, one by one: they alone know reasons and rare forms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
import numpy as np

from airflow_mq_provider.monitor import label_text
from airflow_mq_provider.quality.lines import Lines, Rejection
from airflow_mq_provider.quality.records import (
    Attribute,
    Classes,
    Fault,
    Prediction,
    Reading,
    capture_segments,
    ground_truth_of,
    hash_ids,
    judge_batch,
    judge_capture,
    judge_label,
    judge_rows,
    label_in,
    label_segments,
    number_of,
    payload_of,
    time_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

_EPOCH, _SECOND = datetime.fromtimestamp(0, UTC), timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Predictions:
    """What captured lines say. The columns have one entry for each used line or, where said, each row."""

    lines: int
    outside_window: int
    rejected: tuple[Rejection, ...]
    at: NDArray[np.int64]
    """Which of the lines it is."""
    ids: NDArray[np.uint64]
    """The halves of the id's hash, shape (n, 2)."""
    rows: NDArray[np.int64] | None
    """Rows of each line; None where every line has one."""
    predicted: NDArray[Any]
    """A row each: int32 class numbers, or float64."""
    probability: NDArray[np.float64] | None
    """A row each; None where the reading has no probability."""
    texts: list[str]
    """Ids, those of other lines among them."""
    text: NDArray[np.int64]
    """Which of `texts` is its id."""
    times: NDArray[np.int64]
    """Seconds since 1970, rounded down."""
    segment: Sequence[str | None] | None = None
    """A row each; None where the reading asks for none of the captured input."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What label lines say. Columns as in `Predictions`."""

    lines: int
    rejected: tuple[Rejection, ...]
    at: NDArray[np.int64]
    ids: NDArray[np.uint64]
    rows: NDArray[np.int64] | None
    actual: NDArray[Any]
    truth: NDArray[np.int32]
    """Of each line, which of `truths` it carries."""
    truths: list[bytes]
    """The different ``groundTruthData`` values, verbatim."""
    segment: Sequence[str | None] | None = None
    """A row each; None where the reading asks for none of the labels."""


# What is read of a plain line. A field of another type makes the line one that is judged by itself.
_Encoding = Literal["CSV", "JSON", "BASE64"]


class _Meta(msgspec.Struct, gc=False):
    eventId: str
    inferenceTime: str
    inferenceId: str | None = None


class _Output(msgspec.Struct, gc=False):
    data: str
    encoding: _Encoding


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


class _Content(msgspec.Struct, gc=False):
    observedContentType: str | None = None


class _CaptureContent(msgspec.Struct, gc=False):
    endpointOutput: _Content


class _ContentLine(msgspec.Struct, gc=False):
    captureData: _CaptureContent


_captures = msgspec.json.Decoder(_Capture)
_label_lines = msgspec.json.Decoder(_LabelLine)
_content_line = msgspec.json.Decoder(_ContentLine)
_content = msgspec.json.Decoder(_Content)
_output = msgspec.json.Decoder(_Output)
_numbers = msgspec.json.Decoder(list[float])
_any = msgspec.json.Decoder()
_NO_OUTPUT = _Output("", "CSV")


# --- captures and labels ----------------------------------------------------------------------------------------------


def read_captures(lines: Lines, reading: Reading, window: tuple[int, int] | None, classes: Classes) -> Predictions:
    """The captured lines of an endpoint, in their order. `window` is half open, in seconds since 1970; None: any time."""
    ids: list[str] = []
    times: list[str] = []
    texts: list[str | None] = []
    kinds: list[str] = []

    def take(structs: list[_Capture]) -> None:
        for struct in structs:
            meta, output = struct.eventMetadata, struct.captureData.endpointOutput
            ids.append(meta.inferenceId or meta.eventId)
            times.append(meta.inferenceTime)
            texts.append(output.data)
            kinds.append(output.encoding)

    at = _decode(lines, _captures, take)
    seconds, plain = _seconds(times)
    _unpack(
        texts,
        kinds,
        lambda place: _content_line.decode(lines[int(at[place])]).captureData.endpointOutput.observedContentType,
    )
    wanted = [one for one in (reading.inference, reading.probability) if one is not None]
    columns, there = _columns(texts, kinds, wanted)
    plain &= there
    probability: NDArray[np.float64] | None = None
    predicted = _no_targets(reading)
    if reading.probability is not None:
        probability = _floats(columns[-1])
        plain &= (probability >= 0) & (probability <= 1)
        predicted = (probability > reading.threshold).astype(np.int32)
    if reading.inference is not None:
        predicted, good = _targets(columns[0], reading, classes)
        plain &= good
    plain &= _filled(ids)
    return _predictions(
        lines, at, ids, seconds, plain, predicted, probability,
        lambda one: judge_capture(lines[one], reading), reading, window, classes,
    )  # fmt: skip


def read_one_by_one(lines: Lines, reading: Reading, window: tuple[int, int] | None, classes: Classes) -> Predictions:
    """The lines of a batch transform's output, or of what a preprocessor works on; otherwise as `read_captures`."""

    def judge(one: int) -> Prediction:
        if reading.batch is None:
            return judge_capture(lines[one], reading)
        return judge_batch(lines[one], reading, lines.block(one).header)

    nothing = np.zeros(0, np.int64)
    return _predictions(
        lines, nothing, [], nothing, np.zeros(0, np.bool_), _no_targets(reading),
        np.zeros(0) if reading.probability else None, judge, reading, window, classes,
    )  # fmt: skip


def processed(
    lines: Lines, part: Predictions, rows_of: Callable[[int], Sequence[dict[str, Any]] | None],
    reading: Reading, classes: Classes,
) -> tuple[Predictions, int, list[Rejection]]:  # fmt: skip
    """What a preprocessor makes of records: the part with their rows, how many were dropped, and what is rejected.

    `rows_of` is given the place of a record in the part. None says that the preprocessor was not asked, since the record
    has no label: it counts as one row, whose values mean nothing.
    """
    kept: list[int] = []
    counts: list[int] = []
    segments: list[str | None] = []
    predicted: list[Any] = []
    probability: list[float] = []
    rejected: list[Rejection] = []
    dropped = 0
    for place, at in enumerate(part.at.tolist()):
        rows = rows_of(place)
        if rows is not None and not rows:
            dropped += 1
            continue
        values: tuple[list[Any], list[float] | None] = [_NOTHING[reading.problem_type]], [0.0]
        if rows is not None:
            try:
                values = judge_rows(rows, reading)
            except Fault as fault:
                rejected.append(lines.rejection(at, fault.reason, fault.seen))
                continue
        kept.append(place)
        counts.append(len(values[0]))
        if reading.segment_input is not None:
            segments += capture_segments(lines[at], reading, len(values[0]), lines.block(at).header)
        predicted += values[0]
        probability += values[1] or ()
    chosen = np.array(kept, np.int64)
    found = replace(
        part,
        at=part.at[chosen],
        ids=part.ids[chosen],
        rows=np.array(counts, np.int64),
        predicted=_coded(predicted, reading, classes),
        probability=np.array(probability, np.float64) if reading.probability else None,
        text=part.text[chosen],
        times=part.times[chosen],
        segment=segments if reading.segment_input is not None else None,
    )
    return found, dropped, rejected


_NOTHING = {"BinaryClassification": 0, "MulticlassClassification": "", "Regression": 0.0}


def read_labels(lines: Lines, reading: Reading, classes: Classes) -> Labels:
    """The label lines, in their order."""
    ids: list[str] = []
    # Few labels differ in most problems: each different one is read once.
    seen: dict[bytes, int] = {}
    numbers: list[int] = []

    def take(structs: list[_LabelLine]) -> None:
        for struct in structs:
            ids.append(struct.eventMetadata.eventId)
            numbers.append(seen.setdefault(bytes(struct.groundTruthData), len(seen)))

    at = _decode(lines, _label_lines, take)
    truth = np.array(numbers, np.int32)
    values, known = _truths(list(seen), reading, classes)
    plain = np.flatnonzero(known[truth] & _filled(ids))
    judged, rejected = _judge(lines, at[plain], lambda one: judge_label(lines[one], reading))
    judged_truth = [seen.setdefault(ground_truth_of(lines[one]), len(seen)) for one, _ in judged]
    order, rows = _placed(at[plain], judged, [len(label.actual) for _, label in judged])
    more = np.arange(len(ids), len(ids) + len(judged))
    places = np.concatenate([at[plain], np.array([one for one, _ in judged], np.int64)])[order]
    segment = None
    if reading.segment_truth is not None:
        counted = zip(places.tolist(), rows[order].tolist(), strict=True)
        segment = [one for place, count in counted for one in label_segments(lines[place], reading, count)]
    added = _coded(chain.from_iterable(label.actual for _, label in judged), reading, classes)
    return Labels(
        lines=len(lines) + len(lines.unread),
        rejected=rejected,
        at=places,
        ids=hash_ids(ids + [label.id for _, label in judged])[np.concatenate([plain, more])[order]],
        rows=_rows(rows, order),
        actual=_ordered(np.concatenate([values[truth[plain]], added]), rows, order),
        truth=np.concatenate([truth[plain], np.array(judged_truth, np.int32)])[order],
        truths=list(seen),
        segment=segment,
    )


def _predictions(
    lines: Lines,
    at: NDArray[np.int64],
    ids: list[str],
    seconds: NDArray[np.int64],
    plain: NDArray[np.bool_],
    predicted: NDArray[Any],
    probability: NDArray[np.float64] | None,
    judge: Callable[[int], Prediction],
    reading: Reading,
    window: tuple[int, int] | None,
    classes: Classes,
) -> Predictions:
    """Put the plain lines (`at`, where `plain`) and the others, judged one by one, together in the order of the lines."""
    judged, rejected = _judge(lines, at[plain], judge)
    inside, used = np.flatnonzero(plain), judged
    if window is not None:
        inside = inside[(seconds[inside] >= window[0]) & (seconds[inside] < window[1])]
        start, end = (datetime.fromtimestamp(second, UTC) for second in window)
        used = [(one, prediction) for one, prediction in judged if start <= prediction.time < end]
    order, rows = _placed(at[inside], used, [len(prediction.predicted) for _, prediction in used])
    added = _coded(chain.from_iterable(prediction.predicted for _, prediction in used), reading, classes)
    if probability is not None:
        more = np.array([p for _, prediction in used for p in prediction.probability or ()], np.float64)
        probability = _ordered(np.concatenate([probability[inside], more]), rows, order)
    times = np.array([(prediction.time - _EPOCH) // _SECOND for _, prediction in used], np.int64)
    texts = ids + [prediction.id for _, prediction in used]
    text = np.concatenate([inside, np.arange(len(ids), len(texts))])[order]
    places = np.concatenate([at[inside], np.array([one for one, _ in used], np.int64)])[order]
    segment = None
    if reading.segment_input is not None:
        counted = zip(places.tolist(), rows[order].tolist(), strict=True)
        segment = [
            one
            for place, count in counted
            for one in capture_segments(lines[place], reading, count, lines.block(place).header)
        ]
    return Predictions(
        lines=len(lines) + len(lines.unread),
        outside_window=int(np.count_nonzero(plain)) - len(inside) + len(judged) - len(used),
        rejected=rejected,
        at=places,
        ids=hash_ids(texts)[text],
        rows=_rows(rows, order),
        predicted=_ordered(np.concatenate([predicted[inside], added]), rows, order),
        probability=probability,
        texts=texts,
        text=text,
        times=np.concatenate([seconds[inside], times])[order],
        segment=segment,
    )


def _judge(
    lines: Lines, plain: NDArray[np.int64], judge: Callable[[int], T]
) -> tuple[list[tuple[int, T]], tuple[Rejection, ...]]:
    """Judge the lines that are not among the plain ones: what each says, and all that is rejected, in their order."""
    others = np.ones(len(lines), np.bool_)
    others[plain] = False
    judged: list[tuple[int, T]] = []
    rejected = list(lines.unread)
    for one in np.flatnonzero(others).tolist():
        try:
            judged.append((one, judge(one)))
        except Fault as fault:
            rejected.append((one, lines.rejection(one, fault.reason, fault.seen)))
    # what could not be read comes before the line that it stands before: it was there first
    return judged, tuple(rejection for _, rejection in sorted(rejected, key=lambda entry: entry[0]))


def _placed(
    plain: NDArray[np.int64], judged: Sequence[tuple[int, Any]], rows: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order that puts plain lines, followed by judged ones, in the order of the lines; and the rows of each before."""
    at = np.concatenate([plain, np.array([one for one, _ in judged], np.int64)])
    order = np.argsort(at, kind="stable") if judged else np.arange(len(at))
    return order, np.concatenate([np.ones(len(plain), np.int64), np.array(rows, np.int64)])


def _rows(rows: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64] | None:
    return rows[order] if (rows != 1).any() else None


def _ordered(values: NDArray[Any], rows: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[Any]:
    """Rows put in the order of their records."""
    return values[row_places(rows, order)] if (rows != 1).any() else values[order]


def numbers_in_records(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Of each row, its number within its record, given how many rows each record has."""
    ends = np.cumsum(rows)
    numbers = np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.int64)
    numbers -= np.repeat(ends - rows, rows)
    return numbers


def row_places(rows: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the rows of the records `order` stand, given how many rows each record has."""
    starts = np.cumsum(rows) - rows
    counts = rows[order]
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts[order] - (ends - counts), counts) + np.arange(total, dtype=np.int64)


def _coded(values: Iterable[Any], reading: Reading, classes: Classes) -> NDArray[Any]:
    """Judged values as a column: class texts become numbers; 0 and 1 and floats stay."""
    if reading.problem_type == "MulticlassClassification":
        return np.array([classes.number(value) for value in values], np.int32)
    return np.array(list(values), np.float64 if reading.problem_type == "Regression" else np.int32)


def _no_targets(reading: Reading) -> NDArray[Any]:
    return np.zeros(0, np.float64 if reading.problem_type == "Regression" else np.int32)


def _filled(texts: list[str]) -> NDArray[np.bool_]:
    """Which of the texts are not empty."""
    if "" not in texts:
        return np.ones(len(texts), np.bool_)
    return np.fromiter(map(bool, texts), np.bool_, len(texts))


# --- lines to structs -------------------------------------------------------------------------------------------------

_TOGETHER = (64, 8, 1)
"""Lines decoded by one call; where one of them is not plain, fewer at a time, and at last one by one."""


def _decode(lines: Lines, decoder: msgspec.json.Decoder[T], take: Callable[[list[T]], None]) -> NDArray[np.int64]:
    """Which lines are of the plain sort. Their structs are given to `take`, some at a time, while they are in the cache.

    Decoded together, an object may span lines and a line may hold two. Neither can be where each line starts with a
    brace and ends with one, and there are as many objects as lines.
    """
    count = len(lines)
    if not count:
        return np.zeros(0, np.int64)
    signs = np.frombuffer(lines.data, np.uint8)
    fine = (signs[lines.starts] == ord("{")) & (signs[lines.ends - 1] == ord("}"))
    fine[_broken_text(lines)] = False
    odd: list[int] = []
    _decode_between(0, count, _TOGETHER, lines, fine, decoder, take, odd)
    plain = np.arange(count, dtype=np.int64)
    return np.delete(plain, odd) if odd else plain


def _decode_between(
    first: int,
    last: int,
    sizes: tuple[int, ...],
    lines: Lines,
    fine: NDArray[np.bool_],
    decoder: msgspec.json.Decoder[T],
    take: Callable[[list[T]], None],
    odd: list[int],
) -> None:
    """Decode the lines from `first` to `last`, exclusive, as many at a time as the first of `sizes` says."""
    # no function within `_decode`: one that calls itself would keep its lines until cycles are collected
    firsts = np.arange(first, last, sizes[0])
    lasts = np.minimum(firsts + sizes[0], last)
    good = np.logical_and.reduceat(fine[:last], firsts).tolist()
    starts, ends = lines.starts[firsts].tolist(), lines.ends[lasts - 1].tolist()
    view = memoryview(lines.data)
    for one, after, start, end, whole in zip(firsts.tolist(), lasts.tolist(), starts, ends, good, strict=True):
        if whole:
            with suppress(msgspec.DecodeError, RecursionError):
                found = decoder.decode_lines(view[start:end])
                if len(found) == after - one:
                    take(found)
                    continue
        if sizes[1:]:
            _decode_between(one, after, sizes[1:], lines, fine, decoder, take, odd)
        else:
            odd.append(one)


def _broken_text(lines: Lines) -> list[int]:
    """The lines that are not UTF-8: the decoder would not notice it in what it skips."""
    if lines.data.isascii():
        return []
    high = np.flatnonzero(np.frombuffer(lines.data, np.uint8) >= 128)
    suspects = np.searchsorted(lines.starts, high, side="right") - 1
    suspects = suspects[np.append([True], suspects[1:] != suspects[:-1])]
    if len(suspects) > len(lines) // 8 and _is_utf8(lines.data):
        return []
    return [one for one in suspects.tolist() if one >= 0 and not _is_utf8(lines[one])]


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# --- times ------------------------------------------------------------------------------------------------------------

_TIME = np.dtype([("month", "<u8"), ("day", "<u4"), ("hour", "<u2"), ("rest", "S6")])
"""``YYYY-MM-``, ``DDTH``, ``H:``, ``MM:SSZ``: times of one hour are alike but for the rest."""
_NO_TIME = " " * 20


def _seconds(texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Seconds since 1970 of ``YYYY-MM-DDTHH:MM:SSZ`` texts, and which of the texts are of that form."""
    if set(map(len, texts)) != {20}:
        texts = [text if len(text) == 20 else _NO_TIME for text in texts]
    joined = "".join(texts)
    if not joined.isascii():
        joined = "".join([text if text.isascii() else _NO_TIME for text in texts])
    data = joined.encode()
    times = np.frombuffer(data, _TIME)
    month, day, hour = times["month"], times["day"], times["hour"]
    # Records come hour by hour, nearly: each run of one hour is looked at once.
    same = (month[1:] == month[:-1]) & (day[1:] == day[:-1]) & (hour[1:] == hour[:-1])
    firsts = np.flatnonzero(np.append([True], ~same))[: len(texts)]
    known: dict[bytes, int] = {}
    bases = []
    for first in firsts.tolist():
        prefix = data[20 * first : 20 * first + 14]
        base = known.get(prefix)
        if base is None:
            base = known[prefix] = _hour(prefix.decode())
        bases.append(base)
    base_of = np.repeat(np.array(bases, np.int64), np.diff(np.append(firsts, len(texts))))
    rest = np.frombuffer(data, np.uint8).reshape(-1, 20)[:, 14:].T.astype(np.int64)
    tens, ones, colon, more_tens, more_ones, zone = rest - 48
    plain = (base_of >= 0) & (colon == ord(":") - 48) & (zone == ord("Z") - 48)
    for sign, highest in ((tens, 5), (ones, 9), (more_tens, 5), (more_ones, 9)):
        plain &= (sign >= 0) & (sign <= highest)
    return base_of + tens * 600 + ones * 60 + more_tens * 10 + more_ones, plain


def _hour(prefix: str) -> int:
    """Seconds since 1970 at the start of the hour ``YYYY-MM-DDTHH:``, -1 where it is none."""
    try:
        return int(time_of(prefix + "00:00Z").timestamp())
    except Fault:
        return -1


# --- payloads ---------------------------------------------------------------------------------------------------------


def _unpack(texts: list[str | None], kinds: list[str], content_type: Callable[[int], str | None]) -> None:
    """Turn BASE64 payloads into what they hold, CSV or JSON; None those that are not plain. They alone have content types."""
    if kinds.count("CSV") == len(kinds) or "BASE64" not in kinds:
        return
    for at, kind in enumerate(kinds):
        if kind == "BASE64":
            try:
                texts[at], kinds[at] = payload_of(texts[at], kind, content_type(at))
            except (Fault, msgspec.DecodeError):
                texts[at], kinds[at] = None, "CSV"


def _csv_column(texts: list[str], number: int) -> list[str | None]:
    """The fields of one column, None where a text is not one plain row that has it."""
    joined = ",".join(texts)
    if not _is_plain_csv(joined):
        texts = [text.strip("\r\n") for text in texts]
        joined = ",".join(texts)
        if not _is_plain_csv(joined):
            return [_field(text, number) if _is_plain_csv(text) else None for text in texts]
    if number == 0 and joined.count(",") == len(texts) - 1:
        return texts  # type: ignore[return-value]
    return [_field(text, number) for text in texts]


def _is_plain_csv(text: str) -> bool:
    """Nothing quoted, no line break: commas separate fields."""
    return not ('"' in text or "\n" in text or "\r" in text or "\0" in text)


def _field(text: str, number: int) -> str | None:
    fields = text.split(",", number + 1)
    return fields[number] if number < len(fields) else None


def _json_columns(texts: list[str], finds: Sequence[Callable[[Any], Any]]) -> list[list[Any]]:
    """A column for each finder; None where the text is no JSON or holds nothing or several values there."""
    columns: list[list[Any]] = [[] for _ in finds]
    decode = _any.decode
    for text in texts:
        try:
            payload = decode(text)
            found = [find(payload) for find in finds]
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - whatever is odd is judged again by itself, where its reason is named
            found = [None] * len(finds)
        for column, value in zip(columns, found, strict=True):
            if type(value) is list and len(value) == 1:
                value = value[0]
            column.append(value if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None)
    return columns


def _columns(
    texts: list[str | None], kinds: list[str], wanted: Sequence[Attribute]
) -> tuple[list[list[Any]], NDArray[np.bool_]]:
    """The value of each wanted attribute in each payload, and which payloads are plain."""
    common, rare = ("CSV", "JSON") if 2 * kinds.count("CSV") >= len(kinds) else ("JSON", "CSV")
    others: list[int] = []
    chosen: list[Any] = texts
    if kinds.count(common) < len(kinds) or None in texts:
        both = enumerate(zip(texts, kinds, strict=True))
        others = [at for at, (text, kind) in both if kind != common or text is None]
        chosen = texts.copy()
        for at in others:
            chosen[at] = ""
    columns = _columns_of(common, chosen, wanted)
    if others:
        places = [at for at in others if kinds[at] == rare and texts[at] is not None]
        found = _columns_of(rare, [texts[at] for at in places], wanted)
        for column, part in zip(columns, found, strict=True):
            for at in others:
                column[at] = None
            for at, value in zip(places, part, strict=True):
                column[at] = value
    plain = np.ones(len(texts), np.bool_)
    for column in columns:
        if None in column:
            plain &= np.array([value is not None for value in column], np.bool_)
    return columns, plain


def _columns_of(kind: str, texts: list[Any], wanted: Sequence[Attribute]) -> list[list[Any]]:
    """The value of each wanted attribute in each of some payloads of one kind; None where it has none."""
    if kind == "JSON":
        return _json_columns(texts, [one.find for one in wanted])
    return [_csv_column(texts, one.index) if one.index is not None else [None] * len(texts) for one in wanted]


_AT_ONCE = (64, 8, 1)
"""Texts read as numbers by one call; where one of them is none, fewer at a time, and at last one by one."""


def _floats(values: list[Any]) -> NDArray[np.float64]:
    """Numbers, NaN where a value is none."""
    if set(map(type, values)) <= {float, int}:
        with suppress(OverflowError):  # a number of over 308 digits
            return np.array(values, np.float64)
    numbers: list[float] = []
    _read_numbers(values, _AT_ONCE, numbers)
    return np.array(numbers, np.float64)


def _read_numbers(values: list[Any], sizes: tuple[int, ...], numbers: list[float]) -> None:
    """Append the number of each value, as many at a time as the first of `sizes` says."""
    for first in range(0, len(values), sizes[0]):
        part = values[first : first + sizes[0]]
        found: list[float] = []
        # What JSON takes for a number is read four times as fast as by float(). As many numbers as texts: each is one.
        with suppress(TypeError, msgspec.DecodeError, UnicodeEncodeError):
            found = _numbers.decode("[" + ",".join(part) + "]")
        if len(found) == len(part):
            numbers += found
        elif sizes[1:]:
            _read_numbers(part, sizes[1:], numbers)
        else:
            numbers += [np.nan if (number := number_of(value)) is None else number for value in part]


def _targets(values: list[Any], reading: Reading, classes: Classes) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Predicted or actual values as numbers, and which of them are plain."""
    if reading.problem_type == "Regression":
        numbers = _floats(values)
        return numbers, np.isfinite(numbers)
    texts = [value if type(value) is str else "" if value is None else label_text(value) for value in values]
    codes = classes.numbers(texts)
    return codes, codes >= 0


def _truths(truths: list[bytes], reading: Reading, classes: Classes) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The actual value of each ``groundTruthData``, and which of them are plain: one row, nothing odd."""
    outputs = []
    known = np.ones(len(truths), np.bool_)
    for at, truth in enumerate(truths):
        try:
            outputs.append(_output.decode(truth))
        except (msgspec.DecodeError, RecursionError):
            outputs.append(_NO_OUTPUT)
            known[at] = False
    texts: list[str | None] = [output.data for output in outputs]
    kinds: list[str] = [output.encoding for output in outputs]
    _unpack(texts, kinds, lambda at: _content.decode(truths[at]).observedContentType)
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
        value = label_in(payload)
        # a list of labels is rows, but a label that is a list is none
        return None if isinstance(value, list) else value
    return payload
