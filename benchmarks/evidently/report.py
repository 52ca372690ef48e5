"""Evidently's classification report on the same raw files: ``benchmarks/run.py`` starts it in an environment of its own.

    python benchmarks/evidently/report.py CAPTURES LABELS START END AS_OF OUTPUT

Evidently joins nothing, so the rows are merged before, by the quickest simple way that was found: json.loads of each
line, narrow columns, pandas' merge. Merged records are not written and there are no samples for standard deviations:
Evidently has neither. Its report is saved as it is for readers, HTML and JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from evidently import BinaryClassification, DataDefinition, Dataset, Report
from evidently.presets import ClassificationPreset

HOUR = timedelta(hours=1)


def main(
    captured: Path, labelled: Path, start: datetime, end: datetime, as_of: datetime, output: Path
) -> dict[str, Any]:
    """Load, merge, report."""
    labels = pd.DataFrame(labels_of(labelled, start, as_of), columns=["id", "target"])
    captures = pd.DataFrame(captures_of(captured, start, end), columns=["id", "probability"])
    rows = captures.merge(labels.drop_duplicates("id", keep="last"), on="id")
    rows["prediction"] = (rows["probability"] > 0.5).astype(int)
    roles = BinaryClassification(
        target="target", prediction_labels="prediction", prediction_probas="probability", pos_label=1
    )
    definition = DataDefinition(
        classification=[roles],
        categorical_columns=["target", "prediction"],
        numerical_columns=["probability"],
    )
    report = Report([ClassificationPreset()]).run(Dataset.from_pandas(rows, data_definition=definition), None)
    report.save_html(str(output.with_suffix(".html")))
    report.save_json(str(output.with_suffix(".json")))
    scalars = {
        metric["metric_name"].partition("(")[0]: metric["value"]
        for metric in report.dict()["metrics"]
        if isinstance(metric["value"], float)
    }
    return {"matched": len(rows), "metrics": scalars}


def labels_of(labelled: Path, start: datetime, as_of: datetime) -> Iterator[tuple[str, int]]:
    """The readable labels."""
    for record in records(labelled, start, as_of):
        try:
            truth = record["groundTruthData"]
            label = float(truth["data"])
            if truth["encoding"] == "CSV" and label in (0, 1):
                yield record["eventMetadata"]["eventId"], int(label)
        except (KeyError, TypeError, ValueError):
            continue


def captures_of(captured: Path, start: datetime, end: datetime) -> Iterator[tuple[str, float]]:
    """The readable captures of the window."""
    first, last = f"{start:%Y-%m-%dT%H:%M:%SZ}", f"{end:%Y-%m-%dT%H:%M:%SZ}"
    for record in records(captured, start, end + HOUR):
        try:
            prediction = record["captureData"]["endpointOutput"]
            event = record["eventMetadata"]
            score = float(prediction["data"])
            if prediction["encoding"] == "CSV" and 0 <= score <= 1 and first <= event["inferenceTime"] < last:
                yield event.get("inferenceId") or event["eventId"], score
        except (KeyError, TypeError, ValueError):
            continue


def records(root: Path, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
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


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit("usage: python benchmarks/evidently/report.py CAPTURES LABELS START END AS_OF OUTPUT")
    captured, labelled, *times, output = sys.argv[1:]
    start, end, as_of = map(datetime.fromisoformat, times)
    print(json.dumps(main(Path(captured), Path(labelled), start, end, as_of, Path(output))))
