"""Killed at any change that it makes, on the local disk and on S3, nothing is left that changes what comes after it."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider import refresh, run
from airflow_mq_provider.engines import task, workers
from airflow_mq_provider.engines.prepared import LEFT_OVER
from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.publish import cloudwatch
from airflow_mq_provider.retention import clean
from airflow_mq_provider.storage import Storage, join
from tests.killers import Disk, LoopbackS3, kill_group, state_of_process
from tests.prepared_world import HOUR, busy, prepared, result
from tests.world import T, World, capture_line, label_line

# the stand-in for S3 serves from a thread; its locks are not what children use
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

NEVER = 10**9


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "root")


@pytest.fixture(params=["disk", "s3"])
def killer(request: pytest.FixtureRequest) -> Iterator[Disk | LoopbackS3]:
    if request.param == "disk":
        yield request.getfixturevalue("disk")
        return
    with LoopbackS3.serving() as s3:
        yield s3


def small(storage: Storage, root: str, **settings: Any) -> World:
    """Two hours of everything, for one process."""
    world = busy(World(storage, root, "local", workers=1), "BinaryClassification", (2, 1))
    world.settings |= settings
    return world


class Output:
    """The output of a world as it was before a kill, and what a run that nobody kills makes of it.

    Before, a report of another definition stands, and of the prepared hours some are missing, one is cut off, some are of no
    use any more.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.root = join(world.root, "out")
        world.settings["min_records"] = 2
        world.run()
        self.former = result(world)
        if hours := sorted(self.hours_standing()):
            long_ago = f"{T - timedelta(days=33):%Y-%m-%d-%H}"
            folder, _, name = hours[0].rpartition("/")
            for uri in (f"{hours[0][:-32]}{1:032x}", f"{hours[-1][:-32]}{2:032x}", f"{folder}/{long_ago}{name[13:]}"):
                world.storage.write(uri, b"of files that were there before, or long ago")
            world.storage.write(hours[1], world.storage.read(hours[1])[:100])
            world.storage.delete([hours[0], hours[2]])
        self.before = self.standing()
        world.settings["min_records"] = 1
        world.run()
        self.expected = result(world)
        self.hours = self.hours_standing()
        self.restore()

    def standing(self) -> dict[str, bytes]:
        return {one.uri: self.world.storage.read(one.uri) for one in self.world.storage.list(self.root)}

    def hours_standing(self) -> dict[str, bytes]:
        return {one.uri: self.world.storage.read(one.uri) for one in prepared(self.world)}

    def restore(self) -> None:
        """Put everything back as it was before; half written files, which no listing shows, stay."""
        now = self.standing()
        self.world.storage.delete(now.keys() - self.before.keys())
        for uri, data in self.before.items():
            if now.get(uri) != data:
                self.world.storage.write(uri, data)

    def holds_nothing_half(self) -> None:
        """A report stands with all that belongs to it, or none does; each hour is what it was, or what it is to be."""
        if self.world.storage.exists(join(self.world.prefix(), "report.json")):
            found = timeless(result(self.world))
            assert found in (timeless(self.expected), timeless(self.former))
        assert self.hours_standing().items() <= self.before.items() | self.hours.items()

    def is_as_expected(self) -> None:
        """Everything is what a run that nobody kills makes of it."""
        assert timeless(result(self.world)) == timeless(self.expected)
        assert self.hours_standing() == self.hours


def timeless(files: dict[str, Any]) -> dict[str, Any]:
    """All but what a report says of the one that it replaces: a run that is done again may replace itself."""
    return files | {"report.json": {**files["report.json"], "replaces": None}}


def killed_at_each(killer: Disk | LoopbackS3, work: Callable[[], object], output: Output, every: int = 1) -> int:
    """Kill the work at each of its changes, each time from the same start, and do it again; how many changes it has."""
    left: list[dict[str, bytes]] = []
    for at in itertools.count(0, every):
        output.restore()
        if not killer.killed(work, at):
            return at
        if (standing := output.standing()) not in left:  # a file that is opened or half written is not there yet
            left.append(standing)
            output.holds_nothing_half()
            work()
            output.is_as_expected()
    raise AssertionError


# --- a run ----------------------------------------------------------------------------------------------------------------


def test_killed_at_any_change_while_prepared_hours_stand_the_next_run_gives_the_same(
    killer: Disk | LoopbackS3,
) -> None:
    world = small(killer.storage, killer.root)
    # a request takes longer than a change of a disk, and there are fewer kinds of them
    assert killed_at_each(killer, world.run, Output(world), every=1 if isinstance(killer, Disk) else 3) > 12


def test_an_analysis_that_is_killed_at_any_change_gives_the_same_when_it_is_done_again(
    killer: Disk | LoopbackS3,
) -> None:
    world = small(killer.storage, killer.root)
    output = Output(world)
    handover = run.merge(world.monitor(), world.window(), storage=world.storage, workers=1)
    output.before = output.standing()

    def analyze() -> None:
        run.analyze(world.monitor(), world.window(), handover=handover, storage=world.storage, workers=1)

    assert killed_at_each(killer, analyze, output) > 4


def test_killed_while_it_publishes_a_run_leaves_no_report(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deadly:
        def put_metric_data(self, **_: object) -> None:
            kill_group()

    world = small(disk.storage, disk.root, publish_cloudwatch_metrics=True)
    monkeypatch.setattr(cloudwatch, "OLDEST", timedelta.max)
    monitor, window = world.monitor(), world.window()
    assert disk.killed(
        lambda: run.run(monitor, window, storage=world.storage, cloudwatch=cloudwatch.CloudWatch(Deadly)), at=NEVER
    )
    assert world.storage.exists(join(world.prefix(), "statistics.json"))
    assert not world.storage.exists(join(world.prefix(), "report.json"))


def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have two workers share what is so small that one process would do it."""
    monkeypatch.setattr("airflow_mq_provider.engines.memory.SMALL", 0)
    monkeypatch.setattr(task, "UNIT", 2000)


@pytest.mark.parametrize(
    ("killer", "keep_merged"),
    [("disk", None), ("disk", "jsonl"), ("s3", None)],
    indirect=["killer"],
    ids=["by hour on disk", "line by line on disk", "by hour on S3"],
)
def test_killed_again_and_again_with_its_workers_the_last_run_gives_the_same(
    killer: Disk | LoopbackS3, keep_merged: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run goes on from what the one before it left, of which some is lost and some is of no use any more."""
    in_pieces(monkeypatch)
    world = small(killer.storage, killer.root, keep_merged=keep_merged)
    world.workers = 2
    output = Output(world)
    drawn = random.Random(20261128)
    kills, changes = 0, 60 if isinstance(killer, Disk) else 16
    for _ in range(6):
        kills += killer.killed(world.run, drawn.randrange(changes))
        output.holds_nothing_half()
        standing, hours = sorted(output.hours_standing()), sorted(output.hours)
        world.storage.delete(drawn.sample(standing, len(standing) // 2))
        for uri in drawn.sample(hours, len(hours) // 4):
            stale = f"{uri[:-32]}{drawn.randrange(16**32):032x}"
            output.before[stale] = b"of files that were there before"
            world.storage.write(stale, output.before[stale])
    assert kills > 3
    world.run()
    output.is_as_expected()


def test_what_a_killed_run_left_half_written_goes_with_the_next_one_that_knows_nobody_writes_it_any_more(
    disk: Disk,
) -> None:
    world = small(disk.storage, disk.root)
    world.run()
    world.storage.delete([one.uri for one in prepared(world)])

    def half_written() -> list[Path]:
        return list(Path(disk.root, "out").rglob(".*.unfinished"))

    for at in itertools.count():
        assert disk.killed(world.run, at)
        if any("_prepared" in str(path) for path in half_written()):
            break
    world.run()
    assert half_written()  # it may be another run's, which writes it now
    for path in half_written():
        os.utime(path, (time.time() - 2 * LEFT_OVER,) * 2)
    world.run()
    assert not half_written()


# --- a worker -------------------------------------------------------------------------------------------------------------


class DeadlyToWorkers(Storage):
    """A storage that kills each other process that reads so many objects of it."""

    def __init__(self, reads: int) -> None:
        super().__init__()
        self._left = reads
        self._maker = os.getpid()

    def read(self, uri: str, *, etag: str = "") -> bytes:
        if os.getpid() != self._maker:
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self._left -= 1
        return super().read(uri, etag=etag)


@pytest.mark.parametrize("reads", [0, 2])
@pytest.mark.parametrize("keep_merged", [None, "jsonl"], ids=["by hour", "line by line"])
@pytest.mark.timeout(60)
def test_a_worker_that_is_killed_fails_the_run_and_the_next_one_is_right(
    tmp_path: Path, keep_merged: str | None, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_pieces(monkeypatch)
    world = small(Storage(), str(tmp_path / "root"), keep_merged=keep_merged)
    world.workers = 2
    world.run()
    expected = result(world)
    world.storage.delete([one.uri for one in prepared(world)])
    world.storage = DeadlyToWorkers(reads)
    with pytest.raises(InputError, match="one of them was killed") as caught:
        world.run()
    assert "memory ran out" in caught.value.next_step
    world.storage = Storage()
    assert not world.storage.exists(join(world.prefix(), "report.json"))
    world.run()
    assert result(world) == expected


@pytest.mark.timeout(60)
def test_a_worker_that_was_killed_while_it_waited_for_the_labels_does_not_keep_its_parent_waiting() -> None:
    labels: workers.Later[int] = workers.Later()
    labels.share()
    worker = os.fork()
    if worker == 0:
        labels.get()
        os._exit(0)
    while state_of_process(worker) != "S":
        pass
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    labels.put(1)
    assert labels.here()
    labels.end()


# --- a refresh ------------------------------------------------------------------------------------------------------------


def test_a_refresh_that_is_killed_at_any_change_and_repeated_gives_the_same(killer: Disk | LoopbackS3) -> None:
    world = World(killer.storage, killer.root, "local", workers=1)
    for at in (T, T + HOUR):
        ids = [f"{at:%H}-{row}" for row in range(4)]
        world.captures(*(capture_line(id, "0.9", time=at - HOUR / 2) for id in ids), hour=at - HOUR)
        world.labels(*(label_line(id, "1") for id in ids[:2]), hour=at - HOUR)
        world.run(at=at)
        world.labels(label_line(ids[2], "0"), hour=T + 3 * HOUR, name=f"{at:%H}.jsonl")
    root = join(world.root, "out")

    def refreshed() -> dict[str, Any]:
        return refresh.refresh(world.monitor(), storage=world.storage, now=T + 24 * HOUR, workers=1)

    def standing() -> dict[str, bytes]:
        return {one.uri: world.storage.read(one.uri) for one in world.storage.list(root)}

    def results() -> list[dict[str, Any]]:
        return [result(world, at) for at in (T, T + HOUR)]

    before = standing()
    assert len(refreshed()["windows"]) == 2
    expected = results()
    hours = {one.uri for one in prepared(world)}
    for change in itertools.count(0, 5):
        now = standing()
        world.storage.delete(now.keys() - before.keys())
        for uri, data in before.items():
            world.storage.write(uri, data)
        if not killer.killed(refreshed, change):
            break
        refreshed()
        assert results() == expected
        assert {one.uri for one in prepared(world)} == hours
    assert change > 12


# --- cleaning -------------------------------------------------------------------------------------------------------------


def test_cleaning_that_is_killed_at_any_change_is_done_by_doing_it_again(killer: Disk | LoopbackS3) -> None:
    world = small(killer.storage, killer.root)
    output = Output(world)

    def cleaned() -> dict[str, Any]:
        return clean(world.monitor(), world.storage, now=T + 2 * HOUR + HOUR / 2)

    cleaned()
    expected = output.standing()
    for at in itertools.count():
        output.restore()
        if not killer.killed(cleaned, at):
            break
        assert expected.items() <= output.standing().items() <= output.before.items()
        cleaned()
        assert output.standing() == expected
    assert at > 0
    world.run()
    output.is_as_expected()


def test_hours_that_are_cleaned_away_between_the_look_at_them_and_their_loading_are_read_anew(
    place: tuple[Storage, str],
) -> None:
    storage, root = place
    world = small(storage, root)
    world.run()
    expected = result(world)
    hours = prepared(world)
    told: list[dict[str, Any]] = []

    class CleanedMeanwhile(Storage):
        def read(self, uri: str, *, etag: str = "") -> bytes:
            if "/_prepared/" in uri and not told:
                told.append(clean(world.monitor(), storage, now=T + 48 * HOUR))
            return super().read(uri, etag=etag)

    world.storage = CleanedMeanwhile(storage._make_s3)
    world.run()
    assert told[0]["removed"] == len(hours) == 4
    assert result(world) == expected
    assert {one.key for one in prepared(world)} == {one.key for one in hours}


# --- large objects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "number", "whole"),
    [
        ("before-send.s3.CreateMultipartUpload", 1, b"old"),
        ("before-send.s3.UploadPart", 1, b"old"),
        ("before-send.s3.UploadPart", 2, b"old"),
        ("before-send.s3.CompleteMultipartUpload", 1, b"old"),
        ("after-call.s3.CompleteMultipartUpload", 1, b"new"),
    ],
)
def test_a_large_object_that_is_uploaded_in_parts_is_whole_or_absent(
    event: str, number: int, whole: bytes, tmp_path: Path, s3_storage: Storage, s3_bucket: str, disk: Disk
) -> None:
    uri = f"s3://{s3_bucket}/rejected.jsonl"
    old, new = (letter * (17 * 2**20) for letter in (b"o", b"n"))
    (tmp_path / "new").write_bytes(new)
    s3_storage.write(uri, old)

    def upload() -> None:
        seen = itertools.count(1)

        def kill(**_: object) -> None:
            if next(seen) == number:
                kill_group()

        s3_storage._client().meta.events.register(event, kill)
        s3_storage.write_file(uri, tmp_path / "new")

    assert disk.killed(upload, at=NEVER)
    assert s3_storage.read(uri) == (old if whole == b"old" else new)
