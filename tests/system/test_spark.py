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
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.storage import Storage
from tests.world import T, World, capture_line, label_line

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.usefixtures("java")]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LOCAL = ("--master", "local[2]", "--conf", "spark.ui.enabled=false", "--conf", "spark.sql.shuffle.partitions=2")

COMMAND = """
import sys
from pathlib import Path
import airflow_mq_provider
from airflow_mq_provider import cli

assert Path(airflow_mq_provider.__file__).is_relative_to({site!r}), airflow_mq_provider.__file__
sys.exit(cli.main(sys.argv[1:]))
"""

BY_CONNECTION = """
import sys
from airflow_mq_provider.hooks.spark import spark_of
from airflow_mq_provider import cli

with spark_of("spark_of_tests"):
    sys.exit(cli.main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class User:
    """Somebody with the wheel, a monitor, and what Spark needs to start its Python workers."""

    folder: Path
    world: World
    environment: dict[str, str]

    def script(self, code: str) -> str:
        path = self.folder / "script.py"
        path.write_text(code)
        return str(path)

    def report(self, *command: str, engine: str, **environment: str) -> dict[str, Any]:
        """What a run prints and writes, without what may differ between engines."""
        arguments = [str(self.folder / "monitor.json"), "--at", "2026-11-02T12:00:00Z", "--interval-start"]
        run = subprocess.run(
            [*command, "run", *arguments, "2026-11-02T11:00:00Z", "--engine", engine, "--json"],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr[-4000:]
        files = {key: data for key, data in self.world.written().items() if key != "report.json"}
        report = json.loads(self.world.read("report.json"))
        # spark-submit hands on what its Python says on standard error as standard output
        assert json.loads(run.stdout[run.stdout.index("{") :]) == report
        assert report["engine"] == engine
        for name in ("engine", "versions", "timings", "replaces", "revision"):
            report.pop(name, None)
        return {**files, "report.json": report}


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
    world = World(
        Storage(), str(folder / "data"), "local", {"keep_merged": "jsonl", "segments": {"input_attribute": 0}}
    )
    for hours in (1, 2):
        lines = [
            capture_line(f"{hours}-{n}", f"0.{n % 10}", time=T - timedelta(minutes=30), given=f"{n % 3},1")
            for n in range(300)
        ]
        world.captures(*lines, b"broken", hour=T - timedelta(hours=hours))
    world.labels(*[label_line(f"{hours}-{n}", str(int(n % 10 > 4))) for hours in (1, 2) for n in range(280)])
    (folder / "monitor.json").write_text(world.monitor().model_dump_json(exclude_defaults=True))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK", "PYSPARK"))} | {
        "PYTHONPATH": str(site),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    return User(folder, world, environment)


@pytest.fixture(scope="module")
def expected(user: User) -> dict[str, Any]:
    """What the local engine reports of the same wheel."""
    script = user.script(COMMAND.format(site=str(user.folder / "site")))
    return user.report(sys.executable, script, engine="local")


def test_spark_submit_gives_the_local_engine_s_report(user: User, expected: dict[str, Any]) -> None:
    script = user.script(COMMAND.format(site=str(user.folder / "site")))
    assert user.report(str(BIN / "spark-submit"), *LOCAL, script, engine="spark") == expected


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


def test_spark_connect_gives_the_local_engine_s_report(user: User, expected: dict[str, Any], port: int) -> None:
    script = user.script(COMMAND.format(site=str(user.folder / "site")))
    found = user.report(sys.executable, script, engine="spark", SPARK_REMOTE=f"sc://127.0.0.1:{port}")
    assert found == expected


def test_so_does_spark_connect_over_a_connection_of_airflow_s(user: User, expected: dict[str, Any], port: int) -> None:
    pytest.importorskip("airflow.providers.apache.spark")
    found = user.report(
        sys.executable,
        user.script(BY_CONNECTION),
        engine="spark",
        AIRFLOW_CONN_SPARK_OF_TESTS=json.dumps({"conn_type": "spark_connect", "host": "127.0.0.1", "port": port}),
        AIRFLOW_HOME=str(user.folder / "airflow"),
    )
    assert found == expected
