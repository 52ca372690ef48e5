"""A monitor as a DAG, or as a group of tasks in a DAG of one's own; a folder of monitors as one DAG."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param, TaskGroup

from airflow_mq_provider.airflow_internals import of_airflow
from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.hooks.task_context import NAME_OF_MONITOR, PARAM_AS_OF, check_choices, is_handed_over
from airflow_mq_provider.operators.fleet import MonitorFolderOperator, fleet_alias
from airflow_mq_provider.operators.model_quality import (
    EnforceVerdictOperator,
    GroundTruthMergeOperator,
    QualityAnalysisOperator,
    QualityNotificationOperator,
)
from airflow_mq_provider.operators.sagemaker_compute import (
    SageMakerGroundTruthMergeOperator,
    SageMakerQualityAnalysisOperator,
    check_merge_on,
)
from airflow_mq_provider.sensors.model_quality import CaptureSensor, GroundTruthSensor
from airflow_mq_provider.window import PARAM_END, PARAM_START, parse_offset

if TYPE_CHECKING:
    from airflow.sdk import AssetAlias, BaseOperator, Context, XComArg

    from airflow_mq_provider.monitor import ModelQualityMonitor

COMPUTE = ("airflow", "sagemaker")

SIDE_BY_SIDE = 16
"""Runs at a time of a DAG that waits for labels: each may wait for days while the next windows come."""

RETRIES = {"retries": 2, "retry_delay": timedelta(minutes=1)}
"""What a task of `model_quality_dag` does after a failure that may pass, unless ``default_args`` say otherwise."""


class ModelQualityTaskGroup(TaskGroup):
    """The tasks of one monitor in a DAG of one's own: those of `model_quality_dag`.

    The DAG gives the window: its data interval, or what rule W3 makes of a run without one. Put `run_params` among the DAG's
    params to let people give a window or an as-of time by hand.

    ``result`` is what `QualityAnalysisOperator` returns, for tasks that follow.

    Args:
        group_id: The group's id; its tasks are called ``<group_id>.<task>`` unless ``prefix_group_id=False``.
        monitor: As of `GroundTruthMergeOperator`.
        group: Further arguments of Airflow's `TaskGroup`.
        arguments: Those of `monitoring_tasks`.
    """

    def __init__(
        self,
        group_id: str,
        monitor: ModelQualityMonitor | Mapping[str, Any] | str,
        *,
        group: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(group_id=group_id, **(group or {}))
        with self:
            self.result: XComArg = monitoring_tasks(monitor, **arguments)


def monitoring_tasks(
    monitor: ModelQualityMonitor | Mapping[str, Any] | str,
    *,
    on_violation: str = "continue",
    on_not_judged: str = "continue",
    notify: Callable[[Context], None] | None = None,
    wait_for_captures: str | None = None,
    wait_for_ground_truth: str | None = None,
    ground_truth_coverage: float = 0.95,
    deferrable: bool = True,
    max_runtime: timedelta | None = None,
    compute: str = "airflow",
    merge_on: str = "auto",
    merge_operator: Callable[..., BaseOperator] | None = None,
    engine: str | None = None,
    workers: int | None = None,
    spark_conn_id: str | None = None,
    aws_conn_id: str | None = "aws_default",
    region_name: str | None = None,
    verify: bool | str | None = None,
    botocore_config: dict[str, Any] | None = None,
    merge_apart: bool = True,
    reports: AssetAlias | None = None,
) -> XComArg:
    """Make the tasks of a monitor in the DAG or group of the surrounding ``with``, and return the analysis's result.

    They are ``wait_for_captures`` and ``wait_for_ground_truth`` where asked for, ``merge_ground_truth``, ``analyze_quality``,
    ``notify_quality`` where somebody is to be told, and ``enforce_verdict`` where the verdict is to count. In a group that is mapped
    over monitors, Airflow's pages show the monitor's name at each.

    Args:
        monitor: As of `GroundTruthMergeOperator`.
        on_violation: ``continue``, or ``fail`` to fail the run where a constraint is violated, once the report stands.
        on_not_judged: ``continue``, or ``fail`` or ``skip`` where nothing could be judged. `EnforceVerdictOperator` is there
            only where one of the two is no ``continue``.
        notify: A `ModelQualityNotifier`, which tells people when the model becomes worse and when it recovers.
        wait_for_captures: ISO 8601 duration: a `CaptureSensor` of that grace stands first.
        wait_for_ground_truth: ISO 8601 duration: a `GroundTruthSensor` waits at the longest until so long after the
            scheduled time.
        ground_truth_coverage: The share of labelled captures for which that sensor waits.
        deferrable: Whether sensors wait in the triggerer; else they look from a worker now and then, freed in between.
        max_runtime: The longest a run may take, half of it for each of the two tasks, as SageMaker splits the hour; a task
            that takes longer is stopped and fails. Nothing is stopped by default. On SageMaker it bounds each job too.
        compute: ``airflow``, or ``sagemaker`` to have each of the two tasks done by a Processing job of SageMaker's
            (`SageMakerGroundTruthMergeOperator`, `SageMakerQualityAnalysisOperator`).
        merge_on: With ``compute="sagemaker"`` who merges: ``auto``, ``sagemaker`` or ``airflow``, as of
            `SageMakerGroundTruthMergeOperator`.
        merge_operator: What makes ``merge_ground_truth`` instead, on a cluster: `EmrServerlessGroundTruthMergeOperator` with
            its own arguments as a `functools.partial`, or another operator that returns a hand-over. It is called with
            ``task_id``, ``monitor``, ``as_of``, the connection, and ``execution_timeout`` where there is a ``max_runtime``.
        engine: As of `GroundTruthMergeOperator`, like what follows.
        workers: Processes of the local engine.
        spark_conn_id: The connection of type ``spark_connect`` for the Spark engine.
        aws_conn_id: The connection for S3.
        region_name: Another region than the connection's.
        verify: How certificates are verified, where not as the connection says.
        botocore_config: Further settings of S3 clients.
        merge_apart: Whether the merge is a task of its own; else ``analyze_quality`` merges first, on Airflow's worker: the same
            report by one task.
        reports: As of `QualityAnalysisOperator`.

    Raises:
        ModelQualityError: a choice that is none; with ``compute="sagemaker"`` a monitor without a role, or on local disks.
    """
    check_choices(on_violation, on_not_judged)
    _check_compute(monitor, compute, merge_on, waits=wait_for_ground_truth is not None)
    if merge_operator is not None and compute != "airflow":
        raise ModelQualityError(
            expected="either a merge_operator or compute='sagemaker', as each says who merges",
            came="both",
            where="merge_operator",
            next_step="leave one of them out",
        )
    connection: dict[str, Any] = {
        "aws_conn_id": aws_conn_id,
        "region_name": region_name,
        "verify": verify,
        "botocore_config": botocore_config,
    }
    work: dict[str, Any] = {"engine": engine, "workers": workers, "spark_conn_id": spark_conn_id}
    if not merge_apart and (merge_operator is not None or compute != "airflow"):
        raise ModelQualityError(
            expected="merge_apart=False only where the analysis may merge, on Airflow's worker",
            came="a merge_operator" if merge_operator is not None else f"compute={compute!r}",
            where="merge_apart",
            next_step="leave one of the two out",
        )
    mapped = is_handed_over(monitor)
    # a monitor that is merged is analyzed next: else all would be merged before the first verdict
    named = {"map_index_template": _OF_MONITOR, "weight_rule": "upstream"} if mapped else {}
    sensors, as_of = _sensors(
        monitor,
        captures=wait_for_captures,
        labels=wait_for_ground_truth,
        coverage=ground_truth_coverage,
        counting=work,
        waiting=connection | named | ({} if deferrable else {"mode": "reschedule"}),
    )
    on_sagemaker = {"merge_on": merge_on, "deferrable": deferrable, "max_runtime": max_runtime and max_runtime / 2}
    tasks = _work(
        compute,
        merge_operator,
        merge_apart,
        reports,
        monitor=monitor,
        as_of=as_of,
        **named,
        **connection,
        **({"execution_timeout": max_runtime / (2 if merge_apart else 1)} if max_runtime else {}),
        work={**work, **(on_sagemaker if compute == "sagemaker" else {})},
    )
    for before, after in pairwise([*sensors, tasks[0]]):
        before >> after
    result: XComArg = tasks[-1].output
    told: dict[str, Any] = {"verdict": result, **(named | {"map_index_template": _OF_VERDICT} if mapped else {})}
    if notify is not None:
        QualityNotificationOperator(task_id="notify_quality", notifier=notify, **told)
    if (on_violation, on_not_judged) != ("continue", "continue"):
        EnforceVerdictOperator(
            task_id="enforce_verdict", on_violation=on_violation, on_not_judged=on_not_judged, **told
        )
    return result


_OF_MONITOR = f"{{{{ {NAME_OF_MONITOR} | default(task.monitor.name) }}}}"
"""What pages show at a task that is mapped over monitors: by its argument while it runs (Airflow 3.1 on), then by what it found."""
_OF_VERDICT = f"{{{{ {NAME_OF_MONITOR} | default(task.verdict.monitor) }}}}"


def _sensors(
    monitor: Any,
    *,
    captures: str | None,
    labels: str | None,
    coverage: float,
    counting: Mapping[str, Any],
    waiting: Mapping[str, Any],
) -> tuple[list[CaptureSensor | GroundTruthSensor], Any]:
    """Make the sensors that are asked for, and return them in order, with the as-of time that the second one finds."""
    sensors: list[CaptureSensor | GroundTruthSensor] = []
    if captures is not None:
        sensors.append(CaptureSensor(task_id="wait_for_captures", monitor=monitor, grace=captures, **waiting))
    if labels is None:
        return sensors, None
    sensor = GroundTruthSensor(
        task_id="wait_for_ground_truth", monitor=monitor, coverage=coverage, latest=labels, **counting, **waiting
    )
    return [*sensors, sensor], sensor.output


def _work(
    compute: str,
    merge_operator: Callable[..., Any] | None,
    merge_apart: bool,
    reports: AssetAlias | None,
    *,
    work: Mapping[str, Any],
    **arguments: Any,
) -> list[Any]:
    """Make the tasks that do the work, on Airflow's workers, on SageMaker's machines, or the merge on a cluster."""
    merging: Callable[..., Any] = GroundTruthMergeOperator
    analyzing: Callable[..., Any] = partial(QualityAnalysisOperator, reports=reports)
    if compute == "sagemaker":
        merging, analyzing = SageMakerGroundTruthMergeOperator, SageMakerQualityAnalysisOperator
    if not merge_apart:
        return [analyzing(task_id="analyze_quality", **arguments, **work)]
    if merge_operator is not None:
        merge = merge_operator(task_id="merge_ground_truth", **arguments)
    else:
        merge = merging(task_id="merge_ground_truth", **arguments, **work)
    return [merge, analyzing(task_id="analyze_quality", handover=merge.output, **arguments, **work)]


def fleet_tasks(folder: str, *, group_id: str = "judge", **arguments: Any) -> XComArg:
    """Make ``list_monitors``, and the group that is mapped over what it finds, in the DAG of the surrounding ``with``.

    Each monitor of the folder gets the tasks of `monitoring_tasks` when a run has listed it, so a file that is added counts from the next
    run on. What is wrong with one monitor fails its own tasks; the others get their verdicts, and the run is a failed one.

    Args:
        folder: As of `MonitorFolderOperator`.
        group_id: The group's id; its tasks are called ``<group_id>.<task>``.
        **arguments: Those of `monitoring_tasks`; the connection is that of the folder too.
    """
    # imported here: it loads Airflow's standard provider, which no other DAG file of ours needs
    from airflow.sdk import task_group

    connection = {
        name: arguments[name]
        for name in ("aws_conn_id", "region_name", "verify", "botocore_config")
        if name in arguments
    }
    listed = MonitorFolderOperator(task_id="list_monitors", folder=folder, **connection)
    found: list[XComArg] = []

    @task_group(group_id=group_id, tooltip="one monitor of the folder")
    def judge(monitor: Any) -> None:
        found.append(monitoring_tasks(monitor, reports=fleet_alias(folder), **arguments))

    judge.expand(monitor=listed.output)
    return found[0]


def model_quality_dag(
    monitor: ModelQualityMonitor | str,
    *,
    schedule: Any = None,
    start_date: datetime | None = None,
    dag_id: str | None = None,
    catchup: bool = False,
    max_active_runs: int | None = None,
    on_violation: str = "continue",
    on_not_judged: str = "continue",
    notify: Callable[[Context], None] | None = None,
    wait_for_captures: str | None = None,
    wait_for_ground_truth: str | None = None,
    ground_truth_coverage: float = 0.95,
    deferrable: bool = True,
    max_runtime: timedelta | None = None,
    compute: str = "airflow",
    merge_on: str = "auto",
    merge_operator: Callable[..., BaseOperator] | None = None,
    engine: str | None = None,
    workers: int | None = None,
    spark_conn_id: str | None = None,
    aws_conn_id: str | None = "aws_default",
    region_name: str | None = None,
    verify: bool | str | None = None,
    botocore_config: dict[str, Any] | None = None,
    **dag: Any,
) -> DAG:
    """Return a DAG that judges a model window by window: on its schedule, by hand, in backfills.

    Nothing is read and nothing heavy is imported when it is parsed. Trigger it with the params ``window_start`` and
    ``window_end`` for any window, with ``as_of`` for labels that came late; docs/airflow.md tells what each way of running
    does to the window.

    Args:
        monitor: A `ModelQualityMonitor`, or the path or URI of its YAML or JSON, read when tasks run; a relative path is
            relative to the DAG file.
        schedule: A cron expression in UTC, which becomes a timetable with data intervals (rule W4); a timedelta, the same; a
            timetable; assets; or None, to run by hand only.
        start_date: When the first interval may start; backfills before it run no task.
        dag_id: The monitor's name unless given; of a file its name without ending.
        catchup: Whether windows since the start date are judged when the DAG is first switched on.
        max_active_runs: One at a time unless given; 16 where runs wait for labels. Backfills have a limit of their own.
        on_violation: As of `monitoring_tasks`, like what follows: ``continue`` or ``fail``.
        on_not_judged: ``continue``, ``fail`` or ``skip``.
        notify: A `ModelQualityNotifier`: who is told, and when.
        wait_for_captures: How long after the scheduled time to wait for captures, as ``PT1H``.
        wait_for_ground_truth: How long after the scheduled time to wait for labels, as ``P7D``.
        ground_truth_coverage: The share of labelled captures that is enough.
        deferrable: Whether sensors wait in the triggerer; else they look from a worker now and then, freed in between.
        max_runtime: The longest a run may take, half of it for each task; no limit by default.
        compute: ``airflow`` or ``sagemaker``: who does the work.
        merge_on: With ``compute="sagemaker"`` who merges: ``auto``, ``sagemaker`` or ``airflow``.
        merge_operator: What makes ``merge_ground_truth`` instead, on a cluster (docs/spark.md).
        engine: ``local``, ``spark``, ``reference`` or ``auto``; by default the setting ``[model_quality] engine``.
        workers: Processes of the local engine; by default the setting ``[model_quality] workers``.
        spark_conn_id: The connection of type ``spark_connect`` for the Spark engine; without one it finds a session by itself.
        aws_conn_id: The connection for S3.
        region_name: Another region than the connection's.
        verify: How certificates are verified, where not as the connection says.
        botocore_config: Further settings of S3 clients.
        **dag: Further arguments of Airflow's `DAG`: tags, default_args (two retries unless they say otherwise), callbacks.

    Raises:
        ModelQualityError: a choice that is none, or no DAG id can be made of the monitor's path.
        OffsetError: a duration that is none.
    """
    made = _dag(
        dag_id or _dag_id(monitor),
        _documentation(monitor),
        schedule=schedule,
        start_date=start_date,
        catchup=catchup,
        max_active_runs=max_active_runs or (SIDE_BY_SIDE if wait_for_ground_truth is not None else 1),
        **dag,
    )
    # Airflow takes the file of whoever called DAG() for the DAG's own; that is the file which called this function.
    made.fileloc = sys._getframe(1).f_code.co_filename
    with made:
        monitoring_tasks(
            monitor,
            on_violation=on_violation,
            on_not_judged=on_not_judged,
            notify=notify,
            wait_for_captures=wait_for_captures,
            wait_for_ground_truth=wait_for_ground_truth,
            ground_truth_coverage=ground_truth_coverage,
            deferrable=deferrable,
            max_runtime=max_runtime,
            compute=compute,
            merge_on=merge_on,
            merge_operator=merge_operator,
            engine=engine,
            workers=workers,
            spark_conn_id=spark_conn_id,
            aws_conn_id=aws_conn_id,
            region_name=region_name,
            verify=verify,
            botocore_config=botocore_config,
        )
    return made


def model_quality_fleet_dag(
    folder: str,
    *,
    schedule: Any = None,
    start_date: datetime | None = None,
    dag_id: str | None = None,
    catchup: bool = False,
    max_active_runs: int | None = None,
    on_violation: str = "continue",
    on_not_judged: str = "continue",
    notify: Callable[[Context], None] | None = None,
    wait_for_captures: str | None = None,
    wait_for_ground_truth: str | None = None,
    ground_truth_coverage: float = 0.95,
    deferrable: bool = True,
    max_runtime: timedelta | None = None,
    merge_apart: bool = True,
    merge_operator: Callable[..., BaseOperator] | None = None,
    engine: str | None = None,
    workers: int | None = 1,
    spark_conn_id: str | None = None,
    aws_conn_id: str | None = "aws_default",
    region_name: str | None = None,
    verify: bool | str | None = None,
    botocore_config: dict[str, Any] | None = None,
    **dag: Any,
) -> DAG:
    """Return a DAG that judges every monitor of a folder, window by window; the folder is listed by each run.

    A file that is added, changed or removed counts from the next run on, without a deployment; nothing is read when the DAG is parsed.
    One bad file fails its own tasks, by name, and so the run; the others get their verdicts. docs/fleet.md tells how many monitors a
    DAG can have, and what bounds how many are judged at a time.

    Args:
        folder: The path or URI of a folder of YAML and JSON files, one monitor each, with names of their own; as of
            `MonitorFolderOperator`.
        schedule: As of `model_quality_dag`, and the same for all monitors; one cadence is one folder.
        start_date: As of `model_quality_dag`, like what follows.
        dag_id: The folder's name unless given.
        catchup: Whether windows since the start date are judged when the DAG is first switched on.
        max_active_runs: One at a time unless given; 16 where runs wait for labels.
        on_violation: ``continue`` or ``fail``, for each monitor by itself.
        on_not_judged: ``continue``, ``fail`` or ``skip``.
        notify: A `ModelQualityNotifier`, which tells of each monitor by itself.
        wait_for_captures: How long after the scheduled time to wait for captures; a sensor for each monitor.
        wait_for_ground_truth: How long after the scheduled time to wait for labels; a sensor for each monitor.
        ground_truth_coverage: The share of labelled captures that is enough.
        deferrable: Whether sensors wait in the triggerer.
        max_runtime: The longest one monitor may take.
        merge_apart: Whether the merge is a task of its own. Without it a monitor is one task, which halves what Airflow spends on starting
            tasks, and a retry merges again.
        merge_operator: What makes ``merge_ground_truth`` of each monitor instead, on a cluster (docs/spark.md).
        engine: ``local``, ``spark``, ``reference`` or ``auto``; by default the setting ``[model_quality] engine``.
        workers: Processes of the local engine in one task: one, since many tasks run side by side. None takes the setting.
        spark_conn_id: The connection of type ``spark_connect`` for the Spark engine.
        aws_conn_id: The connection for S3, the folder's and the monitors'.
        region_name: Another region than the connection's.
        verify: How certificates are verified, where not as the connection says.
        botocore_config: Further settings of S3 clients.
        **dag: Further arguments of Airflow's `DAG`: ``max_active_tasks``, tags, default_args (two retries unless they say otherwise;
            ``pool`` among them), callbacks.

    Raises:
        ModelQualityError: a choice that is none, or no DAG id can be made of the folder's path.
        OffsetError: a duration that is none.
    """
    made = _dag(
        dag_id or _dag_id(folder.rstrip("/")),
        f"### A fleet of monitors\n\nThey are declared in the files of `{folder}`, which is listed by each run.\n\n{_BY_HAND}",
        schedule=schedule,
        start_date=start_date,
        catchup=catchup,
        max_active_runs=max_active_runs or (SIDE_BY_SIDE if wait_for_ground_truth is not None else 1),
        **dag,
    )
    made.fileloc = sys._getframe(1).f_code.co_filename
    with made:
        fleet_tasks(
            folder,
            on_violation=on_violation,
            on_not_judged=on_not_judged,
            notify=notify,
            wait_for_captures=wait_for_captures,
            wait_for_ground_truth=wait_for_ground_truth,
            ground_truth_coverage=ground_truth_coverage,
            deferrable=deferrable,
            max_runtime=max_runtime,
            merge_apart=merge_apart,
            merge_operator=merge_operator,
            engine=engine,
            workers=workers,
            spark_conn_id=spark_conn_id,
            aws_conn_id=aws_conn_id,
            region_name=region_name,
            verify=verify,
            botocore_config=botocore_config,
        )
    return made


def _dag(dag_id: str, documentation: str, *, schedule: Any, **dag: Any) -> DAG:
    """Return an empty DAG with what all of ours share: intervals, the params of a run, retries."""
    return DAG(
        dag_id,
        schedule=_timetable(schedule),
        params=run_params() | dict(dag.pop("params", None) or {}),
        default_args=RETRIES | dict(dag.pop("default_args", None) or {}),
        doc_md=dag.pop("doc_md", None) or documentation,
        **dag,
    )


def _check_compute(monitor: Any, compute: str, merge_on: str, *, waits: bool) -> None:
    """Refuse what cannot be run where it is asked for; of a monitor in a file, when its tasks run."""
    if compute not in COMPUTE:
        raise ModelQualityError(
            expected=f"one of {', '.join(COMPUTE)}",
            came=repr(compute),
            where="compute",
            next_step="correct it in the DAG file; airflow is the default",
        )
    check_merge_on(merge_on)
    if compute == "airflow":
        if merge_on != "auto":
            raise ModelQualityError(
                expected="merge_on only with compute='sagemaker', as Airflow's workers merge without it",
                came=repr(merge_on),
                where="merge_on",
                next_step="leave it out, or give compute='sagemaker'",
            )
        return
    if waits and merge_on == "sagemaker":
        raise ModelQualityError(
            expected="no wait_for_ground_truth with merge_on='sagemaker': its merger reads the window's own hours alone",
            came="both",
            where="wait_for_ground_truth",
            next_step="give merge_on='airflow', which reads labels up to the time at which the sensor was satisfied",
        )
    if not (isinstance(monitor, str) or is_handed_over(monitor)):
        from airflow_mq_provider.monitor import ModelQualityMonitor
        from airflow_mq_provider.sagemaker.processing import refuse_on_sagemaker

        refuse_on_sagemaker(ModelQualityMonitor.model_validate(monitor), merger=merge_on == "sagemaker")


def run_params() -> dict[str, Param]:
    """Return the params of a monitoring run, which make the form under Airflow's Trigger button.

    ``window_start`` and ``window_end`` give an explicit window (rule W3 a), ``as_of`` up to when labels are read (rule I2). A
    value of another form is refused before the run exists; that both ends are given and in order, when it starts.
    """
    window: dict[str, Any] = {"type": ["null", "string"], "format": "date-time", "section": "Window"}
    return {
        PARAM_START: Param(
            None,
            title="Window start",
            description_md="Judge this window instead of the run's own; with its end, or not at all. For example "
            "`2026-11-08T13:00:00Z`.",
            **window,
        ),
        PARAM_END: Param(
            None,
            title="Window end",
            description_md="The window goes up to this time and without it.",
            **window,
        ),
        PARAM_AS_OF: Param(
            None,
            type=["null", "string"],
            pattern=_AS_OF,
            examples=["schedule", "now"],
            title="Labels as of",
            description_md="Labels are read up to this time: `schedule` (the run's scheduled time, also the default), `now` "
            "(labels that came late count too), or a time such as `2026-11-16T00:00:00Z`. A run that is given one does not "
            "wait for labels.",
            section="Labels",
        ),
    }


_AS_OF = r"^(schedule|now|\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?)$"


def _dag_id(monitor: ModelQualityMonitor | str) -> str:
    if not isinstance(monitor, str):
        return monitor.name
    stem = PurePosixPath(monitor).stem
    if not re.fullmatch(r"[\w.-]+", stem, re.ASCII):
        raise ModelQualityError(
            expected="a path whose name, without ending, can be the DAG's id",
            came=repr(monitor),
            where="the DAG's monitor or folder",
            next_step="give it a dag_id",
        )
    return stem


def _timetable(schedule: Any) -> Any:
    """Return a schedule whose runs have data intervals; Airflow makes empty ones of cron strings and deltas (rule W4)."""
    if isinstance(schedule, str) and schedule not in ("@once", "@continuous"):
        return of_airflow("CronDataIntervalTimetable")(schedule, timezone="UTC")
    if isinstance(schedule, timedelta):
        return of_airflow("DeltaDataIntervalTimetable")(schedule)
    return schedule


def _documentation(monitor: ModelQualityMonitor | str) -> str:
    if isinstance(monitor, str):
        return (
            f"### Model quality\n\nThe monitor is declared in `{monitor}`, which is read when tasks run.\n\n{_BY_HAND}"
        )
    source = monitor.input
    of = f"endpoint `{monitor.endpoint_name}`" if monitor.endpoint_name else "batch transform jobs"
    since = _before(source.start_time_offset, "start_time_offset") or "the start of the run's data interval"
    until = _before(source.end_time_offset, "end_time_offset") or "that time"
    return f"""### Model quality of `{monitor.name}`

{monitor.problem_type} of {of}.

**Window.** The scheduled time is the end of the run's data interval. The window goes from {since} up to {until}, without \
that end itself, in UTC.

**Labels** are read from `{monitor.ground_truth_uri}`, up to the scheduled time unless the run says otherwise.

**Reports** lie under `{monitor.report_root}/yyyy/mm/dd/hh/` of the scheduled time, those of explicit windows under \
`{monitor.report_root}/windows/`. A report is complete when its `report.json` is there.

{_BY_HAND}"""


def _before(offset: str | None, field: str) -> str | None:
    """Return an offset in words: ``-P8D`` is 8 days before the scheduled time."""
    if offset is None:
        return None
    left, words = -parse_offset(offset, field=field), []
    for name, unit in _UNITS.items():
        count, left = divmod(left, unit)
        if count:
            words.append(f"{count} {name}{'s' if count > 1 else ''}")
    return f"{' '.join(words)} before it (`{offset}`)" if words else f"that time (`{offset}`)"


_UNITS = {
    "day": timedelta(days=1),
    "hour": timedelta(hours=1),
    "minute": timedelta(minutes=1),
    "second": timedelta(seconds=1),
}

_BY_HAND = (
    "Trigger with `window_start` and `window_end` for any window, with `as_of` `now` to count labels that came late. "
    "Any task may be cleared alone, at any time."
)
