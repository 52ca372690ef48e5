"""The merge of a monitoring run on a cluster of one's own, by the Spark provider's operator and ``spark-submit``.

A module of its own, as it needs that provider (the extra ``spark-submit``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

from airflow_mq_provider.hooks.task_context import Declaration, failing_for_good
from airflow_mq_provider.operators.cluster import ClusterMerge, job_name

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mq_provider.monitor import ModelQualityMonitor


class SparkSubmitGroundTruthMergeOperator(ClusterMerge, SparkSubmitOperator):
    """Joins the labels to the captures of this run's window in an application of a Spark cluster, and returns the hand-over.

    The worker needs ``spark-submit``, the cluster this package. What an earlier run left goes first, and an application
    that fails fails the try.

    Args:
        monitor: As of `GroundTruthMergeOperator`. Driver and executors have to see all its places.
        as_of: As of `GroundTruthMergeOperator`.
        engine: What merges on the cluster.
        application: The file to run. By default the package's own, from where it is installed on the worker; Spark takes it
            to the cluster.
        conn_id: The connection to the cluster, of type ``spark``.
        aws_conn_id: The connection by which this task itself reaches S3. The job has an identity of its own.
        region_name: Another region than that connection's.
        verify: How certificates are verified, where not as the connection says.
        botocore_config: Further settings of S3 clients.
        **kwargs: As of the Spark provider's `SparkSubmitOperator`: ``conf``, ``archives``, ``deploy_mode``, sizes, and what
            every operator takes. ``durable`` is off: each try is a new application.
    """

    template_fields: Sequence[str] = (
        *ClusterMerge.cluster_fields,
        "aws_conn_id",
        "region_name",
        "verify",
        *SparkSubmitOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"monitor": "json"}

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(monitor=monitor, **kwargs)
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = dict(botocore_config) if botocore_config else None
        self.durable = False

    def execute(self, context: Context) -> dict[str, Any]:  # type: ignore[override]
        """Run the application once the way is free, and return its hand-over."""
        from airflow_mq_provider.spark_job import ENTRY, command_of, make_way

        with failing_for_good():
            opened = self._open(context)
            job = self._job(opened, context)
            self.application_args = command_of(job)
        self.application = self.application or str(ENTRY)
        self.name = job_name(job)
        make_way(job, opened.storage)
        super().execute(context)
        return self._handed_over(context)
