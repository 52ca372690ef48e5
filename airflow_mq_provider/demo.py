"""Demo data: three real models on real data, captured as SageMaker captures, with labels that come late.

`make` fits the models on data sets that scikit-learn ships and writes what an endpoint and a label collection would have
written over eight days of November 2026; half way one input column changes its unit, and one model gets worse. `judge`
runs every daily window of the three monitors. ``python -m airflow_mq_provider.demo DIR`` does both and prints one table.

A request is a row that its model never saw. Rows are dealt like cards: shuffled, dealt to the last, shuffled again. So
until the column changes, a day differs from the baseline by little more than the labels that never come.

Below DIR::

    monitors/<monitor>/monitor.yaml                     the declarations, with paths relative to their own folder
    capture/<endpoint>/AllTraffic/yyyy/mm/dd/hh/        what the endpoints captured
    labels/<monitor>/yyyy/mm/dd/hh/                     what was collected later
    baseline/<monitor>/                                 held-out rows, statistics.json, constraints.json
    reports/<endpoint>/<monitor>/yyyy/mm/dd/hh/         what the runs report
    what-changed.md, what-changed.json                  which column changed, and when
    demo.json                                           the mark of a demo, and the scheduled times of its windows
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from airflow_mq_provider.exceptions import InputError, ModelQualityError, OutputError
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.quality.metrics import HEADLINES
from airflow_mq_provider.window import analysis_window, format_time, hour_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from airflow_mq_provider.window import Window

START = datetime(2026, 11, 1, tzinfo=UTC)
DAYS = 8
CHANGED_FROM = datetime(2026, 11, 5, tzinfo=UTC)
START_OFFSET, END_OFFSET = "-P3D", "-P2D"
LABEL_DELAY = timedelta(days=2)
TOLERANCE_SD = 6.0
"""Constraints are the baseline's values, loosened by so many of their standard deviations."""

_HOUR = timedelta(hours=1)
_MARK = "demo.json"
_REMADE = ("monitors", "capture", "labels", "baseline")


@dataclass(frozen=True)
class Model:
    """A fitted model behind an endpoint, the rows it is asked about, and its answers to them."""

    monitor: str
    endpoint: str
    problem_type: str
    about: str
    requests: tuple[str, ...]
    """Of each held-out row the body of the request, as it was sent until the change."""
    answers: tuple[str, ...]
    """The bodies that the model answered."""
    later_requests: tuple[str, ...]
    later_answers: tuple[str, ...]
    """The same after the change; of most models nothing changes."""
    actual: tuple[str, ...]
    content_type: str
    per_day: int
    inference_ids: float
    """The share of requests for which the caller gives an inference id."""
    opaque: float
    """The share of requests with a content type that the capture was not told of: captured as BASE64."""
    baseline: str
    """The held-out rows as a CSV with a header: the answer's columns and ``label``."""
    declaration: str
    """The attributes of the monitor as lines of YAML."""


def models() -> tuple[Model, ...]:
    """Fit the three models. Takes seconds, most of them to import scikit-learn.

    Raises:
        InputError: scikit-learn is not installed; the message names the extra.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise InputError(
            expected="scikit-learn: the demo's data sets and models come from it",
            came="an environment without it",
            where="model-quality demo",
            next_step="install the extra: pip install 'airflow-mq-provider[demo]'",
        ) from error
    return _diabetes(), _digits(), _tumours()


def _tumours() -> Model:
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression

    data = load_breast_cancer()
    columns = [number for number, name in enumerate(data.feature_names) if name.startswith("mean ")]
    # In the data set 1 is benign; what is watched for is the other one.
    rows, actual, model = _fitted(
        LogisticRegression(max_iter=1000), data.data[:, columns], 1 - data.target, held_out=0.6
    )
    answers = [f"{value:.6f}" for value in model.predict_proba(rows)[:, 1].tolist()]
    requests = tuple(_csv(row) for row in rows.tolist())
    labels = tuple(str(label) for label in actual.tolist())
    return Model(
        monitor="tumours-model-quality",
        endpoint="tumours",
        problem_type="BinaryClassification",
        about="is a tumour malignant? (breast cancer data, logistic regression, CSV)",
        requests=requests,
        answers=tuple(answers),
        later_requests=requests,
        later_answers=tuple(answers),
        actual=labels,
        content_type="text/csv",
        per_day=420,
        inference_ids=0.3,
        opaque=0.0,
        baseline=_table(("probability", "label"), answers, labels),
        declaration='probability_attribute: "0"\n  probability_threshold_attribute: 0.5',
    )


def _digits() -> Model:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    data = load_digits()
    rows, actual, model = _fitted(LogisticRegression(max_iter=1000, C=0.05), data.data, data.target, held_out=0.5)
    scores = model.predict_proba(rows)
    predicted = [str(number) for number in scores.argmax(axis=1).tolist()]
    answers = tuple(
        json.dumps({"predictions": [{"predicted_label": int(number), "score": round(score, 6)}]})
        for number, score in zip(predicted, scores.max(axis=1).tolist(), strict=True)
    )
    requests = tuple(json.dumps({"instances": [{"features": [int(pixel) for pixel in row]}]}) for row in rows.tolist())
    labels = tuple(str(label) for label in actual.tolist())
    return Model(
        monitor="digits-model-quality",
        endpoint="digits",
        problem_type="MulticlassClassification",
        about="which digit was written? (handwritten digits, logistic regression, JSON)",
        requests=requests,
        answers=answers,
        later_requests=requests,
        later_answers=answers,
        actual=labels,
        content_type="application/json",
        per_day=600,
        inference_ids=0.0,
        opaque=0.0,
        baseline=_table(("prediction", "label"), predicted, labels),
        declaration='inference_attribute: "predictions[0].predicted_label"',
    )


CHANGED_COLUMN = "bp"
MMHG_IN_KPA = 0.133322


def _diabetes() -> Model:
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge

    data = load_diabetes(scaled=False)
    rows, actual, model = _fitted(Ridge(), data.data, data.target, held_out=0.6)
    later = rows.copy()
    column = data.feature_names.index(CHANGED_COLUMN)
    later[:, column] = np.round(rows[:, column] * MMHG_IN_KPA, 1)
    answers = [f"{value:.2f}" for value in model.predict(rows).tolist()]
    labels = tuple(f"{label:g}" for label in actual.tolist())
    return Model(
        monitor="diabetes-model-quality",
        endpoint="diabetes",
        problem_type="Regression",
        about="how far will diabetes progress in a year? (diabetes data, ridge regression, CSV)",
        requests=tuple(_csv(row) for row in rows.tolist()),
        answers=tuple(answers),
        later_requests=tuple(_csv(row) for row in later.tolist()),
        later_answers=tuple(f"{value:.2f}" for value in model.predict(later).tolist()),
        actual=labels,
        content_type="text/csv",
        per_day=320,
        inference_ids=0.1,
        opaque=0.2,
        baseline=_table(("prediction", "label"), answers, labels),
        declaration='inference_attribute: "0"',
    )


def _fitted(estimator: Any, x: NDArray[Any], y: NDArray[Any], *, held_out: float) -> tuple[Any, Any, Any]:
    """The rows and targets that the model did not see, and the model. Inputs are scaled within it."""
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seen, rows, known, actual = train_test_split(x, y, test_size=held_out, random_state=7)
    return rows, actual, make_pipeline(StandardScaler(), estimator).fit(seen, known)


def _csv(row: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in row)


def _table(header: Sequence[str], *columns: Sequence[str]) -> str:
    lines = [",".join(header), *(",".join(row) for row in zip(*columns, strict=True))]
    return "\n".join(lines) + "\n"


# --- what an endpoint and a label collection write ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Request:
    time: datetime
    event_id: str
    inference_id: str | None
    row: int

    @property
    def join_id(self) -> str:
        return self.inference_id or self.event_id


def _traffic(model: Model, draw: random.Random) -> list[_Request]:
    """The requests of all days, in the order of time: more by day than by night."""
    requests: list[_Request] = []
    deck: list[int] = []
    for day in range(DAYS):
        hours = draw.choices(range(24), [1 + 4 * (7 <= hour < 19) for hour in range(24)], k=model.per_day)
        seconds = sorted(hour * 3600 + draw.randrange(3600) for hour in hours)
        for second in seconds:
            if not deck:
                deck = list(range(len(model.actual)))
                draw.shuffle(deck)
            named = draw.random() < model.inference_ids
            requests.append(
                _Request(
                    time=START + timedelta(days=day, seconds=second),
                    event_id=_uuid(draw),
                    inference_id=f"case-{len(requests):06d}" if named else None,
                    row=deck.pop(),
                )
            )
    return requests


def _uuid(draw: random.Random) -> str:
    return str(uuid.UUID(int=draw.getrandbits(128), version=4))


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":")) + "\n"


def _captured(model: Model, request: _Request, draw: random.Random) -> str:
    changed = request.time >= CHANGED_FROM
    sent = (model.later_requests if changed else model.requests)[request.row]
    answered = (model.later_answers if changed else model.answers)[request.row]
    content_type, encoding = model.content_type, "JSON" if "json" in model.content_type else "CSV"
    if draw.random() < model.opaque:
        content_type, encoding = f"{content_type}; header=absent", "BASE64"
        sent, answered = (base64.b64encode(text.encode()).decode() for text in (sent, answered))
    about = {"eventId": request.event_id}
    if request.inference_id:
        about["inferenceId"] = request.inference_id
    about["inferenceTime"] = format_time(request.time)
    line = _line(
        {
            "captureData": {
                "endpointInput": {
                    "observedContentType": content_type,
                    "mode": "INPUT",
                    "data": sent,
                    "encoding": encoding,
                },
                "endpointOutput": {
                    "observedContentType": f"{content_type}; charset=utf-8",
                    "mode": "OUTPUT",
                    "data": answered,
                    "encoding": encoding,
                },
            },
            "eventMetadata": about,
            "eventVersion": "0",
        }
    )
    # Now and then a disk was full in the middle of a line.
    return line if draw.random() >= 0.003 else line[: draw.randrange(40, len(line) - 40)] + "\n"


def _capture_files(model: Model, requests: Sequence[_Request], draw: random.Random) -> Iterator[tuple[str, str]]:
    """(key, text) of each capture file: flushed half an hour after its first record, into the folder of that time."""
    held: list[_Request] = []
    for request in [*requests, None]:
        if held and (request is None or request.time >= held[0].time + _HOUR / 2):
            flushed = held[0].time + _HOUR / 2
            name = f"{flushed:%M-%S}-{draw.randrange(1000):03d}-{_uuid(draw)}.jsonl"
            yield f"{hour_folder(flushed)}/{name}", "".join(_captured(model, one, draw) for one in held)
            held = []
        if request is not None:
            held.append(request)


def _label_files(model: Model, requests: Sequence[_Request], draw: random.Random) -> Iterator[tuple[str, str]]:
    """(key, text) of each label file: one an hour of collection, its lines shuffled. Some labels never come."""
    collected: dict[str, list[str]] = {}

    def collect(when: datetime, join_id: str, label: str) -> None:
        record = {
            "groundTruthData": {"data": label, "encoding": "CSV"},
            "eventMetadata": {"eventId": join_id},
            "eventVersion": "0",
        }
        collected.setdefault(hour_folder(when), []).append(_line(record))

    # All come within the delay, a correction included: the window's run, two days later, sees them.
    latest = (LABEL_DELAY - _HOUR) / timedelta(seconds=1)
    for request in requests:
        if draw.random() < 0.04:
            continue
        when = request.time + timedelta(seconds=draw.triangular(600, latest, latest / 4))
        label = model.actual[request.row]
        fate = draw.random()
        if fate < 0.005:
            # Someone wrote what is no label.
            label = "" if model.problem_type == "MulticlassClassification" else "unknown"
        elif fate < 0.015:
            # A first finding, corrected by what is collected an hour later: the later one counts.
            collect(when, request.join_id, draw.choice(model.actual))
            when += _HOUR
        elif fate < 0.02:
            # The truth about a case that this endpoint was never asked about.
            collect(when, _uuid(draw), label)
        collect(when, request.join_id, label)
    for folder, lines in sorted(collected.items()):
        draw.shuffle(lines)
        yield f"{folder}/part-00000-{_uuid(draw)}.jsonl", "".join(lines)


def _unsaid(_message: str) -> None:
    """Progress that nobody asked for."""


def make(root: Path | str, *, progress: Callable[[str], None] = _unsaid) -> list[Path]:
    """Write the demo below `root` and return its three ``monitor.yaml``. The same scikit-learn writes the same bytes.

    A folder that holds a demo already gets it anew: captures, labels, baselines and monitors; reports stay.

    Raises:
        InputError: scikit-learn is not installed.
        OutputError: `root` holds something else, or cannot be written.
    """
    root = Path(root)
    _take(root)
    progress("fitting three models")
    paths = []
    for model in models():
        draw = random.Random(model.monitor)
        requests = _traffic(model, draw)
        progress(f"{model.monitor}: writing {len(requests)} captures, their labels and the baseline")
        for key, text in _capture_files(model, requests, draw):
            _write(root / "capture" / model.endpoint / "AllTraffic" / key, text)
        for key, text in _label_files(model, requests, draw):
            _write(root / "labels" / model.monitor / key, text)
        path = root / "monitors" / model.monitor / "monitor.yaml"
        _write(path, _declaration(model))
        _baseline(model, path, root / "baseline" / model.monitor)
        paths.append(path)
    changed = {
        "monitor": "diabetes-model-quality",
        "column": CHANGED_COLUMN,
        "from": format_time(CHANGED_FROM),
        "before": "mean arterial blood pressure in mmHg",
        "after": "mean arterial blood pressure in kPa (1 mmHg = 0.133322 kPa)",
    }
    _write(root / "what-changed.json", json.dumps(changed, indent=2) + "\n")
    _write(root / "what-changed.md", _WHAT_CHANGED.format(**changed))
    return paths


_DECLARATION = """\
# {about}
name: {monitor}
problem_type: {problem_type}
endpoint_input:
  endpoint_name: {endpoint}
  data_captured_destination_uri: ../../capture
  {declaration}
  # Labels take up to two days: a run judges the day that ended two days before it.
  start_time_offset: {start}
  end_time_offset: {end}
ground_truth_uri: ../../labels/{monitor}
output_uri: ../../reports
constraints_uri: ../../baseline/{monitor}/constraints.json
"""

_WHAT_CHANGED = """\
# What changed

From {from} on, the requests to the model of `{monitor}` carry the column `{column}` in another unit:
before, {before}; after, {after}. Nobody told the model.

Captures and labels go on arriving as ever. What its runs see is that the answers are worse: they end as
`CompletedWithViolations`, those of the other monitors as `Completed`.
"""


def _declaration(model: Model) -> str:
    return _DECLARATION.format(
        about=model.about,
        monitor=model.monitor,
        problem_type=model.problem_type,
        endpoint=model.endpoint,
        declaration=model.declaration,
        start=START_OFFSET,
        end=END_OFFSET,
    )


def _baseline(model: Model, declaration: Path, folder: Path) -> None:
    from airflow_mq_provider.run import baseline

    dataset = folder / "held-out.csv"
    binary = model.problem_type == "BinaryClassification"
    _write(dataset, model.baseline)
    baseline(
        ModelQualityMonitor.from_file(str(declaration)),
        str(dataset),
        str(folder),
        dataset_format="csv-header",
        ground_truth_attribute="label",
        tolerance_sd=TOLERANCE_SD,
        inference_attribute=None if binary else "prediction",
        probability_attribute="probability" if binary else None,
    )


def windows() -> list[Window]:
    """The windows of the demo's days: each run is two days after its window's end."""
    return [
        analysis_window(
            START + timedelta(days=3 + day), START_OFFSET, END_OFFSET, interval_start=None, source="command_line"
        )
        for day in range(DAYS)
    ]


def judge(root: Path | str, *, progress: Callable[[str], None] = _unsaid) -> list[dict[str, Any]]:
    """Run every window of every monitor that `make` wrote below `root`; the reports, by monitor and window."""
    from airflow_mq_provider.run import run

    reports: list[dict[str, Any]] = []
    for path in sorted((Path(root) / "monitors").glob("*/monitor.yaml")):
        monitor = ModelQualityMonitor.from_file(str(path))
        progress(f"{monitor.name}: judging {DAYS} windows")
        reports.extend(run(monitor, window) for window in windows())
    return reports


def table(reports: Sequence[dict[str, Any]], root: Path | str) -> str:
    """The reports as one table in plain text, and the column that changed."""
    header = ("monitor", "window", "captured", "labelled", "coverage", "status", "metrics", "violations", "report")
    rows = [header]
    for report in reports:
        captured, coverage = report["capture"]["used"], report["merge"]["label_coverage"]
        rows.append(
            (
                report["monitor"].removesuffix("-model-quality"),
                report["window"]["start"][:10],
                str(captured),
                str(captured - report["merge"]["captures_without_label"]),
                "-" if coverage is None else f"{coverage:.1%}",
                report["status"],
                "  ".join(_shown(name, report) for name in HEADLINES[report["problem_type"]]),
                ", ".join(violation["metric_name"] for violation in report["violations"]) or "none",
                _below(report, root),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    changed = json.loads((Path(root) / "what-changed.json").read_text())
    lines += [
        "",
        f"What changed: from {changed['from']} on, column {changed['column']!r} of {changed['monitor']} comes as "
        f"{changed['after']}, before that as {changed['before']}.",
        f"Windows are days, judged two days after their end, when labels have come. Reports lie below {root}.",
    ]
    return "\n".join(lines)


def _shown(name: str, report: dict[str, Any]) -> str:
    value = report["metrics"].get(name, {}).get("value", "NaN")
    return f"{name} {value}" if isinstance(value, str) else f"{name} {value:.3f}"


def _below(report: dict[str, Any], root: Path | str) -> str:
    """Where the report lies, told from the demo's folder."""
    # through real paths, since the demo may be reached by a link
    return os.path.relpath(os.path.realpath(report["output"]), os.path.realpath(root))


def _take(root: Path) -> None:
    """Make `root` ours: a new or empty folder, or one that an earlier demo marked."""
    mark = root / _MARK
    try:
        if root.exists() and not mark.exists() and any(root.iterdir()):
            raise OutputError(
                expected="an absent or empty folder, or one that holds a demo already",
                came="a folder that holds something else",
                where=str(root),
                next_step="name another folder",
            )
        about = {
            "about": "demo data of airflow-mq-provider: `model-quality demo` makes it anew",
            "scheduled_times": [format_time(window.scheduled_time) for window in windows()],
        }
        _write(mark, json.dumps(about, indent=2) + "\n")
        for name in _REMADE:
            if (root / name).exists():
                shutil.rmtree(root / name)
    except OSError as error:
        raise OutputError(
            expected="a folder that can be written", came=str(error), where=str(root), next_step="name another folder"
        ) from error


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m airflow_mq_provider.demo DIR``: make the demo, judge every window, print the table."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1 or given[0].startswith("-"):
        print("usage: python -m airflow_mq_provider.demo DIR", file=sys.stderr)
        return 2

    def say(message: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {message}", file=sys.stderr)

    started = time.monotonic()
    root = Path(given[0])
    try:
        make(root, progress=say)
        reports = judge(root, progress=say)
    except ModelQualityError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(reports, root))
    return 0


if __name__ == "__main__":
    sys.exit(main())
