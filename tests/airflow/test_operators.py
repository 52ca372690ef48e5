"""The tasks of a run: what they do, what they hand on, what they tell, and that each may be run again."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_mq_provider.engines import task, workers
from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.storage import join
from tests.airflow_versions import AIRFLOW
from tests.airflow_world import Churn, MakeDag, Runs
from tests.world import label_line

HOURLY = 'model_quality_dag(monitor, schedule="0 * * * *", start_date=START)'
AT_NINE = {"logical_date": "2026-11-10T09:00:00Z"}
NINE = "2026/11/10/09"
THREE_HOURS = {"start_time_offset": "-PT3H", "end_time_offset": "-PT0H"}


@pytest.fixture(autouse=True)
def a_morning_of_traffic(churn: Churn) -> None:
    churn.hours(datetime(2026, 11, 10, 6, tzinfo=UTC), 4)


def files(churn: Churn) -> dict[str, bytes]:
    """Everything that was reported, but what tells times and versions."""
    root = join(churn.root, "reports")
    return {one.key: churn.storage.read(one.uri) for one in churn.storage.list(root) if "report.json" not in one.key}


def without_times(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name not in ("timings", "versions")}


# --- what is handed on


def test_the_analysis_counts_what_the_merge_merged_and_merges_nothing_itself(
    make_dag: MakeDag, runs: Runs, churn: Churn
) -> None:
    dag = make_dag(HOURLY)
    runs.trigger(dag, **AT_NINE)
    runs.finish(dag)
    handover = runs.xcom(dag, "merge_ground_truth")
    report = churn.report(NINE)
    assert report["merge"]["matched"] == 8
    assert report["timings"]["merge_seconds"] == handover["merge_seconds"]


def test_the_analysis_hands_on_the_report_without_what_grows_with_classes_and_segments(
    make_dag: MakeDag, runs: Runs, churn: Churn
) -> None:
    dag = make_dag(HOURLY, segments={"input_attribute": 0})
    runs.trigger(dag, **AT_NINE)
    runs.finish(dag)
    summary, report = runs.xcom(dag, "analyze_quality"), churn.report(NINE)
    assert "confusion_matrix" in report["metrics"]
    assert report["segments"]["listed"]
    assert "segments" not in summary
    del report["metrics"]["confusion_matrix"]
    assert summary["metrics"] == report["metrics"]
    assert {name: summary[name] for name in ("status", "window", "capture", "merge", "violations")} == {
        name: report[name] for name in ("status", "window", "capture", "merge", "violations")
    }
    assert summary["report_uri"] == join(churn.root, "reports/churn/churn-quality", NINE, "report.json")
    assert (summary["run_type"], summary["newest_window"]) == ("manual", True)


def test_the_link_leads_to_the_report(make_dag: MakeDag, runs: Runs, churn: Churn) -> None:
    dag = make_dag(HOURLY)
    runs.trigger(dag, **AT_NINE)
    runs.finish(dag)
    link = runs.xcom(dag, "analyze_quality", key="_link_ModelQualityReportLink")
    assert link == "file://" + join(churn.root, "reports/churn/churn-quality", NINE, "report.json")


def test_a_task_that_an_executor_calls_daemonic_uses_all_its_workers(
    make_dag: MakeDag, runs: Runs, churn: Churn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under Celery, whose workers may not have children; and with every amount of data worth a worker."""
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    monkeypatch.setattr("airflow_mq_provider.engines.memory.SMALL", 0)
    monkeypatch.setattr(task, "UNIT", 1)
    forked = []
    monkeypatch.setattr(
        workers, "ProcessPoolExecutor", lambda *a, **k: forked.append(a) or ProcessPoolExecutor(*a, **k)
    )
    dag = make_dag("model_quality_dag(monitor, workers=2, start_date=START)", endpoint_input=THREE_HOURS)
    runs.trigger(dag, **AT_NINE)
    assert set(runs.finish(dag).values()) == {"success"}
    assert forked
    assert churn.report(NINE)["merge"]["matched"] == 24


def test_a_memory_limit_of_the_configuration_that_is_too_small_fails_the_merge(
    make_dag: MakeDag,
    runs: Runs,
    churn: Churn,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AIRFLOW__MODEL_QUALITY__MEMORY_LIMIT", "1MiB")
    dag = make_dag(HOURLY)
    runs.trigger(dag, **AT_NINE)
    assert runs.finish(dag) == {"merge_ground_truth": "failed", "analyze_quality": "upstream_failed"}
    said = "".join(capfd.readouterr())
    if AIRFLOW >= (3, 1):  # before, a run in one process does not print what a task raised
        assert "expected a window that can be judged within 1 MiB of memory; came 0 MiB of captures and labels" in said
        assert "; where: memory_limit; next: nothing was read yet: give the task more memory" in said
    assert churn.reports() == []


def test_a_memory_limit_of_the_configuration_holds_an_analysis_that_is_cleared_alone(
    make_dag: MakeDag, runs: Runs, churn: Churn, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = make_dag(HOURLY)
    runs.trigger(dag, **AT_NINE)
    assert runs.finish(dag)["analyze_quality"] == "success"
    monkeypatch.setenv("AIRFLOW__MODEL_QUALITY__MEMORY_LIMIT", "1MiB")
    runs.clear(dag, "analyze_quality")
    assert runs.finish(dag)["analyze_quality"] == "failed"


# --- how long it took


def test_a_report_tells_the_cadence_of_its_schedule(make_dag: MakeDag, runs: Runs, churn: Churn) -> None:
    dag = make_dag(HOURLY)
    runs.trigger(dag, **AT_NINE)
    runs.finish(dag)
    timings = churn.report(NINE)["timings"]
    assert (timings["cadence_seconds"], timings["longer_than_cadence"]) == (3600, False)


def test_a_run_that_took_longer_than_its_cadence_says_so_in_log_and_report(
    make_dag: MakeDag, runs: Runs, churn: Churn, capfd: pytest.CaptureFixture[str]
) -> None:
    """A schedule of every microsecond, as no data could be slow enough for a test."""
    dag = make_dag("model_quality_dag(monitor, schedule=timedelta(microseconds=1), start_date=START)")
    runs.trigger(dag, logical_date="2026-11-10T09:00:00Z")
    runs.finish(dag)
    assert churn.report(NINE)["timings"]["longer_than_cadence"] is True
    assert "its schedule comes every 0:00:00.000001" in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("schedule", "conf"),
    [
        ('"0 * * * *"', {"window_start": "2026-11-10T06:00:00Z", "window_end": "2026-11-10T09:00:00Z"}),
        ("None", {}),
    ],
    ids=["by hand", "no schedule"],
)
def test_a_run_that_is_none_of_a_schedule_has_no_cadence(
    make_dag: MakeDag, runs: Runs, schedule: str, conf: dict[str, str]
) -> None:
    dag = make_dag(f"model_quality_dag(monitor, schedule={schedule}, start_date=START)", endpoint_input=THREE_HOURS)
    runs.trigger(dag, **AT_NINE, conf=conf)
    runs.finish(dag)
    assert set(runs.xcom(dag, "analyze_quality")["timings"]) == {"merge_seconds", "analyze_seconds"}


# --- run again


@pytest.mark.parametrize("task_id", ["merge_ground_truth", "analyze_quality"])
def test_a_task_cleared_alone_leaves_the_same_report(make_dag: MakeDag, runs: Runs, churn: Churn, task_id: str) -> None:
    dag = make_dag(HOURLY)
    runs.trigger(dag, **AT_NINE)
    runs.finish(dag)
    before = files(churn), without_times(churn.report(NINE))
    runs.clear(dag, task_id)
    assert set(runs.finish(dag).values()) == {"success"}
    if task_id == "merge_ground_truth":
        # it took the report away, as every merge does; the analysis that follows it was not cleared
        assert churn.reports() == []
        runs.clear(dag, "analyze_quality")
        runs.finish(dag)
    assert (files(churn), without_times(churn.report(NINE))) == before


# --- labels that came late


def late_label(churn: Churn) -> None:
    """One hour late, somebody says that the truth of the last prediction of the hour was another one."""
    churn.put("labels/2026/11/10/09/late.jsonl", [label_line("1008-7", "0")])


def test_labels_that_come_late_are_not_seen_by_a_run_that_is_cleared(
    make_dag: MakeDag, runs: Runs, churn: Churn
) -> None:
    dag = make_dag(HOURLY)
    runs.trigger(dag, **AT_NINE)
    runs.finish(dag)
    before = churn.report(NINE)
    late_label(churn)
    runs.clear(dag, "merge_ground_truth")
    runs.clear(dag, "analyze_quality")
    runs.finish(dag)
    assert without_times(churn.report(NINE)) == without_times(before)


@pytest.mark.parametrize(("as_of", "source"), [("now", "now"), ("2026-11-10T10:00:00Z", "time")])
def test_labels_that_come_late_are_seen_by_a_run_that_asks_for_them(
    make_dag: MakeDag, runs: Runs, churn: Churn, as_of: str, source: str
) -> None:
    late_label(churn)
    dag = make_dag(HOURLY)
    runs.trigger(dag, **AT_NINE, conf={"as_of": as_of})
    runs.finish(dag)
    report = churn.report(NINE)
    assert report["ground_truth"]["as_of_source"] == source
    assert report["ground_truth"]["duplicate_labels"] == 1
    assert report["metrics"]["confusion_matrix"]["0"]["1"] == 1


@pytest.mark.parametrize(
    ("more", "duplicates"),
    [
        ([], 0),
        pytest.param(
            ["--reprocess-behavior", "completed"],
            1,
            marks=pytest.mark.skipif(
                AIRFLOW < (3, 3), reason="before 3.3 Airflow repeats a run with the conf it had; docs/airflow.md tells"
            ),
        ),
    ],
)
def test_a_backfill_as_of_now_judges_windows_that_were_judged_before_only_where_it_is_told_to(
    make_dag: MakeDag, runs: Runs, churn: Churn, more: list[str], duplicates: int
) -> None:
    dag = make_dag(
        """
        start = datetime(2026, 11, 10, 8, tzinfo=UTC)
        model_quality_dag(monitor, schedule="0 * * * *", start_date=start, end_date=start, catchup=True)
        """
    )
    runs.scheduled()
    runs.finish(dag)
    late_label(churn)
    at = "2026-11-10T08:00:00Z"
    runs.backfill(dag, at, at, "--dag-run-conf", '{"as_of": "now"}', *more)
    runs.finish(dag)
    assert churn.report(NINE)["ground_truth"]["duplicate_labels"] == duplicates


# --- verdicts


def test_a_violation_is_a_result_and_no_failure_unless_it_is_to_be(make_dag: MakeDag, runs: Runs, churn: Churn) -> None:
    churn.constrained(recall=1.5)
    dag = make_dag(HOURLY)
    runs.trigger(dag, **AT_NINE)
    assert runs.finish(dag) == {"merge_ground_truth": "success", "analyze_quality": "success"}
    assert churn.report(NINE)["status"] == "CompletedWithViolations"


@pytest.mark.parametrize(
    ("choice", "constraint", "hour", "state"),
    [
        ('on_violation="fail"', 1.5, 9, "failed"),
        ('on_violation="fail"', 0.1, 9, "success"),
        ('on_violation="fail"', 0.1, 3, "success"),
        ('on_not_judged="fail"', 0.1, 3, "failed"),
        ('on_not_judged="skip"', 0.1, 3, "skipped"),
        ('on_not_judged="skip"', 1.5, 9, "success"),
    ],
    ids=["violated", "in order", "nothing to judge", "not judged", "not judged: skip", "violated: of no concern"],
)
def test_the_verdict_decides_only_where_it_was_asked_to(
    make_dag: MakeDag, runs: Runs, churn: Churn, choice: str, constraint: float, hour: int, state: str
) -> None:
    churn.constrained(recall=constraint)
    dag = make_dag(f'model_quality_dag(monitor, schedule="0 * * * *", start_date=START, {choice})')
    runs.trigger(dag, logical_date=f"2026-11-10T{hour:02}:00:00Z")
    assert runs.finish(dag) == {"merge_ground_truth": "success", "analyze_quality": "success", "enforce_verdict": state}
    assert churn.reports() == [f"2026/11/10/{hour:02}"]


def test_a_choice_that_is_none_is_refused_when_the_dag_is_made() -> None:
    from airflow_mq_provider.dag import model_quality_dag

    with pytest.raises(ModelQualityError, match=r"one of continue, fail; came 'explode'; where: on_violation"):
        model_quality_dag("churn.yaml", on_violation="explode")


# --- asset events


def test_every_analysis_tells_its_asset_also_where_the_run_is_failed_afterwards(
    make_dag: MakeDag, runs: Runs, churn: Churn
) -> None:
    churn.constrained(recall=1.5)
    dag = make_dag(
        'model_quality_dag(monitor, schedule="0 * * * *", start_date=START, on_violation="fail", on_not_judged="fail")',
        name="of-events",
    )
    runs.trigger(dag, logical_date="2026-11-10T09:00:00Z")
    runs.trigger(dag, logical_date="2026-11-10T03:00:00Z")
    for run in runs.of(dag):
        assert runs.finish(dag, run.run_id)["enforce_verdict"] == "failed"
    violated, unjudged = runs.asset_events("x-model-quality://of-events")
    assert violated["status"] == "CompletedWithViolations"
    assert violated["window"]["start"] == "2026-11-10T08:00:00Z"
    assert violated["metrics"].items() >= {"recall": 1.0, "precision": 1.0, "auc": 1.0}.items()
    assert violated["standard_deviations"].keys() == violated["metrics"].keys()
    assert violated["constraints"] == {"recall": {"threshold": 1.5, "comparison_operator": "LessThanThreshold"}}
    assert (violated["violations"], violated["within_noise"]) == (["recall"], [])
    assert (violated["records"], violated["captures"], violated["label_coverage"]) == (8, 8, 1.0)
    assert (violated["cadence_seconds"], violated["connection"]) == (3600, None)
    assert len(json.dumps(violated)) < 4096
    assert (violated["run_type"], violated["newest_window"]) == ("manual", True)
    assert (unjudged["status"], unjudged["newest_window"]) == ("NotJudged", False)
    assert unjudged["reason"]
    assert unjudged["report_uri"].endswith("/of-events/2026/11/10/03/report.json")


def test_a_retraining_dag_can_be_scheduled_on_the_asset_of_a_monitor(make_dag: MakeDag, runs: Runs) -> None:
    retraining = make_dag('dag = DAG(schedule=[Asset("x-model-quality://of-retraining")], start_date=START)')
    dag = make_dag(HOURLY, name="of-retraining")
    runs.trigger(dag, **AT_NINE)
    runs.finish(dag)
    runs.scheduled()
    assert [run.run_type for run in runs.of(retraining)] == ["asset_triggered"]
