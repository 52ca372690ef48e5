"""One suite for every engine, on the local disk and on S3."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mq_provider.engines import local
from airflow_mq_provider.storage import Storage
from tests.world import World


@pytest.fixture(params=["reference", "local", "local on disk"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every engine by its name; the local one also as where the labels do not fit into memory."""
    name, _, place = str(request.param).partition(" ")
    if place:
        monkeypatch.setattr(local, "fits", lambda *_: False)
    return name


@pytest.fixture
def world(place: tuple[Storage, str], engine: str) -> World:
    """An empty world, for each engine and each kind of storage."""
    storage, root = place
    return World(storage, root, engine)


@pytest.fixture
def local_world(tmp_path: Any, engine: str) -> World:
    """An empty world on the local disk, for what has nothing to do with the kind of storage."""
    return World(Storage(), str(tmp_path / "root"), engine)
