"""Seeded captures and labels of any size, written as SageMaker writes them, with the truth about them.

`generate` writes below one folder, and nothing but its arguments decides what it writes: the same arguments give the
same bytes. It returns what it knows about its own data (`Truth`): the counters of ``report.json`` and, of classifiers,
the confusion matrix. The benchmarks measure on it; the tests of the engines check their counts against it.

The window is ``hours`` long and starts at `START`; labels arrive within a day, so the run's scheduled time is a day
after the window's end. Besides well-formed records the data hold: lines flushed late into the next hour's folder, lines
of other hours inside the folders that are read, folders that must not be read, ids used twice, labels given twice,
labels that never come or come too late, labels of nothing, and lines broken in every way of `capture_faults` and
`label_faults`.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

START = datetime(2026, 11, 1, tzinfo=UTC)
LABEL_HOURS = 24
ENDPOINT = "orders"
MONITOR = "orders-model-quality"
PROBLEMS = ("BinaryClassification", "MulticlassClassification", "Regression")
PAYLOADS = ("csv", "json", "base64")
CLASSES = 5
# What of the data is particular, on the command line; `generate` says what each is a share of.
SHARES = {"gzip_share": 0.0, "malformed": 0.001, "late_flushes": 0.005, "duplicates": 0.005, "duplicate_labels": 0.005}
# The label that a model gives itself is cut elsewhere than the default threshold, so that the two can be told apart.
OWN_CUT = 0.4

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Spoil = Callable[[dict[str, Any]], bytes]


@dataclass(frozen=True)
class Truth:
    """What is known about generated data without reading them again."""

    root: Path
    """The folder that holds ``capture/``, ``labels/``, ``baseline/`` and ``monitor.json``."""
    monitor: dict[str, Any]
    """The monitor as plain data with absolute paths; the same stands in ``monitor.json``."""
    window: tuple[datetime, datetime]
    at: datetime
    """The run's scheduled time, which is also the time up to which labels are read."""
    counts: dict[str, dict[str, Any]]
    """``capture``, ``ground_truth`` and ``merge`` as in ``report.json``."""
    confusion: dict[str, dict[str, int]] | None
    """Actual class → predicted class → rows; None for regression."""
    files: int
    """All files written, those in folders that no run may read among them."""
    size: int
    """The bytes of all these files."""


def _dump(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()


def _put(value: Any, *path: str) -> Spoil:
    """Replace one field of a good record; None removes it."""

    def spoil(record: dict[str, Any]) -> bytes:
        inner = record
        for name in path[:-1]:
            inner = inner[name]
        if value is None:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
        return _dump(record)

    return spoil


def _payload(side: tuple[str, ...], text: str, encoding: str) -> Spoil:
    """Put another payload where the good one was."""

    def spoil(record: dict[str, Any]) -> bytes:
        inner = record
        for name in side:
            inner = inner[name]
        inner["data"], inner["encoding"] = text, encoding
        return _dump(record)

    return spoil


def _no_id(record: dict[str, Any]) -> bytes:
    for name in ("eventId", "inferenceId"):
        record["eventMetadata"].pop(name, None)
    return _dump(record)


_OUTPUT = ("captureData", "endpointOutput")
_TRUTH = ("groundTruthData",)
Faults = dict[str, tuple[str, Spoil]]


def capture_faults(problem_type: str, payload: str) -> Faults:
    """Each way to break a capture line → the reason it is rejected for, and how it is done."""
    empty = ('{"predictions": []}', "JSON") if payload == "json" else ("", "CSV")
    faults: Faults = {
        "cut off": ("invalid_json", lambda record: _dump(record)[:-25]),
        "trailing comma": ("invalid_json", lambda record: _dump(record)[:-1] + b",}"),
        "two objects": ("invalid_json", lambda record: _dump(record) * 2),
        "array": ("invalid_json", lambda record: b"[" + _dump(record) + b"]"),
        "not UTF-8 beside the prediction": (
            "invalid_json",
            lambda record: _dump(record).replace(b'"mode":"INPUT"', b'"mode":"\xff"'),
        ),
        "no id": ("missing_id", _no_id),
        "no time": ("missing_time", _put(None, "eventMetadata", "inferenceTime")),
        "time is a word": ("bad_time", _put("yesterday", "eventMetadata", "inferenceTime")),
        "no output": ("missing_payload", _put(None, *_OUTPUT)),
        "output is no text": ("missing_payload", _put(7, *_OUTPUT, "data")),
        "another encoding": ("unknown_encoding", _put("PARQUET", *_OUTPUT, "encoding")),
        "not base64": ("bad_base64", _payload(_OUTPUT, "@@@", "BASE64")),
        "nothing predicted": ("bad_payload", _payload(_OUTPUT, *empty)),
        "broken payload": ("bad_payload", _payload(_OUTPUT, '{"predictions": [', "JSON")),
    }
    if payload == "json":
        faults["another path"] = ("missing_attribute", _payload(_OUTPUT, '{"outputs": [1]}', "JSON"))
    if problem_type == "BinaryClassification":
        for name, value in (("probability above 1", "1.5"), ("probability is NaN", '"NaN"')):
            text = f'{{"predictions": [{{"score": {value}, "predicted_label": 1}}]}}'
            csv = _payload(_OUTPUT, value.strip('"'), "CSV")
            faults[name] = ("bad_probability", _payload(_OUTPUT, text, "JSON") if payload == "json" else csv)
    elif problem_type == "Regression":
        json_text = '{"predictions": [{"score": "n/a"}]}'
        broken = _payload(_OUTPUT, json_text, "JSON") if payload == "json" else _payload(_OUTPUT, "n/a", "CSV")
        faults["not a number"] = ("bad_number", broken)
    return faults


def label_faults(problem_type: str) -> Faults:
    """Each way to break a label line → the reason it is rejected for, and how it is done."""
    faults: Faults = {
        "cut off": ("invalid_json", lambda record: _dump(record)[:-25]),
        "no id": ("missing_id", _no_id),
        "no label": ("missing_payload", _put(None, *_TRUTH)),
        "two columns": ("bad_payload", _payload(_TRUTH, "1,0", "CSV")),
        "not base64": ("bad_base64", _payload(_TRUTH, "@@@", "BASE64")),
    }
    if problem_type == "BinaryClassification":
        faults["another class"] = ("foreign_label", _payload(_TRUTH, "2", "CSV"))
    elif problem_type == "MulticlassClassification":
        faults["empty class"] = ("foreign_label", _payload(_TRUTH, '" "', "CSV"))
    else:
        faults["not a number"] = ("bad_number", _payload(_TRUTH, "n/a", "CSV"))
    return faults


def generate(
    root: Path | str,
    *,
    records: int = 100_000,
    seed: int = 1,
    problem_type: str = "BinaryClassification",
    payload: str = "csv",
    hours: int = 168,
    records_per_file: int = 300,
    labels_per_file: int = 900,
    gzip_share: float = 0.0,
    malformed: float = 0.001,
    late_flushes: float = 0.005,
    other_hours: float = 0.005,
    duplicates: float = 0.005,
    duplicate_labels: float = 0.005,
    unlabelled: float = 0.05,
    late_labels: float = 0.01,
    orphans: float = 0.02,
    inference_ids: float = 0.10,
    several_rows: float = 0.0,
    unequal_rows: float = 0.0,
    settings: Mapping[str, Any] | None = None,
) -> Truth:
    """Write ``records`` capture lines (a line is about 700 bytes) and their labels below ``root``.

    Every share is a fraction of the capture lines, ``duplicate_labels`` and ``orphans`` too; ``malformed`` applies to
    label lines as well, ``gzip_share`` to files, ``unequal_rows`` to those of ``several_rows``. ``payload`` is the
    encoding of the captured payloads; labels are JSON where it is ``json`` and CSV otherwise. ``settings`` are further
    fields of the monitor. What lies at ``root`` already is kept and overwritten where it has the same name, so use an
    empty folder.

    Raises ValueError for a problem type or payload that `PROBLEMS` and `PAYLOADS` do not have.
    """
    if problem_type not in PROBLEMS or payload not in PAYLOADS:
        raise ValueError(
            f"problem_type is one of {PROBLEMS}, payload one of {PAYLOADS}; came {problem_type}, {payload}"
        )
    root = Path(root)
    random = np.random.default_rng(seed)
    write = _Writer(root, random, gzip_share)
    captures = _draw_captures(
        random, records, hours, malformed, late_flushes, other_hours, duplicates, several_rows, problem_type, payload
    )
    labels = _draw_labels(
        random,
        captures,
        hours,
        malformed,
        unlabelled,
        late_labels,
        orphans,
        duplicate_labels,
        unequal_rows,
        problem_type,
    )
    names = _Names(random, records + labels.orphans, inference_ids)
    _write_captures(write, captures, names, hours, records_per_file, payload, problem_type)
    _write_labels(write, labels, names, labels_per_file, payload, problem_type)
    counts, confusion = _truth(captures, labels, payload, problem_type)
    counts["capture"]["files"] = write.counted["capture"]
    counts["ground_truth"]["files"] = write.counted["labels"]
    monitor = _monitor(root, hours, payload, problem_type, dict(settings or {}))
    (root / "monitor.json").write_text(json.dumps(monitor, indent=2))
    (root / "baseline").mkdir(parents=True, exist_ok=True)
    (root / "baseline" / "constraints.json").write_text(json.dumps(_constraints(problem_type), indent=2))
    end = START + timedelta(hours=hours)
    return Truth(
        root=root,
        monitor=monitor,
        window=(START, end),
        at=end + timedelta(hours=LABEL_HOURS),
        counts=counts,
        confusion=confusion,
        files=write.files,
        size=write.size,
    )


@dataclass(frozen=True)
class _Captures:
    """One entry a capture line; ``key`` is the number of its id, ``fault`` -1 where the line is good."""

    time: Ints
    folder: Ints
    key: Ints
    fault: Ints
    value: Floats
    rows: dict[int, list[float]]
    """Line → its predictions, where there are several."""
    faults: tuple[tuple[str, Spoil], ...]
    read: NDArray[np.bool_]
    inside: NDArray[np.bool_]


@dataclass(frozen=True)
class _Labels:
    """One entry a label line, in the order in which they are written."""

    folder: Ints
    key: Ints
    fault: Ints
    value: Floats
    rows: dict[int, list[float]]
    faults: tuple[tuple[str, Spoil], ...]
    read: NDArray[np.bool_]
    orphans: int


def _draw_faults(random: np.random.Generator, n: int, share: float, faults: Sequence[tuple[str, Spoil]]) -> Ints:
    fault = np.full(n, -1, np.int64)
    broken = np.flatnonzero(random.random(n) < share)
    fault[broken] = random.integers(0, len(faults), len(broken))
    return fault


def _draw_values(random: np.random.Generator, n: int, problem_type: str) -> Floats:
    if problem_type == "BinaryClassification":
        return np.asarray(1.0 / (1.0 + np.exp(1.0 - 2.0 * random.standard_normal(n))))
    if problem_type == "MulticlassClassification":
        return np.minimum(random.geometric(0.4, n) - 1, CLASSES - 1).astype(np.float64)
    return np.asarray(random.normal(150.0, 50.0, n))


def _draw_actuals(random: np.random.Generator, predicted: Floats, problem_type: str) -> Floats:
    if problem_type == "BinaryClassification":
        return (random.random(len(predicted)) < predicted).astype(np.float64)
    if problem_type == "MulticlassClassification":
        wrong = random.random(len(predicted)) < 0.15
        return np.where(wrong, random.integers(0, CLASSES, len(predicted)), predicted)
    return np.asarray(predicted + random.normal(0.0, 20.0, len(predicted)))


def _draw_captures(
    random: np.random.Generator,
    n: int,
    hours: int,
    malformed: float,
    late_flushes: float,
    other_hours: float,
    duplicates: float,
    several_rows: float,
    problem_type: str,
    payload: str,
) -> _Captures:
    seconds = hours * 3600
    time_ = np.sort(random.integers(0, seconds, n))
    folder = time_ // 3600
    folder[random.random(n) < late_flushes] += 1
    # A third each: flushed late from before the window, in the hour after it, and in a folder that no run may read.
    other = np.flatnonzero(random.random(n) < other_hours)
    before, after, unread = np.array_split(other, 3)
    time_[before], folder[before] = random.integers(-3600, 0, len(before)), 0
    time_[after], folder[after] = random.integers(seconds, seconds + 3600, len(after)), hours
    time_[unread], folder[unread] = random.integers(seconds + 3600, seconds + 7200, len(unread)), hours + 1
    faults = tuple(capture_faults(problem_type, payload).values())
    fault = _draw_faults(random, n, malformed, faults)
    key = np.arange(n)
    again = np.flatnonzero((random.random(n) < duplicates) & (key > 0))
    key[again] = (random.random(len(again)) * again).astype(np.int64)
    value = _draw_values(random, n, problem_type)
    several = np.flatnonzero(random.random(n) < several_rows)
    rows = {
        int(line): [float(value[line]), *_draw_values(random, 1 + int(line) % 2, problem_type).tolist()]
        for line in several
    }
    return _Captures(
        time=time_,
        folder=folder,
        key=key,
        fault=fault,
        value=value,
        rows=rows,
        faults=faults,
        read=(folder >= 0) & (folder <= hours),
        inside=(time_ >= 0) & (time_ < seconds),
    )


def _draw_labels(
    random: np.random.Generator,
    captures: _Captures,
    hours: int,
    malformed: float,
    unlabelled: float,
    late_labels: float,
    orphans: float,
    duplicate_labels: float,
    unequal_rows: float,
    problem_type: str,
) -> _Labels:
    n = len(captures.time)
    own = np.flatnonzero((captures.key == np.arange(n)) & (random.random(n) >= unlabelled))
    strangers = round(n * orphans)
    twice = random.choice(own, round(n * duplicate_labels)) if len(own) else own
    key = np.concatenate([own, np.arange(n, n + strangers), twice])
    told = np.concatenate([captures.time[own], random.integers(0, hours * 3600, strangers), captures.time[twice]])
    delay = random.integers(0, LABEL_HOURS * 3600, len(key))
    delay[random.random(len(key)) < late_labels] += LABEL_HOURS * 3600
    predicted = np.concatenate(
        [
            captures.value[own],
            _draw_values(random, strangers, problem_type),
            _draw_values(random, len(twice), problem_type),
        ]
    )
    value = _draw_actuals(random, predicted, problem_type)
    folder = (told + delay) // 3600
    # Files are shuffled within their hour, as collected labels are.
    order = np.lexsort((random.random(len(key)), folder))
    key, value, folder = key[order], value[order], folder[order]
    faults = tuple(label_faults(problem_type).values())
    rows: dict[int, list[float]] = {}
    if captures.rows:
        for line in np.flatnonzero(np.isin(key, np.fromiter(captures.rows, np.int64))).tolist():
            predictions = captures.rows[int(key[line])]
            actuals = _draw_actuals(random, np.array(predictions), problem_type).tolist()
            rows[line] = [*actuals, actuals[0]] if random.random() < unequal_rows else actuals
    return _Labels(
        folder=folder,
        key=key,
        fault=_draw_faults(random, len(key), malformed, faults),
        value=value,
        rows=rows,
        faults=faults,
        read=(folder >= 0) & (folder < hours + LABEL_HOURS),
        orphans=strangers,
    )


class _Names:
    """The ids by number: an event id (a UUID) each, and for some an inference id, which labels then carry."""

    def __init__(self, random: np.random.Generator, n: int, inference_ids: float) -> None:
        self._bytes = random.bytes(16 * n)
        self._named = random.random(n) < inference_ids

    def event(self, number: int) -> str:
        text = self._bytes[16 * number : 16 * number + 16].hex()
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"

    def inference(self, number: int) -> str | None:
        return f"order-{number:09d}" if self._named[number] else None

    def label(self, number: int) -> str:
        return self.inference(number) or self.event(number)


class _Writer:
    """Writes hour folders of lines and counts what a run has to read."""

    def __init__(self, root: Path, random: np.random.Generator, gzip_share: float) -> None:
        self.root = root
        self.files = self.size = 0
        self.counted: Counter[str] = Counter()
        self._random = random
        self._gzip_share = gzip_share

    def hour(
        self, place: str, side: str, folder: int, lines: list[bytes], names: Iterator[str], per_file: int, read: bool
    ) -> None:
        when = START + timedelta(hours=folder)
        target = self.root / place / f"{when:%Y/%m/%d/%H}"
        target.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(lines), per_file):
            data = b"\n".join(lines[start : start + per_file])
            # Most files end with a newline, some without one, some with lines of nothing but white space.
            data += (b"\n", b"\n", b"\n", b"", b"\n  \n\n")[(self.files + folder) % 5]
            name = f"{next(names)}.jsonl"
            if self._random.random() < self._gzip_share:
                data, name = gzip.compress(data, 1, mtime=0), name + ".gz"
            (target / name).write_bytes(data)
            self.files += 1
            self.size += len(data)
            self.counted[side] += read


def _features(random: np.random.Generator) -> list[str]:
    return [
        ",".join([f"{x:.2f}" for x in random.normal(50.0, 30.0, 40)] + [str(x) for x in random.integers(0, 2, 29)])
        for _ in range(256)
    ]


def _encoded(text: str, encoding: str) -> str:
    """A payload's text as it stands inside the quotes of its ``data`` field."""
    if encoding == "BASE64":
        return base64.b64encode(text.encode()).decode()
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _prediction_text(values: Sequence[float], payload: str, problem_type: str) -> str:
    if payload == "json":
        rows = []
        for value in values:
            if problem_type == "BinaryClassification":
                rows.append(f'{{"score": {value!r}, "predicted_label": {int(value > OWN_CUT)}}}')
            elif problem_type == "MulticlassClassification":
                rows.append(f'{{"predicted_label": {int(value)}}}')
            else:
                rows.append(f'{{"score": {value!r}}}')
        return f'{{"predictions": [{", ".join(rows)}]}}'
    if problem_type == "MulticlassClassification":
        return "\n".join(f"{int(value)},0.7" for value in values)
    return "\n".join(map(repr, values))


def _label_text(values: Sequence[float], payload: str, problem_type: str, form: int) -> str:
    if problem_type == "Regression":
        texts = [repr(value) for value in values]
    else:
        # One class in several spellings: rule I5 makes them the same.
        texts = [f"{int(value)}.0" if form == 1 else str(int(value)) for value in values]
    if payload == "json":
        rows = ", ".join('{"label": ' + text + "}" for text in texts)
        return '{"instances": [' + rows + "]}"
    return "\n".join(f" {text}" if form == 2 else text for text in texts)


def _write_captures(
    write: _Writer, captures: _Captures, names: _Names, hours: int, per_file: int, payload: str, problem_type: str
) -> None:
    encoding, kind = {
        "csv": ("CSV", "text/csv"),
        "json": ("JSON", "application/json"),
        "base64": ("BASE64", "text/csv"),
    }[payload]
    # ids and features do not share the stream of the drawing, so that a share changed changes as little as it can
    random = np.random.default_rng(len(captures.time))
    features = [
        _encoded(f'{{"instances": [{{"features": [{text}]}}]}}' if payload == "json" else text, encoding)
        for text in _features(random)
    ]
    start = f'{{"captureData":{{"endpointInput":{{"observedContentType":"{kind}","mode":"INPUT","data":"'
    middle = (
        f'","encoding":"{encoding}"}},"endpointOutput":{{"observedContentType":"{kind}; charset=utf-8",'
        '"mode":"OUTPUT","data":"'
    )
    after = f'","encoding":"{encoding}"}}}},"eventMetadata":{{"eventId":"'
    clock = [f"{second // 60:02d}:{second % 60:02d}Z" for second in range(3600)]
    order = np.lexsort((captures.time, captures.folder))
    bounds = np.searchsorted(captures.folder[order], np.arange(hours + 3))
    for folder in range(hours + 2):
        chosen = order[bounds[folder] : bounds[folder + 1]]
        lines: list[bytes] = []
        for line, second, key, value, fault in zip(
            chosen.tolist(),
            captures.time[chosen].tolist(),
            captures.key[chosen].tolist(),
            captures.value[chosen].tolist(),
            captures.fault[chosen].tolist(),
        ):
            if encoding == "CSV" and problem_type != "MulticlassClassification" and line not in captures.rows:
                output = repr(value)
            else:
                output = _encoded(_prediction_text(captures.rows.get(line, [value]), payload, problem_type), encoding)
            named = names.inference(key)
            identity = f'{names.event(key)}","inferenceId":"{named}' if named else names.event(key)
            hour = _hour_text(second // 3600)
            text = (
                f"{start}{features[line & 255]}{middle}{output}{after}{identity}"
                f'","inferenceTime":"{hour}{clock[second % 3600]}"}},"eventVersion":"0"}}'
            ).encode()
            lines.append(captures.faults[fault][1](json.loads(text)) if fault >= 0 else text)
        flushed = np.maximum(captures.time[chosen], folder * 3600)[::per_file] % 3600
        file_names = (
            f"{second // 60:02d}-{second % 60:02d}-{number % 1000:03d}-{names.event(int(line))}"
            for number, (second, line) in enumerate(zip(flushed.tolist(), chosen[::per_file].tolist()))
        )
        place = f"capture/{ENDPOINT}/AllTraffic"
        write.hour(place, "capture", folder, lines, file_names, per_file, read=folder <= hours)


def _write_labels(
    write: _Writer, labels: _Labels, names: _Names, per_file: int, payload: str, problem_type: str
) -> None:
    encoding = "JSON" if payload == "json" else "CSV"
    random = np.random.default_rng(len(labels.key))
    forms = np.maximum(random.integers(0, 50, len(labels.key)) - 47, 0).tolist()
    folders, starts = np.unique(labels.folder, return_index=True)
    for folder, first, last in zip(folders.tolist(), starts.tolist(), [*starts.tolist()[1:], len(labels.key)]):
        lines: list[bytes] = []
        for line, key, value, fault in zip(
            range(first, last),
            labels.key[first:last].tolist(),
            labels.value[first:last].tolist(),
            labels.fault[first:last].tolist(),
        ):
            data = _encoded(_label_text(labels.rows.get(line, [value]), payload, problem_type, forms[line]), encoding)
            text = (
                f'{{"groundTruthData":{{"data":"{data}","encoding":"{encoding}"}},'
                f'"eventMetadata":{{"eventId":"{names.label(key)}"}},"eventVersion":"0"}}'
            ).encode()
            lines.append(labels.faults[fault][1](json.loads(text)) if fault >= 0 else text)
        file_names = (f"labels-{number:05d}" for number in range(len(lines)))
        write.hour("labels", "labels", folder, lines, file_names, per_file, read=bool(labels.read[first]))


@lru_cache
def _hour_text(hour: int) -> str:
    return f"{START + timedelta(hours=hour):%Y-%m-%dT%H:}"


def _truth(
    captures: _Captures, labels: _Labels, payload: str, problem_type: str
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, int]] | None]:
    """The counters of ``report.json`` but ``files``, and the confusion matrix, from what was drawn."""
    good = captures.fault < 0
    used = captures.read & good & captures.inside
    lost = captures.fault[captures.read & ~good]
    told = labels.read & (labels.fault < 0)
    last = {key: line for line, key in zip(np.flatnonzero(told).tolist(), labels.key[told].tolist())}
    label_of = np.full(int(max(captures.key.max(initial=0), labels.key.max(initial=0))) + 1, -1)
    for key, line in last.items():
        label_of[key] = line
    used_keys = captures.key[used]
    found = label_of[used_keys]
    lines = np.flatnonzero(used)[found >= 0]
    found = found[found >= 0]
    predicted, actual = captures.value[lines], labels.value[found]
    unequal = 0
    if captures.rows:
        several = np.isin(captures.key[lines], np.fromiter(captures.rows, np.int64)) | np.isin(
            lines, np.fromiter(captures.rows, np.int64)
        )
        more: tuple[list[float], list[float]] = ([], [])
        for line, label in zip(lines[several].tolist(), found[several].tolist()):
            left = captures.rows.get(line, [float(captures.value[line])])
            right = labels.rows.get(label, [float(labels.value[label])])
            if len(left) == len(right):
                more[0].extend(left)
                more[1].extend(right)
            else:
                unequal += 1
        predicted = np.concatenate([predicted[~several], more[0]])
        actual = np.concatenate([actual[~several], more[1]])
    without = int(used.sum()) - len(lines)
    counts: dict[str, dict[str, Any]] = {
        "capture": {
            "lines": int(captures.read.sum()),
            "used": int(used.sum()),
            "outside_window": int((captures.read & good & ~captures.inside).sum()),
            "dropped": 0,
            "rejected": _reasons(captures.faults, lost),
            "duplicate_ids": len(used_keys) - len(np.unique(used_keys)),
        },
        "ground_truth": {
            "lines": int(labels.read.sum()),
            "used": int(told.sum()),
            "rejected": _reasons(labels.faults, labels.fault[labels.read & (labels.fault >= 0)]),
            "duplicate_labels": int(told.sum()) - len(last),
        },
        "merge": {
            "matched": len(predicted),
            "captures_without_label": without,
            "labels_without_capture": len(np.setdiff1d(np.fromiter(last, np.int64, len(last)), used_keys)),
            "rejected": {"row_count_mismatch": unequal} if unequal else {},
            "label_coverage": (int(used.sum()) - without) / int(used.sum()) if used.any() else None,
        },
    }
    if problem_type == "Regression":
        return counts, None
    if problem_type == "BinaryClassification":
        predicted = (predicted > (OWN_CUT if payload == "json" else 0.5)).astype(np.float64)
    size = 2 if problem_type == "BinaryClassification" else CLASSES
    cells = np.bincount(actual.astype(np.int64) * size + predicted.astype(np.int64), minlength=size * size)
    table = cells.reshape(size, size).tolist()
    return counts, {str(row): {str(column): table[row][column] for column in range(size)} for row in range(size)}


def _reasons(faults: Sequence[tuple[str, Spoil]], lost: Ints) -> dict[str, int]:
    return dict(sorted(Counter(faults[fault][0] for fault in lost.tolist()).items()))


def _monitor(root: Path, hours: int, payload: str, problem_type: str, settings: dict[str, Any]) -> dict[str, Any]:
    source: dict[str, Any] = {
        "endpoint_name": ENDPOINT,
        "data_captured_destination_uri": str(root / "capture"),
        "start_time_offset": f"-PT{hours + LABEL_HOURS}H",
        "end_time_offset": f"-PT{LABEL_HOURS}H",
    }
    if payload == "json":
        source["inference_attribute"] = (
            "predictions[*].score" if problem_type == "Regression" else "predictions[*].predicted_label"
        )
        if problem_type == "BinaryClassification":
            source["probability_attribute"] = "predictions[*].score"
    else:
        name = "probability_attribute" if problem_type == "BinaryClassification" else "inference_attribute"
        source[name] = "0"
    monitor: dict[str, Any] = {
        "name": MONITOR,
        "problem_type": problem_type,
        "endpoint_input": source,
        "ground_truth_uri": str(root / "labels"),
        "output_uri": str(root / "reports"),
        "constraints_uri": str(root / "baseline" / "constraints.json"),
    }
    if payload == "json":
        monitor["ground_truth_attribute"] = "instances[*].label"
    return monitor | settings


def _constraints(problem_type: str) -> dict[str, Any]:
    """Limits so wide that no generated window violates them."""
    blocks = {
        "BinaryClassification": ("binary_classification_constraints", "accuracy", 0.2, "LessThanThreshold"),
        "MulticlassClassification": ("multiclass_classification_constraints", "accuracy", 0.2, "LessThanThreshold"),
        "Regression": ("regression_constraints", "mae", 1000.0, "GreaterThanThreshold"),
    }
    block, metric, threshold, comparison = blocks[problem_type]
    return {"version": 0.0, block: {metric: {"threshold": threshold, "comparison_operator": comparison}}}


def main() -> None:
    """Write generated data below a folder and say what is in them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("root", type=Path, help="an empty folder")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--problem-type", choices=PROBLEMS, default=PROBLEMS[0])
    parser.add_argument("--payload", choices=PAYLOADS, default=PAYLOADS[0])
    parser.add_argument("--hours", type=int, default=168)
    parser.add_argument(
        "--records-per-file", type=int, default=300, help="of captures, in an hour (default: %(default)s)"
    )
    parser.add_argument("--labels-per-file", type=int, default=900, help="the same of labels (default: %(default)s)")
    for name, share in SHARES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=share, metavar="SHARE")
    given = parser.parse_args()
    started = time.perf_counter()
    truth = generate(
        given.root,
        records=given.records,
        seed=given.seed,
        problem_type=given.problem_type,
        payload=given.payload,
        hours=given.hours,
        records_per_file=given.records_per_file,
        labels_per_file=given.labels_per_file,
        **{name: getattr(given, name) for name in SHARES},
    )
    print(f"{truth.files:,} files, {truth.size / 1e6:,.0f} MB in {time.perf_counter() - started:.1f} s")
    print(f"model-quality run {truth.root / 'monitor.json'} --at {truth.at:%Y-%m-%dT%H:%M:%SZ}")
    print(json.dumps(truth.counts, indent=2))


if __name__ == "__main__":
    main()
