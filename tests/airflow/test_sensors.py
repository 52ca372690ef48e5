"""Sensors in Airflow: what they wait for, in each of the three ways of waiting, and what the run makes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_mq_provider import ModelQualityMonitor
from airflow_mq_provider.exceptions import InputError, ModelQualityError, OffsetError
from airflow_mq_provider.sensors.model_quality import CaptureSensor, GroundTruthSensor
from airflow_mq_provider.window import format_time, hour_folder
from tests.airflow_versions import (
    AirflowRescheduleException,
    AirflowSensorTimeout,
    CronDataIntervalTimetable,
    TaskDeferred,
)
from tests.airflow_world import Churn, MakeDag, Runs
from tests.world import label_line

# The window of a run that was scheduled for the last whole hour: it ended just now.
T = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
HOUR = timedelta(hours=1)


class Context(dict[str, Any]):
    """A run of an hourly DAG as its task sees it."""

    def __init__(self, scheduled: datetime = T, **params: Any) -> None:
        from airflow.sdk import DAG

        class DagRun:
            data_interval_start = scheduled - HOUR
            data_interval_end = scheduled
            run_after = scheduled

        dag = DAG("waiting", schedule=CronDataIntervalTimetable("0 * * * *", "UTC"))
        super().__init__(params=params, dag_run=DagRun(), dag=dag)


def captures(churn: Churn, **arguments: Any) -> CaptureSensor:
    monitor = ModelQualityMonitor.model_validate(churn.declared())
    return CaptureSensor(task_id="wait_for_captures", monitor=monitor, **arguments)


def labels(churn: Churn, settings: dict[str, Any] | None = None, **arguments: Any) -> GroundTruthSensor:
    monitor = ModelQualityMonitor.model_validate(churn.declared(**settings or {}))
    return GroundTruthSensor(task_id="wait_for_ground_truth", monitor=monitor, **arguments)


def deferral(sensor: Any, context: Context) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(context)
    return deferred.value


# --- captures


def test_captures_that_are_there_are_not_waited_for(churn: Churn) -> None:
    churn.hours(T - HOUR, 1)
    assert captures(churn).execute(Context()) == {"captures": True, "key": f"{hour_folder(T - HOUR)}/a.jsonl"}


def test_captures_after_the_window_say_that_it_is_over(churn: Churn) -> None:
    churn.hours(T, 1)
    assert captures(churn).execute(Context())["captures"] is True


def test_captures_before_the_windows_last_hour_do_not_count(churn: Churn) -> None:
    churn.hours(T - 2 * HOUR, 1)
    deferred = deferral(captures(churn, grace="P1D"), Context())
    assert deferred.trigger.serialize()[1]["deadline"] == format_time(T + timedelta(days=1))
    assert deferred.method_name == "execute_complete"


def test_an_hour_without_traffic_is_no_reason_to_hang(churn: Churn) -> None:
    assert captures(churn, grace="PT0S").execute(Context()) == {"captures": False, "key": None}


def test_a_backfill_is_never_kept_waiting_for_captures(churn: Churn) -> None:
    assert captures(churn).execute(Context(T - timedelta(days=30)))["captures"] is False


def test_a_sensor_that_is_woken_looks_for_itself(churn: Churn) -> None:
    sensor = captures(churn, grace="P1D")
    with pytest.raises(TaskDeferred):
        sensor.execute_complete(Context(), {"event": "found", "key": "gone again"})
    churn.hours(T - HOUR, 1)
    assert sensor.execute_complete(Context(), {"event": "found", "key": "?"})["captures"] is True


def test_a_triggerer_that_fails_fails_the_task_unless_all_is_there(churn: Churn) -> None:
    sensor = captures(churn, grace="P1D")
    failed = {"event": "error", "message": "NoCredentials: none here"}
    with pytest.raises(ModelQualityError, match="NoCredentials: none here"):
        sensor.execute_complete(Context(), failed)
    churn.hours(T - HOUR, 1)
    assert sensor.execute_complete(Context(), failed)["captures"] is True


# --- labels


def test_enough_labels_are_not_waited_for_and_the_as_of_time_is_now(churn: Churn) -> None:
    scheduled = T - 5 * HOUR
    churn.hours(scheduled - HOUR, 1)
    before = datetime.now(UTC).replace(microsecond=0)
    got = labels(churn).execute(Context(scheduled))
    assert (got["source"], got["label_coverage"]) == ("sensor", 1.0)
    assert before <= datetime.fromisoformat(got["as_of"]) <= datetime.now(UTC)


def test_counting_keeps_to_the_memory_limit_of_the_configuration(churn: Churn, monkeypatch: pytest.MonkeyPatch) -> None:
    churn.hours(T - 6 * HOUR, 1)
    monkeypatch.setenv("AIRFLOW__MODEL_QUALITY__MEMORY_LIMIT", "1MiB")
    with pytest.raises(InputError, match="can be judged within 1 MiB of memory"):
        labels(churn).execute(Context(T - 5 * HOUR))


def test_too_few_labels_are_waited_for_until_others_come(churn: Churn) -> None:
    scheduled = T - 5 * HOUR
    churn.hours(scheduled - HOUR, 1, labelled=4)
    deferred = deferral(labels(churn, latest="P2D"), Context(scheduled))
    arguments = deferred.trigger.serialize()[1]
    assert arguments["first_hour"] == hour_folder(scheduled - HOUR)
    assert arguments["deadline"] == format_time(scheduled + timedelta(days=2))
    assert labels(churn, coverage=0.5).execute(Context(scheduled))["label_coverage"] == 0.5


def test_what_came_meanwhile_is_counted_and_else_waited_for_again(churn: Churn) -> None:
    """Resume, count, defer again."""
    scheduled = T - 5 * HOUR
    churn.hours(scheduled - HOUR, 1, labelled=4)
    sensor, context = labels(churn), Context(scheduled)
    counted = [deferral(sensor, context).trigger.serialize()[1]["counted"]]
    hour = scheduled - HOUR
    for name, rows in (("b", (4, 5)), ("c", (6, 7))):
        lines = [label_line(f"{hour:%d%H}-{row}", "1") for row in rows]
        churn.put(f"labels/{hour_folder(scheduled)}/{name}.jsonl", lines)
        if name == "b":
            with pytest.raises(TaskDeferred) as again:
                sensor.execute_complete(context, {"event": "found"})
            counted.append(again.value.trigger.serialize()[1]["counted"])
    assert counted[0] != counted[1]
    assert sensor.execute_complete(context, {"event": "found"})["label_coverage"] == 1.0


def test_labels_in_an_hour_that_has_not_ended_do_not_count(churn: Churn) -> None:
    churn.hours(T - HOUR, 1, labelled=0)
    churn.put(f"labels/{hour_folder(T)}/a.jsonl", [label_line(f"{T - HOUR:%d%H}-{row}", "1") for row in range(8)])
    if datetime.now(UTC) < T + HOUR:  # the clock may strike while this runs
        deferral(labels(churn), Context())


def test_the_latest_time_ends_the_wait_and_is_the_as_of_time(churn: Churn) -> None:
    """So a run that is cleared a year later reads the same labels."""
    scheduled = T - timedelta(days=9)
    churn.hours(scheduled - HOUR, 1, labelled=2)
    got = labels(churn, latest="P7D").execute(Context(scheduled))
    assert (got["as_of"], got["source"]) == (format_time(scheduled + timedelta(days=7)), "sensor")


def test_the_monitors_longest_delay_bounds_the_latest_time(churn: Churn) -> None:
    scheduled = T - timedelta(days=9)
    churn.hours(scheduled - HOUR, 1, labelled=2)
    got = labels(churn, {"ground_truth_max_delay": "P1D"}, latest="P30D").execute(Context(scheduled))
    assert got["as_of"] == format_time(scheduled + timedelta(days=1))


@pytest.mark.parametrize(("as_of", "source"), [("schedule", "schedule"), ("now", "now"), (format_time(T), "time")])
def test_a_run_that_is_given_its_as_of_time_does_not_wait(churn: Churn, as_of: str, source: str) -> None:
    churn.hours(T - HOUR, 1, labelled=0)
    assert labels(churn).execute(Context(as_of=as_of))["source"] == source


def test_labels_of_a_window_without_captures_are_waited_for_only_while_those_may_be_flushed(churn: Churn) -> None:
    churn.hours(T - timedelta(days=3), 1)
    assert labels(churn).execute(Context(T - timedelta(days=2)))["label_coverage"] is None
    later = T + 2 * HOUR  # also when the clock strikes while this runs
    arguments = deferral(labels(churn), Context(later)).trigger.serialize()[1]
    assert arguments["deadline"] == format_time(later + HOUR)


def test_counting_writes_nothing(churn: Churn) -> None:
    churn.hours(T - HOUR, 1)
    before = [one.key for one in churn.storage.list(churn.root)]
    with pytest.raises(TaskDeferred):
        labels(churn, coverage=1.0, latest="P2D").execute(Context(T + HOUR))
    assert [one.key for one in churn.storage.list(churn.root)] == before


# --- ways of waiting


@pytest.mark.parametrize("kind", [captures, labels])
def test_a_sensor_defers_unless_another_way_is_chosen(churn: Churn, kind: Any) -> None:
    assert kind(churn).deferrable
    assert not kind(churn, mode="reschedule").deferrable
    assert not kind(churn, deferrable=False).deferrable


def test_a_sensor_may_free_its_worker_between_two_looks(churn: Churn) -> None:
    class Task:
        @staticmethod
        def get_first_reschedule_date(context: Any) -> None:
            return None

    context = Context(T + HOUR)
    context["ti"] = Task()
    with pytest.raises(AirflowRescheduleException):
        captures(churn, mode="reschedule", grace="P1D").execute(context)
    churn.hours(T, 1)
    assert captures(churn, mode="reschedule").execute(context)["captures"] is True


def test_a_sensor_may_poke(churn: Churn) -> None:
    with pytest.raises(AirflowSensorTimeout):
        captures(churn, mode="poke", grace="P1D", poke_interval=0.01, timeout=0.02).execute(Context(T + HOUR))
    churn.hours(T, 1)
    assert captures(churn, mode="poke").execute(Context(T + HOUR))["captures"] is True


def test_a_poking_sensor_of_labels_hands_on_the_as_of_time(churn: Churn) -> None:
    churn.hours(T - 5 * HOUR, 1)
    assert labels(churn, mode="poke").execute(Context(T - 4 * HOUR))["source"] == "sensor"


def test_how_often_a_dags_sensors_look_is_said_in_its_default_args(churn: Churn) -> None:
    from airflow.sdk import DAG

    with DAG("waiting", default_args={"poke_interval": 7}):
        assert [sensor.poke_interval for sensor in (captures(churn), labels(churn))] == [7, 7]
    assert [sensor.poke_interval for sensor in (captures(churn), labels(churn))] == [60, 300]


def test_a_sensor_does_not_time_out_before_what_it_waits_for(churn: Churn) -> None:
    assert labels(churn, latest="P30D").timeout > timedelta(days=30).total_seconds()
    assert captures(churn, grace="P30D").timeout > timedelta(days=30).total_seconds()


@pytest.mark.parametrize("coverage", [0, -0.1, 1.01])
def test_a_coverage_that_is_no_share_is_refused(churn: Churn, coverage: float) -> None:
    with pytest.raises(ModelQualityError, match="coverage of the GroundTruthSensor"):
        labels(churn, coverage=coverage)


def test_a_duration_that_is_none_is_refused_when_the_dag_is_made(churn: Churn) -> None:
    with pytest.raises(OffsetError, match="grace"):
        captures(churn, grace="-PT1H")
    with pytest.raises(OffsetError, match="latest"):
        labels(churn, latest="a week")


# --- in a run


def test_a_run_waits_in_the_triggerer_and_reads_labels_as_of_the_end_of_the_wait(
    make_dag: MakeDag, runs: Runs, churn: Churn
) -> None:
    """Too few labels, so both the triggerer and the worker have their turn; then the latest time comes."""
    now = datetime.now(UTC)
    scheduled = now.replace(minute=0, second=0, microsecond=0)
    churn.hours(scheduled - HOUR, 1, labelled=6)
    latest = int((now - scheduled).total_seconds()) + 8
    dag = make_dag(
        f"""
        model_quality_dag(
            monitor, schedule="0 * * * *", start_date=START, wait_for_captures="PT1H", wait_for_ground_truth="PT{latest}S"
        )
        """
    )
    runs.trigger(dag, logical_date=format_time(scheduled))
    states = runs.finish(dag)
    assert set(states.values()) == {"success"}
    assert len(states) == 4
    report = churn.report(hour_folder(scheduled))
    assert report["ground_truth"]["as_of_source"] == "sensor"
    assert report["ground_truth_as_of"] == format_time(scheduled + timedelta(seconds=latest))
    assert report["merge"]["label_coverage"] == 0.75
