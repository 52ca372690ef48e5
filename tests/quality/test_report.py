"""report.json: every key that others read, and nothing that JSON cannot hold."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_mq_provider.monitor import EndpointInput, ModelQualityMonitor
from airflow_mq_provider.quality.constraints import LESS, NEXT_STEPS, Constraint, judge, verdict
from airflow_mq_provider.quality.documents import Statistics, dumps
from airflow_mq_provider.quality.report import RunResult, report_document
from airflow_mq_provider.quality.states import (
    BINARY,
    CaptureCounts,
    GroundTruthCounts,
    JoinCounts,
    MergeCounts,
    Metric,
    RejectedLine,
)
from airflow_mq_provider.window import AsOf, explicit_window

COUNTS = MergeCounts(
    CaptureCounts(
        files=1,
        lines=4,
        used=3,
        rejected={"bad_json": 1},
        examples=(RejectedLine("2020/01/01/13/a.jsonl", 2, "bad_json"),),
    ),
    GroundTruthCounts(files=1, lines=3, used=3),
    JoinCounts(matched=3, label_coverage=1.0),
)
METRICS = {"recall": Metric(0.5, 0.1), "precision": Metric(math.nan), "f1": Metric(0.25)}
STATISTICS = Statistics(
    BINARY,
    METRICS,
    {"0": {"0": 1, "1": 0}, "1": {"0": 1, "1": 1}},
    {"precision_recall_curve": {"precisions": [1.0], "recalls": [0.0]}},
    3,
)


MONITOR = ModelQualityMonitor(
    name="churn",
    problem_type=BINARY,
    endpoint_input=EndpointInput(
        endpoint_name="churn", data_captured_destination_uri="s3://bucket/capture", probability_attribute="0"
    ),
    ground_truth_uri="s3://bucket/labels",
    output_uri="s3://bucket/reports",
)


def report(**changes: Any) -> dict[str, Any]:
    judgement = judge(METRICS, {name: Constraint(0.4, LESS) for name in METRICS}, BINARY)
    result = RunResult(
        monitor=MONITOR,
        window=explicit_window(datetime(2020, 1, 1, 13, tzinfo=UTC), datetime(2020, 1, 8, 13, tzinfo=UTC)),
        as_of=AsOf(datetime(2020, 1, 9, 13, tzinfo=UTC), "now"),
        counts=COUNTS,
        verdict=verdict(COUNTS, judgement),
        statistics=STATISTICS,
        constraints=None,
        judgement=judgement,
        capture_digest="c0",
        ground_truth_digest="9f",
        engine="local",
    )
    return report_document(
        replace(result, **changes), versions={"airflow_mq_provider": "0.1.0"}, timings={"merge_seconds": 0.5}
    )


def test_a_report_has_every_key():
    assert list(report()) == [
        "monitor",
        "status",
        "reason",
        "reason_code",
        "next_step",
        "window",
        "ground_truth_as_of",
        "capture",
        "ground_truth",
        "merge",
        "problem_type",
        "metrics",
        "constraints",
        "violations",
        "not_judged",
        "output",
        "engine",
        "definition_hash",
        "versions",
        "timings",
    ]


def test_a_report_says_what_was_decided_and_why():
    made = report()
    assert (made["status"], made["reason_code"]) == ("CompletedWithViolations", "violations")
    assert (
        made["reason"] == "1 of 2 judged metrics beyond the constraints: f1; without a value and not judged: precision"
    )
    assert [one["metric_name"] for one in made["violations"]] == ["f1"]
    assert [one["metric_name"] for one in made["not_judged"]] == ["precision"]


def test_a_report_says_what_to_do_next_only_where_nothing_was_judged():
    assert report()["next_step"] is None
    made = report(verdict=verdict(COUNTS, None), judgement=None)
    assert (made["reason_code"], made["next_step"]) == ("no_constraints", NEXT_STEPS["no_constraints"])


def test_a_violation_says_how_far_beyond_it_is_and_whether_that_is_noise():
    judgement = judge(METRICS, {"recall": Constraint(0.6, LESS), "f1": Constraint(0.5, LESS)}, BINARY)
    recall, f1 = report(judgement=judgement)["violations"]
    assert recall == {
        "constraint_check_type": "LessThanThreshold",
        "description": "Metric recall with 0.5 +/- 0.1 was LessThanThreshold '0.6'",
        "metric_name": "recall",
        "sd_beyond": pytest.approx(1.0),
        "within_noise": True,
    }
    assert (f1["sd_beyond"], f1["within_noise"]) == ("NaN", False)
    strict = MONITOR.model_copy(update={"noise_sd": 0.5})
    assert report(judgement=judgement, monitor=strict)["violations"][0]["within_noise"] is False


def test_a_report_says_what_was_read():
    made = report()
    assert made["window"] == {
        "start": "2020-01-01T13:00:00Z",
        "end": "2020-01-08T13:00:00Z",
        "scheduled_time": "2020-01-08T13:00:00Z",
        "source": "params",
    }
    assert made["capture"] == {
        "files": 1,
        "lines": 4,
        "used": 3,
        "outside_window": 0,
        "dropped": 0,
        "rejected": {"bad_json": 1},
        "duplicate_ids": 0,
        "rejected_examples": [{"file": "2020/01/01/13/a.jsonl", "line": 2, "reason": "bad_json"}],
        "digest": "c0",
    }
    assert made["ground_truth"]["as_of_source"] == "now"
    assert made["ground_truth"]["digest"] == "9f"
    assert made["merge"]["label_coverage"] == 1.0


def test_the_metrics_of_a_report_are_those_of_the_statistics_without_the_curves():
    assert report()["metrics"] == {
        "confusion_matrix": {"0": {"0": 1, "1": 0}, "1": {"0": 1, "1": 1}},
        "recall": {"value": 0.5, "standard_deviation": 0.1},
        "precision": {"value": "NaN", "standard_deviation": "NaN"},
        "f1": {"value": 0.25, "standard_deviation": "NaN"},
    }


def test_a_report_is_the_same_after_json():
    made = report()
    assert json.loads(dumps(made)) == made


def test_a_run_that_analyzed_nothing_has_a_report_too():
    nothing = MergeCounts(CaptureCounts(), GroundTruthCounts(), JoinCounts())
    made = report(counts=nothing, verdict=verdict(nothing, None), statistics=None, judgement=None)
    assert (made["status"], made["metrics"], made["violations"], made["not_judged"]) == ("NotJudged", {}, [], [])
    assert made["merge"]["label_coverage"] is None


def test_a_merge_that_told_no_counts_leaves_null_but_for_the_rows_of_the_statistics():
    made = report(counts=None)
    assert made["merge"]["matched"] == 3
    assert made["capture"]["lines"] is None
    assert made["merge"]["label_coverage"] is None


def test_a_report_names_the_one_that_it_replaces():
    former = {"window": {"start": "2019-12-31T00:00:00Z"}, "definition_hash": "fedcba9876543210"}
    assert report(replaces=former)["replaces"] == former


def test_a_report_names_the_versions_that_took_part():
    assert report()["versions"] == {"airflow_mq_provider": "0.1.0"}
