"""How old labels are when they come: counts by age, from which follows how coverage grows with age.

A label's age is the time from its prediction to the end of the hour in whose folder it was collected: the earliest as-of
time at which a run sees it, less the time of the prediction (rule I2). What is counted stands in ``report.json``; of several
labels for one id the first one counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: the ages in hours by which labels are counted: hours at first, then days, then months
AGES: Final = (
    1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 21, 24, 30, 36, 42, 48, 60, 72, 84, 96, 108, 120, 132, 144, 156, 168, 192, 216,
    240, 264, 288, 312, 336, 384, 432, 480, 528, 576, 624, 672, 720, 840, 960, 1080, 1260, 1440, 1800, 2160, 2880, 3600,
    4320, 5760, 7200, 8760, 13140, 17520, 26280, 43800, 87600,
)  # fmt: skip
NEVER: Final = 2**31 - 1
"""As the hour of a label: none has come."""
WAITING: Final = 10
"""A curve goes on as long as at least so many captures were still waiting for a label."""

_HOUR = 3600
_BLOCK = 1 << 15
"""Captures are looked at so many at a time, which the processor's cache holds."""
_UNTIL = np.repeat(np.arange(len(AGES) + 1, dtype=np.intp), np.diff([0, *AGES, AGES[-1] + 1]))
"""Of each number of hours up to the last of `AGES`, how many of `AGES` are no more than that."""


@dataclass(frozen=True, slots=True)
class LabelAges:
    """Captures by the age of their label.

    Attributes:
        labelled: how many had their first label at each of `AGES`, and not yet at the one before.
        unlabelled: how many had none at an age, 0 or one of `AGES`, that is the last one which can be told of them.
    """

    labelled: tuple[int, ...] = (0,) * len(AGES)
    unlabelled: tuple[int, ...] = (0,) * (len(AGES) + 1)

    def __add__(self, other: LabelAges) -> LabelAges:
        """Both together."""
        return LabelAges(
            tuple(map(sum, zip(self.labelled, other.labelled, strict=True))),
            tuple(map(sum, zip(self.unlabelled, other.unlabelled, strict=True))),
        )

    def as_dict(self) -> dict[str, dict[str, int]]:
        """As it stands in ``report.json``: captures by age in hours, ages without any left out."""
        return {
            "labelled": {str(age): count for age, count in zip(AGES, self.labelled, strict=True) if count},
            "unlabelled": {str(age): count for age, count in zip((0, *AGES), self.unlabelled, strict=True) if count},
        }

    @classmethod
    def from_dict(cls, block: Mapping[str, Mapping[str, int]]) -> LabelAges:
        """Read what `as_dict` wrote."""
        return cls(
            tuple(int(block["labelled"].get(str(age), 0)) for age in AGES),
            tuple(int(block["unlabelled"].get(str(age), 0)) for age in (0, *AGES)),
        )


def label_ages(times: NDArray[np.int64], hours: NDArray[np.int32], as_of: datetime) -> LabelAges:
    """Count captures by the age of their label.

    An age that the as-of time cuts through says nothing: by then some labels of that age could have been seen, and others
    not. So a capture counts as labelled at an age only where labels of that whole age could have been seen.

    Args:
        times: of the captures, in seconds since 1970.
        hours: in which the first label of each was collected, in hours since 1970; `NEVER` where there is none.
        as_of: up to when labels were read.
    """
    # Ages and ends of hours are whole hours, so whole hours can be compared: an age is over at the as-of time where it is no
    # more than the hours since the hour in which, or at whose start, the prediction ended; a label was older than an age where
    # its hour began by that age after the hour of the prediction.
    until, size = int(as_of.timestamp()) // _HOUR, len(AGES) + 1
    counts = np.zeros(size * size, np.intp)
    for start in range(0, len(times), _BLOCK):
        time = times[start : start + _BLOCK]
        hour = time // _HOUR
        seen = _until(until - hour - (time != hour * _HOUR))
        came = _until(hours[start : start + _BLOCK] - hour)
        counts += np.bincount(came * size + seen, minlength=size * size)
    both = counts.reshape(size, size)
    return LabelAges(
        tuple(np.triu(both, 1).sum(axis=1).tolist()[: len(AGES)]),
        tuple(np.tril(both).sum(axis=0).tolist()),
    )


def _until(hours: NDArray[np.int64]) -> NDArray[np.intp]:
    return _UNTIL.take(hours, mode="clip")


def hour_number(folder: str) -> int:
    """The hours since 1970 of an hour folder, ``yyyy/mm/dd/hh``; `NEVER` of one that looks like it and names no hour."""
    try:
        # strptime would take twenty times as long, of every hour in every run
        year, month, day, hour = map(int, folder.split("/"))
        at = datetime(year, month, day, hour, tzinfo=UTC)
    except ValueError:
        return NEVER
    return int(at.timestamp()) // _HOUR


@dataclass(frozen=True, slots=True)
class Arrival:
    """How coverage grows with the age of labels.

    Attributes:
        curve: ages in hours, and the share of captures that have a label by then.
        captures: that it is made of; one that several windows judged counts in each.
    """

    curve: Sequence[tuple[int, float]]
    captures: int

    @property
    def coverage(self) -> float:
        """The share of captures that have a label at the end of the curve."""
        return self.curve[-1][1]

    def age_of(self, share: float) -> int:
        """By which age, in hours, this share of all labels has come that have come by the end of the curve."""
        return next(age for age, coverage in self.curve if coverage >= share * self.coverage - 1e-12)


def arrival(counted: Iterable[LabelAges]) -> Arrival | None:
    """The curve over several windows; None where too few captures waited, or no label came.

    It is the product-limit estimate (Kaplan and Meier): windows were looked at after different times, so what a window says of
    an age counts among the captures which were still waiting then, and were looked at so late.
    """
    total = sum(counted, LabelAges())
    waiting = captures = sum(total.labelled) + sum(total.unlabelled)
    curve: list[tuple[int, float]] = []
    missing = 1.0
    for age, came, left in zip(AGES, total.labelled, total.unlabelled, strict=False):
        waiting -= left  # these were not looked at so late
        if waiting < WAITING:
            break
        missing *= 1 - came / waiting
        waiting -= came
        curve.append((age, 1 - missing))
    return Arrival(tuple(curve), captures) if missing < 1 else None


def proposed_offsets(age: int, length: timedelta) -> tuple[str, str]:
    """Start and end offset of a window of this length whose youngest capture is so many hours old, as SageMaker writes them."""
    return _offset(timedelta(hours=age) + length), _offset(timedelta(hours=age))


def _offset(back: timedelta) -> str:
    hours, minutes = divmod(math.ceil(back / timedelta(minutes=1)), 60)
    days, hours = divmod(hours, 24)
    time = "".join(f"{count}{unit}" for count, unit in ((hours, "H"), (minutes, "M")) if count)
    return f"-P{f'{days}D' if days else ''}{'T' + time if time else ''}"
