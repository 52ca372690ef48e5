"""The stand-in itself: what tests of the Airflow side take for SageMaker's behaviour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.sagemaker.schedule import schedule_request
from airflow_mq_provider.storage import Storage, join
from tests.airflow_world import Churn
from tests.sagemaker_world import NO_DATA, ROLE, Refused, SageMaker, check_shape, make_schedule

EIGHT = datetime(2026, 11, 10, 8, tzinfo=UTC)
NINE = EIGHT + timedelta(hours=1)
NAME = "churn-quality"
NAMED = {"MonitoringScheduleName": NAME}


@pytest.fixture
def churn(s3_storage: Storage, s3_bucket: str) -> Churn:
    churn = Churn(f"s3://{s3_bucket}/churn", s3_storage, {"sagemaker": {"role_arn": ROLE}})
    churn.constrained(accuracy=0.9)
    return churn


@pytest.fixture
def service(churn: Churn) -> SageMaker:
    """An account with an hourly schedule that was created at half past eight and has settled."""
    service = SageMaker(churn.storage, EIGHT + timedelta(minutes=30))
    service.endpoints["churn"] = join(churn.root, "capture")
    make_schedule(service, churn.declared())
    service.pass_time(timedelta(minutes=1))
    return service


def status(service: SageMaker) -> str:
    described = service.answer("DescribeMonitoringSchedule", NAMED)
    assert described is not None
    return str(described["MonitoringScheduleStatus"])


def test_time_stands_still_but_for_a_step_with_each_request(service: SageMaker) -> None:
    before = service.now
    service.answer("ListMonitoringSchedules", {})
    service.answer("ListMonitoringSchedules", {})
    assert service.now - before == 2 * service.step


def test_a_schedule_is_pending_until_it_has_settled(service: SageMaker) -> None:
    service.answer("StopMonitoringSchedule", NAMED)
    assert [status(service) for _ in range(3)] == ["Pending", "Pending", "Stopped"]


@pytest.mark.parametrize("call", ["StartMonitoringSchedule", "StopMonitoringSchedule", "DeleteMonitoringSchedule"])
def test_nothing_can_be_done_with_a_pending_schedule(service: SageMaker, call: str) -> None:
    service.answer("StopMonitoringSchedule", NAMED)
    with pytest.raises(Refused, match="Pending") as refused:
        service.answer(call, NAMED)
    assert refused.value.code == "ValidationException"


def test_a_schedule_under_which_an_execution_runs_cannot_be_deleted(service: SageMaker) -> None:
    service.pass_time(NINE + timedelta(minutes=3))
    with pytest.raises(Refused, match="in progress"):
        service.answer("DeleteMonitoringSchedule", NAMED)


def test_a_stopped_schedule_has_no_executions(service: SageMaker) -> None:
    service.answer("StopMonitoringSchedule", NAMED)
    service.pass_time(NINE + timedelta(hours=2))
    assert service.executions == []


def test_a_slot_before_the_schedule_was_created_has_no_execution(service: SageMaker) -> None:
    service.pass_time(NINE + timedelta(minutes=30))
    assert [one.slot for one in service.executions] == [NINE]


def test_now_runs_once_on_the_window_given(service: SageMaker, churn: Churn) -> None:
    churn.hours(EIGHT - timedelta(hours=2), 1)
    request = schedule_request(
        ModelQualityMonitor.model_validate(churn.declared()),
        schedule="NOW",
        definition_name=NAME,
        data_analysis_start="-PT4H",
        data_analysis_end="-PT0H",
        schedule_name="churn-now",
    )
    service.answer("CreateMonitoringSchedule", request)
    service.pass_time(timedelta(minutes=20))
    service.pass_time(timedelta(hours=3))
    found = [one for one in service.executions if one.schedule == "churn-now"]
    assert [one.status for one in found] == ["Completed"]


def test_an_execution_is_judged_by_our_engine(service: SageMaker, churn: Churn) -> None:
    churn.hours(EIGHT, 1, wrong=3)
    service.pass_time(NINE + timedelta(hours=1, minutes=30))
    assert [(one.status, one.failure) for one in service.executions] == [
        ("CompletedWithViolations", None),
        ("Failed", NO_DATA),
    ]


def test_pages_are_of_ten(service: SageMaker) -> None:
    service.pass_time(NINE + timedelta(hours=24, minutes=30))
    pages: list[int] = []
    token: dict[str, str] = {}
    while True:
        page = service.answer("ListMonitoringExecutions", {**NAMED, **token}) or {}
        pages.append(len(page["MonitoringExecutionSummaries"]))
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert pages == [10, 10, 5]


def test_executions_are_filtered(service: SageMaker, churn: Churn) -> None:
    churn.hours(EIGHT, 1)
    service.pass_time(NINE + timedelta(hours=3, minutes=30))
    for filters, count in (
        ({}, 4),
        ({"StatusEquals": "Completed"}, 1),
        ({"StatusEquals": "Failed", "EndpointName": "churn"}, 3),
        ({"EndpointName": "another"}, 0),
        ({"ScheduledTimeAfter": NINE}, 3),
        ({"ScheduledTimeBefore": NINE}, 0),
        ({"MonitoringJobDefinitionName": NAME}, 4),
    ):
        found = service.answer("ListMonitoringExecutions", {**NAMED, **filters}) or {}
        assert len(found["MonitoringExecutionSummaries"]) == count, filters


def test_an_alert_goes_off_with_violations(service: SageMaker, churn: Churn) -> None:
    churn.hours(EIGHT, 1, wrong=3)
    churn.hours(NINE, 1)
    service.pass_time(NINE + timedelta(minutes=30))

    def alert() -> str:
        listed = service.answer("ListMonitoringAlerts", NAMED) or {}
        return str(listed["MonitoringAlertSummaries"][0]["AlertStatus"])

    assert alert() == "InAlert"
    asked = {"MonitoringAlertName": "DefaultAlert", "DatapointsToAlert": 2, "EvaluationPeriod": 2}
    service.answer("UpdateMonitoringAlert", NAMED | asked)
    assert alert() == "OK"
    service.pass_time(NINE + timedelta(hours=1, minutes=30))
    history = service.answer("ListMonitoringAlertHistory", {**NAMED, "SortOrder": "Ascending"}) or {}
    assert [one["AlertStatus"] for one in history["MonitoringAlertHistory"]] == ["InAlert", "OK"]


def test_an_endpoint_that_is_not_there_has_no_definition(service: SageMaker, churn: Churn) -> None:
    with pytest.raises(Refused, match="endpoint"):
        make_schedule(service, churn.declared(name="another", endpoint_input={"endpoint_name": "gone"}))


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({}, "Missing required parameter"),
        ({"MonitoringScheduleArn": "arn", "Status": "Scheduled"}, "Unknown parameter"),
        ({"MonitoringScheduleArn": 1}, "Invalid type"),
    ],
)
def test_an_answer_that_aws_could_not_give_is_refused(answer: dict[str, Any], fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_shape("CreateMonitoringSchedule", answer)


def test_a_status_that_aws_has_not_is_refused(service: SageMaker) -> None:
    described = service.answer("DescribeMonitoringSchedule", NAMED) or {}
    with pytest.raises(AssertionError, match="Ready"):
        check_shape("DescribeMonitoringSchedule", described | {"MonitoringScheduleStatus": "Ready"})
