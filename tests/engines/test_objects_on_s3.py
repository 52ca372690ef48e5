"""Many small objects on S3, read by forked workers: through faults that pass, and where one is not there any more."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider import run
from airflow_mq_provider.engines import reading
from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.inputs import Input
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.quality.lines import blocks
from airflow_mq_provider.storage import Storage, is_s3
from airflow_mq_provider.window import Window
from benchmarks.generate import Truth, generate
from benchmarks.s3_server import S3, serving

# the stand-in serves from a thread; its locks are not what workers use
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_mq_provider.storage.PAUSE", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """About 10 MB in 400 objects: enough for workers to be forked."""
    root = tmp_path_factory.mktemp("s3") / "bucket"
    return generate(root, records=14_000, hours=6, records_per_file=40, seed=6)


@pytest.fixture
def s3(data: Truth) -> S3:
    return S3(data.root.parent)


def judge_with(storage: Storage, data: Truth) -> dict[str, Any]:
    """The report of a run over local files."""
    monitor = ModelQualityMonitor.model_validate(data.monitor)
    window = Window(*data.window, scheduled_time=data.at, source="command_line")
    return run.run(monitor, window, storage=storage)


def judge(data: Truth, s3: S3) -> dict[str, Any]:
    """The report of a run by two workers."""
    import boto3

    monitor = ModelQualityMonitor.model_validate_json(json.dumps(data.monitor).replace(str(data.root), "s3://bucket"))
    window = Window(*data.window, scheduled_time=data.at, source="command_line")
    with serving(s3) as endpoint:
        session = boto3.session.Session()
        storage = Storage(lambda: session.client("s3", endpoint_url=endpoint))
        return run.run(monitor, window, storage=storage, workers=2)


def now_and_then(fault: str, every: int) -> Callable[[str, str], str | None]:
    asked = itertools.count(1)
    return lambda operation, _: fault if operation == "GetObject" and next(asked) % every == 0 else None


@pytest.mark.parametrize("fault", ["slow_down", "reset", "short", "reset_midway"])
def test_faults_that_pass_change_no_count(fault: str, data: Truth, s3: S3) -> None:
    s3.fault = now_and_then(fault, every=71)
    report = judge(data, s3)
    assert {name: report[name] for name in data.counts} == {
        name: report[name] | wanted for name, wanted in data.counts.items()
    }
    assert report["metrics"]["confusion_matrix"] == data.confusion
    assert s3.requests["GetObject"] > data.counts["capture"]["files"] + data.counts["ground_truth"]["files"]


@pytest.mark.parametrize("side", ["capture", "labels"])
@pytest.mark.parametrize(
    ("fault", "expected", "came"),
    [
        ("missing", "an object that exists", "NoSuchKey"),
        # what it says now would be kept as what it said when it was listed, and be believed when it is put back
        ("written anew", "the object to stay as it is until it is read", "PreconditionFailed"),
    ],
)
def test_an_object_that_is_not_there_as_it_was_listed_fails_the_run_and_never_makes_it_smaller(
    fault: str, expected: str, came: str, side: str, data: Truth, s3: S3
) -> None:
    read = [key for key in s3.listed() if key.startswith(f"bucket/{side}/") and "/2026/11/01/03/" in key]
    meant = read[len(read) // 2]

    def at_its_turn(operation: str, key: str) -> str | None:
        if operation != "GetObject" or key != meant:
            return None
        if fault == "written anew":
            s3.put(key, b"{}\n")
        return fault

    s3.fault = at_its_turn
    with pytest.raises(InputError) as caught:
        judge(data, s3)
    assert caught.value.expected == expected
    assert came in caught.value.came
    assert caught.value.where == f"s3://{meant}"
    assert "run again" in caught.value.next_step
    assert [key for key in s3.written if key.endswith("report.json")] == []


def test_a_local_file_that_vanishes_after_it_was_listed_fails_the_run_too(tmp_path: Path) -> None:
    data = generate(tmp_path, records=100, hours=3, records_per_file=10)
    gone = next((tmp_path / "capture").rglob("*.jsonl"))

    class Vanishing(Storage):
        def read(self, uri: str, *, etag: str = "") -> bytes:
            if uri.endswith(".jsonl"):
                gone.unlink(missing_ok=True)
            return super().read(uri, etag=etag)

    with pytest.raises(InputError, match="a file that exists") as caught:
        judge_with(Vanishing(), data)
    assert caught.value.where == str(gone)
    assert "run again" in caught.value.next_step


@pytest.mark.parametrize("larger_than_a_piece", [False, True])
def test_a_local_file_that_is_written_anew_after_it_was_listed_fails_the_run_too(
    larger_than_a_piece: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if larger_than_a_piece:
        monkeypatch.setattr(reading, "PIECE", 100)
    data = generate(tmp_path, records=100, hours=3, records_per_file=10)
    changed = next((tmp_path / "capture").rglob("*.jsonl"))
    written = changed.read_bytes()

    class Changing(Storage):
        def _change(self, uri: str) -> None:
            if uri == str(changed):
                changed.write_bytes(written.replace(b"CSV", b"XML"))

        def read(self, uri: str, *, etag: str = "") -> bytes:
            self._change(uri)
            return super().read(uri, etag=etag)

        def chunks(self, uri: str, size: int = 4 * 2**20, **how: Any) -> Iterator[bytes]:
            self._change(uri)
            return super().chunks(uri, size, **how)

    with pytest.raises(InputError, match="to stay as it is") as caught:
        judge_with(Changing(), data)
    assert caught.value.where == str(changed)
    assert "run again" in caught.value.next_step
    # nor is what it says kept as what it said
    changed.write_bytes(written)
    report = judge_with(Storage(), data)
    assert {name: report[name] for name in data.counts} == {
        name: report[name] | wanted for name, wanted in data.counts.items()
    }


class Counting(Storage):
    """Has any object; counts those fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched = itertools.count()
        self.most = 0

    def read(self, uri: str, *, etag: str = "") -> bytes:
        assert is_s3(uri)
        self.most = max(self.most, next(self.fetched) + 1)
        return b"{}\n"


def test_no_more_objects_are_held_ahead_of_their_turn_than_there_are_readers() -> None:
    """So memory does not grow with the number of objects: 20,000 of 50 KB need what a few hundred need."""
    objects = [Input(f"s3://bucket/{number}", 50_000, "2026/11/01/00") for number in range(500)]
    storage = Counting()
    for taken, _ in enumerate(reading._pieces(objects, storage, blocks)):
        assert storage.most - taken <= reading._READERS
    assert storage.most == len(objects)
