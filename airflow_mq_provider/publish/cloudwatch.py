"""A run's metrics in CloudWatch, where Model Monitor's stand: its namespaces, names and dimensions (rule O3).

Alarms and dashboards that were made for Model Monitor go on working. That publishing was skipped or refused is part of the
run's report, and fails nothing: the report is the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.quality.constraints import Verdict
from airflow_mq_provider.quality.states import Metric
from airflow_mq_provider.window import Window, format_time

OF_ENDPOINTS: Final = "aws/sagemaker/Endpoints/model-metrics"
OF_BATCH_TRANSFORMS: Final = "aws/sagemaker/ModelMonitoring/model-metrics"

OLDEST: Final = timedelta(days=14)
"""CloudWatch takes no point that is older."""
NEWEST: Final = timedelta(hours=2)
"""Nor one that lies further ahead."""
LARGEST: Final = 2.0**360
"""Nor a value beyond this one, in either direction."""

_NOT_TO_BE_TRUSTED: Final = frozenset({"too_few_records", "low_coverage"})
_SETTINGS: Final[dict[str, Any]] = {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 3}}


@dataclass(frozen=True, slots=True)
class CloudWatch:
    """Where metrics are published.

    Attributes:
        client: makes a boto3 client of CloudWatch; by default of boto3's own chain.
        namespace: in place of SageMaker's; None is SageMaker's.
    """

    client: Callable[[], Any]
    namespace: str | None = None


def default_client() -> Any:
    """A client of boto3's own chain of credentials and regions."""
    import boto3

    return boto3.session.Session().client("cloudwatch", config=client_config())


def client_config() -> Any:
    """What every client of CloudWatch has: it gives up within a minute, since a run waits for it."""
    from botocore.config import Config

    return Config(**_SETTINGS)


def namespace_of(monitor: ModelQualityMonitor) -> str:
    """SageMaker's namespace for the monitor's kind of input."""
    return OF_ENDPOINTS if monitor.endpoint_input else OF_BATCH_TRANSFORMS


def points(monitor: ModelQualityMonitor, window: Window, metrics: Mapping[str, Metric]) -> list[dict[str, Any]]:
    """The points of a run as PutMetricData takes them, at its scheduled time.

    A value that is undefined, or that CloudWatch cannot hold, makes no point.
    """
    dimensions = [{"Name": "MonitoringSchedule", "Value": monitor.name}]
    if monitor.endpoint_name:
        dimensions.insert(0, {"Name": "Endpoint", "Value": monitor.endpoint_name})
    return [
        {"MetricName": name, "Dimensions": dimensions, "Timestamp": window.scheduled_time, "Value": metric.value}
        for name, metric in metrics.items()
        if abs(metric.value) <= LARGEST  # False of NaN
    ]


def publish(
    cloudwatch: CloudWatch,
    monitor: ModelQualityMonitor,
    window: Window,
    verdict: Verdict,
    metrics: Mapping[str, Metric],
    *,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Publish a run's metrics, and return what the report says of it; `now` is the clock unless given.

    That is ``status`` (``published``, ``skipped`` or ``refused``), ``reason`` (None where published), ``namespace`` and
    ``metrics``, the number of points that CloudWatch took. Metrics of fewer records, or of a smaller share of labels, than
    the monitor asks for are not published: an alarm on them would page for noise.
    """
    namespace = cloudwatch.namespace or namespace_of(monitor)

    def said(status: str, reason: str | None, taken: int = 0) -> dict[str, Any]:
        return {"status": status, "reason": reason, "namespace": namespace, "metrics": taken}

    if verdict.code in _NOT_TO_BE_TRUSTED:
        return said("skipped", f"the run was not judged: {verdict.reason}")
    age = (now or datetime.now(UTC)) - window.scheduled_time
    if age >= OLDEST or -age >= NEWEST:
        bound = f"more than {OLDEST.days} days ago" if age >= OLDEST else "too far ahead"
        return said("skipped", f"CloudWatch takes no point of {format_time(window.scheduled_time)}: {bound}")
    data = points(monitor, window, metrics)
    if not data:
        return said("skipped", "no metric has a value")

    from botocore.exceptions import BotoCoreError, ClientError

    try:
        cloudwatch.client().put_metric_data(Namespace=namespace, MetricData=data)
    except (BotoCoreError, ClientError) as error:
        return said("refused", f"{type(error).__name__}: {error}")
    return said("published", None, len(data))
