"""Schedules: SageMaker's cadences and their requests, and what SageMaker has not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_mq_provider.exceptions import RequestError
from airflow_mq_provider.sagemaker.schedule import (
    airflow_cron,
    cadence,
    sagemaker_cron,
    schedule_diff,
    schedule_request,
)
from tests.sagemaker.conftest import monitor

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("schedule", "expression", "every"),
    [
        ("hourly", "cron(0 * ? * * *)", HOUR),
        ("@hourly", "cron(0 * ? * * *)", HOUR),
        ("0 * * * *", "cron(0 * ? * * *)", HOUR),
        ("0 */1 * * *", "cron(0 * ? * * *)", HOUR),
        ("cron(0 * ? * * *)", "cron(0 * ? * * *)", HOUR),
        ("daily", "cron(0 0 ? * * *)", 24 * HOUR),
        ("0 3 * * *", "cron(0 3 ? * * *)", 24 * HOUR),
        ("cron(0 3/24 ? * * *)", "cron(0 3/24 ? * * *)", 24 * HOUR),
        ("0 */6 * * *", "cron(0 0/6 ? * * *)", 6 * HOUR),
        ("0 0/6 * * *", "cron(0 0/6 ? * * *)", 6 * HOUR),
        ("0 0,6,12,18 * * *", "cron(0 0/6 ? * * *)", 6 * HOUR),
        ("0 5-23/12 * * *", "cron(0 5/12 ? * * *)", 12 * HOUR),
        ("cron(0 17/12 ? * * *)", "cron(0 17/12 ? * * *)", 12 * HOUR),
        # anew each day: 0, 5, 10, 15 and 20 o'clock, then four hours
        ("0 */5 * * *", "cron(0 0/5 ? * * *)", 4 * HOUR),
        ("NOW", "NOW", None),
        ("now", "NOW", None),
    ],
)
def test_cadences_that_sagemaker_has(schedule, expression, every):
    assert sagemaker_cron(schedule) == expression
    assert cadence(schedule) == every


@pytest.mark.parametrize(
    ("expression", "cron"),
    [
        ("cron(0 * ? * * *)", "0 * * * *"),
        ("cron(0 0/1 ? * * *)", "0 * * * *"),
        ("cron(0  3 ? * * *)", "0 3 * * *"),
        ("cron(0 0/6 ? * * *)", "0 */6 * * *"),
        ("cron(0 17/12 ? * * *)", "0 5,17 * * *"),
        ("cron(0 9/7 ? * * *)", "0 9,16,23 * * *"),
        ("NOW", None),
    ],
)
def test_sagemakers_cron_becomes_airflows(expression, cron):
    assert airflow_cron(expression) == cron


@pytest.mark.parametrize("first", range(24))
@pytest.mark.parametrize("every", range(1, 25))
def test_every_cron_of_sagemakers_goes_to_airflow_and_back_with_the_same_hours(first, every):
    cron = airflow_cron(f"cron(0 {first}/{every} ? * * *)")
    assert cron is not None
    assert airflow_cron(sagemaker_cron(cron)) == cron


@pytest.mark.parametrize(
    "schedule",
    [
        "*/30 * * * *",
        "30 * * * *",
        "0 0 * * 1",
        "0 0 1 * *",
        "0 9-17 * * *",
        "0 0,1,5 * * *",
        "@weekly",
        "weekly",
        "cron(30 * ? * * *)",
        "cron(0 24 ? * * *)",
        "cron(0 0/25 ? * * *)",
        "cron(0 0/0 ? * * *)",
        "cron(0 0 ? * MON *)",
        "rate(1 hour)",
        "0 24 * * *",
        "0 */0 * * *",
        "",
        "0 * * *",
    ],
)
def test_a_cadence_that_sagemaker_has_not_is_refused_with_the_way_in_which_airflow_can(schedule):
    with pytest.raises(RequestError, match="schedule: must be hourly, daily or every N hours") as refusal:
        sagemaker_cron(schedule)
    assert "model_quality_dag" in refusal.value.next_step


def test_a_schedule_names_its_definition_and_kind(accepted):
    request = schedule_request(monitor(), schedule="hourly", definition_name="abalone-1", tags={"team": "ml"})
    accepted("CreateMonitoringSchedule", request)
    assert request == {
        "MonitoringScheduleName": "abalone-monitoring-schedule-2021-05-06-2240",
        "MonitoringScheduleConfig": {
            "ScheduleConfig": {"ScheduleExpression": "cron(0 * ? * * *)"},
            "MonitoringJobDefinitionName": "abalone-1",
            "MonitoringType": "ModelQuality",
        },
        "Tags": [{"Key": "team", "Value": "ml"}],
    }


def test_an_update_takes_the_same_without_tags(accepted):
    accepted("UpdateMonitoringSchedule", schedule_request(monitor(), schedule="daily", definition_name="abalone-1"))


def test_now_has_a_window(accepted):
    request = schedule_request(
        monitor(),
        schedule="NOW",
        definition_name="abalone-1",
        schedule_name="once",
        data_analysis_start="-P1D",
        data_analysis_end="PT0H",
    )
    accepted("CreateMonitoringSchedule", request)
    assert request["MonitoringScheduleConfig"]["ScheduleConfig"] == {
        "ScheduleExpression": "NOW",
        "DataAnalysisStartTime": "-P1D",
        "DataAnalysisEndTime": "PT0H",
    }


def refused(**changes: Any) -> tuple[str, ...]:
    given = {"schedule": "NOW", "definition_name": "d", "data_analysis_start": "-PT5H", "data_analysis_end": "-PT1H"}
    settings = {"sagemaker": changes.pop("sagemaker")} if "sagemaker" in changes else {}
    with pytest.raises(RequestError) as refusal:
        schedule_request(monitor(**settings), **{**given, **changes})
    assert "CreateMonitoringSchedule" in refusal.value.where
    assert "model_quality_dag" in refusal.value.next_step
    return refusal.value.faults


def test_now_without_a_window_is_refused():
    faults = refused(data_analysis_start=None, data_analysis_end=None)
    assert [fault.partition(";")[0] for fault in faults] == [
        "data_analysis_start: is missing",
        "data_analysis_end: is missing",
    ]


@pytest.mark.parametrize("schedule", ["NOW", "hourly"])
def test_half_a_window_is_refused(schedule):
    assert refused(schedule=schedule, data_analysis_end=None)[0].startswith("data_analysis_end: is missing")


@pytest.mark.parametrize(("start", "end"), [("-PT25H", "-PT0H"), ("-P2D", "-PT1H")])
def test_a_window_over_a_day_is_refused(start, end):
    (fault,) = refused(data_analysis_start=start, data_analysis_end=end)
    assert "must be at most 24 hours apart" in fault


def test_a_window_that_is_empty_is_refused():
    (fault,) = refused(data_analysis_start="-PT1H", data_analysis_end="-PT1H")
    assert fault.startswith("data_analysis_start: must lie before data_analysis_end")


def test_a_window_in_months_is_refused_with_the_remedy():
    (fault,) = refused(data_analysis_start="-P1M")
    assert fault.startswith("data_analysis_start: must be an ISO 8601 duration")
    assert "-P30D" in fault


def test_a_windows_offset_has_at_most_fifteen_characters():
    (fault,) = refused(data_analysis_start="-PT0000000000005H")
    assert fault.startswith("data_analysis_start: must be an offset of at most 15 characters")


@pytest.mark.parametrize(("schedule", "limit"), [("hourly", 1801), ("0 */2 * * *", 7201), ("0 */5 * * *", 14401)])
def test_a_runtime_beyond_the_cadence_is_refused(schedule, limit):
    (fault,) = refused(schedule=schedule, sagemaker={"max_runtime_in_seconds": limit})
    assert fault.startswith(f"sagemaker.max_runtime_in_seconds: must be at most {limit - 1}, ")


@pytest.mark.parametrize(
    ("schedule", "limit"), [("hourly", 1800), ("0 */2 * * *", 7200), ("daily", 86400), ("NOW", 86400)]
)
def test_a_runtime_within_the_cadence_is_sent(schedule, limit, accepted):
    asked = monitor(sagemaker={"max_runtime_in_seconds": limit})
    request = schedule_request(
        asked, schedule=schedule, definition_name="d", data_analysis_start="-PT5H", data_analysis_end="-PT1H"
    )
    accepted("CreateMonitoringSchedule", request)


def test_all_faults_of_a_schedule_are_told_at_once():
    faults = refused(schedule="weekly", schedule_name="a_b", definition_name="", data_analysis_start=None)
    assert [fault.partition(":")[0] for fault in faults] == [
        "schedule_name",
        "definition_name",
        "schedule",
        "data_analysis_start",
    ]


def described(request: dict[str, Any], **config: Any) -> dict[str, Any]:
    """What describing the schedule answers."""
    return {
        **request,
        "MonitoringScheduleArn": "arn:aws:sagemaker:us-east-2:123456789012:monitoring-schedule/x",
        "MonitoringScheduleStatus": "Scheduled",
        "MonitoringType": "ModelQuality",
        "EndpointName": "abalone-prod-endpoint",
        "MonitoringScheduleConfig": {**request["MonitoringScheduleConfig"], **config},
    }


def test_a_schedule_as_declared_has_no_difference():
    request = schedule_request(monitor(), schedule="hourly", definition_name="d", tags={"team": "ml"})
    assert schedule_diff(described(request), request) == []


def test_another_cadence_and_definition_are_told():
    request = schedule_request(monitor(), schedule="daily", definition_name="d-2")
    there = described(
        request, ScheduleConfig={"ScheduleExpression": "cron(0 * ? * * *)"}, MonitoringJobDefinitionName="d-1"
    )
    assert sorted(map(str, schedule_diff(there, request))) == [
        "MonitoringJobDefinitionName: is 'd-1', declared 'd-2'",
        "ScheduleConfig.ScheduleExpression: is 'cron(0 * ? * * *)', declared 'cron(0 0 ? * * *)'",
    ]


def test_a_window_in_other_words_is_the_same_window():
    request = schedule_request(
        monitor(), schedule="daily", definition_name="d", data_analysis_start="-P1D", data_analysis_end="-PT0H"
    )
    when = request["MonitoringScheduleConfig"]["ScheduleConfig"]
    there = described(request, ScheduleConfig={**when, "DataAnalysisStartTime": "-PT24H"})
    assert schedule_diff(there, request) == []
    assert schedule_diff(described(request, ScheduleConfig={**when, "DataAnalysisStartTime": "-PT23H"}), request)
