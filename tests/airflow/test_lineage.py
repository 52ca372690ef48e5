"""What a run tells OpenLineage: an Airflow of its own, which the real provider of OpenLineage listens to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.storage import Storage
from tests.airflow_world import Churn

pytest.importorskip("airflow.providers.openlineage.extractors", reason="OpenLineage's provider is not installed")

DAG_FILE = """\
import json
from datetime import UTC, datetime
from airflow_mq_provider import ModelQualityMonitor, model_quality_dag

monitor = ModelQualityMonitor.model_validate(json.loads({declared!r}))
model_quality_dag(monitor, schedule="0 * * * *", start_date=datetime(2020, 1, 1, tzinfo=UTC), aws_conn_id="s3_of_tests")
"""
COMMANDS = """\
from airflow.cli.cli_parser import get_parser

for command in (["db", "migrate"], ["dags", "test", "churn-quality", "2026-11-10T09:00:00+00:00"]):
    given = get_parser().parse_args(command)
    given.func(given)
"""


def told_of(churn: Churn, home: Path) -> dict[str, Any]:
    """The event at the end of each task of a run at nine, by the task's name, as the file transport wrote it."""
    (home / "dags").mkdir(parents=True)
    (home / "dags/judged.py").write_text(DAG_FILE.format(declared=json.dumps(churn.declared())))
    log = home / "lineage.jsonl"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")} | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of tests, " * 4,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(log), "append": True}),
    }
    done = subprocess.run([sys.executable, "-c", COMMANDS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return {one["job"]["name"].split(".")[-1]: one for one in events if one["eventType"] == "COMPLETE"}


def test_a_run_tells_what_it_read_and_wrote_and_which_constraints_held(
    tmp_path: Path, s3_storage: Storage, s3_bucket: str, aws_connection: str
) -> None:
    churn = Churn(f"s3://{s3_bucket}/churn", s3_storage)
    churn.hours(datetime(2026, 11, 10, 8, tzinfo=UTC), 1, wrong=3)
    churn.constrained(accuracy=0.9, recall=0.1)
    told = told_of(churn, tmp_path / "airflow")
    for task in ("merge_ground_truth", "analyze_quality"):
        captures, labels = told[task]["inputs"]
        assert (captures["namespace"], captures["name"]) == (f"s3://{s3_bucket}", "churn/capture/churn/AllTraffic")
        assert (labels["namespace"], labels["name"]) == (f"s3://{s3_bucket}", "churn/labels")
        for read in (captures, labels):
            figures = read["inputFacets"]["dataQualityMetrics"]
            assert (figures["rowCount"], figures["fileCount"]) == (8, 1)
        [report] = told[task]["outputs"]
        assert report["namespace"] == f"s3://{s3_bucket}"
        assert report["name"] == "churn/reports/churn/churn-quality/2026/11/10/09"
        assert report["facets"]["dataQualityMetrics"]["rowCount"] == 8
    judged = told["analyze_quality"]["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert {one["assertion"]: one["success"] for one in judged} == {"accuracy >= 0.9": False, "recall >= 0.1": True}
    assert "dataQualityAssertions" not in told["merge_ground_truth"]["inputs"][0]["inputFacets"]


def test_a_hand_over_of_sagemakers_merger_names_its_places_without_figures(tmp_path: Path) -> None:
    from airflow_mq_provider.monitor import ModelQualityMonitor
    from airflow_mq_provider.operators.lineage import lineage_of
    from airflow_mq_provider.window import resolve_window

    hour = datetime(2026, 11, 10, 8, tzinfo=UTC), datetime(2026, 11, 10, 9, tzinfo=UTC)
    window = resolve_window(start_offset=None, end_offset=None, interval=hour, run_after=None, period_before=None)
    declared = Churn("s3://bucket/churn", Storage()).declared()
    told = lineage_of(ModelQualityMonitor.model_validate(declared), window, {"without_rows": None})
    assert [one.name for one in told.inputs] == ["churn/capture/churn/AllTraffic", "churn/labels"]
    assert [one.inputFacets["dataQualityMetrics"].rowCount for one in told.inputs] == [None, None]


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("s3://bucket/a/b/", ("s3://bucket", "a/b")),
        ("s3://bucket", ("s3://bucket", "/")),
        ("/data/labels", ("file", "/data/labels")),
        ("file:///data/labels", ("file", "/data/labels")),
    ],
)
def test_a_place_is_named_as_openlineage_names_it(uri: str, named: tuple[str, str]) -> None:
    from airflow_mq_provider.operators.lineage import dataset_name

    assert dataset_name(uri) == named
