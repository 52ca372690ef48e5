"""A model's captures and labels for Airflow to run on, and DAG runs made in all the ways in which Airflow makes them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import hour_folder
from tests.world import capture_line, label_line


@dataclass
class Churn:
    """Captures and labels of an endpoint under a root: hour by hour eight predictions, all of them labelled."""

    root: str
    storage: Storage
    settings: dict[str, Any] = field(default_factory=dict)

    def hours(self, first: datetime, count: int, *, labelled: int = 8, wrong: int = 0) -> None:
        """Predictions at twenty past each of so many hours; labels collected in the same hour, so many say otherwise."""
        for number in range(count):
            hour = first + timedelta(hours=number)
            ids = [f"{hour:%d%H}-{row}" for row in range(8)]
            time = hour + timedelta(minutes=20)
            captured = [capture_line(id, f"0.{row + 1}", time=time) for row, id in enumerate(ids)]
            labels = [label_line(id, "1" if (row > 4) != (row < wrong) else "0") for row, id in enumerate(ids)][
                :labelled
            ]
            self.put(f"capture/churn/AllTraffic/{hour_folder(hour)}/a.jsonl", captured)
            if labels:
                self.put(f"labels/{hour_folder(hour)}/a.jsonl", labels)

    def transforms(self, hour: datetime, *, wrong: int = 0) -> None:
        """Have the monitor judge a batch transform instead: eight predictions of an hour, as many labels, so many wrong."""
        time = f"{hour + timedelta(minutes=20):%Y-%m-%dT%H:%M:%SZ}"
        self.put("results/part-1.csv.out", [f"5,0.{row + 1},{hour:%d%H}-{row},{time}".encode() for row in range(8)])
        manifest = [{"prefix": join(self.root, "results") + "/"}, "part-1.csv.out"]
        self.put(f"batch/output/{hour_folder(hour)}/a.json", [json.dumps(manifest).encode()])
        labels = [label_line(f"{hour:%d%H}-{row}", "1" if (row > 4) != (row < wrong) else "0") for row in range(8)]
        self.put(f"labels/{hour_folder(hour)}/a.jsonl", labels)
        self.settings["batch_transform_input"] = {
            "data_captured_destination_uri": join(self.root, "batch"),
            "dataset_format": {"csv": {"header": False}},
            "probability_attribute": "1",
        }

    def put(self, key: str, lines: list[bytes]) -> None:
        self.storage.write(join(self.root, key), b"".join(line + b"\n" for line in lines))

    def declared(self, **settings: Any) -> dict[str, Any]:
        """The monitor's fields; ``endpoint_input`` of the settings is added to its own."""
        settings = {**self.settings, **settings}
        source = {
            "endpoint_name": "churn",
            "data_captured_destination_uri": join(self.root, "capture"),
            "probability_attribute": "0",
            **settings.pop("endpoint_input", {}),
        }
        return {
            "name": "churn-quality",
            "problem_type": "BinaryClassification",
            **({} if "batch_transform_input" in settings else {"endpoint_input": source}),
            "ground_truth_uri": join(self.root, "labels"),
            "output_uri": join(self.root, "reports"),
            **settings,
        }

    def constrained(self, **thresholds: float) -> None:
        """Have the monitor judge by these metrics, each not to be less."""
        constraints = {
            name: {"threshold": value, "comparison_operator": "LessThanThreshold"} for name, value in thresholds.items()
        }
        document = {"version": 0.0, "binary_classification_constraints": constraints}
        self.storage.write(join(self.root, "constraints.json"), json.dumps(document).encode())
        self.settings["constraints_uri"] = join(self.root, "constraints.json")

    def report(self, folder: str) -> dict[str, Any]:
        """The report.json in a folder below the monitor's."""
        found: dict[str, Any] = json.loads(
            self.storage.read(join(self.root, "reports/churn/churn-quality", folder, "report.json"))
        )
        return found

    def reports(self) -> list[str]:
        """The folders that hold a report."""
        listed = self.storage.list(join(self.root, "reports/churn/churn-quality"))
        return [one.key.removesuffix("/report.json") for one in listed if one.key.endswith("/report.json")]


HEADER = """\
import json
from datetime import UTC, datetime, timedelta
from functools import partial

from airflow.sdk import DAG, Asset

from airflow_mq_provider import ModelQualityMonitor, ModelQualityTaskGroup, model_quality_dag
from tests.airflow_versions import AssetOrTimeSchedule, CronDataIntervalTimetable, CronTriggerTimetable, DeltaDataIntervalTimetable

monitor = ModelQualityMonitor.model_validate(json.loads({declared!r}))
START = datetime(2020, 1, 1, tzinfo=UTC)
# what a test makes is its own, and a task that fails does so at once
model_quality_dag = partial(model_quality_dag, dag_id={dag_id!r}, default_args={{"retries": 0}})
DAG = partial(DAG, dag_id={dag_id!r})
"""

MakeDag = Callable[..., Any]


@cache
def _api() -> tuple[Any, str]:
    """Airflow's REST API and a token for it: one for all tests of a process, as it takes seconds to make."""
    from airflow.api_fastapi.app import create_app
    from fastapi.testclient import TestClient

    api = TestClient(create_app())
    return api, api.get("/auth/token").json()["access_token"]


class Runs:
    """DAG runs, made and executed as Airflow makes and executes them."""

    def scheduled(self) -> None:
        """Let the scheduler make the runs that are due: the next one of each schedule, those that asset events trigger."""
        from airflow.configuration import conf
        from airflow.jobs.job import Job
        from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
        from airflow.models.dag import DagModel
        from airflow.utils.session import create_session
        from airflow.utils.sqlalchemy import prohibit_commit

        # One loop makes runs of ten DAGs, the longest due first: those that earlier tests left behind would come before
        # the test's own. Airflow's DAG processor does the same with files that are gone.
        there = [path.name for path in Path(conf.get("core", "dags_folder")).glob("*.py")]
        with create_session() as session:
            DagModel.deactivate_deleted_dags("dags-folder", there, session=session)
        scheduler = SchedulerJobRunner(Job())  # type: ignore[no-untyped-call] # Airflow's own, as the next
        with create_session() as session, prohibit_commit(session) as guard:  # type: ignore[no-untyped-call]
            scheduler._create_dagruns_for_dags(guard, session)
            guard.commit()

    def backfill(self, dag: Any, first: str, last: str, *more: str) -> None:
        """``airflow backfill create``: bounds are logical dates, both included."""
        self.cli("backfill", "create", "--dag-id", dag.dag_id, "--from-date", first, "--to-date", last, *more)

    def cli(self, *arguments: str) -> None:
        """Run ``airflow`` with these arguments, in this process."""
        from airflow.cli.cli_parser import get_parser

        given = get_parser().parse_args(list(arguments))
        given.func(given)

    def get(self, path: str) -> Any:
        """Ask Airflow's REST API, as its pages do, and return the response."""
        return self._ask("GET", path)

    def post(self, path: str, **body: Any) -> Any:
        """Have Airflow's REST API make something, and return the response."""
        return self._ask("POST", path, json=body)

    def patch(self, path: str, **body: Any) -> Any:
        """Have Airflow's REST API change something, and return the response."""
        return self._ask("PATCH", path, json=body)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        api, token = _api()
        return api.request(method, f"/api/v2{path}", headers={"Authorization": f"Bearer {token}"}, **more)

    def trigger(self, dag: Any, **body: Any) -> None:
        """Make a run over the REST API, which is what the Trigger button does."""
        # Before Airflow 3.2 two runs that are made in the same second get the same id.
        made = self.post(f"/dags/{dag.dag_id}/dagRuns", **{"dag_run_id": f"manual__{uuid.uuid4().hex}"} | body)
        assert made.status_code == 200, made.text

    def asset_event(self, uri: str) -> None:
        """Tell Airflow that an asset was updated."""
        from airflow.models.asset import AssetModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            asset = session.scalars(select(AssetModel).where(AssetModel.uri == uri)).one()
        made = self.post("/assets/events", asset_id=asset.id)
        assert made.status_code == 200, made.text

    def of(self, dag: Any) -> list[Any]:
        """All runs of a DAG, in the order in which they were made."""
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            return list(session.scalars(select(DagRun).where(DagRun.dag_id == dag.dag_id).order_by(DagRun.id)))

    def clear(self, dag: Any, *task_ids: str, run_id: str | None = None) -> None:
        """Clear these tasks of a run, by default of the DAG's only one, as a user does on Airflow's pages."""
        if run_id is None:
            [run_id] = [run.run_id for run in self.of(dag)]
        made = self.post(
            f"/dags/{dag.dag_id}/clearTaskInstances",
            dry_run=False,
            dag_run_id=run_id,
            task_ids=list(task_ids),
            only_failed=False,
        )
        assert made.status_code == 200, made.text

    def asset_events(self, uri: str) -> list[dict[str, Any]]:
        """What the events of an asset carry, in the order in which they came."""
        from airflow.models.asset import AssetEvent, AssetModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            asset = select(AssetModel.id).where(AssetModel.uri == uri).scalar_subquery()
            events = session.scalars(select(AssetEvent).where(AssetEvent.asset_id == asset).order_by(AssetEvent.id))
            return [dict(event.extra) for event in events]

    def finish(self, dag: Any, run_id: str | None = None) -> dict[str, str]:
        """Execute the tasks of a run, by default of the DAG's only one, and return their states by task.

        A run in which a task waits for a person's answer is left there; once that is given, the next call goes on.
        """
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState, TaskInstanceState
        from sqlalchemy import select

        from tests.airflow_versions import DagSerialization, run_task

        if run_id is None:
            [run_id] = [run.run_id for run in self.of(dag)]
        of_scheduler = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
        with create_session() as session:
            query = select(DagRun).where(DagRun.dag_id == dag.dag_id, DagRun.run_id == run_id)
            run = session.scalars(query).one()
            run.dag = of_scheduler
            if run.state == DagRunState.QUEUED:
                run.state = DagRunState.RUNNING
                run.start_date = run.queued_at
            session.commit()
            while run.state == DagRunState.RUNNING:
                answered = run.get_task_instances([TaskInstanceState.SCHEDULED], session=session)
                ready, _ = run.update_state(session=session)
                for task in ready:
                    task.try_number += 1
                    task.state = TaskInstanceState.SCHEDULED
                session.commit()
                for task in (*answered, *ready):
                    run_task(task, dag.task_dict[task.task_id])
                session.expire_all()
                # a state of Airflow 3.3 and later
                if not ready and any(
                    task.state == "awaiting_input" for task in run.get_task_instances(session=session)
                ):
                    break
            return {task.task_id: str(task.state) for task in run.get_task_instances(session=session)}

    def xcom(self, dag: Any, task_id: str, run_id: str | None = None, key: str = "return_value") -> Any:
        """What a task of a run returned."""
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        if run_id is None:
            [run_id] = [run.run_id for run in self.of(dag)]
        with create_session() as session:
            query = select(XComModel).where(
                XComModel.dag_id == dag.dag_id,
                XComModel.run_id == run_id,
                XComModel.task_id == task_id,
                XComModel.key == key,
            )
            return session.scalars(query).one().value


class FakeTaskInstance:
    """As much of a task instance as names it."""

    dag_id, run_id, task_id, map_index = "of_a_test", "scheduled__2026-11-10T09:00:00+00:00", "of_a_test", -1

    def __init__(self, try_number: int) -> None:
        self.try_number = try_number


class FakeContext(dict[str, Any]):
    """The context of a task that needs no more of its run than this."""

    def __init__(self, *, try_number: int = 1, **more: Any) -> None:
        super().__init__(ti=FakeTaskInstance(try_number), **more)
