"""Definitions, schedules and baselines kept by DAG runs, over HTTP, against SageMaker's stand-in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_mq_provider.exceptions import ModelQualityError, SageMakerError
from airflow_mq_provider.operators import stepwise
from airflow_mq_provider.operators.sagemaker import (
    CompareExecutionsOperator,
    SageMakerDeleteModelQualityJobDefinitionOperator,
    SageMakerDeleteMonitoringScheduleOperator,
    SageMakerModelQualityBaselineOperator,
    SageMakerModelQualityJobDefinitionOperator,
    SageMakerMonitoringScheduleOperator,
    SageMakerStartMonitoringScheduleOperator,
    SageMakerStopMonitoringScheduleOperator,
)
from airflow_mq_provider.storage import join
from tests.airflow_versions import AirflowFailException, AirflowSkipException, TaskDeferred
from tests.airflow_world import Churn, FakeContext
from tests.sagemaker_world import MAINTENANCE, SageMaker, make_schedule

NAME = "churn-quality"
NINE = datetime(2026, 11, 10, 9, tzinfo=UTC)
OTHER_OFFSET = {"start_time_offset": "-PT2H", "end_time_offset": "-PT0H"}

Operator = Callable[..., Any]


@pytest.fixture
def run(sagemaker: SageMaker, aws_connection: str) -> Callable[..., dict[str, Any]]:
    """Executes an operator in this process, without the triggerer and without sleeping."""

    def execute(kind: Operator, *, try_number: int = 1, **arguments: Any) -> dict[str, Any]:
        operator = kind(
            task_id="of_a_test",
            aws_conn_id=aws_connection,
            deferrable=False,
            waiter_delay=0,
            **{"waiter_max_attempts": 60, **arguments},
        )
        result: dict[str, Any] = operator.execute(FakeContext(try_number=try_number))
        return result

    return execute


Run = Callable[..., dict[str, Any]]


# --- job definitions


def test_a_definition_is_created_once(run: Run, sagemaker: SageMaker, churn_on_s3: Churn) -> None:
    made = run(SageMakerModelQualityJobDefinitionOperator, monitor=churn_on_s3.declared())
    assert made["job_definition_name"] == NAME
    assert made["job_definition_arn"] == sagemaker.definitions[NAME]["JobDefinitionArn"]
    again = run(SageMakerModelQualityJobDefinitionOperator, monitor=churn_on_s3.declared())
    assert (again["job_definition_arn"], again["done"]) == (made["job_definition_arn"], [])
    assert sagemaker.changed() == ["CreateModelQualityJobDefinition"]


def test_another_definition_is_not_reused(run: Run, churn_on_s3: Churn) -> None:
    run(SageMakerModelQualityJobDefinitionOperator, monitor=churn_on_s3.declared())
    with pytest.raises(SageMakerError, match=r"EndpointInput.StartTimeOffset: .*if_exists=.replace."):
        run(
            SageMakerModelQualityJobDefinitionOperator,
            monitor=churn_on_s3.declared(endpoint_input=OTHER_OFFSET),
        )


def test_with_fail_an_equal_definition_fails_too(run: Run, churn_on_s3: Churn) -> None:
    run(SageMakerModelQualityJobDefinitionOperator, monitor=churn_on_s3.declared(), if_exists="fail")
    with pytest.raises(SageMakerError, match="if_exists='fail'"):
        run(SageMakerModelQualityJobDefinitionOperator, monitor=churn_on_s3.declared(), if_exists="fail")


def test_with_fail_a_retry_finds_what_the_first_try_made(run: Run, sagemaker: SageMaker, churn_on_s3: Churn) -> None:
    for number in (1, 2):
        run(
            SageMakerModelQualityJobDefinitionOperator,
            monitor=churn_on_s3.declared(),
            if_exists="fail",
            try_number=number,
        )
    assert list(sagemaker.definitions) == [NAME]


def test_a_changed_offset_replaces_the_definition_and_leaves_no_orphan(
    run: Run, sagemaker: SageMaker, churn_on_s3: Churn
) -> None:
    make_schedule(sagemaker, churn_on_s3.declared())
    sagemaker.pass_time(timedelta(minutes=1))
    changed = churn_on_s3.declared(endpoint_input=OTHER_OFFSET)
    sagemaker.calls.clear()
    made = run(SageMakerModelQualityJobDefinitionOperator, monitor=changed, if_exists="replace")
    name = made["job_definition_name"]
    assert re.fullmatch(f"{NAME}-[0-9a-f]{{8}}", name)
    assert list(sagemaker.definitions) == [name]
    assert sagemaker.schedules[NAME].config["MonitoringJobDefinitionName"] == name
    assert sagemaker.changed() == [
        "CreateModelQualityJobDefinition",
        "UpdateMonitoringSchedule",
        "DeleteModelQualityJobDefinition",
    ]
    sagemaker.calls.clear()
    assert run(SageMakerModelQualityJobDefinitionOperator, monitor=changed, if_exists="replace")["done"] == []
    assert sagemaker.changed() == []


def test_the_old_definition_goes_only_once_the_schedule_has_settled(
    run: Run, sagemaker: SageMaker, churn_on_s3: Churn
) -> None:
    make_schedule(sagemaker, churn_on_s3.declared())
    sagemaker.pass_time(timedelta(minutes=1))
    sagemaker.failing_schedules = "InternalFailure"
    changed = churn_on_s3.declared(endpoint_input=OTHER_OFFSET)
    with pytest.raises(SageMakerError, match="InternalFailure"):
        run(SageMakerModelQualityJobDefinitionOperator, monitor=changed, if_exists="replace")
    assert NAME in sagemaker.definitions


@pytest.mark.parametrize("after", range(1, 4))
def test_a_replacement_whose_worker_died_is_finished_by_the_retry(
    run: Run, sagemaker: SageMaker, churn_on_s3: Churn, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """The worker dies behind each of the three calls that change something."""
    make_schedule(sagemaker, churn_on_s3.declared())
    sagemaker.pass_time(timedelta(minutes=1))
    sagemaker.calls.clear()
    answer = sagemaker.answer

    def dying(operation: str, given: dict[str, Any]) -> Any:
        answered = answer(operation, given)
        if len(sagemaker.changed()) == after:
            monkeypatch.setattr(sagemaker, "answer", answer)
            died.append(operation)
        return answered

    died: list[str] = []
    monkeypatch.setattr(sagemaker, "answer", dying)
    note = stepwise.StepwiseOperator._note

    def interrupted(self: Any, done: list[str], what: str) -> None:
        if died and died[-1] != "told":
            died.append("told")
            raise KeyboardInterrupt
        note(self, done, what)

    monkeypatch.setattr(stepwise.StepwiseOperator, "_note", interrupted)
    changed = churn_on_s3.declared(endpoint_input=OTHER_OFFSET)
    with pytest.raises(KeyboardInterrupt):
        run(SageMakerModelQualityJobDefinitionOperator, monitor=changed, if_exists="replace")
    made = run(SageMakerModelQualityJobDefinitionOperator, monitor=changed, if_exists="replace", try_number=2)
    assert list(sagemaker.definitions) == [made["job_definition_name"]]
    assert sagemaker.schedules[NAME].config["MonitoringJobDefinitionName"] == made["job_definition_name"]
    assert len(sagemaker.changed()) == 3


def test_a_definition_that_changes_back_has_its_first_name_again(
    run: Run, sagemaker: SageMaker, churn_on_s3: Churn
) -> None:
    for settings in ({}, {"endpoint_input": OTHER_OFFSET}, {}):
        run(
            SageMakerModelQualityJobDefinitionOperator,
            monitor=churn_on_s3.declared(**settings),
            if_exists="replace",
        )
    assert list(sagemaker.definitions) == [NAME]


def test_a_definition_of_a_similar_name_is_left_alone(run: Run, sagemaker: SageMaker, churn_on_s3: Churn) -> None:
    for name in (f"{NAME}-weekly", f"{NAME}-2"):
        run(SageMakerModelQualityJobDefinitionOperator, monitor=churn_on_s3.declared(name=name))
    for settings in ({}, {"endpoint_input": OTHER_OFFSET}):
        run(
            SageMakerModelQualityJobDefinitionOperator,
            monitor=churn_on_s3.declared(**settings),
            if_exists="replace",
        )
    assert {f"{NAME}-weekly", f"{NAME}-2"} < set(sagemaker.definitions)
    assert len(sagemaker.definitions) == 3


def test_a_batch_transform_has_a_definition_too(run: Run, sagemaker: SageMaker, churn_on_s3: Churn) -> None:
    declared = churn_on_s3.declared()
    del declared["endpoint_input"]
    declared["batch_transform_input"] = {
        "data_captured_destination_uri": join(churn_on_s3.root, "batch"),
        "dataset_format": {"csv": {"header": False}},
        "inference_attribute": "0",
    }
    for _ in range(2):
        run(SageMakerModelQualityJobDefinitionOperator, monitor=declared)
    assert sagemaker.changed() == ["CreateModelQualityJobDefinition"]


@pytest.mark.parametrize(
    "kind",
    [SageMakerModelQualityJobDefinitionOperator, SageMakerMonitoringScheduleOperator],
    ids=lambda kind: kind.__name__,
)
def test_an_account_without_model_monitor_fails_for_good(
    run: Run, sagemaker: SageMaker, churn_on_s3: Churn, kind: Operator
) -> None:
    run(SageMakerModelQualityJobDefinitionOperator, monitor=churn_on_s3.declared())
    sagemaker.closed = True
    arguments = {"schedule": "hourly"} if kind is SageMakerMonitoringScheduleOperator else {}
    declared = churn_on_s3.declared(name="another") if not arguments else churn_on_s3.declared()
    with pytest.raises(AirflowFailException, match=f"{re.escape(MAINTENANCE)}.*model_quality_dag"):
        run(kind, monitor=declared, **arguments)


def test_what_sagemaker_would_refuse_fails_for_good_before_it_is_asked(
    run: Run, sagemaker: SageMaker, churn_on_s3: Churn
) -> None:
    with pytest.raises(AirflowFailException, match="role_arn"):
        run(SageMakerModelQualityJobDefinitionOperator, monitor=churn_on_s3.declared(sagemaker={}))
    with pytest.raises(AirflowFailException, match="model_quality_dag"):
        run(SageMakerMonitoringScheduleOperator, monitor=churn_on_s3.declared(), schedule="0 5 * * 1")
    assert sagemaker.calls == []


def test_a_choice_that_is_none_is_refused_when_the_dag_is_parsed(churn_on_s3: Churn) -> None:
    with pytest.raises(ModelQualityError, match="reuse, replace, fail"):
        SageMakerModelQualityJobDefinitionOperator(
            task_id="of_a_test", monitor=churn_on_s3.declared(), if_exists="overwrite"
        )


# --- schedules


@pytest.fixture
def defined(run: Run, churn_on_s3: Churn) -> dict[str, Any]:
    """A monitor whose job definition exists."""
    run(SageMakerModelQualityJobDefinitionOperator, monitor=churn_on_s3.declared())
    return churn_on_s3.declared()


def test_a_schedule_is_created_and_waited_for(run: Run, sagemaker: SageMaker, defined: dict[str, Any]) -> None:
    made = run(SageMakerMonitoringScheduleOperator, monitor=defined, schedule="hourly")
    assert (made["schedule_name"], made["status"], made["done"]) == (NAME, "Scheduled", [f"created schedule {NAME}"])
    assert sagemaker.schedules[NAME].config["ScheduleConfig"] == {"ScheduleExpression": "cron(0 * ? * * *)"}


def test_a_schedule_as_declared_is_left_alone(run: Run, sagemaker: SageMaker, defined: dict[str, Any]) -> None:
    run(SageMakerMonitoringScheduleOperator, monitor=defined, schedule="0 3 * * *")
    sagemaker.calls.clear()
    assert run(SageMakerMonitoringScheduleOperator, monitor=defined, schedule="cron(0 3 ? * * *)")["done"] == []
    assert sagemaker.changed() == []


def test_a_changed_schedule_is_updated_and_says_what_changed(
    run: Run, sagemaker: SageMaker, defined: dict[str, Any]
) -> None:
    run(SageMakerMonitoringScheduleOperator, monitor=defined, schedule="hourly")
    made = run(SageMakerMonitoringScheduleOperator, monitor=defined, schedule="daily")
    [told] = made["done"]
    assert told.startswith(f"updated schedule {NAME}: ScheduleConfig.ScheduleExpression: is 'cron(0 * ? * * *)'")
    assert sagemaker.schedules[NAME].config["ScheduleConfig"]["ScheduleExpression"] == "cron(0 0 ? * * *)"


def test_a_schedule_that_somebody_stopped_stays_stopped(
    run: Run, sagemaker: SageMaker, defined: dict[str, Any]
) -> None:
    run(SageMakerMonitoringScheduleOperator, monitor=defined, schedule="hourly")
    run(SageMakerStopMonitoringScheduleOperator, schedule_name=NAME)
    assert run(SageMakerMonitoringScheduleOperator, monitor=defined, schedule="hourly")["status"] == "Stopped"


def test_a_schedule_that_fails_says_why(run: Run, sagemaker: SageMaker, defined: dict[str, Any]) -> None:
    sagemaker.failing_schedules = "InternalFailure: role cannot be assumed"
    with pytest.raises(SageMakerError, match="role cannot be assumed"):
        run(SageMakerMonitoringScheduleOperator, monitor=defined, schedule="hourly")


def test_a_schedule_that_does_not_settle_in_time_says_so(
    run: Run, sagemaker: SageMaker, defined: dict[str, Any]
) -> None:
    sagemaker.settling = timedelta(days=1)
    with pytest.raises(SageMakerError, match=r"Max attempts exceeded.*waiter_max_attempts"):
        run(SageMakerMonitoringScheduleOperator, monitor=defined, schedule="hourly", waiter_max_attempts=2)


def test_a_schedule_is_stopped_and_started_once(run: Run, sagemaker: SageMaker, defined: dict[str, Any]) -> None:
    run(SageMakerMonitoringScheduleOperator, monitor=defined, schedule="hourly")
    sagemaker.calls.clear()
    for kind, word, status in (
        (SageMakerStopMonitoringScheduleOperator, "stopped", "Stopped"),
        (SageMakerStartMonitoringScheduleOperator, "started", "Scheduled"),
    ):
        assert run(kind, schedule_name=NAME) == {
            "schedule_name": NAME,
            "status": status,
            "done": [f"{word} schedule {NAME}"],
        }
        assert run(kind, schedule_name=NAME)["done"] == []
    assert sagemaker.changed() == ["StopMonitoringSchedule", "StartMonitoringSchedule"]


def test_a_schedule_that_is_not_there_cannot_be_started(run: Run) -> None:
    with pytest.raises(SageMakerError, match="none of that name"):
        run(SageMakerStartMonitoringScheduleOperator, schedule_name="nobody")


def test_a_schedule_is_deleted_once_its_execution_has_ended(
    run: Run, sagemaker: SageMaker, defined: dict[str, Any]
) -> None:
    run(SageMakerMonitoringScheduleOperator, monitor=defined, schedule="hourly")
    sagemaker.pass_time(NINE + timedelta(minutes=3))
    sagemaker.step = timedelta(seconds=30)
    sagemaker.calls.clear()
    assert run(SageMakerDeleteMonitoringScheduleOperator, schedule_name=NAME)["done"] == [
        f"stopped schedule {NAME}",
        f"deleted schedule {NAME}",
    ]
    assert sagemaker.changed() == ["StopMonitoringSchedule", "DeleteMonitoringSchedule"]
    assert sagemaker.executions[0].status == "Failed"
    assert run(SageMakerDeleteMonitoringScheduleOperator, schedule_name=NAME)["done"] == []


def test_a_schedule_that_fails_while_it_is_waited_for_is_deleted(
    run: Run, sagemaker: SageMaker, churn_on_s3: Churn
) -> None:
    sagemaker.failing_schedules = "InternalFailure"
    make_schedule(sagemaker, churn_on_s3.declared())
    run(SageMakerDeleteMonitoringScheduleOperator, schedule_name=NAME)
    assert sagemaker.answer("ListMonitoringSchedules", {}) == {"MonitoringScheduleSummaries": []}


def test_a_schedule_that_fails_while_it_is_stopped_is_deleted(
    run: Run, sagemaker: SageMaker, defined: dict[str, Any]
) -> None:
    run(SageMakerMonitoringScheduleOperator, monitor=defined, schedule="hourly")
    sagemaker.failing_schedules = "InternalFailure"
    assert run(SageMakerDeleteMonitoringScheduleOperator, schedule_name=NAME)["done"][-1] == f"deleted schedule {NAME}"


def test_a_definition_that_a_schedule_runs_is_not_deleted(
    run: Run, sagemaker: SageMaker, defined: dict[str, Any]
) -> None:
    run(SageMakerMonitoringScheduleOperator, monitor=defined, schedule="hourly")
    with pytest.raises(SageMakerError, match=f"schedules {NAME}"):
        run(SageMakerDeleteModelQualityJobDefinitionOperator, job_definition_name=NAME)
    run(SageMakerDeleteMonitoringScheduleOperator, schedule_name=NAME)
    run(SageMakerDeleteModelQualityJobDefinitionOperator, job_definition_name=NAME)
    assert sagemaker.definitions == {}
    assert run(SageMakerDeleteModelQualityJobDefinitionOperator, job_definition_name=NAME)["done"] == []


# --- baselines


@pytest.fixture
def baseline(churn_on_s3: Churn, sagemaker: SageMaker) -> dict[str, Any]:
    """The arguments of a baseline of eight labelled rows, whose job takes half a minute."""
    sagemaker.analyzing = timedelta(seconds=30)
    rows = ["probability,label", *(f"0.{row + 1},{int(row > 3)}" for row in range(8))]
    churn_on_s3.put("baseline/labelled.csv", [row.encode() for row in rows])
    return {
        "monitor": churn_on_s3.declared(),
        "dataset_uri": join(churn_on_s3.root, "baseline/labelled.csv"),
        "probability_attribute": "probability",
        "ground_truth_attribute": "label",
    }


def test_a_baseline_is_the_same_on_sagemaker_and_here(
    run: Run, sagemaker: SageMaker, churn_on_s3: Churn, baseline: dict[str, Any]
) -> None:
    made = {
        compute: run(
            SageMakerModelQualityBaselineOperator,
            compute=compute,
            output_uri=join(churn_on_s3.root, compute),
            **baseline,
        )
        for compute in ("sagemaker", "local")
    }
    assert made["sagemaker"]["constraints"] == made["local"]["constraints"]
    assert made["sagemaker"]["statistics"] == made["local"]["statistics"]
    assert made["sagemaker"]["records"] == 8
    accuracy = made["local"]["constraints"]["binary_classification_constraints"]["accuracy"]
    assert accuracy == {"threshold": 0.875, "comparison_operator": "LessThanThreshold"}
    assert not [name for name in made["local"]["statistics"]["binary_classification_metrics"] if "curve" in name]
    assert sagemaker.changed() == ["CreateProcessingJob"]


def test_a_retry_picks_up_the_job_that_runs(
    run: Run, sagemaker: SageMaker, churn_on_s3: Churn, baseline: dict[str, Any]
) -> None:
    arguments = {"output_uri": join(churn_on_s3.root, "out"), **baseline}
    with pytest.raises(SageMakerError, match="Max attempts"):
        run(SageMakerModelQualityBaselineOperator, waiter_max_attempts=1, **arguments)
    made = run(SageMakerModelQualityBaselineOperator, try_number=2, waiter_max_attempts=90, **arguments)
    assert [told.split(" ")[0] for told in made["done"]] == ["picked"]
    assert sagemaker.changed() == ["CreateProcessingJob"]


def test_a_job_that_failed_fails_the_try_and_the_retry_starts_another(
    run: Run, sagemaker: SageMaker, churn_on_s3: Churn, baseline: dict[str, Any]
) -> None:
    sagemaker.failing_jobs = ["ClientError: Please use an instance type with more memory"]
    arguments = {"output_uri": join(churn_on_s3.root, "out"), **baseline}
    with pytest.raises(SageMakerError, match="more memory"):
        run(SageMakerModelQualityBaselineOperator, **arguments)
    run(SageMakerModelQualityBaselineOperator, try_number=2, **arguments)
    first, second = sagemaker.jobs
    assert second == f"{first}-2"


def test_a_cancelled_task_stops_its_job(
    sagemaker: SageMaker, churn_on_s3: Churn, baseline: dict[str, Any], aws_connection: str
) -> None:
    operator = SageMakerModelQualityBaselineOperator(
        task_id="of_a_test", aws_conn_id=aws_connection, output_uri=join(churn_on_s3.root, "out"), **baseline
    )
    with pytest.raises(TaskDeferred):
        operator.execute(FakeContext())
    operator.on_kill()
    sagemaker.pass_time(timedelta(minutes=1))
    [job] = sagemaker.jobs.values()
    assert job.ended == ("Stopped", None, None)


# --- deferral


def test_the_connection_travels_into_the_trigger(
    sagemaker: SageMaker, defined: dict[str, Any], aws_connection: str
) -> None:
    connection = {
        "aws_conn_id": aws_connection,
        "region_name": "eu-central-1",
        "verify": False,
        "botocore_config": {"read_timeout": 9},
    }
    operator = SageMakerMonitoringScheduleOperator(
        task_id="of_a_test", monitor=defined, schedule="hourly", waiter_delay=3, waiter_max_attempts=4, **connection
    )
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(FakeContext())
    arguments = deferred.value.trigger.serialize()[1]
    assert connection.items() <= arguments.items()
    assert (arguments["waiter_delay"], arguments["waiter_max_attempts"]) == (3, 4)


# --- comparing


@pytest.fixture
def reports(churn_on_s3: Churn) -> tuple[str, str]:
    """Two folders with documents that say the same."""
    statistics = {
        "version": 0.0,
        "dataset": {"item_count": 100},
        "regression_metrics": {"mae": {"value": 2.0, "standard_deviation": "NaN"}},
    }
    folders = join(churn_on_s3.root, "theirs"), join(churn_on_s3.root, "ours")
    for folder in folders:
        churn_on_s3.storage.write(join(folder, "statistics.json"), json.dumps(statistics).encode())
        churn_on_s3.storage.write(join(folder, "constraint_violations.json"), b'{"violations": []}')
    return folders


def compared(reports: tuple[str, str], aws_connection: str, **arguments: Any) -> dict[str, Any]:
    operator = CompareExecutionsOperator(
        task_id="of_a_test",
        aws_conn_id=aws_connection,
        **{
            "sagemaker": {"report_prefix": reports[0]},
            "airflow": {"report_uri": f"{reports[1]}/report.json"},
            **arguments,
        },
    )
    return operator.execute(FakeContext())


def another_mae(churn: Churn, folder: str) -> None:
    found = json.loads(churn.storage.read(join(folder, "statistics.json")))
    found["regression_metrics"]["mae"]["value"] = 3.0
    churn.storage.write(join(folder, "statistics.json"), json.dumps(found).encode())


def test_reports_that_say_the_same_are_the_same(reports: tuple[str, str], aws_connection: str) -> None:
    found = compared(reports, aws_connection, on_difference="fail")
    assert (found["verdict"], found["a"], found["b"]) == ("same", *reports)


def test_reports_are_named_by_their_folders_too(reports: tuple[str, str], aws_connection: str) -> None:
    assert compared(reports, aws_connection, sagemaker=reports[0], airflow=f"{reports[1]}/")["verdict"] == "same"


def test_a_difference_is_told_and_fails_where_that_is_asked_for(
    reports: tuple[str, str], aws_connection: str, churn_on_s3: Churn
) -> None:
    another_mae(churn_on_s3, reports[1])
    found = compared(reports, aws_connection)
    assert found["verdict"] == "different"
    assert [(row["a"], row["b"]) for row in found["metrics"] if row["name"] == "mae"] == [(2.0, 3.0)]
    with pytest.raises(AirflowFailException, match="mae"):
        compared(reports, aws_connection, on_difference="fail")


@pytest.mark.parametrize(
    ("choice", "raised"), [("skip", AirflowSkipException), ("fail", AirflowFailException), ("continue", None)]
)
def test_a_side_that_was_not_judged_is_not_compared(
    reports: tuple[str, str], aws_connection: str, choice: str, raised: type[Exception] | None
) -> None:
    arguments: dict[str, Any] = {"sagemaker": {"report_prefix": None}, "on_not_comparable": choice}
    if raised is None:
        assert compared(reports, aws_connection, **arguments)["verdict"] is None
        return
    with pytest.raises(raised, match="sagemaker"):
        compared(reports, aws_connection, **arguments)
