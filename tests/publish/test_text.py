"""Text of a page: what comes from data is made visible and harmless, numbers are as people read them."""

from __future__ import annotations

import math
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from airflow_mq_provider.publish.text import Html, apart, count, duration, joined, moment, name, number, percent, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a<b>&\"'", "a&lt;b&gt;&amp;&#34;&#39;"),
        ("\x00\x1b", r"\u0000\u001b"),
        ("\u202eabc", r"\u202eabc"),
        ("\ud83d", r"\ud83d"),
        ("\u2028", r"\u2028"),
        ("\U000e0001", r"\U000e0001"),
        ("é 日本 ✓", "é 日本 ✓"),
        ("o\u0301\u0302\u0303", "o\u0301\u0302\\u0303"),
        (7, "7"),
    ],
)
def test_text_of_data_is_escaped_and_made_visible(text, expected):
    assert shown(text) == f"<bdi>{expected}</bdi>"


@pytest.mark.parametrize("text", ["x" * 9, "\x00" * 9])
def test_text_of_data_is_cut_by_what_is_shown_of_it(text):
    assert len(shown(text, 6)) <= len("<bdi>123456…</bdi>")
    assert shown(text, 6).endswith("…</bdi>")


class Read(HTMLParser):
    """The tags and the text of a piece of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


@given(st.text(max_size=60))
def test_no_text_becomes_markup(text):
    read = Read(shown(text))
    assert read.tags == ["bdi"]
    assert "\\" in read.text or read.text == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5714285714285714, "0.5714"),
        (1.0, "1.0000"),
        (0.0, "0.0000"),
        (97.35, "97.35"),
        (1.5, "1.500"),
        (12607.4, "12,607"),
        (-0.96171, "−0.9617"),
        (123456789.0, "123,456,789"),
        (1.5e12, "1.500e+12"),
        (0.00001234, "1.234e−05"),
        (math.nan, "undefined"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_numbers(value, expected):
    assert number(value) == expected


def test_a_value_and_a_limit_that_differ_never_look_equal():
    assert apart(0.57142857, 0.57142858) == ("0.57142857", "0.57142858")
    assert apart(0.5, 0.5) == ("0.5000", "0.5000")


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_two_numbers_are_told_apart_where_they_differ(one, other):
    texts = apart(one, other)
    assert (texts[0] == texts[1]) == (one == other) or one == other == 0


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.9333, "93.3%"), (1.0, "100.0%"), (0.9999, "> 99.9%"), (0.0, "0.0%"), (0.0001, "< 0.1%"), (None, "–"), (math.nan, "–")],
)  # fmt: skip
def test_a_share_is_never_rounded_to_all_or_nothing(share, expected):
    assert percent(share) == expected


def test_counts_have_their_nouns():
    assert (count(1, "row"), count(1200, "row"), count(0)) == ("1 row", "1,200 rows", "0")


def test_durations_leave_out_what_is_none():
    assert duration(timedelta(days=7)) == "7 days"
    assert duration(timedelta(days=1, hours=2, minutes=1)) == "1 day 2 hours 1 minute"
    assert duration(timedelta(seconds=90)) == "1 minute 30 seconds"


def test_times_are_for_people_and_for_programs():
    assert moment("2026-11-05T00:00:00Z") == '<time datetime="2026-11-05T00:00:00Z">2026-11-05 00:00 UTC</time>'
    assert moment("2026-11-05T00:00:07Z").endswith("00:00:07 UTC</time>")


def test_names_may_break_after_an_underscore():
    assert name("true_positive_rate") == "true_<wbr>positive_<wbr>rate"
    assert name("<b>_c") == "&lt;b&gt;_<wbr>c"


def test_plain_text_between_markup_is_escaped():
    assert joined([Markup("<i>a</i>"), "<b>"], " & ") == "<i>a</i> &amp; &lt;b&gt;"


pieces = st.sampled_from(["", "{{", "}}", "<b>", " & ", "{}", "{}"])
values = st.text(max_size=5) | st.integers() | st.text(max_size=3).map(Markup) | st.text(max_size=3).map(Html)


@given(st.lists(pieces, max_size=8), st.lists(values, min_size=8, max_size=8), values)
def test_a_template_is_filled_as_markupsafe_fills_it(template, given_values, named):
    for place in ("", "{named}"):
        text = "".join(template) + place
        found = Html(text).format(  # noqa: S704 - this is what is tested
            *given_values, named=named
        )
        assert found == Markup(text).format(*given_values, named=named)  # noqa: S704
        assert isinstance(found, Html)


def test_a_template_formats_numbers_and_refuses_what_a_value_is_to_python():
    assert Html("{:.2f} {one:g}").format(1.0, one=2.5) == "1.00 2.5"
    with pytest.raises(ValueError, match="to Python"):
        Html("{!r}").format("a")
