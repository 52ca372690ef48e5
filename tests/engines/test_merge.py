"""What every engine must give: the same counts, the same merged rows, every line accounted for."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_mq_provider.exceptions import InputError, RejectedLinesError
from airflow_mq_provider.quality.lines import LINE_LIMIT
from airflow_mq_provider.storage import join
from airflow_mq_provider.window import AsOf, hour_folder
from tests.world import T, World, capture_line, label_line

HOUR = timedelta(hours=1)
FOLDER = f"capture/churn/AllTraffic/{hour_folder(T - HOUR)}"


def test_labels_join_captures_by_inference_id_else_event_id(world: World) -> None:
    world.captures(capture_line("e1", "0.9", inferenceId="mine"), capture_line("e2", "0.2"))
    world.labels(label_line("mine", "1"), label_line("e2", "0"), label_line("e1", "0"))
    report = world.run()
    assert report["merge"]["matched"] == 2
    assert report["merge"]["labels_without_capture"] == 1
    assert report["metrics"]["confusion_matrix"] == {"0": {"0": 1, "1": 0}, "1": {"0": 0, "1": 1}}


def test_counts_of_a_window_with_everything_in_it(world: World) -> None:
    world.captures(
        capture_line("a", "0.9"),
        capture_line("a", "0.1"),
        capture_line("b", "0.8"),
        capture_line("early", "0.8", time=T - 2 * HOUR),
        b"",
        b"not json",
        capture_line("c", "1.5"),
    )
    world.captures(capture_line("late", "0.7"), hour=T, name="late.jsonl")
    world.labels(label_line("a", "0"), label_line("late", "1"), label_line("z", "1"), label_line("z", "1"))
    world.labels(label_line("a", "1"), label_line("q", "2"), hour=T - HOUR, name="b.jsonl")
    report = world.run()
    assert {key: report["capture"][key] for key in ("files", "lines", "used", "outside_window", "dropped")} == {
        "files": 2, "lines": 7, "used": 4, "outside_window": 1, "dropped": 0,
    }  # fmt: skip
    assert report["capture"]["rejected"] == {"bad_probability": 1, "invalid_json": 1}
    assert report["capture"]["duplicate_ids"] == 1
    assert report["ground_truth"]["lines"] == 6
    assert report["ground_truth"]["used"] == 5
    assert report["ground_truth"]["rejected"] == {"foreign_label": 1}
    assert report["ground_truth"]["duplicate_labels"] == 2
    assert report["merge"]["matched"] == 3
    assert report["merge"]["captures_without_label"] == 1
    assert report["merge"]["labels_without_capture"] == 1
    assert report["merge"]["label_coverage"] == 0.75
    # the label collected last, "1", holds for both captures of "a" (rule M2)
    assert report["metrics"]["confusion_matrix"] == {"0": {"0": 0, "1": 0}, "1": {"0": 1, "1": 2}}


# how a line of labels is read is the same on Spark, whose runs take seconds
@pytest.mark.parametrize("engine", ["reference", "local"], indirect=True)
@pytest.mark.parametrize("attribute", ["5", "nowhere"])
def test_a_label_in_csv_is_the_label_alone_whatever_the_attribute(local_world: World, attribute: str) -> None:
    """SageMaker knows no attribute for them; the setting serves labels in JSON, and the column of a baseline there."""
    local_world.settings["ground_truth_attribute"] = attribute
    local_world.captures(capture_line("a", "0.9"), capture_line("b", "0.9"), capture_line("c", "0.9"))
    local_world.labels(
        label_line("a", "1"), label_line("b", "0,0,0,0,0,1"), label_line("c", '{"x": 1}', encoding="JSON")
    )
    report = local_world.run()
    assert report["merge"]["matched"] == 1
    assert report["ground_truth"]["rejected"] == {"bad_payload": 1, "missing_attribute": 1}


def test_the_label_collected_last_wins_by_folder_then_key_then_line(world: World) -> None:
    world.captures(capture_line("a", "0.9"), capture_line("b", "0.9"), capture_line("c", "0.9"))
    world.labels(label_line("a", "0"), label_line("a", "1"), label_line("b", "1"), label_line("c", "1"), name="z.jsonl")
    world.labels(label_line("b", "0"), name="y.jsonl")
    world.settings["endpoint"] = {"end_time_offset": "-PT1H", "start_time_offset": "-PT2H"}
    world.captures(*(capture_line(id, "0.9", time=T - HOUR - timedelta(minutes=1)) for id in "abc"), hour=T - 2 * HOUR)
    world.labels(label_line("c", "0"), hour=T - 2 * HOUR, name="zz.jsonl")
    assert world.run()["metrics"]["confusion_matrix"]["1"]["1"] == 3


def test_a_label_that_is_a_list_is_none_while_a_list_of_labels_is_rows(world: World) -> None:
    world.captures(*(capture_line(id, "0.9") for id in "abc"))
    payloads = {"a": '{"label": [1]}', "b": "[1]", "c": '{"label": 1}'}
    world.labels(*(label_line(id, payload, encoding="JSON") for id, payload in payloads.items()))
    report = world.run()
    assert report["ground_truth"]["rejected"] == {"foreign_label": 1}
    assert report["merge"]["matched"] == 2


def test_rejected_lines_are_kept_with_file_line_and_reason(world: World) -> None:
    world.captures(capture_line("a", "0.9"), b"", b'{"broken', name="x.jsonl")
    world.labels(label_line("a", "maybe"), label_line("a", "1"))
    world.run()
    label, capture = world.rejected()
    assert (label["side"], label["line"], label["reason"]) == ("ground_truth", 1, "foreign_label")
    assert (capture["side"], capture["line"], capture["reason"]) == ("capture", 3, "invalid_json")
    assert capture["record"] == '{"broken'
    assert capture["file"].endswith("/capture/churn/AllTraffic/2026/11/02/11/x.jsonl")


def test_references_leave_the_payload_out(local_world: World) -> None:
    local_world.settings["keep_rejected"] = "references"
    local_world.captures(capture_line("a", "secret"))
    local_world.run()
    assert "secret" not in local_world.read("rejected.jsonl").decode()
    assert local_world.rejected()[0]["reason"] == "bad_probability"


def test_merged_records_are_the_captured_lines_with_their_ground_truth(world: World) -> None:
    world.settings["keep_merged"] = "jsonl"
    line = capture_line("a", "0.9")
    world.captures(capture_line("no", "0.5"), b"  " + line + b" ")
    world.labels(label_line("a", "1"))
    world.run()
    (merged,) = world.merged()
    assert merged.pop("groundTruthData") == {"data": "1", "encoding": "CSV"}
    assert merged == json.loads(line)


def test_kept_parquet_has_id_time_prediction_probability_and_label(local_world: World) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    local_world.settings["keep_merged"] = "parquet"
    local_world.captures(capture_line("a", "0.9"), capture_line("b", "0.1"))
    local_world.labels(label_line("a", "1"), label_line("b", "1"))
    local_world.run()
    (path,) = [key for key in local_world.written() if key.endswith(".parquet")]
    rows = parquet.read_table(join(local_world.prefix(), path)).to_pylist()
    assert [(row["id"], row["prediction"], row["probability"], row["label"]) for row in rows] == [
        ("a", "1", 0.9, "1"),
        ("b", "0", 0.1, "1"),
    ]
    assert rows[0]["time"] == T - timedelta(minutes=30)


def two_hours(world: World) -> None:
    """A window of two hours, with records of one and of two rows in each."""
    world.settings["endpoint"] = {"start_time_offset": "-PT2H", "end_time_offset": "-PT0H"}
    for hours, ids in ((2, ("a", "b")), (1, ("c", "d"))):
        first, second = (T - hours * HOUR + timedelta(minutes=minute) for minute in (1, 2))
        world.captures(
            capture_line(ids[0], "0.9\n0.1", time=first), b"broken", capture_line("no label", "0.9", time=first),
            capture_line(ids[1], "0.8", time=second), hour=T - hours * HOUR,
        )  # fmt: skip
    world.labels(label_line("a", "1\n0"), label_line("b", "0"), label_line("c", "1\n1"), label_line("d", "1"))


def test_merged_records_stand_under_the_hour_folder_of_their_captures(world: World) -> None:
    world.settings["keep_merged"] = "jsonl"
    two_hours(world)
    world.run()
    found = {
        key.removeprefix("merged/")[:13]: [json.loads(line)["eventMetadata"]["eventId"] for line in data.splitlines()]
        for key, data in world.written().items()
        if key.startswith("merged/")
    }
    assert found == {"2026/11/02/10": ["a", "b"], "2026/11/02/11": ["c", "d"]}


def test_kept_parquet_has_the_rows_of_its_hour(local_world: World) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    local_world.settings["keep_merged"] = "parquet"
    two_hours(local_world)
    local_world.run()
    found = {}
    for key in local_world.written():
        if key.startswith("merged/"):
            rows = parquet.read_table(join(local_world.prefix(), key)).to_pylist()
            found[key.removeprefix("merged/")[:13]] = [(row["id"], row["probability"], row["label"]) for row in rows]
    assert found == {
        "2026/11/02/10": [("a", 0.9, "1"), ("a", 0.1, "0"), ("b", 0.8, "0")],
        "2026/11/02/11": [("c", 0.9, "1"), ("c", 0.1, "1"), ("d", 0.8, "1")],
    }


def test_only_the_rows_asked_for_stay_when_the_report_stands(local_world: World) -> None:
    local_world.captures(capture_line("a", "0.9"))
    local_world.labels(label_line("a", "1"))
    local_world.run()
    assert sorted(local_world.written()) == ["rejected.jsonl", "report.html", "report.json", "statistics.json"]


@pytest.mark.parametrize(
    ("rows", "labels", "matched"), [("0.9\n0.1\n", "1\n0", 2), ("0.9\n0.1", "1", 0), ("0.9", "1\n0", 0)]
)
def test_rows_and_labels_of_a_record_are_paired_if_equal_in_number(
    world: World, rows: str, labels: str, matched: int
) -> None:
    world.captures(capture_line("many", rows), capture_line("one", "0.7"))
    world.labels(label_line("many", labels), label_line("one", "1"))
    report = world.run()
    assert report["merge"]["matched"] == matched + 1
    assert report["merge"]["rejected"] == ({} if matched else {"row_count_mismatch": 1})
    assert report["merge"]["captures_without_label"] == 0
    if not matched:
        (entry,) = world.rejected()
        assert (entry["side"], entry["line"], entry["reason"]) == ("merge", 1, "row_count_mismatch")


def test_json_payloads_of_several_instances(world: World) -> None:
    world.settings["endpoint"] = {
        "probability_attribute": "predictions[*].score",
        "inference_attribute": "$.predictions[*].predicted_label",
    }
    instances = {"predictions": [{"score": 0.7, "predicted_label": 0}, {"score": 0.2, "predicted_label": 0}]}
    world.captures(capture_line("a", json.dumps(instances), encoding="JSON"))
    world.labels(label_line("a", json.dumps({"instances": [{"label": 1}, {"label": 0}]}), encoding="JSON"))
    report = world.run()
    assert report["metrics"]["confusion_matrix"] == {"0": {"0": 1, "1": 0}, "1": {"0": 1, "1": 0}}
    assert report["metrics"]["auc"]["value"] == 1.0


@pytest.mark.parametrize("kind", ["MulticlassClassification", "Regression"])
def test_the_other_problem_types(world: World, kind: str) -> None:
    world.settings.update(problem_type=kind, endpoint={"probability_attribute": None, "inference_attribute": "0"})
    values = ["3", "1.0", "2", "x" if kind == "MulticlassClassification" else "7"]
    world.captures(*(capture_line(f"i{n}", value) for n, value in enumerate(values)), capture_line("bad", ""))
    world.labels(*(label_line(f"i{n}", value) for n, value in enumerate(["3", "1", "3", values[3]])))
    report = world.run()
    assert report["merge"]["matched"] == 4
    assert sum(report["capture"]["rejected"].values()) == 1
    if kind == "Regression":
        assert report["metrics"]["mae"]["value"] == 0.25
    else:
        assert report["metrics"]["accuracy"]["value"] == 0.75


def test_gzip_objects_and_what_came_before_their_damage(world: World) -> None:
    lines = b"\n".join(capture_line(f"i{n}", "0.9") for n in range(50)) + b"\n"
    world.put(f"{FOLDER}/a.jsonl.gz", gzip.compress(lines))
    world.put(
        f"{FOLDER}/b.jsonl", gzip.compress(capture_line("x", "0.9")) + gzip.compress(b"\n" + capture_line("y", "0.1"))
    )
    world.put(f"{FOLDER}/c.jsonl", gzip.compress(lines, 0)[:-200])
    report = world.run()
    capture = report["capture"]
    assert capture["rejected"] == {"corrupt_gzip": 1}
    assert capture["lines"] == capture["used"] + 1
    assert 52 + 40 < capture["used"] < 102
    [example] = capture["rejected_examples"]
    assert (example["file"], example["line"]) == (f"{world.root}/{FOLDER}/c.jsonl", capture["used"] - 52 + 1)


def test_what_came_before_a_damaged_part_of_a_gzip_object_counts(world: World) -> None:
    lines = b"\n".join(capture_line(f"i{n}", "0.9") for n in range(50)) + b"\n"
    stored = bytearray(gzip.compress(lines, 0))
    stored[-5] ^= 1  # of the checksum at its end
    world.put(f"{FOLDER}/a.jsonl", bytes(stored))
    capture = world.run()["capture"]
    assert (capture["used"], capture["lines"], capture["rejected"]) == (50, 51, {"corrupt_gzip": 1})


@pytest.mark.parametrize("engine", ["reference", "local"], indirect=True)
@pytest.mark.parametrize(
    ("packed", "keep_merged"), [(False, None), (True, None), (True, "jsonl")], ids=["plain", "gzip", "gzip-merged"]
)
def test_a_line_over_16_mib_is_one_rejection_without_its_text_and_the_others_count(
    local_world: World, packed: bool, keep_merged: str | None
) -> None:
    # good but for its length: read, it would count
    long = capture_line("long", "0.9", given="1" * LINE_LIMIT)
    lines = b"\n".join([capture_line("before", "0.9"), long, capture_line("after", "0.1")]) + b"\n"
    local_world.settings["keep_merged"] = keep_merged
    local_world.put(f"{FOLDER}/a.jsonl", gzip.compress(lines, 1) if packed else lines)
    local_world.labels(label_line("before", "1"), label_line("long", "1"), label_line("after", "0"))
    report = local_world.run()
    assert {name: report["capture"][name] for name in ("lines", "used", "rejected")} == {
        "lines": 3, "used": 2, "rejected": {"line_too_long": 1},
    }  # fmt: skip
    assert report["merge"]["matched"] == 2
    assert local_world.rejected() == [
        {
            "side": "capture",
            "file": f"{local_world.root}/{FOLDER}/a.jsonl",
            "line": 2,
            "reason": "line_too_long",
            "seen": "over 16777216 bytes",
            "record": "",
        }
    ]


def test_batch_transform_csv_reads_manifests_and_the_last_two_columns(world: World) -> None:
    batch(world, {"csv": {"header": False}}, "2")
    row = f"5,6,0.9,id-1,{T - HOUR:%Y-%m-%dT%H:%M:%SZ}\n7,8,0.1,id-2,{T - HOUR:%Y-%m-%dT%H:%M:%SZ}\n7,8\n"
    world.put("results/part-1.csv.out", row.encode())
    manifest(world, "part-1.csv.out")
    world.labels(label_line("id-1", "1"), label_line("id-2", "0"))
    world.settings["keep_merged"] = "jsonl"
    report = world.run()
    assert report["merge"]["matched"] == 2
    assert report["capture"]["rejected"] == {"missing_id": 1}
    assert world.merged()[0] == {
        "groundTruthData": {"data": "1", "encoding": "CSV"},
        "captureData": {"batchTransformOutput": {"data": "5,6,0.9", "encoding": "CSV"}},
        "eventMetadata": {"eventId": "id-1"},
        "eventVersion": "0",
    }


def test_batch_transform_csv_with_a_header_names_its_columns(world: World) -> None:
    batch(world, {"csv": {"header": True}}, "score")
    world.put("results/x.out", f"a,score,id,time\n5,0.9,id-1,{T - HOUR:%Y-%m-%dT%H:%M:%SZ}\n".encode())
    manifest(world, "x.out")
    world.labels(label_line("id-1", "1"))
    report = world.run()
    assert (report["capture"]["lines"], report["merge"]["matched"]) == (1, 1)


def parquet_file(rows: list[dict[str, Any]]) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def test_batch_transform_parquet_has_a_record_a_row(world: World) -> None:
    pytest.importorskip("pyarrow.parquet")
    batch(world, {"parquet": {}}, "score")
    when = T - timedelta(minutes=30)
    rows = [
        {"score": 0.9, "SageMakerInferenceId": "a", "SageMakerInferenceTime": when},
        {"score": 1.9, "SageMakerInferenceId": "b", "SageMakerInferenceTime": when},
        {"score": 0.1, "SageMakerInferenceId": "c", "SageMakerInferenceTime": when - 9 * HOUR},
        {"score": 0.1, "SageMakerInferenceId": "d", "SageMakerInferenceTime": when},
    ]
    world.put("results/part-1.parquet", parquet_file(rows))
    world.put("results/part-2.parquet", b"no Parquet")
    manifest(world, "part-1.parquet", "part-2.parquet")
    world.labels(*(label_line(id, "1") for id in "abcd"))
    report = world.run()
    assert {key: report["capture"][key] for key in ("files", "lines", "used", "outside_window", "rejected")} == {
        "files": 2, "lines": 5, "used": 2, "outside_window": 1,
        "rejected": {"bad_probability": 1, "corrupt_parquet": 1},
    }  # fmt: skip
    assert report["metrics"]["confusion_matrix"]["1"] == {"0": 1, "1": 1}


def test_batch_transform_json_lines_with_several_predictions(world: World) -> None:
    batch(world, {"json": {"line": True}}, "predictions[*].score")
    record = {
        "SageMakerInferenceId": "id-1",
        "SageMakerInferenceTime": f"{T - HOUR:%Y-%m-%dT%H:%M:%SZ}",
        "SageMakerOutput": {"predictions": [{"score": 0.9}, {"score": 0.2}]},
        "instances": [],
    }
    world.put("results/x.out", json.dumps(record).encode())
    manifest(world, "x.out")
    world.labels(label_line("id-1", '{"instances":[{"label":1},{"label":1}]}', encoding="JSON"))
    report = world.run()
    assert report["metrics"]["confusion_matrix"]["1"] == {"0": 1, "1": 1}


@pytest.mark.parametrize("key", ["../secrets.csv", "/etc/passwd", "s3://other/key"])
def test_a_manifest_may_not_lead_out_of_its_prefix(world: World, key: str) -> None:
    batch(world, {"csv": {"header": False}}, "0")
    manifest(world, key)
    with pytest.raises(InputError, match="leads out of its prefix"):
        world.run()


def batch(world: World, dataset_format: dict[str, Any], attribute: str) -> None:
    world.settings["batch_transform_input"] = {
        "data_captured_destination_uri": join(world.root, "batch"),
        "dataset_format": dataset_format,
        "probability_attribute": attribute,
    }


def manifest(world: World, *keys: str) -> None:
    body = json.dumps([{"prefix": join(world.root, "results") + "/"}, *keys])
    world.put("batch/output/2026/11/02/11/m.json", body.encode())


def test_labels_are_read_up_to_the_as_of_time_by_folder_name(world: World) -> None:
    world.captures(capture_line("a", "0.9"), capture_line("b", "0.9"))
    world.labels(label_line("a", "1"), hour=T - HOUR)
    world.labels(label_line("b", "1"), hour=T)
    assert world.run()["merge"]["matched"] == 1
    later = world.run(as_of=AsOf(T + HOUR, "time"))
    assert later["merge"]["matched"] == 2
    assert later["ground_truth_as_of"] == "2026-11-02T13:00:00Z"


def test_a_capture_prefix_without_any_object_fails(world: World) -> None:
    with pytest.raises(InputError, match="no object at all under that prefix"):
        world.run()


def test_an_hour_without_captures_is_not_judged(world: World) -> None:
    world.captures(capture_line("a", "0.9"), hour=datetime(2026, 10, 1, tzinfo=UTC))
    report = world.run()
    assert (report["status"], report["capture"]["files"]) == ("NotJudged", 0)
    assert report["merge"]["label_coverage"] is None


def test_more_rejected_than_allowed_fails_after_writing_them(world: World) -> None:
    world.settings["max_rejected_ratio"] = 0.5
    world.captures(capture_line("a", "7"), capture_line("b", "8"), capture_line("c", "0.5"))
    with pytest.raises(RejectedLinesError, match="2 of 3: bad_probability 2; such as '7'") as raised:
        world.run()
    assert "probability_attribute" in raised.value.next_step
    assert len(world.rejected()) == 2
    assert "report.json" not in world.written()


def test_names_that_are_no_data_are_passed_over(local_world: World) -> None:
    local_world.captures(capture_line("a", "0.9"))
    local_world.captures(b"x", name="_SUCCESS")
    local_world.captures(b"x", name=".part.crc")
    assert local_world.run()["capture"]["files"] == 1


# --- which captures have labels


def arrivals(world: World, since: datetime, until: datetime) -> list[tuple[int, int]]:
    """What an engine finds of the labels that were collected from one hour to another: minute and hour of the day."""
    from airflow_mq_provider.engines import engine
    from airflow_mq_provider.engines.task import MergeTask
    from airflow_mq_provider.inputs import Input, capture_inputs
    from airflow_mq_provider.quality.records import reading

    monitor, window = world.monitor(), world.window()
    listed = world.storage.list(monitor.ground_truth_uri, start_after=hour_folder(since), until=hour_folder(until))
    task = MergeTask(
        reading=reading(monitor),
        window=window,
        captures=capture_inputs(monitor, window, world.storage).objects,
        labels=tuple(Input(one.uri, one.size, one.key[:13]) for one in listed),
        labels_until=until,
        merged_uri=join(world.root, "nowhere"),
        rejected_uri=join(world.root, "nowhere.jsonl"),
    )
    found = engine(world.engine).arrivals(task, world.storage)
    hours = [hour % 24 for hour in found.hours.tolist()]
    return list(zip((found.times // 60 % 60).tolist(), hours, strict=True))


def test_captures_whose_labels_came_are_found_with_the_hour_of_the_last_of_them(world: World) -> None:
    times = {id: T - timedelta(minutes=minutes) for id, minutes in (("a", 30), ("b", 20), ("c", 10))}
    world.captures(*(capture_line(id, "0.9", time=time) for id, time in times.items()), b"broken")
    world.captures(capture_line("outside", "0.9", time=T + timedelta(minutes=1)), hour=T, name="late.jsonl")
    world.labels(label_line("a", "1"), label_line("outside", "1"), label_line("z", "1"), hour=T)
    world.labels(label_line("a", "0"), label_line("b", "0"), b"broken", hour=T + 2 * HOUR)
    assert arrivals(world, T, T + 4 * HOUR) == [(30, 14), (40, 14)]
    assert arrivals(world, T, T + HOUR) == [(30, 12)]
    assert arrivals(world, T + 3 * HOUR, T + 4 * HOUR) == []


def test_looking_for_labels_writes_nothing(world: World) -> None:
    world.captures(capture_line("a", "0.9"), b"broken")
    world.labels(label_line("a", "1"), b"broken", hour=T)
    before = [one.key for one in world.storage.list(world.root)]
    arrivals(world, T, T + HOUR)
    assert [one.key for one in world.storage.list(world.root)] == before


def test_captures_are_counted_by_the_age_of_their_first_label(world: World) -> None:
    world.captures(capture_line("a", "0.9"), capture_line("b", "0.9"), capture_line("c", "0.9"))
    world.labels(label_line("a", "1"), label_line("b", "1"))
    world.labels(label_line("a", "0"), hour=T + 3 * HOUR)
    report = world.run(AsOf(T + 5 * HOUR, "time"))
    # made half an hour before the first labels' hour ended, and looked at for five hours and a half
    assert report["merge"]["label_ages"] == {"labelled": {"1": 2}, "unlabelled": {"5": 1}}
