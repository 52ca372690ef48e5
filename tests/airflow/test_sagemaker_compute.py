"""The run on SageMaker's compute: DAG runs over HTTP, against SageMaker's stand-in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_mq_provider import run_on_sagemaker
from airflow_mq_provider.dag import model_quality_dag
from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.operators.stepwise import StepwiseOperator
from airflow_mq_provider.storage import join
from airflow_mq_provider.triggers.sagemaker import SageMakerWaiterTrigger
from tests.airflow_world import Churn, MakeDag, Runs
from tests.sagemaker_containers import NO_DATA
from tests.sagemaker_world import SageMaker

NINE = datetime(2026, 11, 10, 9, tzinfo=UTC)
EIGHT = NINE - timedelta(hours=1)
AT_NINE = {"logical_date": "2026-11-10T09:00:00Z"}
HOUR = "2026/11/10/09"
TASKS = ["merge_ground_truth", "analyze_quality"]
MERGE, ANALYSIS = "churn-quality-merge-202611100900-", "churn-quality-analysis-202611100900-"


@pytest.fixture
def churn(churn_on_s3: Churn, sagemaker: SageMaker) -> Churn:
    """The endpoint, whose last hour has eight labelled predictions, three of them wrong; jobs take half a minute."""
    sagemaker.merging = sagemaker.analyzing = timedelta(seconds=30)
    churn_on_s3.hours(EIGHT, 1, wrong=3)
    churn_on_s3.constrained(accuracy=0.9, recall=0.1)
    return churn_on_s3


@pytest.fixture
def on_sagemaker(make_dag: MakeDag, aws_connection: str) -> Any:
    """Makes a DAG whose tasks poll without sleeping."""

    def make(arguments: str = "", **settings: Any) -> Any:
        dag = make_dag(
            'model_quality_dag(monitor, schedule="0 * * * *", start_date=START, aws_conn_id="s3_of_tests", '
            f'engine="reference", compute="sagemaker", {arguments})',
            **settings,
        )
        for task in dag.tasks:
            task.waiter_delay = 0
        return dag

    return make


def run(runs: Runs, dag: Any) -> dict[str, str]:
    runs.trigger(dag, **AT_NINE)
    return runs.finish(dag)


def judged_on_airflow(make_dag: MakeDag, runs: Runs, churn: Churn) -> Any:
    """What the analysis of the same window returns where no job of SageMaker's takes part."""
    here = make_dag(
        'model_quality_dag(monitor, schedule="0 * * * *", start_date=START, aws_conn_id="s3_of_tests", engine="reference")',
        output_uri=join(churn.root, "of-airflow"),
    )
    runs.trigger(here, **AT_NINE)
    runs.finish(here)
    return runs.xcom(here, "analyze_quality")


def again(runs: Runs, dag: Any, *tasks: str) -> dict[str, str]:
    """Clear tasks of the only run, and execute what is then due."""
    for task in tasks:
        runs.clear(dag, task)
    return runs.finish(dag)


def created(sagemaker: SageMaker) -> list[str]:
    return [given["ProcessingJobName"] for name, given in sagemaker.calls if name == "CreateProcessingJob"]


def under(churn: Churn, folder: str = HOUR) -> set[str]:
    return {one.key for one in churn.storage.list(join(churn.root, "reports/churn/churn-quality", folder))}


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("merge_on", ["auto", "airflow"])
def test_a_run_on_sagemaker_has_the_verdict_of_a_run_on_airflow(
    merge_on: str,
    deferrable: bool,
    on_sagemaker: Any,
    make_dag: MakeDag,
    runs: Runs,
    churn: Churn,
    sagemaker: SageMaker,
) -> None:
    dag = on_sagemaker(f"merge_on={merge_on!r}, deferrable={deferrable}")
    assert run(runs, dag) == {"merge_ground_truth": "success", "analyze_quality": "success"}
    theirs = runs.xcom(dag, "analyze_quality")
    ours = judged_on_airflow(make_dag, runs, churn)
    for key in ("status", "reason", "reason_code", "window", "metrics", "violations", "not_judged", "run_type"):
        assert theirs[key] == ours[key], key
    assert theirs.keys() - ours.keys() == {"jobs"}
    assert theirs["engine"] == "sagemaker"
    assert (theirs["status"], theirs["merge"]["matched"]) == ("CompletedWithViolations", 8)
    kinds = [MERGE, ANALYSIS] if merge_on == "auto" else [ANALYSIS]
    assert [name[:-8] for name in created(sagemaker)] == kinds


def test_the_report_says_what_sagemakers_merger_does_not_count(on_sagemaker: Any, runs: Runs, churn: Churn) -> None:
    run(runs, on_sagemaker())
    report = churn.report(HOUR)
    assert set(report["capture"].values()) == {None}
    counted = {key: value for key, value in report["merge"].items() if value is not None}
    assert counted == {"matched": 8}
    assert (report["ground_truth_as_of"], report["ground_truth"]["as_of_source"]) == ("2026-11-10T09:00:00Z", "merger")
    assert report["jobs"]["exit_message"] == "CompletedWithViolations: Job completed successfully with 1 violations."
    assert report["timings"]["analyze_seconds"] == 30


def test_a_batch_transform_is_merged_here_and_judged_by_sagemakers_analyzer(
    on_sagemaker: Any, make_dag: MakeDag, runs: Runs, churn: Churn, sagemaker: SageMaker
) -> None:
    churn.transforms(EIGHT, wrong=3)
    dag = on_sagemaker()
    assert set(run(runs, dag).values()) == {"success"}
    theirs = runs.xcom(dag, "analyze_quality")
    assert [name[:-8] for name in created(sagemaker)] == [ANALYSIS]
    assert (theirs["status"], theirs["merge"]["matched"]) == ("CompletedWithViolations", 8)
    assert theirs["output"] == join(churn.root, "reports/churn-quality", HOUR)
    left = {one.key for one in churn.storage.list(theirs["output"])}
    assert {"report.json", "statistics.json", "constraint_violations.json", "rejected.jsonl"} <= left
    ours = judged_on_airflow(make_dag, runs, churn)
    for key in ("status", "reason", "capture", "merge", "metrics", "violations"):
        assert theirs[key] == ours[key], key


def test_a_monitor_that_publishes_does_so_from_here_too(on_sagemaker: Any, runs: Runs, churn: Churn) -> None:
    """SageMaker's jobs publish only where a schedule runs them; whether the time is too old for CloudWatch is the clock's."""
    run(runs, on_sagemaker(publish_cloudwatch_metrics=True))
    told = churn.report(HOUR)["cloudwatch"]
    assert told["namespace"] == "aws/sagemaker/Endpoints/model-metrics"
    assert told["status"] in ("published", "skipped")


def test_a_merge_of_ours_counts_every_line(on_sagemaker: Any, runs: Runs, churn: Churn) -> None:
    run(runs, on_sagemaker('merge_on="airflow"'))
    report = churn.report(HOUR)
    assert (report["capture"]["used"], report["merge"]["label_coverage"]) == (8, 1.0)
    assert report["jobs"]["merge"] is None


def test_rows_that_do_not_fit_the_memory_limit_are_written_for_no_job(
    on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__MODEL_QUALITY__MEMORY_LIMIT", "1MiB")
    # the engine of these tests, the reference, holds to no limit when it merges
    assert run(runs, on_sagemaker('merge_on="airflow"')) == {
        "merge_ground_truth": "success",
        "analyze_quality": "failed",
    }
    assert created(sagemaker) == []


def test_charts_of_rows_that_do_not_fit_the_memory_limit_are_refused(
    on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = run_on_sagemaker.write_flat_rows

    def then_less(*given: Any, **named: Any) -> None:
        written(*given, **named)
        monkeypatch.setenv("AIRFLOW__MODEL_QUALITY__MEMORY_LIMIT", "1MiB")

    monkeypatch.setattr(run_on_sagemaker, "write_flat_rows", then_less)
    assert run(runs, on_sagemaker('merge_on="airflow"')) == {
        "merge_ground_truth": "success",
        "analyze_quality": "failed",
    }
    assert len(created(sagemaker)) == 1
    assert churn.reports() == []


def test_where_sagemaker_does_all_the_memory_limit_does_not_matter(
    on_sagemaker: Any, runs: Runs, churn: Churn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__MODEL_QUALITY__MEMORY_LIMIT", "1MiB")
    assert set(run(runs, on_sagemaker()).values()) == {"success"}


def test_segments_are_counted_here_of_rows_that_were_merged_here(on_sagemaker: Any, runs: Runs, churn: Churn) -> None:
    segments = {"input_attribute": 0}
    run(runs, on_sagemaker('merge_on="airflow"', segments=segments))
    found = churn.report(HOUR)["segments"]
    assert sum(one["records"] for one in found["listed"]) == 8


def test_where_sagemakers_merger_merged_there_are_no_segments(on_sagemaker: Any, runs: Runs, churn: Churn) -> None:
    run(runs, on_sagemaker(segments={"input_attribute": 0}))
    assert "segments" not in churn.report(HOUR)


@pytest.mark.parametrize("merge_on", ["auto", "airflow"])
def test_the_report_comes_last_and_working_files_go(merge_on: str, on_sagemaker: Any, runs: Runs, churn: Churn) -> None:
    run(runs, on_sagemaker(f"merge_on={merge_on!r}"))
    rest = {"rejected.jsonl"} if merge_on == "airflow" else set()
    assert under(churn) == {"report.json", "report.html", "statistics.json", "constraint_violations.json", *rest}


def test_the_page_of_a_run_tells_its_jobs_and_is_what_airflows_tab_shows(
    on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker, aws_connection: str
) -> None:
    from airflow_mq_provider.plugin.app import report_of

    run(runs, on_sagemaker(name="churn-with-a-page"))
    [event] = runs.asset_events("x-model-quality://churn-with-a-page")
    told: Any = SimpleNamespace(**event)
    shown = report_of(told).decode()
    assert shown.startswith("<!DOCTYPE html>")
    assert len(created(sagemaker)) == 2
    for job in created(sagemaker):
        assert job in shown


def test_the_mergers_records_stay_where_they_are_asked_for(on_sagemaker: Any, runs: Runs, churn: Churn) -> None:
    run(runs, on_sagemaker(keep_merged="jsonl"))
    [kept] = [key for key in under(churn) if key.startswith("merged/")]
    assert kept.startswith("merged/merger/churn/AllTraffic/2026/11/10/08/part-")


def test_the_asset_event_is_that_of_a_run_on_airflow(on_sagemaker: Any, runs: Runs, churn: Churn) -> None:
    run(runs, on_sagemaker(name="churn-with-events"))
    [event] = runs.asset_events("x-model-quality://churn-with-events")
    report = json.loads(churn.storage.read(event["report_uri"]))
    assert (event["status"], event["newest_window"]) == ("CompletedWithViolations", True)
    assert event["metrics"]["auc"] == report["metrics"]["auc"]["value"]


# --- who merges


def test_labels_of_later_hours_are_merged_here(
    on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker
) -> None:
    """SageMaker's merger reads the labels of the window's own hours alone: these would be lost."""
    churn.hours(EIGHT - timedelta(hours=1), 1, labelled=0)
    late = churn.storage.read(join(churn.root, "labels/2026/11/10/08/a.jsonl")).replace(b'"1008-', b'"1007-')
    churn.storage.write(join(churn.root, "labels/2026/11/10/08/late.jsonl"), late)
    dag = on_sagemaker(endpoint_input={"start_time_offset": "-PT2H", "end_time_offset": "-PT1H"})
    run(runs, dag)
    assert churn.report(HOUR)["merge"]["matched"] == 8
    assert [name[:-8] for name in created(sagemaker)] == [ANALYSIS]


def test_a_window_of_more_than_ten_inputs_is_merged_here(
    on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker
) -> None:
    churn.hours(EIGHT - timedelta(hours=9), 9)
    run(runs, on_sagemaker(endpoint_input={"start_time_offset": "-PT10H", "end_time_offset": "-PT0H"}))
    assert churn.report(HOUR)["merge"]["matched"] == 80
    assert [name[:-8] for name in created(sagemaker)] == [ANALYSIS]


def test_a_window_that_sagemakers_merger_must_do_and_cannot_fails_for_good(
    on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker
) -> None:
    wide = {"start_time_offset": "-PT10H", "end_time_offset": "-PT0H"}
    assert run(runs, on_sagemaker('merge_on="sagemaker"', endpoint_input=wide))["merge_ground_truth"] == "failed"
    assert sagemaker.calls == []


def test_labels_as_of_now_are_not_sagemakers_mergers(
    on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker
) -> None:
    dag = on_sagemaker('merge_on="sagemaker"')
    runs.trigger(dag, **AT_NINE, conf={"as_of": "now"})
    assert runs.finish(dag)["merge_ground_truth"] == "failed"
    assert sagemaker.calls == []


def test_an_hour_without_objects_is_no_input(on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker) -> None:
    """SageMaker refuses an input under which nothing lies."""
    run(runs, on_sagemaker(endpoint_input={"start_time_offset": "-PT2H", "end_time_offset": "-PT0H"}))
    [merge, analysis] = [given for name, given in sagemaker.calls if name == "CreateProcessingJob"]
    assert [one["InputName"] for one in merge["ProcessingInputs"]] == ["groundtruth_input_1", "endpoint_input_1"]
    assert [one["InputName"] for one in analysis["ProcessingInputs"]] == ["constraints", "endpoint_input_1"]
    assert churn.report(HOUR)["merge"]["matched"] == 8


def test_a_preprocessor_that_ran_here_is_told_and_one_of_sagemakers_jobs_is_not(
    on_sagemaker: Any, runs: Runs, churn: Churn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a script that SageMaker's job reads by itself nobody knows what it was."""
    monkeypatch.setenv("AIRFLOW__MODEL_QUALITY__ALLOW_SCRIPTS", "True")
    uri = join(churn.root, "pre.py")
    churn.storage.write(uri, b"def preprocess_handler(record):\n    return {'0': record.endpoint_output.data}\n")
    scripted = {**churn.settings["sagemaker"], "record_preprocessor_source_uri": uri}
    run(runs, on_sagemaker('merge_on="airflow"', sagemaker=scripted))
    assert churn.report(HOUR)["scripts"]["record_preprocessor"]["uri"] == uri
    run(runs, on_sagemaker('merge_on="sagemaker"', sagemaker=scripted))
    assert "scripts" not in churn.report(HOUR)


def test_a_limit_bounds_each_job(on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker) -> None:
    run(runs, on_sagemaker("max_runtime=timedelta(hours=1)"))
    limits = [given["StoppingCondition"] for name, given in sagemaker.calls if name == "CreateProcessingJob"]
    assert limits == [{"MaxRuntimeInSeconds": 1800}] * 2


# --- nothing to judge


@pytest.mark.parametrize("side", ["capture", "labels"])
@pytest.mark.parametrize("merge_on", ["auto", "airflow"])
def test_a_side_without_data_is_not_judged_and_starts_no_job(
    merge_on: str, side: str, on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker
) -> None:
    churn.storage.delete([one.uri for one in churn.storage.list(join(churn.root, side))])
    churn.put("capture/churn/AllTraffic/2026/11/09/00/a.jsonl", [b"{}"])
    dag = on_sagemaker(f"merge_on={merge_on!r}")
    assert set(run(runs, dag).values()) == {"success"}
    report = churn.report(HOUR)
    code = "no_captures" if side == "capture" else "no_labels"
    assert (report["status"], report["reason_code"]) == ("NotJudged", code)
    assert created(sagemaker) == []
    assert "constraint_violations.json" not in under(churn)


@pytest.mark.parametrize("failing", [0, 1], ids=["merge", "analysis"])
def test_a_job_that_had_no_data_is_not_judged_with_its_reason(
    failing: int, on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker
) -> None:
    answer = sagemaker.answer

    def without_data(operation: str, given: dict[str, Any]) -> Any:
        if operation == "CreateProcessingJob" and len(created(sagemaker)) == failing:
            sagemaker.failing_jobs = [NO_DATA]
        return answer(operation, given)

    sagemaker.answer = without_data  # type: ignore[method-assign]
    assert set(run(runs, on_sagemaker()).values()) == {"success"}
    report = churn.report(HOUR)
    assert (report["status"], report["reason_code"]) == ("NotJudged", "no_matches")
    assert NO_DATA in report["reason"]


def test_labels_of_nobody_are_no_rows(on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker) -> None:
    uri = join(churn.root, "labels/2026/11/10/08/a.jsonl")
    churn.storage.write(uri, churn.storage.read(uri).replace(b'"1008-', b'"other-'))
    run(runs, on_sagemaker())
    assert churn.report(HOUR)["reason_code"] == "no_matches"
    assert [name[:-8] for name in created(sagemaker)] == [MERGE]


def test_without_constraints_the_analyzer_suggests_some_and_nothing_is_judged(
    on_sagemaker: Any, runs: Runs, churn: Churn
) -> None:
    run(runs, on_sagemaker(constraints_uri=None))
    report = churn.report(HOUR)
    assert (report["status"], report["reason_code"]) == ("NotJudged", "no_constraints")
    assert under(churn) == {"report.json", "report.html", "statistics.json", "constraints.json"}


def test_a_violation_that_sagemaker_passes_over_is_told(on_sagemaker: Any, runs: Runs, churn: Churn) -> None:
    churn.constrained(f0_5=0.99)
    run(runs, on_sagemaker())
    report = churn.report(HOUR)
    assert [one["metric_name"] for one in report["violations"]] == ["f0_5"]
    listed = json.loads(
        churn.storage.read(join(churn.root, "reports/churn/churn-quality", HOUR, "constraint_violations.json"))
    )
    assert listed == {"violations": []}


# --- retries, failures, cancelling


@pytest.mark.parametrize("task", TASKS)
def test_a_retry_after_a_killed_worker_finds_its_job(
    task: str, on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies behind the call that started the job, before it can tell anybody."""
    note = StepwiseOperator._note
    died: list[str] = []

    def dying(self: Any, done: list[str], what: str) -> None:
        if self.task_id == task and not died:
            died.append(what)
            raise MemoryError(what)
        note(self, done, what)

    monkeypatch.setattr(StepwiseOperator, "_note", dying)
    dag = on_sagemaker()
    assert run(runs, dag)[task] == "failed"
    assert set(again(runs, dag, *TASKS[TASKS.index(task) :]).values()) == {"success"}
    assert died
    assert [name[:-8] for name in created(sagemaker)] == [MERGE, ANALYSIS]


@pytest.mark.parametrize("task", TASKS)
def test_a_job_that_failed_is_followed_by_the_next_number(
    task: str, on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker
) -> None:
    answer = sagemaker.answer
    first = MERGE if task == "merge_ground_truth" else ANALYSIS

    def failing(operation: str, given: dict[str, Any]) -> Any:
        of_kind = operation == "CreateProcessingJob" and given["ProcessingJobName"].startswith(first)
        if of_kind and not [name for name in created(sagemaker) if name.startswith(first)]:
            sagemaker.failing_jobs = ["ClientError: Please use an instance type with more memory"]
        return answer(operation, given)

    sagemaker.answer = failing  # type: ignore[method-assign]
    dag = on_sagemaker()
    assert run(runs, dag)[task] == "failed"
    assert set(again(runs, dag, *TASKS[TASKS.index(task) :]).values()) == {"success"}
    assert len({name for name in created(sagemaker) if name.startswith(first)}) == 2
    assert churn.report(HOUR)["merge"]["matched"] == 8


def test_a_run_that_is_cleared_is_made_anew_and_counts_nothing_twice(
    on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker
) -> None:
    dag = on_sagemaker()
    run(runs, dag)
    first = churn.report(HOUR)
    assert set(again(runs, dag, "merge_ground_truth", "analyze_quality").values()) == {"success"}
    second = churn.report(HOUR)
    assert second["metrics"] == first["metrics"]
    assert len(set(created(sagemaker))) == 4


@pytest.mark.parametrize("merge_on", ["auto", "airflow"])
def test_an_analysis_that_is_cleared_alone_merges_first(
    merge_on: str, on_sagemaker: Any, runs: Runs, churn: Churn
) -> None:
    dag = on_sagemaker(f"merge_on={merge_on!r}")
    run(runs, dag)
    first = churn.report(HOUR)
    assert set(again(runs, dag, "analyze_quality").values()) == {"success"}
    assert churn.report(HOUR)["metrics"] == first["metrics"]


def test_a_task_that_is_cancelled_in_the_triggerer_stops_its_job(
    on_sagemaker: Any, runs: Runs, churn: Churn, sagemaker: SageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    triggers: list[SageMakerWaiterTrigger] = []

    waiting = SageMakerWaiterTrigger.run

    async def cancelled(self: SageMakerWaiterTrigger) -> AsyncIterator[Any]:
        triggers.append(self)
        await self.on_kill()
        async for event in waiting(self):
            yield event

    monkeypatch.setattr(SageMakerWaiterTrigger, "run", cancelled)
    assert run(runs, on_sagemaker())["merge_ground_truth"] == "failed"
    [job] = sagemaker.jobs.values()
    assert job.ended == ("Stopped", None, None)
    kind, arguments = triggers[0].serialize()
    assert kind.endswith("SageMakerWaiterTrigger")
    assert arguments["job"] == job.request["ProcessingJobName"]


def test_a_job_that_has_ended_is_not_stopped(sagemaker: SageMaker, churn: Churn, aws_connection: str) -> None:
    from airflow_mq_provider.sagemaker.processing import baseline_request

    monitor = ModelQualityMonitor.model_validate(churn.declared())
    request = baseline_request(
        monitor, dataset_uri=join(churn.root, "constraints.json"), output_uri=join(churn.root, "b"), region="us-east-1"
    )
    sagemaker.answer("CreateProcessingJob", request)
    sagemaker.pass_time(timedelta(minutes=1))
    trigger = SageMakerWaiterTrigger(
        waiter_name="processing_job_completed_or_stopped",
        waiter_args={"ProcessingJobName": request["ProcessingJobName"]},
        waiter_delay=0,
        waiter_max_attempts=1,
        job=request["ProcessingJobName"],
        aws_conn_id=aws_connection,
    )
    asyncio.run(trigger.on_kill())
    assert "StopProcessingJob" not in sagemaker.asked()


# --- refused when the DAG is parsed


def declared(**settings: Any) -> ModelQualityMonitor:
    churn = Churn("s3://bucket/churn", None, {"sagemaker": {"role_arn": "arn:aws:iam::123456789012:role/monitoring"}})
    return ModelQualityMonitor.model_validate(churn.declared(**settings))


@pytest.mark.parametrize(
    ("arguments", "settings", "told"),
    [
        ({"compute": "spark"}, {}, "airflow, sagemaker"),
        ({"compute": "sagemaker", "merge_on": "here"}, {}, "auto, sagemaker, airflow"),
        ({"merge_on": "airflow"}, {}, "compute='sagemaker'"),
        ({"compute": "sagemaker"}, {"sagemaker": None}, "sagemaker.role_arn"),
        ({"compute": "sagemaker"}, {"output_uri": "/data/reports"}, "output_uri: must lie on S3"),
        ({"compute": "sagemaker", "merge_on": "sagemaker"}, {"ground_truth_uri": "/data/labels"}, "ground_truth_uri"),
        ({"compute": "sagemaker", "merge_on": "sagemaker"}, {"min_label_coverage": 0.5}, "min_label_coverage"),
        ({"compute": "sagemaker", "merge_on": "sagemaker"}, {"keep_merged": "parquet"}, "keep_merged"),
        (
            {"compute": "sagemaker", "merge_on": "sagemaker"},
            {
                "batch_transform_input": {
                    "data_captured_destination_uri": "s3://bucket/batch",
                    "dataset_format": {"csv": {"header": False}},
                    "probability_attribute": "1",
                }
            },
            "batch_transform_input",
        ),
        (
            {"compute": "sagemaker", "merge_on": "sagemaker", "wait_for_ground_truth": "PT1H"},
            {},
            "wait_for_ground_truth",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_when_the_dag_is_parsed(
    arguments: dict[str, Any], settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ModelQualityError, match=told) as refused:
        model_quality_dag(declared(**settings), **arguments)
    assert refused.value.next_step


def test_places_that_are_templates_are_judged_when_tasks_run() -> None:
    monitor = declared(output_uri="{{ var.value.root }}/reports", ground_truth_uri="{{ var.value.root }}/labels")
    dag = model_quality_dag(monitor, compute="sagemaker", merge_on="sagemaker")
    assert dag.task_ids == ["merge_ground_truth", "analyze_quality"]


def test_labels_on_local_disks_are_merged_in_the_worker() -> None:
    assert model_quality_dag(declared(ground_truth_uri="/data/labels"), compute="sagemaker").task_ids
