"""What is Spark's own: the same bytes as the local engine's, one scan of the input, its sessions and its errors."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider import run
from airflow_mq_provider.engines import engine as engine_named
from airflow_mq_provider.engines import spark as spark_engine
from airflow_mq_provider.engines import task as tasks
from airflow_mq_provider.engines.task import MergeTask
from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.inputs import Input, capture_inputs, label_inputs
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.quality.records import reading
from airflow_mq_provider.quality.states import MergedRows
from airflow_mq_provider.scripts import Script
from airflow_mq_provider.storage import Storage
from airflow_mq_provider.window import Window, explicit_window, ground_truth_as_of
from benchmarks.generate import Truth, generate
from tests.loopback import CountingStorage

pytestmark = pytest.mark.spark

SCRIPT = Script(
    "script.py",
    """
def preprocess_handler(record):
    try:
        score = float(str(record.endpoint_output.data).split(",")[0])
    except ValueError:
        return {"0": "nothing to read", "1": 0}
    return [] if score < 0.1 else {"0": 2 * score if score > 0.95 else score, "1": int(score > 0.4)}
""",
)


def data(folder: Path, **settings: Any) -> Truth:
    """A day of everything that a window can hold, in some fifty objects."""
    return generate(
        folder, records=6_000, hours=24, seed=8, records_per_file=150, gzip_share=0.2, malformed=0.02, late_flushes=0.02,
        duplicates=0.02, duplicate_labels=0.02, unlabelled=0.1, orphans=0.05, **settings,
    )  # fmt: skip


def judged(truth: Truth, engine: str, **settings: Any) -> dict[str, bytes]:
    """Everything that a run of an engine writes, without its name and its times."""
    storage = Storage()
    monitor = ModelQualityMonitor.from_text(json.dumps(truth.monitor | settings), "generated")
    window = explicit_window(*truth.window)
    run.run(monitor, window, storage=storage, as_of=ground_truth_as_of(truth.at, window), engine=engine)
    written = {one.key: storage.read(one.uri) for one in storage.list(monitor.report_prefix(window))}
    report = json.loads(written["report.json"])
    assert report.pop("engine") == engine
    del report["timings"]
    report.pop("replaces", None)
    report.pop("revision", None)
    return written | {"report.json": json.dumps(report).encode()}


@pytest.mark.parametrize(
    ("kind", "keep_merged"),
    [("BinaryClassification", "jsonl"), ("MulticlassClassification", "parquet"), ("Regression", "jsonl")],
)
def test_a_report_has_the_bytes_of_the_local_engine_s(
    tmp_path: Path, spark: object, monkeypatch: pytest.MonkeyPatch, kind: str, keep_merged: str
) -> None:
    monkeypatch.setattr(tasks, "UNIT", 500_000)  # a dozen units, which Spark spreads over its tasks
    monkeypatch.setattr(tasks, "SPAN", 80_000)  # and more of the larger objects that are not gzip
    truth = data(tmp_path, problem_type=kind, several_rows=0.1, unequal_rows=0.2)
    expected = judged(truth, "local", keep_merged=keep_merged)
    found = judged(truth, "spark", keep_merged=keep_merged)
    assert found.keys() == expected.keys()
    assert len([key for key in found if key.startswith("merged/")]) > 20
    assert {key: data for key, data in found.items() if data != expected[key]} == {}
    # nor does the cut matter: where no merged records are kept the local engine joins hour by hour
    by_hour = judged(truth, "local")
    assert not [key for key in by_hour if key.startswith("merged/")]
    assert by_hour["statistics.json"] == expected["statistics.json"]
    assert json.loads(by_hour["report.json"])["metrics"] == json.loads(found["report.json"])["metrics"]


# --- scores that are too many


def test_of_many_rows_scores_are_binned_and_all_else_stays_exact(
    tmp_path: Path, spark: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "UNIT", 500_000)
    truth = data(tmp_path)
    segments = {"segments": {"input_attribute": "0"}}
    exact = json.loads(judged(truth, "spark", **segments)["report.json"])
    monkeypatch.setattr(spark_engine, "MOST_SCORES", 1_000)
    binned = json.loads(judged(truth, "spark", **segments)["report.json"])
    bound = binned.pop("auc_error_bound")
    assert "auc_error_bound" not in exact
    auc, exact_auc = (report["metrics"].pop("auc")["value"] for report in (binned, exact))
    assert 0 < abs(auc - exact_auc) <= bound < 1e-3
    binned_segments, exact_segments = (
        [*report["segments"]["listed"], report["segments"]["others"]] for report in (binned, exact)
    )
    for one, other in zip(binned_segments, exact_segments, strict=True):
        auc, exact_auc = (float(found["metrics"].pop("auc")["value"]) for found in (one, other))
        assert math.isnan(exact_auc) or abs(auc - exact_auc) <= one["auc_error_bound"] + 1e-15
        del one["auc_error_bound"]  # which is not in the other
    assert len(binned_segments) == 51
    assert binned == exact


def test_binned_rows_take_the_place_of_the_exact_ones(
    tmp_path: Path, spark: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spark_engine, "MOST_SCORES", 1_000)
    task = task_of(data(tmp_path), Storage(), tmp_path / "out")
    counts = engine_named("spark").merge(task, Storage())
    parts = list(Storage().list(task.merged_uri))
    assert parts
    assert all(one.key.endswith("-binned.rows") for one in parts)
    assert sum(MergedRows.from_bytes(Storage().read(one.uri)).records for one in parts) == counts.merge.matched


def task_of(truth: Truth, storage: Storage, folder: Path, **settings: Any) -> MergeTask:
    monitor = ModelQualityMonitor.from_text(json.dumps(truth.monitor), "generated")
    window: Window = explicit_window(*truth.window)
    as_of = ground_truth_as_of(truth.at, window)
    task = MergeTask(
        reading=reading(monitor),
        window=window,
        captures=capture_inputs(monitor, window, storage).objects,
        labels=label_inputs(monitor, window, as_of, storage).objects,
        labels_until=as_of.time,
        merged_uri=str(folder / "merged"),
        rejected_uri=str(folder / "rejected.jsonl"),
    )
    return replace(task, **settings)


def written(task: MergeTask) -> dict[str, bytes]:
    return {one.key: Storage().read(one.uri) for one in Storage().list(task.merged_uri)} | {
        "rejected": Storage().read(task.rejected_uri)
    }


@pytest.mark.parametrize("script", [None, SCRIPT], ids=["", "script"])
def test_parts_and_rejected_lines_have_the_bytes_of_the_local_engine_s(
    tmp_path: Path, spark: object, monkeypatch: pytest.MonkeyPatch, script: Script | None
) -> None:
    monkeypatch.setattr(tasks, "UNIT", 500_000)
    truth = data(tmp_path)
    results = []
    for name in ("local", "spark"):
        # with merged records the local engine joins unit by unit, too, and not hour by hour
        task = task_of(truth, Storage(), tmp_path / name, keep_merged="jsonl")
        if script is not None:
            task = replace(task, preprocessor=script, reading=replace(task.reading, processed=True))
        results.append((engine_named(name).merge(task, Storage(), workers=1), written(task)))
    (expected, files), (found, same_files) = results
    assert found == expected
    assert found.merge.matched > 3_000
    assert same_files == files
    if script is not None:
        assert found.capture.dropped > 100
        assert found.capture.rejected["bad_probability"] > 100


def test_the_input_is_scanned_once(tmp_path: Path, spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "UNIT", 500_000)
    truth = data(tmp_path)
    opened, read = spark.sparkContext.accumulator(0), spark.sparkContext.accumulator(0)
    task = task_of(truth, Storage(), tmp_path / "out", keep_merged="jsonl")
    counts = engine_named("spark").merge(task, CountingStorage(opened, read))
    objects = task.captures + task.labels
    assert counts.merge.matched > 3_000
    assert opened.value == len(objects)
    assert read.value == sum(one.size for one in objects)


def test_where_only_counts_are_asked_for_executors_write_nothing(tmp_path: Path, spark: object) -> None:
    task = task_of(data(tmp_path), Storage(), tmp_path / "out", counts_only=True)
    assert engine_named("spark").merge(task, Storage()).merge.matched > 3_000
    assert list(Storage().list(task.merged_uri)) == []


def test_nothing_that_spark_kept_for_a_run_stays(tmp_path: Path, spark: Any) -> None:
    truth = data(tmp_path)
    engine_named("spark").merge(task_of(truth, Storage(), tmp_path / "out"), Storage())
    assert spark.sparkContext._jsc.getPersistentRDDs().size() == 0


def test_an_object_that_is_gone_fails_the_merge_by_its_name(tmp_path: Path, spark: object) -> None:
    truth = data(tmp_path)
    task = task_of(truth, Storage(), tmp_path / "out")
    for side in ("labels", "captures"):
        gone = Input(str(tmp_path / "gone.jsonl"), 100, "2026/11/02/11")
        with pytest.raises(InputError, match="a file that exists") as raised:
            engine_named("spark").merge(
                replace(task, labels=(*task.labels, gone))
                if side == "labels"
                else replace(task, captures=(*task.captures, gone)),
                Storage(),
            )
        assert raised.value.where.endswith("gone.jsonl")


def test_what_spark_itself_says_comes_in_four_parts(tmp_path: Path, spark: object) -> None:
    truth = data(tmp_path)
    task = task_of(truth, Storage(), tmp_path / "out")

    class Broken(Storage):
        def read(self, uri: str, *, etag: str = "") -> bytes:
            raise MemoryError("too little for this")

    with pytest.raises(InputError, match="too little for this") as raised:
        engine_named("spark").merge(task, Broken())
    assert "executors" in raised.value.next_step


def python(code: str, **environment: str) -> str:
    """What a Python of its own prints that runs some code, with nothing but this environment."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


HIDDEN = """
import sys
sys.modules["{name}"] = None
from airflow_mq_provider.engines import engine
from airflow_mq_provider.exceptions import ModelQualityError
try:
    engine("spark").merge(None, None)
except ModelQualityError as error:
    print(error.expected, error.next_step, sep="; ")
"""


@pytest.mark.parametrize("name", ["pyspark", "pyarrow"])
def test_without_the_extra_the_error_names_it(name: str) -> None:
    assert 'pip install "airflow-mq-provider[spark]"' in python(HIDDEN.format(name=name))


def test_without_java_the_error_names_it() -> None:
    pytest.importorskip("pyspark")
    code = """
from airflow_mq_provider.engines.spark import _spark
from airflow_mq_provider.exceptions import InputError
try:
    with _spark():
        print("a session")
except InputError as error:
    print(error.next_step)
"""
    assert "install Java 17" in python(code, PATH="/usr/bin/nowhere:/bin", JAVA_HOME="/nowhere")


@pytest.mark.parametrize("engine", ["local", "reference"])
def test_no_other_engine_imports_pyspark(engine: str) -> None:
    code = f"""
import sys
from airflow_mq_provider import cli, run
from airflow_mq_provider.engines import engine
engine({engine!r}), engine("spark")
print("pyspark" in sys.modules, "pyarrow" in sys.modules)
"""
    assert python(code) == "False False\n"
