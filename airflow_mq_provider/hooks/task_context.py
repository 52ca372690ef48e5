"""What a task knows when it runs: its monitor, its storage, its window, up to when it reads labels, its settings.

Operators and sensors of all kinds ask here, so that each question has one answer in a DAG run, whoever asks first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from airflow_mq_provider.exceptions import (
    FleetError,
    ModelMonitorClosedError,
    ModelQualityError,
    MonitorError,
    ScriptError,
    WindowError,
)
from airflow_mq_provider.window import PARAM_END, PARAM_START, AsOf, Window, ground_truth_as_of, resolve_window

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.sdk import Context

    from airflow_mq_provider.monitor import ModelQualityMonitor
    from airflow_mq_provider.publish.cloudwatch import CloudWatch
    from airflow_mq_provider.storage import Storage

#: the param of a DAG run that says up to when labels are read
PARAM_AS_OF = "as_of"
#: what a task puts into its context for its ``map_index_template``: before Airflow 3.1 that sees no resolved argument
NAME_OF_MONITOR = "model_quality_monitor"
#: the section of Airflow's configuration, described in get_provider_info.py
SECTION = "model_quality"

ON_VIOLATION = ("continue", "fail")
ON_NOT_JUDGED = ("continue", "fail", "skip")

Declaration = Mapping[str, Any] | str


class OverConnection(Protocol):
    """The arguments by which every operator and sensor reaches AWS, as in the amazon provider."""

    aws_conn_id: str | None
    region_name: str | None
    verify: bool | str | None
    botocore_config: dict[str, Any] | None


class MonitorTask(OverConnection, Protocol):
    """The arguments that every operator and sensor of a monitor takes; docs/airflow.md tells what each does."""

    monitor: Any

    def render_template(self, content: Any, context: Any) -> Any:
        """Render what holds templates, as every Airflow operator does."""


@dataclass(frozen=True, slots=True)
class OpenedMonitor:
    """A monitor with its storage and the window of this DAG run."""

    monitor: ModelQualityMonitor
    storage: Storage
    region: str | None
    window: Window


def declaration(monitor: ModelQualityMonitor | Declaration) -> Declaration:
    """Return a monitor as a template field holds it: its fields as plain JSON, so that Airflow renders and shows each one.

    The path or URI of a file stays text, and what another task hands over stays Airflow's stand-in for it.
    """
    if isinstance(monitor, str) or is_handed_over(monitor):
        return monitor  # type: ignore[return-value] # Airflow resolves the stand-in before the task runs
    if isinstance(monitor, Mapping):
        return dict(monitor)
    return monitor.model_dump(mode="json", exclude_defaults=True)


def is_handed_over(monitor: object) -> bool:
    """Whether a monitor is told only by another task, when a run comes to it: the element that a group is mapped over."""
    return hasattr(monitor, "resolve")  # of all stand-ins of Airflow's, whose common class is internal


def read_monitor(task: MonitorTask, context: Context) -> ModelQualityMonitor:
    """Return the task's monitor, whole and validated.

    A monitor that is a path is read now: an absolute path or URI as it is, another one below the folder of the DAG file. So is
    the file of a member of a fleet. Templates in it are rendered like those of the task's own arguments.

    Raises:
        MonitorError: the declaration is none; every fault is named.
        FleetError: it is a member of a fleet that cannot be judged beside the others.
        InputError: the file cannot be read.
    """
    from airflow_mq_provider.fleet import Member, is_member
    from airflow_mq_provider.hooks.model_quality import storage_for
    from airflow_mq_provider.monitor import ModelQualityMonitor

    declared = task.monitor
    if is_member(declared):
        member = Member.from_dict(declared)
        name_task(context, member.name)
        if member.error is not None:
            raise member.error
        declared = member.file
    if not isinstance(declared, str):
        return ModelQualityMonitor.model_validate(declared)
    source = monitor_file(declared, folder=context["dag"].folder)
    storage, _ = storage_for([source], **connection_of(task))
    monitor = ModelQualityMonitor.from_bytes(storage.read(source), source)
    name_task(context, monitor.name)
    if monitor.has_templates:
        monitor = monitor.render(lambda text: str(task.render_template(text, context)))
    return monitor


def name_task(context: Context, monitor: str) -> None:
    """Have Airflow's pages show a monitor's name at the task, where it is mapped over monitors."""
    given: Any = context  # a dict of what Airflow knows, to which tasks may add
    given[NAME_OF_MONITOR] = monitor


def open_monitor(task: MonitorTask, context: Context, window: Window | None = None) -> OpenedMonitor:
    """Return the task's monitor (`read_monitor`) with storage and window: that of the DAG run, unless another is given.

    Raises:
        MonitorError: the declaration is none; every fault is named.
        WindowError: the run gives no window.
        InputError: the file cannot be read.
    """
    monitor = read_monitor(task, context)
    storage, region = monitor_storage(task, monitor)
    return OpenedMonitor(monitor, storage, region, window or run_window(monitor, context))


def monitor_storage(task: MonitorTask, monitor: ModelQualityMonitor) -> tuple[Storage, str | None]:
    """Return the storage that the task reaches its monitor's places by, and the region of S3."""
    from airflow_mq_provider.hooks.model_quality import storage_for

    key = monitor.sagemaker.output_kms_key_id if monitor.sagemaker else None
    return storage_for(uris(monitor), **connection_of(task), kms_key_id=key)


def connection_of(task: OverConnection) -> dict[str, Any]:
    """Return the arguments by which a task reaches AWS, for hooks and triggers alike."""
    return {
        "aws_conn_id": task.aws_conn_id,
        "region_name": task.region_name,
        "verify": task.verify,
        "botocore_config": task.botocore_config,
    }


def task_cloudwatch(task: MonitorTask, monitor: ModelQualityMonitor) -> CloudWatch | None:
    """Return where the task publishes metrics: over its own connection; None where the monitor publishes none (rule O3)."""
    if not monitor.publish_cloudwatch_metrics:
        return None
    from airflow_mq_provider.airflow_internals import of_airflow
    from airflow_mq_provider.hooks.model_quality import cloudwatch_for

    conf = of_airflow("conf")
    namespace = conf.get(SECTION, "cloudwatch_namespace", fallback="")
    return cloudwatch_for(**connection_of(task), namespace=namespace or None)


def monitor_file(text: str, *, folder: str) -> str:
    """Return where a monitor's file lies: relative paths are relative to the folder of the DAG file."""
    if "://" in text or PurePosixPath(text).is_absolute():
        return text
    return str(PurePosixPath(folder, text))


def uris(monitor: ModelQualityMonitor) -> list[str]:
    """Return every place that a run of this monitor reads or writes, as far as the monitor says."""
    places = [
        monitor.input.data_captured_destination_uri,
        monitor.ground_truth_uri,
        monitor.output_uri,
        monitor.constraints_uri,
    ]
    return [place for place in places if place]


def run_window(monitor: ModelQualityMonitor, context: Context) -> Window:
    """Return the window of this DAG run by rule W3; of one run always the same, whenever and however often it is asked."""
    return _run_window(monitor.input.start_time_offset, monitor.input.end_time_offset, context)


def run_scheduled_time(context: Context) -> datetime:
    """Return the scheduled time ``T`` of this DAG run by rule W3, which is the same for every monitor."""
    return _run_window("-PT1H", "-PT0H", context).scheduled_time


def _run_window(start_offset: str | None, end_offset: str | None, context: Context) -> Window:
    from airflow_mq_provider.airflow_internals import schedule_periods

    params, dag_run = context["params"], context["dag_run"]
    start, end = dag_run.data_interval_start, dag_run.data_interval_end
    return resolve_window(
        start_offset=start_offset,
        end_offset=end_offset,
        params_start=params.get(PARAM_START),
        params_end=params.get(PARAM_END),
        interval=(start, end) if start is not None and end is not None else None,
        run_after=dag_run.run_after,
        period_before=schedule_periods(context["dag"].timetable),
    )


def run_as_of(opened: OpenedMonitor, context: Context, satisfied: Mapping[str, str] | None = None) -> AsOf:
    """Return up to when this run reads labels (rule I2).

    The run's param ``as_of`` if it has one; else the time at which a `GroundTruthSensor` was satisfied, where ``satisfied``
    is what that returned; else the scheduled time.
    """
    chosen = context["params"].get(PARAM_AS_OF)
    source = None
    if not chosen and satisfied:
        chosen, source = satisfied["as_of"], satisfied["source"]
    return ground_truth_as_of(
        chosen or "schedule", opened.window, max_delay=opened.monitor.ground_truth_max_delay, source=source
    )


def run_cadence(window: Window, context: Context) -> timedelta | None:
    """Return how long the schedule leaves to the run of this window: from one scheduled time to the next.

    None without a schedule, and of a window that was given by hand, which is none of the schedule's.
    """
    from airflow_mq_provider.airflow_internals import schedule_periods

    periods = schedule_periods(context["dag"].timetable)
    if periods is None or window.source == "params":
        return None
    start, end = periods(window.scheduled_time)
    return end - start


def engine_and_workers(engine: str | None, workers: int | None) -> tuple[str, int | None]:
    """Return what a task does its work with: its own arguments, else the settings. None workers are all cores."""
    from airflow_mq_provider.airflow_internals import of_airflow

    conf = of_airflow("conf")
    engine = engine or conf.get(SECTION, "engine", fallback="local")
    workers = workers or conf.getint(SECTION, "workers", fallback=0)
    return engine, workers or None


def memory_limit() -> int | None:
    """Return the bytes that a task's work may take, by ``[model_quality] memory_limit``; None where nothing is set."""
    from airflow_mq_provider.airflow_internals import of_airflow
    from airflow_mq_provider.engines.memory import parse_size

    conf = of_airflow("conf")
    text = conf.get(SECTION, "memory_limit", fallback="")
    return parse_size(text, field=f"[{SECTION}] memory_limit") if text else None


def scripts_allowed() -> bool:
    """Return whether tasks may run the scripts that a monitor names (rule O5)."""
    from airflow_mq_provider.airflow_internals import of_airflow

    conf = of_airflow("conf")
    allowed: bool = conf.getboolean(SECTION, "allow_scripts", fallback=False)
    return allowed


@contextmanager
def failing_for_good() -> Iterator[None]:
    """Fail the task without retries where a retry cannot help: what was declared is wrong, or SageMaker is closed for good."""
    from airflow_mq_provider.airflow_internals import of_airflow

    try:
        yield
    except (MonitorError, FleetError, WindowError, ScriptError, ModelMonitorClosedError) as error:
        raise of_airflow("AirflowFailException")(str(error)) from error


def progress_log(log: Any, *, every: float = 10.0) -> Callable[[str, int, int], None]:
    """Return what an engine tells its progress to: a line in the task's log every few seconds, and none in short runs."""
    import time

    last = time.monotonic()

    def tell(phase: str, done: int, total: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= every:
            last = now
            log.info("%s: %.0f %% of %.0f MB", phase, 100 * done / max(total, 1), total / 1e6)

    return tell


def check_choices(on_violation: str, on_not_judged: str) -> None:
    """Refuse a choice that is none, when the DAG is parsed and not when a run has waited for it."""
    for name, value, choices in (
        ("on_violation", on_violation, ON_VIOLATION),
        ("on_not_judged", on_not_judged, ON_NOT_JUDGED),
    ):
        if value not in choices:
            raise ModelQualityError(
                expected=f"one of {', '.join(choices)}",
                came=repr(value),
                where=name,
                next_step="correct it in the DAG file; continue is the default",
            )
