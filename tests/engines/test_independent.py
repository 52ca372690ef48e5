"""Every engine against a second, independent reading of the rules, on generated data with everything wrong in them."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.run import run
from airflow_mq_provider.window import explicit_window, ground_truth_as_of
from benchmarks import generate
from tests.engines import independent

# Three encodings of three problem types: 108,000 records in all.
RECORDS = 12_000
# The local engine joins line by line where merged records are kept, else hours in columns: each problem and each payload once.
LINE_BY_LINE = set(zip(generate.PROBLEMS, generate.PAYLOADS))


# Payloads are read by the same code on every engine: one of them for each problem is enough of Spark's time. These come first,
# as pytest takes data for the same, and makes them once, where both value and place in the list are.
OF_SPARK = [(problem, "base64") for problem in generate.PROBLEMS]
KINDS = OF_SPARK + [kind for kind in itertools.product(generate.PROBLEMS, generate.PAYLOADS) if kind not in OF_SPARK]


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def generated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """Generated data: the generator's truth, and what the independent script says of the same files."""
    problem, payload = request.param
    truth = generate.generate(
        tmp_path_factory.mktemp("generated"),
        records=RECORDS,
        seed=20261101,
        problem_type=problem,
        payload=payload,
        hours=48,
        gzip_share=0.3,
        malformed=0.01,
        duplicates=0.01,
        duplicate_labels=0.01,
        late_flushes=0.01,
        several_rows=0.02,
        unequal_rows=0.1,
    )
    keep_merged = "jsonl" if request.param in LINE_BY_LINE else None
    truth = replace(truth, monitor=truth.monitor | {"keep_merged": keep_merged})
    return truth, independent.judge(truth.monitor, *truth.window, truth.at)


def _plain(block: dict[str, Any]) -> dict[str, Any]:
    return {name: dict(value) if isinstance(value, dict) else value for name, value in block.items()}


@pytest.mark.parametrize("block", ["capture", "ground_truth", "merge"])
def test_the_generator_and_the_independent_script_agree(generated: tuple[Any, dict[str, Any]], block: str) -> None:
    """Two sources of truth that know nothing of each other: what is drawn, and what is read."""
    truth, expected = generated
    assert _plain(expected[block]) == truth.counts[block]
    assert expected["metrics"].get("confusion_matrix") == truth.confusion


@pytest.mark.parametrize("engine", ["local", "reference"])
def test_an_engine_counts_exactly_and_computes_what_the_independent_script_does(
    generated: tuple[Any, dict[str, Any]], engine: str
) -> None:
    agrees(*generated, engine)


@pytest.mark.spark
@pytest.mark.parametrize("generated", OF_SPARK, indirect=True, ids="-".join)
def test_spark_does_so_too_and_its_standard_deviations_are_local_s(
    generated: tuple[Any, dict[str, Any]], spark: object
) -> None:
    assert agrees(*generated, "spark") == agrees(*generated, "local")


# --- what the generator does not write --------------------------------------------------------------------------------

WAYS = ["by hour", "line by line", "reference"]


@pytest.mark.parametrize("way", WAYS)
def test_damaged_gzip_and_over_long_lines_are_counted_as_the_independent_script_counts_them(
    worse: tuple[Any, dict[str, Any]], way: str
) -> None:
    truth, expected = worse
    for side in ("capture", "ground_truth"):
        assert expected[side]["rejected"]["corrupt_gzip"] > 3
        assert expected[side]["rejected"]["line_too_long"] > 0
    agrees_by(truth, expected, way)


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """Generated data of which some gzip objects are cut off or have a changed byte, some with several members, and with lines
    of more than 16 MiB among them."""
    truth = generate.generate(tmp_path_factory.mktemp("worse"), records=6000, seed=7, hours=6, gzip_share=1.0)
    drawn = random.Random(20261128)
    for side in ("capture", "labels"):
        paths = sorted((truth.root / side).rglob("*.gz"))
        chosen = drawn.sample(paths, 12)
        for number, path in enumerate(chosen):
            lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
            cut = len(lines) // 3
            members = [gzip.compress(b"".join(part), mtime=0) for part in (lines[:cut], lines[cut:])]
            if number < 2:
                too_long = b"x" * (16 * 2**20 + 1) + b"\n"
                data = gzip.compress(b"".join([*lines[:cut], too_long, *lines[cut:]]), 1, mtime=0)
            elif number < 6:
                data = b"".join(members)
                data = data[: drawn.randrange(20, len(data))]
            elif number < 10:
                changed = bytearray(b"\0\0".join(members))
                changed[drawn.randrange(20, len(changed))] ^= 1 << drawn.randrange(8)
                data = bytes(changed)
            else:
                data = b"\0\0\0".join(members) + (b"\0" if number == 10 else b"no member")
            path.write_bytes(data)
    truth = replace(truth, monitor=truth.monitor | {"max_rejected_ratio": 1.0})
    return truth, independent.judge(truth.monitor, *truth.window, truth.at)


FORMATS: dict[str, dict[str, Any]] = {
    "csv": {"dataset_format": {"csv": {"header": False}}, "probability_attribute": "1"},
    "csv with a header": {"dataset_format": {"csv": {"header": True}}, "probability_attribute": "score"},
    "json": {"dataset_format": {"json": {"line": True}}, "probability_attribute": "predictions[*].score"},
}


@pytest.mark.parametrize("engine", ["local", "reference"])
@pytest.mark.parametrize("kind", FORMATS)
def test_batch_transforms_are_read_as_the_independent_script_reads_them(tmp_path: Path, kind: str, engine: str) -> None:
    """The generated captures and their faults as a job would have written them: some files to a manifest, some gzipped."""
    truth = generate.generate(tmp_path, records=3000, seed=11, hours=6, malformed=0.02, labels_per_file=100)
    drawn = random.Random(20261128)
    source = {
        "data_captured_destination_uri": str(tmp_path / "batch"),
        **FORMATS[kind],
        **{name: truth.monitor["endpoint_input"][name] for name in ("start_time_offset", "end_time_offset")},
    }
    for folder in sorted((tmp_path / "capture/orders/AllTraffic").glob("*/*/*/*")):
        hour = folder.relative_to(tmp_path / "capture/orders/AllTraffic").as_posix()
        keys = []
        for path in sorted(folder.iterdir()):
            lines = [transformed(line, kind, drawn) for line in path.read_bytes().splitlines()]
            data = b"\n".join([b"feature,score"] * (kind == "csv with a header") + lines)
            keys.append(f"{hour}/{path.name}.out")
            target = tmp_path / "results" / keys[-1]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(gzip.compress(data, mtime=0) if drawn.random() < 0.3 else data)
        manifest = tmp_path / "batch/output" / hour / "manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.write_text(json.dumps([{"prefix": f"{tmp_path}/results/"}, *keys]))
    monitor = truth.monitor | {"batch_transform_input": source, "max_rejected_ratio": 1.0}
    monitor.pop("endpoint_input")
    truth = replace(truth, monitor=monitor)
    expected = independent.judge(monitor, *truth.window, truth.at)
    assert len(expected["capture"]["rejected"]) > 3
    assert expected["merge"]["matched"] > 2000
    agrees(truth, expected, engine)


def transformed(line: bytes, kind: str, drawn: random.Random) -> bytes:
    """A captured line as a line of a batch transform's output; what is broken there is broken here, in some way."""
    try:
        record = json.loads(line)
        about = record["eventMetadata"]
        id = about.get("inferenceId") or about["eventId"]
        time, score = about["inferenceTime"], str(record["captureData"]["endpointOutput"]["data"])
    except (ValueError, LookupError, TypeError):
        id, time, score = drawn.choice([("", "2026-11-01T01:00:00Z", "0.5"), ("x", "noon", "0.5"), ("x", "", "0.5")])
    if kind == "json":
        output: dict[str, Any] = {"predictions": [{"score": float(score)}] if score.replace(".", "").isdigit() else "?"}
        told = {"SageMakerInferenceId": id, "SageMakerInferenceTime": time}
        joined = output if drawn.random() < 0.5 else {"SageMakerOutput": output, "features": [1, 2]}
        return json.dumps({**joined, **told}).encode() if id != "x" else json.dumps(joined).encode()
    if drawn.random() < 0.01:
        return f"{score},{id}".encode()
    feature = drawn.choice(["1", '"a, b"', '"said ""no"""', ""])
    return f"{feature},{score},{drawn.choice(['', chr(34)]).join(['', id, ''])},{time}".encode()


def agrees_by(truth: Any, expected: dict[str, Any], way: str) -> None:
    """One of `WAYS` agrees: the local engine reads line by line where merged records are kept."""
    settings = {"keep_merged": "jsonl"} if way == "line by line" else {}
    truth = replace(truth, monitor=truth.monitor | settings)
    agrees(truth, expected, "reference" if way == "reference" else "local")


def agrees(truth: Any, expected: dict[str, Any], engine: str) -> dict[str, Any]:
    """The metrics of an engine, held against what is expected of their values and of all counts."""
    monitor = ModelQualityMonitor.from_text(
        json.dumps(truth.monitor | {"output_uri": str(truth.root / "reports" / engine)}), "generated"
    )
    window = explicit_window(*truth.window)
    report = run(monitor, window, as_of=ground_truth_as_of(truth.at, window), engine=engine)

    for block in ("capture", "ground_truth", "merge"):
        wanted = _plain(expected[block])
        assert {name: report[block][name] for name in wanted} == wanted
    assert report["merge"]["label_ages"] == expected["label_ages"]
    capture, labels = report["capture"], report["ground_truth"]
    told = capture["used"] + capture["outside_window"] + capture["dropped"] + sum(capture["rejected"].values())
    assert capture["lines"] == told
    assert labels["lines"] == labels["used"] + sum(labels["rejected"].values())

    if monitor.keep_merged:
        merged = sum(part.read_bytes().count(b"\n") for part in Path(report["output"], "merged").rglob("*.jsonl"))
        unmerged = expected["merge"]["captures_without_label"] + sum(expected["merge"]["rejected"].values())
        assert merged == expected["capture"]["used"] - unmerged

    (block,) = (
        content
        for name, content in json.loads(Path(report["output"], "statistics.json").read_text()).items()
        if name.endswith("_metrics")
    )
    metrics = {name: content for name, content in block.items() if not name.endswith("_curve")}
    wanted = dict(expected["metrics"])
    assert metrics == report["metrics"]
    assert metrics.keys() == wanted.keys()
    assert metrics.pop("confusion_matrix", None) == wanted.pop("confusion_matrix", None)
    for name, value in wanted.items():
        found, spread = metrics[name]["value"], metrics[name]["standard_deviation"]
        assert math.isclose(found, value, rel_tol=1e-12), f"{name}: {found}, expected {value}"
        # differences of values that are nearly equal: their last digits are all that is left of these
        wanted_spread = expected["standard_deviations"][name]
        assert math.isclose(float(spread), wanted_spread, rel_tol=1e-9, abs_tol=1e-15), (
            f"{name}: {spread}, {wanted_spread}"
        )
    return dict(report["metrics"])
