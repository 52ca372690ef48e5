"""An Airflow connection of type ``spark_connect`` as the server on which the Spark engine works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_mq_provider.exceptions import ModelQualityError


@contextmanager
def spark_of(spark_conn_id: str | None) -> Iterator[None]:
    """Within, ``engine="spark"`` works on the Spark Connect server of a connection.

    The connection is read now; a session is made when a merge needs one, and ends with this. Without a connection nothing is
    done: the engine then finds a session by itself (docs/engines.md).

    Raises:
        ModelQualityError: the Spark provider, whose connection it is, is not installed.
        AirflowNotFoundException: there is no such connection.
    """
    if spark_conn_id is None:
        yield
        return
    try:
        from airflow.providers.apache.spark.hooks.spark_connect import SparkConnectHook
    except ImportError as error:
        raise ModelQualityError(
            expected="the Airflow provider whose connections are of type spark_connect",
            came=str(error),
            where=f"spark_conn_id: {spark_conn_id}",
            next_step="pip install apache-airflow-providers-apache-spark, or set SPARK_REMOTE in the worker's environment and "
            "leave spark_conn_id out",
        ) from error
    from airflow_mq_provider.engines.spark import connected

    with connected(SparkConnectHook(spark_conn_id).get_connection_url()):
        yield
