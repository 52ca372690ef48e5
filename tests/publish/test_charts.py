"""The pencil: scales, ticks and shades."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mq_provider.publish.charts import Frame, against_limit, bars, shades, squares, ticks


def test_a_frame_puts_the_ends_of_its_axes_at_its_edges():
    frame = Frame((0.0, 10.0), (-1.0, 1.0), height=300, left=50, right=10, top=20, bottom=30)
    assert (frame.across(0.0), frame.across(10.0)) == (50, 350)
    assert (frame.up(-1.0), frame.up(0.0), frame.up(1.0)) == (270, 145, 20)


def test_bars_stand_on_zero_and_hang_from_it():
    frame = Frame((0.0, 1.0), (-1.0, 1.0), height=120, left=10, right=10, top=10, bottom=10)
    assert 'd="M10 60V10H350V60z"' in bars(frame, "bar-a", [(0.0, 1.0, 1.0)])
    assert 'd="M10 60V110H350V60z"' in bars(frame, "bar-a", [(0.0, 1.0, -1.0)])
    assert bars(frame, "bar-a", [(0.0, 1.0, 0.0)]) == ""


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-250.0, 80.0, ["−200", "−100", "0"]),
        (16.0, 176.0, ["50", "100", "150"]),
        (0.0, 4.2e7, ["0", "1e+07", "2e+07", "3e+07", "4e+07"]),
        (0.0, 12000.0, ["0", "5,000", "10,000"]),
        (5.0, 5.0, []),
    ],
)
def test_ticks_are_round_numbers_within_the_axis(low, high, texts):
    assert [text for _, text in ticks(low, high)] == texts


@given(st.floats(-1e300, 1e300), st.floats(1e-300, 1e300))
def test_ticks_never_lie_outside_and_are_never_many(low, span):
    found = ticks(low, low + span)
    assert len(found) <= 21
    assert all(low - 1e-6 * span <= value <= low + 1.000001 * span for value, _ in found)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40))
def test_shades_hold_every_number_of_rows_once(rows):
    frame = Frame((0.0, 40.0), (0.0, 1.0))
    drawn, ranges = squares(frame, 1.0, [(float(index), 0.0, number) for index, number in enumerate(rows)])
    assert ranges[0][0] == 1
    assert ranges[-1][1] == max(rows)
    assert all(one[1] + 1 == other[0] for one, other in itertools.pairwise(ranges))
    assert len(ranges) <= 5
    assert drawn.count("M") == len(rows)
    assert f"{max(rows):,}" in shades(ranges)


def test_a_value_beyond_its_limit_has_another_form_and_not_only_another_colour():
    within = against_limit(0.8, 0.01, 0.7, True, False, (0.0, 1.0))
    beyond = against_limit(0.6, 0.01, 0.7, True, True, (0.0, 1.0))
    assert "#disc" in within
    assert "#cross" in beyond


def test_what_has_no_deviation_has_no_whisker():
    assert "deviation" not in against_limit(0.8, float("nan"), 0.7, True, False, (0.0, 1.0))


@given(st.lists(st.tuples(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0)), min_size=1))
def test_a_path_rounds_each_place_to_a_hundredth_and_writes_no_needless_zero(points):
    frame = Frame((0.0, 1.0), (-0.5, 1.0))
    places = [(frame.across(x), frame.up(y)) for x, y in points]
    texts = [[f"{place:.2f}".rstrip("0").rstrip(".") for place in pair] for pair in places]
    assert frame.path(points) == "M" + "L".join(" ".join(pair) for pair in texts)
