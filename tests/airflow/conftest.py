"""A real Airflow for these tests: a private home, one migrated SQLite database, DAG files as users write them.

Runs are made the ways Airflow makes them (its scheduler, its backfill, its command line, its API, its asset events); their
tasks are then executed in this process, by the same function that ``dag.test()`` uses.
"""

from __future__ import annotations

import json
import os
import textwrap
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_mq_provider.storage import Storage, join
from tests import sagemaker_world
from tests.airflow_world import HEADER, Churn, MakeDag, Runs
from tests.sagemaker_world import ROLE, SageMaker

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
def service_models_are_read_once() -> Iterator[None]:
    """Each task has a session of its own, and SageMaker's description has megabytes."""
    from botocore.loaders import JSONFileLoader

    read = JSONFileLoader.load_file
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda self, path: _described(read, self, path))
        yield


_DESCRIPTIONS: dict[str, Any] = {}


def _described(read: Any, loader: Any, path: str) -> Any:
    if path not in _DESCRIPTIONS:
        _DESCRIPTIONS[path] = read(loader, path)
    return _DESCRIPTIONS[path]


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
