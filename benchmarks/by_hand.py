"""What one would write without this package: the same merge and the same metrics with json, a dict and scikit-learn.

    python benchmarks/by_hand.py CAPTURES LABELS START END AS_OF OUTPUT

It does the whole job for the data that `generate` writes by default, and knows only those (a binary classifier, CSV
payloads): it reads the hour folders that a run reads, leaves out what cannot be read and what lies outside the window,
takes the last label of an id, writes SageMaker's merged records, and computes SageMaker's metrics, their standard
deviations over five samples of 80 %, and the curves. The answer on standard output is checked against the truth.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import metrics

Json = dict[str, Any]
HOUR = timedelta(hours=1)


def main(captured: Path, labelled: Path, start: datetime, end: datetime, as_of: datetime, output: Path) -> Json:
    """Merge, write the merged records, analyze."""
    labels: dict[str, tuple[int, Json]] = {}
    for record in records(labelled, start, as_of):
        try:
            truth = record["groundTruthData"]
            label = float(truth["data"])
            if truth["encoding"] == "CSV" and label in (0, 1):
                labels[record["eventMetadata"]["eventId"]] = int(label), truth
        except (KeyError, TypeError, ValueError):
            continue
    actual, scores = [], []
    first, last = f"{start:%Y-%m-%dT%H:%M:%SZ}", f"{end:%Y-%m-%dT%H:%M:%SZ}"
    with output.open("w") as merged:
        for record in records(captured, start, end + HOUR):
            try:
                prediction = record["captureData"]["endpointOutput"]
                event = record["eventMetadata"]
                score = float(prediction["data"])
                readable = (
                    prediction["encoding"] == "CSV" and 0 <= score <= 1 and first <= event["inferenceTime"] < last
                )
                found = labels.get(event.get("inferenceId") or event["eventId"]) if readable else None
            except (KeyError, TypeError, ValueError):
                continue
            if found is not None:
                merged.write(json.dumps({"groundTruthData": found[1], **record}) + "\n")
                actual.append(found[0])
                scores.append(score)
    return analysis(np.array(actual), np.array(scores))


def records(root: Path, start: datetime, end: datetime) -> Iterator[Json]:
    """The lines of the hour folders of some time that are JSON, in order."""
    hour = start
    while hour < end:
        for path in sorted((root / f"{hour:%Y/%m/%d/%H}").glob("*")):
            with path.open("rb") as file:
                for line in file:
                    try:
                        yield json.loads(line)
                    except ValueError:
                        continue
        hour += HOUR


def analysis(actual: Any, scores: Any) -> Json:
    """The figures of the merged rows."""
    random = np.random.default_rng(0)
    figures = of_rows(actual, scores)
    samples = []
    for _ in range(5):
        rows = random.choice(len(actual), int(0.8 * len(actual)), replace=False)
        samples.append(of_rows(actual[rows], scores[rows]))
    majority = np.full(len(actual), int(2 * actual.sum() > len(actual)))
    precision, recall, _ = metrics.precision_recall_curve(actual, scores)
    false, true, _ = metrics.roc_curve(actual, scores)
    return {
        "matched": len(actual),
        "confusion_matrix": metrics.confusion_matrix(actual, scores > 0.5, labels=[0, 1]).tolist(),
        "metrics": figures,
        "standard_deviations": {name: float(np.std([one[name] for one in samples], ddof=1)) for name in figures},
        "best_constant": of_rows(actual, majority.astype(float)),
        "curve_points": [len(precision), len(recall), len(false), len(true)],
    }


def of_rows(actual: Any, scores: Any) -> dict[str, float]:
    """SageMaker's metrics of a binary classifier."""
    predicted = (scores > 0.5).astype(int)
    (tn, fp), (fn, tp) = metrics.confusion_matrix(actual, predicted, labels=[0, 1]).tolist()
    rates = {"true_positive_rate": (tp, fn), "true_negative_rate": (tn, fp)}
    rates |= {"false_positive_rate": (fp, tn), "false_negative_rate": (fn, tp)}
    return {
        "accuracy": float(metrics.accuracy_score(actual, predicted)),
        "precision": float(metrics.precision_score(actual, predicted, zero_division=0)),
        "recall": float(metrics.recall_score(actual, predicted, zero_division=0)),
        **{f"f{b}": float(metrics.fbeta_score(actual, predicted, beta=b, zero_division=0)) for b in (0.5, 1, 2)},
        "auc": float(metrics.roc_auc_score(actual, scores)),
        **{name: this / (this + other) if this + other else 0.0 for name, (this, other) in rates.items()},
    }


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit("usage: python benchmarks/by_hand.py CAPTURES LABELS START END AS_OF OUTPUT")
    captured, labelled, *times, output = sys.argv[1:]
    start, end, as_of = map(datetime.fromisoformat, times)
    print(json.dumps(main(Path(captured), Path(labelled), start, end, as_of, Path(output))))
