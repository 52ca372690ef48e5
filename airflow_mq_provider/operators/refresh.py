"""Tasks that judge past windows again whose labels came late: one finds them, a mapped one judges each.

A refresh works on what stands under the monitor's output, whichever DAG made it, so it needs no window of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_mq_provider.hooks.spark import spark_of
from airflow_mq_provider.hooks.task_context import (
    Declaration,
    engine_and_workers,
    failing_for_good,
    memory_limit,
    monitor_storage,
    progress_log,
    read_monitor,
    scripts_allowed,
    task_cloudwatch,
)
from airflow_mq_provider.operators.model_quality import MonitorOperator, ReportingOperator, reports_of
from airflow_mq_provider.window import format_time, parse_delay

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_mq_provider.monitor import ModelQualityMonitor

AT_ONCE = 1000
"""How many windows a refresh judges at most; Airflow maps no task over more than 1,024 unless it is told to."""


def refresh_tasks(
    monitor: ModelQualityMonitor | Declaration, *, since: str = "P30D", limit: int = AT_ONCE, **arguments: Any
) -> XComArg:
    """Make ``find_late_labels`` and the mapped ``judge_again`` in the DAG or group of the surrounding ``with``.

    Each window is a task that can be seen by its scheduled time, and tried again by itself; they run one after another. The DAG
    should let one run at a time (``max_active_runs=1``), as two refreshes of a window would meet in its report's folder.

    Args:
        monitor: As of `GroundTruthMergeOperator`: the one whose windows other DAGs judge, by name and definition.
        since: As of `LateLabelsOperator`, like ``limit``.
        limit: How many windows a run judges at most.
        **arguments: Of both operators: engine, workers, the connection, and what every operator takes.
    """
    late = LateLabelsOperator(task_id="find_late_labels", monitor=monitor, since=since, limit=limit, **arguments)
    again = QualityRefreshOperator.partial(
        task_id="judge_again",
        monitor=monitor,
        # said here too, as of a mapped task Airflow reads them from here
        outlets=[reports_of(monitor)],
        map_index_template="{{ task.window['window']['scheduled_time'] }}",
        max_active_tis_per_dagrun=1,
        **arguments,
    ).expand(window=late.output)
    result: XComArg = again.output
    return result


class LateLabelsOperator(MonitorOperator):
    """Finds the past windows of a monitor that are to be judged again, as their labels came late.

    Returns a list for `QualityRefreshOperator` to be mapped over, in the order of time; it is empty where nothing is due, and
    the mapped task is skipped then. Labels count up to the moment at which this task runs, for all windows alike. What was left
    alone and why stands in the log.

    Args:
        monitor: As of `GroundTruthMergeOperator`.
        since: How far back scheduled times are looked at, as ``P30D``.
        limit: How many windows are returned at most, the oldest first; the others are due the next time.
        **kwargs: As of `GroundTruthMergeOperator`.
    """

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        since: str = "P30D",
        limit: int = AT_ONCE,
        **kwargs: Any,
    ) -> None:
        super().__init__(monitor=monitor, **kwargs)
        self.since = since
        self.limit = limit
        self._back = parse_delay(since, field="since")

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Look, and return what is due."""
        from airflow_mq_provider import refresh
        from airflow_mq_provider.airflow_internals import let_task_have_children

        let_task_have_children()
        engine, workers = engine_and_workers(self.engine, self.workers)
        now = datetime.now(UTC)
        with failing_for_good(), spark_of(self.spark_conn_id):
            monitor = read_monitor(self, context)
            storage, _ = monitor_storage(self, monitor)
            found = refresh.find(
                monitor,
                storage,
                now=now,
                since=now - self._back,
                engine=engine,
                workers=workers,
                memory_limit=memory_limit(),
                progress=progress_log(self.log),
            )
        due = [one.as_dict() for one in found if one.due]
        self.log.info(
            "%s: %d of %d windows are due, labels as of %s.", monitor.name, len(due), len(found), format_time(now)
        )
        for code, words in refresh.LEFT_ALONE.items():
            others = [one for one in found if one.decision == code]
            if others:
                latest = format_time(others[-1].window.scheduled_time)
                self.log.info("%d left alone: %s (the latest scheduled %s).", len(others), words, latest)
        if len(due) > self.limit:
            self.log.warning("Only the oldest %d are judged now; the others are due the next time.", self.limit)
        return due[: self.limit]


class QualityRefreshOperator(ReportingOperator, MonitorOperator):
    """Judges one past window again as of the time at which `LateLabelsOperator` found it due; made to be mapped.

    The new report takes the place of the old one and says in ``revision`` what that said. The asset event is that of
    `QualityAnalysisOperator`, with the revision; ``newest_window`` is true only where no later scheduled window has a report. A task
    that is run again, after a failure or by hand, gives the same report.

    Returns what `QualityAnalysisOperator` returns.

    Args:
        monitor: As of `GroundTruthMergeOperator`.
        window: An element of what `LateLabelsOperator` returned.
        **kwargs: As of `GroundTruthMergeOperator`.
    """

    template_fields: Sequence[str] = (*MonitorOperator.template_fields, "window")

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        window: Mapping[str, Any] | XComArg,
        **kwargs: Any,
    ) -> None:
        outlet = reports_of(monitor)
        others = [one for one in kwargs.pop("outlets", None) or [] if one != outlet]
        super().__init__(monitor=monitor, outlets=[*others, outlet], **kwargs)
        self.window: Any = window

    def execute(self, context: Context) -> dict[str, Any]:
        """Judge again, report, emit the asset event, and return the report's summary."""
        from airflow_mq_provider import refresh
        from airflow_mq_provider.airflow_internals import let_task_have_children

        let_task_have_children()
        engine, workers = engine_and_workers(self.engine, self.workers)
        with failing_for_good(), spark_of(self.spark_conn_id):
            past = refresh.PastWindow.from_dict(self.window)
            opened = self._open(context, past.window)
            report = refresh.judge_again(
                opened.monitor,
                past,
                storage=opened.storage,
                engine=engine,
                workers=workers,
                memory_limit=memory_limit(),
                allow_scripts=scripts_allowed(),
                cloudwatch=task_cloudwatch(self, opened.monitor),
                progress=progress_log(self.log),
            )
        return self._report_made(report, opened, context)
