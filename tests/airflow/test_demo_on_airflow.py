"""The demo on Airflow, as `make demo` runs it: from nothing to one table, also where an earlier one was stopped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[2] / "README.md"
SCRIPT = Path(__file__).parents[2] / "tools" / "demo_on_airflow.py"


def rows(table: str) -> list[list[str]]:
    """The cells of the table's rows; cells are two blanks apart."""
    lines = table.splitlines()
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[2 : lines.index("")]]


@pytest.mark.timeout(600)
def test_the_demo_judges_every_window_on_airflow_whatever_an_earlier_one_left(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    command: dict[str, Any] = {
        "args": [sys.executable, str(SCRIPT), "demo"],
        "cwd": tmp_path,
        "env": environment | {"HOME": str(home)},
        "text": True,
    }
    with subprocess.Popen(**command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as stopped:
        assert stopped.stderr is not None
        assert any("judging its windows" in line for line in stopped.stderr), "it ended before it judged"
        stopped.kill()
    done = subprocess.run(**command, capture_output=True)
    assert done.returncode == 0, done.stderr
    table = done.stdout
    assert list(home.iterdir()) == [], "something was written outside of the demo's folder"
    judged = rows(table)
    assert len(judged) == 24
    violated = {(row[0], row[1]) for row in judged if "CompletedWithViolations" in row}
    assert violated == {("diabetes", f"2026-11-{day:02}") for day in range(5, 9)}
    changed = json.loads((tmp_path / "demo" / "what-changed.json").read_text())
    assert changed["column"] in table
    shown = [line.split() for line in README.read_text().splitlines() if line.startswith("diabetes  2026")]
    assert shown == [line.split() for line in table.splitlines() if line.startswith("diabetes  2026")]
    assert len(shown) == 8
    [page] = re.findall(r"^ +one report +open (\S+) in a browser$", table, re.MULTILINE)
    assert Path(page).is_file()
    assert "2026/11/08/00" in page, "not the first window of the model that gets worse"
    assert "make ui" in table
    for guide in re.findall(r"docs/\w+\.md", table):
        assert (README.parent / guide).is_file()
    for row in judged:
        assert (tmp_path / "demo" / row[-1] / "report.json").is_file()


def test_the_demo_on_airflow_needs_a_folder_and_says_so() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage:" in done.stderr
