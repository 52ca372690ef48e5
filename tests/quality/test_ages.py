"""How old labels are when they come: what is counted, the curve that follows, and the offsets that it proposes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mq_provider.quality.ages import (
    AGES,
    NEVER,
    WAITING,
    LabelAges,
    arrival,
    hour_number,
    label_ages,
    proposed_offsets,
)
from airflow_mq_provider.window import offset_fault, sagemaker_offset

START = datetime(2026, 11, 1, tzinfo=UTC)


def counted(*captures: tuple[float, int | None], until: float) -> LabelAges:
    """Captures by the hour after START at which they were made, and the hour in which their label was collected."""
    first = int(START.timestamp()) // 3600
    times = np.array([int(START.timestamp() + hour * 3600) for hour, _ in captures], np.int64)
    hours = np.array([NEVER if hour is None else first + hour for _, hour in captures], np.int32)
    return label_ages(times, hours, START + timedelta(hours=until))


def ages(labelled: dict[int, int], unlabelled: dict[int, int]) -> LabelAges:
    return LabelAges.from_dict(
        {
            "labelled": {str(age): count for age, count in labelled.items()},
            "unlabelled": {str(age): count for age, count in unlabelled.items()},
        }
    )


def test_a_label_is_as_old_as_the_end_of_the_hour_in_which_it_was_collected() -> None:
    # made at 0:30, collected in the hour from 2:00: seen from 3:00 on, two hours and a half later
    assert counted((0.5, 2), until=24).as_dict() == {"labelled": {"3": 1}, "unlabelled": {}}


def test_without_a_label_a_capture_counts_at_the_last_age_that_was_looked_at_whole() -> None:
    assert counted((0.5, None), until=25).as_dict() == {"labelled": {}, "unlabelled": {"24": 1}}


def test_an_age_that_the_as_of_time_cuts_through_says_nothing() -> None:
    # 26 hours old lies between the ages 24 and 30, of which the as-of time saw only a part
    assert counted((0.0, 25), until=28).as_dict() == {"labelled": {}, "unlabelled": {"24": 1}}


def test_a_label_that_was_there_before_its_prediction_is_of_the_first_age() -> None:
    assert counted((5.5, 1), until=24).as_dict() == {"labelled": {"1": 1}, "unlabelled": {}}


def test_a_prediction_younger_than_an_hour_says_nothing_but_that_it_is_there() -> None:
    assert counted((0.5, None), until=1).as_dict() == {"labelled": {}, "unlabelled": {"0": 1}}


def test_a_folder_that_names_no_hour_has_no_age() -> None:
    assert hour_number("2026/11/01/99") == NEVER
    assert hour_number("1970/01/02/03") == 27


captures = st.lists(
    st.tuples(st.floats(0, 500, allow_nan=False), st.none() | st.integers(0, 2000)), max_size=30
)  # fmt: skip


@given(captures, st.integers(500, 3000))
def test_every_capture_is_counted_once(made: list[tuple[float, int | None]], until: int) -> None:
    found = counted(*made, until=until)
    assert sum(found.labelled) + sum(found.unlabelled) == len(made)


@given(captures, captures, st.integers(500, 3000))
def test_counts_add_up_and_survive_json(
    some: list[tuple[float, int | None]], more: list[tuple[float, int | None]], until: int
) -> None:
    whole = counted(*some, *more, until=until)
    assert counted(*some, until=until) + counted(*more, until=until) == whole
    assert LabelAges.from_dict(whole.as_dict()) == whole


def test_where_all_were_looked_at_equally_late_the_curve_is_the_share_of_labels_that_had_come() -> None:
    found = arrival([ages({1: 50, 24: 30}, {48: 20})])
    assert found is not None
    curve = dict(found.curve)
    assert (curve[1], curve[21]) == pytest.approx((0.5, 0.5))
    assert (curve[24], curve[48]) == pytest.approx((0.8, 0.8))
    assert max(curve) == 48
    assert found.captures == 100


def test_a_window_that_was_looked_at_early_does_not_pull_the_curve_down() -> None:
    late = ages({1: 50, 24: 30}, {48: 20})
    early = ages({1: 50}, {2: 50})
    found = arrival([late, early])
    assert found is not None
    assert dict(found.curve)[24] == pytest.approx(0.8)


def test_the_curve_ends_where_too_few_were_still_looked_at() -> None:
    found = arrival([ages({1: 50}, {6: 50}), ages({48: 1}, {72: WAITING - 2})])
    assert found is not None
    assert max(dict(found.curve)) == 6


@pytest.mark.parametrize("none", [[], [LabelAges()], [ages({}, {48: 1000})], [ages({1: WAITING - 1}, {})]])
def test_without_labels_or_with_too_few_captures_there_is_no_curve(none: list[LabelAges]) -> None:
    assert arrival(none) is None


@given(
    st.lists(
        st.builds(
            ages,
            st.dictionaries(st.sampled_from(AGES), st.integers(0, 100)),
            st.dictionaries(st.sampled_from((0, *AGES)), st.integers(0, 100)),
        ),
        max_size=4,
    )
)
def test_coverage_never_falls_with_age_and_is_a_share(windows: list[LabelAges]) -> None:
    found = arrival(windows)
    if found is not None:
        coverage = [share for _, share in found.curve]
        assert coverage == sorted(coverage)
        assert coverage[0] >= 0
        assert coverage[-1] <= 1
        assert found.age_of(0.95) <= found.age_of(0.99) <= found.curve[-1][0]


def test_the_age_of_a_share_is_that_of_the_labels_that_come_at_all() -> None:
    found = arrival([ages({1: 500, 24: 270, 30: 20, 48: 10}, {168: 200})])
    assert found is not None
    assert found.age_of(0.95) == 24
    assert found.age_of(0.99) == 48


@pytest.mark.parametrize(
    ("age", "length", "offsets"),
    [
        (48, timedelta(days=1), ("-P3D", "-P2D")),
        (30, timedelta(days=7), ("-P8DT6H", "-P1DT6H")),
        (6, timedelta(hours=1), ("-PT7H", "-PT6H")),
        (1, timedelta(minutes=90), ("-PT2H30M", "-PT1H")),
    ],
)
def test_offsets_are_proposed_in_sagemaker_s_notation(age: int, length: timedelta, offsets: tuple[str, str]) -> None:
    assert proposed_offsets(age, length) == offsets
    assert offset_fault(*offsets) is None
    for text in offsets:
        assert sagemaker_offset(text, field="offset") == text
