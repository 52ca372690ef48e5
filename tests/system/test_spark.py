"""Spark as users have it: the wheel under `spark-submit`, and over a Spark Connect server, on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from airflow_mq_provider.storage import Storage
from tests.loopback import SPARK
from tests.world import T, World, capture_line, label_line

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.usefixtures("java")]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LOCAL = tuple(word for name, value in SPARK.items() for word in ("--conf", f"{name}={value}"))

# one process judges all monitors: starting Spark takes longer than they do
COMMAND = """
import sys
from pathlib import Path
import airflow_mq_provider
from airflow_mq_provider import cli

assert Path(airflow_mq_provider.__file__).is_relative_to({site!r}), airflow_mq_provider.__file__
engine, *monitors = sys.argv[1:]
times = ["--at", "2026-11-02T12:00:00Z", "--interval-start", "2026-11-02T11:00:00Z"]
sys.exit(max(cli.main(["run", monitor, *times, "--engine", engine, "--json"]) for monitor in monitors))
"""

BY_CONNECTION = """
from airflow_mq_provider.hooks.spark import spark_of

with spark_of("spark_of_tests"):
    {command}
"""

PROBLEMS = ("BinaryClassification", "MulticlassClassification", "Regression")


@dataclass(frozen=True)
class User:
    """Somebody with the wheel, monitors, and what Spark needs to start its Python workers."""

    folder: Path
    worlds: dict[str, World]
    environment: dict[str, str]

    def script(self, *, by_connection: bool = False) -> str:
        code = COMMAND.format(site=str(self.folder / "site"))
        path = self.folder / "script.py"
        path.write_text(BY_CONNECTION.format(command=indent(code, "    ").strip()) if by_connection else code)
        return str(path)

    def reports(
        self, *command: str, engine: str, problems: Sequence[str] = PROBLEMS, **environment: str
    ) -> dict[str, Any]:
        """What runs print and write, by problem, without what may differ between engines."""
        run = subprocess.run(
            [*command, engine, *(str(self.folder / f"{problem}.json") for problem in problems)],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr[-4000:]
        found, rest = {}, run.stdout
        for problem in problems:
            files = self.worlds[problem].written()
            report = json.loads(files["report.json"])
            # spark-submit hands on what its Python says on standard error as standard output
            printed, end = json.JSONDecoder().raw_decode(rest, rest.index("{"))
            rest = rest[end:]
            assert printed == report
            assert report["engine"] == engine
            assert report["merge"]["matched"] == 560
            for name in ("engine", "versions", "timings", "replaces", "revision"):
                report.pop(name, None)
            found[problem] = {**files, "report.json": report}
        return found


@pytest.fixture(scope="module")
def java() -> None:
    if shutil.which("java") is None:
        if "CI" in os.environ:
            pytest.fail("no Java on the PATH: .ci/run installs it")
        pytest.skip("no Java on the PATH (on Debian: apt-get install default-jre-headless)")


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> User:
    folder = tmp_path_factory.mktemp("user")
    site = folder / "site"
    for command in (
        ("build", "--quiet", "--wheel", "-b", "constraints.txt", "--out-dir", str(folder / "dist"), "."),
        ("pip", "install", "--quiet", "--no-deps", "--target", str(site), "--find-links", str(folder / "dist"), "--no-index"),
    ):  # fmt: skip
        wheel = ("airflow-mq-provider",) if command[0] == "pip" else ()
        subprocess.run(
            [BIN / "uv", *command, *wheel], cwd=ROOT, check=True, env=os.environ | {"VIRTUAL_ENV": str(BIN.parent)}
        )
    worlds = {problem: world(str(folder / "data"), problem) for problem in PROBLEMS}
    for problem, made in worlds.items():
        (folder / f"{problem}.json").write_text(made.monitor().model_dump_json(exclude_defaults=True))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK", "PYSPARK"))} | {
        "PYTHONPATH": str(site),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    return User(folder, worlds, environment)


def world(root: str, problem: str) -> World:
    """Two hours of captures, one of their lines broken, some without a label, for a monitor of each problem."""
    binary = problem == "BinaryClassification"
    settings: dict[str, Any] = {
        "problem_type": problem, "keep_merged": "jsonl", "segments": {"input_attribute": 0}, "endpoint": {"start_time_offset": "-PT2H"},
    }  # fmt: skip
    if not binary:
        settings["endpoint"] |= {"probability_attribute": None, "inference_attribute": "0"}
    made = World(Storage(), f"{root}/{problem}", "local", settings)
    for hours in (1, 2):
        lines = [
            capture_line(f"{hours}-{n}", f"0.{n % 10}", time=T - timedelta(hours=hours), given=f"{n % 3},1")
            for n in range(300)
        ]
        made.captures(*lines, b"broken", hour=T - timedelta(hours=hours))
    truths = [str(int(n % 10 > 4)) if binary else f"0.{n * n % 10}" for n in range(280)]
    made.labels(*[label_line(f"{hours}-{n}", truth) for hours in (1, 2) for n, truth in enumerate(truths)])
    return made


@pytest.fixture(scope="module")
def expected(user: User) -> dict[str, Any]:
    """What the local engine reports of the same wheel."""
    return user.reports(sys.executable, user.script(), engine="local")


def test_spark_submit_gives_the_local_engine_s_reports(user: User, expected: dict[str, Any]) -> None:
    assert user.reports(str(BIN / "spark-submit"), *LOCAL, user.script(), engine="spark") == expected


@pytest.fixture(scope="module")
def port(user: User) -> Iterator[int]:
    """The port of a Spark Connect server on the loopback interface, in a process group of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    log = (user.folder / "server.log").open("wb")
    server = subprocess.Popen(
        [
            BIN / "spark-submit", *LOCAL, "--conf", "spark.connect.grpc.binding.address=127.0.0.1",
            "--conf", f"spark.connect.grpc.binding.port={port}",
            "--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal",
        ],
        env=user.environment, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 300
        while not _listens(port):
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail((user.folder / "server.log").read_text()[-3000:])
            time.sleep(0.5)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        log.close()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_spark_connect_gives_the_local_engine_s_reports(user: User, expected: dict[str, Any], port: int) -> None:
    found = user.reports(sys.executable, user.script(), engine="spark", SPARK_REMOTE=f"sc://127.0.0.1:{port}")
    assert found == expected


def test_so_does_spark_connect_over_a_connection_of_airflow_s(user: User, expected: dict[str, Any], port: int) -> None:
    pytest.importorskip("airflow.providers.apache.spark")
    found = user.reports(
        sys.executable,
        user.script(by_connection=True),
        engine="spark",
        problems=PROBLEMS[:1],
        AIRFLOW_CONN_SPARK_OF_TESTS=json.dumps({"conn_type": "spark_connect", "host": "127.0.0.1", "port": port}),
        AIRFLOW_HOME=str(user.folder / "airflow"),
    )
    assert found == {PROBLEMS[0]: expected[PROBLEMS[0]]}
