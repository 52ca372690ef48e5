"""What the merges on clusters share: a monitor and a window that are known when the task runs, a job, and its hand-over.

Each operator takes away what stood in the way, starts `airflow_mq_provider.spark_job` on its cluster, and returns the
hand-over that this leaves. So `QualityAnalysisOperator` follows as it follows a merge in the worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_mq_provider.hooks.task_context import (
    Declaration,
    OpenedMonitor,
    declaration,
    failing_for_good,
    open_monitor,
    run_as_of,
    scripts_allowed,
)
from airflow_mq_provider.operators.lineage import TellsLineage
from airflow_mq_provider.operators.model_quality import described
from airflow_mq_provider.window import format_time

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_mq_provider.monitor import ModelQualityMonitor
    from airflow_mq_provider.spark_job import Job


class ClusterMerge(TellsLineage):
    """What the merges on clusters share: a monitor, the job that is asked for, and the hand-over that it leaves."""

    cluster_fields: ClassVar[tuple[str, ...]] = ("monitor", "as_of")
    aws_conn_id: str | None
    region_name: str | None
    verify: bool | str | None
    botocore_config: dict[str, Any] | None

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        as_of: Mapping[str, str] | XComArg | None = None,
        engine: str = "spark",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.monitor = declaration(monitor)
        self.as_of: Any = as_of
        self.engine = engine

    def _open(self, context: Context) -> OpenedMonitor:
        opened = open_monitor(self, context)
        self.log.info("%s", described(opened))
        return opened

    def _job(self, opened: OpenedMonitor, context: Context) -> Job:
        """Return what the cluster is to do."""
        from airflow_mq_provider.spark_job import Job

        as_of = run_as_of(opened, context, self.as_of)
        self.log.info("Labels are read as of %s (%s).", format_time(as_of.time), as_of.source)
        return Job(
            opened.monitor,
            opened.window,
            as_of,
            engine=self.engine,
            allow_scripts=scripts_allowed(),
            expected_bucket_owner=opened.storage.expected_bucket_owner,
        )

    def _handed_over(self, context: Context) -> dict[str, Any]:
        """Return what the job that has ended hands over."""
        from airflow_mq_provider.spark_job import handed_over

        with failing_for_good():
            opened = self._open(context)
            handover = handed_over(opened.monitor, opened.window, opened.storage)
        self.work_done = (opened.monitor, opened.window, handover)
        self.log.info("Merged %d rows by engine %s.", handover["merge"]["matched"], handover["engine"])
        return handover


def job_name(job: Job) -> str:
    """Return the name of a job on the cluster: whose, of which window, and by its last letters of which place."""
    import hashlib

    place = hashlib.sha256(job.report_prefix.encode()).hexdigest()[:8]
    return f"{job.monitor.name}-merge-{job.window.report_folder.replace('/', '-')}-{place}"
