"""A folder of monitors through a real scheduler and LocalExecutor: all of them judged but one, which is named.

Twenty in every CI run; `make test-fleet` has five hundred.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from airflow_mq_provider.storage import Storage, join
from tests.airflow_world import Churn
from tests.real_airflow import RealAirflow, environment_of

MONITORS = int(os.environ.get("FLEET_MONITORS", "12"))
MERGE_APART = os.environ.get("FLEET_TASKS", "2") == "2"
"""Whether a monitor is two tasks, or one."""
LONGEST = 60 + 20 * MONITORS
"""Seconds after which nobody waits any more."""

pytestmark = [pytest.mark.system, pytest.mark.timeout(LONGEST + 200)]

HOUR = datetime(2026, 11, 10, 8, tzinfo=UTC)
DAG_FILE = """
from datetime import datetime
from airflow_mq_provider import model_quality_fleet_dag

at = datetime.fromisoformat({at!r})
dag = model_quality_fleet_dag(
    {folder!r}, schedule="0 * * * *", start_date=at, end_date=at, catchup=True, merge_apart={merge_apart}
)
"""


@dataclass(kw_only=True)
class Fleet(RealAirflow):
    """An Airflow that judges a folder of monitors, all but one of them good."""

    churn: Churn
    good: list[str]

    @property
    def reported(self) -> set[str]:
        """Names of the monitors that have a report of the window."""
        listed = self.churn.storage.list(join(self.churn.root, "reports/churn"))
        return {one.key.split("/")[0] for one in listed if one.key.endswith("/2026/11/10/09/report.json")}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("airflow")
    churn = Churn(str(tmp_path_factory.mktemp("churn")), Storage())
    churn.hours(HOUR, 1)
    churn.constrained(accuracy=0.5)
    good = [f"model-{number:04d}" for number in range(MONITORS - 1)]
    for name in good:
        declared = json.dumps(churn.declared(name=name)).encode()
        churn.storage.write(join(churn.root, f"monitors/{name}.json"), declared)
    broken = churn.declared(name="model-broken", treshold=0.5)
    churn.storage.write(join(churn.root, "monitors/broken.json"), json.dumps(broken).encode())
    # the scheduler looks at every waiting task each time
    environment = environment_of(home, parallelism=4, AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME="1")
    source = DAG_FILE.format(at=HOUR.isoformat(), folder=join(churn.root, "monitors"), merge_apart=MERGE_APART)
    (home / "dags" / "fleet.py").write_text(source)
    running = Fleet(home=home, environment=environment, churn=churn, good=good)
    running.prepare(["db", "migrate"], ["dags", "reserialize"])
    try:
        running.start_api_server()
        running.start("scheduler", "scheduler")
        yield running
    finally:
        running.end()


def test_every_monitor_of_the_folder_is_judged_but_the_broken_one_which_is_named(fleet: Fleet) -> None:
    ended = {("scheduled", "success"), ("scheduled", "failed")}
    fleet.until(lambda: set(fleet.states("monitors")) & ended, "the end of the run", LONGEST)
    assert fleet.reported == set(fleet.good)
    assert fleet.states("monitors") == [("scheduled", "failed")]
    judged = fleet.ask(
        "select rendered_map_index, state from task_instance where dag_id = 'monitors' and task_id = 'judge.analyze_quality'"
    )
    assert {name for name, state in judged if state == "success"} == set(fleet.good)
    failed = fleet.ask(
        "select task_id, rendered_map_index, try_number from task_instance where dag_id = 'monitors' and state = 'failed'"
    )
    first = "judge.merge_ground_truth" if MERGE_APART else "judge.analyze_quality"
    assert failed == [(first, "broken", 1)]  # at once, as a retry cannot help
    [log] = [path for path in (fleet.home / "logs").rglob("*.log") if "treshold" in path.read_text()]
    assert first in str(log)
    assert "broken.json" in log.read_text()


def test_each_verdict_is_an_event_of_its_own_monitor(fleet: Fleet) -> None:
    fleet.until(lambda: fleet.states("monitors") == [("scheduled", "failed")], "the end of the run", LONGEST)
    told = fleet.ask("select asset.name, asset_event.extra from asset_event join asset on asset.id = asset_id")
    assert sorted(name for name, _ in told) == [f"x-model-quality://{name}" for name in fleet.good]
    verdicts = {re.sub("x-model-quality://", "", name): json.loads(extra) for name, extra in told}
    assert {one["status"] for one in verdicts.values()} == {"Completed"}
    assert {one["monitor"] for one in verdicts.values()} == set(fleet.good)
    [(started, ended)] = fleet.ask("select start_date, end_date from dag_run where dag_id = 'monitors'")
    taken = datetime.fromisoformat(ended) - datetime.fromisoformat(started)
    assert taken > timedelta(0)
    print(f"{MONITORS} monitors in {taken.total_seconds():.0f} s")  # noqa: T201 - for docs/fleet.md; pytest -s shows it
