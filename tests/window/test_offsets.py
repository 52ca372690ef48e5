"""Rule W2: which texts are offsets, what they mean, how they are written for SageMaker, and what each refusal advises."""

from __future__ import annotations

import warnings
from datetime import timedelta

import pytest

from airflow_mq_provider.exceptions import OffsetError, WindowError
from airflow_mq_provider.window import (
    OffsetWarning,
    normalize_offset,
    offset_fault,
    parse_delay,
    parse_offset,
    sagemaker_offset,
)

FIELD = "start_time_offset"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("-P8D", timedelta(days=-8)),
        ("-P1W", timedelta(weeks=-1)),
        ("-P1W2D", timedelta(days=-9)),
        ("-PT6H", timedelta(hours=-6)),
        ("-PT90M", timedelta(minutes=-90)),
        ("-PT30S", timedelta(seconds=-30)),
        ("-P1DT12H", timedelta(days=-1, hours=-12)),
        ("-P1DT2H3M4S", timedelta(days=-1, hours=-2, minutes=-3, seconds=-4)),
        ("-PT24H", timedelta(days=-1)),
        ("-P007D", timedelta(days=-7)),
        ("-PT0H", timedelta(0)),
        ("-P0D", timedelta(0)),
        ("PT0H", timedelta(0)),
        ("P0D", timedelta(0)),
        ("-P999999999D", timedelta(days=-999999999)),
    ],
)
def test_a_valid_offset_is_read_and_stays_as_it_was_written(text, meaning):
    assert parse_offset(text, field=FIELD) == meaning
    assert normalize_offset(text, field=FIELD) == text


@pytest.mark.parametrize(
    ("text", "rewritten", "meaning"),
    [
        ("-PT2D", "-P2D", timedelta(days=-2)),
        ("-PT1D", "-P1D", timedelta(days=-1)),
        ("-P7H", "-PT7H", timedelta(hours=-7)),
        ("-P0H", "-PT0H", timedelta(0)),
        ("PT0D", "P0D", timedelta(0)),
    ],
)
def test_the_two_misplaced_forms_are_rewritten_with_a_warning_that_shows_the_new_form(text, rewritten, meaning):
    with pytest.warns(OffsetWarning, match=f"start_time_offset.*'{text}'.*'{rewritten}'"):
        assert normalize_offset(text, field=FIELD) == rewritten
    with pytest.warns(OffsetWarning, match=rewritten):
        assert parse_offset(text, field=FIELD) == meaning


def test_a_rewritten_offset_is_not_warned_about_again():
    with pytest.warns(OffsetWarning):
        rewritten = normalize_offset("-PT2D", field=FIELD)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_offset(rewritten, field=FIELD) == timedelta(days=-2)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        # months and years have no fixed length; whoever wrote M probably meant minutes
        ("-P30M", "-PT30M"),
        ("-P1Y", "-P365D"),
        ("-P1Y2M", "days"),
        ("-P1M2D", "days"),
        # only the past has captures
        ("P1D", "-P1D"),
        ("PT1H", "-PT1H"),
        ("+PT1H", "-PT1H"),
        ("+PT0H", "PT0H"),
        # fractions: the same length in whole units, where there is one
        ("-PT1.5H", "-PT1H30M"),
        ("-PT1,5H", "-PT1H30M"),
        ("-P0.5D", "-PT12H"),
        ("-PT0.5S", "whole seconds"),
        # nothing said
        ("-P", "-PT1H"),
        ("-PT", "-PT1H"),
        ("P", "-PT1H"),
        ("", "leave the offset out"),
        # nearly an offset
        ("-P1DT", "-P1D"),
        ("-P1D6H", "-P1DT6H"),
        ("-P30S", "-PT30S"),
        ("-PT1W", "-P1W"),
        ("-p1d", "-P1D"),
        ("-pt1h", "-PT1H"),
        (" -P1D", "-P1D"),
        ("-P1D\n", "-P1D"),
        ("−P1D", "-P1D"),
        ("--P1D", "-PnD"),
        # no offset at all
        ("1 day", "-PnD"),
        ("-1D", "-PnD"),
        ("-P-1D", "-PnD"),
        ("-PT2D3D", "-PnD"),
        ("-P٣D", "-PnD"),
        ("-P0001-01-01T00:00:00", "-PnD"),
    ],
)
def test_everything_else_is_refused_with_the_remedy_in_the_message(text, remedy):
    with pytest.raises(OffsetError) as refusal:
        parse_offset(text, field=FIELD)
    assert remedy in refusal.value.next_step
    assert repr(text) in refusal.value.came
    assert FIELD in refusal.value.where
    with pytest.raises(OffsetError):
        normalize_offset(text, field=FIELD)
    with pytest.raises(OffsetError):
        sagemaker_offset(text, field=FIELD)


@pytest.mark.parametrize("text", ["-P30M", "PT1H", "-PT1.5H", "-P1D6H", "-P1DT", "-pt1h", "−P1D"])
def test_what_a_refusal_advises_first_is_itself_accepted(text):
    with pytest.raises(OffsetError) as refusal:
        parse_offset(text, field=FIELD)
    advised = refusal.value.next_step.split("'")[1]
    assert parse_offset(advised, field=FIELD) < timedelta(0)


def test_an_offset_longer_than_python_can_count_is_refused():
    with pytest.raises(OffsetError, match="at most 999999999 days"):
        parse_offset("-P9999999999D", field=FIELD)
    with pytest.raises(OffsetError):
        parse_offset("-P" + "9" * 400 + "D", field=FIELD)


@pytest.mark.parametrize("value", [None, 1, timedelta(days=-1)])
def test_what_is_no_text_is_refused(value):
    with pytest.raises(OffsetError, match="text"):
        parse_offset(value, field=FIELD)


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("-P1W", "-P7D"),
        ("-P2W", "-P14D"),
        ("-P1W2D", "-P9D"),
        ("-P1WT1H", "-P7DT1H"),
        ("-P8D", "-P8D"),
        ("-PT24H", "-PT24H"),
        ("-PT0H", "-PT0H"),
        ("PT0H", "PT0H"),
        ("P0W", "P0D"),
        ("-P10DT10H10M10S", "-P10DT10H10M10S"),
    ],
)
def test_for_sagemaker_weeks_become_days_and_all_else_stays(text, sent):
    assert sagemaker_offset(text, field=FIELD) == sent


def test_for_sagemaker_the_rewritten_form_is_sent():
    with pytest.warns(OffsetWarning):
        assert sagemaker_offset("-PT2D", field=FIELD) == "-P2D"


def test_what_goes_to_sagemaker_has_at_most_fifteen_characters():
    assert len("-P100DT10H10M1S") == 15
    assert sagemaker_offset("-P100DT10H10M1S", field=FIELD) == "-P100DT10H10M1S"
    with pytest.raises(OffsetError, match="15 characters"):
        sagemaker_offset("-P100DT10H10M10S", field=FIELD)


@pytest.mark.parametrize(
    ("start", "end"),
    [("-P1D", "-P1D"), ("-P1D", "-P8D"), ("-PT1H", "-P1D"), ("-P7D", "-P1W"), ("-PT0H", "-PT0H"), ("-PT0H", None)],
)
def test_two_offsets_that_can_never_make_a_window_are_a_fault_with_both_named(start, end):
    fault = offset_fault(start, end)
    assert fault is not None
    assert repr(start) in fault
    assert "before" in fault


@pytest.mark.parametrize(
    ("start", "end"),
    [("-P8D", "-P1D"), ("-PT1H", "-PT0H"), ("-PT1H", None), (None, "-PT1H"), (None, None), ("-P1W", "-P6D")],
)
def test_offsets_that_may_make_a_window_are_no_fault(start, end):
    assert offset_fault(start, end) is None


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("P7D", timedelta(days=7)), ("PT12H", timedelta(hours=12)), ("P1W", timedelta(weeks=1)), ("PT0S", timedelta(0))],
)
def test_a_delay_is_a_duration_forwards(text, meaning):
    assert parse_delay(text, field="ground_truth_max_delay") == meaning


@pytest.mark.parametrize(
    ("text", "remedy"),
    [("-P7D", "P7D"), ("P1M", "PT1M"), ("P1.5D", "P1DT12H"), ("", "PnD"), ("7 days", "PnD"), ("P7H", "PT7H")],
)
def test_a_delay_that_is_none_is_refused_with_the_remedy(text, remedy):
    with pytest.raises(OffsetError) as refusal:
        parse_delay(text, field="ground_truth_max_delay")
    assert remedy in refusal.value.next_step
    assert "ground_truth_max_delay" in refusal.value.where


def test_a_refused_offset_is_a_window_error_and_a_value_error():
    assert issubclass(OffsetError, WindowError)
    assert issubclass(OffsetError, ValueError)
