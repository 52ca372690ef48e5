"""A run takes no more memory than its limit, also where its listing foretold less: processes that are watched."""

from __future__ import annotations

import gzip
import json
import mmap
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.engines import bounds
from airflow_mq_provider.engines.memory import MIB
from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.quality.lines import blocks
from airflow_mq_provider.scripts import Preprocessor, Script
from airflow_mq_provider.storage import Storage
from tests.children import in_child
from tests.world import World, capture_line, label_line

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel bounds memory on Linux only")

NOT_LIMITED = 8 * 1024

_JUDGED = """
import json, logging, sys
from airflow_mq_provider import run
from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.storage import Storage
from tests.world import World
logging.basicConfig(level="WARNING")
root, limit, workers, settings = sys.argv[1], int(sys.argv[2]) << 20, int(sys.argv[3]), json.loads(sys.argv[4])
world = World(Storage(), root, "local", settings)
try:
    report = run.run(world.monitor(), world.window(), workers=workers, memory_limit=limit)
    print(json.dumps({**report, "timings": None}))
except InputError as error:
    print(json.dumps({"error": str(error)}))
"""


@dataclass(frozen=True)
class Watched:
    """What a run answered and logged, and the most memory that its processes took together, in MiB."""

    answer: dict[str, Any]
    log: str
    peak: int


def watched(root: Path, limit: int, workers: int, **settings: Any) -> Watched:
    """Judge a window in a process of its own, within a limit in MiB. Files that are mapped are none of its memory."""
    settings = {"output_uri": str(root / f"out-{limit}"), **settings}
    command = [sys.executable, "-c", _JUDGED, str(root), str(limit), str(workers), json.dumps(settings)]
    peak = 0
    with (root / "answer").open("w+b") as answer, (root / "log").open("w+b") as log:
        process = subprocess.Popen(command, stdout=answer, stderr=log)
        while process.poll() is None:
            found = [rollup(one) for one in (process.pid, *children(process.pid))]
            peak = max(peak, sum(one.get("Pss_Anon", 0) + one.get("Pss_Shmem", 0) for one in found))
            time.sleep(0.02)
        answer.seek(0)
        log.seek(0)
        said = log.read().decode()
        assert process.returncode == 0, said
        return Watched(json.loads(answer.read()), said, peak // MIB)


def children(process: int) -> list[int]:
    """The processes that a process started."""
    try:
        return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def rollup(process: int) -> dict[str, int]:
    """The kernel's summary of a process's memory in bytes, by name; nothing of a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: int(amount.split()[0]) * 1024 for name, _, amount in (line.partition(":") for line in lines)}


_SHORT = (
    b'{"captureData":{"endpointOutput":{"data":"0.%d","encoding":"CSV"}},'
    b'"eventMetadata":{"eventId":"%09d","inferenceTime":"2026-11-02T11:30:00Z"}}'
)
_LABEL = b'{"groundTruthData":{"data":"%d","encoding":"CSV"},"eventMetadata":{"eventId":"%09d"}}'


def with_edges(root: Path) -> World:
    """A world whose first, middle and last objects, by which an estimate is made, hold few long lines of one row."""
    world = World(Storage(), str(root), "local")
    for name in ("a.jsonl", "m.jsonl", "z.jsonl"):
        world.captures(*[capture_line(f"{name}-{at}", "0.25", given="1.5," * 2000) for at in range(200)], name=name)
        world.labels(*[label_line(f"{name}-{at}", "1", note="-" * 8000) for at in range(200)], name=name)
    return world


def short_lines(root: Path) -> None:
    """One hour whose other objects are of the shortest lines."""
    world = with_edges(root)
    for name, start in (("b", 0), ("n", 550_000)):
        some = range(start, start + 550_000)
        world.captures(*[_SHORT % (at % 10, at) for at in some], name=f"{name}.jsonl")
        world.labels(*[_LABEL % (at & 1, at) for at in some], name=f"{name}.jsonl")


def more_labels_than_captures(root: Path) -> None:
    """Labels of nothing."""
    world = with_edges(root)
    for number in range(24):
        some = range(number * 100_000, (number + 1) * 100_000)
        world.labels(*[_LABEL % (at & 1, at) for at in some], name=f"{'b' if number < 12 else 'n'}{number:02d}.jsonl")


def inflated(root: Path) -> None:
    """An object that is 100 times as large as it is listed."""
    world = with_edges(root)
    line = capture_line("@", "0.25", given="0" * 400).split(b"@")
    data = b"\n".join(line[0] + b"%09d" % at + line[1] for at in range(500_000))
    packed = gzip.compress(data, 6)
    assert len(data) > 100 * len(packed)
    world.put("capture/churn/AllTraffic/2026/11/02/11/b.jsonl.gz", packed)
    labels = b"\n".join(_LABEL % (at & 1, at) for at in range(500_000))
    world.put("labels/2026/11/02/11/b.jsonl.gz", gzip.compress(labels, 6))


def many_rows(root: Path) -> None:
    """Captures of a thousand rows."""
    world = with_edges(root)
    rows, labels = "\n".join(["0.25", "0.75"] * 500), "\n".join("01" * 500)
    for name in "bn":
        world.captures(*[capture_line(f"{name}-{at}", rows) for at in range(450)], name=f"{name}.jsonl")
        world.labels(*[label_line(f"{name}-{at}", labels) for at in range(450)], name=f"{name}.jsonl")


@pytest.mark.parametrize(
    ("make", "limit", "workers"),
    [(short_lines, 170, 1), (more_labels_than_captures, 150, 1), (inflated, 340, 2)],
)
def test_a_window_that_needs_more_than_was_foretold_has_the_same_answer_within_its_limit(
    make: Callable[[Path], None], limit: int, workers: int, tmp_path: Path
) -> None:
    make(tmp_path)
    free, held = watched(tmp_path, NOT_LIMITED, 2), watched(tmp_path, limit, workers)
    assert f"Memory ran out at the limit of {limit} MiB" in held.log
    assert held.peak <= limit
    assert comparable(held.answer) == comparable(free.answer)


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what says where it lies."""
    return {
        key: value for key, value in report.items() if key in ("status", "metrics", "capture", "ground_truth", "merge")
    }


def test_rows_that_were_not_foretold_are_refused_once_they_are_counted(tmp_path: Path) -> None:
    many_rows(tmp_path)
    held = watched(tmp_path, 145, 1)
    assert held.answer["error"].startswith(
        "expected merged rows whose probabilities can be put in order within 145 MiB"
    )
    assert "came 900,600 rows, which need about" in held.answer["error"]
    assert "Spark" in held.answer["error"]
    assert held.peak <= 145


def test_where_no_way_is_left_the_run_says_so_and_names_spark(tmp_path: Path) -> None:
    world = with_edges(tmp_path)
    world.captures(capture_line("long", "\n".join(["0.25"] * 2_000_000)), name="b.jsonl")
    held = watched(tmp_path, 150, 1)
    assert held.answer["error"].startswith(
        "expected a window that can be judged within 150 MiB of memory; came one that needs more"
    )
    assert (
        "where: memory_limit; next: give the task more memory or a shorter window, or run the monitor on Spark"
        in held.answer["error"]
    )
    assert held.peak <= 150


# --- the bound itself -------------------------------------------------------------------------------------------------


def asked_for(size: int) -> bytes:
    """What a process answers that asks the kernel for so many bytes: what its C library has left may be as many."""
    try:
        mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return b"refused"
    return b"given"


def test_what_a_process_has_already_counts_against_its_limit() -> None:
    def work() -> bytes:
        limit = bounds.held() + 72 * MIB
        with bounds.within(limit):
            inside = asked_for(32 * MIB), asked_for(96 * MIB)
        return b" ".join([*inside, asked_for(96 * MIB)])

    assert in_child(work) == b"given refused given"


def test_a_limit_that_leaves_nothing_to_work_with_is_told_at_once() -> None:
    def work() -> bytes:
        try:
            with bounds.within(MIB):
                return b"worked"
        except MemoryError:
            return b"refused"

    assert in_child(work) == b"refused"


def test_of_two_threads_the_first_has_the_bound_and_none_stays() -> None:
    def work() -> bytes:
        done = threading.Event()

        def second() -> None:
            with bounds.within(bounds.held() + 40 * MIB), bounds.lent(1, MIB) as share:
                shares.append(share)
                done.wait()

        shares: list[int | None] = []
        with bounds.within(bounds.held() + 400 * MIB):
            other = threading.Thread(target=second)
            other.start()
            while not shares:
                other.join(0.01)
            inside = asked_for(100 * MIB)
        done.set()
        other.join()
        return inside + b", " + str(shares).encode() + b", " + asked_for(600 * MIB)

    assert in_child(work) == b"given, [None], given"


def test_what_workers_may_take_their_parent_may_not() -> None:
    def work() -> bytes:
        with bounds.within(bounds.held() + 400 * MIB), bounds.lent(2, 110 * MIB) as share:
            assert share is not None
            assert 110 * MIB < share < 140 * MIB
            answers = [asked_for(200 * MIB), asked_for(100 * MIB)]
            bounds.borrow(share)
            return b" ".join([*answers, asked_for(60 * MIB), asked_for(share)])

    assert in_child(work) == b"refused given given refused"


def test_memory_that_is_shared_counts_once_it_is_taken() -> None:
    def work() -> bytes:
        with bounds.within(bounds.held() + 200 * MIB):
            bounds.take(150 * MIB)
            try:
                bounds.take(100 * MIB)
            except MemoryError:
                return asked_for(40 * MIB) + b", " + asked_for(100 * MIB)
        return b"taken"

    assert in_child(work) == b"given, refused"


def test_a_script_is_not_held_to_the_limit_of_who_asks_it() -> None:
    source = "import resource\ndef preprocess_handler(record):\n    return {'limit': resource.getrlimit(resource.RLIMIT_DATA)[0]}\n"

    def work() -> bytes:
        with (
            bounds.within(bounds.held() + 200 * MIB),
            Preprocessor(Script("s3://scripts/a.py", source)) as script,
        ):
            return json.dumps(script.rows(b"{}", "")).encode()

    assert json.loads(in_child(work)) == [{"limit": -1}]


def out_of_memory(*_: object) -> None:
    raise MemoryError


def test_memory_that_runs_out_is_no_fault_of_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(Storage(), str(tmp_path), "local", {"endpoint": {"probability_attribute": "scores[?@ > `0`] | [0]"}})
    world.captures(capture_line("a", '{"scores": [0.5]}', encoding="JSON"))
    world.labels(label_line("a", "1"))
    monkeypatch.setattr("jmespath.visitor.TreeInterpreter.visit", out_of_memory)
    with pytest.raises(InputError, match="can be judged within"):
        world.run()


def test_memory_that_runs_out_is_no_damage_of_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoMemory:
        eof = False

        def copy(self) -> NoMemory:
            return self

        def decompress(self, *_: object) -> bytes:
            raise zlib.error("Error -4 while decompressing data")

    monkeypatch.setattr(zlib, "decompressobj", lambda _: NoMemory())
    with pytest.raises(MemoryError):
        list(blocks([gzip.compress(b"{}\n")]))
