"""What a run tells OpenLineage, where its provider is installed: what was read, what was written, and how it was judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors.base import OperatorLineage

    from airflow_mq_provider.monitor import ModelQualityMonitor
    from airflow_mq_provider.window import Window


class TellsLineage(BaseOperator):
    """What every operator shares that merges or analyzes: it remembers its work, and OpenLineage's listener asks for it.

    Nothing of OpenLineage is imported where that listener is not installed.
    """

    work_done: tuple[ModelQualityMonitor, Window, Mapping[str, Any]] | None = None
    """Monitor, window, and the report or the hand-over, once the task has made it."""

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:  # noqa: ARG002
        """Return the lineage of the execution that just ended, or None where it made nothing."""
        return None if self.work_done is None else lineage_of(*self.work_done)


def lineage_of(monitor: ModelQualityMonitor, window: Window, made: Mapping[str, Any]) -> OperatorLineage[Any, Any]:
    """Return the datasets that a run read and wrote, with their figures.

    ``made`` is a report or a hand-over. Captures and labels are inputs, each by its root and with the files and lines of this
    window; the folder of the report is the output. A report adds its rows, and an assertion for each constraint, which belongs
    to the captures: they are what was judged. A metric without a value is in no assertion, and SageMaker's own merger tells no figures.
    """
    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.generated import data_quality_assertions_dataset as assertions
    from openlineage.client.generated import data_quality_metrics_dataset as of_output
    from openlineage.client.generated import data_quality_metrics_input_dataset as of_input

    inputs = []
    for uri, side in ((monitor.capture_root, "capture"), (monitor.ground_truth_uri, "ground_truth")):
        namespace, name = dataset_name(uri)
        counted = made.get(side, {})
        facets: dict[str, Any] = {
            "dataQualityMetrics": of_input.DataQualityMetricsInputDatasetFacet(
                columnMetrics={}, rowCount=counted.get("lines"), fileCount=counted.get("files")
            )
        }
        if side == "capture" and (told := _assertions(made)):
            facets["dataQualityAssertions"] = assertions.DataQualityAssertionsDatasetFacet(
                assertions=[assertions.Assertion(assertion=name, success=success) for name, success in told.items()]
            )
        inputs.append(InputDataset(namespace=namespace, name=name, inputFacets=facets))
    namespace, name = dataset_name(monitor.report_prefix(window))
    rows = of_output.DataQualityMetricsDatasetFacet(columnMetrics={}, rowCount=made.get("merge", {}).get("matched"))
    outputs = [OutputDataset(namespace=namespace, name=name, facets={"dataQualityMetrics": rows})]
    return OperatorLineage(inputs=inputs, outputs=outputs)


def dataset_name(uri: str) -> tuple[str, str]:
    """Return namespace and name of a place by OpenLineage's naming: bucket and key, or ``file`` and the path."""
    if uri.startswith("s3://"):
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return f"s3://{bucket}", key.strip("/") or "/"
    return "file", uri.removeprefix("file://").rstrip("/")


def _assertions(made: Mapping[str, Any]) -> dict[str, bool]:
    """Whether each constraint held, by its words; none of a hand-over, nor of a window that was not judged."""
    from airflow_mq_provider.quality.constraints import LESS, NOT_JUDGED
    from airflow_mq_provider.quality.metrics import violation_name

    if "constraints" not in made or made["status"] == NOT_JUDGED:
        return {}
    violated = {violation["metric_name"] for violation in made["violations"]}
    unknown = {metric["metric_name"] for metric in made["not_judged"]}
    return {
        f"{name} {'>=' if limit['comparison_operator'] == LESS else '<='} {limit['threshold']}": violation_name(name)
        not in violated
        for name, limit in made["constraints"].items()
        if name not in unknown
    }
