"""Model Monitor in a real account: a definition and a schedule are made, one execution is followed, both are deleted.

Opt-in, and never in CI: it costs what one execution costs. It runs where both are set:

- ``MODEL_QUALITY_SYSTEM_CONNECTION``: an Airflow connection of type ``aws`` as JSON, with region and credentials
- ``MODEL_QUALITY_SYSTEM_MONITOR``: the path of a monitor's YAML, of an endpoint of that account that captures, with a role
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.window import format_time
from tests.airflow_world import FakeContext

CONNECTION = os.environ.get("MODEL_QUALITY_SYSTEM_CONNECTION")
MONITOR = os.environ.get("MODEL_QUALITY_SYSTEM_MONITOR")

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(2 * 3600),
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(
        not (CONNECTION and MONITOR), reason="no real account: MODEL_QUALITY_SYSTEM_CONNECTION and _MONITOR are not set"
    ),
]


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of the connection to the real account."""
    monkeypatch.setenv("AIRFLOW_CONN_REAL_ACCOUNT", str(CONNECTION))
    return "real_account"


@pytest.fixture
def monitor() -> ModelQualityMonitor:
    """The monitor under a name that nobody else has."""
    declared = ModelQualityMonitor.from_file(str(MONITOR))
    return declared.model_copy(update={"name": f"model-quality-test-{uuid.uuid4().hex[:8]}"})


def run(kind: Any, connection: str, **arguments: Any) -> dict[str, Any]:
    operator = kind(task_id="of_a_test", aws_conn_id=connection, deferrable=False, **arguments)
    return dict(operator.execute(FakeContext()))


@pytest.fixture
def scheduled(connection: str, monitor: ModelQualityMonitor) -> Iterator[dict[str, Any]]:
    """A schedule that runs once, now, on the last two hours; gone after the test, as is its definition."""
    from airflow_mq_provider.operators.sagemaker import (
        SageMakerDeleteModelQualityJobDefinitionOperator,
        SageMakerDeleteMonitoringScheduleOperator,
        SageMakerModelQualityJobDefinitionOperator,
        SageMakerMonitoringScheduleOperator,
    )

    try:
        run(SageMakerModelQualityJobDefinitionOperator, connection, monitor=monitor, job_definition_name=monitor.name)
        yield run(
            SageMakerMonitoringScheduleOperator,
            connection,
            monitor=monitor,
            job_definition_name=monitor.name,
            schedule="NOW",
            data_analysis_start="-PT2H",
            data_analysis_end="-PT0H",
        )
    finally:
        run(SageMakerDeleteMonitoringScheduleOperator, connection, schedule_name=monitor.name, waiter_delay=30)
        run(SageMakerDeleteModelQualityJobDefinitionOperator, connection, job_definition_name=monitor.name)


def test_a_real_execution_is_followed(scheduled: dict[str, Any], connection: str) -> None:
    from airflow_mq_provider.hooks.sagemaker import ModelQualityHook
    from airflow_mq_provider.sensors.sagemaker import SageMakerMonitoringExecutionSensor

    name = scheduled["schedule_name"]
    described = ModelQualityHook.over(aws_conn_id=connection).schedule(name)
    assert described is not None
    sensor = SageMakerMonitoringExecutionSensor(
        task_id="of_a_test",
        aws_conn_id=connection,
        schedule_name=name,
        scheduled_time=format_time(described["CreationTime"] - timedelta(minutes=1)),
        on_not_judged="continue",
        mode="poke",
    )
    context: Any = FakeContext()
    found = sensor.execute(context)
    assert found["status"] in ("Completed", "CompletedWithViolations", "Failed")
    assert found["reason_code"] in ("within_constraints", "violations", "no_data")
