"""Sums of floating-point numbers that neither order nor cut can change: whole numbers of a step that no float is finer than.

A sum of floats depends in its last digits on how the rows were cut into parts; these do not, so every engine and every number of
workers says the same (rule O2). They are Python's integers: they add up by ``+``, cannot overflow, and are divided once, at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEP: Final = 1074
"""Every float is a whole number of ``2 ** -STEP``, and its square one of ``2 ** (-2 * STEP)``."""

_BITS: Final = 26
"""Of one digit. So many digits are summed at once that a float holds their sum: 2 ** (53 - 26) would be too many."""
_ROWS: Final = 1 << 16
_LEAST, _MOST = 2.0**-400, 2.0**400
"""Between them numbers and their squares are taken apart in floats; what is beyond is rare, and goes number by number."""


def exact_sums(values: NDArray[np.float64], group: NDArray[Any], groups: int) -> NDArray[np.object_]:
    """The sum of the values of each group, in units of ``2 ** -STEP``.

    Args:
        values: float64[n], finite.
        group: of each value, from 0 up to `groups`, exclusive.
        groups: how many there are.

    Returns:
        object[groups]: Python integers, 0 for a group without values.
    """
    return _sums(values, group, groups, squared=False)


def exact_square_sums(values: NDArray[np.float64], group: NDArray[Any], groups: int) -> NDArray[np.object_]:
    """As `exact_sums`, of the values' squares, in units of ``2 ** (-2 * STEP)``."""
    return _sums(values, group, groups, squared=True)


def _sums(values: NDArray[np.float64], group: NDArray[Any], groups: int, *, squared: bool) -> NDArray[np.object_]:
    digits: dict[int, NDArray[np.int64]] = {}
    total = [0] * groups
    for first in range(0, len(values), _ROWS):
        part, owner = values[first : first + _ROWS], group[first : first + _ROWS].astype(np.intp)
        size = np.abs(part)
        far = ((size < _LEAST) & (size > 0)) | (size > _MOST)
        if far.any():
            for one, value in zip(owner[far].tolist(), part[far].tolist(), strict=True):
                total[one] += _steps(value) ** (2 if squared else 1)
            part = np.where(far, 0.0, part)
        for term in _square(part) if squared else (part,):
            _add_digits(digits, term, owner, groups)
    for place, sums in digits.items():
        shift = _BITS * place + (2 * STEP if squared else STEP)
        for one in np.flatnonzero(sums).tolist():
            total[one] += int(sums[one]) << shift
    return np.array(total, dtype=object)


def _steps(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return (numerator << STEP) // denominator


def _square(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two floats whose sum is exactly the square: what a float holds of it, and the rest (Dekker)."""
    high = values * (2.0**27 + 1)
    high -= high - values
    low = values - high
    square = values * values
    return square, ((high * high - square) + 2.0 * high * low) + low * low


def _add_digits(
    digits: dict[int, NDArray[np.int64]], values: NDArray[np.float64], group: NDArray[np.intp], groups: int
) -> None:
    """Take values apart into digits of base ``2 ** _BITS``, and add those of each place to its sums."""
    largest = float(np.abs(values).max())
    place = -(-int(np.frexp(largest)[1]) // _BITS)
    rest = values
    while rest.any():
        place -= 1
        step = 2.0 ** (_BITS * place)
        anchor = 1.5 * 2.0**52 * step  # a float as large as this has no bits below the step
        digit = (rest + anchor) - anchor
        rest = rest - digit
        sums = (np.bincount(group, digit, groups) / step).astype(np.int64)
        digits[place] = digits.get(place, 0) + sums
