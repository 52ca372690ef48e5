"""Which past windows are judged again, which are not and why, and what the new reports keep."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider import refresh
from airflow_mq_provider.exceptions import InputError, RejectedLinesError
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import AsOf, format_time
from tests.world import StoppedError, StoppingStorage, T, World, capture_line, label_line

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def world(place: tuple[Storage, str]) -> World:
    storage, root = place
    return World(storage, root, "reference")


@pytest.fixture
def local_world(tmp_path: Path) -> World:
    return World(Storage(), str(tmp_path / "root"), "local")


def hour(world: World, at: datetime = T, *, labelled: int = 2) -> None:
    """Four captures in the hour before a scheduled time, so many of them labelled then, and the report of it."""
    captures(world, at)
    labels(world, at - HOUR, at, range(labelled))
    world.run(at=at)


def captures(world: World, at: datetime, count: int = 4) -> None:
    lines = [capture_line(f"{at:%d%H}-{row}", "0.9", time=at - timedelta(minutes=30)) for row in range(count)]
    world.captures(*lines, hour=at - HOUR)


def labels(world: World, collected: datetime, of: datetime, rows: Iterable[int], name: str = "a.jsonl") -> None:
    lines = [label_line(f"{of:%d%H}-{row}", "1") for row in rows]
    if lines:
        world.labels(*lines, hour=collected, name=name)


def found(world: World, now: datetime = T + DAY, **settings: Any) -> dict[str, str]:
    """Of each window the hour of its scheduled time, and what is decided of it."""
    windows = refresh.find(world.monitor(), world.storage, now=now, engine=world.engine, **settings)
    return {f"{one.window.scheduled_time:%d/%H}": one.decision for one in windows}


def refreshed(world: World, now: datetime = T + DAY, **settings: Any) -> dict[str, Any]:
    return refresh.refresh(world.monitor(), storage=world.storage, now=now, engine=world.engine, **settings)


def report(world: World, at: datetime = T) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(world.storage.read(join(world.prefix(at), "report.json")))
    return read


def timeless(world: World) -> dict[str, bytes]:
    """All that stands under the output, the times of the reports apart."""
    written = {one.key: world.storage.read(one.uri) for one in world.storage.list(join(world.root, "out"))}
    for key in [key for key in written if key.endswith("report.json")]:
        content = json.loads(written[key])
        content.pop("timings")
        written[key] = json.dumps(content).encode()
    return written


# --- which


def test_a_window_for_which_labels_came_since_is_due(world: World) -> None:
    hour(world)
    labels(world, T + 3 * HOUR, T, [2])
    assert found(world) == {"02/12": "labels_came_late"}


def test_labels_of_an_hour_that_has_not_ended_are_not_there_yet(world: World) -> None:
    hour(world)
    labels(world, T + 3 * HOUR, T, [2])
    assert found(world, now=T + 3 * HOUR + timedelta(minutes=59)) == {"02/12": "no_new_labels"}


def test_labels_of_other_windows_do_not_make_a_window_due(world: World) -> None:
    hour(world)
    hour(world, T + HOUR)
    labels(world, T + 3 * HOUR, T + HOUR, [2])
    assert found(world) == {"02/12": "no_new_labels", "02/13": "labels_came_late"}


def test_of_windows_that_overlap_those_are_due_that_hold_the_labelled_captures(world: World) -> None:
    world.settings["endpoint"] = {"start_time_offset": "-PT2H", "end_time_offset": "-PT0H"}
    for at in (T, T + HOUR, T + 2 * HOUR):
        hour(world, at)
    labels(world, T + 5 * HOUR, T + HOUR, [3])
    assert found(world) == {"02/12": "no_new_labels", "02/13": "labels_came_late", "02/14": "labels_came_late"}


def test_labels_uploaded_late_into_the_folder_of_an_earlier_hour_count(world: World) -> None:
    hour(world)
    labels(world, T - HOUR, T, [2], name="uploaded-later.jsonl")
    assert found(world) == {"02/12": "labels_came_late"}


def test_labels_of_other_windows_uploaded_late_into_an_earlier_folder_do_not_count(world: World) -> None:
    hour(world)
    labels(world, T - HOUR, T + HOUR, [2], name="uploaded-later.jsonl")
    assert found(world) == {"02/12": "no_new_labels"}


def test_a_window_without_a_missing_label_is_complete(world: World) -> None:
    hour(world, labelled=4)
    labels(world, T + 3 * HOUR, T, [2])
    assert found(world) == {"02/12": "complete"}


def test_a_window_without_captures_is_left_alone(world: World) -> None:
    captures(world, T + DAY)
    world.run()
    assert found(world) == {"02/12": "no_captures"}


def test_beyond_ground_truth_max_delay_a_window_is_settled(world: World) -> None:
    world.settings["ground_truth_max_delay"] = "PT2H"
    hour(world)
    labels(world, T + HOUR, T, [2])
    assert found(world) == {"02/12": "labels_came_late"}
    refreshed(world)
    labels(world, T + 3 * HOUR, T, [3])
    assert found(world) == {"02/12": "settled"}


def test_a_window_of_another_definition_is_told_and_not_judged_again(world: World) -> None:
    hour(world)
    labels(world, T + 3 * HOUR, T, [2])
    world.settings["min_records"] = 2
    before = timeless(world)
    assert refreshed(world)["left_alone"] == {"other_definition": ["2026-11-02T12:00:00Z"]}
    assert timeless(world) == before


@pytest.mark.parametrize("side", ["capture", "labels"])
def test_where_inputs_of_a_report_are_gone_by_now_it_is_kept(world: World, side: str) -> None:
    hour(world)
    captures(world, T + DAY)
    labels(world, T + 3 * HOUR, T, [2])
    # a second object of this hour, which the report saw and a lifecycle rule has removed since
    world.captures(capture_line("x", "0.9"), name="b.jsonl")
    labels(world, T - HOUR, T, [1], name="b.jsonl")
    world.run()
    folder = "capture/churn/AllTraffic" if side == "capture" else "labels"
    world.storage.delete([join(world.root, f"{folder}/2026/11/02/11/b.jsonl")])
    assert found(world) == {"02/12": "inputs_gone"}


def test_since_leaves_out_what_was_scheduled_before(world: World) -> None:
    for at in (T, T + HOUR):
        hour(world, at)
        labels(world, T + 3 * HOUR, at, [2], name=f"{at:%H}.jsonl")
    assert found(world, since=T + HOUR) == {"02/13": "labels_came_late"}


def test_explicit_windows_are_not_looked_at(world: World) -> None:
    from airflow_mq_provider.run import run
    from airflow_mq_provider.window import explicit_window

    captures(world, T)
    run(world.monitor(), explicit_window(T - HOUR, T), storage=world.storage, engine=world.engine)
    labels(world, T + HOUR, T, [0])
    assert found(world) == {}


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"window": 3}', b"broken"])
def test_a_report_that_cannot_be_read_is_told(world: World, content: bytes) -> None:
    hour(world)
    world.storage.write(join(world.prefix(), "report.json"), content)
    assert found(world) == {"02/12": "unreadable"}


def test_a_report_of_sagemaker_s_compute_is_left_to_that(world: World) -> None:
    hour(world)
    labels(world, T + 3 * HOUR, T, [2])
    content = report(world) | {"engine": "sagemaker"}
    world.storage.write(join(world.prefix(), "report.json"), json.dumps(content).encode())
    assert found(world) == {"02/12": "on_sagemaker"}


def test_without_new_labels_no_capture_is_read(local_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hour(local_world)
    read: list[str] = []
    whole = Storage.read

    def noted(self: Storage, uri: str) -> bytes:
        read.append(uri)
        return whole(self, uri)

    monkeypatch.setattr(Storage, "read", noted)
    assert found(local_world) == {"02/12": "no_new_labels"}
    assert [uri for uri in read if "capture" in uri] == []


# --- what the new report keeps


def test_the_report_says_what_it_revises_and_why(world: World) -> None:
    hour(world)
    labels(world, T + 3 * HOUR, T, [2])
    [told] = refreshed(world)["windows"]
    before = {
        "ground_truth_as_of": "2026-11-02T12:00:00Z",
        "status": "NotJudged",
        "matched": 2,
        "label_coverage": 0.5,
        "metrics": {"recall": 1.0, "precision": 1.0, "auc": "NaN"},
        "violations": [],
    }
    assert report(world)["revision"] == {"number": 1, "why": ["labels_came_late"], "before": before}
    assert told["before"] == before
    assert told["after"] == before | {
        "ground_truth_as_of": "2026-11-03T12:00:00Z", "matched": 3, "label_coverage": 0.75,
    }  # fmt: skip
    assert report(world)["ground_truth"]["as_of_source"] == "now"


def test_later_labels_make_the_next_revision(world: World) -> None:
    hour(world)
    for number in (1, 2):
        labels(world, T + number * 3 * HOUR, T, [number + 1])
        refreshed(world, now=T + number * 6 * HOUR)
    revision = report(world)["revision"]
    assert (revision["number"], revision["before"]["label_coverage"]) == (2, 0.75)


def test_a_refresh_twice_with_the_same_labels_changes_nothing(world: World) -> None:
    hour(world)
    labels(world, T + 3 * HOUR, T, [2])
    refreshed(world)
    before = timeless(world)
    again = refreshed(world, now=T + 2 * DAY)
    assert again["windows"] == []
    assert again["left_alone"] == {"no_new_labels": ["2026-11-02T12:00:00Z"]}
    assert timeless(world) == before


def test_a_revised_window_run_again_as_of_the_same_time_gives_the_same_bytes(world: World) -> None:
    hour(world)
    labels(world, T + 3 * HOUR, T, [2])
    refreshed(world)
    before = timeless(world)
    world.run(AsOf(T + DAY, "now"))
    assert timeless(world) == before


def test_a_plain_run_of_a_revised_window_is_the_scheduled_run_again_and_is_due_again(world: World) -> None:
    hour(world)
    before = timeless(world)
    labels(world, T + 3 * HOUR, T, [2])
    refreshed(world)
    world.run()
    assert timeless(world) == before
    assert found(world) == {"02/12": "labels_came_late"}


def test_a_run_as_of_now_by_hand_is_a_revision_too(world: World) -> None:
    hour(world)
    labels(world, T + 3 * HOUR, T, [2])
    world.run(AsOf(T + DAY, "now"))
    assert report(world)["revision"]["number"] == 1


def test_other_constraints_are_named_among_the_reasons(world: World) -> None:
    def constrained(threshold: float) -> None:
        block = {"recall": {"threshold": threshold, "comparison_operator": "LessThanThreshold"}}
        document = {"version": 0.0, "binary_classification_constraints": block}
        world.put("constraints.json", json.dumps(document).encode())

    world.settings["constraints_uri"] = join(world.root, "constraints.json")
    constrained(0.5)
    hour(world)
    constrained(0.6)
    labels(world, T + 3 * HOUR, T, [2])
    refreshed(world)
    assert report(world)["revision"]["why"] == ["labels_came_late", "constraints_changed"]


def test_the_cadence_of_the_report_is_kept(world: World) -> None:
    from airflow_mq_provider import run

    captures(world, T)
    run.analyze(world.monitor(), world.window(), storage=world.storage, engine=world.engine, cadence=HOUR)
    labels(world, T + 3 * HOUR, T, [2])
    refreshed(world)
    assert report(world)["timings"]["cadence_seconds"] == 3600


def test_a_dry_run_tells_and_writes_nothing(world: World) -> None:
    hour(world)
    labels(world, T + 3 * HOUR, T, [2])
    before = timeless(world)
    told = refreshed(world, dry_run=True)
    assert [(one["why"], one["after"]) for one in told["windows"]] == [("labels_came_late", None)]
    assert timeless(world) == before


def test_neither_looking_nor_judging_again_takes_more_memory_than_the_limit(local_world: World) -> None:
    hour(local_world)
    local_world.run()
    labels(local_world, T + 2 * timedelta(hours=1), T, [2, 3], name="b.jsonl")
    with pytest.raises(InputError, match="can be judged within 0 MiB"):
        refreshed(local_world, memory_limit=1)
    [due] = refresh.find(local_world.monitor(), local_world.storage, now=T + DAY)
    with pytest.raises(InputError, match="can be judged within 0 MiB"):
        refresh.judge_again(local_world.monitor(), due, storage=local_world.storage, memory_limit=1)


def test_a_window_that_fails_does_not_stop_those_after_it_and_is_due_again(world: World) -> None:
    world.settings["max_rejected_ratio"] = 0.3
    for at in (T, T + HOUR):
        hour(world, at)
    world.labels(label_line("0212-2", "1"), *[b"broken"] * 9, hour=T + HOUR)
    labels(world, T + 2 * DAY, T + HOUR, [2])
    now = T + 3 * DAY
    first, second = refreshed(world, now=now)["windows"]
    assert RejectedLinesError.__name__ not in str(second["error"])
    assert "rejected" in first["error"]
    assert found(world, now=now)["02/12"] == "interrupted"
    # once the file is mended, the window is judged again, and its report knows what it revises
    labels(world, T + HOUR, T, [2])
    refreshed(world, now=now)
    assert report(world)["revision"]["before"]["label_coverage"] == 0.5


def test_what_is_handed_to_a_task_says_the_same(world: World) -> None:
    hour(world)
    labels(world, T + 3 * HOUR, T, [2])
    [past] = refresh.find(world.monitor(), world.storage, now=T + DAY, engine=world.engine)
    assert refresh.PastWindow.from_dict(json.loads(json.dumps(past.as_dict()))) == past
    assert format_time(past.as_of.time) == "2026-11-03T12:00:00Z"


# --- killed


def test_stopped_at_any_change_and_repeated_a_refresh_gives_the_same(tmp_path: Path) -> None:
    def made() -> World:
        shutil.rmtree(tmp_path / "root", ignore_errors=True)
        world = World(Storage(), str(tmp_path / "root"), "reference")
        for at in (T, T + HOUR):
            hour(world, at)
            labels(world, T + 3 * HOUR, at, [2], name=f"{at:%H}.jsonl")
        return world

    world = made()
    refreshed(world)
    expected = timeless(world)
    # of a run that was killed when its report stood already; nobody's result, and the next run takes them away
    leftovers = {"former.json", "merge.json", "part-00000.rows", "started"}
    stops = 0
    while True:
        world = made()
        world.storage = StoppingStorage(stops)
        try:
            refreshed(world)
        except StoppedError:
            world.storage = Storage()
            refreshed(world)
            again = timeless(world)
            assert {key.rpartition("/")[2] for key in again.keys() - expected.keys()} <= leftovers
            assert {key: again[key] for key in expected} == expected
            stops += 1
        else:
            break
    assert stops > 16


def test_a_plain_run_that_was_killed_is_left_to_whoever_started_it(local_world: World) -> None:
    hour(local_world)
    labels(local_world, T + 3 * HOUR, T, [2])
    local_world.storage = StoppingStorage(4)
    with pytest.raises(StoppedError):
        local_world.run()
    local_world.storage = Storage()
    assert found(local_world) == {"02/12": "unfinished"}
