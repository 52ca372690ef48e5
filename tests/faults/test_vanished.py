"""An object that vanishes after it was listed, or is another by then, fails the run in four parts and leaves no report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.storage import Storage, join
from tests.world import T, World, capture_line, label_line

LIMIT = {"recall": {"threshold": 0.1, "comparison_operator": "LessThanThreshold"}}


class Meanwhile(Storage):
    """A storage of which somebody else does something to one object right before it is read, but for so many times."""

    def __init__(self, storage: Storage, uri: str, happens: Callable[[Storage, str], None], spared: int = 0) -> None:
        super().__init__(storage._make_s3)
        self._about = storage, uri, happens
        self._spared = spared

    def _happen(self, read: str) -> None:
        storage, uri, happens = self._about
        if read == uri:
            self._spared -= 1
            if self._spared < 0:
                happens(storage, uri)

    def read(self, uri: str, *, etag: str = "") -> bytes:
        self._happen(uri)
        return super().read(uri, etag=etag)

    def chunks(self, uri: str, size: int = 4 * 2**20, **how: Any) -> Iterator[bytes]:
        self._happen(uri)
        return super().chunks(uri, size, **how)


def vanishes(storage: Storage, uri: str) -> None:
    storage.delete([uri])


def is_written_anew(storage: Storage, uri: str) -> None:
    storage.write(uri, b"{}\n")


@pytest.fixture(params=["local", "reference"])
def world(request: pytest.FixtureRequest, place: tuple[Storage, str]) -> World:
    storage, root = place
    world = World(storage, root, request.param)
    world.put("constraints.json", json.dumps({"binary_classification_constraints": LIMIT}).encode())
    world.settings["constraints_uri"] = join(root, "constraints.json")
    world.captures(capture_line("a", "0.9"), name="a.jsonl")
    world.captures(capture_line("b", "0.9"), name="b.jsonl")
    world.labels(label_line("a", "1"), name="a.jsonl")
    world.labels(label_line("b", "1"), name="b.jsonl")
    return world


def fails(world: World, uri: str, happens: Callable[[Storage, str], None], spared: int = 0) -> InputError:
    """The error of a run during which something happens to an object; beside it nothing is left that is a result."""
    storage = world.storage
    world.storage = Meanwhile(storage, uri, happens, spared)
    with pytest.raises(InputError) as caught:
        world.run()
    world.storage = storage
    assert caught.value.where == uri
    assert not storage.exists(join(world.prefix(), "report.json"))
    return caught.value


def is_told_when_written_anew_and_when_gone(world: World, uri: str) -> None:
    error = fails(world, uri, is_written_anew)
    assert "to stay as it is" in error.expected
    assert "run again" in error.next_step
    error = fails(world, uri, vanishes)
    assert "that exists" in error.expected
    assert "run again" in error.next_step


@pytest.mark.parametrize("key", ["capture/churn/AllTraffic/2026/11/02/11/b.jsonl", "labels/2026/11/02/11/b.jsonl"])
def test_captures_and_labels(world: World, key: str) -> None:
    is_told_when_written_anew_and_when_gone(world, join(world.root, key))


@pytest.mark.parametrize("spared", [0, 1], ids=["before the merge", "before the analysis"])
def test_constraints(world: World, spared: int) -> None:
    error = fails(world, join(world.root, "constraints.json"), vanishes, spared)
    assert "that exists" in error.expected
    assert "correct the place" in error.next_step


def test_manifests_of_a_batch_transform(world: World) -> None:
    of_batch_transform(world)
    is_told_when_written_anew_and_when_gone(world, join(world.root, "batch/output/2026/11/02/11/m.json"))


def test_what_a_manifest_names(world: World) -> None:
    of_batch_transform(world)
    error = fails(world, join(world.root, "results/part-1.csv.out"), vanishes)
    assert "that exists" in error.expected
    assert error.next_step


def of_batch_transform(world: World) -> None:
    world.settings["batch_transform_input"] = {
        "data_captured_destination_uri": join(world.root, "batch"),
        "dataset_format": {"csv": {"header": False}},
        "probability_attribute": "0",
    }
    body = json.dumps([{"prefix": join(world.root, "results") + "/"}, "part-1.csv.out"])
    world.put("batch/output/2026/11/02/11/m.json", body.encode())
    world.put("results/part-1.csv.out", f"0.9,a,{T:%Y-%m-%d}T11:30:00Z\n".encode())
