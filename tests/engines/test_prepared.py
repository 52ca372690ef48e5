"""Prepared hours: read once, used wherever they say the same, and never needed for a right answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import xxhash

from airflow_mq_provider.engines import by_hour
from airflow_mq_provider.engines.hours import CAPTURES, LABELS, capture_hour, label_hour
from airflow_mq_provider.engines.prepared import FORMAT, encoded
from airflow_mq_provider.engines.task import MISMATCH, LoadedHours
from airflow_mq_provider.exceptions import OutputError
from airflow_mq_provider.quality.lines import Block, lines_of
from airflow_mq_provider.quality.records import reading
from airflow_mq_provider.retention import clean
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import hour_folder
from benchmarks.s3_server import S3, serving
from tests.children import all_at_once
from tests.loopback import S3Clients
from tests.prepared_world import HOUR, PROBLEMS, VALUES, as_it_was, busy, prepared, result, run, set_up
from tests.world import T, World, capture_line, label_line


@pytest.fixture
def world(place: tuple[Storage, str]) -> World:
    """Of the one engine that prepares hours."""
    return World(*place, "local")


@pytest.fixture
def engine() -> str:
    """The engine that has prepared hours."""
    return "local"


@pytest.mark.parametrize("problem_type", PROBLEMS)
def test_a_run_that_finds_its_hours_prepared_writes_what_one_without_does(
    world: World, engine: str, problem_type: str
) -> None:
    busy(world, problem_type)
    world.settings["prepared_hours_retention"] = "PT0S"
    expected = run(world)
    assert not prepared(world)
    world.settings.pop("prepared_hours_retention")
    cold, warm = run(world), run(world)
    assert cold == warm == expected
    assert len(prepared(world)) == 8


@pytest.mark.parametrize("problem_type", PROBLEMS)
def test_lines_joined_one_by_one_give_the_same_bytes(
    local_world: World, problem_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(local_world, problem_type)
    expected = run(local_world)
    monkeypatch.setattr(by_hour, "hours_fit", lambda *_: False)
    monkeypatch.setattr("airflow_mq_provider.engines.task.UNIT", 1)
    monkeypatch.setattr("airflow_mq_provider.engines.reading.PIECE", 1)
    assert run(local_world) == expected


@pytest.mark.parametrize("problem_type", PROBLEMS)
def test_hours_give_the_counts_of_the_reference(world: World, problem_type: str) -> None:
    busy(world, problem_type)
    found = run(world)
    world.engine = "reference"
    expected = run(world)
    for block in ("capture", "ground_truth", "merge"):
        assert found["report.json"][block] == expected["report.json"][block]
    assert found["rejected.jsonl"] == expected["rejected.jsonl"]
    if problem_type != "Regression":
        assert found["statistics.json"] == expected["statistics.json"]


def test_labels_are_as_old_as_those_of_the_reference(local_world: World) -> None:
    world = local_world
    world.settings["endpoint"] = {"start_time_offset": "-PT3H"}
    # on the hour and around it, in the folder of their hour, of the one after (flushed late) and of one that is none
    seconds = [0, 1, 1799, 3599, 3600, 3601]
    for folder in range(4):
        at = T + (folder - 3) * HOUR
        for late in (0, 1):
            lines = [(f"{folder}-{late}-{second}", at - late * HOUR + timedelta(seconds=second)) for second in seconds]
            world.captures(*(capture_line(id, "0.9", time=time) for id, time in lines), hour=at, name=f"{late}.jsonl")
            world.labels(
                *(label_line(id, "1") for id, _ in lines[folder:]), hour=T + (late - 2) * HOUR, name=f"{at:%H}"
            )
    world.put("capture/churn/AllTraffic/2026/11/02/99/a.jsonl", capture_line("odd", "0.9", time=T - HOUR))
    world.put("labels/2026/11/02/10/odd", label_line("odd", "1"))
    found = world.run()["merge"]
    world.engine = "reference"
    assert found == world.run()["merge"]
    assert len(found["label_ages"]["labelled"]) > 2
    assert found["label_ages"]["unlabelled"]


def test_a_second_run_on_s3_gets_no_captured_and_no_label_object(make_s3_client: Any, s3_bucket: str) -> None:
    got: list[str] = []
    client = make_s3_client()
    client.meta.events.register("provide-client-params.s3.GetObject", lambda params, **_: got.append(params["Key"]))
    world = World(Storage(lambda: client), f"s3://{s3_bucket}/root", "local")
    world.settings["endpoint"] = {"start_time_offset": "-PT2H"}
    for hours in (3, 2, 1):
        start = T - hours * HOUR
        world.captures(capture_line(f"{hours}", "0.9", time=start), b"broken", hour=start)
        world.labels(label_line(f"{hours}", "1"), b"broken", hour=start)

    def inputs_got() -> list[str]:
        return sorted(key.removeprefix("root/") for key in got if key.startswith(("root/capture/", "root/labels/")))

    world.run(at=T - HOUR)
    assert len(inputs_got()) == 5  # two hours of each side, and the captures of the hour after
    got.clear()
    world.run(at=T)
    assert inputs_got() == ["labels/2026/11/02/11/a.jsonl"]
    got.clear()
    world.run(at=T)
    assert inputs_got() == []


@pytest.mark.parametrize("problem_type", PROBLEMS)
def test_windows_judged_with_hours_in_memory_have_the_bytes_of_windows_judged_alone(
    world: World, problem_type: str
) -> None:
    busy(world, problem_type)
    times = (T - HOUR, T, T + HOUR, T - HOUR)
    expected = [run(world, at) for at in times]
    loaded: LoadedHours = {}
    assert [run(world, at, loaded) for at in times] == expected


def test_an_hour_in_memory_is_not_loaded_again_and_goes_when_a_window_has_no_use_for_it(
    local_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    standing = local_world.storage.read

    def reading_noted(uri: str, *, etag: str = "") -> bytes:
        if "_prepared" in uri:
            read.append(uri.rpartition("/")[2][:13])
        return standing(uri, etag=etag)

    monkeypatch.setattr(local_world.storage, "read", reading_noted)
    local_world.settings["endpoint"] = {"start_time_offset": "-PT1H"}
    for hours in (3, 2, 1):
        local_world.captures(capture_line(f"{hours}", "0.9", time=T - hours * HOUR), hour=T - hours * HOUR)
    loaded: LoadedHours = {}

    def in_memory() -> set[str]:
        return {name[:13] for folder, hours in loaded.items() if folder.endswith("/captures") for name in hours}

    first, second, third = (hour_folder(T - hours * HOUR).replace("/", "-") for hours in (3, 2, 1))
    local_world.run(at=T - 2 * HOUR, loaded=loaded)
    assert read == []  # what a run reads itself is in memory
    assert in_memory() == {first, second}
    local_world.run(at=T - HOUR)
    assert read == [second]
    read.clear()
    local_world.run(at=T - HOUR, loaded=loaded)
    assert read == [third]
    assert in_memory() == {second, third}


def test_an_hour_in_memory_whose_folder_changed_is_read_anew(world: World) -> None:
    world.captures(capture_line("a", "0.9"))
    world.labels(label_line("a", "1"))
    loaded: LoadedHours = {}
    run(world, T, loaded)
    world.captures(capture_line("a", "0.1"))
    assert run(world, T, loaded)["report.json"]["metrics"]["confusion_matrix"]["1"] == {"0": 1, "1": 0}


def test_a_file_that_is_listed_as_it_was_is_not_read_again(local_world: World) -> None:
    local_world.captures(capture_line("a", "0.9"))
    local_world.labels(label_line("a", "1"))
    expected = run(local_world)
    path = Path(local_world.root, "capture/churn/AllTraffic", hour_folder(T - HOUR), "a.jsonl")
    as_it_was(path, path.read_bytes().replace(b"0.9", b"0.1"))
    assert run(local_world) == expected


def test_a_file_that_was_changed_at_equal_size_is_read_again(world: World) -> None:
    world.captures(capture_line("a", "0.9"))
    world.labels(label_line("a", "1"))
    assert run(world)["report.json"]["metrics"]["confusion_matrix"]["1"] == {"0": 0, "1": 1}
    world.captures(capture_line("a", "0.1"))
    assert run(world)["report.json"]["metrics"]["confusion_matrix"]["1"] == {"0": 1, "1": 0}


def test_a_file_that_comes_late_into_an_old_hour_is_noticed_and_replaces_what_was_prepared(world: World) -> None:
    world.captures(capture_line("a", "0.9"))
    world.labels(label_line("a", "1"), label_line("b", "1"))
    assert run(world)["report.json"]["merge"]["matched"] == 1
    world.captures(capture_line("b", "0.9"), name="late.jsonl")
    assert run(world)["report.json"]["merge"]["matched"] == 2
    assert len(prepared(world, CAPTURES)) == 1


PINNED = {
    "BinaryClassification": "3212e62aeb398bd7",
    "MulticlassClassification": "87e0d581902837cf",
    "Regression": "a66a6b1ef0e7ab59",
}


@pytest.mark.parametrize("problem_type", PROBLEMS)
def test_the_bytes_of_an_hour_are_these_as_long_as_the_format_is(problem_type: str) -> None:
    """Other bytes mean that lines or columns say something else than those that stand prepared: raise `FORMAT` with them."""
    how = reading(set_up(World(Storage(), "/nowhere", "local"), problem_type).monitor())
    predicted, actual = VALUES[problem_type]
    captures = [capture_line(f"c{number}", text) for number, text in enumerate(predicted)]
    captures += [capture_line("", "1"), capture_line("several", "\n".join(predicted[:2]))]
    labels = [label_line(f"c{number}", text, country="de") for number, text in enumerate(actual)] + [
        label_line("", "1")
    ]
    captured, labelled = (lines_of([Block("/a", 1, b"\n".join(lines))]) for lines in (captures, labels))
    data = encoded(capture_hour([captured], how, {"/a": 0}, keep_lines=True), "its name")
    data += encoded(label_hour([labelled], how, keep_lines=True), "its name")
    assert (FORMAT, xxhash.xxh3_64_hexdigest(data)) == (1, PINNED[problem_type])


@pytest.mark.parametrize(
    ("settings", "sides"),
    [
        ({"endpoint": {"probability_threshold_attribute": 0.8}}, {CAPTURES}),
        ({"endpoint": {"probability_attribute": "1"}}, {CAPTURES}),
        ({"segments": {"input_attribute": 1}}, {CAPTURES}),
        ({"ground_truth_attribute": "label"}, {LABELS}),
        ({"segments": {"ground_truth_attribute": "eventMetadata.country"}}, {LABELS}),
        ({"positive_label": "yes"}, {CAPTURES, LABELS}),
        ({"keep_rejected": "references"}, {CAPTURES, LABELS}),
        ({"endpoint": {"variant_name": "B"}}, set()),
        ({"min_records": 5, "noise_sd": 2.0}, set()),
        ({"endpoint": {"start_time_offset": "-PT2H", "end_time_offset": "-PT0H"}}, set()),
        ({"ground_truth_max_delay": "P3D"}, set()),
        # where a label is captured, the threshold has no say in what is predicted
        ({"endpoint": {"probability_threshold_attribute": 0.8, "inference_attribute": "1"}}, {CAPTURES}),
    ],
)
def test_what_changes_the_columns_is_prepared_anew_and_nothing_else_is(
    local_world: World, settings: dict[str, Any], sides: set[str]
) -> None:
    local_world.captures(capture_line("a", "0.9,1"))
    local_world.labels(label_line("a", "1"))
    local_world.run()
    before = {side: {one.key for one in prepared(local_world, side)} for side in (CAPTURES, LABELS)}
    local_world.settings |= settings
    if "variant_name" in settings.get("endpoint", {}):
        local_world.put(f"capture/churn/B/{hour_folder(T - HOUR)}/a.jsonl", capture_line("a", "0.9,1"))
        sides = {CAPTURES}  # other objects
    local_world.run()
    after = {side: {one.key for one in prepared(local_world, side)} for side in (CAPTURES, LABELS)}
    assert {side for side in after if after[side] - before[side]} == sides


def test_references_leave_the_payload_out_of_prepared_hours(local_world: World) -> None:
    local_world.settings["keep_rejected"] = "references"
    local_world.captures(capture_line("a", "secret"))
    local_world.labels(label_line("a", "hidden"))
    local_world.run()
    kept = b"".join(local_world.storage.read(one.uri) for one in prepared(local_world))
    assert b"bad_probability" in kept
    assert b"secret" not in kept
    assert b"hidden" not in kept


@pytest.mark.parametrize("settings", [{"keep_merged": "jsonl"}, {"prepared_hours_retention": "P0D"}])
def test_nothing_is_prepared_where_nothing_would_use_it(local_world: World, settings: dict[str, Any]) -> None:
    local_world.settings |= settings
    local_world.captures(capture_line("a", "0.9"))
    local_world.labels(label_line("a", "1"))
    local_world.run()
    assert prepared(local_world) == []


def test_where_prepared_hours_cannot_be_kept_the_run_says_so_once_and_goes_on(local_world: World) -> None:
    class Refusing(Storage):
        def write(self, uri: str, data: bytes) -> None:
            if "/_prepared/" in uri:
                raise OutputError(expected="permission to write", came="none", where=uri, next_step="grant it")
            super().write(uri, data)

    busy(local_world, "BinaryClassification")
    expected = run(local_world)
    local_world.storage.delete([one.uri for one in prepared(local_world)])
    local_world.storage = Refusing()
    with pytest.warns(UserWarning, match="cannot be kept for later runs") as told:
        assert run(local_world) == expected
    assert len(told) == 1


def test_an_hour_in_several_units_is_prepared_as_one_in_one_unit(
    local_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(local_world, "MulticlassClassification")
    expected = run(local_world)
    kept = {one.key: local_world.storage.read(one.uri) for one in prepared(local_world)}
    local_world.storage.delete([one.uri for one in prepared(local_world)])
    monkeypatch.setattr("airflow_mq_provider.engines.task.UNIT", 1)
    monkeypatch.setattr("airflow_mq_provider.engines.reading.PIECE", 1)
    assert run(local_world) == expected
    assert {one.key: local_world.storage.read(one.uri) for one in prepared(local_world)} == kept


def test_workers_prepare_the_same_hours_as_one_process(local_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    busy(local_world, "Regression")
    local_world.workers = 1
    expected = run(local_world)
    kept = {one.key: local_world.storage.read(one.uri) for one in prepared(local_world)}
    local_world.storage.delete([one.uri for one in prepared(local_world)])
    monkeypatch.setattr("airflow_mq_provider.engines.memory.SMALL", 0)
    local_world.workers = 2
    assert run(local_world) == expected
    assert {one.key: local_world.storage.read(one.uri) for one in prepared(local_world)} == kept


def test_hours_before_the_retention_go_with_the_next_hour_that_is_prepared(local_world: World) -> None:
    local_world.settings |= {"prepared_hours_retention": "PT3H", "endpoint": {"start_time_offset": "-PT1H"}}
    for hours in (0, 1, 2, 3, 4):
        at = T + hours * HOUR
        local_world.captures(capture_line("a", "0.9", time=at - timedelta(minutes=5)), hour=at - HOUR)
        local_world.labels(label_line("a", "1"), hour=at - HOUR)
        local_world.run(at=at)
    hours_kept = {one.key[:13] for one in prepared(local_world)}
    assert hours_kept == {f"2026-11-02-{hour}" for hour in (13, 14, 15)}


def test_windows_that_overlap_share_their_hours_and_differ_in_nothing_from_cold_ones(local_world: World) -> None:
    busy(local_world, "BinaryClassification")
    ends = [T - HOUR, T, T + HOUR, T + timedelta(minutes=90)]
    local_world.settings["prepared_hours_retention"] = "P0D"
    expected = [run(local_world, at) for at in ends]
    local_world.settings.pop("prepared_hours_retention")
    assert [run(local_world, at) for at in ends] == expected
    assert [run(local_world, at) for at in ends] == expected


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("on", ["disk", "s3"])
def test_ten_parallel_runs_of_overlapping_windows_give_the_reports_of_ten_serial_ones(tmp_path: Path, on: str) -> None:
    """Ten processes, each with two windows and their hours in memory, while an eleventh cleans everything away."""
    if on == "disk":
        ten_in_parallel(World(Storage(), str(tmp_path), "local"))
        return
    with serving(S3()) as endpoint:
        ten_in_parallel(World(Storage(S3Clients(endpoint)), "s3://bucket/root", "local"))


def ten_in_parallel(world: World) -> None:
    busy(world, "BinaryClassification")
    ends = [T + number * HOUR / 2 - 15 * HOUR / 4 for number in range(20)]  # at no full hour: none lies below another
    for at in ends:
        world.run(at=at)
    expected = [result(world, at) for at in ends]
    hours = {one.uri: world.storage.read(one.uri) for one in prepared(world)}
    assert len(hours) == 8
    world.storage.delete([one.uri for one in world.storage.list(join(world.root, "out"))])

    def judge(ends: Sequence[datetime]) -> None:
        loaded: LoadedHours = {}
        for at in ends:
            world.run(at=at, loaded=loaded)

    def clean_all() -> None:
        for _ in range(20):
            clean(world.monitor(), world.storage, now=T + 100 * HOUR)

    all_at_once([*(partial(judge, ends[first::10]) for first in range(10)), clean_all])
    assert [result(world, at) for at in ends] == expected
    assert {one.uri: world.storage.read(one.uri) for one in prepared(world)}.items() <= hours.items()


def test_a_label_of_another_number_of_rows_is_told_with_its_captured_line(world: World) -> None:
    one = capture_line("a", "0.9")
    world.captures(b"", b"broken", b"  " + one + b" ", capture_line("b", "0.9"))
    world.labels(label_line("a", "1\n0"), label_line("b", "1"))
    for _ in range(2):
        found = run(world)
        (told,) = [line for line in world.rejected() if line["side"] == "merge"]
        assert (told["line"], told["reason"], told["seen"]) == (3, MISMATCH, "1 rows and 2 labels")
        assert told["record"] == one.decode()
        assert found["report.json"]["merge"]["rejected"] == {MISMATCH: 1}
