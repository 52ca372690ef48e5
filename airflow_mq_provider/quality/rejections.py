"""Whether so many lines were rejected that a run fails (rule I4)."""

from __future__ import annotations

from airflow_mq_provider.exceptions import RejectedLinesError
from airflow_mq_provider.quality.states import MergeCounts

_CLASSES = "positive_label and negative_label"
_SETTINGS = {
    ("capture", "foreign_label"): _CLASSES,
    ("capture", "bad_probability"): "probability_attribute",
    ("capture", "bad_number"): "inference_attribute",
    ("capture", "missing_attribute"): "inference_attribute or probability_attribute",
    ("ground truth", "foreign_label"): _CLASSES,
    ("ground truth", "bad_number"): "ground_truth_attribute, or the labels",
    ("ground truth", "missing_attribute"): "ground_truth_attribute",
    ("merge", "row_count_mismatch"): "the labels of multi-row records: as many labels as predictions",
}
"""What to look at, by the side and its worst reason."""


def refuse_too_many(counts: MergeCounts, most: float, rejected_uri: str) -> None:
    """Fail a run of which too much was rejected: its numbers would be those of another model.

    Args:
        counts: of the merge.
        most: of the lines of one side (0 to 1, ``max_rejected_ratio``); none rejected is never too many.
        rejected_uri: where all of them lie.

    Raises:
        RejectedLinesError: more of the capture lines, of the label lines or of the merged records were rejected. The worst
            reason is told with an example.
    """
    merge_lines = counts.capture.used - counts.merge.captures_without_label
    for side, lines, rejected, examples in (
        ("capture", counts.capture.lines, counts.capture.rejected, counts.capture.examples),
        ("ground truth", counts.ground_truth.lines, counts.ground_truth.rejected, counts.ground_truth.examples),
        ("merge", merge_lines, counts.merge.rejected, ()),
    ):
        total = sum(rejected.values())
        if not total or total <= most * lines:
            continue
        worst = max(rejected, key=lambda reason: rejected[reason])
        example = next((one for one in examples if one.reason == worst), None)
        where = f"{example.file}, line {example.line}; all of them" if example else "all of them"
        setting = _SETTINGS.get((side, worst), "the files, or max_rejected_ratio if so many are to be expected")
        raise RejectedLinesError(
            expected=f"at most {most:.0%} of the {side} lines rejected (max_rejected_ratio)",
            came=f"{total} of {lines}: "
            + ", ".join(f"{reason} {n}" for reason, n in sorted(rejected.items()))
            + (f"; such as {example.seen}" if example and example.seen else ""),
            where=f"{where} in {rejected_uri}",
            next_step=f"look at {setting}; docs/reasons.md tells every reason",
        )
