"""Large objects are cut into spans that are read apart: nothing that is written may show where."""

from __future__ import annotations

import gzip
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mq_provider import run as runs
from airflow_mq_provider.engines import by_hour, local, reading, task
from airflow_mq_provider.engines.task import LinesBefore, MergeTask, Unit, in_spans, units
from airflow_mq_provider.exceptions import InputError, ScriptError
from airflow_mq_provider.inputs import Input, capture_inputs, label_inputs
from airflow_mq_provider.quality.lines import blocks
from airflow_mq_provider.quality.records import reading as reading_of
from airflow_mq_provider.quality.states import MergeCounts, MergedRows
from airflow_mq_provider.storage import Storage, StoredObject, join
from airflow_mq_provider.window import ground_truth_as_of
from benchmarks.s3_server import S3, serving
from tests.prepared_world import PROBLEMS, busy, prepared, run
from tests.world import T, World, capture_line, label_line

CAPTURED = "capture/churn/AllTraffic/2026/11/02/11/a.jsonl"
LIMIT = 50
ODD = (
    b'\xef\xbb\xbf{"id":1}\r\n\n'
    + '{"é€": "😀"}\n'.encode()
    + b"x" * (LIMIT + 20)
    + b"\n\r\n\x1f\x8b\x08 no gzip\n \n"
    + b"y" * LIMIT
    + b"\nlast"
)
"""Byte order mark, both line ends, blank lines, letters of many bytes, a line that is too long, gzip's mark, an open end."""


def stored(storage: Storage, uri: str, data: bytes) -> Input:
    storage.write(uri, data)
    [one] = storage.list(uri.rpartition("/")[0])
    return Input(one.uri, one.size, "2026/11/02/11", one.etag)


def lines_of(storage: Storage, one: Input, cuts: Sequence[int] = ()) -> list[tuple[int, bytes | str]]:
    """Every line of an object with its number, or what it is rejected for; read in spans with bounds at the cuts."""
    spans: list[Any] = list(pairwise([0, *cuts, one.size])) if cuts else [None]
    before = LinesBefore()
    found: list[tuple[int, bytes | str]] = []
    for unit in (Unit(number, (one,), span=span) for number, span in enumerate(spans)):
        here: list[tuple[int, bytes | str]] = []
        last_line = 0
        for lines in reading.label_lines(storage, unit):
            here += [(lines.rejection(at, "", "").line, lines[at]) for at in range(len(lines))]
            here += [(rejection.line, rejection.reason) for _, rejection in lines.unread]
            last_line = lines.last_line
        lines_before = before.of(unit, last_line)
        found += sorted((number + lines_before, text) for number, text in here)
    return found


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are too long over `LIMIT`, and little is read at a time."""
    monkeypatch.setattr(reading, "blocks", partial(blocks, limit=LIMIT))
    monkeypatch.setattr(reading, "_TAIL", 3)
    monkeypatch.setattr(reading, "PIECE", 16)


# --- lines --------------------------------------------------------------------------------------------------------------


def test_wherever_an_object_is_cut_in_two_its_lines_are_the_same(place: tuple[Storage, str], limited: None) -> None:
    storage, root = place
    one = stored(storage, join(root, "a"), ODD)
    expected = lines_of(storage, one)
    assert [number for number, _ in expected] == [1, 3, 4, 6, 8, 9]
    assert [text for _, text in expected if isinstance(text, str)] == ["line_too_long"]
    for cut in range(1, len(ODD)):
        assert lines_of(storage, one, [cut]) == expected, cut


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_spans_shorter_than_lines_have_the_same_lines(place: tuple[Storage, str], size: int, limited: None) -> None:
    storage, root = place
    one = stored(storage, join(root, "a"), ODD)
    assert lines_of(storage, one, range(size, len(ODD), size)) == lines_of(storage, one)


@given(
    st.lists(
        st.sampled_from([b"", b"\r", b" ", b"a", b"\xc3\xa9", b"\x1f\x8b", b"z" * (LIMIT - 1), b"z" * (LIMIT + 1), b"z" * 200]),
        min_size=2, max_size=12,
    ),
    st.sets(st.integers(1, 600)), st.integers(1, 9), st.integers(1, 90),
)  # fmt: skip
def test_lines_are_the_same_however_an_object_is_cut(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cuts: set[int], tail: int, piece: int
) -> None:
    data = b"\n".join(lines)
    if data[:2] == b"\x1f\x8b":
        return
    storage = Storage()
    one = stored(storage, str(tmp_path_factory.mktemp("law") / "a"), data or b"\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "blocks", partial(blocks, limit=LIMIT))
        patch.setattr(reading, "_TAIL", tail)
        patch.setattr(reading, "PIECE", piece)
        cut = lines_of(storage, one, sorted(cut for cut in cuts if cut < one.size))
        assert cut == lines_of(storage, one)


# --- units --------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 10_000), st.integers(1, 3_000))
def test_spans_are_of_about_equal_size_and_leave_nothing_out(size: int, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "SPAN", most)
        found = task.spans(size)
    assert [start for start, _ in found] == [0, *(stop for _, stop in found[:-1])]
    assert found[-1][1] == size
    sizes = {stop - start for start, stop in found}
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1


def test_large_objects_are_cut_and_small_ones_are_put_together(
    place: tuple[Storage, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, root = place
    monkeypatch.setattr(task, "UNIT", 100)
    monkeypatch.setattr(task, "SPAN", 100)
    contents = {
        "a": b"x" * 40, "b": b"x" * 40, "c": b"x" * 250, "d": gzip.compress(bytes(range(256))), "e": b"x" * 101, "f": b"x",
    }  # fmt: skip
    for name, content in contents.items():
        storage.write(join(root, name), content)
    objects = [Input(one.uri, one.size, "2026/11/02/11", one.etag) for one in storage.list(root)]
    found = units(objects, in_spans(objects, storage))
    assert [("".join(one.uri[-1] for one in unit.objects), unit.span) for unit in found] == [
        ("ab", None), ("c", (0, 83)), ("c", (83, 166)), ("c", (166, 250)), ("d", None), ("e", (0, 50)), ("e", (50, 101)),
        ("f", None),
    ]  # fmt: skip
    assert [unit.number for unit in found] == list(range(len(found)))
    assert sum(unit.size for unit in found) == sum(map(len, contents.values()))


def test_what_was_not_listed_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "SPAN", 1)
    assert in_spans([Input("/nowhere/of a manifest", 1000, "2026/11/02/11")], Storage()) == set()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Of the local engine on the local disk."""
    return World(Storage(), str(tmp_path / "root"), "local")


# --- what runs write ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["by hour", "line by line"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of the local engine to join."""
    if request.param == "line by line":
        monkeypatch.setattr(by_hour, "hours_fit", lambda *_: False)


def cut(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Cut objects into spans of at most so many bytes, and read little at a time."""
    monkeypatch.setattr(task, "SPAN", size)
    monkeypatch.setattr(reading, "_TAIL", 5)
    monkeypatch.setattr(reading, "PIECE", 100)


@pytest.mark.parametrize("problem_type", PROBLEMS)
def test_a_run_writes_the_same_bytes_as_of_whole_objects(
    world: World, problem_type: str, each_way: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(world, problem_type)
    expected = run(world)
    hours = {one.key: world.storage.read(one.uri) for one in prepared(world)}
    world.storage.delete([one.uri for one in prepared(world)])
    cut(monkeypatch, 450)
    assert run(world) == expected
    assert {one.key: world.storage.read(one.uri) for one in prepared(world)} == hours
    world.engine = "reference"
    assert run(world)["rejected.jsonl"] == expected["rejected.jsonl"]


@pytest.mark.parametrize("keep_merged", ["jsonl", "parquet"])
def test_merged_records_are_the_same_and_in_the_same_order(
    world: World, keep_merged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if keep_merged == "parquet":
        pytest.importorskip("pyarrow")
    busy(world, "BinaryClassification")
    world.settings["keep_merged"] = keep_merged
    expected = run(world), merged(world)
    cut(monkeypatch, 450)
    assert (run(world), merged(world)) == expected


def merged(world: World) -> dict[str, list[Any]]:
    """The merged records of each hour folder, in the order of the parts."""
    found: dict[str, list[Any]] = {}
    for one in world.storage.list(join(world.prefix(), "merged")):
        records = found.setdefault(one.key[:13], [])
        if one.key.endswith(".jsonl"):
            records += world.storage.read(one.uri).splitlines()
        elif one.key.endswith(".parquet"):
            from pyarrow import BufferReader, parquet

            records += parquet.read_table(BufferReader(world.storage.read(one.uri))).to_pylist()
    return found


def test_wherever_one_object_is_cut_the_merge_writes_the_same_bytes(
    world: World, each_way: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the last label of an id wins, every capture of it stays
    world.captures(capture_line("twice", "0.2"), b"", b"broken", capture_line("twice", "0.9\n0.1"))
    world.labels(label_line("twice", "0"), b"broken", label_line("twice", "1"))
    merge = task_of(world)
    expected = written(merge, world)
    assert b'"line":4,"reason":"row_count_mismatch"' in expected[1]
    monkeypatch.setattr(task, "SPAN", 1)
    for at in range(1, max(merge.captures[0].size, merge.labels[0].size)):
        monkeypatch.setattr(task, "spans", lambda size, at=at: [(0, min(at, size - 1)), (min(at, size - 1), size)])
        assert written(merge, world) == expected, at


def task_of(world: World) -> MergeTask:
    monitor, window = world.monitor(), world.window()
    as_of = ground_truth_as_of(T, window)
    return MergeTask(
        reading=reading_of(monitor),
        window=window,
        captures=capture_inputs(monitor, window, world.storage).objects,
        labels=label_inputs(monitor, window, as_of, world.storage).objects,
        labels_until=as_of.time,
        merged_uri=join(world.root, "out", "merged"),
        rejected_uri=join(world.root, "out", "rejected.jsonl"),
    )


def written(merge: MergeTask, world: World) -> tuple[MergeCounts, bytes, bytes]:
    """The counts of a merge, its rejected lines, and its rows however many parts they are in."""
    counts = local.merge(merge, world.storage)
    parts = list(world.storage.list(merge.merged_uri))
    rows = MergedRows.of_parts([MergedRows.from_bytes(world.storage.read(one.uri)) for one in parts])
    world.storage.delete([one.uri for one in parts])
    return counts, world.storage.read(merge.rejected_uri), rows.to_bytes()


def test_workers_share_the_spans_of_one_object(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    busy(world, "Regression")
    expected = run(world)
    world.storage.delete([one.uri for one in prepared(world)])
    cut(monkeypatch, 800)
    monkeypatch.setattr("airflow_mq_provider.engines.memory.SMALL", 0)
    world.workers = 2
    assert run(world) == expected


def test_a_large_gzip_object_is_read_whole_whatever_its_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"\n".join(capture_line(f"i{number}", "0.9") for number in range(40))
    world.put(CAPTURED, gzip.compress(lines, 0))
    world.labels(*(label_line(f"i{number}", "1") for number in range(40)))
    cut(monkeypatch, 500)
    report = world.run()
    assert (report["capture"]["lines"], report["capture"]["rejected"], report["merge"]["matched"]) == (40, {}, 40)


def test_a_script_that_fails_is_told_the_number_of_the_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put("script.py", b"def preprocess_handler(record):\n    return {0: float(record.endpoint_output.data)}\n")
    world.settings["sagemaker"] = {"record_preprocessor_source_uri": join(world.root, "script.py")}
    world.captures(*(capture_line(f"i{number}", "0.9") for number in range(9)), capture_line("last", "none"))
    world.labels(*(label_line(f"i{number}", "1") for number in range(9)), label_line("last", "1"))
    cut(monkeypatch, 500)
    with pytest.raises(ScriptError) as caught:
        runs.run(
            world.monitor(), world.window(), storage=world.storage, engine=world.engine,
            allow_scripts=True,
        )  # fmt: skip
    assert caught.value.where.endswith("a.jsonl, line 10")


# --- as it was listed ---------------------------------------------------------------------------------------------------


def test_a_file_that_is_written_anew_between_two_spans_fails_the_run(
    tmp_path: Path, each_way: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changing(Storage):
        def chunks(self, uri: str, size: int = 4 * 2**20, **how: Any) -> Iterator[bytes]:
            if uri.endswith(CAPTURED) and how.get("start", 0) > 2000:
                content = Path(uri).read_bytes()
                Path(uri).write_bytes(content.replace(b"CSV", b"XML"))
            return super().chunks(uri, size, **how)

    world = World(Changing(), str(tmp_path / "root"), "local")
    world.captures(*(capture_line(f"i{number}", "0.9") for number in range(20)))
    cut(monkeypatch, 900)
    with pytest.raises(InputError, match="to stay as it is") as caught:
        world.run()
    assert caught.value.where.endswith(CAPTURED)


def test_an_object_that_is_written_anew_between_two_spans_fails_the_run(
    each_way: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = S3()
    with on_stand_in(s3) as world:
        world.captures(*(capture_line(f"i{number}", "0.9") for number in range(20)))

        def anew(operation: str, key: str) -> str | None:
            if operation == "GetObject" and key.endswith(CAPTURED) and "bytes=2" in s3.headers.get("range", ""):
                s3.put(key, b"{}\n")
            return None

        s3.fault = anew
        cut(monkeypatch, 900)
        with pytest.raises(InputError, match="to stay as it is") as caught:
            world.run()
    assert caught.value.where.endswith(CAPTURED)


def test_faults_that_pass_change_nothing(each_way: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_mq_provider.storage.PAUSE", 0)
    s3 = S3()
    with on_stand_in(s3) as world:
        busy(world, "Regression")
        expected = run(world)
        world.storage.delete([one.uri for one in prepared(world)])
        cut(monkeypatch, 900)
        # of each object by itself: several are read at once
        faults: dict[str, Any] = defaultdict(lambda: cycle(["slow_down", "short", "reset", None, None]))
        s3.fault = lambda operation, key: next(faults[key]) if operation == "GetObject" and ".jsonl" in key else None
        assert run(world) == expected


def test_no_byte_is_got_twice_but_for_the_ends_of_spans(each_way: None, monkeypatch: pytest.MonkeyPatch) -> None:
    s3 = S3()
    got: list[tuple[int, int]] = []
    with on_stand_in(s3) as world:
        world.captures(*(capture_line(f"i{number}", "0.9") for number in range(40)))
        [listed] = listing(world)

        def note(operation: str, key: str) -> str | None:
            if operation == "GetObject" and key.endswith(CAPTURED):
                asked = re.fullmatch(r"bytes=(\d+)-(\d+)", s3.headers["range"])
                assert asked is not None
                got.append((int(asked[1]), int(asked[2]) + 1))
            return None

        monkeypatch.setattr(task, "SPAN", 900)
        monkeypatch.setattr(reading, "_TAIL", 400)  # longer than a line
        monkeypatch.setattr("airflow_mq_provider.engines.memory._LONGEST_GUESS", 0)  # memory is not looked into
        s3.fault = note
        world.run()
    spans = task.spans(listed.size)
    # a look at what gzip is known by; of each span the byte before, and a tail
    expected = [(max(0, start - 1), min(stop + 400, listed.size)) for start, stop in spans]
    assert sorted(got) == sorted([(0, 2), *expected])


def listing(world: World) -> list[StoredObject]:
    return list(world.storage.list(join(world.root, "capture")))


class on_stand_in:  # noqa: N801 - used as a function
    """A world on an S3 that tells what it is asked for."""

    def __init__(self, s3: S3) -> None:
        self._serving = serving(s3)

    def __enter__(self) -> World:
        import boto3
        from botocore.config import Config

        endpoint = self._serving.__enter__()
        config = Config(retries={"total_max_attempts": 1})  # the storage tries again, without pauses
        storage = Storage(lambda: boto3.session.Session().client("s3", endpoint_url=endpoint, config=config))
        return World(storage, "s3://bucket/root", "local")

    def __exit__(self, *error: Any) -> None:
        self._serving.__exit__(*error)
