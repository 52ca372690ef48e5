"""What other processes of a test need of its world: S3 on the loopback interface, wherever it is asked for, and a small Spark."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from airflow_mq_provider.storage import Storage

SPARK = {
    "spark.master": "local[2]",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "2",
    # a JVM that lives for minutes spends half of its time on compiling anew what would pay in hours
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
"""Spark in small: two cores, and nothing but loopback."""


class S3Clients:
    """Makes boto3 S3 clients of a loopback endpoint, here and in each process that this is sent to."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def __call__(self) -> Any:
        return _session().client("s3", endpoint_url=self.endpoint)


@cache
def _session() -> Any:
    """One for all, since it reads S3's description only once."""
    import boto3

    return boto3.session.Session()


class CountingStorage(Storage):
    """A storage that tells two of Spark's accumulators how many objects are opened, and how many bytes are read of them."""

    def __init__(self, opened: Any, read: Any) -> None:
        super().__init__()
        self.counts = opened, read

    def read(self, uri: str, *, etag: str = "") -> bytes:
        data = super().read(uri, etag=etag)
        self._count(1, len(data))
        return data

    def chunks(self, uri: str, size: int = 4 * 2**20, **how: Any) -> Iterator[bytes]:
        self._count(1, 0)
        for chunk in super().chunks(uri, size, **how):
            self._count(0, len(chunk))
            yield chunk

    def _count(self, *counts: int) -> None:
        for accumulator, count in zip(self.counts, counts, strict=True):
            accumulator.add(count)
