"""What the tests of SageMaker's side share: its own service model, and monitors of real definitions."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.window import Window

ROLE = "arn:aws:iam::123456789012:role/monitor"


@cache
def service_model() -> Any:
    """SageMaker as botocore describes it."""
    import botocore.session

    return botocore.session.get_session().get_service_model("sagemaker")


@pytest.fixture
def accepted() -> Callable[[str, dict[str, Any]], None]:
    """Asserts that botocore would send a request of an operation: members, types, lengths."""
    from botocore.validate import ParamValidator

    def check(operation: str, request: dict[str, Any]) -> None:
        report = ParamValidator().validate(request, service_model().operation_model(operation).input_shape)
        assert not report.has_errors(), report.generate_report()

    return check


@pytest.fixture(scope="session")
def real() -> Path:
    folder = Path(__file__).parents[3] / "shared" / "real"
    if not folder.is_dir():
        pytest.skip("the public documents of real runs are not beside this repository")
    return folder


@pytest.fixture(scope="session")
def real_jobs(real: Path) -> dict[str, Any]:
    """The three jobs of an hourly regression schedule, as a public README prints them."""
    jobs: dict[str, Any] = json.loads((real / "mlops-mkv-readme" / "processing_job_requests.json").read_text())
    return jobs


def monitor(**changes: Any) -> ModelQualityMonitor:
    """The monitor of that schedule."""
    endpoint = {
        "endpoint_name": "abalone-prod-endpoint",
        "data_captured_destination_uri": "s3://example-logs-bucket/endpoint-data-capture",
        "inference_attribute": "0",
        **changes.pop("endpoint", {}),
    }
    settings = {"role_arn": ROLE, "max_runtime_in_seconds": 1800, **changes.pop("sagemaker", {})}
    fields: dict[str, Any] = {
        "name": "abalone-monitoring-schedule-2021-05-06-2240",
        "problem_type": "Regression",
        "endpoint_input": endpoint,
        "ground_truth_uri": "s3://example-logs-bucket/ground-truth-data/2021-05-06-22-33-42",
        "output_uri": "s3://example-logs-bucket/baselining/results",
        "constraints_uri": "s3://example-logs-bucket/baselining/results/constraints.json",
        "sagemaker": settings,
        **changes,
    }
    if "batch_transform_input" in fields:
        del fields["endpoint_input"]
    return ModelQualityMonitor(**fields)


def window(start: int = 22, end: int = 23, *, day: int = 6) -> Window:
    """The window of a run of that schedule, from hour to hour of a day."""
    last = datetime(2021, 5, day, end, tzinfo=UTC)
    return Window(start=datetime(2021, 5, 6, start, tzinfo=UTC), end=last, scheduled_time=last, source="data_interval")
