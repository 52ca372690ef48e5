"""What the documentation promises a newcomer: the wheel in an empty environment, outside of the clone, and ten lines of DAG."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_mq_provider.storage import Storage
from tests.airflow_world import Churn

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).parent / "uv")


class Newcomer:
    """Somebody with the wheel, a folder and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dags = folder / "dags"
        self.dags.mkdir()
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "VIRTUAL"))
        } | {
            "VIRTUAL_ENV": str(folder / "env"),
            "PATH": f"{folder / 'env' / 'bin'}:{os.environ['PATH']}",
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }

    def run(self, *command: str) -> str:
        """Run a command outside of the clone, and return what it printed."""
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    newcomer = Newcomer(tmp_path_factory.mktemp("newcomer"))
    constraints = str(ROOT / "constraints.txt")
    newcomer.run(UV, "build", "--quiet", "--wheel", "-b", constraints, "--out-dir", "dist", str(ROOT))
    [wheel] = (newcomer.folder / "dist").glob("*.whl")
    newcomer.run(UV, "venv", "--quiet", "--python", sys.executable, "env")
    newcomer.run(UV, "pip", "install", "--quiet", "-c", constraints, str(wheel))
    newcomer.run("airflow", "db", "migrate")
    return newcomer


def test_the_package_is_that_of_the_wheel(newcomer: Newcomer) -> None:
    where = newcomer.run("python", "-c", "import airflow_mq_provider; print(airflow_mq_provider.__file__)")
    assert Path(where.splitlines()[-1]).is_relative_to(newcomer.folder / "env")


def test_airflow_lists_the_provider(newcomer: Newcomer) -> None:
    assert "airflow-mq-provider" in newcomer.run("airflow", "providers", "list", "-o", "plain")


@pytest.fixture(scope="module")
def churn(newcomer: Newcomer) -> Churn:
    """What the endpoint of the documentation's samples captured on the first day of 2020."""
    churn = Churn(str(newcomer.folder / "data"), Storage(), {"name": "churn-model-quality"})
    churn.hours(datetime(2020, 1, 1, tzinfo=UTC), 14)
    return churn


OFFSETS = {"start_time_offset": "-PT8H", "end_time_offset": "-PT2H"}


def reported(newcomer: Newcomer, dag_id: str, output: Path) -> dict[str, Any]:
    """Test a DAG for one time as a user does; it is to write one report, which is returned."""
    newcomer.run("airflow", "dags", "test", dag_id, "2020-01-01T13:00:00+00:00")
    reports = sorted(path.relative_to(output) for path in output.rglob("report.json"))
    assert [str(path) for path in reports] == ["churn/churn-model-quality/2020/01/01/13/report.json"]
    report: dict[str, Any] = json.loads((output / reports[0]).read_text())
    return report


def judges_05_to_11(report: dict[str, Any]) -> None:
    assert (report["window"]["start"], report["window"]["end"]) == ("2020-01-01T05:00:00Z", "2020-01-01T11:00:00Z")
    assert report["merge"]["matched"] == 6 * 8


def test_the_readme_s_dag_judges_the_window_of_the_time_it_is_tested_for(newcomer: Newcomer, churn: Churn) -> None:
    [snippet] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    # one's own offsets and places, as a user puts them in
    mine = {
        '"-P8D"': '"-PT8H"',
        '"-P1D"': '"-PT2H"',
        "s3://bucket/reports": str(newcomer.folder / "of-readme"),
        '    constraints_uri="s3://bucket/baseline/constraints.json",\n': "",
        "s3://bucket": churn.root,
    }
    for of_readme, own in mine.items():
        assert of_readme in snippet
        snippet = snippet.replace(of_readme, own)
    (newcomer.dags / "of_readme.py").write_text(snippet)
    judges_05_to_11(reported(newcomer, "churn-model-quality", newcomer.folder / "of-readme"))


def test_the_dag_of_ten_lines_judges_the_window_of_the_time_it_is_tested_for(newcomer: Newcomer, churn: Churn) -> None:
    [snippet] = re.findall(
        r"A DAG in ten lines.*?```python\n(.*?)```", (ROOT / "docs/airflow.md").read_text(), re.DOTALL
    )
    assert len([line for line in snippet.splitlines() if line.strip()]) <= 10
    (newcomer.dags / "of_guide.py").write_text(snippet)
    output = newcomer.folder / "of-guide"
    declared = churn.declared(endpoint_input=OFFSETS, output_uri=str(output))
    (newcomer.dags / "churn.yaml").write_text(yaml.safe_dump(declared))
    judges_05_to_11(reported(newcomer, "churn", output))
