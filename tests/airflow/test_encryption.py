"""The key of a monitor is that of every object which its runs write, in whatever way they run (rule O5)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore
import pytest

from airflow_mq_provider.operators.sagemaker import SageMakerModelQualityBaselineOperator
from airflow_mq_provider.storage import Storage, join
from tests.airflow.test_iam_policies import watched_by_nobody
from tests.airflow_world import Churn, FakeContext, MakeDag, Runs
from tests.sagemaker_world import ROLE, SageMaker

KEY = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
AT_NINE = {"logical_date": "2026-11-10T09:00:00Z"}
DAG = 'model_quality_dag(monitor, schedule="0 * * * *", start_date=START, aws_conn_id="s3_of_tests", {arguments})'
ADDS_A_FILE = b"""
def postprocess_handler():
    with open("summary.txt", "w") as file:
        file.write("eight rows")
"""


@pytest.fixture
def churn(churn_on_s3: Churn) -> Churn:
    """An endpoint on S3, whose monitor has a key and a script that adds a file; one of its captures is broken."""
    churn = churn_on_s3
    churn.hours(datetime(2026, 11, 10, 8, tzinfo=UTC), 1)
    churn.put("capture/churn/AllTraffic/2026/11/10/08/broken.jsonl", [b"broken"])
    churn.storage.write(join(churn.root, "post.py"), ADDS_A_FILE)
    churn.constrained(accuracy=0.5)
    churn.settings["max_rejected_ratio"] = 1.0
    churn.settings["sagemaker"] = {
        "role_arn": ROLE,
        "output_kms_key_id": KEY,
        "post_analytics_processor_source_uri": join(churn.root, "post.py"),
    }
    return churn


@pytest.fixture
def written(churn: Churn) -> Iterator[dict[str, str | None]]:
    """By its key each object that this process writes from now on, and the KMS key that it asks for."""
    seen: dict[str, str | None] = {}

    def note(params: dict[str, Any], **_: Any) -> None:
        seen[params["Key"].rpartition("reports/")[2]] = params.get("SSEKMSKeyId")

    def watch(session: Any) -> None:
        for operation in ("PutObject", "CreateMultipartUpload", "CopyObject"):
            session.register(f"provide-client-params.s3.{operation}", note)

    botocore.register_initializer(watch)
    yield seen
    botocore.unregister_initializer(watch)


def keys_under(churn: Churn, client: Any, folder: str) -> dict[str, str | None]:
    """The objects that lie there, and the key with which each is encrypted: also those that a child process wrote."""
    root = join(churn.root, folder)
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    return {
        one.key: client.head_object(Bucket=bucket, Key=f"{prefix}/{one.key}").get("SSEKMSKeyId")
        for one in churn.storage.list(root)
    }


@pytest.mark.parametrize("keep_merged", ["jsonl", "parquet"])
@pytest.mark.parametrize("engine", ['engine="reference"', 'engine="local", workers=2'], ids=["reference", "local"])
def test_everything_that_a_run_on_airflow_writes_has_the_key(
    engine: str,
    keep_merged: str,
    make_dag: MakeDag,
    runs: Runs,
    churn: Churn,
    written: dict[str, str | None],
    s3_client: Any,
    aws_connection: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if keep_merged == "parquet":
        pytest.importorskip("pyarrow.parquet")
    monkeypatch.setenv("AIRFLOW__MODEL_QUALITY__ALLOW_SCRIPTS", "True")
    dag = make_dag(DAG.format(arguments=engine), keep_merged=keep_merged)
    runs.trigger(dag, **AT_NINE)
    assert set(runs.finish(dag).values()) == {"success"}
    left = keys_under(churn, s3_client, "reports")
    assert {key.rpartition("/")[2] for key in left} >= {
        "report.html", "report.json", "statistics.json", "constraint_violations.json", "rejected.jsonl", "summary.txt",
    }  # fmt: skip
    assert any("/merged/" in key for key in left)
    assert set(left.values()) == {KEY}
    assert any(key.endswith("merge.json") for key in written)
    assert set(written.values()) == {KEY}


@pytest.mark.parametrize("merge_on", ["sagemaker", "airflow"])
def test_everything_that_a_run_on_sagemakers_compute_writes_has_the_key_and_its_jobs_are_told_it(
    merge_on: str,
    make_dag: MakeDag,
    runs: Runs,
    churn: Churn,
    written: dict[str, str | None],
    sagemaker: SageMaker,
    aws_connection: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__MODEL_QUALITY__ALLOW_SCRIPTS", "True")
    # SageMaker's merger makes no use of a line that is broken
    churn.put("capture/churn/AllTraffic/2026/11/10/08/broken.jsonl", [])
    sagemaker.merging = sagemaker.analyzing = timedelta(seconds=30)
    # what its jobs write is theirs
    sagemaker.storage = Storage(watched_by_nobody(sagemaker.storage))
    dag = make_dag(DAG.format(arguments=f'engine="reference", compute="sagemaker", merge_on="{merge_on}"'))
    for task in dag.tasks:
        task.waiter_delay = 0
    runs.trigger(dag, **AT_NINE)
    assert set(runs.finish(dag).values()) == {"success"}
    assert {key.rpartition("/")[2] for key in written} >= {"report.json", "merge.json", "analysis-job.json"}
    assert any(key.endswith("merged/flat/rows.csv") for key in written) == (merge_on == "airflow")
    assert set(written.values()) == {KEY}
    told = [given["ProcessingOutputConfig"] for name, given in sagemaker.calls if name == "CreateProcessingJob"]
    assert {one["KmsKeyId"] for one in told} == {KEY}


def test_a_baseline_that_is_made_here_has_the_key(
    churn: Churn, written: dict[str, str | None], aws_connection: str
) -> None:
    rows = ["probability,label", *(f"0.{row + 1},{int(row > 3)}" for row in range(8))]
    churn.storage.write(join(churn.root, "labelled.csv"), "\n".join(rows).encode())
    operator = SageMakerModelQualityBaselineOperator(
        task_id="of_a_test",
        aws_conn_id=aws_connection,
        monitor=churn.declared(),
        dataset_uri=join(churn.root, "labelled.csv"),
        output_uri=join(churn.root, "reports"),
        probability_attribute="probability",
        compute="local",
    )
    operator.execute(FakeContext())
    assert written == {"statistics.json": KEY, "constraints.json": KEY}
