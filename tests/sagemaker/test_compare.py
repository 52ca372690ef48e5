"""Two executions side by side: what is the same, what is noise, what is SageMaker's way, and what differs."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from airflow_mq_provider.exceptions import DocumentError
from airflow_mq_provider.sagemaker.compare import Comparison, compare

BINARY: dict[str, Any] = {
    "version": 0.0,
    "dataset": {"item_count": 1000, "evaluation_time": "2026-11-02T12:00:00Z"},
    "binary_classification_metrics": {
        "confusion_matrix": {"0": {"0": 700, "1": 100}, "1": {"0": 60, "1": 140}},
        "recall": {"value": 0.7, "standard_deviation": 0.01},
        "accuracy": {"value": 0.84, "standard_deviation": 0.005},
        "accuracy_best_constant_classifier": {"value": 0.8, "standard_deviation": 0.004},
        "recall_best_constant_classifier": {"value": 0.0, "standard_deviation": 0.0},
        "auc": {"value": 0.9, "standard_deviation": 0.004},
        "f0_5": {"value": 0.61, "standard_deviation": 0.01},
    },
}
MULTICLASS: dict[str, Any] = {
    "version": 0.0,
    "dataset": {"item_count": 10},
    "multiclass_classification_metrics": {
        "confusion_matrix": {"a": {"a": 4, "b": 1}, "b": {"a": 1, "b": 4}},
        "accuracy": {"value": 0.8, "standard_deviation": "NaN"},
        "weighted_recall": {"value": 0.8, "standard_deviation": "NaN"},
    },
}


def changed(document: dict[str, Any], **metrics: Any) -> dict[str, Any]:
    """A document whose metrics, named by value, are others; None takes one away, ``items`` is the number of rows."""
    made = copy.deepcopy(document)
    (block,) = (part for name, part in made.items() if name.endswith("_metrics"))
    if "items" in metrics:
        made["dataset"]["item_count"] = metrics.pop("items")
    for name, value in metrics.items():
        if value is None:
            del block[name]
        elif isinstance(value, dict):
            block[name] = value
        else:
            block[name] = {**block.get(name, {"standard_deviation": "NaN"}), "value": value}
    return made


def told(comparison: Comparison) -> dict[str, str]:
    """The verdicts on what is not the same."""
    return {row.name: row.verdict for row in comparison.metrics if row.verdict != "same"}


def note(comparison: Comparison, name: str) -> str:
    return next(row.note for row in comparison.metrics if row.name == name)


def test_an_execution_is_the_same_as_itself():
    found = compare(BINARY, BINARY)
    assert found.verdict == "same"
    assert {row.verdict for row in found.metrics} == {"same"}
    assert found.violations is None


def test_rows_come_as_counts_matrix_and_metrics_in_sagemakers_order():
    assert [row.name for row in compare(BINARY, BINARY).metrics][:4] == [
        "item_count",
        "confusion_matrix",
        "recall",
        "accuracy",
    ]


def test_the_last_digits_of_a_sum_are_no_difference():
    assert compare(BINARY, changed(BINARY, auc=0.9 + 1e-13)).verdict == "same"


@pytest.mark.parametrize(("recall", "verdict"), [(0.7199, "noise"), (0.7201, "different"), (0.68, "noise")])
def test_noise_is_what_lies_within_two_standard_deviations(recall, verdict):
    found = compare(BINARY, changed(BINARY, recall=recall))
    assert told(found) == {"recall": verdict}
    assert found.verdict == verdict


def test_the_greater_standard_deviation_of_both_sides_counts():
    wide = changed(BINARY, recall={"value": 0.75, "standard_deviation": 0.03})
    assert told(compare(BINARY, wide)) == told(compare(wide, BINARY)) == {"recall": "noise"}


def test_without_standard_deviations_nothing_is_noise():
    found = compare(MULTICLASS, changed(MULTICLASS, accuracy=0.79))
    assert told(found) == {"accuracy": "different"}
    assert "200 rows" in note(found, "accuracy")


def test_a_metric_that_one_side_does_not_have_is_a_difference():
    found = compare(BINARY, changed(BINARY, auc=None))
    assert told(found) == {"auc": "different"}
    assert found.as_dict()["metrics"][-2]["b"] is None


@pytest.mark.parametrize(("items", "verdict"), [(1000, "same"), (801, "noise"), (800, "noise"), (799, "different")])
def test_counts_apart_by_more_than_a_fifth_are_of_other_data(items, verdict):
    found = compare(BINARY, changed(BINARY, items=items))
    assert next(row.verdict for row in found.metrics if row.name == "item_count") == verdict


def test_a_matrix_that_differs_is_judged_by_the_metrics_that_follow_from_it():
    other = {"0": {"0": 699, "1": 101}, "1": {"0": 60, "1": 140}}
    found = compare(BINARY, changed(BINARY, confusion_matrix=other, accuracy=0.839))
    assert told(found) == {"confusion_matrix": "noise", "accuracy": "noise"}
    assert "2 rows apart" in note(found, "confusion_matrix")
    found = compare(BINARY, changed(BINARY, confusion_matrix=other, accuracy=0.6))
    assert told(found) == {"confusion_matrix": "different", "accuracy": "different"}


def test_classes_in_other_words_are_the_same_classes():
    other = {"0.0": {"0.0": 700, "1.0": 100}, "1.0": {"0.0": 60, "1.0": 140}}
    assert compare(BINARY, changed(BINARY, confusion_matrix=other)).verdict == "same"


# SageMaker's ways


def zeros(document: dict[str, Any]) -> dict[str, Any]:
    zero = {"value": 0.0, "standard_deviation": 0.0}
    return changed(document, accuracy=zero, weighted_recall=zero)


def test_sagemakers_zeros_of_multiclass_problems_are_its_quirk_where_its_matrix_gives_what_the_other_side_says():
    for found in (compare(zeros(MULTICLASS), MULTICLASS), compare(MULTICLASS, zeros(MULTICLASS))):
        assert told(found) == {"accuracy": "quirk", "weighted_recall": "quirk"}
        assert found.verdict == "same"
        assert "its confusion matrix gives 0.8" in note(found, "accuracy")


def test_sagemakers_zeros_hide_no_difference_of_the_matrices():
    other = {"a": {"a": 3, "b": 2}, "b": {"a": 1, "b": 4}}
    found = compare(zeros(changed(MULTICLASS, confusion_matrix=other)), MULTICLASS)
    assert told(found) == {"confusion_matrix": "different", "accuracy": "different", "weighted_recall": "different"}


def test_a_model_that_is_always_wrong_is_no_quirk():
    wrong = {"a": {"a": 0, "b": 5}, "b": {"a": 5, "b": 0}}
    found = compare(zeros(changed(MULTICLASS, confusion_matrix=wrong)), MULTICLASS)
    assert told(found)["accuracy"] == "different"


def test_a_constant_classifier_of_another_class_than_the_majority_is_a_quirk():
    minority = changed(BINARY, accuracy_best_constant_classifier=0.2, recall_best_constant_classifier=1.0)
    found = compare(minority, BINARY)
    assert told(found) == {"recall_best_constant_classifier": "quirk", "accuracy_best_constant_classifier": "quirk"}
    assert found.verdict == "same"


def test_a_constant_classifier_that_no_class_explains_is_a_difference():
    found = compare(changed(BINARY, accuracy_best_constant_classifier=0.5), BINARY)
    assert told(found) == {"accuracy_best_constant_classifier": "different"}


def test_the_auc_of_early_images_is_a_quirk_where_the_matrix_contradicts_it():
    assert told(compare(changed(BINARY, auc=1.0), BINARY)) == {"auc": "quirk"}


def test_a_perfect_auc_that_the_matrix_allows_is_a_difference():
    one_way = changed(BINARY, confusion_matrix={"0": {"0": 800, "1": 0}, "1": {"0": 160, "1": 40}})
    assert told(compare(changed(one_way, auc=1.0), one_way)) == {"auc": "different"}


def test_undefined_on_both_sides_is_the_same():
    undefined = changed(BINARY, recall="NaN")
    assert compare(undefined, undefined).verdict == "same"


def test_undefined_and_left_out_or_zero_of_the_same_matrix_is_a_quirk():
    undefined = changed(BINARY, recall="NaN")
    assert told(compare(undefined, changed(BINARY, recall=None))) == {"recall": "quirk"}
    assert told(compare(undefined, changed(BINARY, recall=0.0))) == {"recall": "quirk"}
    assert told(compare(undefined, BINARY)) == {"recall": "different"}


def test_undefined_and_zero_of_other_matrices_is_a_difference():
    other = {"0": {"0": 800, "1": 0}, "1": {"0": 160, "1": 40}}
    found = compare(changed(BINARY, recall="NaN"), changed(BINARY, recall=0.0, confusion_matrix=other))
    assert told(found)["recall"] == "different"


# violations


def violations(*names: str) -> dict[str, Any]:
    return {
        "violations": [
            {"constraint_check_type": "LessThanThreshold", "description": f"Metric {name} was …", "metric_name": name}
            for name in names
        ]
    }


def verdicts(a: dict[str, Any], b: dict[str, Any], other: dict[str, Any] = BINARY) -> dict[str, str]:
    found = compare(BINARY, other, a_violations=a, b_violations=b)
    assert found.violations is not None
    return {row.name: row.verdict for row in found.violations}


def test_rates_have_other_names_in_violations_and_are_the_same():
    assert verdicts(violations("truePositiveRate", "auc"), violations("auc", "true_positive_rate")) == {
        "true_positive_rate": "same",
        "auc": "same",
    }


def test_f0_5_that_sagemaker_never_reports_is_its_quirk():
    assert verdicts(violations("auc"), violations("auc", "f0_5")) == {"auc": "same", "f0_5": "quirk"}


def test_a_violation_of_a_metric_within_noise_lies_about_its_threshold():
    assert verdicts(violations("recall"), violations(), changed(BINARY, recall=0.705)) == {"recall": "noise"}


def test_a_violation_of_the_same_value_on_one_side_means_other_constraints():
    found = compare(BINARY, BINARY, a_violations=violations("recall"), b_violations=violations())
    assert found.violations is not None
    assert found.violations[0].verdict == "different"
    assert "constraints.json" in found.violations[0].note
    assert found.verdict == "different"


def test_a_violation_of_one_side_points_to_the_metric_where_that_is_different():
    found = compare(BINARY, changed(BINARY, recall=0.2), a_violations=violations(), b_violations=violations("recall"))
    assert found.violations is not None
    assert (found.violations[0].verdict, found.violations[0].note) == (
        "different",
        "one side reports it: the metric itself is different",
    )


# documents


def test_another_problem_is_refused():
    with pytest.raises(DocumentError):
        compare(BINARY, MULTICLASS)


@pytest.mark.parametrize("document", [{}, {"violations": [{"feature_name": "x"}]}, {"violations": None}])
def test_violations_of_another_kind_are_refused(document):
    with pytest.raises(DocumentError, match=r"b, constraint_violations\.json"):
        compare(BINARY, BINARY, a_violations=violations(), b_violations=document, b_source="b")


def test_a_comparison_is_strict_json():
    found = compare(changed(BINARY, recall="NaN"), BINARY, a_source="s3://bucket/a", b_source="b.json")
    document = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert (document["verdict"], document["a"], document["b"]) == ("different", "s3://bucket/a", "b.json")
    assert document["metrics"][2] == {
        "name": "recall",
        "a": "NaN",
        "b": 0.7,
        "standard_deviation": 0.01,
        "verdict": "different",
        "note": "undefined on one side",
    }


def test_a_real_run_of_sagemakers_is_told_from_another(real):
    folder = real / "amazon-sagemaker-examples"
    first, second = (
        json.loads((folder / f"churn_run_{day}_constraint_violations.json").read_text())
        for day in ("2021-02-05", "2021-05-18")
    )
    found = compare(BINARY, BINARY, a_violations=first, b_violations=second)
    assert found.violations is not None
    assert {row.name for row in found.violations if row.verdict != "same"} == {"auc"}
