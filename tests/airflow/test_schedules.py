"""Every kind of schedule, floored: the period that ends at or before a time (rule W3, cases c and d)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum
import pytest
from airflow.sdk import DAG, Asset
from airflow.timetables.events import EventsTimetable
from dateutil.relativedelta import relativedelta

from airflow_mq_provider.airflow_internals import schedule_periods
from tests.airflow_versions import (
    AssetOrTimeSchedule,
    CronDataIntervalTimetable,
    CronTriggerTimetable,
    DeltaDataIntervalTimetable,
    MultipleCronTriggerTimetable,
)

# The clock in Berlin went from 03:00 back to 02:00 at 01:00 UTC of this day.
MOMENT = datetime(2026, 10, 25, 5, 20, 30, tzinfo=UTC)


def utc(day: int, hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 10, day, hour, minute, second, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "start", "end"),
    [
        ("0 * * * *", utc(25, 4), utc(25, 5)),
        ("@daily", utc(24, 0), utc(25, 0)),
        (CronDataIntervalTimetable("0 3 * * *", "Europe/Berlin"), utc(24, 1), utc(25, 2)),
        (CronTriggerTimetable("0 * * * *", timezone="UTC", interval=timedelta(minutes=5)), utc(25, 4), utc(25, 5)),
        (MultipleCronTriggerTimetable("0 3 * * *", "30 5 * * *", timezone="UTC"), utc(24, 5, 30), utc(25, 3)),
        (EventsTimetable([pendulum.instance(utc(9, 0)), pendulum.instance(utc(1, 0))]), utc(1, 0), utc(9, 0)),
        (timedelta(hours=2), utc(25, 3, 20, 30), MOMENT),
        (DeltaDataIntervalTimetable(timedelta(hours=2)), utc(25, 3, 20, 30), MOMENT),
        (relativedelta(months=1), datetime(2026, 9, 25, 5, 20, 30, tzinfo=UTC), MOMENT),
        (
            AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 0 * * *", timezone="UTC"), assets=[Asset("a")]),
            utc(24, 0),
            utc(25, 0),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_schedule_is_floored_to_its_latest_whole_period(schedule: Any, start: datetime, end: datetime) -> None:
    periods = schedule_periods(DAG("scheduled", schedule=schedule).timetable)
    assert periods is not None
    assert periods(MOMENT) == (start, end)


def test_a_time_on_a_tick_ends_the_period_at_itself() -> None:
    periods = schedule_periods(DAG("scheduled", schedule="0 * * * *").timetable)
    assert periods is not None
    assert periods(utc(25, 5)) == (utc(25, 4), utc(25, 5))


@pytest.mark.parametrize("schedule", [None, "@once", "@continuous", [Asset("a")]], ids=str)
def test_what_is_no_schedule_has_no_periods(schedule: Any) -> None:
    assert schedule_periods(DAG("unscheduled", schedule=schedule, max_active_runs=1).timetable) is None
