"""docs/iam.md allows each call that the code makes, and nothing that it does not make."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import botocore
import pytest

from airflow_mq_provider.operators.sagemaker import (
    CompareExecutionsOperator,
    SageMakerDeleteModelQualityJobDefinitionOperator,
    SageMakerDeleteMonitoringScheduleOperator,
    SageMakerModelQualityBaselineOperator,
    SageMakerModelQualityJobDefinitionOperator,
    SageMakerMonitoringScheduleOperator,
    SageMakerStartMonitoringScheduleOperator,
    SageMakerStopMonitoringScheduleOperator,
)
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import analysis_window, ground_truth_as_of
from tests.airflow_versions import TaskDeferred
from tests.airflow_world import Churn, FakeContext, MakeDag, Runs
from tests.sagemaker_world import ACCOUNT, REGION, ROLE, SageMaker, make_schedule
from tests.spark_world import ROLE as JOB_ROLE
from tests.spark_world import Clusters

PAGE = (Path(__file__).parents[2] / "docs/iam.md").read_text()
NAME = "churn-quality"
NINE = datetime(2026, 11, 10, 9, tzinfo=UTC)

ACTIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "DeleteObjects": "s3:DeleteObject",
}
KINDS = {
    "JobDefinitionName": "model-quality-job-definition",
    "MonitoringScheduleName": "monitoring-schedule",
    "ProcessingJobName": "processing-job",
}
Call = tuple[str, str]


def needs(service: str, operation: str, given: dict[str, Any]) -> Iterator[Call]:
    """The permissions that one call needs, each on its resource."""
    if service == "s3":
        bucket = f"arn:aws:s3:::{given['Bucket']}"
        action = ACTIONS.get(operation, f"s3:{operation}")
        if action == "s3:ListBucket":
            yield action, bucket
            return
        for key in [one["Key"] for one in given.get("Delete", {}).get("Objects", [])] or [given["Key"]]:
            yield action, f"{bucket}/{key}"
        return
    if service == "cloudwatch":
        yield f"cloudwatch:{operation}", f"* in {given['Namespace']}"
        return
    if service == "emr-serverless":
        run = f"/jobruns/{given['jobRunId']}" if "jobRunId" in given else ""
        application = f"arn:aws:emr-serverless:{REGION}:{ACCOUNT}:/applications/{given['applicationId']}"
        yield f"emr-serverless:{operation}", application + run
        if "executionRoleArn" in given:
            yield "iam:PassRole", given["executionRoleArn"]
        return
    if service == "glue":
        yield f"glue:{operation}", f"arn:aws:glue:{REGION}:{ACCOUNT}:job/{given.get('JobName') or given['Name']}"
        if "Role" in given:
            yield "iam:PassRole", given["Role"]
        return
    named = [(KINDS[key], name) for key, name in given.items() if key in KINDS and not operation.startswith("List")]
    resource = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{named[0][0]}/{named[0][1]}" if named else "*"
    yield f"sagemaker:{operation}", resource
    if given.get("Tags"):
        yield "sagemaker:AddTags", resource
    if "RoleArn" in given:
        yield "iam:PassRole", given["RoleArn"]


def allowed(heading: str, bucket: str, application: str = "") -> list[Call]:
    """The pairs of action and resource that the policy under a heading allows; a namespace stands behind the latter."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    policy = re.search(r"^```json\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    assert policy is not None
    text = policy[1].replace("BUCKET", bucket).replace("REGION", REGION).replace("ACCOUNT", ACCOUNT)
    text = text.replace("APPLICATION", application)
    pairs = []
    for statement in json.loads(text)["Statement"]:
        actions, resources = statement["Action"], statement["Resource"]
        actions = [actions] if isinstance(actions, str) else actions
        resources = [resources] if isinstance(resources, str) else resources
        if condition := statement.get("Condition"):
            resources = [f"{on} in {condition['StringEquals']['cloudwatch:namespace']}" for on in resources]
        pairs += [(action, resource) for action in actions for resource in resources]
    return pairs


@pytest.fixture
def calls() -> Iterator[set[Call]]:
    """What every client of this process asks from now on, as the permissions that it needs."""
    seen: set[Call] = set()

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        seen.update(needs(model.service_model.service_name, model.name, params))

    def watch(session: Any) -> None:
        session.register("provide-client-params.*.*", note)

    botocore.register_initializer(watch)
    yield seen
    botocore.unregister_initializer(watch)


@pytest.fixture
def churn_on_s3(s3_storage: Storage, s3_bucket: str) -> Churn:
    """The endpoint of docs/iam.md, at the root of its bucket; its monitor has tags."""
    churn = Churn(f"s3://{s3_bucket}", s3_storage, {"sagemaker": {"role_arn": ROLE, "tags": {"team": "churn"}}})
    constraints = {"accuracy": {"threshold": 0.9, "comparison_operator": "LessThanThreshold"}}
    document = {"version": 0.0, "binary_classification_constraints": constraints}
    churn.storage.write(join(churn.root, "baseline/constraints.json"), json.dumps(document).encode())
    churn.settings["constraints_uri"] = join(churn.root, "baseline/constraints.json")
    churn.hours(NINE - timedelta(hours=1), 1)
    return churn


@pytest.fixture
def churn(churn_on_s3: Churn) -> Churn:
    return churn_on_s3


def assert_least(heading: str, calls: set[Call], bucket: str, application: str = "") -> None:
    pairs = allowed(heading, bucket, application)
    assert calls, "nothing was recorded"
    missing = {
        call for call in calls if not any(call[0] == action and fnmatchcase(call[1], on) for action, on in pairs)
    }
    assert missing == set()
    unused = [
        (action, on) for action, on in pairs if not any(one[0] == action and fnmatchcase(one[1], on) for one in calls)
    ]
    assert unused == []


def test_what_airflow_needs_to_run_it(
    make_dag: MakeDag, runs: Runs, churn: Churn, calls: set[Call], s3_bucket: str, aws_connection: str
) -> None:
    dag = make_dag(
        'model_quality_dag(monitor, schedule="0 * * * *", start_date=START, aws_conn_id="s3_of_tests", '
        'engine="reference", wait_for_captures="PT1H", wait_for_ground_truth="PT1H")'
    )
    for name in ("first", "again"):
        runs.trigger(dag, logical_date=f"2026-11-10T09:0{name == 'again':d}:00Z", dag_run_id=name)
        assert set(runs.finish(dag, name).values()) == {"success"}
    assert_least("Airflow runs it", calls, s3_bucket)


def test_what_publishing_needs_beside_the_run(
    make_dag: MakeDag, runs: Runs, churn: Churn, calls: set[Call], s3_bucket: str, aws_connection: str
) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    churn.hours(hour - timedelta(hours=1), 1)
    calls.clear()
    dag = make_dag(
        'model_quality_dag(monitor, schedule="0 * * * *", start_date=START, aws_conn_id="s3_of_tests", engine="reference")',
        publish_cloudwatch_metrics=True,
    )
    runs.trigger(dag, logical_date=hour.isoformat())
    runs.finish(dag)
    assert runs.xcom(dag, "analyze_quality")["cloudwatch"]["status"] == "published"
    of_cloudwatch = {call for call in calls if call[0].startswith("cloudwatch:")}
    assert_least("Publishing to CloudWatch", of_cloudwatch, s3_bucket)
    assert_least("Airflow runs it", calls - of_cloudwatch, s3_bucket)


def test_what_keeping_a_schedule_needs(
    sagemaker: SageMaker, churn: Churn, calls: set[Call], s3_bucket: str, aws_connection: str
) -> None:
    def run(kind: Any, **arguments: Any) -> dict[str, Any]:
        operator = kind(task_id="of_a_test", aws_conn_id=aws_connection, deferrable=False, waiter_delay=0, **arguments)
        return dict(operator.execute(FakeContext()))

    name: dict[str, Any] = {}
    for settings in ({}, {"endpoint_input": {"start_time_offset": "-PT2H", "end_time_offset": "-PT0H"}}):
        declared = churn.declared(**settings)
        name = run(SageMakerModelQualityJobDefinitionOperator, monitor=declared, if_exists="replace")
        run(
            SageMakerMonitoringScheduleOperator,
            monitor=declared,
            schedule="hourly",
            job_definition_name=name["job_definition_name"],
        )
    run(SageMakerStopMonitoringScheduleOperator, schedule_name=NAME)
    run(SageMakerStartMonitoringScheduleOperator, schedule_name=NAME)
    run(SageMakerDeleteMonitoringScheduleOperator, schedule_name=NAME)
    run(SageMakerDeleteModelQualityJobDefinitionOperator, job_definition_name=name["job_definition_name"])
    assert sagemaker.definitions == {}
    assert_least("Keeping a schedule on SageMaker", calls, s3_bucket)


def test_what_following_executions_needs(
    make_dag: MakeDag,
    runs: Runs,
    sagemaker: SageMaker,
    churn: Churn,
    calls: set[Call],
    s3_bucket: str,
    aws_connection: str,
) -> None:
    make_schedule(sagemaker, churn.declared())
    sagemaker.pass_time(NINE + timedelta(hours=1, minutes=30))
    calls.clear()  # what the stand-in's own engine read and wrote
    dag = make_dag(
        f"""
from airflow_mq_provider.sensors.sagemaker import SageMakerMonitoringExecutionSensor, SageMakerMonitoringScheduleSensor

FOLLOWED = dict(schedule_name="{NAME}", aws_conn_id="s3_of_tests")
with DAG(schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"), start_date=START):
    SageMakerMonitoringScheduleSensor(task_id="schedule", **FOLLOWED)
    SageMakerMonitoringExecutionSensor(task_id="execution", on_not_judged="continue", **FOLLOWED)
"""
    )
    for hour in (9, 10):
        runs.trigger(dag, logical_date=f"2026-11-10T{hour:02}:00:00Z", dag_run_id=f"{hour}")
        assert set(runs.finish(dag, f"{hour}").values()) == {"success"}
    theirs = runs.xcom(dag, "execution", "9")["report_prefix"]
    compare = CompareExecutionsOperator(
        task_id="of_a_test", aws_conn_id=aws_connection, sagemaker=theirs, airflow=theirs
    )
    assert compare.execute(FakeContext())["verdict"] == "same"
    assert_least("Following its executions", calls, s3_bucket)


def test_what_a_baseline_needs(
    sagemaker: SageMaker, churn: Churn, calls: set[Call], s3_bucket: str, aws_connection: str
) -> None:
    rows = ["probability,label", *(f"0.{row + 1},{int(row > 3)}" for row in range(8))]
    churn.put("baseline/labelled.csv", [row.encode() for row in rows])
    sagemaker.analyzing = timedelta(seconds=30)
    # the stand-in's own work is not the package's
    sagemaker.storage = Storage(watched_by_nobody(sagemaker.storage))

    def operator(**arguments: Any) -> SageMakerModelQualityBaselineOperator:
        return SageMakerModelQualityBaselineOperator(
            task_id="of_a_test",
            aws_conn_id=aws_connection,
            monitor=churn.declared(),
            dataset_uri=join(churn.root, "baseline/labelled.csv"),
            output_uri=join(churn.root, "baseline"),
            probability_attribute="probability",
            waiter_delay=0,
            **arguments,
        )

    cancelled = operator()
    with pytest.raises(TaskDeferred):
        cancelled.execute(FakeContext())
    cancelled.on_kill()
    sagemaker.pass_time(timedelta(minutes=1))
    operator(deferrable=False).execute(FakeContext(try_number=2))
    assert_least("A baseline on SageMaker", calls, s3_bucket)


def test_what_a_run_on_sagemakers_compute_needs(
    make_dag: MakeDag,
    runs: Runs,
    sagemaker: SageMaker,
    churn: Churn,
    calls: set[Call],
    s3_bucket: str,
    aws_connection: str,
) -> None:
    sagemaker.merging = sagemaker.analyzing = timedelta(seconds=30)
    # the stand-in's own work is not the package's
    sagemaker.storage = Storage(watched_by_nobody(sagemaker.storage))
    dag: Any = None
    for merge_on in ("sagemaker", "airflow"):
        dag = make_dag(
            'model_quality_dag(monitor, schedule="0 * * * *", start_date=START, aws_conn_id="s3_of_tests", '
            f'engine="reference", compute="sagemaker", merge_on="{merge_on}", deferrable=False)'
        )
        for task in dag.tasks:
            task.waiter_delay = 0
        runs.trigger(dag, logical_date="2026-11-10T09:00:00Z")
        assert set(runs.finish(dag).values()) == {"success"}
    for kind in ("merge", "analysis"):
        [name, *_] = [name for name in sagemaker.jobs if f"-{kind}-" in name]
        sagemaker.jobs[name].ended, sagemaker.jobs[name].ends = None, sagemaker.now + timedelta(hours=1)
        task = dag.task_dict["analyze_quality"]
        task._job = name
        task.on_kill()
    assert_least("A run on SageMaker's compute", calls, s3_bucket)


@pytest.mark.parametrize("where", ["emr", "glue"])
def test_what_a_merge_on_a_cluster_needs_beside_the_run(
    where: str,
    make_dag: MakeDag,
    runs: Runs,
    clusters: Clusters,
    emr_application: str,
    churn: Churn,
    calls: set[Call],
    s3_bucket: str,
    aws_connection: str,
) -> None:
    on_emr = (
        f'EmrServerlessGroundTruthMergeOperator, application_id="{emr_application}", execution_role_arn="{JOB_ROLE}"'
    )
    on_glue = (
        f'GlueGroundTruthMergeOperator, job_name="model-quality-merge", iam_role_arn="{JOB_ROLE}", job_poll_interval=0'
    )
    dag = make_dag(
        f"""
from airflow_mq_provider.operators.spark_on_aws import (
    EmrServerlessGroundTruthMergeOperator, GlueGroundTruthMergeOperator
)

merge = partial({on_emr if where == "emr" else on_glue}, engine="reference", waiter_delay=0, deferrable=False)
model_quality_dag(
    monitor, schedule="0 * * * *", start_date=START, aws_conn_id="s3_of_tests", engine="reference", merge_operator=merge
)
"""
    )
    clusters.hanging, dag.task_dict["merge_ground_truth"].wait_for_completion = True, False
    runs.trigger(dag, logical_date="2026-11-10T09:00:00Z")
    runs.finish(dag)  # a job that is left running
    clusters.hanging, dag.task_dict["merge_ground_truth"].wait_for_completion = False, True
    for after in ("failed", "success"):  # it is stopped, then another starts
        runs.clear(dag, "merge_ground_truth", "analyze_quality")
        assert runs.finish(dag)["merge_ground_truth"] == after
    runs.clear(dag, "analyze_quality")  # which merges in the worker, since the rows are gone
    assert set(runs.finish(dag).values()) == {"success"}
    of_s3 = {call for call in calls if call[0].startswith("s3:")}
    heading = {"emr": "A merge on EMR Serverless", "glue": "A merge on Glue"}[where]
    assert_least(heading, calls - of_s3, s3_bucket, emr_application)
    assert_least("Airflow runs it", of_s3, s3_bucket)


def test_what_the_role_of_a_merge_on_a_cluster_needs(
    churn: Churn, calls: set[Call], s3_bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_mq_provider import run, spark_job
    from airflow_mq_provider.monitor import ModelQualityMonitor

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monitor = ModelQualityMonitor.model_validate(churn.declared())
    window = analysis_window(NINE, "-PT1H", "-PT0H", interval_start=None, source="data_interval")
    nobodys = Storage(watched_by_nobody(churn.storage))
    run.run(monitor, window, storage=nobodys, engine="reference")
    as_of = ground_truth_as_of("schedule", window)
    spark_job.main(spark_job.command_of(spark_job.Job(monitor, window, as_of, engine="reference")))
    assert_least("Airflow runs it", calls, s3_bucket)


def watched_by_nobody(storage: Storage) -> Any:
    """What makes the clients of a storage that was made before the watch began."""
    client = storage._client()
    return lambda: client
