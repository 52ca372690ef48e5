"""While a window is judged nobody looks for cycles of objects; before and after, all is as the process had it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_mq_provider.engines.workers import no_garbage_collection
from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.storage import Storage
from tests.world import World, capture_line, label_line


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    gc.enable()


def test_none_is_looked_for_while_a_window_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(Storage(), str(tmp_path), "reference")
    world.captures(capture_line("a", "0.7"))
    world.labels(label_line("a", "1"))
    looked: list[bool] = []
    write = Storage.write

    def noted(*given: object) -> None:
        looked.append(gc.isenabled())
        write(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(Storage, "write", noted)
    world.run()
    assert set(looked) == {False}
    assert gc.isenabled()


def test_a_window_that_fails_leaves_it_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        World(Storage(), str(tmp_path), "reference").run()
    assert gc.isenabled()


def test_who_looks_for_none_goes_on_so() -> None:
    gc.disable()
    with no_garbage_collection():
        assert not gc.isenabled()
    assert not gc.isenabled()


def test_the_first_of_two_at_once_ends_it() -> None:
    with no_garbage_collection():
        with no_garbage_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
