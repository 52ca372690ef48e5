"""How long prepared hours stay: what a run keeps for those after it.

Nothing here is ever needed for a right answer: an hour that is gone is read again.
"""

from __future__ import annotations

from airflow_mq_provider.engines.task import PreparedPlace
from airflow_mq_provider.monitor import BatchTransformInput, ModelQualityMonitor
from airflow_mq_provider.window import Window, parse_delay


def prepared_place(monitor: ModelQualityMonitor, window: Window) -> PreparedPlace | None:
    """Where a run of this window keeps the hours that it reads; None where the monitor keeps none, or could not use them.

    Hours are kept for `prepared_hours_retention` before the scheduled time, and those of the window in any case.
    """
    retention = parse_delay(monitor.prepared_hours_retention, field="prepared_hours_retention")
    if not retention or not _uses_hours(monitor):
        return None
    return PreparedPlace(monitor.prepared_root, min(window.start, window.scheduled_time - retention))


def _uses_hours(monitor: ModelQualityMonitor) -> bool:
    """Whether runs of the monitor are made of hours: see `engines.by_hour.serves`."""
    scripted = monitor.sagemaker is not None and monitor.sagemaker.record_preprocessor_source_uri is not None
    return not (scripted or monitor.keep_merged or isinstance(monitor.input, BatchTransformInput))
