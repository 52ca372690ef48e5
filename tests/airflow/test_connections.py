"""From an Airflow connection to the storage of a run, in the task's own process and in those that it forks."""

from __future__ import annotations

import json
import os
import pickle
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.engines import spark
from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.hooks.model_quality import storage_for
from airflow_mq_provider.hooks.spark import spark_of
from airflow_mq_provider.s3_reads import will_not_fork
from airflow_mq_provider.storage import Storage
from tests.airflow_versions import AirflowNotFoundException, BaseHook
from tests.airflow_world import Churn, MakeDag, Runs
from tests.children import in_child


@pytest.fixture
def churn(s3_storage: Storage, s3_bucket: str) -> Churn:
    """The same endpoint, captured to S3."""
    return Churn(f"s3://{s3_bucket}/churn", s3_storage)


def test_a_run_reads_and_writes_over_the_connection_it_names(
    make_dag: MakeDag, runs: Runs, churn: Churn, aws_connection: str
) -> None:
    churn.hours(datetime(2026, 11, 10, 8, tzinfo=UTC), 1)
    dag = make_dag(
        f'model_quality_dag(monitor, schedule="0 * * * *", start_date=START, aws_conn_id="{aws_connection}")'
    )
    runs.trigger(dag, logical_date="2026-11-10T09:00:00Z")
    assert set(runs.finish(dag).values()) == {"success"}
    assert churn.report("2026/11/10/09")["merge"]["matched"] == 8
    link = runs.xcom(dag, "analyze_quality", key="_link_ModelQualityReportLink")
    assert link.startswith("https://console.aws.amazon.com/s3/object/")
    assert link.endswith("/2026/11/10/09/report.json")
    assert "region=eu-central-1" in link


def test_a_connection_that_is_named_and_missing_is_an_error(churn: Churn) -> None:
    """Not the machine's own account instead."""
    with pytest.raises(AirflowNotFoundException, match="nobodys"):
        storage_for([churn.root], aws_conn_id="nobodys")


@pytest.mark.parametrize("aws_conn_id", [None, "", "aws_default"])
def test_without_a_connection_boto3s_own_chain_decides(churn: Churn, aws_conn_id: str | None) -> None:
    storage, region = storage_for([churn.root], aws_conn_id=aws_conn_id)
    client = storage._client()
    assert client._request_signer._credentials.access_key == os.environ["AWS_ACCESS_KEY_ID"]
    assert region == os.environ["AWS_DEFAULT_REGION"]


def test_local_files_need_no_connection(tmp_path: Path) -> None:
    storage, region = storage_for([str(tmp_path)], aws_conn_id="nobodys")
    storage.write(str(tmp_path / "a"), b"x")
    assert (storage.read(str(tmp_path / "a")), region) == (b"x", None)


def test_a_forked_child_needs_no_word_with_airflow(
    churn: Churn, aws_connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local engine forks its workers; only the task's own process may ask Airflow for a connection."""
    churn.put("a", [b"seen"])
    storage, _ = storage_for([churn.root], aws_conn_id=aws_connection)
    monkeypatch.delenv("AIRFLOW_CONN_S3_OF_TESTS")
    monkeypatch.setattr(BaseHook, "get_connection", lambda *_: pytest.fail("asked for a connection"))
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if storage.read(f"{churn.root}/a") == b"seen\n" else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize(
    ("extra", "library"),
    [
        ({}, "obstore"),
        ({"verify": False}, "boto3"),
        ({"service_config": {"s3": {"expected_bucket_owner": "123456789012"}}}, "boto3"),
    ],
    ids=["plain", "no verification", "expected owner"],
)
def test_workers_read_over_the_connection_by_obstore_where_that_can_do_all_it_says(
    churn: Churn, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], library: str
) -> None:
    churn.put("a", [b"seen"])
    where = {"endpoint_url": s3_endpoint, "region_name": "eu-central-1"}
    connection = {"conn_type": "aws", "login": "testing", "password": "testing", "extra": where | extra}
    monkeypatch.setenv("AIRFLOW_CONN_PLAIN", json.dumps(connection))
    storage, _ = storage_for([churn.root], aws_conn_id="plain")

    def work() -> bytes:
        will_not_fork()
        by = storage.read(f"{churn.root}/a") + b" by "
        return by + (b"obstore" if "obstore" in sys.modules else b"boto3")

    assert in_child(work) == f"seen\n by {library}".encode()


def test_what_the_connection_and_the_task_say_of_clients_reaches_them(
    churn: Churn, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {
        "region_name": "eu-central-1",
        "verify": False,
        "config_kwargs": {"read_timeout": 7},
        "service_config": {"s3": {"endpoint_url": s3_endpoint, "expected_bucket_owner": "123456789012"}},
    }
    connection = {"conn_type": "aws", "login": "key-of-the-connection", "password": "secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_DETAILED", json.dumps(connection))
    storage, region = storage_for(
        [churn.root],
        aws_conn_id="detailed",
        region_name="eu-west-1",
        botocore_config={"connect_timeout": 3},
        kms_key_id="alias/reports",
    )
    client = storage._client()
    sent: dict[str, Any] = {}
    client.meta.events.register("provide-client-params.s3.PutObject", lambda params, **_: sent.update(params))
    storage.write(f"{churn.root}/a", b"x")
    assert (region, client.meta.region_name, client.meta.endpoint_url) == ("eu-west-1", "eu-west-1", s3_endpoint)
    assert (client.meta.config.connect_timeout, client.meta.config.retries["mode"]) == (3, "adaptive")
    assert (sent["ExpectedBucketOwner"], sent["SSEKMSKeyId"]) == ("123456789012", "alias/reports")
    assert client._request_signer._credentials.access_key == "key-of-the-connection"


def test_what_goes_to_another_machine_holds_what_the_connection_said(
    churn: Churn, aws_connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spark sends the storage to its executors, which know no Airflow and have no credentials of their own."""
    churn.put("a", [b"seen"])
    storage, _ = storage_for([churn.root], aws_conn_id=aws_connection)
    for name in ("AIRFLOW_CONN_S3_OF_TESTS", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    sent = pickle.loads(pickle.dumps(storage))
    assert sent.read(f"{churn.root}/a") == b"seen\n"


# --- Spark


def test_a_spark_connection_says_on_which_server_the_engine_works(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow.providers.apache.spark")
    said = {"conn_type": "spark_connect", "host": "spark.test", "port": 15002, "login": "ann", "password": "secret"}
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_OF_TESTS", json.dumps(said))
    with spark_of("spark_of_tests"):
        assert spark._server.get() == "sc://spark.test:15002/;user_id=ann;token=secret"
        assert spark._where() == "sc://spark.test:15002/"
    assert spark._server.get() is None


def test_without_a_spark_connection_the_engine_finds_a_session_by_itself() -> None:
    with spark_of(None):
        assert spark._server.get() is None


def test_a_spark_connection_that_is_missing_fails() -> None:
    pytest.importorskip("airflow.providers.apache.spark")
    with pytest.raises(Exception, match="nobodys"), spark_of("nobodys"):
        pytest.fail("there is no such connection")


def test_without_the_spark_provider_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "airflow.providers.apache.spark.hooks.spark_connect", None)
    with pytest.raises(ModelQualityError, match="pip install apache-airflow-providers-apache-spark"), spark_of("spark"):
        pytest.fail("there is no such provider")
