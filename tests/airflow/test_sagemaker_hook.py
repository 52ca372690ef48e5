"""The hook and the waiters, over HTTP, against SageMaker's stand-in on the loopback interface."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from airflow_mq_provider.exceptions import InputError, ModelMonitorClosedError, SageMakerError
from airflow_mq_provider.hooks.sagemaker import ModelQualityHook
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.sagemaker.job_definition import job_definition_request, monitor_from_definition
from airflow_mq_provider.sagemaker.schedule import schedule_request
from tests.airflow_versions import AirflowNotFoundException
from tests.airflow_world import Churn
from tests.sagemaker_world import MAINTENANCE, NO_DATA, REGION, SageMaker

NINE = datetime(2026, 11, 10, 9, tzinfo=UTC)
TEN = NINE + timedelta(hours=1)
WAITERS = json.loads(files("airflow_mq_provider.sagemaker").joinpath("waiters/sagemaker.json").read_bytes())["waiters"]


@pytest.fixture
def monitor(churn_on_s3: Churn) -> ModelQualityMonitor:
    churn_on_s3.constrained(accuracy=0.9)
    return ModelQualityMonitor.model_validate(churn_on_s3.declared())


@pytest.fixture
def scheduled(hook: ModelQualityHook, sagemaker: SageMaker, monitor: ModelQualityMonitor) -> str:
    """An hourly schedule of the monitor."""
    hook.create_definition(job_definition_request(monitor, region=REGION))
    hook.ask("CreateMonitoringSchedule", **schedule_request(monitor, schedule="hourly", definition_name=monitor.name))
    sagemaker.pass_time(timedelta(minutes=1))
    return monitor.name


def test_a_definition_is_described_as_the_monitor_it_was_made_of(
    hook: ModelQualityHook, monitor: ModelQualityMonitor
) -> None:
    arn = hook.create_definition(job_definition_request(monitor, region=REGION))
    described = hook.definition(monitor.name)
    assert described is not None
    assert described["JobDefinitionArn"] == arn
    again = monitor_from_definition(described, capture_uri=monitor.input.data_captured_destination_uri)
    assert job_definition_request(again, region=REGION) == job_definition_request(monitor, region=REGION)


def test_what_is_not_there_is_none(hook: ModelQualityHook) -> None:
    assert (hook.definition("nobody"), hook.schedule("nobody"), hook.job("nobody")) == (None, None, None)
    assert (hook.definitions("nobody"), hook.schedules_of("nobody"), hook.executions("nobody")) == ([], [], [])


def test_executions_come_by_scheduled_time_however_many_pages_they_fill(
    hook: ModelQualityHook, sagemaker: SageMaker, scheduled: str
) -> None:
    for hour in range(30):
        sagemaker.pass_time(NINE + timedelta(hours=hour, minutes=40))
    found = [one["ScheduledTime"] for one in hook.executions(scheduled)]
    assert found == [NINE + timedelta(hours=hour) for hour in range(30)]


def test_bounds_of_the_scheduled_time_are_included(
    hook: ModelQualityHook, sagemaker: SageMaker, scheduled: str
) -> None:
    for hour in range(4):
        sagemaker.pass_time(NINE + timedelta(hours=hour, minutes=40))
    found = hook.executions(scheduled, scheduled_from=TEN, scheduled_to=TEN + timedelta(hours=1))
    assert [one["ScheduledTime"] for one in found] == [TEN, TEN + timedelta(hours=1)]


@pytest.mark.parametrize("late", [timedelta(0), timedelta(minutes=20)])
def test_the_execution_of_a_slot_may_be_late(
    hook: ModelQualityHook, sagemaker: SageMaker, scheduled: str, late: timedelta
) -> None:
    sagemaker.late = late
    sagemaker.pass_time(TEN + timedelta(minutes=40))
    of_nine, of_ten = hook.execution_of(scheduled, NINE), hook.execution_of(scheduled, TEN)
    assert of_nine is not None
    assert of_ten is not None
    assert (of_nine["ScheduledTime"], of_ten["ScheduledTime"]) == (NINE + late, TEN + late)
    assert hook.execution_of(scheduled, TEN + timedelta(hours=1)) is None


def test_an_execution_is_two_jobs_and_its_documents_are_ours(
    hook: ModelQualityHook, sagemaker: SageMaker, scheduled: str, churn_on_s3: Churn
) -> None:
    churn_on_s3.hours(NINE - timedelta(hours=1), 1, wrong=2)
    seen = []
    job: dict[str, Any] = {}
    for minutes in (2, 8, 14):
        sagemaker.pass_time(NINE + timedelta(minutes=minutes))
        execution = hook.execution_of(scheduled, NINE)
        assert execution is not None
        job = hook.job(execution["ProcessingJobArn"].rpartition("/")[2]) or {}
        seen.append((execution["MonitoringExecutionStatus"], job["ProcessingJobName"].rpartition("-2026")[0]))
    assert seen == [
        ("InProgress", "groundtruth-merge"),
        ("InProgress", "model-quality-monitoring"),
        ("CompletedWithViolations", "model-quality-monitoring"),
    ]
    assert job["ExitMessage"] == "CompletedWithViolations: Job completed successfully with 1 violations."
    prefix = job["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"]
    assert prefix == f"{churn_on_s3.root}/reports/churn/churn-quality/2026/11/10/09"
    statistics, violations = hook.documents(prefix)
    assert statistics.item_count == 8
    assert [violation["metric_name"] for violation in violations] == ["accuracy"]
    written = sorted(one.key for one in churn_on_s3.storage.list(prefix))
    assert written == ["constraint_violations.json", "statistics.json"]


def test_an_execution_without_data_fails(hook: ModelQualityHook, sagemaker: SageMaker, scheduled: str) -> None:
    sagemaker.pass_time(NINE + timedelta(minutes=30))
    execution = hook.execution_of(scheduled, NINE)
    assert execution is not None
    assert (execution["MonitoringExecutionStatus"], execution["FailureReason"]) == ("Failed", NO_DATA)


def test_documents_that_are_not_there_are_an_input_error(hook: ModelQualityHook, s3_bucket: str) -> None:
    with pytest.raises(InputError, match=r"statistics\.json"):
        hook.documents(f"s3://{s3_bucket}/nothing")


# --- refusals


def test_an_account_without_model_monitor_is_told_what_to_do(
    hook: ModelQualityHook, sagemaker: SageMaker, monitor: ModelQualityMonitor
) -> None:
    sagemaker.closed = True
    with pytest.raises(ModelMonitorClosedError, match="model_quality_dag") as refused:
        hook.create_definition(job_definition_request(monitor, region=REGION))
    assert MAINTENANCE in refused.value.came
    assert refused.value.where == f"sagemaker:CreateModelQualityJobDefinition {monitor.name}"


def test_another_refusal_names_call_and_code(hook: ModelQualityHook, monitor: ModelQualityMonitor) -> None:
    request = job_definition_request(monitor, region=REGION)
    hook.create_definition(request)
    with pytest.raises(SageMakerError, match="already exists") as refused:
        hook.create_definition(request)
    assert refused.value.code == "ResourceInUse"


def test_throttled_calls_are_repeated(
    hook: ModelQualityHook, sagemaker: SageMaker, scheduled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hook.conn.meta.config.retries["mode"] == "adaptive"
    monkeypatch.setattr("time.sleep", lambda _: None)
    sagemaker.throttled["DescribeMonitoringSchedule"] = 2
    assert hook.schedule(scheduled) is not None
    assert sagemaker.asked()[-3:] == ["DescribeMonitoringSchedule"] * 3


def test_arguments_reach_the_client(sagemaker: SageMaker, aws_connection: str) -> None:
    hook = ModelQualityHook.over(
        aws_conn_id=aws_connection,
        region_name="eu-west-1",
        verify=False,
        botocore_config={"read_timeout": 7, "retries": {"mode": "standard", "max_attempts": 2}},
    )
    config = hook.conn.meta.config
    assert (hook.conn_region_name, config.read_timeout, config.retries["mode"]) == ("eu-west-1", 7, "standard")


def test_a_connection_that_is_named_and_missing_is_an_error() -> None:
    with pytest.raises(AirflowNotFoundException, match="nobodys"):
        ModelQualityHook.over(aws_conn_id="nobodys").schedule("churn")


# --- waiters


def wait(hook: ModelQualityHook, how: str, waiter: str, **arguments: Any) -> None:
    """Wait with a client of the one kind or the other, without sleeping."""
    config = {"Delay": 0, "MaxAttempts": 20}
    if how == "sync":
        hook.get_waiter(waiter).wait(**arguments, WaiterConfig=config)
        return

    async def go() -> None:
        async with await hook.get_async_conn() as client:
            await hook.get_waiter(waiter, deferrable=True, client=client).wait(**arguments, WaiterConfig=config)

    asyncio.run(go())


BOTH = pytest.mark.parametrize("how", ["sync", "async"])


@BOTH
def test_schedules_are_waited_for(hook: ModelQualityHook, sagemaker: SageMaker, scheduled: str, how: str) -> None:
    for call, waiter in (
        ("StopMonitoringSchedule", "MonitoringScheduleStopped"),
        ("StartMonitoringSchedule", "MonitoringScheduleScheduled"),
        ("StopMonitoringSchedule", "MonitoringScheduleSettled"),
        ("DeleteMonitoringSchedule", "MonitoringScheduleDeleted"),
    ):
        hook.ask(call, MonitoringScheduleName=scheduled)
        wait(hook, how, waiter, MonitoringScheduleName=scheduled)
    assert hook.schedule(scheduled) is None


@BOTH
def test_executions_are_waited_for(hook: ModelQualityHook, sagemaker: SageMaker, scheduled: str, how: str) -> None:
    sagemaker.step = timedelta(minutes=2)
    sagemaker.pass_time(NINE + timedelta(minutes=2))
    wait(hook, how, "MonitoringExecutionEnded", MonitoringScheduleName=scheduled)
    execution = hook.execution_of(scheduled, NINE)
    assert execution is not None
    assert execution["MonitoringExecutionStatus"] == "Failed"


@BOTH
def test_a_schedule_that_fails_ends_the_wait(
    hook: ModelQualityHook, sagemaker: SageMaker, scheduled: str, how: str
) -> None:
    sagemaker.failing_schedules = "InternalFailure"
    hook.ask("StopMonitoringSchedule", MonitoringScheduleName=scheduled)
    with pytest.raises(WaiterError, match="terminal failure"):
        wait(hook, how, "MonitoringScheduleStopped", MonitoringScheduleName=scheduled)


@pytest.mark.parametrize("name", ["ProcessingJobComplete", "processing_job_completed_or_stopped"])
def test_waiters_of_the_amazon_provider_and_of_boto_are_reachable(hook: ModelQualityHook, name: str) -> None:
    assert hook.get_waiter(name).wait


def test_overrides_change_a_waiter(hook: ModelQualityHook) -> None:
    waiter = hook.get_waiter("MonitoringScheduleStopped", config_overrides={"delay": 1, "maxAttempts": 2})
    assert (waiter.config.delay, waiter.config.max_attempts) == (1, 2)


@pytest.mark.parametrize("name", WAITERS)
def test_waiters_ask_for_members_and_states_that_sagemaker_has(name: str) -> None:
    import botocore.session

    model = botocore.session.get_session().get_service_model("sagemaker").operation_model(WAITERS[name]["operation"])
    for acceptor in WAITERS[name]["acceptors"]:
        if acceptor["matcher"] == "error":
            assert acceptor["expected"] in {shape.error_code for shape in model.error_shapes}
            continue
        shape = model.output_shape
        for member in acceptor["argument"].split("."):
            shape = shape.members[member]
        assert acceptor["expected"] in shape.enum
