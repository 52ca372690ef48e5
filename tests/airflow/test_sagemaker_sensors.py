"""The sensors of SageMaker's side in DAG runs, in all three ways of waiting, against its stand-in over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.sensors.sagemaker import SageMakerMonitoringExecutionSensor, SageMakerMonitoringScheduleSensor
from airflow_mq_provider.storage import join
from tests.airflow_versions import TaskDeferred
from tests.airflow_world import Churn, FakeContext, MakeDag, Runs
from tests.sagemaker_world import NO_DATA, SageMaker, make_schedule

NAME = "churn-quality"
EIGHT = datetime(2026, 11, 10, 8, tzinfo=UTC)
NINE, TEN = EIGHT + timedelta(hours=1), EIGHT + timedelta(hours=2)
MODES = pytest.mark.parametrize("mode", ["deferrable=True", 'mode="poke"', 'mode="reschedule"'])

HOURLY = """
from airflow_mq_provider.operators.model_quality import EnforceVerdictOperator
from airflow_mq_provider.operators.sagemaker import (
    SageMakerModelQualityJobDefinitionOperator,
    SageMakerMonitoringScheduleOperator,
)
from airflow_mq_provider.sensors.sagemaker import SageMakerMonitoringExecutionSensor, SageMakerMonitoringScheduleSensor

AWS = dict(aws_conn_id="s3_of_tests")
KEPT = dict(waiter_delay=0, **AWS)
LOOK = dict(poke_interval=0.01, **AWS)

with DAG(schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"), start_date=START, default_args={"retries": 0}):
"""


@pytest.fixture
def churn(churn_on_s3: Churn) -> Churn:
    """The endpoint whose monitor the DAGs have; it is to be right nine times out of ten."""
    churn_on_s3.constrained(accuracy=0.9)
    return churn_on_s3


@pytest.fixture
def scheduled(sagemaker: SageMaker, churn: Churn) -> SageMaker:
    """An hourly schedule that has settled; nothing was captured yet."""
    make_schedule(sagemaker, churn.declared())
    sagemaker.pass_time(timedelta(minutes=1))
    return sagemaker


Look = Callable[..., tuple[str, Any]]


@pytest.fixture
def look(make_dag: MakeDag, runs: Runs) -> Look:
    """Runs one sensor for a scheduled time, and returns the task's state and what it returned."""

    def run(
        arguments: str, *, at: datetime = NINE, kind: str = "SageMakerMonitoringExecutionSensor"
    ) -> tuple[str, Any]:
        dag = make_dag(f'{HOURLY}    {kind}(task_id="wait", schedule_name="{NAME}", {arguments}, **LOOK)\n')
        runs.trigger(dag, logical_date=f"{at:%Y-%m-%dT%H:%M:%SZ}")
        state = runs.finish(dag)["wait"]
        return state, runs.xcom(dag, "wait") if state == "success" else None

    return run


# --- the whole way: from a monitor to the verdicts of two executions


KEEP = """
    definition = SageMakerModelQualityJobDefinitionOperator(
        task_id="definition", monitor=monitor, if_exists="replace", **KEPT
    )
    schedule = SageMakerMonitoringScheduleOperator(
        task_id="schedule",
        monitor=monitor,
        schedule="hourly",
        job_definition_name=definition.output["job_definition_name"],
        **KEPT,
    )
"""
FOLLOW = """
    SageMakerMonitoringExecutionSensor(
        task_id="execution", schedule_name=schedule.output["schedule_name"], on_not_judged="continue", {mode}, **LOOK
    )
"""


@MODES
def test_a_schedule_is_kept_followed_and_changed_with_its_monitor(
    mode: str, make_dag: MakeDag, runs: Runs, sagemaker: SageMaker, churn: Churn
) -> None:
    keep = make_dag(HOURLY + KEEP)
    runs.trigger(keep, logical_date="2026-11-10T08:00:00Z")
    assert set(runs.finish(keep).values()) == {"success"}
    churn.hours(EIGHT, 1, wrong=3)
    sagemaker.pass_time(TEN + timedelta(minutes=30))
    assert [one.status for one in sagemaker.executions] == ["CompletedWithViolations", "Failed"]

    sagemaker.calls.clear()
    dag = make_dag(HOURLY + KEEP + FOLLOW.format(mode=mode))
    found = {}
    for slot in (NINE, TEN):
        runs.trigger(dag, logical_date=f"{slot:%Y-%m-%dT%H:%M:%SZ}", dag_run_id=f"{slot:%H}")
        assert set(runs.finish(dag, f"{slot:%H}").values()) == {"success"}
        found[slot.hour] = runs.xcom(dag, "execution", f"{slot:%H}")
    assert sagemaker.changed() == []  # a second run changes nothing
    assert (found[9]["status"], found[9]["reason_code"]) == ("CompletedWithViolations", "violations")
    assert [violation["metric_name"] for violation in found[9]["violations"]] == ["accuracy"]
    assert found[9]["metrics"]["accuracy"]["value"] == 0.625
    assert found[9]["report_prefix"] == join(churn.root, "reports/churn", NAME, "2026/11/10/09")
    assert (found[10]["status"], found[10]["reason_code"], found[10]["reason"]) == ("Failed", "no_data", NO_DATA)
    assert (found[10]["violations"], found[10]["report_prefix"]) == ([], None)

    # the offsets are changed: the next execution is of the new definition, and the old one is gone
    offsets = {"start_time_offset": "-PT3H", "end_time_offset": "-PT0H"}
    changed = make_dag(HOURLY + KEEP, endpoint_input=offsets)
    runs.trigger(changed, logical_date="2026-11-10T10:00:00Z")
    assert set(runs.finish(changed).values()) == {"success"}
    name = runs.xcom(changed, "definition")["job_definition_name"]
    assert (name == NAME, list(sagemaker.definitions)) == (False, [name])
    sagemaker.pass_time(TEN + timedelta(hours=1, minutes=30))
    sagemaker.calls.clear()
    again = make_dag(HOURLY + KEEP + FOLLOW.format(mode=mode), endpoint_input=offsets)
    runs.trigger(again, logical_date="2026-11-10T11:00:00Z")
    assert set(runs.finish(again).values()) == {"success"}
    assert sagemaker.changed() == []
    told = runs.xcom(again, "execution")
    assert (told["status"], told["metrics"]["accuracy"]["value"]) == ("CompletedWithViolations", 0.625)


def test_the_executions_of_a_batch_transform_are_followed_too(
    make_dag: MakeDag, runs: Runs, sagemaker: SageMaker, churn: Churn
) -> None:
    churn.transforms(EIGHT, wrong=3)
    keep = make_dag(HOURLY + KEEP)
    runs.trigger(keep, logical_date="2026-11-10T08:00:00Z")
    assert set(runs.finish(keep).values()) == {"success"}
    sagemaker.pass_time(TEN)
    dag = make_dag(HOURLY + KEEP + FOLLOW.format(mode="deferrable=True"))
    runs.trigger(dag, logical_date="2026-11-10T09:00:00Z")
    assert set(runs.finish(dag).values()) == {"success"}
    told = runs.xcom(dag, "execution")
    assert (told["status"], told["metrics"]["accuracy"]["value"]) == ("CompletedWithViolations", 0.625)
    assert told["report_prefix"] == join(churn.root, "reports", NAME, "2026/11/10/09")


def test_a_dag_whose_offsets_change_replaces_the_definition_and_leaves_no_orphan(
    make_dag: MakeDag, runs: Runs, sagemaker: SageMaker
) -> None:
    """Each wait is left to the triggerer; what was done before it is told all the same."""
    told = []
    for offsets in ({}, {"start_time_offset": "-PT2H", "end_time_offset": "-PT0H"}):
        dag = make_dag(HOURLY + KEEP, endpoint_input=offsets)
        runs.trigger(dag, logical_date="2026-11-10T08:00:00Z")
        assert set(runs.finish(dag).values()) == {"success"}
        told.append((runs.xcom(dag, "definition"), runs.xcom(dag, "schedule")))
    (_, scheduled), (replaced, kept) = told
    name = replaced["job_definition_name"]
    assert list(sagemaker.definitions) == [name]
    assert sagemaker.schedules[NAME].config["MonitoringJobDefinitionName"] == name
    assert scheduled["done"] == [f"created schedule {NAME}"]
    assert replaced["done"] == [
        f"created job definition {name}",
        f"pointed schedule {NAME} from {NAME} to {name}",
        f"deleted job definition {NAME}, which {name} replaces",
    ]
    assert kept["done"] == []


@MODES
def test_an_execution_that_runs_is_waited_for(mode: str, look: Look, scheduled: SageMaker, churn: Churn) -> None:
    """Its Processing job changes under way from the merge to the analysis."""
    churn.hours(EIGHT, 1)
    scheduled.pass_time(NINE + timedelta(minutes=2))
    scheduled.step = timedelta(minutes=3)
    state, told = look(mode)
    assert (state, told["status"]) == ("success", "Completed")
    assert told["processing_job_name"].startswith("model-quality-monitoring-202611100900-")
    assert scheduled.asked("ListMonitoringExecutions", "DescribeProcessingJob")[-2:] == [
        "ListMonitoringExecutions",
        "DescribeProcessingJob",
    ]


# --- how an execution may end


def test_an_execution_that_starts_late_belongs_to_its_slot(look: Look, scheduled: SageMaker, churn: Churn) -> None:
    churn.hours(EIGHT, 1)
    scheduled.late = scheduled.lag = timedelta(minutes=20)
    scheduled.pass_time(TEN)
    state, told = look("deferrable=True")
    assert (state, told["scheduled_time"], told["status"]) == ("success", "2026-11-10T09:00:00Z", "Completed")


@pytest.mark.parametrize(
    ("reason", "code"),
    [(NO_DATA, "no_data"), ("AlgorithmError: no such column, exit code: 255", "failed")],
    ids=["no data", "algorithm"],
)
def test_reasons_of_failed_executions_are_told_apart(
    look: Look, scheduled: SageMaker, churn: Churn, reason: str, code: str
) -> None:
    scheduled.failing[NINE] = reason
    scheduled.pass_time(TEN)
    _, told = look('on_not_judged="continue", deferrable=True')
    assert (told["status"], told["reason_code"], told["reason"]) == ("Failed", code, reason)


@pytest.mark.parametrize(
    ("choices", "state"),
    [("", "failed"), ('on_not_judged="skip", ', "skipped"), ('on_not_judged="continue", ', "success")],
)
def test_a_failed_execution_fails_the_task_unless_told_otherwise(
    look: Look, scheduled: SageMaker, choices: str, state: str
) -> None:
    scheduled.pass_time(TEN)
    assert look(f"{choices}deferrable=True")[0] == state


@pytest.mark.parametrize(("choice", "state"), [("continue", "success"), ("fail", "failed")])
def test_violations_fail_the_task_where_that_is_asked_for(
    look: Look, scheduled: SageMaker, churn: Churn, choice: str, state: str
) -> None:
    churn.hours(EIGHT, 1, wrong=3)
    scheduled.pass_time(TEN)
    assert look(f'on_violation="{choice}", deferrable=True')[0] == state


def test_the_verdict_of_sagemaker_can_be_enforced_as_ours(
    make_dag: MakeDag, runs: Runs, scheduled: SageMaker, churn: Churn
) -> None:
    churn.hours(EIGHT, 1, wrong=3)
    scheduled.pass_time(TEN)
    dag = make_dag(
        f"""{HOURLY}    execution = SageMakerMonitoringExecutionSensor(task_id="wait", schedule_name="{NAME}", **LOOK)
    EnforceVerdictOperator(task_id="enforce", verdict=execution.output, on_violation="fail")
"""
    )
    runs.trigger(dag, logical_date="2026-11-10T09:00:00Z")
    assert runs.finish(dag) == {"wait": "success", "enforce": "failed"}


def test_the_execution_of_a_schedule_that_runs_now_is_followed(look: Look, sagemaker: SageMaker, churn: Churn) -> None:
    """It is found by the time at which the schedule was created, also while it is not there yet."""
    churn.hours(EIGHT - timedelta(hours=1), 1)
    make_schedule(sagemaker, churn.declared(), schedule="NOW", window=("-PT2H", "-PT0H"))
    sagemaker.step = timedelta(minutes=1)
    state, told = look('scheduled_time="2026-11-10T08:30:00Z", grace="P9999D", deferrable=True')
    assert (state, told["status"]) == ("success", "Completed")


# --- executions that do not come


def stop(service: SageMaker) -> None:
    service.answer("StopMonitoringSchedule", {"MonitoringScheduleName": NAME})


MISSING: dict[str, Callable[[SageMaker], Any]] = {
    "schedule_stopped": stop,
    "slot_skipped": lambda service: service.skipped.add(NINE),
    "created_later": lambda service: None,
    "not_a_slot": lambda service: None,
    "schedule_failed": lambda service: setattr(service.schedules[NAME], "becomes", "Failed"),
}
AT = {"created_later": EIGHT, "not_a_slot": NINE + timedelta(minutes=30)}


@pytest.mark.parametrize("code", MISSING)
def test_an_execution_that_does_not_come_is_missed_with_its_reason(look: Look, scheduled: SageMaker, code: str) -> None:
    MISSING[code](scheduled)
    scheduled.pass_time(TEN + timedelta(minutes=30))
    slot = AT.get(code, NINE)
    _, told = look(f'scheduled_time="{slot:%Y-%m-%dT%H:%M:%SZ}", on_not_judged="continue", deferrable=True')
    assert (told["status"], told["reason_code"]) == ("Missing", code)
    assert told["reason"]


def test_a_slot_of_the_future_is_waited_for(look: Look, scheduled: SageMaker) -> None:
    """A schedule that was stopped before the slot is not waited for, another one is until the task's timeout."""
    state, _ = look('scheduled_time="2099-01-01T00:00:00Z", mode="poke", timeout=2')
    assert state == "failed"
    stop(scheduled)
    state, told = look('scheduled_time="2099-01-01T00:00:00Z", on_not_judged="continue", mode="poke", timeout=2')
    assert (state, told["reason_code"]) == ("success", "schedule_stopped")


def test_a_schedule_that_is_not_there_fails_the_task(look: Look, sagemaker: SageMaker) -> None:
    assert look("deferrable=True")[0] == "failed"


def test_a_choice_that_is_none_is_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(ModelQualityError, match="continue, fail"):
        SageMakerMonitoringExecutionSensor(task_id="wait", schedule_name=NAME, on_violation="ignore")


# --- a schedule's status


@MODES
def test_a_schedule_is_waited_for_until_it_is_scheduled(
    mode: str, look: Look, sagemaker: SageMaker, churn: Churn
) -> None:
    make_schedule(sagemaker, churn.declared())
    state, told = look(mode, kind="SageMakerMonitoringScheduleSensor")
    assert (state, told["status"], told["job_definition_name"]) == ("success", "Scheduled", NAME)


def test_a_schedule_that_failed_fails_the_task(look: Look, sagemaker: SageMaker, churn: Churn) -> None:
    sagemaker.failing_schedules = "InternalFailure"
    make_schedule(sagemaker, churn.declared())
    assert look("deferrable=True", kind="SageMakerMonitoringScheduleSensor")[0] == "failed"


def test_a_status_that_is_none_is_refused(look: Look, scheduled: SageMaker) -> None:
    assert look('status="Ready", deferrable=True', kind="SageMakerMonitoringScheduleSensor")[0] == "failed"
    assert SageMakerMonitoringScheduleSensor(task_id="wait", schedule_name=NAME).deferrable


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (SageMakerMonitoringScheduleSensor, {"status": "Stopped"}),
        (SageMakerMonitoringExecutionSensor, {"scheduled_time": "2026-11-10T09:00:00Z"}),
    ],
    ids=["schedule", "execution"],
)
def test_the_connection_travels_into_the_trigger(
    scheduled: SageMaker, aws_connection: str, kind: Callable[..., Any], arguments: dict[str, Any]
) -> None:
    scheduled.pass_time(NINE + timedelta(minutes=3))
    connection = {
        "aws_conn_id": aws_connection,
        "region_name": "eu-central-1",
        "verify": False,
        "botocore_config": {"read_timeout": 9},
    }
    with pytest.raises(TaskDeferred) as deferred:
        kind(task_id="wait", schedule_name=NAME, **arguments, **connection).execute(FakeContext())
    assert connection.items() <= deferred.value.trigger.serialize()[1].items()


# --- links


def test_the_links_of_a_followed_execution(make_dag: MakeDag, runs: Runs, scheduled: SageMaker, churn: Churn) -> None:
    churn.hours(EIGHT, 1)
    scheduled.pass_time(TEN)
    dag = make_dag(f'{HOURLY}    SageMakerMonitoringExecutionSensor(task_id="wait", schedule_name="{NAME}", **LOOK)\n')
    runs.trigger(dag, logical_date="2026-11-10T09:00:00Z")
    runs.finish(dag)
    job = runs.xcom(dag, "wait")["processing_job_name"]
    console = "https://console.aws.amazon.com"
    sagemaker_console = f"{console}/sagemaker/home?region=eu-central-1#"
    bucket, _, folder = churn.root.removeprefix("s3://").partition("/")
    assert {
        name: runs.xcom(dag, "wait", key=f"_link_{name}")
        for name in ("MonitoringScheduleLink", "ProcessingJobLink", "ProcessingJobLogsLink", "SageMakerReportLink")
    } == {
        "MonitoringScheduleLink": f"{sagemaker_console}/monitoring-schedules/{NAME}",
        "ProcessingJobLink": f"{sagemaker_console}/processing-jobs/{job}",
        "ProcessingJobLogsLink": f"{console}/cloudwatch/home?region=eu-central-1#logsV2:log-groups/log-group/"
        f"$252Faws$252Fsagemaker$252FProcessingJobs$3FlogStreamNameFilter$3D{job}",
        "SageMakerReportLink": f"{console}/s3/buckets/{bucket}?region=eu-central-1"
        f"&prefix={folder}/reports/churn/{NAME}/2026/11/10/09/",
    }
