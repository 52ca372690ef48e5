"""A real scheduler, LocalExecutor, triggerer and API server, each a process of its own, on what they were left to do.

Backfills are made before the scheduler starts, since SQLite takes no second writer. One Airflow runs all DAGs of this file; each
test looks at what one of them came to.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import format_time, hour_folder
from tests.airflow_world import Churn
from tests.real_airflow import RealAirflow, environment_of
from tests.world import label_line

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

FIRST = datetime(2026, 11, 10, 4, tzinfo=UTC)
SIX = [FIRST + timedelta(hours=number) for number in range(6)]
"""Starts of the six windows, an hour each; a run reads the two hours before its scheduled time."""
OFFSETS = {"start_time_offset": "-PT2H", "end_time_offset": "-PT0H"}

DAG_FILE = """
import json, os, signal
from datetime import datetime, timedelta
from pathlib import Path
from airflow_mq_provider import ModelQualityMonitor, model_quality_dag
from airflow_mq_provider.storage import Storage

START, END = datetime.fromisoformat({first!r}), datetime.fromisoformat({last!r})
AGAIN = {{"retries": 4, "retry_delay": timedelta(seconds=1), "poke_interval": 1}}
monitors = {{name: ModelQualityMonitor.model_validate(one) for name, one in json.loads({monitors!r}).items()}}

for name, monitor in monitors.items():
    arguments = {{
        "waiting": {{"wait_for_captures": "PT1H", "wait_for_ground_truth": "P999D", "aws_conn_id": "s3_of_tests"}},
        "interrupted": {{"wait_for_captures": "P999D"}},
        "orphaned": {{"wait_for_captures": "P999D"}},
    }}
    globals()[name] = model_quality_dag(
        monitor,
        dag_id=name,
        schedule="0 * * * *",
        start_date=START,
        end_date=END,
        catchup=name == "scheduled",
        max_active_runs=3,
        default_args=AGAIN,
        **arguments.get(name, {{}}),
    )

# In the first attempt at the merge of three DAGs something dies once its first rows are written: the task; the scheduler with
# all workers of its executor and the task; the worker alone, whose task goes on without it.
MARKS = Path({marks!r})
write = Storage.write


def write_and_die(self, uri, data):
    write(self, uri, data)
    name = next((one for one in ("killed", "interrupted", "orphaned") if f"/{{one}}/" in uri), None)
    if name is None or not uri.endswith(".rows") or (MARKS / f"{{name}}-once").exists():
        return
    (MARKS / f"{{name}}-once").write_text(f"{{os.getpid()}} {{os.getppid()}}")
    if name == "orphaned":
        os.kill(os.getppid(), signal.SIGKILL)
        return
    if name == "interrupted":
        os.killpg(int((MARKS / "scheduler.pid").read_text()), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


Storage.write = write_and_die
"""


@dataclass(kw_only=True)
class Airflow(RealAirflow):
    """A running Airflow, what it was given, and where it writes."""

    churn: Churn
    on_s3: Churn
    empty: Churn
    """Without captures yet."""
    later: Churn
    """Without captures until the scheduler has been killed."""

    def report(self, dag_id: str, scheduled: datetime) -> dict[str, Any]:
        """The report of a run, without what tells times, versions and where it lies."""
        uri = join(self.churn.root, dag_id, "churn/churn-quality", hour_folder(scheduled), "report.json")
        found: dict[str, Any] = json.loads(self.churn.storage.read(uri))
        return {
            name: value
            for name, value in found.items()
            if name not in ("timings", "versions", "output", "definition_hash", "run_type")
        }

    def files(self, dag_id: str, scheduled: datetime) -> dict[str, bytes]:
        """Everything else that a run wrote, but for the page, which tells where the report lies."""
        root = join(self.churn.root, dag_id, "churn/churn-quality", hour_folder(scheduled))
        storage = self.churn.storage
        return {one.key: storage.read(one.uri) for one in storage.list(root) if not one.key.startswith("report.")}


@pytest.fixture(scope="module")
def airflow(
    tmp_path_factory: pytest.TempPathFactory, s3_endpoint: str, s3_client: Any, make_s3_client: Any
) -> Iterator[Airflow]:
    home = tmp_path_factory.mktemp("airflow")
    churn = Churn(str(tmp_path_factory.mktemp("churn")), Storage(), {"endpoint_input": OFFSETS})
    churn.hours(FIRST - timedelta(hours=1), 7)
    s3_client.create_bucket(Bucket="real-scheduler", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    on_s3 = Churn("s3://real-scheduler", Storage(make_s3_client), {"endpoint_input": OFFSETS})
    on_s3.hours(FIRST - timedelta(hours=1), 2, labelled=2)
    # Told only a day later, what the truth of one prediction of each hour was.
    for hour in SIX:
        late = [label_line(f"{hour:%d%H}-7", "0")]
        churn.put(f"labels/{hour_folder(hour + timedelta(days=1))}/late.jsonl", late)
    empty = Churn(str(tmp_path_factory.mktemp("empty")), Storage(), {"endpoint_input": OFFSETS})
    later = Churn(str(tmp_path_factory.mktemp("later")), Storage(), {"endpoint_input": OFFSETS})
    dags = ("scheduled", "backfilled", "refreshed", "killed")
    monitors = {dag_id: churn.declared(output_uri=join(churn.root, dag_id), keep_merged="jsonl") for dag_id in dags} | {
        "waiting": on_s3.declared(),
        "interrupted": empty.declared(output_uri=join(churn.root, "interrupted"), keep_merged="jsonl"),
        "orphaned": later.declared(output_uri=join(churn.root, "orphaned"), keep_merged="jsonl"),
    }
    environment = environment_of(
        home,
        AIRFLOW_CONN_S3_OF_TESTS=json.dumps(
            {
                "conn_type": "aws",
                "login": "testing",
                "password": "testing",
                "extra": {"region_name": "eu-central-1", "endpoint_url": s3_endpoint},
            }
        ),
    )
    (home / "dags" / "judged.py").write_text(
        DAG_FILE.format(
            first=FIRST.isoformat(),
            last=SIX[-1].isoformat(),
            monitors=json.dumps(monitors),
            marks=str(home),
        )
    )
    six = ["--from-date", format_time(SIX[0]), "--to-date", format_time(SIX[-1])]
    two = ["--from-date", format_time(SIX[0]), "--to-date", format_time(SIX[1])]
    one = ["--from-date", format_time(SIX[0]), "--to-date", format_time(SIX[0])]
    running = Airflow(home=home, environment=environment, churn=churn, on_s3=on_s3, empty=empty, later=later)
    running.prepare(
        ["db", "migrate"],
        ["dags", "reserialize"],
        ["backfill", "create", "--dag-id", "backfilled", *six],
        ["backfill", "create", "--dag-id", "refreshed", *two, "--dag-run-conf", '{"as_of": "now"}'],
        ["backfill", "create", "--dag-id", "killed", *one],
        ["backfill", "create", "--dag-id", "waiting", *one],
        ["backfill", "create", "--dag-id", "interrupted", *one],
        ["backfill", "create", "--dag-id", "orphaned", *one],
    )
    try:
        running.start_api_server()
        running.start("scheduler", "scheduler")
        (home / "scheduler.pid").write_text(str(running.processes["scheduler"].pid))
        running.start("triggerer", "triggerer")
        yield running
    finally:
        running.end()


def test_a_backfill_judges_as_the_scheduled_runs_did(airflow: Airflow) -> None:
    airflow.until(lambda: airflow.finished("scheduled", 6), "six scheduled runs")
    airflow.until(lambda: airflow.finished("backfilled", 6), "six backfilled runs")
    assert {kind for kind, _ in airflow.states("scheduled")} == {"scheduled"}
    assert {kind for kind, _ in airflow.states("backfilled")} == {"backfill"}
    for start in SIX:
        at = start + timedelta(hours=1)
        assert airflow.report("backfilled", at) == airflow.report("scheduled", at)
        assert airflow.files("backfilled", at) == airflow.files("scheduled", at)
        assert airflow.report("scheduled", at)["merge"]["matched"] == 16


def test_a_backfill_as_of_now_sees_labels_that_came_late(airflow: Airflow) -> None:
    airflow.until(lambda: airflow.finished("refreshed", 2), "two runs as of now")
    for start in SIX[:2]:
        at = start + timedelta(hours=1)
        late, punctual = airflow.report("refreshed", at), airflow.report("scheduled", at)
        assert (late["ground_truth"]["as_of_source"], punctual["ground_truth"]["as_of_source"]) == ("now", "schedule")
        assert late["ground_truth"]["duplicate_labels"] > punctual["ground_truth"]["duplicate_labels"] == 0
        assert late["metrics"]["accuracy"] != punctual["metrics"]["accuracy"]


def test_a_merge_that_is_killed_is_tried_again_and_leaves_the_same_bytes(airflow: Airflow) -> None:
    airflow.until(lambda: airflow.finished("killed", 1), "the run whose merge is killed")
    assert (airflow.home / "killed-once").exists()
    tries = dict(airflow.ask("select task_id, try_number from task_instance where dag_id = 'killed'"))
    assert tries == {"merge_ground_truth": 2, "analyze_quality": 1}
    at = SIX[0] + timedelta(hours=1)
    assert airflow.report("killed", at) == airflow.report("scheduled", at)
    assert airflow.files("killed", at) == airflow.files("scheduled", at)


def test_a_run_waits_for_labels_in_the_triggerer_and_goes_on_when_they_come(airflow: Airflow) -> None:
    waits = "select state from task_instance where dag_id = 'waiting' and task_id = 'wait_for_ground_truth'"
    airflow.until(lambda: airflow.ask(waits) == [("deferred",)], "the sensor's deferral")
    for hour in (SIX[0] - timedelta(hours=1), SIX[0]):
        lines = [label_line(f"{hour:%d%H}-{row}", "1" if row > 4 else "0") for row in range(8)]
        airflow.on_s3.put(f"labels/{hour_folder(hour)}/b.jsonl", lines)
    airflow.until(lambda: airflow.finished("waiting", 1), "the run that waited")
    report = airflow.on_s3.report(hour_folder(SIX[0] + timedelta(hours=1)))
    assert report["ground_truth"]["as_of_source"] == "sensor"
    assert report["merge"]["label_coverage"] == 1.0


def test_a_scheduler_that_is_killed_with_all_its_tasks_costs_time_only(airflow: Airflow) -> None:
    """The scheduler of the tests above is killed in it; those below have the next one."""
    for dag_id, count in (("scheduled", 6), ("backfilled", 6), ("refreshed", 2), ("killed", 1)):
        airflow.until(lambda dag_id=dag_id, count=count: airflow.finished(dag_id, count), f"the runs of {dag_id}")
    waits = "select state from task_instance where dag_id = ? and task_id = 'wait_for_captures'"
    for dag_id in ("interrupted", "orphaned"):
        airflow.until(lambda dag_id=dag_id: airflow.ask(waits, dag_id) == [("deferred",)], f"the deferral of {dag_id}")
    killed = airflow.processes["scheduler"]
    airflow.empty.hours(FIRST - timedelta(hours=1), 7)
    airflow.until(lambda: killed.poll() is not None, "the death of the scheduler")
    assert killed.returncode == -signal.SIGKILL
    at = SIX[0] + timedelta(hours=1)
    folder = join(airflow.churn.root, "interrupted", "churn/churn-quality", hour_folder(at))
    assert not airflow.churn.storage.exists(join(folder, "report.json"))
    # the next one finds soon, not only after minutes, that nobody works on a task any more
    airflow.start(
        "scheduler",
        "scheduler",
        AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD="10",
        AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL="5",
        AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT="20",
        AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL="5",
    )
    airflow.until(lambda: airflow.finished("interrupted", 1), "the run whose scheduler was killed")
    assert airflow.report("interrupted", at) == airflow.report("scheduled", at)
    assert airflow.files("interrupted", at) == airflow.files("scheduled", at)


def test_a_worker_that_is_killed_alone_costs_time_only(airflow: Airflow) -> None:
    """Its task, left without anybody to tell, goes on; the scheduler misses its heartbeat and has another worker try again."""
    airflow.until(lambda: airflow.finished("interrupted", 1), "the scheduler that was started again")
    airflow.later.hours(FIRST - timedelta(hours=1), 7)
    airflow.until(lambda: airflow.finished("orphaned", 1), "the run whose worker was killed")
    task, worker = map(int, (airflow.home / "orphaned-once").read_text().split())
    [(missed,)] = airflow.ask(
        "select count(*) from log where dag_id = 'orphaned' and task_id = 'merge_ground_truth' and try_number = 1 "
        "and event = 'heartbeat timeout'"
    )
    assert missed == 1
    at = SIX[0] + timedelta(hours=1)
    assert airflow.report("orphaned", at) == airflow.report("scheduled", at)
    assert airflow.files("orphaned", at) == airflow.files("scheduled", at)
    for pid in (worker, task):
        airflow.until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), f"the end of process {pid}")
