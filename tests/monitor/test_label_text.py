"""Rule I5: one form of a label or class, however it was written."""

from __future__ import annotations

import pytest

from airflow_mq_provider.monitor import label_text


@pytest.mark.parametrize(
    ("written", "form"),
    [
        # text as it stands
        ("cat", "cat"),
        ("Cat", "Cat"),
        ("new york", "new york"),
        ("", ""),
        ("é", "é"),
        # trimmed
        (" cat\t", "cat"),
        (" 1", "1"),
        ("1\n", "1"),
        # whole numbers without .0
        ("1", "1"),
        ("0", "0"),
        ("1.0", "1"),
        ("1.", "1"),
        ("1.000", "1"),
        ("1e0", "1"),
        ("1E2", "100"),
        ("-1.0", "-1"),
        ("+1", "1"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("007", "7"),
        (".0", "0"),
        ("9007199254740991", "9007199254740991"),
        # other numbers verbatim
        ("1.5", "1.5"),
        ("0.10", "0.10"),
        (".5", ".5"),
        ("1e-3", "1e-3"),
        ("9007199254740992.0", "9007199254740992.0"),
        ("1e300", "1e300"),
        ("1e999", "1e999"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("-Infinity", "-Infinity"),
        # no numbers, though Python would read them
        ("1_000", "1_000"),
        ("٣", "٣"),
        ("0x10", "0x10"),
        ("1,0", "1,0"),
        ("-", "-"),
        ("+", "+"),
        (".", "."),
        ("1.0.0", "1.0.0"),
        # truth values in lower case
        ("true", "true"),
        ("True", "true"),
        (" FALSE ", "false"),
        (True, "true"),
        (False, "false"),
        ("yes", "yes"),
        # numbers of JSON
        (1, "1"),
        (0, "0"),
        (-7, "-7"),
        (2**70, str(2**70)),
        (1.0, "1"),
        (-0.0, "0"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (float(2**53), "9007199254740992.0"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_the_form_of_a_label(written, form):
    assert label_text(written) == form


def test_the_spellings_of_one_class_are_one_class():
    assert {label_text(value) for value in ("1", "1.0", " 1", "1e0", 1, 1.0, "01", "+1")} == {"1"}


def test_a_truth_value_is_not_the_number_one():
    assert label_text(True) != label_text(1)


@pytest.mark.parametrize("value", [None, [], {}, b"1"])
def test_what_is_no_label_is_a_type_error(value):
    with pytest.raises(TypeError, match="label"):
        label_text(value)
