"""What of a run stands in CloudWatch (rule O3): on a whole CloudWatch on 127.0.0.1, and what it refuses."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider import run
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.publish import cloudwatch
from airflow_mq_provider.publish.cloudwatch import CloudWatch, points, publish
from airflow_mq_provider.quality.constraints import Verdict
from airflow_mq_provider.quality.states import Metric
from airflow_mq_provider.storage import Storage
from airflow_mq_provider.window import analysis_window
from tests.world import T, World, capture_line, label_line

JUDGED = Verdict("Completed", "all is well", "within_constraints")
METRICS = {"recall": Metric(0.5, 0.01), "auc": Metric(0.75)}
NAMES = {
    *("accuracy", "precision", "recall", "f0_5", "f1", "f2", "auc"),
    *("true_positive_rate", "true_negative_rate", "false_positive_rate", "false_negative_rate"),
    *(f"{name}_best_constant_classifier" for name in ("accuracy", "precision", "recall", "f0_5", "f1", "f2")),
}
"""What a real run of Model Monitor published."""


@pytest.fixture
def client(s3_endpoint: str) -> Callable[[], Any]:
    import boto3

    return lambda: boto3.session.Session().client("cloudwatch", endpoint_url=s3_endpoint)


@pytest.fixture
def namespace() -> str:
    return f"of-a-test-{uuid.uuid4().hex}"


def monitor(**settings: Any) -> ModelQualityMonitor:
    world = World(Storage(), "/nowhere", "local", {"name": "churn-quality", **settings})
    return world.monitor()


def window(at: datetime) -> Any:
    return analysis_window(at, None, None, interval_start=at - timedelta(hours=1), source="command_line")


def now() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def refuse() -> Any:
    raise AssertionError("CloudWatch was asked")


def put(client: Callable[[], Any], namespace: str | None, of: ModelQualityMonitor, metrics: Any = METRICS) -> Any:
    return publish(CloudWatch(client, namespace), of, window(now()), JUDGED, metrics)


def listed(client: Callable[[], Any], namespace: str) -> dict[str, dict[str, str]]:
    """The dimensions of each metric of a namespace, by name."""
    pages = client().get_paginator("list_metrics").paginate(Namespace=namespace)
    return {
        metric["MetricName"]: {one["Name"]: one["Value"] for one in metric["Dimensions"]}
        for page in pages
        for metric in page["Metrics"]
    }


def test_a_point_stands_at_the_scheduled_time_with_its_value(client: Callable[[], Any], namespace: str) -> None:
    said = put(client, namespace, monitor())
    assert said == {"status": "published", "reason": None, "namespace": namespace, "metrics": 2}
    found = client().get_metric_statistics(
        Namespace=namespace,
        MetricName="recall",
        Dimensions=[
            {"Name": "Endpoint", "Value": "churn"},
            {"Name": "MonitoringSchedule", "Value": "churn-quality"},
        ],
        StartTime=now() - timedelta(minutes=1),
        EndTime=now() + timedelta(minutes=1),
        Period=60,
        Statistics=["Average", "SampleCount"],
    )
    [point] = found["Datapoints"]
    assert (point["Timestamp"], point["Average"], point["SampleCount"]) == (now(), 0.5, 1.0)


def test_metrics_of_an_endpoint_stand_where_sagemakers_do(client: Callable[[], Any]) -> None:
    name = f"m-{uuid.uuid4().hex}"
    said = put(client, None, monitor(name=name))
    assert said["namespace"] == "aws/sagemaker/Endpoints/model-metrics"
    found = listed(client, said["namespace"])
    assert {one: found[one] for one in METRICS} == {
        one: {"Endpoint": "churn", "MonitoringSchedule": name} for one in METRICS
    }


def test_metrics_of_a_batch_transform_have_the_schedule_alone(client: Callable[[], Any]) -> None:
    source = {
        "data_captured_destination_uri": "/nowhere/capture",
        "dataset_format": {"csv": {"header": True}},
        "probability_attribute": "0",
    }
    said = put(client, None, monitor(name="of-batches", batch_transform_input=source))
    assert said["namespace"] == "aws/sagemaker/ModelMonitoring/model-metrics"
    assert listed(client, said["namespace"])["recall"] == {"MonitoringSchedule": "of-batches"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_a_value_that_is_none_makes_no_point(value: float) -> None:
    made = points(monitor(), window(T), {"r2": Metric(value), "mae": Metric(0.0), "rmse": Metric(-1.5)})
    assert [(one["MetricName"], one["Value"]) for one in made] == [("mae", 0.0), ("rmse", -1.5)]


def test_a_run_without_any_value_asks_nobody() -> None:
    said = put(refuse, None, monitor(), {"recall": Metric(math.nan)})
    assert (said["status"], said["reason"]) == ("skipped", "no metric has a value")


@pytest.mark.parametrize(
    ("age", "status"),
    [
        (timedelta(days=14), "skipped"),
        (timedelta(days=14) - timedelta(seconds=1), "published"),
        (-timedelta(hours=2) + timedelta(seconds=1), "published"),
        (-timedelta(hours=2), "skipped"),
    ],
)
def test_a_time_that_cloudwatch_does_not_take_is_skipped_and_said(
    client: Callable[[], Any], namespace: str, age: timedelta, status: str
) -> None:
    said = publish(CloudWatch(client, namespace), monitor(), window(now()), JUDGED, METRICS, now=now() + age)
    assert said["status"] == status
    assert (said["reason"] is None) == (status == "published")
    assert len(listed(client, namespace)) == said["metrics"]


@pytest.mark.parametrize("code", ["too_few_records", "low_coverage"])
def test_metrics_that_the_monitor_does_not_trust_are_not_published(code: str) -> None:
    verdict = Verdict("NotJudged", "3 records, and 100 are needed", code)
    said = publish(CloudWatch(refuse), monitor(), window(now()), verdict, METRICS)
    assert (said["status"], said["reason"]) == ("skipped", "the run was not judged: 3 records, and 100 are needed")


def test_a_run_without_constraints_is_published_as_sagemaker_does(client: Callable[[], Any], namespace: str) -> None:
    verdict = Verdict("NotJudged", "no constraints", "no_constraints")
    said = publish(CloudWatch(client, namespace), monitor(), window(now()), verdict, METRICS)
    assert said["status"] == "published"


# --- runs


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Four labelled captures of the hour that ends now, of which both classes were predicted right and wrong."""
    world = World(Storage(), str(tmp_path), "local", {"publish_cloudwatch_metrics": True})
    hour = now() - timedelta(hours=1)
    rows = [("a", "0.9", "1"), ("b", "0.1", "1"), ("c", "0.8", "0"), ("d", "0.2", "0")]
    time = hour + timedelta(minutes=30)
    world.captures(*(capture_line(id, score, time=time) for id, score, _ in rows), hour=hour)
    world.labels(*(label_line(id, label) for id, _, label in rows), hour=hour)
    return world


def test_a_run_publishes_what_a_real_run_of_model_monitor_did(
    world: World, client: Callable[[], Any], namespace: str
) -> None:
    report = run.run(world.monitor(), window(now()), cloudwatch=CloudWatch(client, namespace))
    assert report["cloudwatch"]["metrics"] == len(NAMES)
    assert set(listed(client, namespace)) == NAMES


def test_a_refusal_is_in_the_report_and_fails_nothing(world: World) -> None:
    """This account has no CloudWatch: nobody listens on the port."""
    import boto3

    client = boto3.session.Session().client(
        "cloudwatch", endpoint_url="http://127.0.0.1:1", config=cloudwatch.client_config()
    )
    report = run.run(world.monitor(), window(now()), cloudwatch=CloudWatch(lambda: client))
    assert report["status"] == "NotJudged"
    assert report["cloudwatch"]["status"] == "refused"
    assert "EndpointConnectionError" in report["cloudwatch"]["reason"]
    stored = json.loads(world.storage.read(f"{report['output']}/report.json"))
    assert stored["cloudwatch"] == report["cloudwatch"]


def test_a_monitor_that_does_not_publish_asks_nobody(world: World) -> None:
    world.settings["publish_cloudwatch_metrics"] = False
    assert "cloudwatch" not in run.run(world.monitor(), window(now()), cloudwatch=CloudWatch(refuse))


def test_without_a_client_boto3s_own_chain_is_asked(
    world: World, s3_endpoint: str, client: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", s3_endpoint)
    assert run.run(world.monitor(), window(now()))["cloudwatch"]["status"] == "published"
