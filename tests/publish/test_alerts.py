"""When people are told of a verdict, and in what words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.publish.alerts import RECOVERED, UNJUDGED, WORSE, AlertPolicy, alert_of, former_statuses

STATUSES = {"g": "Completed", "v": "CompletedWithViolations", "n": "NotJudged"}
TOLD = {WORSE: "W", RECOVERED: "R", UNJUDGED: "U", None: "."}


def told(policy: AlertPolicy, windows: str) -> str:
    """What is told window by window, of good (g), violated (v) and not judged (n) ones."""
    statuses = [STATUSES[window] for window in windows]
    return "".join(TOLD[policy.turn(statuses[:number], status)] for number, status in enumerate(statuses))


@pytest.mark.parametrize(
    ("policy", "windows", "expected"),
    [
        # the first violation, the recovery, and nothing in between
        ({}, "gggg", "...."),
        ({}, "v", "W"),
        ({}, "gvvvg", ".W..R"),
        ({}, "vgvg", "WRWR"),
        # what was not judged is no window: it neither ends an alarm nor begins one
        ({}, "gnvnvng", "..W...R"),
        ({}, "nnn", "..."),
        # each violation
        ({"repeat": "every"}, "gvvvgg", ".WWWR."),
        ({"repeat": "every"}, "vnvg", "W.WR"),
        # k of n, as SageMaker's DatapointsToAlert of EvaluationPeriod
        ({"datapoints_to_alert": 2, "evaluation_period": 3}, "vgggvgvgg", "......WR."),
        ({"datapoints_to_alert": 3, "evaluation_period": 3}, "vvgvvvvg", ".....W.R"),
        ({"datapoints_to_alert": 2, "evaluation_period": 2}, "vnvng", "..W.R"),
        ({"datapoints_to_alert": 1, "evaluation_period": 3}, "vgggvg", "W..RW."),
        ({"repeat": "every", "datapoints_to_alert": 2, "evaluation_period": 3}, "vvgvgg", ".W.WR."),
        # windows that are not judged, where that is asked for
        ({"not_judged": True}, "gnng", ".U.R"),
        ({"not_judged": True}, "nvng", "UWUR"),
        ({"not_judged": True}, "vnvg", "WU.R"),
        ({"not_judged": True, "repeat": "every"}, "nnvvg", "UUWWR"),
        ({"not_judged": True, "datapoints_to_alert": 2, "evaluation_period": 2}, "ngnng", "...UR"),
    ],
)
def test_the_policy_s_cases(policy: dict[str, Any], windows: str, expected: str) -> None:
    assert told(AlertPolicy(**policy), windows) == expected


POLICIES: dict[str, dict[str, Any]] = {
    "defaults": {},
    '`repeat="every"`': {"repeat": "every"},
    "2 of 3": {"datapoints_to_alert": 2, "evaluation_period": 3},
    "`not_judged=True`": {"not_judged": True},
}


def test_the_cases_of_the_page_are_what_happens() -> None:
    page = (Path(__file__).parents[2] / "docs/alerts.md").read_text()
    cases = re.findall(r"^\| `([gvn]+)` \| (.+) \| `([WRU.]+)` \|$", page, re.MULTILINE)
    assert len(cases) >= 5
    assert [told(AlertPolicy(**POLICIES[policy]), windows) for windows, policy, _ in cases] == [
        expected for _, _, expected in cases
    ]


@given(st.text("gvn", max_size=30), st.integers(1, 5).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
def test_news_of_an_alarm_and_of_its_end_take_turns(windows: str, points: tuple[int, int]) -> None:
    policy = AlertPolicy(datapoints_to_alert=points[0], evaluation_period=points[1])
    assert re.fullmatch(r"(WR)*W?", told(policy, windows).replace(".", ""))


@pytest.mark.parametrize(
    ("choice", "where"),
    [
        ({"repeat": "always"}, "repeat"),
        ({"evaluation_period": 0}, "evaluation_period"),
        ({"evaluation_period": 101}, "evaluation_period"),
        ({"datapoints_to_alert": 2}, "datapoints_to_alert"),
        ({"datapoints_to_alert": 0, "evaluation_period": 2}, "datapoints_to_alert"),
    ],
)
def test_a_policy_out_of_bounds_is_refused(choice: dict[str, Any], where: str) -> None:
    with pytest.raises(ModelQualityError, match=f"where: {where};"):
        AlertPolicy(**choice)


# --- which windows came before


def event(hour: int, status: str, **more: Any) -> dict[str, Any]:
    window = {"scheduled_time": f"2026-11-10T{hour:02}:00:00Z", "source": more.pop("source", "data_interval")}
    return {"window": window, "status": status, "run_type": "scheduled", "newest_window": True} | more


def test_windows_come_by_their_time_each_once_with_its_last_verdict() -> None:
    events = [event(7, "a"), event(6, "b"), event(6, "c"), event(8, "itself"), event(9, "later")]
    assert former_statuses(event(8, "itself"), events) == ["c", "a"]


@pytest.mark.parametrize(
    "more",
    [{"run_type": "backfill"}, {"newest_window": False}, {"source": "params"}],
    ids=lambda more: next(iter(more)),
)
def test_a_verdict_of_the_past_is_no_window_before(more: dict[str, Any]) -> None:
    assert former_statuses(event(8, "itself"), [event(6, "a"), event(7, "b", **more)]) == ["a"]


# --- words

VERDICT: dict[str, Any] = {
    "monitor": "churn-quality",
    "status": "CompletedWithViolations",
    "reason": "1 of 2 metrics violate their constraints",
    "reason_code": "violations",
    "window": {
        "start": "2026-11-10T08:00:00Z",
        "end": "2026-11-10T09:00:00Z",
        "scheduled_time": "2026-11-10T09:00:00Z",
    },
    "ground_truth_as_of": "2026-11-10T09:00:00Z",
    "merge": {"matched": 1200, "label_coverage": 0.5},
    "metrics": {
        "recall": {"value": 0.41, "standard_deviation": 0.01},
        "false_positive_rate": {"value": 0.25, "standard_deviation": "NaN"},
    },
    "violations": [
        {
            "constraint_check_type": "LessThanThreshold",
            "description": "Metric recall with 0.41 +/- 0.01 was LessThanThreshold '0.57'",
            "metric_name": "recall",
            "sd_beyond": 16.0,
            "within_noise": False,
        },
        {
            "constraint_check_type": "GreaterThanThreshold",
            "description": "Metric falsePositiveRate with 0.25 +/- NaN was GreaterThanThreshold '5.0E-4'",
            "metric_name": "falsePositiveRate",
            "sd_beyond": "NaN",
            "within_noise": False,
        },
    ],
    "report_uri": "s3://bucket/reports/churn/churn-quality/2026/11/10/09/report.json",
}


def test_a_violation_is_told_with_value_limit_window_and_report() -> None:
    alert = alert_of(WORSE, VERDICT)
    assert alert.subject == "churn-quality: the model is worse than its constraints"
    assert alert.short == (
        "churn-quality: the model is worse than its constraints. recall is 0.4100, and should be at least 0.5700 "
        "(16.0 sd below) and 1 more "
        "(2026-11-10T08:00:00Z to 2026-11-10T09:00:00Z)"
    )
    assert alert.plain == (
        "churn-quality: the model is worse than its constraints\n\n"
        "  recall is 0.4100, and should be at least 0.5700 (16.0 sd below)\n"
        "  false_positive_rate is 0.2500, and should be at most 0.0005\n\n"
        "Window: 2026-11-10T08:00:00Z to 2026-11-10T09:00:00Z\n"
        "Records: 1,200, 50.0% of the captures labelled\n"
        "Labels as of: 2026-11-10T09:00:00Z\n"
        "Report: s3://bucket/reports/churn/churn-quality/2026/11/10/09/report.json"
    )


def test_a_violation_within_noise_is_told_as_such() -> None:
    near = VERDICT["violations"][0] | {"sd_beyond": 0.84, "within_noise": True}
    alert = alert_of(WORSE, {**VERDICT, "violations": [near]})
    assert "recall is 0.4100, and should be at least 0.5700 (0.8 sd below: within noise)" in alert.short


def test_a_recovery_that_is_none_but_within_noise_does_not_say_that_all_is_within() -> None:
    near = VERDICT | {"status": "Completed", "reason_code": "within_noise"}
    assert (
        alert_of(RECOVERED, near).subject == "churn-quality: the model is beyond its constraints by no more than noise"
    )


def test_what_sagemakers_merger_does_not_count_is_not_told() -> None:
    alert = alert_of(WORSE, {**VERDICT, "merge": {"matched": 1200, "label_coverage": None}})
    assert "\nRecords: 1,200\n" in alert.plain


@pytest.mark.parametrize("kind", [RECOVERED, UNJUDGED])
def test_other_news_are_told_with_the_reason_of_the_verdict(kind: str) -> None:
    alert = alert_of(kind, {**VERDICT, "violations": [], "reason": "all is within"})
    assert "\n  all is within\n" in alert.plain


def test_a_violation_of_a_metric_without_a_number_is_told_in_sagemakers_words() -> None:
    alert = alert_of(WORSE, {**VERDICT, "metrics": {}})
    assert VERDICT["violations"][0]["description"] in alert.plain


def test_a_subject_is_what_sns_takes() -> None:
    subject = alert_of(WORSE, {**VERDICT, "monitor": "ü" * 200}).subject
    assert subject.isascii()
    assert len(subject) < 100


def test_text_from_data_is_no_markup() -> None:
    alert = alert_of(UNJUDGED, {**VERDICT, "reason": "<script>&"})
    assert "&lt;script&gt;&amp;" in alert.html
    assert "&lt;script&gt;&amp;" in alert.blocks[1]["text"]["text"]


def test_blocks_keep_slacks_limits() -> None:
    many = [
        {**VERDICT["violations"][0], "description": "x" * 5000, "metric_name": f"m{number}"} for number in range(50)
    ]
    header, section, context = alert_of(WORSE, {**VERDICT, "monitor": "m" * 200, "violations": many}).blocks
    assert len(header["text"]["text"]) <= 150
    assert len(section["text"]["text"]) <= 3000
    assert len(context["elements"]) <= 10
