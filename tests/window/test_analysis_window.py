"""Rule W1: scheduled time and offsets to window, and what a window is."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from airflow_mq_provider.exceptions import OffsetError, WindowError
from airflow_mq_provider.window import (
    Window,
    analysis_window,
    explicit_window,
    format_time,
    hour_folder,
    parse_time,
)

BERLIN = ZoneInfo("Europe/Berlin")


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


INTERVAL = (utc(2020, 1, 9, 12), utc(2020, 1, 9, 13))


def window(start: datetime, end: datetime, source: str = "data_interval") -> Window:
    return Window(start=start, end=end, scheduled_time=end, source=source)


@pytest.mark.parametrize(
    ("start_offset", "end_offset", "start", "end"),
    [
        ("-P8D", "-P1D", utc(2020, 1, 1, 13), utc(2020, 1, 8, 13)),
        (None, None, utc(2020, 1, 9, 12), utc(2020, 1, 9, 13)),
        ("-PT6H", "-PT0H", utc(2020, 1, 9, 7), utc(2020, 1, 9, 13)),
        ("-PT2H", None, utc(2020, 1, 9, 11), utc(2020, 1, 9, 13)),
        # not in the table, the same rule: the interval's start without an offset, whatever the end's offset is
        (None, "-PT30M", utc(2020, 1, 9, 12), utc(2020, 1, 9, 12, 30)),
        ("-PT1H", "-PT0H", utc(2020, 1, 9, 12), utc(2020, 1, 9, 13)),
    ],
)
def test_every_row_of_the_table_of_rule_w1(start_offset, end_offset, start, end):
    made = analysis_window(INTERVAL[1], start_offset, end_offset, interval_start=INTERVAL[0], source="data_interval")
    assert made == Window(start=start, end=end, scheduled_time=utc(2020, 1, 9, 13), source="data_interval")


def test_the_refused_row_of_the_table_says_that_the_window_is_empty():
    with pytest.raises(WindowError, match="empty window") as refusal:
        analysis_window(INTERVAL[1], None, "-PT1H", interval_start=INTERVAL[0], source="data_interval")
    assert "2020-01-09T12:00:00Z" in refusal.value.came
    assert "start_time_offset" in refusal.value.next_step


def test_offsets_that_cross_are_refused_with_both_named():
    with pytest.raises(WindowError) as refusal:
        analysis_window(INTERVAL[1], "-P1D", "-P8D", interval_start=INTERVAL[0], source="data_interval")
    assert "-P1D" in refusal.value.came
    assert "-P8D" in refusal.value.came


def test_a_bad_offset_is_refused_by_its_field():
    with pytest.raises(OffsetError, match="end_time_offset"):
        analysis_window(INTERVAL[1], "-P8D", "P1D", interval_start=None, source="data_interval")


def test_without_start_offset_and_without_interval_the_error_names_what_to_give():
    with pytest.raises(WindowError) as refusal:
        analysis_window(INTERVAL[1], None, "-PT1H", interval_start=None, source="command_line")
    assert "start_time_offset" in refusal.value.next_step
    assert "--interval-start" in refusal.value.next_step


def test_with_a_start_offset_the_interval_is_not_needed():
    made = analysis_window(INTERVAL[1], "-PT1H", None, interval_start=None, source="command_line")
    assert (made.start, made.end, made.source) == (*INTERVAL, "command_line")


def test_the_scheduled_time_is_cut_to_whole_seconds():
    made = analysis_window(utc(2020, 1, 9, 13, 0, 7, 999_999), "-PT1H", None, interval_start=None, source="run_after")
    assert made.scheduled_time == made.end == utc(2020, 1, 9, 13, 0, 7)
    assert made.start == utc(2020, 1, 9, 12, 0, 7)


def test_an_offset_that_leads_before_year_one_is_refused():
    with pytest.raises(WindowError, match="-P999999D"):
        analysis_window(INTERVAL[1], "-P999999D", None, interval_start=None, source="data_interval")


def test_days_are_24_hours_even_where_the_clock_changes():
    """Offsets are counted in UTC: on the day summer time ends, -P1D is 24 hours and not the 25 of the local day."""
    made = analysis_window(
        datetime(2026, 10, 26, 0, 0, tzinfo=BERLIN), "-P1D", None, interval_start=None, source="data_interval"
    )
    assert made.start == utc(2026, 10, 24, 23)
    assert made.end == utc(2026, 10, 25, 23)


@pytest.mark.parametrize(
    ("first", "last", "hours"),
    [
        # a day of 25 hours, one of 23, an ordinary one
        (datetime(2026, 10, 25, tzinfo=BERLIN), datetime(2026, 10, 26, tzinfo=BERLIN), 25),
        (datetime(2026, 3, 29, tzinfo=BERLIN), datetime(2026, 3, 30, tzinfo=BERLIN), 23),
        (datetime(2026, 6, 1, tzinfo=BERLIN), datetime(2026, 6, 2, tzinfo=BERLIN), 24),
        # the hour that comes twice is two windows of an hour each
        (datetime(2026, 10, 25, 2, tzinfo=BERLIN), datetime(2026, 10, 25, 2, fold=1, tzinfo=BERLIN), 1),
        (datetime(2026, 10, 25, 2, fold=1, tzinfo=BERLIN), datetime(2026, 10, 25, 3, tzinfo=BERLIN), 1),
        # the hour before the one that does not exist
        (datetime(2026, 3, 29, 1, tzinfo=BERLIN), datetime(2026, 3, 29, 3, tzinfo=BERLIN), 1),
    ],
)
def test_an_interval_of_a_zone_whose_clock_changes_is_as_long_as_it_really_is(first, last, hours):
    made = analysis_window(last, None, None, interval_start=first, source="data_interval")
    assert made.end - made.start == timedelta(hours=hours)
    assert len(made.hours()) == hours
    assert made.start.tzinfo is UTC


def test_days_around_a_clock_change_follow_each_other_without_hole_or_overlap():
    midnights = [datetime(2026, 10, day, tzinfo=BERLIN) for day in (24, 25, 26, 27)]
    made = [
        analysis_window(end, None, None, interval_start=start, source="data_interval")
        for start, end in itertools.pairwise(midnights)
    ]
    assert all(a.end == b.start for a, b in itertools.pairwise(made))


def test_times_of_other_zones_and_types_become_plain_utc():
    import pendulum

    start = pendulum.datetime(2026, 7, 1, 2, tz="Europe/Berlin")
    made = Window(
        start=start,
        end=datetime(2026, 7, 1, 6, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        scheduled_time=utc(2026, 7, 1, 1),
        source="data_interval",
    )
    assert type(made.start) is datetime
    assert made.start.tzinfo is UTC
    assert (made.start, made.end) == (utc(2026, 7, 1, 0), utc(2026, 7, 1, 0, 30))


def test_a_time_without_zone_is_refused():
    naive = datetime(2026, 7, 1)  # noqa: DTZ001 - what is refused
    with pytest.raises(WindowError, match="zone"):
        Window(start=naive, end=utc(2026, 7, 2), scheduled_time=utc(2026, 7, 2), source="data_interval")


@pytest.mark.parametrize("end", [utc(2026, 7, 1), utc(2026, 6, 30), utc(2026, 7, 1, 0, 0, 0, 500_000)])
def test_no_window_is_empty(end):
    with pytest.raises(WindowError, match="empty window"):
        window(utc(2026, 7, 1), end)


def test_a_window_of_an_unknown_source_is_refused():
    with pytest.raises(WindowError, match="command_line"):
        window(utc(2026, 7, 1), utc(2026, 7, 2), source="a dream")


# --- explicit windows


def test_the_scheduled_time_of_an_explicit_window_is_its_end():
    made = explicit_window(utc(2020, 1, 1, 13), utc(2020, 1, 8, 13))
    assert made == Window(
        start=utc(2020, 1, 1, 13), end=utc(2020, 1, 8, 13), scheduled_time=utc(2020, 1, 8, 13), source="params"
    )


@pytest.mark.parametrize("end", [utc(2020, 1, 1, 13), utc(2020, 1, 1, 12)])
def test_an_explicit_window_that_does_not_start_before_its_end_is_refused(end):
    with pytest.raises(WindowError, match="window_start"):
        explicit_window(utc(2020, 1, 1, 13), end)


# --- hour folders


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        # a window that ends on the hour does not touch the next
        (utc(2020, 1, 9, 12), utc(2020, 1, 9, 13), [12]),
        (utc(2020, 1, 9, 12), utc(2020, 1, 9, 13, 0, 1), [12, 13]),
        (utc(2020, 1, 9, 12, 59, 59), utc(2020, 1, 9, 13), [12]),
        (utc(2020, 1, 9, 12, 59, 59), utc(2020, 1, 9, 13, 0, 1), [12, 13]),
        (utc(2020, 1, 9, 12, 10), utc(2020, 1, 9, 12, 20), [12]),
        (utc(2020, 1, 9, 10, 30), utc(2020, 1, 9, 13, 30), [10, 11, 12, 13]),
    ],
)
def test_the_hour_folders_that_touch_a_window(start, end, hours):
    assert window(start, end).hours() == tuple(utc(2020, 1, 9, hour) for hour in hours)


def test_hour_folders_cross_days_months_and_years():
    folders = [hour_folder(hour) for hour in window(utc(2019, 12, 31, 22), utc(2020, 1, 1, 1)).hours()]
    assert folders == ["2019/12/31/22", "2019/12/31/23", "2020/01/01/00"]


def test_a_week_of_offsets_has_168_hour_folders():
    made = analysis_window(INTERVAL[1], "-P8D", "-P1D", interval_start=None, source="data_interval")
    assert len(made.hours()) == 168
    assert hour_folder(made.hours()[0]) == "2020/01/01/13"
    assert hour_folder(made.hours()[-1]) == "2020/01/08/12"


def test_an_hour_folder_is_named_in_utc():
    assert hour_folder(datetime(2026, 7, 1, 1, 59, tzinfo=BERLIN)) == "2026/06/30/23"


# --- where the report goes (rule O1)


@pytest.mark.parametrize(
    ("scheduled", "folder"),
    [
        (utc(2020, 1, 9, 13), "2020/01/09/13"),
        (utc(2020, 1, 9, 13, 30), "2020/01/09/13/30"),
        (utc(2020, 1, 9, 13, 0, 5), "2020/01/09/13/00/05"),
        (utc(2020, 1, 9, 13, 30, 5), "2020/01/09/13/30/05"),
        (utc(987, 1, 9, 13), "0987/01/09/13"),
    ],
)
def test_the_report_folder_is_the_scheduled_time(scheduled, folder):
    made = analysis_window(scheduled, "-P8D", "-P1D", interval_start=None, source="schedule")
    assert made.report_folder == folder


def test_the_report_folder_of_an_explicit_window_is_the_window():
    assert (
        explicit_window(utc(2020, 1, 1, 13), utc(2020, 1, 8, 13)).report_folder
        == "windows/20200101T130000Z_20200108T130000Z"
    )


# --- in and out


def test_a_window_as_text_has_four_keys_and_comes_back_equal():
    made = analysis_window(INTERVAL[1], "-P8D", "-P1D", interval_start=None, source="data_interval")
    assert made.as_dict() == {
        "start": "2020-01-01T13:00:00Z",
        "end": "2020-01-08T13:00:00Z",
        "scheduled_time": "2020-01-09T13:00:00Z",
        "source": "data_interval",
    }
    assert Window.from_dict(made.as_dict()) == made


def test_a_window_text_that_lacks_a_key_is_refused_with_its_name():
    broken = window(*INTERVAL).as_dict()
    del broken["end"]
    with pytest.raises(WindowError, match="end"):
        Window.from_dict(broken)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2020-01-09T13:00:00Z", utc(2020, 1, 9, 13)),
        ("2020-01-09T14:00:00+01:00", utc(2020, 1, 9, 13)),
        ("2020-01-09T13:00:00.250Z", utc(2020, 1, 9, 13, 0, 0, 250_000)),
        ("2020-01-09 13:00:00+00:00", utc(2020, 1, 9, 13)),
        ("20200109T130000Z", utc(2020, 1, 9, 13)),
        ("2020-01-09T13:00", utc(2020, 1, 9, 13)),
        ("2020-01-09T13", utc(2020, 1, 9, 13)),
        ("2020-01-09", utc(2020, 1, 9)),
        (" 2020-01-09T13:00:00Z ", utc(2020, 1, 9, 13)),
    ],
)
def test_a_time_is_read_as_iso_8601_and_as_utc_where_it_names_no_zone(text, time):
    assert parse_time(text, field="--at") == time
    assert parse_time(text, field="--at").tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2020-01-09-13:00",
        "2020-13-01",
        "09.01.2020",
        "1578574800",
        "2020-01-09T25:00:00Z",
        "0001-01-01T00:00+05:00",
    ],
)
def test_a_text_that_is_no_time_is_refused_by_its_field_with_an_example(text):
    with pytest.raises(WindowError) as refusal:
        parse_time(text, field="--at")
    assert "--at" in refusal.value.where
    assert "2020-01-09T13:00:00Z" in refusal.value.next_step


def test_times_are_written_in_utc_and_whole_seconds():
    assert format_time(utc(2020, 1, 9, 13, 5, 6, 999_999)) == "2020-01-09T13:05:06Z"
    assert format_time(datetime(2026, 7, 1, 2, tzinfo=BERLIN)) == "2026-07-01T00:00:00Z"
