"""The recipe of retraining: which verdicts ask a person, and what an answer starts."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.airflow_versions import AIRFLOW
from tests.airflow_world import Churn, MakeDag, Runs

EXAMPLE = Path(__file__).parents[2] / "dags/retrain_on_violation.py"

pytestmark = pytest.mark.skipif(
    AIRFLOW < (3, 3),
    reason="Airflow 3.0 asks nobody; 3.1 and 3.2 ask in a triggerer, which would wait here for the test itself",
)


@pytest.fixture
def monitor() -> str:
    """The name of the monitor, in this test alone."""
    return f"churn-{uuid.uuid4().hex}"


@pytest.fixture
def retraining(airflow_dags: Path, monitor: str) -> Iterator[Any]:
    """The example for that monitor, under an id of its own."""
    from tests.airflow_versions import take_up

    dag_id = f"retrain-{monitor}"
    copy = airflow_dags / f"{dag_id}.py"
    example = EXAMPLE.read_text()
    for name, own in (("churn-model-quality", monitor), ("retrain_churn", dag_id)):
        assert example.count(name) == 1
        example = example.replace(name, own)
    copy.write_text(example)
    yield take_up(copy, airflow_dags)[dag_id]
    copy.unlink()


@pytest.fixture
def executions(s3_endpoint: str, aws_connection: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Counts the executions of the pipeline that is to be started, in a SageMaker on 127.0.0.1."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", os.environ["AIRFLOW_CONN_S3_OF_TESTS"])
    client = boto3.client("sagemaker", endpoint_url=s3_endpoint)
    client.create_pipeline(
        PipelineName="churn-training",
        PipelineDefinition=json.dumps({"Version": "2020-12-01", "Steps": []}),
        RoleArn="arn:aws:iam::123456789012:role/training",
        ClientRequestToken=uuid.uuid4().hex,
    )
    yield lambda: len(client.list_pipeline_executions(PipelineName="churn-training")["PipelineExecutionSummaries"])
    client.delete_pipeline(PipelineName="churn-training", ClientRequestToken=uuid.uuid4().hex)


class Judged:
    """The DAG of the monitor, and its runs: hour by hour of 10 November 2026 from eight on, by its schedule."""

    def __init__(self, runs: Runs, churn: Churn, dag: Any) -> None:
        self.runs, self.churn, self.dag = runs, churn, dag

    def hours(self, first: int, *wrong: int) -> None:
        """Judge these hours by the next scheduled runs; so many of each hour's eight labels say otherwise."""
        for number, otherwise in enumerate(wrong, first):
            self.churn.hours(datetime(2026, 11, 10, number, tzinfo=UTC), 1, wrong=otherwise)
            self.runs.scheduled()
        self._finish([f"scheduled__2026-11-10T{first + number + 1:02}:00:00+00:00" for number in range(len(wrong))])

    def backfill(self, first: int, last: int, *, wrong: int) -> None:
        """Judge these hours, which no scheduled run has judged, by a backfill."""
        day = datetime(2026, 11, 9, tzinfo=UTC)
        self.churn.hours(day + timedelta(hours=first), last - first + 1, wrong=wrong)
        bounds = [(day + timedelta(hours=number)).strftime("%Y-%m-%dT%H:00:00Z") for number in (first, last)]
        self.runs.backfill(self.dag, *bounds)
        made = [run.run_id for run in self.runs.of(self.dag) if run.run_type == "backfill"]
        assert len(made) == last - first + 1
        self._finish(made)

    def _finish(self, run_ids: list[str]) -> None:
        for run_id in run_ids:
            assert set(self.runs.finish(self.dag, run_id).values()) == {"success"}


@pytest.fixture
def judged(make_dag: MakeDag, runs: Runs, churn: Churn, monitor: str) -> Judged:
    churn.constrained(accuracy=0.9)
    start = "datetime(2026, 11, 10, 8, tzinfo=UTC)"
    scheduled = f'schedule="0 * * * *", start_date={start}, catchup=True, max_active_runs=2'
    return Judged(runs, churn, make_dag(f"model_quality_dag(monitor, {scheduled})", name=monitor))


def answer(runs: Runs, dag: Any, chosen: str) -> None:
    """Answer as Airflow's page of required actions does."""
    [run] = runs.of(dag)
    path = f"/dags/{dag.dag_id}/dagRuns/{run.run_id}/taskInstances/approve/-1/hitlDetails"
    answered = runs.patch(path, chosen_options=[chosen], params_input={})
    assert answered.status_code == 200, answered.text


def question(runs: Runs, dag: Any) -> dict[str, Any]:
    [run] = runs.of(dag)
    asked = runs.get(f"/dags/{dag.dag_id}/dagRuns/{run.run_id}/taskInstances/approve/-1/hitlDetails")
    assert asked.status_code == 200, asked.text
    return dict(asked.json())


ASKED = {"newest_verdict_if_worse": "success", "approve": "awaiting_input", "retrain": "None"}
NOT_ASKED = {"newest_verdict_if_worse": "success", "approve": "skipped", "retrain": "skipped"}


@pytest.mark.parametrize(("chosen", "state", "started"), [("Approve", "success", 1), ("Reject", "skipped", 0)])
def test_a_violation_asks_a_person_whose_answer_decides(
    retraining: Any, judged: Judged, runs: Runs, executions: Callable[[], int], chosen: str, state: str, started: int
) -> None:
    judged.hours(8, 3)
    runs.scheduled()
    assert runs.finish(retraining) == ASKED
    assert executions() == 0
    assert "accuracy" in question(runs, retraining)["body"]
    answer(runs, retraining, chosen)
    assert runs.finish(retraining) == {"newest_verdict_if_worse": "success", "approve": "success", "retrain": state}
    assert executions() == started


def test_a_model_in_order_asks_nobody(
    retraining: Any, judged: Judged, runs: Runs, executions: Callable[[], int]
) -> None:
    judged.hours(8, 0)
    runs.scheduled()
    assert runs.finish(retraining) == NOT_ASKED


def test_a_backfill_of_violations_asks_nobody(retraining: Any, judged: Judged, runs: Runs) -> None:
    judged.backfill(2, 5, wrong=3)
    runs.scheduled()
    assert runs.finish(retraining) == NOT_ASKED


def test_a_scheduled_violation_asks_also_where_a_backfill_follows_it(
    retraining: Any, judged: Judged, runs: Runs
) -> None:
    judged.hours(8, 3)
    judged.backfill(2, 4, wrong=0)
    runs.scheduled()
    assert runs.finish(retraining) == ASKED


def test_a_violation_from_which_the_newest_window_has_recovered_asks_nobody(
    retraining: Any, judged: Judged, runs: Runs
) -> None:
    judged.hours(8, 3, 0)
    runs.scheduled()
    assert runs.finish(retraining) == NOT_ASKED


def test_an_older_window_that_is_judged_again_asks_nobody(retraining: Any, judged: Judged, runs: Runs) -> None:
    judged.hours(8, 0, 0)
    runs.scheduled()
    runs.finish(retraining)
    eight = runs.of(judged.dag)[0]
    judged.churn.hours(datetime(2026, 11, 10, 8, tzinfo=UTC), 1, wrong=3)
    runs.clear(judged.dag, "merge_ground_truth", "analyze_quality", run_id=eight.run_id)
    runs.finish(judged.dag, eight.run_id)
    runs.scheduled()
    [_, later] = runs.of(retraining)
    assert runs.finish(retraining, later.run_id) == NOT_ASKED


def test_while_a_question_is_open_no_other_is_asked_and_the_next_run_sees_all_that_came(
    retraining: Any, judged: Judged, runs: Runs
) -> None:
    judged.hours(8, 3)
    runs.scheduled()
    assert runs.finish(retraining) == ASKED
    judged.hours(9, 3, 0)
    runs.scheduled()
    assert len(runs.of(retraining)) == 1
    answer(runs, retraining, "Reject")
    runs.finish(retraining)
    runs.scheduled()
    [_, later] = runs.of(retraining)
    assert runs.finish(retraining, later.run_id) == NOT_ASKED
