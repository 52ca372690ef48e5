"""What a report says of the one that stood in its place before: another report altogether, or the same window with fewer labels.

A run that replaces a report keeps of it what `former_of` gives, in a note beside it, until the new one stands. From that follow
``replaces`` and ``revision`` of ``report.json``, so that both survive a run that is killed in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_mq_provider.quality.metrics import HEADLINES

LABELS_CAME_LATE = "labels_came_late"
CAPTURES_CHANGED = "captures_changed"
CONSTRAINTS_CHANGED = "constraints_changed"


def former_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a report that is about to be replaced: less than a kilobyte, whatever the data. Absent keys are null."""
    capture, labels, merge, timings = (
        report.get(block) or {} for block in ("capture", "ground_truth", "merge", "timings")
    )
    headlines = HEADLINES.get(str(report.get("problem_type")), ())
    metrics = report.get("metrics") or {}
    return {
        **{name: report.get(name) for name in ("window", "definition_hash", "status", "ground_truth_as_of")},
        "matched": merge.get("matched"),
        "label_coverage": merge.get("label_coverage"),
        "metrics": {name: metrics[name]["value"] for name in headlines if name in metrics},
        "violations": [one["metric_name"] for one in report.get("violations") or ()],
        "labelled": _labelled(capture, merge),
        "capture_files": capture.get("files"),
        "capture_digest": capture.get("digest"),
        "ground_truth_files": labels.get("files"),
        "ground_truth_digest": labels.get("digest"),
        "constraints": report.get("constraints"),
        "cadence_seconds": timings.get("cadence_seconds"),
        "revision": report.get("revision"),
    }


def _labelled(capture: Mapping[str, Any], merge: Mapping[str, Any]) -> int | None:
    """How many captures found a label, those that a preprocessor dropped among them; None where nobody counted."""
    if capture.get("used") is None:
        return None
    return int(capture["used"] - merge["captures_without_label"] + capture["dropped"])


_OUTCOME = ("ground_truth_as_of", "status", "matched", "label_coverage", "metrics", "violations")


def outcome(former: Mapping[str, Any]) -> dict[str, Any]:
    """What a report said of the model, of what `former_of` keeps."""
    return {name: former[name] for name in _OUTCOME}


def replaced(
    former: Mapping[str, Any] | None, window: Mapping[str, str], definition_hash: str
) -> dict[str, Any] | None:
    """The block ``replaces``: what stood there, where it was of another window or definition."""
    if former is None or _same(former, window, definition_hash):
        return None
    return {name: former[name] for name in ("window", "definition_hash", "status")}


def revision(
    former: Mapping[str, Any] | None,
    window: Mapping[str, str],
    definition_hash: str,
    *,
    as_of: str,
    capture_digest: str | None,
    ground_truth_digest: str | None,
    constraints: Mapping[str, Any],
) -> dict[str, Any] | None:
    """The block ``revision`` of a run with these inputs, None where its report is no revision.

    - Another list of labels, as of no earlier time: the next revision, of what stood there.
    - The same list: nothing new, so what stood there is what this report revises too. A repeated run changes nothing.
    - As of an earlier time: the run that was there first is repeated, and its report was no revision.
    """
    if former is None or not _same(former, window, definition_hash):
        return None
    if former["ground_truth_digest"] == ground_truth_digest:
        found: dict[str, Any] | None = former["revision"]
        return found
    if ground_truth_digest is None or former["ground_truth_digest"] is None or as_of < former["ground_truth_as_of"]:
        return None
    changed = {
        LABELS_CAME_LATE: True,
        CAPTURES_CHANGED: former["capture_digest"] != capture_digest,
        CONSTRAINTS_CHANGED: former["constraints"] != constraints,
    }
    return {
        "number": (former["revision"] or {"number": 0})["number"] + 1,
        "why": [code for code, holds in changed.items() if holds],
        "before": outcome(former),
    }


def _same(former: Mapping[str, Any], window: Mapping[str, str], definition_hash: str) -> bool:
    return bool(former["window"] == window and former["definition_hash"] == definition_hash)
