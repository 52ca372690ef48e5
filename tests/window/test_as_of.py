"""Rule I2: up to when labels are read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_mq_provider.exceptions import OffsetError, WindowError
from airflow_mq_provider.window import AsOf, Window, ground_truth_as_of


def day(number: int, hour: int = 13) -> datetime:
    return datetime(2020, 1, number, hour, tzinfo=UTC)


WINDOW = Window(start=day(1), end=day(8), scheduled_time=day(9), source="data_interval")


def test_by_default_labels_are_read_up_to_the_scheduled_time():
    assert ground_truth_as_of("schedule", WINDOW) == AsOf(time=day(9), source="schedule")


def test_as_of_now_is_the_time_that_is_given_as_now():
    assert ground_truth_as_of("now", WINDOW, now=day(20)) == AsOf(time=day(20), source="now")


def test_as_of_now_reads_the_clock_where_no_time_is_given():
    before = datetime.now(UTC).replace(microsecond=0)
    made = ground_truth_as_of("now", WINDOW)
    assert before <= made.time <= datetime.now(UTC)
    assert made.time.microsecond == 0


@pytest.mark.parametrize("choice", [day(20), "2020-01-20T13:00:00Z", "2020-01-20T14:00:00+01:00"])
def test_a_time_may_be_given(choice):
    assert ground_truth_as_of(choice, WINDOW) == AsOf(time=day(20), source="time")


def test_a_sensor_names_itself():
    assert ground_truth_as_of(day(10), WINDOW, source="sensor") == AsOf(time=day(10), source="sensor")


@pytest.mark.parametrize(
    ("delay", "time"), [("P7D", day(15)), ("P3W", day(20)), ("PT0S", day(8)), ("PT1H", day(8, 14)), (None, day(20))]
)
def test_a_delay_bounds_it_by_the_end_of_the_window_plus_that(delay, time):
    assert ground_truth_as_of("now", WINDOW, now=day(20), max_delay=delay) == AsOf(time=time, source="now")


def test_the_bound_holds_for_the_scheduled_time_as_well():
    assert ground_truth_as_of("schedule", WINDOW, max_delay="PT12H").time == day(9, 1)


def test_times_are_cut_to_whole_seconds_and_turned_to_utc():
    made = ground_truth_as_of("now", WINDOW, now=datetime(2020, 1, 20, 13, 0, 0, 900_000, tzinfo=UTC))
    assert made.time == day(20)


@pytest.mark.parametrize("choice", ["yesterday", "", "sensor"])
def test_another_choice_is_refused_with_the_choices_named(choice):
    with pytest.raises(WindowError) as refusal:
        ground_truth_as_of(choice, WINDOW)
    assert "schedule" in refusal.value.next_step
    assert "now" in refusal.value.next_step


def test_a_bad_delay_is_refused():
    with pytest.raises(OffsetError, match="ground_truth_max_delay"):
        ground_truth_as_of("now", WINDOW, max_delay="-P7D")


def test_an_unknown_source_is_refused():
    with pytest.raises(WindowError, match="sensor"):
        ground_truth_as_of(day(10), WINDOW, source="dream")


def test_a_delay_beyond_the_calendar_bounds_nothing():
    assert ground_truth_as_of(day(20), WINDOW, max_delay="P9999999D").time == day(20)
