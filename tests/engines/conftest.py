"""One suite for every engine, on the local disk and on S3."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mq_provider.engines import by_hour, local
from airflow_mq_provider.storage import Storage
from tests.world import World

ENGINES = ("reference", "local", "local on disk", "spark")
MARKS = {"spark": pytest.mark.spark}


@pytest.fixture(params=[pytest.param(engine, marks=MARKS.get(engine, ())) for engine in ENGINES])
def engine(request: pytest.FixtureRequest) -> str:
    """Every engine by its name; the local one also as where the labels do not fit into memory."""
    return ready(request, request.param)


def ready(request: pytest.FixtureRequest, engine: str) -> str:
    """The name of an engine, which can run now."""
    name, _, place = engine.partition(" ")
    if place:
        patch = request.getfixturevalue("monkeypatch")
        patch.setattr(by_hour, "hours_fit", lambda *_: False)
        patch.setattr(local, "fits", lambda *_: False)
    if name == "spark":
        request.getfixturevalue("spark")
    return name


# A run on Spark takes seconds, whatever the data. Its executors read through the same `Storage` as all others do: that they do
# so from S3 is seen here, from the local disk in what asks for `local_world`.
@pytest.fixture(
    params=[
        pytest.param((engine, place), marks=MARKS.get(engine, ()), id=f"{engine}-{place}")
        for engine in ENGINES
        for place in ("local", "s3")
        if (engine, place) != ("spark", "local")
    ],
)
def world(request: pytest.FixtureRequest, tmp_path: Any) -> World:
    """An empty world, for each engine and each kind of storage."""
    engine, place = request.param
    name = ready(request, engine)
    if place == "local":
        return World(Storage(), str(tmp_path / "root"), name)
    bucket = request.getfixturevalue("s3_bucket")
    return World(request.getfixturevalue("s3_storage"), f"s3://{bucket}/root", name)


@pytest.fixture
def local_world(tmp_path: Any, engine: str) -> World:
    """An empty world on the local disk, for what has nothing to do with the kind of storage."""
    return World(Storage(), str(tmp_path / "root"), engine)
