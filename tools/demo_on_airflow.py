"""``python tools/demo_on_airflow.py DIR``: the demo's windows, judged by Airflow's DAGs in this one process.

Makes the demo data below DIR, gives Airflow a home of its own in DIR/airflow, takes up dags/model_quality_demo.py there, and
runs each monitor's windows one by one as ``airflow dags test`` does: a DAG run in a database, tasks, XCom and asset events,
without scheduler and executor. Prints one table on standard output; everything Airflow says is in DIR/airflow/airflow.log. May be
run again at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DAG_FILE = Path(__file__).parents[1] / "dags" / "model_quality_demo.py"


def prepare(home: Path, demo: Path) -> None:
    """Give Airflow its home. Read when Airflow is first imported, so nothing here imports it before."""
    dags = home / "dags"
    dags.mkdir(parents=True, exist_ok=True)
    shutil.copy(DAG_FILE, dags)
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        del os.environ[name]
    os.environ.update(
        AIRFLOW_HOME=str(home),
        AIRFLOW__CORE__DAGS_FOLDER=str(dags),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home}/airflow.db",
        AIRFLOW__LOGGING__BASE_LOG_FOLDER=str(home / "logs"),
        AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
        MODEL_QUALITY_DEMO=str(demo),
    )


@contextlib.contextmanager
def said_to(log: Path) -> Iterator[None]:
    """Send to a file what this process and its children say, whichever way."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def judged(demo: Path, home: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run every window of every DAG, and yield the DAG's id with each report."""
    with said_to(home / "airflow.log"):
        from airflow.dag_processing.dagbag import BundleDagBag
        from airflow.utils.db import initdb

        initdb()
        bag = BundleDagBag(dag_folder=str(home / "dags"), bundle_path=home / "dags", bundle_name="dags-folder")
    times = json.loads((demo / "demo.json").read_text())["scheduled_times"]
    for dag_id, dag in sorted(bag.dags.items()):
        for at in times:
            with said_to(home / "airflow.log"):
                from airflow.sdk.timezone import parse

                run = dag.test(logical_date=parse(at))
            if run.state != "success":
                raise SystemExit(f"{dag_id}: the run of {at} is {run.state}; {home / 'airflow.log'} tells why")
            yield dag_id, report_of(run)


def report_of(run: Any) -> dict[str, Any]:
    """Return the report that a run's analysis wrote, found as a user finds it: by what the task returned."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    of_run = XComModel.get_many(run_id=run.run_id, dag_ids=run.dag_id, task_ids="analyze_quality", key="return_value")
    with create_session() as session:
        summary: Any = session.scalars(of_run).one()
        report: dict[str, Any] = json.loads(Path(summary.value["report_uri"]).read_text())
        return report


def next_steps(reports: list[dict[str, Any]]) -> str:
    """Return what to do with what was judged, in a few lines."""
    worse = next(report for report in reports if report["status"] == "CompletedWithViolations")
    return f"""
Next:
  one report       open {worse["output"]}/report.html in a browser
  all, over time   make ui
  your own data    docs/formats.md says how captures and labels are stored, docs/airflow.md how a DAG is made of them
"""


def main(arguments: list[str]) -> int:
    """Make the demo, judge its windows on Airflow, print the table."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python tools/demo_on_airflow.py DIR\n")
        return 2
    demo = Path(arguments[0]).resolve()
    home = demo / "airflow"
    started = time.monotonic()

    def say(message: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - started:5.1f} s] {message}\n")

    from airflow_mq_provider.demo import make, table
    from airflow_mq_provider.exceptions import ModelQualityError

    try:
        make(demo, progress=say)
        prepare(home, demo)
        say(f"Airflow gets a home of its own in {home}")
        reports = []
        current = None
        for dag_id, report in judged(demo, home):
            if dag_id != current:
                current = dag_id
                say(f"{dag_id}: judging its windows, one DAG run each")
            reports.append(report)
    except ModelQualityError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    say("done")
    sys.stdout.write(table(reports, demo) + "\n" + next_steps(reports))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
