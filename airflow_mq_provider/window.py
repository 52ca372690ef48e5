"""WHEN: from a run's scheduled time and the monitor's offsets to the analysis window, and the hour folders it touches.

All of it is pure, and all of it is UTC: datetimes that come in may be of any zone, those that go out are plain
`datetime` objects in UTC, in whole seconds. The rules (W1 to W4, I2, O1) are told for users in docs/window.md.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final

from airflow_mq_provider.exceptions import OffsetError, WindowError

#: where a window's scheduled time can come from (rule W3)
SOURCES: Final = ("params", "data_interval", "schedule", "run_after", "command_line")
#: where the as-of time of labels can come from (rule I2)
AS_OF_SOURCES: Final = ("schedule", "now", "time", "sensor")
#: the params of a DAG run that give an explicit window
PARAM_START: Final = "window_start"
PARAM_END: Final = "window_end"
#: the longest text that SageMaker takes as an offset
SAGEMAKER_OFFSET_LENGTH: Final = 15

_HOUR = timedelta(hours=1)
_EXPLICIT_REMEDY = (
    f"trigger the run with the params {PARAM_START} and {PARAM_END}, or give the monitor both start_time_offset and "
    "end_time_offset"
)


class OffsetWarning(UserWarning):
    """An offset was written in one of two forms that are no ISO 8601; the message shows how it was understood."""


# --- times


def parse_time(text: str, *, field: str) -> datetime:
    """The time that an ISO 8601 text names, in UTC, to the microsecond; a text without zone is read as UTC.

    Raises:
        WindowError: the text is no ISO 8601 date or time; ``field`` says where it stood.
    """
    stripped = text.strip()
    # a month 13, or a zone that leads out of the calendar, is refused like any other text
    with suppress(ValueError, OverflowError):
        if _TIME.fullmatch(stripped):
            time = datetime.fromisoformat(stripped)
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    raise WindowError(
        expected="a time in ISO 8601",
        came=repr(text),
        where=field,
        next_step="write it as 2020-01-09T13:00:00Z",
    )


def format_time(t: datetime) -> str:
    """``YYYY-MM-DDTHH:MM:SSZ``: the time in UTC, cut to whole seconds (rule W4)."""
    return _utc(t, "time").isoformat().replace("+00:00", "Z")


def hour_folder(t: datetime) -> str:
    """The folder, as ``2020/01/09/12``, in which captures and labels of this time's hour stand: the hour is of UTC."""
    return _folder(_utc(t, "time"))


# --- windows


@dataclass(frozen=True, slots=True)
class Window:
    """The time that an analysis covers: half open, from ``start`` up to but without ``end``.

    All three times are turned to UTC and cut to whole seconds. ``source`` is one of `SOURCES` and says where
    ``scheduled_time`` came from.

    Raises:
        WindowError: the window is empty, a time has no zone, or the source is unknown.
    """

    start: datetime
    end: datetime
    scheduled_time: datetime
    source: str

    def __post_init__(self) -> None:
        for name in ("start", "end", "scheduled_time"):
            object.__setattr__(self, name, _utc(getattr(self, name), name))
        if self.source not in SOURCES:
            raise WindowError(
                expected=f"a source of the window, one of {', '.join(SOURCES)}",
                came=repr(self.source),
                where="source",
                next_step="name where the scheduled time came from",
            )
        if self.start >= self.end:
            raise WindowError(
                expected="a window whose start lies before its end",
                came=f"an empty window, {format_time(self.start)} to {format_time(self.end)}",
                where="start and end",
                next_step="give a start that lies before the end",
            )

    def hours(self) -> tuple[datetime, ...]:
        """The starts of the hours that the window touches, in order; one that ends on the hour does not touch that."""
        first = self.start.replace(minute=0, second=0)
        count = -((first - self.end) // _HOUR)
        return tuple(first + i * _HOUR for i in range(count))

    @property
    def report_folder(self) -> str:
        """The folder of the run's report, below endpoint and monitor (rule O1).

        The hour of the scheduled time, as ``2020/01/09/13``; minutes follow where it is not on the hour, seconds where
        it is not on the minute. An explicit window has a folder of its own below ``windows/``.
        """
        if self.source == "params":
            return f"windows/{_compact(self.start)}_{_compact(self.end)}"
        t = self.scheduled_time
        minute = f"/{t.minute:02d}" if t.minute or t.second else ""
        second = f"/{t.second:02d}" if t.second else ""
        return _folder(t) + minute + second

    def as_dict(self) -> dict[str, str]:
        """The window as it stands in ``report.json``: ``start``, ``end``, ``scheduled_time`` and ``source`` as text."""
        return {
            "start": format_time(self.start),
            "end": format_time(self.end),
            "scheduled_time": format_time(self.scheduled_time),
            "source": self.source,
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, str]) -> Window:
        """The window that `as_dict` wrote.

        Raises:
            WindowError: a key is missing, or its text is no time.
        """
        missing = [name for name in ("start", "end", "scheduled_time", "source") if name not in given]
        if missing:
            raise WindowError(
                expected="a window with the keys start, end, scheduled_time and source",
                came=f"one without {', '.join(missing)}",
                where="window",
                next_step="hand over what Window.as_dict() gave",
            )
        return cls(
            start=parse_time(given["start"], field="window start"),
            end=parse_time(given["end"], field="window end"),
            scheduled_time=parse_time(given["scheduled_time"], field="window scheduled_time"),
            source=given["source"],
        )


def analysis_window(
    scheduled_time: datetime,
    start_offset: str | None,
    end_offset: str | None,
    *,
    interval_start: datetime | None,
    source: str,
) -> Window:
    """The window of a run: from the scheduled time plus start offset to the scheduled time plus end offset (rule W1).

    Both offsets count from ``scheduled_time``. Without ``start_offset`` the window starts at ``interval_start``;
    without ``end_offset`` it ends at the scheduled time. Offsets are lengths: a day is 24 hours, also where a clock
    changes.

    Raises:
        OffsetError: an offset is none (rule W2).
        WindowError: the window is empty, or its start is not known.
    """
    scheduled = _utc(scheduled_time, "scheduled time")
    if start_offset is not None:
        start = _shift(scheduled, start_offset, "start_time_offset")
        start_origin = f"start_time_offset {start_offset!r}"
    elif interval_start is not None:
        start = _utc(interval_start, "start of the data interval")
        start_origin = "the start of the data interval, as there is no start_time_offset"
    else:
        raise WindowError(
            expected="a start of the window: a start_time_offset, or the start of a data interval",
            came="neither",
            where=f"the run of {format_time(scheduled)}",
            next_step="give the monitor a start_time_offset, or the run the start of its interval "
            "(on the command line --interval-start)",
        )
    if end_offset is not None:
        end = _shift(scheduled, end_offset, "end_time_offset")
        end_origin = f"end_time_offset {end_offset!r}"
    else:
        end = scheduled
        end_origin = "the scheduled time, as there is no end_time_offset"
    if start >= end:
        raise WindowError(
            expected="a window whose start lies before its end",
            came=f"an empty window, {format_time(start)} ({start_origin}) to {format_time(end)} ({end_origin})",
            where=f"the run of {format_time(scheduled)}",
            next_step="give the monitor a start_time_offset that reaches further back than its end_time_offset",
        )
    return Window(start=start, end=end, scheduled_time=scheduled, source=source)


def explicit_window(start: datetime, end: datetime) -> Window:
    """The window that a run's params give; its scheduled time is its end (rule W3 a).

    Raises:
        WindowError: the start does not lie before the end.
    """
    first, last = _utc(start, PARAM_START), _utc(end, PARAM_END)
    if first >= last:
        raise WindowError(
            expected=f"a {PARAM_START} that lies before {PARAM_END}",
            came=f"an empty window, {format_time(first)} to {format_time(last)}",
            where=f"params {PARAM_START} and {PARAM_END}",
            next_step="give an earlier start or a later end",
        )
    return Window(start=first, end=last, scheduled_time=last, source="params")


def resolve_window(
    *,
    start_offset: str | None,
    end_offset: str | None,
    params_start: datetime | str | None = None,
    params_end: datetime | str | None = None,
    interval: tuple[datetime, datetime] | None,
    run_after: datetime | None,
    period_before: Callable[[datetime], tuple[datetime, datetime]] | None,
) -> Window:
    """The window of an Airflow run, whatever that run has or lacks (rule W3).

    The first that holds:

    (a) both params: the explicit window; an empty text is an absent param;
    (b) an ``interval`` that is not empty;
    (c) an empty one: the schedule's period that ends at or before its end;
    (d) none: the schedule's period that ends at or before ``run_after``;
    (e) no schedule: an empty interval's end, else ``run_after``, floored to the hour of UTC; both offsets are needed.

    ``period_before(t)`` answers start and end of the schedule's latest period that ends at or before ``t``; it is None
    where the DAG has no schedule (an asset is none). An interval shorter than a second, or backwards, is empty.

    Raises:
        OffsetError: an offset is none (rule W2).
        WindowError: one param without the other, an empty window, or a run that gives none; it names the params.
    """
    if params_start or params_end:
        if not (params_start and params_end):
            missing = PARAM_END if params_start else PARAM_START
            raise WindowError(
                expected=f"both params {PARAM_START} and {PARAM_END}, or neither",
                came=f"only {PARAM_START if params_start else PARAM_END}",
                where="params of the run",
                next_step=f"give {missing} as well",
            )
        return explicit_window(_param(params_start, PARAM_START), _param(params_end, PARAM_END))

    bounds = None
    if interval is not None:
        # in UTC, as Python compares two times of one zone by their clocks, which show the same hour twice in autumn
        bounds = _utc(interval[0], "start of the data interval"), _utc(interval[1], "end of the data interval")
        if bounds[0] < bounds[1]:
            return analysis_window(
                bounds[1], start_offset, end_offset, interval_start=bounds[0], source="data_interval"
            )
    if bounds is not None:
        anchor, source = bounds[1], "schedule" if period_before else "data_interval"
    elif run_after is not None:
        anchor, source = _utc(run_after, "run_after"), "run_after"
    else:
        raise WindowError(
            expected="a run with a data interval or a run_after time",
            came="neither",
            where="the run",
            next_step=_EXPLICIT_REMEDY,
        )
    if period_before is not None:
        start, end = period_before(anchor)
        return analysis_window(end, start_offset, end_offset, interval_start=start, source=source)
    if start_offset is None or end_offset is None:
        raise WindowError(
            expected="a run with a data interval or a schedule, or a monitor with both offsets",
            came=f"a run at {format_time(anchor)} that has neither, start_time_offset {start_offset!r} "
            f"and end_time_offset {end_offset!r}",
            where="the run",
            next_step=_EXPLICIT_REMEDY,
        )
    on_the_hour = anchor.replace(minute=0, second=0)
    return analysis_window(on_the_hour, start_offset, end_offset, interval_start=None, source=source)


# --- up to when labels are read


@dataclass(frozen=True, slots=True)
class AsOf:
    """The time up to which labels are read, in UTC and whole seconds, and which of `AS_OF_SOURCES` it came from."""

    time: datetime
    source: str


def ground_truth_as_of(
    choice: str | datetime,
    window: Window,
    *,
    now: datetime | None = None,
    max_delay: str | None = None,
    source: str | None = None,
) -> AsOf:
    """The time up to which labels are read (rule I2).

    ``choice`` is ``"schedule"`` for the window's scheduled time, ``"now"`` for ``now`` (the clock where that is None),
    or a time. It is never later than the window's end plus ``max_delay``, an ISO 8601 duration forwards. ``source``
    renames where it came from: a sensor that waited for its time gives ``"sensor"``.

    Raises:
        WindowError: another choice, or a source that is none of `AS_OF_SOURCES`.
        OffsetError: ``max_delay`` is no duration forwards.
    """
    if source is not None and source not in AS_OF_SOURCES:
        raise WindowError(
            expected=f"a source of the as-of time, one of {', '.join(AS_OF_SOURCES)}",
            came=repr(source),
            where="as-of",
            next_step="name where the time came from",
        )
    if choice == "schedule":
        time, kind = window.scheduled_time, "schedule"
    elif choice == "now":
        time, kind = now or datetime.now(UTC), "now"
    elif isinstance(choice, datetime):
        time, kind = choice, "time"
    else:
        try:
            time, kind = parse_time(choice, field="as-of"), "time"
        except WindowError as error:
            raise WindowError(
                expected="an as-of time: schedule, now, or a time in ISO 8601",
                came=error.came,
                where="as-of",
                next_step="write schedule, now, or a time as 2020-01-09T13:00:00Z",
            ) from None
    time = _utc(time, "as-of")
    if max_delay is not None:
        delay = parse_delay(max_delay, field="ground_truth_max_delay")
        # compared as lengths: the bound itself may lie beyond the calendar
        if time - window.end > delay:
            time = window.end + delay
    return AsOf(time=time, source=source or kind)


# --- offsets


def parse_offset(text: str, *, field: str) -> timedelta:
    """The length of an offset: zero or negative, in whole seconds (rule W2).

    Raises:
        OffsetError: the text is no offset; the message holds the remedy, and ``field`` says where it stood.

    Warns:
        OffsetWarning: ``-PT2D`` was read as ``-P2D``, or ``-P7H`` as ``-PT7H``.
    """
    return _length(normalize_offset(text, field=field), text, field)


def normalize_offset(text: str, *, field: str) -> str:
    """The offset as a valid ISO 8601 duration: as it was written where it is one, else rewritten (rule W2).

    Raises:
        OffsetError: the text is no offset; the message holds the remedy, and ``field`` says where it stood.

    Warns:
        OffsetWarning: ``-PT2D`` became ``-P2D``, or ``-P7H`` became ``-PT7H``.
    """
    if not isinstance(text, str):
        raise _offset_error(repr(text), "no text", field, "write '-P1D' or '-PT1H', or leave the offset out")
    if _DURATION.fullmatch(text):
        if text.startswith("P") and _length(text, text, field):
            raise _offset_error(repr(text), "it lies after the scheduled time", field, f"write '-{text}'")
        return text
    misplaced = _MISPLACED.fullmatch(text)
    if misplaced and (misplaced["sign"] or int(misplaced["days"] or misplaced["hours"]) == 0):
        sign, days, hours = misplaced.groups()
        rewritten = f"{sign}P{days}D" if days else f"{sign}PT{hours}H"
        warnings.warn(
            f"{field}: the offset '{text}' is no ISO 8601 duration; it is read as '{rewritten}'. Write it so.",
            OffsetWarning,
            stacklevel=3,
        )
        return rewritten
    why, remedy = _diagnosis(text, sign="-")
    raise _offset_error(repr(text), why, field, remedy)


def sagemaker_offset(text: str, *, field: str) -> str:
    """The offset as SageMaker takes it: weeks as days, at most 15 characters (rule W2).

    Raises:
        OffsetError: the text is no offset, or is too long for SageMaker.

    Warns:
        OffsetWarning: as `normalize_offset`.
    """
    normal = normalize_offset(text, field=field)
    if "W" in normal:
        sign, weeks, days, rest = _WEEKS.fullmatch(normal).groups()  # type: ignore[union-attr]
        normal = f"{sign}P{7 * int(weeks) + int(days or 0)}D{rest}"
    if len(normal) > SAGEMAKER_OFFSET_LENGTH:
        raise OffsetError(
            expected=f"an offset of at most {SAGEMAKER_OFFSET_LENGTH} characters, which is what SageMaker takes",
            came=f"{normal!r}, {len(normal)} characters",
            where=field,
            next_step="write it in fewer units, such as days or hours alone",
        )
    return normal


def offset_fault(start_offset: str | None, end_offset: str | None) -> str | None:
    """Why two offsets can make no window whatever the run, in one sentence; None where they may (rule W2).

    Without end offset the window ends at the scheduled time. Without start offset its start depends on the run.
    """
    if start_offset is None:
        return None
    start = parse_offset(start_offset, field="start_time_offset")
    end = parse_offset(end_offset, field="end_time_offset") if end_offset is not None else timedelta(0)
    if start < end:
        return None
    against = f"end_time_offset {end_offset!r}" if end_offset is not None else "the scheduled time, the window's end"
    return f"{start_offset!r} does not lie before {against}: every window would be empty; let it reach further back"


def parse_delay(text: str, *, field: str) -> timedelta:
    """The length of a duration forwards, as ``P7D``: zero or positive, in whole seconds.

    Raises:
        OffsetError: the text is no such duration; the message holds the remedy, and ``field`` says where it stood.
    """
    if text.startswith("P") and _DURATION.fullmatch(text):
        return _length(text, text, field)
    why, remedy = _diagnosis(text, sign="")
    raise OffsetError(
        expected="an ISO 8601 duration without sign, in whole weeks, days, hours, minutes or seconds",
        came=f"{text!r}: {why}",
        where=field,
        next_step=remedy,
    )


# --- in the small

_TIME = re.compile(
    r"\d{4}(?:-\d{2}-\d{2}|\d{4})(?:[T ]\d{2}(?::?\d{2}(?::?\d{2}(?:[.,]\d+)?)?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)
_DURATION = re.compile(r"-?P(?=.)(?:\d+W)?(?:\d+D)?(?:T(?=.)(?:\d+H)?(?:\d+M)?(?:\d+S)?)?", re.ASCII)
_MISPLACED = re.compile(r"(?P<sign>-?)P(?:T(?P<days>\d+)D|(?P<hours>\d+)H)", re.ASCII)
_WEEKS = re.compile(r"(-?)P(\d+)W(?:(\d+)D)?(T.*|)", re.ASCII)
_NEARLY = re.compile(
    r"[+-]?P(?P<date>(?:\d+(?:[.,]\d+)?[YMWDHS])*)(?:T(?P<time>(?:\d+(?:[.,]\d+)?[WDHMS])*))?", re.ASCII
)
_PART = re.compile(r"(\d+(?:[.,]\d+)?)([YMWDHS])", re.ASCII)
_SECONDS = {"W": 604_800, "D": 86_400, "H": 3_600, "M": 60, "S": 1}


def _utc(t: datetime, field: str) -> datetime:
    """A plain datetime in UTC, cut to whole seconds, of a datetime of any zone and any subclass."""
    if t.utcoffset() is None:
        raise WindowError(
            expected="a time with its zone",
            came=f"{t.isoformat()}, which has none",
            where=field,
            next_step="give it one, as in datetime(2020, 1, 9, 13, tzinfo=timezone.utc)",
        )
    u = t.astimezone(UTC)
    return datetime(u.year, u.month, u.day, u.hour, u.minute, u.second, tzinfo=UTC)


def _folder(t: datetime) -> str:
    return f"{t.year:04d}/{t.month:02d}/{t.day:02d}/{t.hour:02d}"


def _compact(t: datetime) -> str:
    return f"{t.year:04d}{t.month:02d}{t.day:02d}T{t.hour:02d}{t.minute:02d}{t.second:02d}Z"


def _param(given: object, field: str) -> datetime:
    return given if isinstance(given, datetime) else parse_time(str(given), field=f"param {field}")


def _shift(scheduled: datetime, offset: str, field: str) -> datetime:
    length = parse_offset(offset, field=field)
    try:
        return scheduled + length
    except OverflowError:
        raise WindowError(
            expected="an offset that stays within the calendar",
            came=f"{offset!r} from {format_time(scheduled)}",
            where=field,
            next_step="write a shorter offset",
        ) from None


def _length(duration: str, written: str, field: str) -> timedelta:
    """The length of a text that `_DURATION` matches."""
    # imported here: a DAG file that is parsed makes no window
    from isodate import parse_duration

    try:
        length: timedelta = parse_duration(duration)
    except OverflowError:
        raise _offset_error(repr(written), "too long", field, "write at most 999999999 days") from None
    return length


def _offset_error(came: str, why: str, field: str, remedy: str) -> OffsetError:
    return OffsetError(
        expected="an ISO 8601 duration, zero or negative, in whole weeks, days, hours, minutes or seconds",
        came=f"{came}: {why}",
        where=field,
        next_step=remedy,
    )


def _diagnosis(text: str, *, sign: str) -> tuple[str, str]:
    """What is wrong with a text that is no duration, and what to write instead; ``sign`` is the one that is wanted."""
    example = f"write whole days as {sign}PnD or hours as {sign}PTnH, such as '{sign}P8D' or '{sign}PT6H'"
    if not text.strip():
        return "nothing", f"leave the offset out, or {example}"
    nearly = _NEARLY.fullmatch(text.strip().upper().replace("\N{MINUS SIGN}", "-"))
    if not nearly:
        return "no duration", example
    date, time = _PART.findall(nearly["date"]), _PART.findall(nearly["time"] or "")
    if not date and not time:
        return "no length", f"write a number and its unit, such as '{sign}PT1H'"
    if any(unit in "YM" for _, unit in date):
        counts = {unit: Fraction(number.replace(",", ".")) for number, unit in date}
        days = int(365 * counts.get("Y", 0) + 30 * counts.get("M", 0) + 7 * counts.get("W", 0) + counts.get("D", 0))
        in_days = f"count a longer time in days, such as '{sign}P{max(days, 1)}D'"
        if len(date) == 1 and date[0][1] == "M":
            return "M before T means months, which have no fixed length", (
                f"for minutes write '{sign}PT{date[0][0]}M'; {in_days}"
            )
        return "years and months have no fixed length", in_days
    parts = date + time
    order = ["WDHMS".index(unit) for _, unit in parts]
    if order != sorted(set(order)):
        return "units that repeat or stand out of order", example
    if any(not number.isdigit() for number, _ in parts):
        seconds = sum((Fraction(n.replace(",", ".")) * _SECONDS[unit] for n, unit in parts), Fraction(0))
        whole = "" if seconds.denominator == 1 else "count in whole seconds; the nearest: "
        return "a fraction", f"{whole}write '{sign}{_in_whole_units(max(round(seconds), 1))}'"
    days_part = "".join(number + unit for number, unit in parts if unit in "WD")
    time_part = "".join(number + unit for number, unit in parts if unit in "HMS")
    return "not the form of ISO 8601", f"write '{sign}P{days_part}{'T' + time_part if time_part else ''}'"


def _in_whole_units(seconds: int) -> str:
    """A duration of this many seconds, without sign: 5400 is ``PT1H30M``."""
    days, rest = divmod(seconds, 86_400)
    counts = ((rest // 3_600, "H"), (rest % 3_600 // 60, "M"), (rest % 60, "S"))
    time = "".join(f"{count}{unit}" for count, unit in counts if count)
    return f"P{f'{days}D' if days else ''}{'T' + time if time else ''}"
