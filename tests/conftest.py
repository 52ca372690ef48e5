"""What all rooms' tests share: a world without the user's AWS account, and S3 on the loopback interface."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from airflow_mq_provider.storage import Storage
from tests.loopback import SPARK, S3Clients

# Before anything imports boto3 or Airflow: no test may reach an account, an instance's metadata or the user's Airflow.
_HOME = tempfile.TemporaryDirectory(prefix="model-quality-tests-")
for _name in [name for name in os.environ if name.startswith(("AWS_", "AIRFLOW_"))]:
    del os.environ[_name]
os.environ.update(
    AIRFLOW_HOME=_HOME.name,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
    AWS_DEFAULT_REGION="eu-central-1",
    AWS_EC2_METADATA_DISABLED="true",
    AWS_CONFIG_FILE=os.path.join(_HOME.name, "no-aws-config"),
    AWS_SHARED_CREDENTIALS_FILE=os.path.join(_HOME.name, "no-aws-credentials"),
)

# Airflow and moto are a million objects that stay: looking through them for cycles as often as usual is a fifth of their tests' time.
gc.set_threshold(50_000, 20, 50)

# Speed is measured in benchmarks/, never by a test. Where CI is set, the same examples are drawn each time, by every version of Hypothesis.
_IN_CI = "CI" in os.environ
settings.register_profile(
    "model-quality", deadline=None, derandomize=_IN_CI, database=None if _IN_CI else settings().database
)
settings.load_profile("model-quality")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of two processes one begins at the first test and one at the middle; later each takes from what the other has at its end.

    So only one starts Spark, and only one Airflow, unless few tests are left; each costs ten seconds and more of processor time.
    """
    of_spark = {item.path for item in items if item.get_closest_marker("spark")}
    spark = [item for item in items if item.path in of_spark]
    airflow = [item for item in items if item.path.parent.name == "airflow" and item.path not in of_spark]
    taken = {*spark, *airflow}
    others = [item for item in items if item not in taken]
    before = max(0, len(items) // 2 - len(spark))
    items[:] = [*spark, *others[:before], *airflow, *others[before:]]


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 on 127.0.0.1, for all tests of this process: use buckets of your own."""
    from moto import backends
    from moto.server import ThreadedMotoServer

    # some versions log every request, which a test that reads what was printed would find there
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    modules = frozenset(backends.list_of_moto_modules())
    with pytest.MonkeyPatch.context() as patch:
        # each request lists moto's own folder
        patch.setattr(backends, "list_of_moto_modules", lambda: modules)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture(scope="session")
def make_s3_client(s3_endpoint: str) -> Callable[[], Any]:
    """What makes a boto3 client of the loopback S3: a `Storage`'s ``s3`` argument."""
    return S3Clients(s3_endpoint)


@pytest.fixture(scope="session")
def s3_client(make_s3_client: Callable[[], Any]) -> Any:
    """A boto3 client of the loopback S3, to put objects and to look at what was written."""
    return make_s3_client()


@pytest.fixture
def s3_bucket(s3_client: Any) -> str:
    """The name of a new, empty bucket."""
    name = f"bucket-{uuid.uuid4().hex}"
    s3_client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return name


@pytest.fixture
def s3_storage(make_s3_client: Callable[[], Any], s3_bucket: str) -> Storage:
    """A `Storage` on the loopback S3, where the bucket of `s3_bucket` is new and empty."""
    return Storage(make_s3_client)


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """The one Spark of this process: two cores, in small, nothing but loopback. Skipped without Java, but not in CI."""
    pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        if "CI" in os.environ:
            pytest.fail("no Java on the PATH: .ci/run installs it")
        pytest.skip("no Java on the PATH (on Debian: apt-get install openjdk-17-jre-headless)")
    from pyspark.sql import SparkSession

    # what Spark's Python workers start with: this interpreter, and where the tests' own modules lie
    os.environ.update(
        PYSPARK_PYTHON=sys.executable, PYTHONPATH=os.fspath(Path(__file__).parents[1]), SPARK_LOCAL_IP="127.0.0.1"
    )
    builder = SparkSession.builder.appName("tests")
    for name, value in SPARK.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Any) -> tuple[Storage, str]:
    """A `Storage` and an empty root in it, once on the local disk and once on S3: for what must hold on both."""
    if request.param == "local":
        return Storage(), str(tmp_path / "root")
    return request.getfixturevalue("s3_storage"), f"s3://{request.getfixturevalue('s3_bucket')}/root"
