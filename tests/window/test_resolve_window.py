"""Rule W3: where the scheduled time and the interval come from; the rows that Airflow really produces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from airflow_mq_provider.exceptions import OffsetError, WindowError
from airflow_mq_provider.window import Window, resolve_window


def at(hour: int, minute: int = 0, second: int = 0, *, day: int = 22) -> datetime:
    return datetime(2026, 11, day, hour, minute, second, tzinfo=UTC)


def hourly(moment: datetime) -> tuple[datetime, datetime]:
    end = moment.replace(minute=0, second=0, microsecond=0)
    return end - timedelta(hours=1), end


def daily_at_six(moment: datetime) -> tuple[datetime, datetime]:
    end = moment.replace(hour=6, minute=0, second=0, microsecond=0)
    if end > moment:
        end -= timedelta(days=1)
    return end - timedelta(days=1), end


def resolve(**given: Any) -> Window:
    arguments: dict[str, Any] = {
        "start_offset": None,
        "end_offset": None,
        "interval": None,
        "run_after": at(21),
        "period_before": hourly,
    }
    return resolve_window(**(arguments | given))


# --- (a) an explicit window from the run's params


def test_a_an_explicit_window_wins_over_everything():
    made = resolve(
        start_offset="-P8D",
        end_offset="-P1D",
        params_start=at(3),
        params_end=at(5, 30),
        interval=(at(20), at(21)),
    )
    assert made == Window(start=at(3), end=at(5, 30), scheduled_time=at(5, 30), source="params")


def test_a_params_may_be_text_as_a_form_gives_them():
    made = resolve(params_start="2026-11-22T03:00:00+00:00", params_end="2026-11-22T05:30:00Z")
    assert (made.start, made.end, made.source) == (at(3), at(5, 30), "params")


def test_a_empty_params_of_a_form_count_as_absent():
    assert resolve(params_start="", params_end=None, interval=(at(20), at(21))).source == "data_interval"


@pytest.mark.parametrize(
    ("given", "missing"), [({"params_start": at(3)}, "window_end"), ({"params_end": at(5)}, "window_start")]
)
def test_a_half_an_explicit_window_is_refused_with_the_missing_half_named(given, missing):
    with pytest.raises(WindowError) as refusal:
        resolve(interval=(at(20), at(21)), **given)
    assert missing in refusal.value.next_step


def test_a_param_of_another_type_is_refused_by_its_name():
    with pytest.raises(WindowError, match="window_start"):
        resolve(params_start=5, params_end=at(5))


def test_a_params_that_cross_are_refused():
    with pytest.raises(WindowError, match="window_start"):
        resolve(params_start=at(5), params_end=at(3))


def test_a_param_that_is_no_time_is_refused_by_its_name():
    with pytest.raises(WindowError, match="window_end"):
        resolve(params_start=at(5), params_end="tomorrow")


# --- (b) a non-empty data interval


def test_b_a_scheduled_run_of_a_data_interval_timetable():
    made = resolve(interval=(at(20), at(21)))
    assert made == Window(start=at(20), end=at(21), scheduled_time=at(21), source="data_interval")


def test_b_a_triggered_run_whose_interval_airflow_inferred():
    """REST, logical date 03:30: the timetable infers the last whole hour before it."""
    made = resolve(interval=(at(2), at(3)), run_after=at(21, 7))
    assert (made.start, made.end, made.source) == (at(2), at(3), "data_interval")


def test_b_an_interval_off_the_schedule_is_taken_as_it_is():
    """A trigger timetable with an interval, tested at 05:20, gives 04:20 to 05:20."""
    made = resolve(interval=(at(4, 20), at(5, 20)))
    assert (made.start, made.end, made.report_folder) == (at(4, 20), at(5, 20), "2026/11/22/05/20")


def test_b_offsets_count_from_the_end_of_the_interval_and_not_from_its_start():
    made = resolve(start_offset="-PT8H", end_offset="-PT2H", interval=(at(20), at(21)))
    assert (made.start, made.end, made.scheduled_time) == (at(13), at(19), at(21))


def test_b_a_backfill_has_the_window_of_the_scheduled_run_whenever_it_runs():
    scheduled = resolve(start_offset="-P8D", end_offset="-P1D", interval=(at(20), at(21)), run_after=at(21))
    backfilled = resolve(start_offset="-P8D", end_offset="-P1D", interval=(at(20), at(21)), run_after=at(9, day=29))
    assert backfilled == scheduled


def test_b_the_hour_that_comes_twice_is_no_empty_interval():
    """Two local times that read alike are an hour apart; compared within one zone Python calls them equal."""
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 25, 2, 30, tzinfo=berlin)
    made = resolve(interval=(first, first.replace(fold=1)))
    assert (made.source, made.end - made.start) == ("data_interval", timedelta(hours=1))


def test_b_an_interval_of_less_than_a_second_counts_as_empty():
    made = resolve(interval=(at(21, 30), at(21, 30) + timedelta(microseconds=500_000)))
    assert (made.source, made.end) == ("schedule", at(21))


# --- (c) an empty data interval, with a schedule


def test_c_a_bare_cron_string_gives_the_period_that_ends_at_its_tick():
    made = resolve(interval=(at(21), at(21)))
    assert made == Window(start=at(20), end=at(21), scheduled_time=at(21), source="schedule")


def test_c_a_logical_date_between_two_ticks_is_floored_to_the_schedule():
    made = resolve(interval=(at(3, 30), at(3, 30)))
    assert (made.start, made.end, made.source) == (at(2), at(3), "schedule")


def test_c_the_period_is_the_schedules_own():
    made = resolve(interval=(at(3, 30), at(3, 30)), period_before=daily_at_six)
    assert (made.start, made.end) == (at(6, day=20), at(6, day=21))


def test_c_offsets_count_from_the_floored_time():
    made = resolve(start_offset="-PT2H", interval=(at(3, 30), at(3, 30)))
    assert (made.start, made.end) == (at(1), at(3))


def test_c_an_interval_that_runs_backwards_counts_as_empty():
    made = resolve(interval=(at(4), at(3)))
    assert (made.start, made.end, made.source) == (at(2), at(3), "schedule")


# --- (d) no data interval, with a schedule


def test_d_a_run_without_interval_takes_the_period_before_its_run_after():
    """Triggered with logical date null (REST, the command line's default), or by an asset, beside a schedule."""
    made = resolve(run_after=at(21, 17, 5))
    assert made == Window(start=at(20), end=at(21), scheduled_time=at(21), source="run_after")


def test_d_offsets_count_from_the_floored_run_after():
    made = resolve(start_offset="-PT8H", end_offset="-PT2H", run_after=at(21, 17, 5))
    assert (made.start, made.end, made.scheduled_time) == (at(13), at(19), at(21))


# --- (e) no schedule


def test_e_without_schedule_the_time_is_run_after_floored_to_the_hour():
    """Triggered by an asset, or by hand on a DAG without schedule."""
    made = resolve(start_offset="-PT8H", end_offset="-PT2H", run_after=at(21, 17, 5), period_before=None)
    assert made == Window(start=at(13), end=at(19), scheduled_time=at(21), source="run_after")


def test_e_the_hour_is_one_of_utc():
    """Half past in Kolkata is on the hour in UTC."""
    kolkata = datetime(2026, 11, 22, 21, 40, tzinfo=ZoneInfo("Asia/Kolkata"))
    made = resolve(start_offset="-PT1H", end_offset="-PT0H", run_after=kolkata, period_before=None)
    assert made.scheduled_time == at(16)


def test_e_a_logical_date_given_by_hand_is_the_time_where_no_schedule_floors_it():
    """`airflow dags test ID 03:30` on a DAG without schedule: an empty interval at 03:30, and run_after is now."""
    made = resolve(
        start_offset="-PT2H",
        end_offset="-PT0H",
        interval=(at(3, 30), at(3, 30)),
        run_after=at(21, 17),
        period_before=None,
    )
    assert made == Window(start=at(1), end=at(3), scheduled_time=at(3), source="data_interval")


@pytest.mark.parametrize("offsets", [{}, {"start_offset": "-PT8H"}, {"end_offset": "-PT2H"}])
@pytest.mark.parametrize("interval", [None, (at(3, 30), at(3, 30))])
def test_e_without_schedule_and_both_offsets_the_error_names_the_params(offsets, interval):
    with pytest.raises(WindowError) as refusal:
        resolve(period_before=None, interval=interval, **offsets)
    assert "window_start" in refusal.value.next_step
    assert "window_end" in refusal.value.next_step


def test_without_interval_and_run_after_the_error_names_the_params():
    with pytest.raises(WindowError, match="window_start"):
        resolve(start_offset="-PT8H", end_offset="-PT2H", run_after=None)


def test_a_bad_offset_is_an_offset_error_in_every_branch():
    for given in ({"interval": (at(20), at(21))}, {"interval": (at(21), at(21))}, {}, {"period_before": None}):
        with pytest.raises(OffsetError):
            resolve(start_offset="-P30M", end_offset="-PT0H", **given)


def test_a_run_whose_interval_gives_an_empty_window_is_refused():
    with pytest.raises(WindowError, match="empty window"):
        resolve(end_offset="-PT1H", interval=(at(20), at(21)))
