"""The merge of a monitoring run on AWS's Spark, by the amazon provider's own operators: on EMR Serverless, and on Glue."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.amazon.aws.operators.emr import EmrServerlessStartJobOperator
from airflow.providers.amazon.aws.operators.glue import GlueJobOperator

from airflow_mq_provider.exceptions import ModelQualityError, MonitorError
from airflow_mq_provider.hooks.task_context import Declaration, OpenedMonitor, failing_for_good, uris
from airflow_mq_provider.operators.cluster import ClusterMerge, job_name

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mq_provider.monitor import ModelQualityMonitor
    from airflow_mq_provider.spark_job import Job

_RUNNING_ON_EMR = ("SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "QUEUED", "CANCELLING")
_RUNNING_ON_GLUE = ("STARTING", "RUNNING", "WAITING", "STOPPING")
_LONGEST_GLUE_RUN = timedelta(days=7)


class EmrServerlessGroundTruthMergeOperator(ClusterMerge, EmrServerlessStartJobOperator):
    """Joins the labels to the captures of this run's window in a job on EMR Serverless, and returns the hand-over.

    What an earlier run left goes first. A job that fails fails the try, and so does one that an earlier try left running,
    which is stopped: the next try starts another.

    Args:
        monitor: As of `GroundTruthMergeOperator`; all its places are on S3.
        application_id: The application, of type Spark. It is started where it stands still.
        execution_role_arn: The role of the job: docs/iam.md tells what it needs.
        environment: The URI of the packed Python environment that holds this package (docs/spark.md tells how to make it).
            Without it the application's image, or its own settings, have to bring it.
        spark_submit_parameters: More of ``spark-submit``'s parameters, as sizes of drivers and executors.
        entry_point: The URI of the file to run. By default the package writes its own below ``<output>/_spark/``.
        as_of: As of `GroundTruthMergeOperator`.
        engine: What merges on the cluster.
        deferrable: Whether the task waits in the triggerer.
        waiter_max_attempts: How often it looks, ``waiter_delay`` seconds apart: 12 hours by default, EMR's own limit of a
            job. Where the task has an ``execution_timeout``, the job has it too.
        **kwargs: As of the amazon provider's `EmrServerlessStartJobOperator`: ``config``, ``configuration_overrides`` (where
            logs go), ``waiter_delay``, the connection, which reaches S3 too, and what every operator takes.
    """

    template_fields: Sequence[str] = (
        *ClusterMerge.cluster_fields,
        "environment",
        "spark_submit_parameters",
        "entry_point",
        *EmrServerlessStartJobOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **EmrServerlessStartJobOperator.template_fields_renderers,
        "monitor": "json",
    }

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        environment: str | None = None,
        spark_submit_parameters: str | None = None,
        entry_point: str | None = None,
        deferrable: bool = True,
        waiter_max_attempts: int = 720,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            monitor=monitor,
            job_driver={},  # what it holds depends on the window
            deferrable=deferrable,
            waiter_max_attempts=waiter_max_attempts,
            **kwargs,
        )
        self.environment = environment
        self.spark_submit_parameters = spark_submit_parameters
        self.entry_point = entry_point

    def execute(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:  # type: ignore[override]
        """Start the job once the way is free, wait for it, and return its hand-over."""
        from airflow_mq_provider.spark_job import command_of, make_way

        with failing_for_good():
            opened = self._open(context)
            refuse_local_places(opened.monitor)
            job = self._job(opened, context)
            command = command_of(job)
        self.name = job_name(job)
        self._stop_others()
        make_way(job, opened.storage)
        submit = {
            "entryPoint": self.entry_point or uploaded_entry(opened),
            "entryPointArguments": command,
        }
        if parameters := " ".join([*_environment_settings(self.environment), *_given(self.spark_submit_parameters)]):
            submit["sparkSubmitParameters"] = parameters
        self.job_driver = {"sparkSubmit": submit}
        if self.execution_timeout is not None:
            minutes = max(5, math.ceil(self.execution_timeout / timedelta(minutes=1)))  # EMR takes no less
            self.config = {"executionTimeoutMinutes": minutes, **self.config}
        super().execute(context, event)
        return self._handed_over(context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:  # type: ignore[override]
        """Return the hand-over of the job that has ended."""
        super().execute_complete(context, event)
        return self._handed_over(context)

    def _stop_others(self) -> None:
        pages = self.hook.conn.get_paginator("list_job_runs").paginate(
            applicationId=self.application_id, states=list(_RUNNING_ON_EMR)
        )
        others = [run for page in pages for run in page["jobRuns"] if run.get("name") == self.name]
        for run in others:
            if run["state"] != "CANCELLING":
                self.hook.conn.cancel_job_run(applicationId=self.application_id, jobRunId=run["id"])
        if others:
            raise _still_running(str(self.name), [run["id"] for run in others])


class GlueGroundTruthMergeOperator(ClusterMerge, GlueJobOperator):
    """Joins the labels to the captures of this run's window in a Glue job, and returns the hand-over.

    What an earlier run left goes first. A job that fails fails the try, and so does one that an earlier try left running,
    which is stopped: the next try starts another.

    Args:
        monitor: As of `GroundTruthMergeOperator`; all its places are on S3.
        job_name: The Glue job; it is made where there is none, from ``create_job_kwargs`` and ``iam_role_name``.
        wheel: The URI of this package's wheel, which Glue then installs when a job starts, with the versions of its needs
            that the worker has. Without it the job, or ``script_args``, have to bring the package.
        script_args: Glue's own arguments, such as ``--conf``.
        script_location: The URI of the file to run. By default the package writes its own below ``<output>/_spark/``. A job
            that is there already runs what it names itself.
        as_of: As of `GroundTruthMergeOperator`.
        engine: What merges on the cluster.
        deferrable: Whether the task waits in the triggerer.
        waiter_max_attempts: How often it looks, ``waiter_delay`` seconds apart: 12 hours by default. Where the task has an
            ``execution_timeout``, the job has it too.
        **kwargs: As of the amazon provider's `GlueJobOperator`: ``create_job_kwargs``, ``run_job_kwargs``,
            ``concurrent_run_limit``, the connection, which reaches S3 too, and what every operator takes. ``durable`` is off
            unless given, since a job that an earlier try left running is stopped.
    """

    template_fields: Sequence[str] = (*ClusterMerge.cluster_fields, "wheel", *GlueJobOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **GlueJobOperator.template_fields_renderers,
        "monitor": "json",
    }

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        wheel: str | None = None,
        deferrable: bool = True,
        waiter_max_attempts: int = 720,
        stop_job_run_on_kill: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            monitor=monitor,
            deferrable=deferrable,
            waiter_max_attempts=waiter_max_attempts,
            stop_job_run_on_kill=stop_job_run_on_kill,
            **kwargs,
        )
        self.wheel = wheel
        self.durable = False

    def execute(self, context: Context) -> dict[str, Any]:  # type: ignore[override]
        """Start the job once the way is free, wait for it, and return its hand-over."""
        from airflow_mq_provider.spark_job import arguments_of, make_way

        with failing_for_good():
            opened = self._open(context)
            refuse_local_places(opened.monitor)
            job = self._job(opened, context)
            self.script_args = {**_installing(self.wheel), **self.script_args, **arguments_of(job)}
        if self.script_location is None:
            self.script_location = uploaded_entry(opened)
        self._stop_others(job)
        make_way(job, opened.storage)
        if self.execution_timeout is not None:
            minutes = max(1, math.ceil(self.execution_timeout / timedelta(minutes=1)))
            self.run_job_kwargs = {"Timeout": minutes, **self.run_job_kwargs}
        super().execute(context)
        return self._handed_over(context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:  # type: ignore[override]
        """Return the hand-over of the job that has ended."""
        super().execute_complete(context, event)
        return self._handed_over(context)

    def _stop_others(self, job: Job) -> None:
        others = [
            run
            for run in self._recent_runs()
            if run["JobRunState"] in _RUNNING_ON_GLUE
            and run.get("Arguments", {}).get("--expect-report-prefix") == job.report_prefix
        ]
        if not others:
            return
        going = [run["Id"] for run in others if run["JobRunState"] != "STOPPING"]
        if going:
            self.hook.conn.batch_stop_job_run(JobName=self.job_name, JobRunIds=going)
        raise _still_running(self.job_name, [run["Id"] for run in others])

    def _recent_runs(self) -> Iterator[dict[str, Any]]:
        """Yield the runs of the Glue job that may still be at work, of whatever window; Glue lists the latest first."""
        client = self.hook.conn
        since = datetime.now(UTC) - _LONGEST_GLUE_RUN
        try:
            for page in client.get_paginator("get_job_runs").paginate(JobName=self.job_name):
                for run in page["JobRuns"]:
                    if run["StartedOn"] < since:
                        return
                    yield run
        except client.exceptions.EntityNotFoundException:
            self.log.info("There is no Glue job %s yet.", self.job_name)


def _environment_settings(archive: str | None) -> list[str]:
    """Return what has a job use the Python of a packed environment, on the driver and on each executor."""
    if not archive:
        return []
    python = "./environment/bin/python"
    settings = {
        "spark.archives": f"{archive}#environment",
        "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": python,
        "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": python,
        "spark.executorEnv.PYSPARK_PYTHON": python,
    }
    return [f"--conf {name}={value}" for name, value in settings.items()]


def _installing(wheel: str | None) -> dict[str, str]:
    """Return what has Glue install this package; Airflow, on which its wheel depends too, has no place on a cluster."""
    from airflow_mq_provider.spark_job import requirements

    if not wheel:
        return {}
    return {
        "--additional-python-modules": ",".join([wheel, *requirements()]),
        "--python-modules-installer-option": "--no-deps",
    }


def _given(parameters: str | None) -> list[str]:
    return [parameters] if parameters else []


def refuse_local_places(monitor: ModelQualityMonitor) -> None:
    """Refuse a monitor that reads or writes what a machine elsewhere cannot see.

    Raises:
        MonitorError: a place of it is not on S3; each is named.
    """
    from airflow_mq_provider.storage import is_s3

    faults = [f"must lie on S3 for a merge on AWS, came {place!r}" for place in uris(monitor) if not is_s3(place)]
    if faults:
        raise MonitorError(faults, where=monitor.name, next_step="move it to S3, or merge in the worker")


def uploaded_entry(opened: OpenedMonitor) -> str:
    """Write the file that the cluster runs beside the reports, and return its URI; each version has its own."""
    from airflow_mq_provider import __version__
    from airflow_mq_provider.spark_job import ENTRY
    from airflow_mq_provider.storage import join

    uri = join(opened.monitor.output_uri, "_spark", __version__, ENTRY.name)
    opened.storage.write(uri, ENTRY.read_bytes())
    return uri


def _still_running(name: str, ids: Sequence[str]) -> ModelQualityError:
    return ModelQualityError(
        expected="no other job at work on this window, as both would write to one place",
        came=f"{', '.join(ids)}, which an earlier try of this task left running, or another run of this window",
        where=name,
        next_step="it has been told to stop; the next try of this task starts anew once it has",
    )
