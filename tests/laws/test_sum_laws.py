"""Exact sums are those of Python's fractions, whatever the size, the order and the cut of the numbers."""

from __future__ import annotations

from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mq_provider.quality import sums
from airflow_mq_provider.quality.sums import STEP, exact_square_sums, exact_sums

GROUPS = 3
NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-1e3, 1e3),
    st.sampled_from((0.0, -0.0, 0.1, 5e-324, -1.7976931348623157e308, 2.0**400, 2.0**-400, 2.0**400 + 2.0**348)),
)
ROWS = st.lists(st.tuples(NUMBERS, st.integers(0, GROUPS - 1)), max_size=50)


@given(ROWS, st.integers(1, 60))
def test_sums_are_exact_by_group(rows, block):
    values, group = np.array([value for value, _ in rows]), np.array([one for _, one in rows], np.uint8)
    with mock.patch.object(sums, "_ROWS", block):
        found, squared = exact_sums(values, group, GROUPS), exact_square_sums(values, group, GROUPS)
    for one in range(GROUPS):
        own = [Fraction(value) for value, owner in rows if owner == one]
        assert Fraction(found[one], 1 << STEP) == sum(own)
        assert Fraction(squared[one], 1 << 2 * STEP) == sum(value * value for value in own)


@pytest.mark.parametrize("value", [1.0 - 2.0**-53, 2.0**26 - 1, 0.1, -1e200])
def test_so_many_equal_numbers_lose_nothing(value):
    """As many as are summed at once, and one more; each digit as large as it can be."""
    count = (1 << 16) + 1
    values, group = np.full(count, value), np.zeros(count, np.uint8)
    assert Fraction(exact_sums(values, group, 1)[0], 1 << STEP) == count * Fraction(value)
    assert Fraction(exact_square_sums(values, group, 1)[0], 1 << 2 * STEP) == count * Fraction(value) ** 2
