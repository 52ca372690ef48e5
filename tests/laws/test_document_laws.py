"""Laws of documents: what is written is read back as it was, whatever it holds."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from airflow_mq_provider.quality.constraints import OPERATORS, Constraint, judge, suggest
from airflow_mq_provider.quality.documents import (
    Statistics,
    constraints_document,
    dumps,
    java_double,
    loads,
    read_constraints,
    read_statistics,
    violations_document,
)
from airflow_mq_provider.quality.metrics import metrics_of, violation_name
from airflow_mq_provider.quality.states import (
    BINARY,
    MULTICLASS,
    PROBLEM_TYPES,
    CaptureCounts,
    GroundTruthCounts,
    JoinCounts,
    MergeCounts,
    Metric,
    RejectedLine,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
LABELS = st.text(max_size=4)


@st.composite
def metric_sets(draw: st.DrawFn, problem_type: str) -> dict[str, Metric]:
    made = {name: Metric(draw(st.floats()), draw(st.floats())) for name in metrics_of(problem_type)}
    if problem_type == BINARY and draw(st.booleans()):
        del made["auc"]
    return made


@st.composite
def contents(draw: st.DrawFn) -> Statistics:
    problem_type = draw(st.sampled_from(PROBLEM_TYPES))
    matrix, curves = None, {}
    if problem_type in (BINARY, MULTICLASS):
        matrix = draw(st.dictionaries(LABELS, st.dictionaries(LABELS, st.integers(0, 2**53), max_size=3), max_size=3))
    if problem_type == BINARY and draw(st.booleans()):
        numbers = st.lists(st.floats(0, 1), max_size=4)
        curves = {
            "receiver_operating_characteristic_curve": {
                "false_positive_rates": draw(numbers),
                "true_positive_rates": draw(numbers),
            },
            "precision_recall_curve": {"precisions": draw(numbers), "recalls": draw(numbers)},
        }
    return Statistics(
        problem_type,
        draw(metric_sets(problem_type)),
        matrix,
        curves,
        draw(st.none() | st.integers(0, 2**53)),
        draw(st.none() | st.text(max_size=30)),
    )


@given(contents())
def test_statistics_are_read_back_as_they_were_written(statistics):
    data = dumps(statistics.as_document())
    read = read_statistics(loads(data, "here"), "here", statistics.problem_type)
    assert repr(read) == repr(statistics)
    assert dumps(read.as_document()) == data


@st.composite
def limits(draw: st.DrawFn) -> tuple[str, dict[str, Constraint]]:
    problem_type = draw(st.sampled_from(PROBLEM_TYPES))
    names = draw(st.lists(st.sampled_from(list(metrics_of(problem_type))), unique=True))
    return problem_type, {name: Constraint(draw(FINITE), draw(st.sampled_from(OPERATORS))) for name in names}


@given(limits())
def test_constraints_are_read_back_as_they_were_written(given_limits):
    problem_type, constraints = given_limits
    data = dumps(constraints_document(problem_type, constraints))
    assert read_constraints(loads(data, "here"), problem_type, "here") == constraints


@given(st.sampled_from(PROBLEM_TYPES), st.data())
def test_a_baseline_never_violates_the_constraints_that_it_suggests(problem_type, data):
    metrics = data.draw(metric_sets(problem_type))
    tried = {name: Metric(metric.value, 0.1) for name, metric in metrics.items() if math.isfinite(metric.value)}
    for tolerance in (None, 0.0, 2.5):
        if tolerance is not None and not any(metrics_of(problem_type)[name].constrained for name in tried):
            continue
        suggestion = suggest(tried, problem_type, tolerance)
        data_out = dumps(constraints_document(problem_type, suggestion.constraints))
        judged = judge(tried, read_constraints(loads(data_out, "here"), problem_type, "here"), problem_type)
        assert judged.violations == ()
        assert judged.not_judged == ()


@given(limits(), st.data())
def test_every_constraint_is_met_violated_or_not_judged(given_limits, data):
    problem_type, constraints = given_limits
    metrics = data.draw(metric_sets(problem_type))
    judged = judge(metrics, constraints, problem_type)
    violated = [violation.metric_name for violation in judged.violations]
    told = [*judged.within, *violated, *(one.metric_name for one in judged.not_judged)]
    assert sorted(told) == sorted(constraints)
    assert {name for name in constraints if name not in metrics or math.isnan(metrics[name].value)} == {
        one.metric_name for one in judged.not_judged
    }
    document = violations_document(judged.violations)
    assert [entry["metric_name"] for entry in document["violations"]] == [violation_name(name) for name in violated]
    assert json.loads(dumps(document)) == document


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_as_java_writes_it_is_the_same_number(number):
    text = java_double(number)
    assert float(text) == number
    assert math.copysign(1.0, float(text)) == math.copysign(1.0, number)


@given(st.floats(min_value=5e-324, allow_infinity=False))
def test_a_number_as_java_writes_it_has_the_fewest_digits_and_one_on_each_side_of_the_point(number):
    mantissa, _, exponent = java_double(number).partition("E")
    whole, _, fraction = mantissa.partition(".")
    assert whole
    assert fraction
    assert (exponent != "") == (not 1e-3 <= number < 1e7)
    if exponent:
        assert len(whole) == 1
        assert whole != "0"
    digits = (whole + fraction).strip("0")
    assert len(digits) <= max(2, len(np.format_float_scientific(number, trim="-").split("e")[0].replace(".", "")))
    assert Decimal(mantissa + ("E" + exponent if exponent else "")) > 0


LINES = st.builds(RejectedLine, st.text(max_size=5), st.integers(1, 10**9), st.text(max_size=5))
REASONS = st.dictionaries(st.text(max_size=5), st.integers(0, 10**9), max_size=3)
WHOLE = st.integers(0, 10**12)


@given(
    st.builds(
        MergeCounts,
        st.builds(CaptureCounts, WHOLE, WHOLE, WHOLE, WHOLE, WHOLE, REASONS, WHOLE, st.lists(LINES).map(tuple)),
        st.builds(GroundTruthCounts, WHOLE, WHOLE, WHOLE, REASONS, WHOLE, st.lists(LINES).map(tuple)),
        st.builds(JoinCounts, WHOLE, WHOLE, WHOLE, REASONS, st.none() | st.floats(0, 1)),
    )
)
def test_counts_are_read_back_from_their_blocks(counts):
    blocks: dict[str, Any] = loads(dumps(counts.as_dict()), "here")
    assert MergeCounts.from_dict(blocks).as_dict() == counts.as_dict()
