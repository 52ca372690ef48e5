"""Model quality monitoring for Apache Airflow 3.

Public names are loaded on first use: importing this package, which Airflow does to discover providers and every DAG file
does to be parsed, imports neither Airflow nor a client of AWS nor anything else that takes its time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_mq_provider.dag import ModelQualityTaskGroup, model_quality_dag, model_quality_fleet_dag
    from airflow_mq_provider.exceptions import ModelQualityError
    from airflow_mq_provider.monitor import (
        BatchTransformInput,
        CsvFormat,
        EndpointInput,
        JsonFormat,
        ModelQualityMonitor,
        ParquetFormat,
        SageMakerSettings,
    )
    from airflow_mq_provider.notifications.model_quality import ModelQualityNotifier

__version__ = "0.1.0"

__all__ = [
    "BatchTransformInput",
    "CsvFormat",
    "EndpointInput",
    "JsonFormat",
    "ModelQualityError",
    "ModelQualityMonitor",
    "ModelQualityNotifier",
    "ModelQualityTaskGroup",
    "ParquetFormat",
    "SageMakerSettings",
    "__version__",
    "model_quality_dag",
    "model_quality_fleet_dag",
]

_HOMES = {
    "BatchTransformInput": "monitor",
    "CsvFormat": "monitor",
    "EndpointInput": "monitor",
    "JsonFormat": "monitor",
    "ModelQualityError": "exceptions",
    "ModelQualityMonitor": "monitor",
    "ModelQualityNotifier": "notifications.model_quality",
    "ModelQualityTaskGroup": "dag",
    "ParquetFormat": "monitor",
    "SageMakerSettings": "monitor",
    "model_quality_dag": "dag",
    "model_quality_fleet_dag": "dag",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home, once."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
