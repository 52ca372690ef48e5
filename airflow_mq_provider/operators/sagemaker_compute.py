"""The two tasks of a monitoring run, done by Processing jobs of SageMaker: no Model Monitor, and no capacity of workers.

Each does the next thing that is missing and waits (`operators.stepwise`). What was asked for is noted beside the report
before it is asked, so that a retry, also after a worker that died, picks up the job that runs; a task that is cleared once
the report stands starts anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.hooks.spark import spark_of
from airflow_mq_provider.hooks.task_context import (
    Declaration,
    OpenedMonitor,
    declaration,
    engine_and_workers,
    memory_limit,
    open_monitor,
    progress_log,
    run_as_of,
    run_cadence,
    scripts_allowed,
    task_cloudwatch,
)
from airflow_mq_provider.links.sagemaker import SageMakerReportLink, folder_page
from airflow_mq_provider.operators.lineage import TellsLineage
from airflow_mq_provider.operators.model_quality import ReportingOperator, described, reports_of
from airflow_mq_provider.operators.stepwise import JobOperator, StepwiseOperator, Wait, ended_with, had_no_data

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_mq_provider.hooks.sagemaker import ModelQualityHook
    from airflow_mq_provider.monitor import ModelQualityMonitor
    from airflow_mq_provider.window import AsOf

MERGE_ON = ("auto", "sagemaker", "airflow")


class _RunOperator(JobOperator):
    """What both tasks share: the monitor, and the merge, which the analysis makes up for where it is gone."""

    template_fields: Sequence[str] = ("monitor", "as_of", "tags", *StepwiseOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {"monitor": "json"}

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        merge_on: str = "auto",
        as_of: Mapping[str, str] | XComArg | None = None,
        engine: str | None = None,
        workers: int | None = None,
        spark_conn_id: str | None = None,
        max_runtime: timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        waiter_delay: float = 30,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"waiter_delay": waiter_delay, "multiple_outputs": False} | kwargs)
        check_merge_on(merge_on)
        self.monitor = declaration(monitor)
        self.merge_on = merge_on
        self.as_of: Any = as_of
        self.engine = engine
        self.workers = workers
        self.spark_conn_id = spark_conn_id
        self.max_runtime = max_runtime
        self.tags: Any = tags

    def _open(self, context: Context) -> OpenedMonitor:
        opened = open_monitor(self, context)
        self.log.info("%s", described(opened))
        return opened

    def _merge(
        self, hook: ModelQualityHook, opened: OpenedMonitor, as_of: AsOf, done: list[str]
    ) -> Wait | dict[str, Any]:
        """Return the hand-over of the merge, or what to wait for."""
        from airflow_mq_provider.sagemaker.processing import merger_faults, merger_reads_all_labels
        from airflow_mq_provider.sagemaker.shapes import refuse

        monitor, window = opened.monitor, opened.window
        faults = merger_faults(monitor, window)
        if self.merge_on == "sagemaker":
            if as_of.source != "schedule":
                faults.append(
                    "as_of: must be the scheduled time, as SageMaker's merger reads the labels of the window's own hours, "
                    f"came {as_of.source}; merge_on='airflow' reads later ones"
                )
            refuse(faults, monitor, "the merge on SageMaker")
        elif self.merge_on == "airflow":
            return self._merge_here(hook, opened, as_of)
        elif faults or not merger_reads_all_labels(window, as_of):
            self.log.info("The merge runs in the worker: %s.", "; ".join(faults) or "labels of other hours count too")
            return self._merge_here(hook, opened, as_of)
        return self._merge_by_job(hook, opened, done)

    def _merge_here(self, hook: ModelQualityHook, opened: OpenedMonitor, as_of: AsOf) -> dict[str, Any]:
        """Merge by this package's own engine, in the worker."""
        from airflow_mq_provider import run, run_on_sagemaker
        from airflow_mq_provider.airflow_internals import let_task_have_children
        from airflow_mq_provider.sagemaker.processing import flat_analysis_request

        # what the analysis will refuse is refused before the work
        folder = run_on_sagemaker.flat_uri(opened.monitor, opened.window)
        flat_analysis_request(opened.monitor, opened.window, dataset_uri=folder, region=hook.conn_region_name)
        let_task_have_children()
        engine, workers = engine_and_workers(self.engine, self.workers)
        with spark_of(self.spark_conn_id):
            return run.merge(
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

    def _merge_by_job(self, hook: ModelQualityHook, opened: OpenedMonitor, done: list[str]) -> Wait | dict[str, Any]:
        """Have SageMaker's merger merge the hours that hold something; where a side holds nothing, none is asked."""
        from airflow_mq_provider import run_on_sagemaker
        from airflow_mq_provider.report_folder import MERGE_JOB
        from airflow_mq_provider.sagemaker.processing import merge_request

        monitor, window, storage = opened.monitor, opened.window, opened.storage
        captured = run_on_sagemaker.hours_with_objects(storage, monitor.capture_root, window)
        labelled = run_on_sagemaker.hours_with_objects(storage, monitor.ground_truth_uri, window)

        def request_of(number: int) -> dict[str, Any]:
            request = merge_request(
                monitor,
                window,
                region=hook.conn_region_name,
                rerun=number - 1,
                tags=self.tags,
                merged_uri=run_on_sagemaker.merger_uri(monitor, window),
                captured=captured,
                labelled=labelled,
            )
            return self._limited(request)

        without_rows = None
        if not captured:
            without_rows = (
                "no_captures",
                f"no capture in the window: no object in its hours under {monitor.capture_root}",
            )
        elif not labelled:
            without_rows = ("no_labels", f"no labels: no object in the window's hours under {monitor.ground_truth_uri}")
        if without_rows is not None:
            request_of(1)  # what would be refused is refused all the same
            run_on_sagemaker.make_way(monitor, window, MERGE_JOB, 1, storage=storage)
            return run_on_sagemaker.hand_over_merger(
                monitor, window, storage=storage, job=None, seconds=0.0, without_rows=without_rows
            )
        job = self._noted_job(hook, opened, done, MERGE_JOB, request_of)
        if isinstance(job, Wait):
            return job
        name = job["ProcessingJobName"]
        if had_no_data(job):
            without_rows = ("no_matches", f"no row to analyze: SageMaker says {ended_with(job)!r} of {name}")
        elif not _merged_hours(opened):
            without_rows = ("no_matches", f"no row to analyze: {name} merged none")
        return run_on_sagemaker.hand_over_merger(
            monitor, window, storage=storage, job=name, seconds=_seconds(job), without_rows=without_rows
        )

    def _noted_job(
        self,
        hook: ModelQualityHook,
        opened: OpenedMonitor,
        done: list[str],
        kind: str,
        request_of: Callable[[int], dict[str, Any]],
        prepare: Callable[[], Any] = lambda: None,
    ) -> Wait | dict[str, Any]:
        """Return the job of this run that has ended, or what to wait for. SageMaker keeps names for good: a new run counts on.

        ``prepare`` writes what the job reads, before it is asked for.
        """
        from airflow_mq_provider import run_on_sagemaker

        number = run_on_sagemaker.number_of_job(opened.monitor, opened.window, kind, storage=opened.storage)
        if number is None:
            number = 1
            while hook.job(request_of(number)["ProcessingJobName"]) is not None:
                number += 1
            prepare()
            run_on_sagemaker.make_way(opened.monitor, opened.window, kind, number, storage=opened.storage)
        return self._job_of(hook, done, request_of, number=number)

    def _limited(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the request with the task's limit, where that is shorter than the monitor's."""
        if self.max_runtime is None:
            return request
        seconds = max(1, int(self.max_runtime.total_seconds()))
        declared = request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", seconds)
        return {**request, "StoppingCondition": {"MaxRuntimeInSeconds": min(seconds, declared)}}


class SageMakerGroundTruthMergeOperator(TellsLineage, _RunOperator):
    """Joins the labels to the captures of this run's window: by SageMaker's merger in a Processing job, or in the worker.

    SageMaker's merger takes an endpoint's captures and the labels of the window's own hours, ten folders at most. What it
    cannot do (`sagemaker.processing.merger_faults`), and what it would do with fewer labels, this package's own merge does.

    Returns the hand-over for `SageMakerQualityAnalysisOperator`. A monitor that SageMaker would refuse fails the task without
    retries; a job that failed fails the try, and the retry starts another.

    Args:
        monitor: A `ModelQualityMonitor` with a role under ``sagemaker``, its output and constraints on S3; its fields as a
            mapping; or the path or URI of its YAML or JSON. Strings may hold templates.
        merge_on: ``auto`` (SageMaker's merger where it can do it and reads every label that counts), ``sagemaker`` (its
            merger, or the task fails) or ``airflow`` (the worker).
        as_of: What a `GroundTruthSensor` returned. The run's param ``as_of`` goes before it; without both, labels are read
            up to the scheduled time.
        max_runtime: How long a job may run before SageMaker stops it, where the monitor allows no less.
        tags: Tags of the jobs, beside those of the monitor.
        **kwargs: ``engine``, ``workers`` and ``spark_conn_id`` of a merge in the worker, as of `GroundTruthMergeOperator`; the connection,
            ``deferrable``, ``waiter_delay`` and ``waiter_max_attempts`` as of `SageMakerModelQualityJobDefinitionOperator`.
    """

    def _step(self, hook: ModelQualityHook, context: Context, done: list[str]) -> Wait | dict[str, Any]:
        opened = self._open(context)
        merged = self._merge(hook, opened, run_as_of(opened, context, self.as_of), done)
        if not isinstance(merged, Wait):
            self.work_done = (opened.monitor, opened.window, merged)
        return merged


class SageMakerQualityAnalysisOperator(ReportingOperator, _RunOperator):
    """Has SageMaker's analyzer judge the merged rows in a Processing job, and makes the report of its documents.

    It succeeds, emits the asset event and returns what `QualityAnalysisOperator` does, also where nothing was there to judge
    (``NotJudged``). The documents are the analyzer's own; a metric that it passes over though it is beyond its constraint
    is a violation in ``report.json`` all the same.

    Args:
        monitor: As of `SageMakerGroundTruthMergeOperator`.
        handover: What that returned. Without it, or where the merged rows are gone since a report has been made of them, this
            task merges first.
        **kwargs: As of `SageMakerGroundTruthMergeOperator`.
    """

    template_fields: Sequence[str] = ("handover", *_RunOperator.template_fields)
    operator_extra_links = (
        *ReportingOperator.operator_extra_links,
        *JobOperator.operator_extra_links,
        SageMakerReportLink(),
    )

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        handover: Mapping[str, Any] | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        outlets = [*(kwargs.pop("outlets", None) or []), reports_of(monitor)]
        super().__init__(monitor=monitor, outlets=outlets, **kwargs)
        self.handover: Any = handover

    def _step(self, hook: ModelQualityHook, context: Context, done: list[str]) -> Wait | dict[str, Any]:
        from airflow_mq_provider import run, run_on_sagemaker
        from airflow_mq_provider.report_folder import ANALYSIS_JOB

        opened = self._open(context)
        monitor, window, storage = opened.monitor, opened.window, opened.storage
        handover = run_on_sagemaker.handed_over(monitor, window, storage=storage, handover=self.handover)
        if handover is None:
            merged = self._merge(hook, opened, self._as_of(opened, context), done)
            if isinstance(merged, Wait):
                return merged
            handover = merged
        found: dict[str, Any] = {}
        if run_on_sagemaker.rows_to_analyze(handover):
            by_merger = run.by_merger(handover)
            job = self._noted_job(
                hook,
                opened,
                done,
                ANALYSIS_JOB,
                self._request_of(hook, opened, by_merger=by_merger),
                prepare=lambda: (
                    None
                    if by_merger
                    else run_on_sagemaker.write_flat_rows(monitor, window, storage=storage, memory_limit=memory_limit())
                ),
            )
            if isinstance(job, Wait):
                return job
            found = {
                "job": job["ProcessingJobName"],
                "exit_message": job.get("ExitMessage"),
                "no_data": ended_with(job) if had_no_data(job) else None,
                "seconds": _seconds(job),
            }
        cadence = run_cadence(window, context)
        report = run_on_sagemaker.report_of_jobs(
            monitor,
            window,
            handover=handover,
            storage=storage,
            memory_limit=memory_limit(),
            cadence=cadence,
            cloudwatch=task_cloudwatch(self, monitor),
            **found,
        )
        self.pages |= {"report": folder_page(monitor.report_prefix(window), hook.conn_region_name)}
        return self._report_made(report, opened, context)

    def _as_of(self, opened: OpenedMonitor, context: Context) -> AsOf:
        """Return up to when labels count in a merge that is made up for: as in the one that was handed over."""
        from airflow_mq_provider import run

        if self.handover and not run.by_merger(self.handover):
            return run.as_of_handover(self.handover)
        return run_as_of(opened, context, self.as_of)

    def _request_of(
        self, hook: ModelQualityHook, opened: OpenedMonitor, *, by_merger: bool
    ) -> Callable[[int], dict[str, Any]]:
        """Return what gives the request of the analysis under a number, of what the merge left."""
        from airflow_mq_provider import run_on_sagemaker
        from airflow_mq_provider.sagemaker.processing import analysis_request, flat_analysis_request

        monitor, window = opened.monitor, opened.window
        common: dict[str, Any] = {"region": hook.conn_region_name, "tags": self.tags}
        if by_merger:
            merged: dict[str, Any] = {
                "merged_uri": run_on_sagemaker.merger_uri(monitor, window),
                "merged": _merged_hours(opened),
            }
            return lambda number: self._limited(analysis_request(monitor, window, rerun=number - 1, **merged, **common))
        folder = run_on_sagemaker.flat_uri(monitor, window)
        return lambda number: self._limited(
            flat_analysis_request(monitor, window, dataset_uri=folder, rerun=number - 1, **common)
        )


def check_merge_on(merge_on: str) -> None:
    """Refuse a place of the merge that is none, when the DAG is parsed."""
    if merge_on not in MERGE_ON:
        raise ModelQualityError(
            expected=f"one of {', '.join(MERGE_ON)}",
            came=repr(merge_on),
            where="merge_on",
            next_step="correct it in the DAG file; auto is the default",
        )


def _merged_hours(opened: OpenedMonitor) -> list[str]:
    """Return the hour folders in which SageMaker's merger left records of this run."""
    from airflow_mq_provider import run_on_sagemaker
    from airflow_mq_provider.sagemaker.processing import merged_root

    root = merged_root(opened.monitor, run_on_sagemaker.merger_uri(opened.monitor, opened.window))
    return run_on_sagemaker.hours_with_objects(opened.storage, root, opened.window)


def _seconds(job: Mapping[str, Any]) -> float:
    """Return how long a job took from its creation to its end."""
    ended = job.get("ProcessingEndTime") or job.get("LastModifiedTime") or job["CreationTime"]
    seconds: float = (ended - job["CreationTime"]).total_seconds()
    return seconds
