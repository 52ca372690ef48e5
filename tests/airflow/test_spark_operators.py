"""The merge on clusters: DAG runs over HTTP against stand-ins, which run the package's own job each time."""

from __future__ import annotations

import json
import os
import shlex
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider import __version__
from airflow_mq_provider.dag import model_quality_dag
from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.operators.spark_on_aws import EmrServerlessGroundTruthMergeOperator
from airflow_mq_provider.storage import Storage, join
from tests.airflow_world import Churn, MakeDag, Runs
from tests.spark_world import ROLE, Clusters

NINE = datetime(2026, 11, 10, 9, tzinfo=UTC)
AT_NINE = {"logical_date": "2026-11-10T09:00:00Z"}
HOUR = "2026/11/10/09"
WELL = {"merge_ground_truth": "success", "analyze_quality": "success"}
DIFFERS = {"engine", "versions", "timings"}

ON_EMR = """
from airflow_mq_provider.operators.spark_on_aws import EmrServerlessGroundTruthMergeOperator

merge = partial(
    EmrServerlessGroundTruthMergeOperator,
    application_id="{application}",
    execution_role_arn="{role}",
    environment="s3://bucket/spark/environment.tar.gz",
    engine="reference",
    waiter_delay=0,
    {arguments}
)
"""
ON_GLUE = """
from airflow_mq_provider.operators.spark_on_aws import GlueGroundTruthMergeOperator

merge = partial(
    GlueGroundTruthMergeOperator,
    job_name="{application}",
    iam_role_arn="{role}",
    wheel="s3://bucket/spark/airflow_mq_provider-0.1.0-py3-none-any.whl",
    job_poll_interval=0,
    create_job_kwargs={{"GlueVersion": "5.0", "WorkerType": "G.1X", "NumberOfWorkers": 2}},
    engine="reference",
    waiter_delay=0,
    {arguments}
)
"""
DAG = """
model_quality_dag(
    monitor, schedule="0 * * * *", start_date=START, aws_conn_id="s3_of_tests", merge_operator=merge, engine="local",
    {of_dag}
)
"""


@pytest.fixture
def churn(churn_on_s3: Churn) -> Churn:
    """The endpoint, whose last hour has eight labelled predictions, three of them wrong."""
    churn_on_s3.hours(NINE - timedelta(hours=1), 1, wrong=3)
    churn_on_s3.constrained(accuracy=0.9, recall=0.1)
    return churn_on_s3


@pytest.fixture
def on_cluster(make_dag: MakeDag, clusters: Clusters, emr_application: str) -> Any:
    """Makes a DAG whose merge is done on a cluster."""

    def make(where: str, arguments: str = "", of_dag: str = "", **settings: Any) -> Any:
        source = {"emr": ON_EMR, "glue": ON_GLUE}[where]
        name = emr_application if where == "emr" else f"merge-{emr_application}"
        source = source.format(application=name, role=ROLE, arguments=arguments)
        return make_dag(source + DAG.format(of_dag=of_dag), **settings)

    return make


def run(runs: Runs, dag: Any, **conf: Any) -> dict[str, str]:
    runs.trigger(dag, **AT_NINE, **({"conf": conf} if conf else {}))
    return runs.finish(dag)


def reported(churn: Churn, output: str = "reports", folder: str = HOUR) -> dict[str, Any]:
    """What lies below the report's prefix, but for what may differ between two engines."""
    prefix = join(churn.root, output, "churn/churn-quality", folder)
    found: dict[str, Any] = {one.key: churn.storage.read(one.uri) for one in churn.storage.list(prefix)}
    report = json.loads(found.pop("report.json"))
    found["report.json"] = {name: value for name, value in report.items() if name not in DIFFERS}
    return found


def submitted(clusters: Clusters) -> list[dict[str, Any]]:
    return [given["jobDriver"]["sparkSubmit"] for given in clusters.asked("StartJobRun") if "jobDriver" in given]


BOTH = pytest.mark.parametrize("where", ["emr", "glue"])


@BOTH
@pytest.mark.parametrize("deferrable", [True, False])
def test_the_documents_are_those_of_a_merge_in_the_worker_byte_for_byte(
    where: str, deferrable: bool, on_cluster: Any, make_dag: MakeDag, runs: Runs, churn: Churn, clusters: Clusters
) -> None:
    here = make_dag(
        'model_quality_dag(monitor, schedule="0 * * * *", start_date=START, aws_conn_id="s3_of_tests", engine="local")'
    )
    assert run(runs, here) == WELL
    expected = reported(churn)
    churn.storage.delete([one.uri for one in churn.storage.list(join(churn.root, "reports"))])
    dag = on_cluster(where, f"deferrable={deferrable},")
    assert run(runs, dag) == WELL, clusters.said
    assert reported(churn) == expected
    assert len(clusters.started) == 1
    assert runs.xcom(dag, "analyze_quality")["engine"] == "reference"
    assert runs.xcom(dag, "merge_ground_truth") == runs.xcom(here, "merge_ground_truth") | {
        "engine": "reference",
        "merge_seconds": runs.xcom(dag, "merge_ground_truth")["merge_seconds"],
    }


def test_an_application_that_stands_still_is_started_and_runs_the_packed_environment(
    on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters
) -> None:
    dag = on_cluster("emr", 'spark_submit_parameters="--conf spark.executor.memory=8g",')
    assert run(runs, dag) == WELL
    assert [name for name, _ in clusters.requests if name in ("StartApplication", "StartJobRun")] == [
        "StartApplication",
        "StartJobRun",
    ]
    [submit] = submitted(clusters)
    assert submit["entryPoint"] == join(churn.root, "reports/_spark", __version__, "model_quality_merge.py")
    settings = dict(word.split("=", 1) for word in shlex.split(submit["sparkSubmitParameters"]) if "=" in word)
    assert settings == {
        "spark.archives": "s3://bucket/spark/environment.tar.gz#environment",
        "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": "./environment/bin/python",
        "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": "./environment/bin/python",
        "spark.executorEnv.PYSPARK_PYTHON": "./environment/bin/python",
        "spark.executor.memory": "8g",
    }


def test_glue_installs_the_wheel_with_the_versions_of_the_worker_and_no_airflow(
    on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters
) -> None:
    assert run(runs, on_cluster("glue")) == WELL
    [asked] = clusters.asked("StartJobRun")
    wheel, *others = asked["Arguments"]["--additional-python-modules"].split(",")
    assert wheel == "s3://bucket/spark/airflow_mq_provider-0.1.0-py3-none-any.whl"
    assert f"pydantic=={version('pydantic')}" in others
    assert asked["Arguments"]["--python-modules-installer-option"] == "--no-deps"


@BOTH
def test_no_secret_of_the_connection_is_on_the_command_line(
    where: str, on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters
) -> None:
    assert run(runs, on_cluster(where)) == WELL
    [command] = clusters.started
    assert not [word for word in command if "secret" in word or "of-the-connection" in word]


def test_the_window_is_that_of_the_run_and_its_params(
    on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters
) -> None:
    churn.hours(datetime(2026, 11, 2, tzinfo=UTC), 3)
    window = {"window_start": "2026-11-02T00:00:00Z", "window_end": "2026-11-02T03:00:00Z"}
    dag = on_cluster("emr")
    assert run(runs, dag, **window) == WELL
    judged = runs.xcom(dag, "analyze_quality")
    assert judged["window"] == {
        "start": "2026-11-02T00:00:00Z",
        "end": "2026-11-02T03:00:00Z",
        "scheduled_time": "2026-11-02T03:00:00Z",
        "source": "params",
    }
    assert judged["merge"]["matched"] == 24
    [command] = clusters.started
    assert command[command.index("--window-source") + 1] == "params"


def test_labels_count_as_of_the_time_that_the_run_is_given(
    on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters
) -> None:
    dag = on_cluster("glue")
    assert run(runs, dag, as_of="2026-11-12T00:00:00Z") == WELL
    assert runs.xcom(dag, "analyze_quality")["ground_truth_as_of"] == "2026-11-12T00:00:00Z"


@pytest.mark.parametrize(("where", "deferrable"), [("emr", True), ("emr", False), ("glue", True)])
def test_a_job_that_fails_fails_the_task_and_no_old_hand_over_is_analyzed(
    where: str, deferrable: bool, on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters
) -> None:
    dag = on_cluster(where, f"deferrable={deferrable},")
    assert run(runs, dag) == WELL
    churn.put(f"labels/{HOUR[:-2]}08/b.jsonl", [b"no label"] * 9)
    runs.clear(dag, "merge_ground_truth")
    runs.clear(dag, "analyze_quality")
    assert runs.finish(dag) == {"merge_ground_truth": "failed", "analyze_quality": "upstream_failed"}
    assert "RejectedLinesError" in clusters.said[-1]
    left = {one.key for one in churn.storage.list(join(churn.root, "reports/churn/churn-quality", HOUR))}
    assert "report.json" not in left
    assert "merged/merge.json" not in left


def test_what_stood_there_goes_before_the_job_is_asked_for(
    on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = on_cluster("emr", "deferrable=False,")
    assert run(runs, dag) == WELL
    monkeypatch.setattr(
        Clusters, "work", lambda self, entry, arguments: True
    )  # says that all went well, and does nothing
    runs.clear(dag, "merge_ground_truth")
    assert runs.finish(dag)["merge_ground_truth"] == "failed"
    assert "report.json" not in {
        one.key for one in churn.storage.list(join(churn.root, "reports/churn/churn-quality", HOUR))
    }


@BOTH
def test_a_job_that_an_earlier_try_left_running_is_stopped_before_another_starts(
    where: str, on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters
) -> None:
    dag = on_cluster(where, "deferrable=False, concurrent_run_limit=2," if where == "glue" else "deferrable=False,")
    task = dag.task_dict["merge_ground_truth"]
    task.wait_for_completion, clusters.hanging = False, True
    assert run(runs, dag)["merge_ground_truth"] == "failed"  # nothing is handed over
    clusters.hanging = False
    runs.clear(dag, "merge_ground_truth")
    runs.clear(dag, "analyze_quality")
    assert runs.finish(dag) == {"merge_ground_truth": "failed", "analyze_quality": "upstream_failed"}
    assert clusters.started == []
    stop = "CancelJobRun" if where == "emr" else "BatchStopJobRun"
    assert len(clusters.asked(stop)) == 1
    runs.clear(dag, "merge_ground_truth")
    runs.clear(dag, "analyze_quality")
    assert runs.finish(dag) == WELL
    assert len(clusters.asked(stop)) == 1


def test_a_job_on_another_window_goes_on(on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters) -> None:
    dag = on_cluster("emr", "deferrable=False,")
    task = dag.task_dict["merge_ground_truth"]
    task.wait_for_completion, clusters.hanging = False, True
    runs.trigger(dag, logical_date="2026-11-10T08:00:00Z", dag_run_id="eight")
    runs.finish(dag, "eight")
    task.wait_for_completion, clusters.hanging = True, False
    runs.trigger(dag, **AT_NINE, dag_run_id="nine")
    assert runs.finish(dag, "nine") == WELL
    assert clusters.asked("CancelJobRun") == []


@BOTH
def test_the_job_has_the_limit_of_the_task(
    where: str, on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters
) -> None:
    dag = on_cluster(where, of_dag="max_runtime=timedelta(hours=3),")
    assert run(runs, dag) == WELL
    [asked] = clusters.asked("StartJobRun")
    assert (asked.get("executionTimeoutMinutes") or asked.get("Timeout")) == 90


def test_a_monitor_on_local_disks_is_refused_without_retries(
    on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters, tmp_path: Path
) -> None:
    dag = on_cluster("emr", of_dag="", output_uri=str(tmp_path / "reports"))
    assert run(runs, dag)["merge_ground_truth"] == "failed"
    assert clusters.requests == []


def test_the_bucket_s_owner_is_asked_for_on_the_cluster_too(
    on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = json.loads(os.environ["AIRFLOW_CONN_S3_OF_TESTS"])
    connection["extra"]["service_config"] = {"s3": {"expected_bucket_owner": "123456789012"}}
    monkeypatch.setenv("AIRFLOW_CONN_S3_OF_TESTS", json.dumps(connection))
    assert run(runs, on_cluster("emr")) == WELL
    [command] = clusters.started
    assert command[command.index("--expected-bucket-owner") + 1] == "123456789012"


def test_the_analysis_alone_merges_in_the_worker_where_its_rows_are_gone(
    on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters
) -> None:
    """Any task may be cleared alone (rule O2)."""
    dag = on_cluster("emr")
    assert run(runs, dag) == WELL
    runs.clear(dag, "analyze_quality")
    assert runs.finish(dag) == WELL
    assert len(clusters.started) == 1
    assert runs.xcom(dag, "analyze_quality")["engine"] == "local"


def test_a_glue_job_that_is_there_already_is_left_as_it_is(
    on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters, s3_endpoint: str
) -> None:
    assert run(runs, on_cluster("glue")) == WELL
    dag = on_cluster("glue", "iam_role_name=None,")
    assert run(runs, dag) == WELL
    assert len(clusters.asked("CreateJob")) == 1
    assert clusters.asked("UpdateJob") == []


def test_a_merge_operator_and_sagemaker_s_compute_exclude_each_other() -> None:
    monitor = ModelQualityMonitor.model_validate(
        Churn("s3://bucket", Storage(), {"sagemaker": {"role_arn": ROLE}}).declared()
    )
    merge = partial(EmrServerlessGroundTruthMergeOperator, application_id="a", execution_role_arn=ROLE)
    with pytest.raises(ModelQualityError, match="each says who merges"):
        model_quality_dag(monitor, compute="sagemaker", merge_operator=merge)


FLEET = """
from airflow_mq_provider import model_quality_fleet_dag

model_quality_fleet_dag(
    "{folder}", dag_id=DAG.keywords["dag_id"], schedule="0 * * * *", start_date=START, default_args={{"retries": 0}},
    aws_conn_id="s3_of_tests", merge_operator=merge, engine="local",
)
"""


@BOTH
def test_each_monitor_of_a_fleet_is_merged_by_a_job_of_its_own_and_a_bad_one_by_none(
    where: str, emr_application: str, make_dag: MakeDag, runs: Runs, churn: Churn, clusters: Clusters
) -> None:
    names = [f"{short}-{emr_application}" for short in ("a", "b")]
    declared = [churn.declared(name=names[0]), churn.declared(name=names[1]), {"name": "bad"}]
    for file, fields in zip("abc", declared, strict=True):
        churn.storage.write(join(churn.root, "monitors", f"{file}.json"), json.dumps(fields).encode())
    application = emr_application if where == "emr" else f"merge-{emr_application}"
    merge = {"emr": ON_EMR, "glue": ON_GLUE}[where].format(application=application, role=ROLE, arguments="")
    dag = make_dag(merge + FLEET.format(folder=join(churn.root, "monitors")))
    runs.trigger(dag, **AT_NINE)
    runs.finish(dag)
    merged = [command[command.index("--expect-report-prefix") + 1] for command in clusters.started]
    assert sorted(prefix.split("/reports/")[1] for prefix in merged) == [f"churn/{name}/{HOUR}" for name in names]
    for name in names:
        [event] = runs.asset_events(f"x-model-quality://{name}")
        assert event["status"] == "CompletedWithViolations"
        report = churn.storage.read(join(churn.root, "reports/churn", name, HOUR, "report.json"))
        assert json.loads(report)["engine"] == "reference"


def test_a_sensor_s_time_is_that_of_the_job(on_cluster: Any, runs: Runs, churn: Churn, clusters: Clusters) -> None:
    dag = on_cluster("emr", of_dag='wait_for_ground_truth="PT1H",')
    assert run(runs, dag)["analyze_quality"] == "success"
    [command] = clusters.started
    assert command[command.index("--labels-as-of-source") + 1] == "sensor"


@BOTH
def test_a_task_waits_in_the_triggerer_and_stops_its_job_unless_told_otherwise(where: str, on_cluster: Any) -> None:
    task = on_cluster(where).task_dict["merge_ground_truth"]
    stops = task.cancel_on_kill if where == "emr" else task.stop_job_run_on_kill
    assert (task.deferrable, stops) == (True, True)


# --- spark-submit


SUBMITTED = """
from airflow_mq_provider.operators.spark_submit import SparkSubmitGroundTruthMergeOperator

merge = partial(
    SparkSubmitGroundTruthMergeOperator, engine="reference", archives="environment.tar.gz"
)
"""


def test_spark_submit_merges_what_the_worker_would(
    make_dag: MakeDag, runs: Runs, churn: Churn, spark_submit: Path, aws_connection: str
) -> None:
    here = make_dag(
        'model_quality_dag(monitor, schedule="0 * * * *", start_date=START, aws_conn_id="s3_of_tests", engine="local")'
    )
    assert run(runs, here) == WELL
    expected = reported(churn)
    churn.storage.delete([one.uri for one in churn.storage.list(join(churn.root, "reports"))])
    dag = make_dag(SUBMITTED + DAG.format(of_dag=""))
    assert run(runs, dag) == WELL
    assert reported(churn) == expected
    [command] = [json.loads(line) for line in spark_submit.read_text().splitlines()]
    assert command[command.index("--master") + 1] == "local[2]"
    assert command[command.index("--archives") + 1] == "environment.tar.gz"
    name = command[command.index("--name") + 1]
    assert name.startswith("churn-quality-merge-2026-11-10-09-")


def test_an_application_that_fails_fails_the_task(
    make_dag: MakeDag, runs: Runs, churn: Churn, spark_submit: Path, aws_connection: str
) -> None:
    churn.put(f"labels/{HOUR[:-2]}08/b.jsonl", [b"no label"] * 9)
    dag = make_dag(SUBMITTED + DAG.format(of_dag=""))
    assert run(runs, dag) == {"merge_ground_truth": "failed", "analyze_quality": "upstream_failed"}
