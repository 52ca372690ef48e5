"""A folder of monitors as Airflow runs it: one group of tasks for each, by name."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.plugin import history
from airflow_mq_provider.storage import Storage, join
from tests.airflow_world import Churn, MakeDag, Runs

FLEET = """
from airflow_mq_provider import model_quality_fleet_dag
dag = model_quality_fleet_dag(
    {folder!r}, dag_id=DAG.keywords["dag_id"], schedule="0 * * * *", start_date=START, default_args={{"retries": 0}}, {arguments}
)
"""
NOTIFIER = """
from airflow_mq_provider import ModelQualityNotifier
from airflow_mq_provider.airflow_internals import of_airflow

class Written(of_airflow("BaseNotifier")):
    template_fields = ()

    def notify(self, context):
        with open({path!r}, "a") as file:
            file.write(context["verdict"]["monitor"] + "\\n")
"""
HOUR = datetime(2026, 11, 10, 8, tzinfo=UTC)
AT = "2026-11-10T09:00:00Z"


class Folder:
    """A folder of monitors that judge the same captures, each under a name that no other test has."""

    def __init__(self, root: str, churn: Churn) -> None:
        self.root, self.churn, self.mark = root, churn, uuid.uuid4().hex[:8]

    def name(self, short: str) -> str:
        return f"{short}-{self.mark}"

    def add(self, file: str, short: str | None = None, **settings: Any) -> None:
        fields = self.churn.declared(name=self.name(short or file.split(".")[0]), **settings)
        self.churn.storage.write(join(self.root, file), json.dumps(fields).encode())

    def events(self, runs: Runs, short: str) -> list[dict[str, Any]]:
        """What the events of a monitor carry; before Airflow 3.2 their mappings are JSON text."""
        return [
            {key: json.loads(one) if isinstance(one, str) and one[:1] == "{" else one for key, one in event.items()}
            for event in runs.asset_events(f"x-model-quality://{self.name(short)}")
        ]


@pytest.fixture
def folder(tmp_path: Path, churn: Churn) -> Folder:
    churn.hours(HOUR, 1)
    return Folder(str(tmp_path / "monitors"), churn)


def judged(runs: Runs, dag: Any, run_id: str | None = None) -> dict[str, dict[str, str]]:
    """Execute a run; the states of each task's instances, by the name that the pages show at each."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    if run_id is None:
        runs.trigger(dag, logical_date=AT)
    runs.finish(dag, run_id)
    found: dict[str, dict[str, str]] = {}
    with create_session() as session:
        for one in session.scalars(select(TaskInstance).where(TaskInstance.dag_id == dag.dag_id)):
            if run_id in (None, one.run_id):
                name = str(one.rendered_map_index or one.map_index)
                found.setdefault(one.task_id, {})[name] = str(one.state)
    return found


def state(runs: Runs, dag: Any) -> str:
    [run] = runs.of(dag)
    return str(run.state)


def fleet_dag(make_dag: MakeDag, folder: Folder, arguments: str = "") -> Any:
    return make_dag(FLEET.format(folder=folder.root, arguments=arguments))


def test_each_monitor_of_the_folder_is_judged_by_tasks_that_have_its_name(
    folder: Folder, make_dag: MakeDag, runs: Runs
) -> None:
    folder.add("a.json", "tumours")
    folder.add("b.yaml", "churn")
    dag = fleet_dag(make_dag, folder)
    tumours, churn = folder.name("tumours"), folder.name("churn")
    assert judged(runs, dag) == {
        "list_monitors": {"-1": "success"},
        "judge.merge_ground_truth": {tumours: "success", churn: "success"},
        "judge.analyze_quality": {tumours: "success", churn: "success"},
    }
    for short in ("tumours", "churn"):
        [event] = folder.events(runs, short)
        assert (event["monitor"], event["status"]) == (folder.name(short), "NotJudged")  # it has no constraints
        assert event["records"] == 8
    assert state(runs, dag) == "success"


def test_what_is_handed_from_task_to_task_is_where_a_file_lies_and_not_what_it_says(
    folder: Folder, make_dag: MakeDag, runs: Runs
) -> None:
    folder.add("a.json")
    dag = fleet_dag(make_dag, folder)
    judged(runs, dag)
    assert runs.xcom(dag, "list_monitors") == [
        {"name": folder.name("a"), "file": join(folder.root, "a.json"), "fault": None}
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"name: [", "line 1"),
        (b"\xff", "is no UTF-8"),
        (b'{"name": "bad", "treshold": 1}', "treshold"),
    ],
)
def test_a_bad_file_fails_its_own_tasks_by_name_and_the_run_and_no_other_monitor(
    folder: Folder, make_dag: MakeDag, runs: Runs, capfd: pytest.CaptureFixture[str], content: bytes, told: str
) -> None:
    folder.add("a.json")
    folder.churn.storage.write(join(folder.root, "bad.yaml"), content)
    dag = fleet_dag(make_dag, folder)
    good = folder.name("a")
    assert judged(runs, dag) == {
        "list_monitors": {"-1": "success"},
        "judge.merge_ground_truth": {good: "success", "bad": "failed"},
        "judge.analyze_quality": {good: "success", "1": "upstream_failed"},
    }
    assert len(folder.events(runs, "a")) == 1
    assert state(runs, dag) == "failed"
    log = "".join(capfd.readouterr())
    assert told in log
    assert join(folder.root, "bad.yaml") in log


def test_two_files_of_one_name_fail_both_and_say_so(
    folder: Folder, make_dag: MakeDag, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    folder.add("a.json", "same")
    folder.add("b.json", "same", output_uri=join(folder.churn.root, "elsewhere"))
    folder.add("c.json")
    dag = fleet_dag(make_dag, folder)
    found = judged(runs, dag)["judge.merge_ground_truth"]
    assert found[folder.name("same")] == "failed"
    assert found[folder.name("c")] == "success"
    assert len(folder.events(runs, "c")) == 1
    assert "rename or remove one of them" in "".join(capfd.readouterr())
    assert not folder.churn.storage.exists(join(folder.churn.root, "elsewhere"))


def test_a_file_that_is_added_counts_from_the_next_run_on(folder: Folder, make_dag: MakeDag, runs: Runs) -> None:
    folder.add("a.json")
    dag = fleet_dag(make_dag, folder)
    runs.trigger(dag, logical_date=AT, dag_run_id="first")
    assert list(judged(runs, dag, "first")["judge.merge_ground_truth"]) == [folder.name("a")]
    folder.add("b.json")
    runs.trigger(dag, logical_date="2026-11-10T10:00:00Z", dag_run_id="second")
    assert set(judged(runs, dag, "second")["judge.merge_ground_truth"]) == {folder.name("a"), folder.name("b")}


def test_a_folder_without_monitors_fails_the_run(folder: Folder, make_dag: MakeDag, runs: Runs) -> None:
    dag = fleet_dag(make_dag, folder)
    assert judged(runs, dag)["list_monitors"] == {"-1": "failed"}
    assert state(runs, dag) == "failed"


def test_a_fleet_on_s3_is_listed_and_read_over_its_connection(
    churn_on_s3: Churn, aws_connection: str, make_dag: MakeDag, runs: Runs
) -> None:
    churn_on_s3.hours(HOUR, 1)
    fleet = Folder(join(churn_on_s3.root, "monitors"), churn_on_s3)
    fleet.add("a.json")
    dag = fleet_dag(make_dag, fleet, f"aws_conn_id={aws_connection!r}")
    assert judged(runs, dag)["judge.analyze_quality"] == {fleet.name("a"): "success"}
    [event] = fleet.events(runs, "a")
    assert event["report_uri"].startswith("s3://")
    assert event["connection"]["aws_conn_id"] == aws_connection


def test_each_monitor_has_its_own_window_by_its_own_offsets(folder: Folder, make_dag: MakeDag, runs: Runs) -> None:
    folder.churn.hours(HOUR - timedelta(hours=1), 1)
    folder.add("a.json")
    folder.add("b.json", endpoint_input={"start_time_offset": "-PT2H", "end_time_offset": "-PT0H"})
    dag = fleet_dag(make_dag, folder)
    judged(runs, dag)
    [hour], [two] = folder.events(runs, "a"), folder.events(runs, "b")
    assert (hour["records"], two["records"]) == (8, 16)
    assert two["window"] == {
        "start": "2026-11-10T07:00:00Z",
        "end": AT,
        "scheduled_time": AT,
        "source": "data_interval",
    }


def test_a_verdict_fails_its_own_monitor_and_people_are_told_of_it(
    folder: Folder, make_dag: MakeDag, runs: Runs, tmp_path: Path
) -> None:
    folder.churn.constrained(accuracy=0.99)
    folder.churn.hours(HOUR, 1, wrong=3)
    folder.add("bad.json")
    folder.churn.constrained(accuracy=0.1)
    (tmp_path / "lax.json").write_bytes(Storage().read(join(folder.churn.root, "constraints.json")))
    folder.churn.constrained(accuracy=0.99)
    folder.add("good.json", constraints_uri=str(tmp_path / "lax.json"))
    arguments = 'on_violation="fail", notify=ModelQualityNotifier(Written())'
    fleet = FLEET.format(folder=folder.root, arguments=arguments)
    dag = make_dag(NOTIFIER.format(path=str(tmp_path / "told")) + fleet)
    bad, good = folder.name("bad"), folder.name("good")
    found = judged(runs, dag)
    assert found["judge.analyze_quality"] == {bad: "success", good: "success"}
    assert found["judge.notify_quality"] == {bad: "success", good: "success"}
    assert found["judge.enforce_verdict"] == {bad: "failed", good: "success"}
    assert (tmp_path / "told").read_text() == f"{bad}\n"
    assert state(runs, dag) == "failed"


def test_a_monitor_as_one_task_gives_the_same_verdict(folder: Folder, make_dag: MakeDag, runs: Runs) -> None:
    folder.add("a.json")
    two = fleet_dag(make_dag, folder)
    judged(runs, two)
    one = fleet_dag(make_dag, folder, "merge_apart=False")
    assert judged(runs, one) == {
        "list_monitors": {"-1": "success"},
        "judge.analyze_quality": {folder.name("a"): "success"},
    }
    before, after = folder.events(runs, "a")
    assert before == after


def test_a_monitor_s_verdict_does_not_wait_for_the_merges_of_all_others(
    folder: Folder, make_dag: MakeDag, runs: Runs
) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    folder.add("a.json")
    dag = fleet_dag(make_dag, folder, 'on_violation="fail"')
    judged(runs, dag)
    with create_session() as session:
        query = select(TaskInstance.task_id, TaskInstance.priority_weight).where(TaskInstance.dag_id == dag.dag_id)
        weights = {task_id.removeprefix("judge."): weight for task_id, weight in session.execute(query)}
    # the executor takes the heaviest first
    del weights["list_monitors"]
    order = sorted(weights, key=lambda task: weights[task] or 0)
    assert order == ["merge_ground_truth", "analyze_quality", "enforce_verdict"]
    assert len(set(weights.values())) == 3


@pytest.mark.parametrize("other", ['compute="sagemaker"', "merge_operator=GroundTruthMergeOperator"])
def test_one_task_is_refused_where_another_machine_merges(make_dag: MakeDag, other: str) -> None:
    source = f"""
    from airflow_mq_provider.operators.model_quality import GroundTruthMergeOperator
    with DAG(schedule=None):
        ModelQualityTaskGroup("group", "monitor.yaml", merge_apart=False, {other})
    """
    with pytest.raises(AssertionError, match="merge_apart=False only where the analysis may merge"):
        make_dag(source)


def test_a_fleet_waits_for_captures_and_labels_monitor_by_monitor(
    folder: Folder, make_dag: MakeDag, runs: Runs
) -> None:
    folder.add("a.json")
    folder.add("b.json")
    arguments = 'wait_for_captures="PT1H", wait_for_ground_truth="P1D", deferrable=False'
    dag = fleet_dag(make_dag, folder, arguments)
    names = {folder.name("a"): "success", folder.name("b"): "success"}
    found = judged(runs, dag)
    assert found["judge.wait_for_captures"] == names
    assert found["judge.wait_for_ground_truth"] == names
    assert found["judge.analyze_quality"] == names
    [event] = folder.events(runs, "b")
    assert event["records"] == 8


def test_the_pages_show_the_monitors_of_a_fleet_and_what_each_is_owed(
    folder: Folder, make_dag: MakeDag, runs: Runs
) -> None:
    from airflow.utils.session import create_session

    folder.add("a.json")
    folder.add("b.json")
    dag = fleet_dag(make_dag, folder)
    runs.trigger(dag, logical_date=AT, dag_run_id="first")
    judged(runs, dag, "first")
    folder.churn.storage.write(join(folder.root, "b.json"), b"{")
    runs.trigger(dag, logical_date="2026-11-10T10:00:00Z", dag_run_id="second")
    judged(runs, dag, "second")
    with create_session() as session:
        now = datetime.now(UTC)
        good, bad = (history.monitor(session, folder.name(one), {dag.dag_id}, now, 30) for one in ("a", "b"))
        tab = history.of_run(session, dag.dag_id, "first")
    assert good is not None
    assert bad is not None
    assert (len(good.windows), good.missing.failed) == (2, 0)
    assert (len(bad.windows), bad.missing.failed) == (1, 1)
    assert set(tab) == {folder.name("a"), folder.name("b")}


def test_the_requests_that_a_monitor_makes_of_s3_are_those_that_scale_md_computes_with(
    churn_on_s3: Churn, aws_connection: str, make_dag: MakeDag, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this fails since a run asks S3 for less or more: correct benchmarks/unit_costs.json and call ``make scale``."""
    from botocore.client import BaseClient

    churn_on_s3.hours(HOUR, 1)
    churn_on_s3.constrained(accuracy=0.5)
    fleet = Folder(join(churn_on_s3.root, "monitors"), churn_on_s3)
    fleet.add("a.json")
    fleet.add("b.json")
    dag = fleet_dag(make_dag, fleet, f"aws_conn_id={aws_connection!r}")
    asked: Counter[str] = Counter()
    call = BaseClient._make_api_call

    def counted(client: Any, operation: str, given: dict[str, Any]) -> Any:
        if client.meta.service_model.service_name == "s3" and not str(given.get("Key")).endswith("/a.jsonl"):
            asked[operation] += 1
        return call(client, operation, given)

    monkeypatch.setattr(BaseClient, "_make_api_call", counted)
    judged(runs, dag)
    asked["ListObjectsV2"] -= 1  # of the folder, once for all
    costs = json.loads((Path(__file__).parents[2] / "benchmarks/unit_costs.json").read_text())
    assert {name: count / 2 for name, count in asked.items()} == costs["requests_of_a_monitor"]["value"]
