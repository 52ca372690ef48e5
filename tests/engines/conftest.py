"""One suite for every engine, on the local disk and on S3."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mq_provider.storage import Storage
from tests.world import World


@pytest.fixture(params=["reference", "local"])
def engine(request: pytest.FixtureRequest) -> str:
    """Every engine by its name."""
    return str(request.param)


@pytest.fixture
def world(place: tuple[Storage, str], engine: str) -> World:
    """An empty world, for each engine and each kind of storage."""
    storage, root = place
    return World(storage, root, engine)


@pytest.fixture
def local_world(tmp_path: Any, engine: str) -> World:
    """An empty world on the local disk, for what has nothing to do with the kind of storage."""
    return World(Storage(), str(tmp_path / "root"), engine)
