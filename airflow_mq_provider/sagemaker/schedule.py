"""When SageMaker runs a monitor: CreateMonitoringSchedule, and its cron ⇄ Airflow's.

SageMaker has hourly, daily and every N hours, on the hour and in UTC, and ``NOW``. All else is refused here, with the
way in which Airflow can.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow_mq_provider.exceptions import OffsetError, RequestError
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.sagemaker import shapes
from airflow_mq_provider.sagemaker.differences import Difference, differences, without_empty
from airflow_mq_provider.window import parse_offset, sagemaker_offset

REQUEST: Final = "CreateMonitoringSchedule"
MONITORING_TYPE: Final = "ModelQuality"
NOW: Final = "NOW"
HOURLY: Final = "cron(0 * ? * * *)"

#: an hourly execution's two jobs share the hour, so SageMaker stops each after half of it
HOURLY_RUNTIME: Final = timedelta(seconds=1800)
#: the longest window that a schedule itself may give
LONGEST_WINDOW: Final = timedelta(hours=24)

_SAGEMAKER_CRON = re.compile(r"cron\(0 (?:\*|(?P<first>\d{1,2})(?:/(?P<every>\d{1,2}))?) \? \* \* \*\)", re.ASCII)
_HOUR_STEPS = re.compile(r"(?:(?P<all>\*)|(?P<first>\d{1,2})(?:-(?P<last>\d{1,2}))?)(?:/(?P<every>\d{1,2}))?", re.ASCII)
_WORDS: Final = {"hourly": "0 * * * *", "daily": "0 0 * * *"}
AIRFLOW_CAN: Final = "or have Airflow run the monitor at any cadence: model_quality_dag with the same monitor"


# --- cadences


def sagemaker_cron(schedule: str) -> str:
    """SageMaker's expression for a schedule.

    Taken are SageMaker's own expressions and ``NOW``, ``hourly`` and ``daily`` (at midnight; Airflow's ``@hourly`` and
    ``@daily`` too), and a plain cron that fires on the hour every day: each hour, at one hour, or every N hours.

    Raises:
        RequestError: a cadence that SageMaker has not.
    """
    text = " ".join(schedule.split())
    if text.upper() == NOW:
        return NOW
    if text.startswith("cron("):
        _hours(text)
        return text
    plain = _WORDS.get(text.removeprefix("@"), text).split(" ")
    hours = _hours_of_field(plain[1]) if len(plain) == 5 else ()
    if not hours or plain[0] not in ("0", "00") or plain[2:] != ["*"] * 3:
        raise _no_cadence(schedule)
    if len(hours) == 24:
        return HOURLY
    if len(hours) == 1:
        return f"cron(0 {hours[0]} ? * * *)"
    expression = f"cron(0 {hours[0]}/{hours[1] - hours[0]} ? * * *)"
    if _hours(expression) != hours:
        raise _no_cadence(schedule)
    return expression


def airflow_cron(expression: str) -> str | None:
    """The plain cron that fires when SageMaker's expression does, in UTC; None for ``NOW``, which is no cadence.

    ``H/N`` is every N hours, H among them: where N divides a day through midnight, as AWS tells it; else from H to the
    day's end, anew each day, as cron means it, since AWS does not tell.

    Raises:
        RequestError: it is none of SageMaker's expressions.
    """
    text = " ".join(expression.split())
    if text.upper() == NOW:
        return None
    hours = _hours(text)
    if len(hours) == 24:
        return "0 * * * *"
    if len(hours) > 2 and hours == tuple(range(0, 24, hours[1])):
        return f"0 */{hours[1]} * * *"
    return f"0 {','.join(map(str, hours))} * * *"


def cadence(schedule: str) -> timedelta | None:
    """The shortest time between two executions; None for ``NOW``. Takes what `sagemaker_cron` takes.

    Raises:
        RequestError: a cadence that SageMaker has not.
    """
    expression = sagemaker_cron(schedule)
    if expression == NOW:
        return None
    hours = _hours(expression)
    following = (*hours[1:], hours[0] + 24)
    return timedelta(hours=min(after - before for before, after in zip(hours, following, strict=True)))


def has_slot(expression: str, time: datetime) -> bool:
    """Whether SageMaker's expression fires at a time; ``NOW`` may at any.

    Raises:
        RequestError: it is none of SageMaker's expressions.
    """
    text = " ".join(expression.split())
    if text.upper() == NOW:
        return True
    moment = time.astimezone(UTC)
    return moment.hour in _hours(text) and moment == moment.replace(minute=0, second=0, microsecond=0)


def _hours(expression: str) -> tuple[int, ...]:
    """The hours of a day at which SageMaker's expression fires."""
    found = _SAGEMAKER_CRON.fullmatch(expression)
    if not found:
        raise _no_cadence(expression)
    if found["first"] is None:
        return tuple(range(24))
    first, every = int(found["first"]), int(found["every"] or 24)
    if first > 23 or not 1 <= every <= 24:
        raise _no_cadence(expression)
    if 24 % every == 0:
        return tuple(range(first % every, 24, every))
    return tuple(range(first, 24, every))


def _hours_of_field(field: str) -> tuple[int, ...]:
    """The hours that the second field of a plain cron names, in order; none where it is no such field."""
    hours: set[int] = set()
    for part in field.split(","):
        found = _HOUR_STEPS.fullmatch(part)
        if not found:
            return ()
        first = int(found["first"] or 0)
        # a step without an end goes on to the end of the day
        open_end = found["all"] or (found["every"] and not found["last"])
        last = 23 if open_end else int(found["last"] or first)
        every = int(found["every"] or 1)
        if not first <= last <= 23 or every < 1:
            return ()
        hours.update(range(first, last + 1, every))
    return tuple(sorted(hours))


def _no_cadence(schedule: str) -> RequestError:
    return RequestError(
        [f"schedule: must be hourly, daily or every N hours, on the hour and in UTC, or {NOW}; came {schedule!r}"],
        where="the schedule",
        next_step="write 'hourly', 'daily', '0 3 * * *', '0 */6 * * *' or an expression of SageMaker's, such as "
        f"'cron(0 3 ? * * *)'; {AIRFLOW_CAN}",
    )


# --- requests


def schedule_request(
    monitor: ModelQualityMonitor,
    *,
    schedule: str,
    definition_name: str,
    schedule_name: str | None = None,
    data_analysis_start: str | None = None,
    data_analysis_end: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The arguments of CreateMonitoringSchedule; UpdateMonitoringSchedule takes them too, without ``Tags``.

    Args:
        monitor: its runtime limit has to fit the cadence, its name is the schedule's.
        schedule: as of `sagemaker_cron`.
        definition_name: the job definition to run.
        schedule_name: another name than the monitor's. Reports lie in a folder of that name.
        data_analysis_start: the start of the window, an offset from the scheduled time; for ``NOW`` needed.
        data_analysis_end: the end of the window, likewise. The window is of 24 hours at most.
        tags: beside those of the monitor, and before them.

    Raises:
        RequestError: every fault that SageMaker would find, each by its field.
    """
    name = schedule_name or monitor.name
    faults = list(shapes.name_faults(schedule_name=name, definition_name=definition_name))
    expression = None
    try:
        expression = sagemaker_cron(schedule)
    except RequestError as error:
        faults.extend(error.faults)
    else:
        faults.extend(_runtime_faults(monitor, cadence(expression)))
    window = _window(data_analysis_start, data_analysis_end, needed=expression == NOW, faults=faults)
    tagged = shapes.tags_of(shapes.settings_of(monitor), tags, faults)
    shapes.refuse(faults, monitor, REQUEST, f"correct the named fields, {AIRFLOW_CAN}")
    return {
        "MonitoringScheduleName": name,
        "MonitoringScheduleConfig": {
            "ScheduleConfig": {"ScheduleExpression": expression, **window},
            "MonitoringJobDefinitionName": definition_name,
            "MonitoringType": MONITORING_TYPE,
        },
        **tagged,
    }


def _runtime_faults(monitor: ModelQualityMonitor, every: timedelta | None) -> Iterator[str]:
    limit = shapes.settings_of(monitor).max_runtime_in_seconds
    if limit is None or every is None:
        return
    hourly = every == timedelta(hours=1)
    most = HOURLY_RUNTIME if hourly else every
    if timedelta(seconds=limit) > most:
        why = "for hourly schedules, whose two jobs share the hour" if hourly else "which is the schedule's cadence"
        yield (
            f"sagemaker.max_runtime_in_seconds: must be at most {most // timedelta(seconds=1)}, {why}, came {limit}; "
            "leave it out for SageMaker's own limit"
        )


def _window(start: str | None, end: str | None, *, needed: bool, faults: list[str]) -> dict[str, str]:
    """The window's part of ``ScheduleConfig``: both ends or none."""
    given = {"data_analysis_start": start, "data_analysis_end": end}
    missing = [field for field, offset in given.items() if offset is None]
    if missing and (needed or len(missing) == 1):
        why = f"{NOW} needs a window" if needed else "a window has both ends"
        faults.extend(f"{field}: is missing; {why}, such as -PT5H and -PT0H" for field in missing)
    sent: dict[str, str] = {}
    lengths: list[timedelta] = []
    for member, (field, offset) in zip(("DataAnalysisStartTime", "DataAnalysisEndTime"), given.items(), strict=True):
        if offset is None:
            continue
        try:
            sent[member] = sagemaker_offset(offset, field=field)
            lengths.append(parse_offset(sent[member], field=field))
        except OffsetError as error:
            faults.append(shapes.offset_fault(error))
    if len(lengths) == 2:
        length = lengths[1] - lengths[0]
        if length <= timedelta(0):
            faults.append(f"data_analysis_start: must lie before data_analysis_end, came {start!r} and {end!r}")
        elif length > LONGEST_WINDOW:
            hours = length / timedelta(hours=1)
            faults.append(
                f"data_analysis_start, data_analysis_end: must be at most 24 hours apart, came {start!r} and {end!r}, "
                f"{hours:g} hours"
            )
    return sent


def schedule_diff(described: Mapping[str, Any], request: Mapping[str, Any]) -> list[Difference]:
    """Where a described schedule is another than the request would make, field by field.

    Compared are expression, window, definition and kind of monitoring; SageMaker's tags are not described.
    """
    return list(differences(_canonical(described), _canonical(request)))


def _canonical(schedule: Mapping[str, Any]) -> dict[str, Any]:
    config = without_empty(schedule.get("MonitoringScheduleConfig", {}))
    when = dict(config.pop("ScheduleConfig", {}))
    if "ScheduleExpression" in when:
        when["ScheduleExpression"] = " ".join(when["ScheduleExpression"].split())
    for member in ("DataAnalysisStartTime", "DataAnalysisEndTime"):
        if member in when:
            when[member] = shapes.offset_meaning(when[member])
    config.setdefault("MonitoringType", schedule.get("MonitoringType", MONITORING_TYPE))
    return {"MonitoringScheduleName": schedule.get("MonitoringScheduleName"), "ScheduleConfig": when, **config}
