"""The registry, and the page that documents it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from airflow_mq_provider.quality.constraints import Verdict
from airflow_mq_provider.quality.metrics import (
    METRICS,
    MetricInfo,
    block_name,
    compute,
    metrics_of,
    nearest,
    violation_name,
)
from airflow_mq_provider.quality.states import (
    BINARY,
    MULTICLASS,
    PROBLEM_TYPES,
    REGRESSION,
    MergedRows,
    sample_flags,
    state_of,
)

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
HEADINGS = {BINARY: "Binary classification", MULTICLASS: "Multiclass classification", REGRESSION: "Regression"}
BETTER = {True: "higher", False: "lower", None: "–"}


def section(heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


@pytest.mark.parametrize("info", METRICS, ids=lambda info: f"{info.problem_type}-{info.name}")
def test_each_metric_is_documented_with_formula_direction_and_when_it_is_undefined(info: MetricInfo):
    formula = info.formula.replace("|", "\\|")
    row = f"| `{info.name}` | {formula} | {BETTER[info.higher_is_better]} | {info.undefined} |"
    assert row in section(HEADINGS[info.problem_type]).splitlines()


@pytest.mark.parametrize("problem_type", PROBLEM_TYPES)
def test_no_metric_is_documented_that_does_not_exist(problem_type):
    documented = re.findall(r"^\| `(\w+)`", section(HEADINGS[problem_type]), re.MULTILINE)
    assert documented == list(metrics_of(problem_type))


def test_every_reason_code_is_documented():
    documented = re.findall(r"`(\w+)` \| `(\w+)` \|", section("The status of a run (A6)"))
    assert Verdict.__doc__
    told = re.findall(r"``([a-z_]+)``", Verdict.__doc__)
    assert sorted(code for _, code in documented[1:]) == sorted(told)


def test_names_are_unique_within_a_problem_type():
    assert len({(info.problem_type, info.name) for info in METRICS}) == len(METRICS)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("true_positive_rate", "truePositiveRate"),
        ("true_negative_rate", "trueNegativeRate"),
        ("false_positive_rate", "falsePositiveRate"),
        ("false_negative_rate", "falseNegativeRate"),
        ("f0_5", "f0_5"),
        ("weighted_recall", "weighted_recall"),
        ("accuracy_best_constant_classifier", "accuracy_best_constant_classifier"),
    ],
)
def test_violations_call_only_the_rates_by_another_name(name, written):
    assert written == violation_name(name)


def test_blocks_have_sagemakers_names():
    assert [block_name(problem_type, "constraints") for problem_type in PROBLEM_TYPES] == [
        "binary_classification_constraints",
        "multiclass_classification_constraints",
        "regression_constraints",
    ]


def test_names_that_resemble_are_offered_and_others_are_not():
    assert nearest("recal", metrics_of(BINARY)).startswith(" (nearest: recall")
    assert nearest("zzz", metrics_of(BINARY)) == ""


def test_the_standard_deviation_is_less_than_half_a_standard_error():
    """What docs/metrics.md says of quotients: 0.45, the square root of 1/4 times 4/5."""
    draw = np.random.default_rng(1)
    rows, recall = 500, 0.8
    variances = []
    for _ in range(400):
        flags = sample_flags(draw.integers(0, 2**64, (rows, 2), dtype=np.uint64))
        found = (draw.random(rows) < recall).astype(np.uint8)
        state = state_of(MergedRows(BINARY, flags, np.ones(rows, np.uint8), found))
        variances.append(compute(state)["recall"].standard_deviation ** 2)
    error = math.sqrt(recall * (1 - recall) / rows)
    assert math.sqrt(np.mean(variances)) / error == pytest.approx(math.sqrt(1 / 4 * 4 / 5), rel=0.05)
