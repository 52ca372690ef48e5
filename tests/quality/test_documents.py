"""SageMaker's documents: real ones are reproduced and read, wrong ones are refused with their faults."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mq_provider.exceptions import DocumentError
from airflow_mq_provider.quality.constraints import GREATER, LESS, Constraint, Violation
from airflow_mq_provider.quality.documents import (
    Statistics,
    constraints_document,
    dumps,
    java_double,
    json_number,
    loads,
    read_constraints,
    read_statistics,
    read_violations,
    statistics,
    violations_document,
)
from airflow_mq_provider.quality.metrics import METRICS, metrics_of, violation_name
from airflow_mq_provider.quality.states import BINARY, MULTICLASS, REGRESSION, MergedRows, Metric, state_of

# numbers as Java writes them


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1.0"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (100.0, "100.0"),
        (-1.5, "-1.5"),
        (123456.789, "123456.789"),
        (0.5714285714285714, "0.5714285714285714"),
        (0.001, "0.001"),
        (0.0009999999999999998, "9.999999999999998E-4"),
        (9999999.0, "9999999.0"),
        (9999999.999999998, "9999999.999999998"),
        (1e7, "1.0E7"),
        (12345678.9, "1.23456789E7"),
        (1e16, "1.0E16"),
        (1e-5, "1.0E-5"),
        (5.092682820403929e-4, "5.092682820403929E-4"),
        (2e23, "2.0E23"),
        (5e-324, "4.9E-324"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (2.2250738585072014e-308, "2.2250738585072014E-308"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
    ],
)
def test_numbers_are_written_as_java_writes_them(number, text):
    assert text == java_double(number)


# violations


@pytest.mark.parametrize("day", ["2021-02-05", "2021-05-18", "2021-05-26"])
def test_the_violations_of_a_real_run_come_out_byte_for_byte(churn: Path, day):
    document = json.loads((churn / f"churn_run_{day}_constraint_violations.json").read_text())
    names = {violation_name(info.name): info.name for info in METRICS if info.problem_type == BINARY}
    violations = []
    for entry in document["violations"]:
        told = re.fullmatch(r"Metric (\w+) with (\S+) \+/- (\S+) was (\w+) '(\S+)'", entry["description"])
        assert told
        name, value, spread, operator, threshold = told.groups()
        violations.append(
            Violation(names[name], Metric(float(value), float(spread)), Constraint(float(threshold), operator))
        )
    assert json.dumps(violations_document(violations)) == json.dumps(document)


def test_a_violation_is_told_in_aws_words():
    violation = Violation(
        "false_negative_rate", Metric(0.8846737481031867, 5.092682820404051e-4), Constraint(0.4285714285714286, GREATER)
    )
    assert violations_document([violation]) == {
        "violations": [
            {
                "constraint_check_type": "GreaterThanThreshold",
                "description": "Metric falseNegativeRate with 0.8846737481031867 +/- 5.092682820404051E-4 "
                "was GreaterThanThreshold '0.4285714285714286'",
                "metric_name": "falseNegativeRate",
            }
        ]
    }


def test_a_violation_without_a_standard_deviation_says_nan():
    told = violations_document([Violation("f1", Metric(0.5), Constraint(1, LESS))])["violations"][0]["description"]
    assert told == "Metric f1 with 0.5 +/- NaN was LessThanThreshold '1.0'"


def test_a_run_without_violations_has_an_empty_list():
    assert violations_document([]) == {"violations": []}


# statistics


def rows(problem_type: str, actual: Any, predicted: Any, probability: Any = None, classes: Any = ()) -> MergedRows:
    kind = {BINARY: np.uint8, MULTICLASS: np.int32, REGRESSION: np.float64}[problem_type]
    return MergedRows(
        problem_type,
        np.zeros(len(actual), dtype=np.uint8),
        np.array(actual, dtype=kind),
        np.array(predicted, dtype=kind),
        None if probability is None else np.array(probability),
        classes,
    )


def document(merged: MergedRows, **settings: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"threshold": 0.5, "evaluation_time": "2020-01-09T13:00:00Z"} | settings
    return statistics(merged.problem_type, state_of(merged), **given).as_document()


def test_binary_statistics_have_sagemakers_shape_and_order():
    made = document(rows(BINARY, [1, 0], [1, 1], [0.9, 0.6]))
    assert list(made) == ["version", "dataset", "binary_classification_metrics"]
    assert made["version"] == 0.0
    assert made["dataset"] == {"item_count": 2, "evaluation_time": "2020-01-09T13:00:00Z"}
    block = made["binary_classification_metrics"]
    assert list(block) == [
        "confusion_matrix",
        "recall",
        "precision",
        "accuracy",
        "recall_best_constant_classifier",
        "precision_best_constant_classifier",
        "accuracy_best_constant_classifier",
        "true_positive_rate",
        "true_negative_rate",
        "false_positive_rate",
        "false_negative_rate",
        "receiver_operating_characteristic_curve",
        "precision_recall_curve",
        "auc",
        "f0_5",
        "f1",
        "f2",
        "f0_5_best_constant_classifier",
        "f1_best_constant_classifier",
        "f2_best_constant_classifier",
    ]
    assert block["confusion_matrix"] == {"0": {"0": 0, "1": 1}, "1": {"0": 0, "1": 1}}
    assert block["precision"] == {"value": 0.5, "standard_deviation": "NaN"}
    assert block["receiver_operating_characteristic_curve"] == {
        "false_positive_rates": [0.0, 0.0, 1.0],
        "true_positive_rates": [0.0, 1.0, 1.0],
    }
    assert block["precision_recall_curve"] == {"precisions": [1.0, 1.0, 0.5], "recalls": [0.0, 1.0, 1.0]}


def test_undefined_values_are_the_string_nan():
    block = document(rows(BINARY, [1, 0], [0, 0]))["binary_classification_metrics"]
    assert block["precision"] == {"value": "NaN", "standard_deviation": "NaN"}


def test_without_probabilities_statistics_have_neither_auc_nor_curves():
    block = document(rows(BINARY, [1, 0], [1, 0]))["binary_classification_metrics"]
    assert {"auc", "receiver_operating_characteristic_curve", "precision_recall_curve"}.isdisjoint(block)


def test_the_monitors_labels_name_the_rows_of_the_matrix():
    made = document(rows(BINARY, [1], [1]), negative_label="no", positive_label="yes")
    assert list(made["binary_classification_metrics"]["confusion_matrix"]) == ["no", "yes"]


def test_multiclass_statistics_have_sagemakers_shape():
    block = document(rows(MULTICLASS, [0, 1], [0, 0], classes=("b", "a")))["multiclass_classification_metrics"]
    assert list(block)[:2] == ["confusion_matrix", "accuracy"]
    assert block["confusion_matrix"] == {"a": {"a": 0, "b": 1}, "b": {"a": 0, "b": 1}}
    assert block["accuracy"] == {"value": 0.5, "standard_deviation": "NaN"}


def test_regression_statistics_have_sagemakers_shape():
    block = document(rows(REGRESSION, [0.0, 2.0], [1.0, 2.0]))["regression_metrics"]
    assert {name: entry["value"] for name, entry in block.items()} == {
        "mae": 0.5,
        "mse": 0.5,
        "rmse": math.sqrt(0.5),
        "r2": 0.5,
    }


def test_a_real_regression_document_is_read_and_written_unchanged(real: Path):
    document = json.loads((real / "sagemaker-python-sdk" / "model_monitor_model_quality_regression.json").read_text())
    read = read_statistics(document, "real", REGRESSION)
    assert read.metrics["rmse"] == Metric(2.2428694385494143, 0.04254133766539425)
    assert json.dumps(document) == json.dumps(read.as_document())


def test_a_real_binary_block_is_read_whatever_its_order(real: Path):
    document = json.loads(
        (real / "sagemaker-python-sdk" / "model_monitor_model_quality_binary_classification.json").read_text()
    )
    read = read_statistics(document, "real")
    assert read.problem_type == BINARY
    assert len(read.metrics) == 17
    assert read.as_document()["binary_classification_metrics"] == document["binary_classification_metrics"]
    assert (read.item_count, read.evaluation_time) == (None, None)


def test_statistics_may_hold_what_the_registry_does_not_know():
    block = {"f1": {"value": 1, "standard_deviation": "NaN"}, "au_prc": {"value": 0.5}, "auc": {"value": "NaN"}}
    read = read_statistics({"binary_classification_metrics": block}, "here")
    assert list(read.metrics) == ["auc", "f1"]
    assert math.isnan(read.metrics["auc"].value)


@pytest.mark.parametrize(
    ("found", "problem_type", "told"),
    [
        ({"regression_metrics": {}}, BINARY, "came regression_metrics"),
        ({"version": 0.0, "features": []}, None, "data quality"),
        ({"version": 0.0}, None, "came keys 'version'"),
        ({}, None, "came keys none"),
        ({"regression_metrics": {}, "binary_classification_metrics": {}}, None, "binary_classification_metrics and"),
        ({"regression_metrics": []}, REGRESSION, "regression_metrics: list"),
        ({"regression_metrics": {"mae": {"value": "many"}}}, REGRESSION, "many"),
        ({"regression_metrics": {"mae": {"value": True}}}, REGRESSION, "True is no number"),
        ({"regression_metrics": {"mae": {"value": None}}}, REGRESSION, "None is no number"),
        ({"regression_metrics": {"mae": 3}}, REGRESSION, "TypeError"),
        ({"regression_metrics": {"mae": {}}}, REGRESSION, "value"),
        ({"regression_metrics": {}, "dataset": 3}, REGRESSION, "int"),
        ({"regression_metrics": {"mae": {"value": 10**400}}}, REGRESSION, "too large"),
    ],
)
def test_other_documents_are_no_statistics(found, problem_type, told):
    with pytest.raises(DocumentError, match=told) as caught:
        read_statistics(found, "s3://b/statistics.json", problem_type)
    assert "s3://b/statistics.json" in caught.value.where


# constraints


def test_a_real_constraints_document_is_read_whole(churn: Path):
    document = json.loads((churn / "churn_run_constraints_binary.json").read_text())
    read = read_constraints(document, BINARY, "real")
    assert len(read) == 11
    assert read["auc"] == Constraint(0.9395127993393898, LESS)
    assert read["false_positive_rate"] == Constraint(0.0, GREATER)
    block = document["binary_classification_constraints"]
    assert constraints_document(BINARY, read)["binary_classification_constraints"] == block


def test_constraints_have_sagemakers_shape_and_the_registrys_order():
    made = constraints_document(REGRESSION, {"r2": Constraint(0.25, LESS), "mae": Constraint(1.5, GREATER)})
    assert json.dumps(made) == json.dumps(
        {
            "version": 0.0,
            "regression_constraints": {
                "mae": {"threshold": 1.5, "comparison_operator": "GreaterThanThreshold"},
                "r2": {"threshold": 0.25, "comparison_operator": "LessThanThreshold"},
            },
        }
    )


def test_comments_and_additional_properties_are_ignored():
    entry = {"threshold": 1, "comparison_operator": LESS, "additional_properties": None, "_why": "as agreed"}
    document = {
        "version": 0.0,
        "_note": "by hand",
        "additional_properties": {},
        "regression_constraints": {"mae": entry, "_note": "x", "additional_properties": 1, "version": 2},
    }
    assert read_constraints(document, REGRESSION, "here") == {"mae": Constraint(1.0, LESS)}


def test_an_empty_block_is_no_constraints():
    assert read_constraints({"regression_constraints": {}}, REGRESSION, "here") == {}


def test_a_constraint_in_the_unusual_direction_is_the_users_choice():
    document = {"regression_constraints": {"mae": {"threshold": 0.1, "comparison_operator": LESS}}}
    assert read_constraints(document, REGRESSION, "here")["mae"].comparison_operator == LESS


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"threshold": "NaN", "comparison_operator": LESS}, "threshold 'NaN' is no finite number"),
        ({"threshold": "0.5", "comparison_operator": LESS}, "threshold '0.5' is no finite number"),
        ({"threshold": math.nan, "comparison_operator": LESS}, "threshold nan is no finite number"),
        ({"threshold": math.inf, "comparison_operator": LESS}, "threshold inf is no finite number"),
        ({"threshold": True, "comparison_operator": LESS}, "threshold True is no finite number"),
        ({"threshold": 10**400, "comparison_operator": LESS}, "is no finite number"),
        ({"comparison_operator": LESS}, "threshold None is no finite number"),
        ({"threshold": 1.0}, "comparison_operator None"),
        ({"threshold": 1.0, "comparison_operator": "LessThan"}, "nearest: LessThanThreshold"),
        (0.5, "0.5 instead of threshold and comparison_operator"),
    ],
)
def test_a_constraint_that_is_none_is_refused(entry, told):
    with pytest.raises(DocumentError, match=f"mae: .*{told}"):
        read_constraints({"regression_constraints": {"mae": entry}}, REGRESSION, "here")


def test_unknown_metrics_are_refused_with_the_nearest_name():
    document = {
        "binary_classification_constraints": {"truePositiveRate": {"threshold": 1, "comparison_operator": LESS}}
    }
    with pytest.raises(DocumentError, match=r"no metric of BinaryClassification .nearest: true_positive_rate"):
        read_constraints(document, BINARY, "here")


def test_all_faults_are_told_at_once():
    block = {"mea": {}, "mae": {"threshold": "x", "comparison_operator": "Less"}}
    with pytest.raises(DocumentError) as caught:
        read_constraints({"regression_constraints": block}, REGRESSION, "s3://b/constraints.json")
    assert caught.value.came.count(";") == 2
    assert caught.value.where == "s3://b/constraints.json"


def test_the_constraints_of_data_quality_are_refused(real: Path):
    document = json.loads((real / "sagemaker-python-sdk" / "constraints.json").read_text())
    with pytest.raises(DocumentError, match="a document of data quality"):
        read_constraints(document, BINARY, "here")


@pytest.mark.parametrize(
    "document",
    [
        {"regression_constraints": {}},
        {"regression_constraints": {}, "binary_classification_constraints": {}},
    ],
)
def test_the_constraints_of_another_problem_type_are_refused(document):
    with pytest.raises(DocumentError, match=r"came regression_constraints|and regression_constraints"):
        read_constraints(document, BINARY, "here")


# bytes


def test_documents_are_strict_json():
    data = dumps({"nan": math.nan, "inf": [math.inf, (-math.inf,)], "class": "ä", "one": 1, "none": None, "f": 0.1})
    assert (
        data
        == (
            '{\n  "nan": "NaN",\n  "inf": [\n    "Infinity",\n    [\n      "-Infinity"\n    ]\n  ],\n'
            '  "class": "ä",\n  "one": 1,\n  "none": null,\n  "f": 0.1\n}\n'
        ).encode()
    )


numbers = st.floats() | st.integers()
plain = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), plain))
def test_documents_have_the_bytes_of_python_s_own_indentation(document):
    def strict(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strict(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [strict(inner) for inner in value]
        return json_number(value) if isinstance(value, float) else value

    assert dumps(document) == json.dumps(strict(document), indent=2, ensure_ascii=False).encode() + b"\n"


def test_half_of_a_surrogate_pair_becomes_an_escape():
    assert json.loads(dumps({"\ud800": 1})) == {"\ud800": 1}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"{", "Expecting"),
        (b"\xff{}", "decode"),
        (b"[1]", "came list"),
        (b"[" * 100_000, "recursion"),
        (b"", "Expecting"),
    ],
)
def test_what_is_no_json_object_is_refused(data, told):
    with pytest.raises(DocumentError, match=told):
        loads(data, "s3://b/constraints.json")


def test_a_byte_order_mark_does_no_harm():
    assert loads(b'\xef\xbb\xbf{"version": 0.0}', "here") == {"version": 0.0}


def test_statistics_without_a_matrix_or_a_dataset_have_none():
    assert Statistics(REGRESSION, {}).as_document() == {"version": 0.0, "dataset": {}, "regression_metrics": {}}


# the violations of another judge


def test_the_violations_of_a_real_run_are_read_by_the_registry_s_names(churn: Path):
    [path, *_] = sorted(churn.glob("*violations*.json"))
    found = json.loads(path.read_text())
    constraints = {name: Constraint(0.5, LESS) for name, info in metrics_of(BINARY).items() if info.constrained}
    listed = read_violations(found, constraints, str(path))
    assert {violation_name(name) for name in listed} == {one["metric_name"] for one in found["violations"]}
    assert "true_positive_rate" in listed


@pytest.mark.parametrize(
    "document", [{}, {"violations": None}, {"violations": [{"metric_name": "auc"}]}, {"violations": [{}]}]
)
def test_violations_of_other_constraints_are_refused(document: dict[str, Any]):
    with pytest.raises(DocumentError, match="accuracy"):
        read_violations(document, {"accuracy": Constraint(0.5, LESS)}, "here")
