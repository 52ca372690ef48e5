"""Users' scripts with SageMaker's signatures, on every engine: what they see, make, drop and break (rule O5)."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from airflow_mq_provider import run
from airflow_mq_provider.exceptions import ScriptError
from airflow_mq_provider.storage import join
from tests.world import World, capture_line, label_line


def scripted(world: World, source: str, *, kind: str = "record_preprocessor", **settings: Any) -> None:
    """Let the world's monitor have a script."""
    world.put("script.py", source.encode())
    world.settings.setdefault("sagemaker", {})[f"{kind}_source_uri"] = join(world.root, "script.py")
    world.settings["sagemaker"].update(settings)


def judged(world: World) -> dict[str, Any]:
    return run.run(
        world.monitor(), world.window(), storage=world.storage, engine=world.engine, workers=world.workers,
        allow_scripts=True,
    )  # fmt: skip


PERCENT = """
def preprocess_handler(inference_record):
    score = float(inference_record.endpoint_output.data.rstrip("%")) / 100
    return {str(0).zfill(20): score}
"""


def test_a_preprocessor_makes_payloads_readable_that_are_not(world: World) -> None:
    scripted(world, PERCENT)
    world.captures(capture_line("a", "90%"), capture_line("b", "20%"), capture_line("no label", "?"))
    world.labels(label_line("a", "1"), label_line("b", "1"))
    report = judged(world)
    assert report["metrics"]["confusion_matrix"] == {"0": {"0": 0, "1": 0}, "1": {"0": 1, "1": 1}}
    assert report["merge"]["captures_without_label"] == 1
    assert report["capture"]["rejected"] == {}
    assert report["scripts"]["record_preprocessor"]["uri"] == join(world.root, "script.py")


def test_segments_of_rows_that_a_preprocessor_makes_stand_in_the_captured_input(world: World) -> None:
    scripted(
        world,
        """
def preprocess_handler(inference_record):
    return [{"score": float(text)} for text in inference_record.endpoint_output.data.split("|")]
""",
    )
    world.settings["segments"] = {"input_attribute": 1}
    world.captures(
        capture_line("a", "0.9|0.2", given="1,de"),
        capture_line("b", "0.9", given="1,fr"),
        capture_line("no label", "?", given="1,fr"),
        capture_line("c", "0.9|0.1", given="1,x\n1,y"),
    )
    world.labels(label_line("a", "1\n1"), label_line("b", "1"), label_line("c", "1\n0"))
    listed = judged(world)["segments"]["listed"]
    assert {one["segment"]: one["records"] for one in listed} == {"de": 2, "fr": 1, "x": 1, "y": 1}


def test_a_preprocessor_sees_the_merged_record_as_sagemaker_shows_it(local_world: World) -> None:
    scripted(
        local_world,
        """
import json, os
def preprocess_handler(record, logger):
    logger.info("a record")
    print("printed")
    seen = {
        "id": record.event_metadata.event_id, "time": record.event_metadata.event_time,
        "custom": record.event_metadata.custom_attribute, "version": record.event_version,
        "input": record.endpoint_input.data, "encoding": record.endpoint_input.encoding,
        "type": record.endpoint_output.observedContentType, "mode": record.endpoint_output.mode,
        "truth": record.ground_truth.data, "batch": record.batch_transform_output.data,
        "inference": record.event_dict["eventMetadata"]["inferenceId"], "same": record.as_dict() is record.event_dict,
        "mine": os.environ.get("MINE"), "airflow": [name for name in os.environ if "AIRFLOW" in name or "AWS" in name],
    }
    raise ValueError(json.dumps(seen))
""",
        environment={"MINE": "yes"},
    )
    local_world.captures(capture_line("e", "0.9", inferenceId="i", customAttributes="c"))
    local_world.labels(label_line("i", "1"))
    with pytest.raises(ScriptError) as raised:
        judged(local_world)
    assert json.loads(raised.value.came.removeprefix("ValueError: ")) == {
        "id": "e", "time": "2026-11-02T11:30:00Z", "custom": "c", "version": "0", "input": "1,2", "encoding": "CSV",
        "type": "text/csv", "mode": "OUTPUT", "truth": "1", "batch": None, "inference": "i", "same": True, "mine": "yes",
        "airflow": [],
    }  # fmt: skip


def test_dropped_records_are_counted_and_are_no_part_of_anything_else(world: World) -> None:
    scripted(
        world,
        "def preprocess_handler(record):\n"
        "    return [] if record.endpoint_output.data == '0.1' else {'0': record.endpoint_output.data}\n",
    )
    world.captures(capture_line("a", "0.9"), capture_line("a", "0.1"), capture_line("b", "0.1"), b"broken")
    world.labels(label_line("a", "1"), label_line("b", "1"))
    report = judged(world)
    assert {key: report["capture"][key] for key in ("lines", "used", "dropped", "rejected", "duplicate_ids")} == {
        "lines": 4, "used": 1, "dropped": 2, "rejected": {"invalid_json": 1}, "duplicate_ids": 0,
    }  # fmt: skip
    assert report["merge"]["matched"] == 1
    assert report["merge"]["labels_without_capture"] == 1


def test_what_a_preprocessor_returns_is_judged_like_a_payload(world: World) -> None:
    scripted(
        world,
        "def preprocess_handler(record):\n"
        "    return {'p': record.endpoint_output.data} if record.endpoint_output.data != 'none' else {'q': 1}\n",
    )
    world.settings["endpoint"] = {"probability_attribute": "p"}
    world.captures(capture_line("a", "1.5"), b"broken", capture_line("b", "none"), capture_line("c", "0.9"))
    world.labels(*(label_line(id, "1") for id in "abc"))
    report = judged(world)
    assert report["capture"]["rejected"] == {"bad_probability": 1, "invalid_json": 1, "missing_attribute": 1}
    assert [line["line"] for line in world.rejected()] == [1, 2, 3]
    assert report["merge"]["matched"] == 1


def test_a_preprocessor_may_make_several_rows_of_a_record(world: World) -> None:
    scripted(
        world,
        "def preprocess_handler(record):\n    return [{'0': v} for v in record.endpoint_output.data.split(';')]\n",
    )
    world.captures(capture_line("a", "0.9;0.1"), capture_line("b", "0.9;0.1;0.2"))
    world.labels(label_line("a", "1\n0"), label_line("b", "1\n0"))
    report = judged(world)
    assert report["merge"]["matched"] == 2
    assert report["merge"]["rejected"] == {"row_count_mismatch": 1}


@pytest.mark.parametrize(
    ("source", "came", "where"),
    [
        ("def preprocess_handler(record):\n    x = 1\n    return x / 0\n", "ZeroDivisionError", "line 3: return x / 0"),
        ("def preprocess_handler(record):\n    return 7\n", "must return a dict", "a.jsonl, line 1"),
        ("def preprocess_handler(record):\n    import os\n    os._exit(3)\n", "ended with code 3", "a.jsonl, line 1"),
        ("def preprocess_handler(record)\n", "SyntaxError", "line 1"),
        ("import nothing_of_that_name\n", "ModuleNotFoundError", "line 1"),
        ("def other(record): ...\n", "no function preprocess_handler", "script.py"),
    ],
)
def test_a_script_that_fails_is_named_with_its_line_and_the_record(
    local_world: World, source: str, came: str, where: str
) -> None:
    scripted(local_world, source)
    local_world.captures(capture_line("a", "0.9"))
    local_world.labels(label_line("a", "1"))
    with pytest.raises(ScriptError) as raised:
        judged(local_world)
    assert came in raised.value.came
    assert where in raised.value.where
    assert not local_world.storage.exists(join(local_world.prefix(), "report.json"))


@pytest.mark.parametrize("kind", ["record_preprocessor", "post_analytics_processor"])
def test_scripts_do_not_run_unless_allowed(local_world: World, kind: str) -> None:
    scripted(local_world, "raise SystemExit\n", kind=kind)
    local_world.captures(capture_line("a", "0.9"))
    with pytest.raises(ScriptError, match=r"scripts are not allowed here.*allow_scripts = True"):
        local_world.run()


@pytest.mark.parametrize("dataset_format", [{"csv": {"header": False}}, {"json": {"line": True}}])
def test_a_preprocessor_works_on_a_batch_transforms_output(world: World, dataset_format: dict[str, Any]) -> None:
    scripted(
        world,
        "import json\n"
        "def preprocess_handler(record):\n"
        "    out = record.batch_transform_output\n"
        "    text = json.loads(out.data)['said'] if out.encoding == 'JSON' else out.data\n"
        "    return {'p': float(text.rstrip('%')) / 100}\n",
    )
    world.settings["batch_transform_input"] = {
        "data_captured_destination_uri": join(world.root, "batch"),
        "dataset_format": dataset_format,
        "probability_attribute": "p",
    }
    when = "2026-11-02T11:30:00Z"
    line = json.dumps({"said": "90%", "SageMakerInferenceId": "a", "SageMakerInferenceTime": when})
    world.put("results/out", f"90%,a,{when}\n".encode() if "csv" in dataset_format else line.encode())
    world.put("batch/output/2026/11/02/11/m.json", json.dumps([{"prefix": f"{world.root}/results/"}, "out"]).encode())
    world.labels(label_line("a", "1"))
    assert judged(world)["metrics"]["confusion_matrix"]["1"] == {"0": 0, "1": 1}


def test_a_post_analytics_processor_finds_the_documents_and_its_files_are_kept(world: World) -> None:
    scripted(
        world,
        """
import json, os
def postprocess_handler():
    statistics = json.load(open(os.path.join(os.environ["output_path"], "statistics.json")))
    with open("mine.json", "w") as file:
        json.dump(statistics["dataset"]["item_count"], file)
    open("statistics.json", "w").write("forged")
""",
        kind="post_analytics_processor",
    )
    world.captures(capture_line("a", "0.9"))
    world.labels(label_line("a", "1"))
    judged(world)
    assert world.read("postprocessed/mine.json") == b"1"
    assert json.loads(world.read("statistics.json"))["dataset"]["item_count"] == 1


def test_a_script_gets_nothing_of_this_process_environment(local_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    scripted(
        local_world,
        "import os, sys\n"
        "def postprocess_handler():\n"
        "    assert 'secret' not in str(dict(os.environ)), os.environ\n"
        "    assert 'airflow_mq_provider' not in sys.modules\n",
        kind="post_analytics_processor",
    )
    local_world.captures(capture_line("a", "0.9"))
    judged(local_world)
