"""Every engine against a second, independent reading of the rules, on generated data with everything wrong in them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.run import run
from airflow_mq_provider.window import explicit_window, ground_truth_as_of
from benchmarks import generate
from tests.engines import independent

# Three encodings of 34,000 records: more than 100,000 of each problem type.
RECORDS = 34_000
# The local engine joins line by line where merged records are kept, else hours in columns: each problem and each payload once.
LINE_BY_LINE = set(zip(generate.PROBLEMS, generate.PAYLOADS))


@pytest.fixture(
    scope="module",
    params=[(problem, payload) for problem in generate.PROBLEMS for payload in generate.PAYLOADS],
    ids=lambda param: "-".join(param),
)
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


# Payloads are read by the same code on every engine: one of them for each problem is enough of Spark's time.
@pytest.mark.parametrize("generated", [(problem, "base64") for problem in generate.PROBLEMS], indirect=True)
def test_spark_does_so_too_and_its_standard_deviations_are_local_s(
    generated: tuple[Any, dict[str, Any]], spark: object
) -> None:
    assert agrees(*generated, "spark") == agrees(*generated, "local")


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

    metrics = dict(report["metrics"])
    wanted = dict(expected["metrics"])
    assert metrics.keys() == wanted.keys()
    assert metrics.pop("confusion_matrix", None) == wanted.pop("confusion_matrix", None)
    for name, value in wanted.items():
        found = metrics[name]["value"]
        assert math.isclose(found, value, rel_tol=1e-12), f"{name}: {found}, expected {value}"
    return dict(report["metrics"])
