"""A real Airflow for these tests: a private home, one migrated SQLite database, DAG files as users write them.

Runs are made the ways Airflow makes them (its scheduler, its backfill, its command line, its API, its asset events); their
tasks are then executed in this process, by the same function that ``dag.test()`` uses.
"""

from __future__ import annotations

import gc
import inspect
import json
import os
import stat
import sys
import textwrap
import traceback
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_mq_provider.storage import Storage, join
from tests import sagemaker_world, spark_world
from tests.airflow_world import HEADER, Churn, MakeDag, Runs
from tests.sagemaker_world import ROLE, SageMaker
from tests.spark_world import REGION, WITHOUT_AIRFLOW, Clusters

if TYPE_CHECKING:
    from airflow_mq_provider.hooks.sagemaker import ModelQualityHook

HOME = Path(os.environ["AIRFLOW_HOME"])
DAGS = HOME / "dags"

# Read when Airflow is first imported, which is why this stands here and not in a fixture.
os.environ.update(
    AIRFLOW__CORE__DAGS_FOLDER=str(DAGS),
    AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
    AIRFLOW__API_AUTH__JWT_SECRET="a secret of tests, " * 4,
    AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{HOME}/airflow.db",
    AIRFLOW__LOGGING__LOGGING_LEVEL="WARNING",
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Airflow's own warnings are not this package's to mend; ours are still errors."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))
            item.add_marker(pytest.mark.filterwarnings("error:::airflow_mq_provider"))


@pytest.fixture(scope="session", autouse=True)
def what_stays_the_same_is_found_once() -> Iterator[None]:
    """Each task has sessions and hooks of its own, each of which finds anew what all before it found."""
    from airflow.providers.amazon.aws.hooks import base_aws
    from airflow.sdk.execution_time import supervisor
    from botocore.loaders import JSONFileLoader, Loader

    read, listed = JSONFileLoader.load_file, Loader.list_available_services
    described: dict[str, Any] = {}
    available: dict[tuple[str, ...], list[str]] = {}

    def load_file(self: Any, path: str) -> Any:
        """SageMaker's description has megabytes."""
        if path not in described:
            described[path] = read(self, path)
        return described[path]

    def list_available_services(self: Any, type_name: str) -> list[str]:
        """A thousand folders."""
        key = (type_name, *self.search_paths)
        if key not in available:
            available[key] = listed(self, type_name)
        return available[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", load_file)
        patch.setattr(Loader, "list_available_services", list_available_services)
        # what tasks talk to; Airflow 3.0 makes it for each task, in over a second, and 3.3 once
        patch.setattr(supervisor, "in_process_api_server", cache(supervisor.in_process_api_server))
        patch.setattr(base_aws, "inspect", SimpleNamespace(stack=_callers, isclass=inspect.isclass))
        yield


def _callers() -> list[inspect.FrameInfo]:
    """``inspect.stack()`` without source lines: a hook looks among its hundred callers for its operator's name."""
    found = traceback.walk_stack(sys._getframe(1))
    return [inspect.FrameInfo(one, one.f_code.co_filename, line, one.f_code.co_name, None, None) for one, line in found]


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """The migrated database of this process."""
    from airflow.utils.db import initdb

    DAGS.mkdir(exist_ok=True)
    initdb()


@pytest.fixture
def churn(tmp_path: Path) -> Churn:
    """An endpoint without any traffic yet, on the local disk."""
    return Churn(str(tmp_path / "churn"), Storage())


@pytest.fixture(scope="session")
def airflow_dags(airflow_db: None) -> Path:
    """Airflow's folder of DAG files."""
    return DAGS


@pytest.fixture
def aws_connection(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a connection that leads to the loopback S3, and the only thing that does."""
    extra = {"region_name": "eu-central-1", "endpoint_url": s3_endpoint}
    connection = {"conn_type": "aws", "login": "of-the-connection", "password": "secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_S3_OF_TESTS", json.dumps(connection))
    return "s3_of_tests"


@pytest.fixture
def churn_on_s3(s3_storage: Storage, s3_bucket: str) -> Churn:
    """An endpoint on the loopback S3, with what SageMaker needs of its monitor; no traffic yet."""
    return Churn(f"s3://{s3_bucket}/churn", s3_storage, {"sagemaker": {"role_arn": ROLE}})


@pytest.fixture
def sagemaker(
    monkeypatch: pytest.MonkeyPatch, s3_storage: Storage, churn_on_s3: Churn, aws_connection: str
) -> SageMaker:
    """Model Monitor on 127.0.0.1, in an account that has the endpoint; it is half past eight on 10 November 2026."""
    service = SageMaker(s3_storage, datetime(2026, 11, 10, 8, 30, tzinfo=UTC))
    service.endpoints["churn"] = join(churn_on_s3.root, "capture")
    sagemaker_world.install(monkeypatch, service)
    return service


@pytest.fixture
def clusters(
    monkeypatch: pytest.MonkeyPatch, s3_endpoint: str, s3_client: Any, tmp_path: Path, aws_connection: str
) -> Iterator[Clusters]:
    """EMR Serverless and Glue on 127.0.0.1, behind the connection of tests; each request is held against AWS's limits."""
    import boto3
    import botocore

    glue = boto3.client("glue", endpoint_url=s3_endpoint)
    for name in glue.list_jobs()["JobNames"]:  # of tests before this one
        glue.delete_job(JobName=name)
    service = Clusters(s3_endpoint, s3_client, tmp_path)
    spark_world.install(monkeypatch, service)

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.service_model.service_name in ("emr-serverless", "glue"):
            assert list(spark_world.limits(params, model.input_shape, model.name)) == []
            service.requests.append((model.name, params))

    def watch(session: Any) -> None:
        session.register("provide-client-params.*.*", note)

    botocore.register_initializer(watch)
    yield service
    botocore.unregister_initializer(watch)


@pytest.fixture
def emr_application(s3_endpoint: str) -> str:
    """The id of a Spark application on EMR Serverless that stands still."""
    import boto3

    client = boto3.client("emr-serverless", endpoint_url=s3_endpoint)
    application: str = client.create_application(name="merging", releaseLabel="emr-7.0.0", type="SPARK")[
        "applicationId"
    ]
    client.stop_application(applicationId=application)
    return application


@pytest.fixture
def spark_submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_endpoint: str) -> Path:
    """A ``spark-submit`` on the path that runs the application by this Python; returns where it notes its commands."""
    pytest.importorskip("airflow.providers.apache.spark")
    folder = tmp_path / "bin"
    folder.mkdir()
    noted = tmp_path / "commands.jsonl"
    program = folder / "spark-submit"
    program.write_text(
        f"""#!{sys.executable}
import json, os, subprocess, sys
with open({str(noted)!r}, "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
first = next(number for number, word in enumerate(sys.argv) if word.endswith(".py"))
environment = {{"PATH": os.environ["PATH"], "AWS_ACCESS_KEY_ID": "job", "AWS_SECRET_ACCESS_KEY": "job",
    "AWS_DEFAULT_REGION": {REGION!r}, "AWS_ENDPOINT_URL_S3": {s3_endpoint!r}}}
command = [sys.executable, "-W", "ignore", "-c", {WITHOUT_AIRFLOW!r}, *sys.argv[first:]]
sys.exit(subprocess.run(command, env=environment).returncode)
"""
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", json.dumps({"conn_type": "spark", "host": "local[2]"}))
    return noted


@pytest.fixture(scope="module", autouse=True)
def closed_behind() -> Iterator[None]:
    """Airflow and its providers leave files and pipes open: they are closed here, or a test of another room would be told."""
    yield
    gc.collect()


@pytest.fixture
def hook(sagemaker: SageMaker, aws_connection: str) -> ModelQualityHook:
    """The hook over the connection of tests."""
    from airflow_mq_provider.hooks.sagemaker import ModelQualityHook

    return ModelQualityHook.over(aws_conn_id=aws_connection)


@pytest.fixture
def make_dag(airflow_db: None, churn: Churn) -> Iterator[MakeDag]:
    """Write a DAG file, have Airflow take it up, and return its DAG; gone after the test.

    The file begins with `HEADER`, where ``monitor`` is that of `churn`; the given source follows.
    """
    written: list[Path] = []

    def make(source: str, **settings: Any) -> Any:
        dag_id = f"of_a_test_{uuid.uuid4().hex}"
        path = DAGS / f"{dag_id}.py"
        header = HEADER.format(declared=json.dumps(churn.declared(**settings)), dag_id=dag_id)
        path.write_text(header + textwrap.dedent(source))
        written.append(path)
        from tests.airflow_versions import take_up

        return next(iter(take_up(path, DAGS).values()))

    yield make
    for path in written:
        path.unlink()


@pytest.fixture
def runs(airflow_db: None) -> Runs:
    """How runs are made and executed."""
    return Runs()
