"""A whole Airflow, each part a process of its own on this machine: what tests start, wait for and end."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class RealAirflow:
    """A home with a database and a folder of DAG files, and the processes that run on them."""

    home: Path
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def prepare(self, *commands: list[str]) -> None:
        """Run ``airflow`` with each of these arguments, one after another, before anything else writes to the database."""
        in_one_process = (
            "import json, sys\n"
            "from airflow.cli.cli_parser import get_parser\n"
            "for command in json.loads(sys.argv[1]):\n"
            "    given = get_parser().parse_args(command)\n"
            "    given.func(given)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", in_one_process, json.dumps(commands)],
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    def start(self, name: str, *arguments: str, **more: str) -> None:
        """Start one of Airflow's processes, with what `more` adds to the environment."""
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(Path(sys.executable).parent / "airflow"), *arguments],
                env=self.environment | more,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_api_server(self) -> None:
        """Start what tasks talk to, and wait until it answers."""
        self.start("api-server", "api-server", "--apps", "execution")
        port = int(self.environment["AIRFLOW__API__PORT"])
        answering(port, self.processes["api-server"], self.home / "api-server.log")

    def end(self) -> None:
        """End each process with all that it started, by its process group."""
        for sent in (signal.SIGTERM, signal.SIGKILL):
            for process in self.processes.values():
                try:
                    os.killpg(process.pid, sent)
                except ProcessLookupError:
                    continue
            for process in self.processes.values():
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    continue

    def states(self, dag_id: str) -> list[tuple[str, str]]:
        """Type and state of a DAG's runs, by their time."""
        return self.ask("select run_type, state from dag_run where dag_id = ? order by run_after", dag_id)

    def ask(self, query: str, *given: str) -> list[tuple[Any, ...]]:
        """What the database answers."""
        database = sqlite3.connect(f"file:{self.home}/airflow.db?mode=ro", uri=True, timeout=30)
        try:
            return database.execute(query, given).fetchall()
        finally:
            database.close()

    def until(self, holds: Any, what: str, seconds: float = 400) -> None:
        """Wait until something holds. The time is no expectation: it only ends a wait that would never end."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                runs = self.ask("select dag_id, run_id, state from dag_run")
                log = (self.home / "scheduler.log").read_text()[-3000:]
                pytest.fail(f"{what} did not come in {seconds:.0f} s: {runs}\n{log}")
            time.sleep(0.5)

    def finished(self, dag_id: str, count: int) -> bool:
        """Whether so many runs of a DAG have ended well; one that failed is none to wait for."""
        states = [state for _, state in self.states(dag_id)]
        assert "failed" not in states, (self.home / "scheduler.log").read_text()[-3000:]
        return len(states) == count and set(states) == {"success"}


def environment_of(home: Path, *, parallelism: int = 3, **more: str) -> dict[str, str]:
    """The environment of an Airflow in this home, on a port of its own, with its DAG files below ``dags``."""
    (home / "dags").mkdir()
    port = free_port()
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": "",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of tests, " * 4,
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": str(parallelism),
        # one process writes at a time; the others wait for it longer than a busy machine takes
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=120",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        **more,
    }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def answering(port: int, server: subprocess.Popen[bytes], log: Path, seconds: float = 400) -> None:
    """Wait until a server takes connections."""
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            assert server.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.2)
        else:
            return
