"""The tasks of a monitoring run: merge, analyze, and, where it is asked for, make the verdict count.

Each is thin: which window, then `airflow_mq_provider.run`, then a small JSON for the next one. Each may be cleared alone and
run again, at any time and as often as one likes: the same inputs give the same report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Asset, AssetAlias, BaseOperator

from airflow_mq_provider.hooks.spark import spark_of
from airflow_mq_provider.hooks.task_context import (
    Declaration,
    OpenedMonitor,
    check_choices,
    declaration,
    engine_and_workers,
    failing_for_good,
    memory_limit,
    name_task,
    open_monitor,
    progress_log,
    run_as_of,
    run_cadence,
    scripts_allowed,
    task_cloudwatch,
)
from airflow_mq_provider.links.model_quality import ModelQualityReportLink
from airflow_mq_provider.operators.lineage import TellsLineage
from airflow_mq_provider.window import format_time, hour_folder

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_mq_provider.monitor import ModelQualityMonitor
    from airflow_mq_provider.storage import Storage
    from airflow_mq_provider.window import Window


def report_asset(monitor_name: str) -> Asset:
    """Return the asset that stands for a monitor's reports; a retraining DAG takes it as its ``schedule``.

    Its name and its URI are both ``x-model-quality://<monitor>``, so ``Asset("x-model-quality://churn")`` is the same one.
    """
    return Asset(f"x-model-quality://{monitor_name}")


class MonitorOperator(BaseOperator):
    """What operators share that work on a monitor themselves: its declaration, a connection, an engine."""

    template_fields: Sequence[str] = ("monitor", "aws_conn_id", "region_name", "verify", "spark_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"monitor": "json"}
    ui_color = "#f0ede4"

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        engine: str | None = None,
        workers: int | None = None,
        spark_conn_id: str | None = None,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.monitor = declaration(monitor)
        self.engine = engine
        self.workers = workers
        self.spark_conn_id = spark_conn_id
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config

    def _open(self, context: Context, window: Window | None = None) -> OpenedMonitor:
        opened = open_monitor(self, context, window)
        self.log.info("%s", described(opened))
        return opened


class ReportingOperator(TellsLineage):
    """What every operator shares that makes a report: its asset, its link, its lineage, what it returns.

    A subclass names its outlet with `reports_of` among its ``outlets`` before it calls the base class.
    """

    operator_extra_links: tuple[Any, ...] = (ModelQualityReportLink(),)
    written_report: tuple[str, str | None] | None = None
    aws_conn_id: str | None
    region_name: str | None
    verify: bool | str | None

    def _report_made(self, report: Mapping[str, Any], opened: OpenedMonitor, context: Context) -> dict[str, Any]:
        """Say what was found, emit the asset event, and return the report's summary."""
        from airflow_mq_provider.report_folder import REPORT
        from airflow_mq_provider.storage import is_s3, join

        uri = join(opened.monitor.report_prefix(opened.window), REPORT)
        self.written_report = (uri, opened.region)
        self.work_done = (opened.monitor, opened.window, report)
        self.log.info("%s: %s: %s. Report: %s", report["monitor"], report["status"], report["reason"], uri)
        self._warn_of_cadence(report["timings"])
        self._tell_of_cloudwatch(report.get("cloudwatch"))
        run_type = str(context["dag_run"].run_type.value)
        newest = is_newest(opened.storage, opened.monitor, opened.window)
        connection = None
        if is_s3(uri):
            connection = {"aws_conn_id": self.aws_conn_id, "region_name": self.region_name, "verify": self.verify}
        event = event_of(report, uri=uri, run_type=run_type, newest=newest, connection=connection)
        self._emit(event, context)
        return summary_of(report) | {"report_uri": uri, "run_type": run_type, "newest_window": newest}

    def _emit(self, event: dict[str, Any], context: Context) -> None:
        outlet = self.outlets[-1]
        events = context["outlet_events"][outlet]
        if isinstance(outlet, AssetAlias):
            from airflow_mq_provider.airflow_internals import event_by_alias

            events.add(report_asset(event["monitor"]), extra=event_by_alias(event))
        else:
            events.extra = event

    def _tell_of_cloudwatch(self, said: Mapping[str, Any] | None) -> None:
        if said is None:
            return
        if said["status"] == "published":
            self.log.info("Published %d metrics to CloudWatch, namespace %s.", said["metrics"], said["namespace"])
        else:
            self.log.warning(
                "Metrics %s for CloudWatch: %s. docs/output.md, CloudWatch.", said["status"], said["reason"]
            )

    def _warn_of_cadence(self, timings: Mapping[str, float]) -> None:
        """Say in the log when a run takes longer than its schedule leaves it: sooner or later the runs pile up."""
        if timings.get("longer_than_cadence"):
            self.log.warning(
                "This run took %.0f s, its schedule comes every %s: runs will queue. docs/airflow.md, sizing of workers.",
                timings["merge_seconds"] + timings["analyze_seconds"],
                timedelta(seconds=timings["cadence_seconds"]),
            )


def reports_of(monitor: ModelQualityMonitor | Declaration) -> Asset | AssetAlias:
    """Return the outlet of a monitor's reports. Of one in a file the name is known only when the task runs: an alias leads there."""
    name = monitor.get("name") if isinstance(monitor, Mapping) else getattr(monitor, "name", None)
    return report_asset(name) if name else AssetAlias(f"x-model-quality:{monitor}")


def described(opened: OpenedMonitor) -> str:
    """Return the window of a run in words, for the log."""
    window = opened.window
    return (
        f"{opened.monitor.name}: window {format_time(window.start)} to {format_time(window.end)}, "
        f"scheduled for {format_time(window.scheduled_time)} (from {window.source})."
    )


class GroundTruthMergeOperator(TellsLineage, MonitorOperator):
    """Joins the labels to the captures of this run's window, and writes the merged rows under the report's prefix.

    Returns the hand-over for `QualityAnalysisOperator`: window, as-of time, counts, where the merged rows lie. A monitor or a
    window that is wrong fails the task without retries; what cannot be read or written yet is left to Airflow's retries.

    Args:
        monitor: A `ModelQualityMonitor`, its fields as a mapping, or the path or URI of its YAML or JSON, read when the task
            runs; a relative path is relative to the DAG file. Strings may hold templates.
        as_of: What a `GroundTruthSensor` returned. The run's param ``as_of`` goes before it; without both, labels are read
            up to the scheduled time.
        **kwargs: ``engine`` (``local``, ``spark``, ``reference`` or ``auto``; None takes the setting ``[model_quality] engine``), ``workers``
            (processes of the local engine; None takes the setting ``[model_quality] workers``), ``spark_conn_id`` (a connection
            of type ``spark_connect``, on whose server the Spark engine works), the connection for S3 as in
            the amazon provider's operators (``aws_conn_id``, ``region_name``, ``verify``, ``botocore_config``), which is not
            asked for where every URI is local, and what every operator takes.
    """

    template_fields: Sequence[str] = (*MonitorOperator.template_fields, "as_of")

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        as_of: Mapping[str, str] | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(monitor=monitor, **kwargs)
        self.as_of: Any = as_of

    def execute(self, context: Context) -> dict[str, Any]:
        """Merge, and return the hand-over."""
        from airflow_mq_provider import run
        from airflow_mq_provider.airflow_internals import let_task_have_children

        let_task_have_children()
        engine, workers = engine_and_workers(self.engine, self.workers)
        with failing_for_good(), spark_of(self.spark_conn_id):
            opened = self._open(context)
            as_of = run_as_of(opened, context, self.as_of)
            self.log.info("Labels are read as of %s (%s).", format_time(as_of.time), as_of.source)
            handover = run.merge(
                opened.monitor,
                opened.window,
                storage=opened.storage,
                as_of=as_of,
                engine=engine,
                workers=workers,
                memory_limit=memory_limit(),
                allow_scripts=scripts_allowed(),
                progress=progress_log(self.log),
            )
        self.work_done = (opened.monitor, opened.window, handover)
        return handover


class QualityAnalysisOperator(ReportingOperator, MonitorOperator):
    """Computes the metrics of the merged rows, judges them by the constraints, and writes the report.

    It succeeds wherever it could analyze, or could say why not (``NotJudged``): a bad model is a result, not a failure. It
    emits an event on the monitor's asset (`report_asset`) with window, status, headline metrics, run type, and whether this
    is the newest window. `EnforceVerdictOperator` makes a run fail.

    Returns ``report.json`` without confusion matrix and curves, and beside it ``report_uri`` and ``newest_window``.

    Args:
        monitor: As of `GroundTruthMergeOperator`.
        handover: What `GroundTruthMergeOperator` returned. Without it, or where it is of another window or definition, or its
            merged rows are gone since a report has been made of them, this task merges first.
        as_of: As of `GroundTruthMergeOperator`, and counts only where there is no hand-over.
        reports: The outlet by which the event reaches the monitor's asset, where another task tells which monitor it is; by default
            `reports_of` the monitor.
        **kwargs: As of `GroundTruthMergeOperator`.
    """

    template_fields: Sequence[str] = (*MonitorOperator.template_fields, "handover", "as_of")

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        handover: Mapping[str, Any] | XComArg | None = None,
        as_of: Mapping[str, str] | XComArg | None = None,
        reports: AssetAlias | None = None,
        **kwargs: Any,
    ) -> None:
        outlets = [*(kwargs.pop("outlets", None) or []), reports or reports_of(monitor)]
        super().__init__(monitor=monitor, outlets=outlets, **kwargs)
        self.handover: Any = handover
        self.as_of: Any = as_of

    def execute(self, context: Context) -> dict[str, Any]:
        """Analyze, report, emit the asset event, and return the report's summary."""
        from airflow_mq_provider import run
        from airflow_mq_provider.airflow_internals import let_task_have_children

        let_task_have_children()
        engine, workers = engine_and_workers(self.engine, self.workers)
        with failing_for_good(), spark_of(self.spark_conn_id):
            opened = self._open(context)
            report = run.analyze(
                opened.monitor,
                opened.window,
                handover=self.handover,
                storage=opened.storage,
                as_of=None if self.handover else run_as_of(opened, context, self.as_of),
                engine=engine,
                workers=workers,
                memory_limit=memory_limit(),
                allow_scripts=scripts_allowed(),
                cadence=run_cadence(opened.window, context),
                cloudwatch=task_cloudwatch(self, opened.monitor),
            )
        return self._report_made(report, opened, context)


def summary_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the analysis hands on of its report: all but what grows with the data or with the number of classes."""
    kept = {key: value for key, value in report.items() if key not in ("rejected_examples", "segments", "versions")}
    metrics = {name: value for name, value in report["metrics"].items() if name != "confusion_matrix"}
    return kept | {"metrics": metrics}


def event_of(
    report: Mapping[str, Any], *, uri: str, run_type: str, newest: bool, connection: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what the event on a monitor's asset carries (rule O4): all that the page in Airflow draws, and no more.

    A few kilobytes, whatever the data: metrics that constraints can judge, without matrix and curves. ``connection`` is by
    what the report was written, None where it lies on a local disk.
    """
    from airflow_mq_provider.quality.metrics import metrics_of, violation_name

    known = metrics_of(report["problem_type"])
    found = {
        name: report["metrics"][name]
        for name, info in known.items()
        if info.higher_is_better is not None and name in report["metrics"]
    }
    by_sagemaker = {violation_name(name): name for name in known}
    merge, timings = report["merge"], report["timings"]
    return {
        "monitor": report["monitor"],
        "problem_type": report["problem_type"],
        "window": report["window"],
        "ground_truth_as_of": report["ground_truth_as_of"],
        "status": report["status"],
        "reason": report["reason"],
        "reason_code": report["reason_code"],
        "metrics": {name: metric["value"] for name, metric in found.items()},
        "standard_deviations": {name: metric["standard_deviation"] for name, metric in found.items()},
        "constraints": report["constraints"],
        "violations": [by_sagemaker[violation["metric_name"]] for violation in report["violations"]],
        "within_noise": [by_sagemaker[one["metric_name"]] for one in report["violations"] if one["within_noise"]],
        "not_judged": [one["metric_name"] for one in report["not_judged"]],
        "records": merge["matched"],
        "captures": report["capture"]["used"],
        "label_coverage": merge["label_coverage"],
        "cadence_seconds": timings.get("cadence_seconds"),
        "definition_hash": report["definition_hash"],
        "run_type": run_type,
        "newest_window": newest,
        "report_uri": uri,
        "connection": dict(connection) if connection is not None else None,
        "label_ages": merge["label_ages"],
        "revision": report.get("revision"),
    }


def is_newest(storage: Storage, monitor: ModelQualityMonitor, window: Window) -> bool:
    """Tell whether no report of a later scheduled time stands yet; reports of explicit windows are not compared with."""
    folder = hour_folder(window.scheduled_time)
    for stored in storage.list(monitor.report_root, start_after=f"{folder}/", until="windows"):
        *parts, name = stored.key.split("/")
        if name != "report.json" or not all(part.isdecimal() for part in parts):
            continue
        if datetime(*map(int, parts), tzinfo=UTC) > window.scheduled_time:  # type: ignore[misc, arg-type]
            return False
    return True


class EnforceVerdictOperator(BaseOperator):
    """Lets the verdict decide the fate of the DAG run, once the report stands and its asset event is out.

    Args:
        verdict: What `QualityAnalysisOperator` returned.
        on_violation: ``fail`` fails the task where a constraint is violated, without retries; ``continue`` goes on.
        on_not_judged: The same where nothing could be judged; ``skip`` skips this task and what follows it.
        **kwargs: What every operator takes.
    """

    template_fields: Sequence[str] = ("verdict",)
    ui_color = "#f6e3d7"

    def __init__(
        self,
        *,
        verdict: Mapping[str, Any] | XComArg,
        on_violation: str = "continue",
        on_not_judged: str = "continue",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choices(on_violation, on_not_judged)
        self.verdict: Any = verdict
        self.on_violation = on_violation
        self.on_not_judged = on_not_judged

    def execute(self, context: Context) -> None:
        """Fail, skip or do nothing."""
        from airflow_mq_provider.airflow_internals import of_airflow

        verdict = self.verdict
        name_task(context, verdict["monitor"])
        told = f"{verdict['monitor']}: {verdict['status']}: {verdict['reason']}. Report: {verdict['report_uri']}"
        self.log.info(told)
        if verdict["status"] == "CompletedWithViolations" and self.on_violation == "fail":
            violations = "; ".join(
                str(found.get("description", found.get("metric_name"))) for found in verdict["violations"]
            )
            raise of_airflow("AirflowFailException")(f"{told} Violations: {violations}")
        if verdict["status"] == "NotJudged":
            if self.on_not_judged == "fail":
                raise of_airflow("AirflowFailException")(told)
            if self.on_not_judged == "skip":
                raise of_airflow("AirflowSkipException")(told)


class QualityNotificationOperator(BaseOperator):
    """Runs a notifier on the verdict of a run, in a task of its own: a message that cannot be sent is tried again, and seen.

    Args:
        verdict: What `QualityAnalysisOperator` returned.
        notifier: A `ModelQualityNotifier`, or another notifier, whose templates see ``verdict``.
        **kwargs: What every operator takes.
    """

    template_fields: Sequence[str] = ("verdict",)
    ui_color = "#e4ecf0"

    def __init__(
        self, *, verdict: Mapping[str, Any] | XComArg, notifier: Callable[[Context], None], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.verdict: Any = verdict
        self.notifier = notifier

    def execute(self, context: Context) -> None:
        """Notify, or do nothing where the notifier sees no news in the verdict."""
        from airflow_mq_provider.airflow_internals import notified

        name_task(context, self.verdict["monitor"])
        notified(self.notifier, {**context, "verdict": self.verdict})
