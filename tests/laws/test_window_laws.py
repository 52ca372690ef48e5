"""Laws of windows: whatever the times and offsets, rules W1 and W2 hold."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_mq_provider.exceptions import OffsetError, WindowError
from airflow_mq_provider.window import (
    Window,
    analysis_window,
    explicit_window,
    format_time,
    hour_folder,
    normalize_offset,
    parse_offset,
    parse_time,
    resolve_window,
    sagemaker_offset,
)

HOUR = timedelta(hours=1)

times = st.datetimes(
    min_value=datetime(1990, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from(
        [UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata"), ZoneInfo("Australia/Lord_Howe")]
    ),
)


@st.composite
def offsets(draw: st.DrawFn) -> str:
    """Offsets of any valid form."""
    counts = draw(st.lists(st.none() | st.integers(0, 99), min_size=5, max_size=5).filter(any))
    weeks, days, hours, minutes, seconds = counts
    date = "".join(f"{n}{unit}" for n, unit in ((weeks, "W"), (days, "D")) if n is not None)
    time = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if n is not None)
    return f"-P{date}" + (f"T{time}" if time else "")


@given(offsets())
def test_an_offset_is_the_sum_of_its_parts_and_never_positive(text):
    import re

    lengths = {"W": 7 * 86400, "D": 86400, "H": 3600, "M": 60, "S": 1}
    seconds = sum(int(n) * lengths[unit] for n, unit in re.findall(r"(\d+)([WDHMS])", text))
    assert parse_offset(text, field="f") == -timedelta(seconds=seconds)
    assert normalize_offset(text, field="f") == text


@given(offsets())
def test_what_goes_to_sagemaker_means_the_same_and_fits(text):
    try:
        sent = sagemaker_offset(text, field="f")
    except OffsetError:
        # only those whose weeks written as days leave no room
        assert len(text) + 1 >= 15
        return
    assert len(sent) <= 15
    assert "W" not in sent
    assert parse_offset(sent, field="f") == parse_offset(text, field="f")


@given(st.text(alphabet="-+PTYMWDHS0123456789.,", max_size=12) | st.text(max_size=6))
@pytest.mark.filterwarnings("ignore::airflow_mq_provider.window.OffsetWarning")
def test_any_text_is_an_offset_or_refused_with_a_remedy(text):
    try:
        meaning = parse_offset(text, field="f")
    except OffsetError as refusal:
        remedy = refusal.next_step
        assert len(remedy) > 10
    else:
        assert meaning <= timedelta(0)
        assert meaning.microseconds == 0
        assert normalize_offset(normalize_offset(text, field="f"), field="f") == normalize_offset(text, field="f")


@given(times, offsets(), offsets())
def test_both_offsets_count_from_the_scheduled_time(scheduled, start, end):
    lengths = parse_offset(start, field="f"), parse_offset(end, field="f")
    assume(lengths[0] < lengths[1])
    made = analysis_window(scheduled, start, end, interval_start=None, source="data_interval")
    cut = scheduled.astimezone(UTC).replace(microsecond=0)
    assert (made.start - cut, made.end - cut) == lengths
    assert made.scheduled_time == cut


@given(times, offsets(), offsets())
def test_a_window_that_would_be_empty_is_never_made(scheduled, start, end):
    assume(parse_offset(start, field="f") >= parse_offset(end, field="f"))
    with pytest.raises(WindowError):
        analysis_window(scheduled, start, end, interval_start=None, source="data_interval")


@given(times, st.integers(1, 400_000))
def test_the_hour_folders_cover_the_window_and_no_more(start, seconds):
    first = start.astimezone(UTC)
    made = explicit_window(first, first + timedelta(seconds=seconds))
    hours = made.hours()
    assert hours[0] <= made.start < hours[0] + HOUR
    assert hours[-1] < made.end <= hours[-1] + HOUR
    assert all(b - a == HOUR for a, b in itertools.pairwise(hours))
    folders = [hour_folder(hour) for hour in hours]
    assert folders == sorted(set(folders))


@given(times, st.integers(1, 400_000), st.sampled_from(["data_interval", "schedule", "run_after", "command_line"]))
def test_a_window_survives_its_text_form(start, seconds, source):
    first = start.astimezone(UTC)
    made = Window(start=first, end=first + timedelta(seconds=seconds), scheduled_time=first, source=source)
    assert Window.from_dict(made.as_dict()) == made


@given(times)
def test_a_written_time_reads_back_to_the_second(time):
    assert parse_time(format_time(time), field="f") == time.astimezone(UTC).replace(microsecond=0)


@given(times, times)
def test_runs_of_different_scheduled_times_report_into_different_folders(one, other):
    made = [analysis_window(t, "-PT1H", None, interval_start=None, source="schedule") for t in (one, other)]
    assert (made[0].report_folder == made[1].report_folder) == (made[0].scheduled_time == made[1].scheduled_time)


@given(times, st.integers(1, 100_000), st.integers(0, 100_000))
def test_neighbouring_intervals_give_windows_without_hole_or_overlap(start, first, second):
    """Also where the zone's clock changes: interval ends are compared and counted in UTC."""
    zone = start.tzinfo
    edges = [(start.astimezone(UTC) + timedelta(seconds=s)).astimezone(zone) for s in (0, first, first + second + 1)]
    made = [
        resolve_window(start_offset=None, end_offset=None, interval=pair, run_after=None, period_before=None)
        for pair in itertools.pairwise(edges)
    ]
    assert made[0].end == made[1].start
    assert {w.source for w in made} == {"data_interval"}
