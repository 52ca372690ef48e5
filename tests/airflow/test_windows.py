"""Rule W3 on a real Airflow: to which window each way of making a run leads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_mq_provider.window import format_time
from tests.airflow_versions import AIRFLOW
from tests.airflow_world import Churn, MakeDag, Runs

HOURLY = 'model_quality_dag(monitor, schedule="0 * * * *", start_date=START)'
BARE_CRON = """
with DAG(schedule="0 * * * *", start_date={start}, catchup=True):
    ModelQualityTaskGroup("quality", monitor)
"""
BOTH_OFFSETS = {"start_time_offset": "-PT8H", "end_time_offset": "-PT2H"}


@pytest.fixture(autouse=True)
def a_day_of_traffic(churn: Churn) -> None:
    churn.hours(datetime(2026, 11, 10, tzinfo=UTC), 24)


def window_of(runs: Runs, dag: Any, run_id: str | None = None) -> tuple[str, str, str]:
    """Start, end and source of a run's window, as the report of the executed run has it."""
    states = runs.finish(dag, run_id)
    assert set(states.values()) == {"success"}
    analysis = next(task for task in states if task.endswith("analyze_quality"))
    window = runs.xcom(dag, analysis, run_id)["window"]
    return window["start"], window["end"], window["source"]


def on_day(first: int, last: int, source: str) -> tuple[str, str, str]:
    return f"2026-11-10T{first:02}:00:00Z", f"2026-11-10T{last:02}:00:00Z", source


def hour_before(run: Any) -> tuple[str, str]:
    """The last whole hour at a run's run_after."""
    end = run.run_after.replace(minute=0, second=0, microsecond=0)
    return format_time(end - timedelta(hours=1)), format_time(end)


# --- a schedule with data intervals: what model_quality_dag makes of a cron expression


def test_a_scheduled_run_has_its_data_interval(make_dag: MakeDag, runs: Runs) -> None:
    start = "datetime(2026, 11, 10, 20, tzinfo=UTC)"
    dag = make_dag(f'model_quality_dag(monitor, schedule="0 * * * *", start_date={start}, catchup=True)')
    runs.scheduled()
    assert window_of(runs, dag) == on_day(20, 21, "data_interval")


def test_a_backfill_has_the_windows_of_the_scheduled_runs(make_dag: MakeDag, runs: Runs) -> None:
    """Bounds of a backfill are logical dates, starts of intervals, both included."""
    dag = make_dag(HOURLY)
    runs.backfill(dag, "2026-11-10T04:00:00Z", "2026-11-10T05:00:00Z")
    windows = [window_of(runs, dag, run.run_id) for run in runs.of(dag)]
    assert windows == [on_day(4, 5, "data_interval"), on_day(5, 6, "data_interval")]


def test_the_api_with_a_logical_date_has_the_last_whole_period_before_it(make_dag: MakeDag, runs: Runs) -> None:
    dag = make_dag(HOURLY)
    runs.trigger(dag, logical_date="2026-11-10T03:30:00Z")
    assert window_of(runs, dag) == on_day(2, 3, "data_interval")


def test_the_api_without_a_logical_date_has_the_last_whole_period_before_the_run(make_dag: MakeDag, runs: Runs) -> None:
    dag = make_dag(HOURLY)
    runs.trigger(dag, logical_date=None)
    [run] = runs.of(dag)
    assert window_of(runs, dag) == (*hour_before(run), "run_after")


def test_the_api_drops_an_interval_that_comes_without_a_logical_date(make_dag: MakeDag, runs: Runs) -> None:
    """Airflow does; the window says so by its source."""
    dag = make_dag(HOURLY)
    interval = {"data_interval_start": "2026-11-10T03:00:00Z", "data_interval_end": "2026-11-10T04:00:00Z"}
    runs.trigger(dag, logical_date=None, **interval)
    [run] = runs.of(dag)
    assert window_of(runs, dag) == (*hour_before(run), "run_after")


def test_the_api_with_a_logical_date_and_an_interval_has_that_interval(make_dag: MakeDag, runs: Runs) -> None:
    dag = make_dag(HOURLY)
    interval = {"data_interval_start": "2026-11-10T03:00:00Z", "data_interval_end": "2026-11-10T07:00:00Z"}
    runs.trigger(dag, logical_date="2026-11-10T03:00:01Z", **interval)
    assert window_of(runs, dag) == on_day(3, 7, "data_interval")


def test_the_command_line_without_a_logical_date_has_the_last_whole_period(make_dag: MakeDag, runs: Runs) -> None:
    dag = make_dag(HOURLY)
    runs.cli("dags", "trigger", dag.dag_id)
    [run] = runs.of(dag)
    assert window_of(runs, dag) == (*hour_before(run), "run_after")


@pytest.mark.skipif(AIRFLOW < (3, 1), reason="Airflow 3.0 itself fails on a logical date given to it here")
def test_the_command_line_with_a_logical_date_has_the_last_whole_period_all_the_same(
    make_dag: MakeDag, runs: Runs
) -> None:
    """Airflow infers the interval from now, whatever the logical date is: docs/airflow.md warns."""
    dag = make_dag(HOURLY)
    runs.cli("dags", "trigger", dag.dag_id, "--logical-date", "2026-11-10T07:00:00Z")
    [run] = runs.of(dag)
    assert window_of(runs, dag) == (*hour_before(run), "data_interval")


def test_dags_test_reproduces_the_run_that_was_scheduled_for_that_time(
    make_dag: MakeDag, runs: Runs, churn: Churn
) -> None:
    churn.hours(datetime(2020, 1, 1, tzinfo=UTC), 14)
    dag = make_dag(HOURLY, endpoint_input=BOTH_OFFSETS)
    runs.cli("dags", "test", dag.dag_id, "2020-01-01T13:00:00+00:00")
    assert churn.reports() == ["2020/01/01/13"]
    window = churn.report("2020/01/01/13")["window"]
    assert (window["start"], window["end"]) == ("2020-01-01T05:00:00Z", "2020-01-01T11:00:00Z")


@pytest.mark.parametrize(
    ("first", "hours"),
    [("2026, 10, 24", 25), ("2026, 10, 25", 24), ("2026, 3, 28", 23)],
    ids=["autumn", "after", "spring"],
)
def test_a_local_day_on_which_the_clock_changes_is_judged_whole(
    make_dag: MakeDag, runs: Runs, first: str, hours: int
) -> None:
    dag = make_dag(
        f"""
        berlin = CronDataIntervalTimetable("0 0 * * *", timezone="Europe/Berlin")
        model_quality_dag(monitor, schedule=berlin, start_date=datetime({first}, 12, tzinfo=UTC), catchup=True)
        """
    )
    runs.scheduled()
    start, end, source = window_of(runs, dag)
    assert source == "data_interval"
    assert datetime.fromisoformat(end) - datetime.fromisoformat(start) == timedelta(hours=hours)


def test_a_timedelta_gets_data_intervals_too(make_dag: MakeDag, runs: Runs) -> None:
    dag = make_dag("model_quality_dag(monitor, schedule=timedelta(hours=2), start_date=START)")
    runs.trigger(dag, logical_date="2026-11-10T05:20:00Z")
    assert window_of(runs, dag) == ("2026-11-10T03:20:00Z", "2026-11-10T05:20:00Z", "data_interval")


# --- schedules whose intervals are empty, or not aligned: a group of tasks in a DAG of one's own


def test_a_bare_cron_string_has_the_period_that_ends_at_its_tick(make_dag: MakeDag, runs: Runs) -> None:
    dag = make_dag(BARE_CRON.format(start="datetime(2026, 11, 10, 21, tzinfo=UTC)"))
    runs.scheduled()
    [run] = runs.of(dag)
    assert run.data_interval_start == run.data_interval_end
    assert window_of(runs, dag) == on_day(20, 21, "schedule")


def test_a_bare_cron_string_triggered_between_two_ticks_is_floored(make_dag: MakeDag, runs: Runs) -> None:
    dag = make_dag(BARE_CRON.format(start="START").replace(", catchup=True", ""))
    runs.trigger(dag, logical_date="2026-11-10T03:30:00Z")
    assert window_of(runs, dag) == on_day(2, 3, "schedule")


def test_a_trigger_timetable_with_an_interval_has_that_interval(make_dag: MakeDag, runs: Runs) -> None:
    """Its first run starts before the DAG does: Airflow makes it without any task."""
    dag = make_dag(
        """
        hourly = CronTriggerTimetable("0 * * * *", timezone="UTC", interval=timedelta(hours=1))
        start = datetime(2026, 11, 10, 20, tzinfo=UTC)
        model_quality_dag(monitor, schedule=hourly, start_date=start, catchup=True, max_active_runs=2)
        """
    )
    runs.scheduled()
    assert runs.finish(dag) == {}
    runs.scheduled()
    assert window_of(runs, dag, runs.of(dag)[-1].run_id) == on_day(20, 21, "data_interval")


def test_a_trigger_timetable_with_an_interval_is_not_aligned_by_hand(
    make_dag: MakeDag, runs: Runs, churn: Churn
) -> None:
    dag = make_dag(
        """
        hourly = CronTriggerTimetable("0 * * * *", timezone="UTC", interval=timedelta(hours=1))
        model_quality_dag(monitor, schedule=hourly, start_date=START)
        """
    )
    runs.cli("dags", "test", dag.dag_id, "2026-11-10T05:20:00+00:00")
    assert churn.report("2026/11/10/05/20")["window"]["start"] == "2026-11-10T04:20:00Z"


# --- no schedule


def test_without_a_schedule_the_logical_date_is_floored_to_the_hour(make_dag: MakeDag, runs: Runs) -> None:
    dag = make_dag("model_quality_dag(monitor)", endpoint_input=BOTH_OFFSETS)
    runs.trigger(dag, logical_date="2026-11-10T13:30:00Z")
    assert window_of(runs, dag) == on_day(5, 11, "data_interval")


def test_without_a_schedule_and_a_logical_date_the_run_is_floored_to_the_hour(make_dag: MakeDag, runs: Runs) -> None:
    dag = make_dag("model_quality_dag(monitor)", endpoint_input=BOTH_OFFSETS)
    runs.trigger(dag, logical_date=None)
    [run] = runs.of(dag)
    end = run.run_after.replace(minute=0, second=0, microsecond=0)
    bounds = format_time(end - timedelta(hours=8)), format_time(end - timedelta(hours=2))
    assert window_of(runs, dag) == (*bounds, "run_after")


def test_without_a_schedule_and_offsets_the_run_fails_and_names_the_params(
    make_dag: MakeDag, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    dag = make_dag("model_quality_dag(monitor)")
    runs.trigger(dag, logical_date=None)
    assert runs.finish(dag)["merge_ground_truth"] == "failed"
    assert "window_start" in "".join(capfd.readouterr())


def test_a_run_triggered_by_an_asset_has_the_hour_of_the_event(make_dag: MakeDag, runs: Runs) -> None:
    dag = make_dag(
        'model_quality_dag(monitor, schedule=[Asset("x-labels://churn-a")], start_date=START)',
        endpoint_input=BOTH_OFFSETS,
    )
    runs.asset_event("x-labels://churn-a")
    runs.scheduled()
    [run] = runs.of(dag)
    assert run.run_type == "asset_triggered"
    end = run.run_after.replace(minute=0, second=0, microsecond=0)
    bounds = format_time(end - timedelta(hours=8)), format_time(end - timedelta(hours=2))
    assert window_of(runs, dag) == (*bounds, "run_after")


def test_a_run_triggered_by_an_asset_beside_a_schedule_has_the_schedules_period(make_dag: MakeDag, runs: Runs) -> None:
    dag = make_dag(
        """
        yearly = CronDataIntervalTimetable("0 0 1 1 *", timezone="UTC")
        schedule = AssetOrTimeSchedule(timetable=yearly, assets=[Asset("x-labels://churn-b")])
        model_quality_dag(monitor, schedule=schedule, start_date=datetime(2099, 1, 1, tzinfo=UTC))
        """,
        endpoint_input={"start_time_offset": "-P1D"},
    )
    runs.asset_event("x-labels://churn-b")
    runs.scheduled()
    [run] = runs.of(dag)
    assert run.run_type == "asset_triggered"
    year = run.run_after.year
    assert window_of(runs, dag) == (f"{year - 1}-12-31T00:00:00Z", f"{year}-01-01T00:00:00Z", "run_after")


# --- a window given by hand


def test_params_give_any_window_whatever_the_run_has(make_dag: MakeDag, runs: Runs, churn: Churn) -> None:
    dag = make_dag(HOURLY, endpoint_input=BOTH_OFFSETS)
    window = {"window_start": "2026-11-10T01:00:00Z", "window_end": "2026-11-10T04:30:00+00:00"}
    runs.trigger(dag, logical_date="2026-11-10T20:00:00Z", conf=window)
    assert window_of(runs, dag) == ("2026-11-10T01:00:00Z", "2026-11-10T04:30:00Z", "params")
    assert churn.reports() == ["windows/20261110T010000Z_20261110T043000Z"]


def test_one_end_of_a_window_fails_the_run_and_names_the_other(
    make_dag: MakeDag, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    dag = make_dag(HOURLY)
    runs.trigger(dag, logical_date=None, conf={"window_start": "2026-11-10T01:00:00Z"})
    assert runs.finish(dag)["merge_ground_truth"] == "failed"
    assert "window_end" in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "conf",
    [
        {"window_start": "yesterday", "window_end": "2026-11-10T01:00:00Z"},
        {"window_start": 20261110, "window_end": "2026-11-10T01:00:00Z"},
        {"as_of": "later"},
        {"as_of": "now or never"},
    ],
)
def test_a_param_of_another_form_makes_no_run(make_dag: MakeDag, runs: Runs, conf: dict[str, Any]) -> None:
    dag = make_dag(HOURLY)
    refused = runs.post(f"/dags/{dag.dag_id}/dagRuns", logical_date=None, conf=conf)
    assert refused.status_code == 400
    assert next(iter(conf)) in refused.text
    assert runs.of(dag) == []
