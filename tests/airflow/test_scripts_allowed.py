"""Users' scripts in a DAG run: only where Airflow's configuration allows them, and without what Airflow knows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_mq_provider.storage import join
from tests.airflow_world import Churn, MakeDag, Runs

DAG = 'model_quality_dag(monitor, schedule="0 * * * *", start_date=START)'
SCRIPT = b"""
import os
def preprocess_handler(record):
    assert not [name for name in os.environ if name.startswith("AIRFLOW")], "Airflow's environment is seen"
    return [] if record.ground_truth.data == "0" else {"0": record.endpoint_output.data}
"""


@pytest.fixture
def scripted(churn: Churn) -> Churn:
    churn.hours(datetime(2026, 11, 10, 8, tzinfo=UTC), 1)
    churn.storage.write(join(churn.root, "script.py"), SCRIPT)
    churn.settings["sagemaker"] = {"record_preprocessor_source_uri": join(churn.root, "script.py")}
    return churn


def test_a_monitor_with_a_script_fails_where_scripts_are_not_allowed(
    make_dag: MakeDag, runs: Runs, scripted: Churn
) -> None:
    dag = make_dag(DAG)
    runs.trigger(dag, logical_date="2026-11-10T09:00:00Z")
    assert runs.finish(dag) == {"merge_ground_truth": "failed", "analyze_quality": "upstream_failed"}
    assert scripted.reports() == []


def test_an_allowed_script_runs_without_airflows_environment(
    make_dag: MakeDag, runs: Runs, scripted: Churn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__MODEL_QUALITY__ALLOW_SCRIPTS", "True")
    dag = make_dag(DAG)
    runs.trigger(dag, logical_date="2026-11-10T09:00:00Z")
    assert set(runs.finish(dag).values()) == {"success"}
    assert scripted.report("2026/11/10/09")["capture"]["dropped"] == 5
