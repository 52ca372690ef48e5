"""Constraints: suggested from a baseline, held against metrics, and what the verdict says of it."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import replace

import pytest

from airflow_mq_provider.exceptions import InputError
from airflow_mq_provider.quality.constraints import (
    GREATER,
    LESS,
    NEXT_STEPS,
    Constraint,
    Judgement,
    NotJudgedMetric,
    Verdict,
    Violation,
    judge,
    suggest,
    verdict,
    verdict_of_rows,
)
from airflow_mq_provider.quality.metrics import METRICS, metrics_of
from airflow_mq_provider.quality.states import (
    BINARY,
    MULTICLASS,
    REGRESSION,
    CaptureCounts,
    GroundTruthCounts,
    JoinCounts,
    MergeCounts,
    Metric,
)

NAN = math.nan


def all_of(problem_type: str, value: float = 0.5, spread: float = 0.1) -> dict[str, Metric]:
    return {name: Metric(value, spread) for name in metrics_of(problem_type)}


# suggested


def test_suggested_constraints_are_sagemakers_eleven_with_the_baselines_values():
    made = suggest(all_of(BINARY), BINARY)
    assert made.left_out == ()
    assert {name: one.comparison_operator for name, one in made.constraints.items()} == {
        "recall": LESS,
        "precision": LESS,
        "accuracy": LESS,
        "true_positive_rate": LESS,
        "true_negative_rate": LESS,
        "false_positive_rate": GREATER,
        "false_negative_rate": GREATER,
        "auc": LESS,
        "f0_5": LESS,
        "f1": LESS,
        "f2": LESS,
    }
    assert {one.threshold for one in made.constraints.values()} == {0.5}


def test_errors_are_held_from_above_and_r2_from_below():
    made = suggest(all_of(REGRESSION), REGRESSION).constraints
    assert {name: one.comparison_operator for name, one in made.items()} == {
        "mae": GREATER,
        "mse": GREATER,
        "rmse": GREATER,
        "r2": LESS,
    }


def test_the_best_constant_classifier_is_not_constrained():
    assert list(suggest(all_of(MULTICLASS), MULTICLASS).constraints) == [
        "accuracy",
        "weighted_recall",
        "weighted_precision",
        "weighted_f0_5",
        "weighted_f1",
        "weighted_f2",
    ]


def test_a_tolerance_loosens_each_threshold_in_its_harmless_direction():
    made = suggest(all_of(REGRESSION), REGRESSION, tolerance_sd=2).constraints
    assert made["mae"].threshold == 0.7
    assert made["r2"].threshold == 0.3


def test_metrics_without_a_value_get_no_constraint_and_are_named():
    metrics = all_of(BINARY) | {"precision": Metric(NAN, NAN)}
    del metrics["auc"]
    made = suggest(metrics, BINARY)
    assert {"precision", "auc"}.isdisjoint(made.constraints)
    assert made.left_out == (
        NotJudgedMetric("precision", "its value is undefined: no row was predicted positive (TP + FP = 0)"),
        NotJudgedMetric("auc", "the analysis has no value for it: no probability is captured"),
    )


def test_a_metric_without_a_standard_deviation_cannot_be_loosened_and_is_named():
    made = suggest(all_of(REGRESSION) | {"r2": Metric(0.5, NAN)}, REGRESSION, tolerance_sd=1)
    assert "r2" not in made.constraints
    assert [one.metric_name for one in made.left_out] == ["r2"]
    assert "standard deviation" in made.left_out[0].reason


def test_a_baseline_too_small_for_standard_deviations_refuses_a_tolerance():
    with pytest.raises(InputError, match="at least 200 rows"):
        suggest(all_of(BINARY, spread=NAN), BINARY, tolerance_sd=1)


@pytest.mark.parametrize("tolerance", [-1, NAN, math.inf])
def test_a_tolerance_that_is_no_distance_is_refused(tolerance):
    with pytest.raises(InputError, match="tolerance_sd"):
        suggest(all_of(BINARY), BINARY, tolerance_sd=tolerance)


# judged


@pytest.mark.parametrize(
    ("operator", "value", "violated"),
    [
        (LESS, 0.49, True),
        (LESS, 0.5, False),
        (LESS, 0.51, False),
        (GREATER, 0.49, False),
        (GREATER, 0.5, False),
        (GREATER, 0.51, True),
    ],
)
def test_a_metric_is_violated_beyond_its_threshold_only(operator, value, violated):
    constraint = Constraint(0.5, operator)
    judged = judge({"f1": Metric(value)}, {"f1": constraint}, BINARY)
    assert judged.violations == ((Violation("f1", Metric(value), constraint),) if violated else ())
    assert judged.within == (() if violated else ("f1",))
    assert judged.not_judged == ()


def test_f0_5_is_judged_although_sagemaker_forgets_it():
    assert judge({"f0_5": Metric(0.3)}, {"f0_5": Constraint(0.87, LESS)}, BINARY).violations


def test_undefined_and_missing_metrics_are_not_judged_and_say_why():
    limit = Constraint(0.5, LESS)
    judged = judge(
        {"precision": Metric(NAN), "f1": Metric(0.9)}, {"auc": limit, "precision": limit, "f1": limit}, BINARY
    )
    assert judged.within == ("f1",)
    assert judged.violations == ()
    assert [one.metric_name for one in judged.not_judged] == ["precision", "auc"]
    assert judged.not_judged[0].as_dict() == {
        "metric_name": "precision",
        "reason": "its value is undefined: no row was predicted positive (TP + FP = 0)",
    }


def test_violations_come_in_the_registrys_order():
    limits = {name: Constraint(2.0, LESS) for name in reversed(metrics_of(BINARY))}
    judged = judge(all_of(BINARY), limits, BINARY)
    assert [one.metric_name for one in judged.violations] == list(metrics_of(BINARY))


def test_an_infinite_error_violates_its_constraint():
    assert judge({"mse": Metric(math.inf)}, {"mse": Constraint(1.0, GREATER)}, REGRESSION).violations


@pytest.mark.parametrize("info", METRICS, ids=lambda info: f"{info.problem_type}-{info.name}")
def test_the_baseline_itself_violates_nothing(info):
    metrics = all_of(info.problem_type)
    assert judge(metrics, suggest(metrics, info.problem_type).constraints, info.problem_type).violations == ()


# the verdict

GOOD = MergeCounts(
    CaptureCounts(files=2, lines=110, used=100, outside_window=10),
    GroundTruthCounts(files=1, lines=80, used=80),
    JoinCounts(matched=80, captures_without_label=20, label_coverage=0.8),
)
WITHIN = Judgement(("recall", "f1"), (), ())
BEYOND = Judgement(("recall",), (Violation("f1", Metric(0.1), Constraint(0.5, LESS)),), ())
UNJUDGED = (NotJudgedMetric("auc", "no probability is captured"),)


def test_within_all_constraints_a_run_is_completed():
    made = verdict(GOOD, WITHIN)
    assert (made.status, made.code) == ("Completed", "within_constraints")
    assert made.reason == "2 judged metrics within the constraints"


def test_a_violation_makes_a_run_completed_with_violations():
    made = verdict(GOOD, BEYOND)
    assert (made.status, made.code) == ("CompletedWithViolations", "violations")
    assert made.reason == "1 of 2 judged metrics beyond the constraints: f1"


@pytest.mark.parametrize("judgement", [WITHIN, BEYOND])
def test_what_was_not_judged_is_said_beside_what_was(judgement):
    assert verdict(GOOD, replace(judgement, not_judged=UNJUDGED)).reason.endswith(
        "; without a value and not judged: auc"
    )


NO_CAPTURES = replace(GOOD, capture=CaptureCounts(files=1, lines=7, outside_window=4, rejected={"bad_json": 3}))
NO_LABELS = replace(GOOD, ground_truth=GroundTruthCounts(files=1, lines=2, rejected={"bad_json": 2}))
NO_MATCHES = replace(GOOD, merge=JoinCounts(captures_without_label=100, labels_without_capture=80, label_coverage=0.0))


@pytest.mark.parametrize(
    ("counts", "judgement", "code", "reason"),
    [
        (
            NO_CAPTURES,
            WITHIN,
            "no_captures",
            "no capture in the window: of 7 lines in 1 file 4 lie outside it, 0 were dropped and 3 rejected",
        ),
        (NO_LABELS, WITHIN, "no_labels", "no labels for 100 captures: 2 lines in 1 file were read, 2 of them rejected"),
        (
            NO_MATCHES,
            WITHIN,
            "no_matches",
            "no row to analyze: 100 captures and 80 labels were read, 100 captures found no label",
        ),
        (
            replace(GOOD, merge=JoinCounts(rejected={"row_count_mismatch": 100}, label_coverage=1.0)),
            WITHIN,
            "no_matches",
            "no row to analyze: 100 captures and 80 labels were read, 0 captures found no label, 100 were rejected in the merge",
        ),
        (GOOD, None, "no_constraints", "80 rows analyzed, but there are no constraints"),
        (GOOD, Judgement((), (), ()), "no_constraints", "80 rows analyzed, but there are no constraints"),
        (
            GOOD,
            Judgement((), (), UNJUDGED),
            "nothing_judged",
            "80 rows analyzed, but no constrained metric has a value: auc",
        ),
    ],
    ids=["captures", "labels", "matches", "unequal rows", "no constraints", "empty constraints", "no values"],
)
def test_what_cannot_be_judged_is_not_judged_and_says_why(counts, judgement, code, reason):
    made = verdict(counts, judgement)
    assert (made.status, made.code, made.reason) == ("NotJudged", code, reason)


def test_fewer_rows_than_asked_for_are_not_judged():
    made = verdict(GOOD, BEYOND, min_records=81)
    assert (made.status, made.code) == ("NotJudged", "too_few_records")
    assert made.reason == "80 rows to analyze, fewer than min_records = 81"
    assert verdict(GOOD, BEYOND, min_records=80).code == "violations"


def test_less_coverage_than_asked_for_is_not_judged():
    made = verdict(GOOD, BEYOND, min_label_coverage=0.81)
    assert (made.status, made.code) == ("NotJudged", "low_coverage")
    assert made.reason == "80 of 100 captures found a label: 0.8, less than min_label_coverage = 0.81"
    assert verdict(GOOD, BEYOND, min_label_coverage=0.8).code == "violations"


def test_of_several_reasons_the_first_in_the_flow_of_data_is_told():
    """Each step takes the foremost obstacle away and finds the next."""
    nothing = MergeCounts(CaptureCounts(), GroundTruthCounts(), JoinCounts())
    strict = {"min_records": 81, "min_label_coverage": 0.9}
    steps = [
        (nothing, strict),
        (replace(nothing, capture=GOOD.capture), strict),
        (replace(GOOD, merge=NO_MATCHES.merge), strict),
        (GOOD, strict),
        (GOOD, strict | {"min_records": 1}),
        (GOOD, {"min_records": 1, "min_label_coverage": 0.0}),
    ]
    assert [verdict(counts, None, **limits).code for counts, limits in steps] == [  # type: ignore[arg-type]
        "no_captures",
        "no_labels",
        "no_matches",
        "too_few_records",
        "low_coverage",
        "no_constraints",
    ]


# noise


@pytest.mark.parametrize(
    ("operator", "value", "spread", "far"),
    [
        (LESS, 0.46, 0.05, 0.8),
        (GREATER, 0.54, 0.05, 0.8),
        (LESS, 0.46, NAN, NAN),
        (LESS, NAN, 0.05, NAN),
        (LESS, 0.46, 0.0, math.inf),
        (GREATER, math.inf, 0.05, math.inf),
        (LESS, 0.54, 0.05, -0.8),  # another judge lists it
        (LESS, 0.54, 0.0, -math.inf),
        (LESS, 0.5, 0.0, 0.0),
    ],
)
def test_a_violation_knows_how_many_of_its_deviations_it_lies_beyond(operator, value, spread, far):
    found = Violation("f1", Metric(value, spread), Constraint(0.5, operator)).sd_beyond
    assert found == pytest.approx(far, nan_ok=True)


def beyond_by(deviations: float, name: str = "f1") -> Violation:
    """A violation so many standard deviations below its limit, exactly."""
    return Violation(name, Metric(0.5 - deviations / 16, 1 / 16), Constraint(0.5, LESS))


@pytest.mark.parametrize(("deviations", "noise_sd", "noise"), [
    (0.5, None, True), (2.0, None, True), (2.25, None, False), (2.25, 3.0, True), (0.5, 0.25, False), (NAN, 3.0, False),
])  # fmt: skip
def test_noise_reaches_to_two_deviations_unless_the_monitor_says_otherwise(deviations, noise_sd, noise):
    assert beyond_by(deviations).within_noise(noise_sd) is noise


NEAR = Judgement(("recall",), (beyond_by(1), beyond_by(2, "f2")), ())
MIXED = Judgement(("recall",), (beyond_by(1), beyond_by(3, "f2")), ())
UNKNOWN = Judgement(("recall",), (beyond_by(1), Violation("f2", Metric(0.4), Constraint(0.5, LESS))), ())


@pytest.mark.parametrize("judgement", [NEAR, MIXED, UNKNOWN])
def test_without_a_setting_every_violation_counts_as_sagemaker_has_it(judgement):
    made = verdict(GOOD, judgement)
    assert (made.status, made.code) == ("CompletedWithViolations", "violations")
    assert made.reason == "2 of 3 judged metrics beyond the constraints: f1, f2"


def test_a_run_whose_every_violation_is_noise_is_completed_and_says_so():
    made = verdict(GOOD, replace(NEAR, not_judged=UNJUDGED), noise_sd=2)
    assert (made.status, made.code) == ("Completed", "within_noise")
    assert made.reason == (
        "2 of 3 judged metrics beyond the constraints, by no more than noise_sd = 2 standard deviations: f1, f2; "
        "without a value and not judged: auc"
    )


@pytest.mark.parametrize("judgement", [MIXED, UNKNOWN])
def test_one_violation_that_is_no_noise_violates_the_run_and_the_others_are_told_apart(judgement):
    made = verdict(GOOD, judgement, noise_sd=2)
    assert (made.status, made.code) == ("CompletedWithViolations", "violations")
    assert made.reason == "2 of 3 judged metrics beyond the constraints: f1, f2; within noise: f1"


def test_noise_does_not_judge_what_is_not_judged():
    assert verdict(GOOD, NEAR, min_records=81, noise_sd=2).code == "too_few_records"
    assert verdict(GOOD, NEAR, min_label_coverage=0.9, noise_sd=2).code == "low_coverage"


# what another judge found


def test_a_violation_that_another_judge_lists_is_one_whatever_the_value():
    constraints = {"accuracy": Constraint(0.5, LESS), "recall": Constraint(0.5, LESS), "f1": Constraint(0.5, LESS)}
    metrics = {"accuracy": Metric(0.9), "recall": Metric(0.4), "f1": Metric(NAN)}
    found = judge(metrics, constraints, BINARY, listed={"accuracy", "f1"})
    assert [one.metric_name for one in found.violations] == ["recall", "accuracy", "f1"]
    assert (found.within, found.not_judged) == ((), ())


def test_rows_of_which_only_the_number_is_known_are_judged_alike():
    judgement = judge({"accuracy": Metric(0.4)}, {"accuracy": Constraint(0.5, LESS)}, BINARY)
    assert verdict_of_rows(8, judgement).code == "violations"
    assert verdict_of_rows(8, judgement, min_records=9).code == "too_few_records"
    assert verdict_of_rows(8, None).code == "no_constraints"
    assert verdict_of_rows(8, NEAR, noise_sd=2).code == "within_noise"


def test_every_reason_not_to_judge_has_a_next_step_and_no_other_has():
    told = re.search(r"code: the reason as one word.*", inspect.getdoc(Verdict) or "", re.DOTALL)
    assert told is not None
    judged = {"within_constraints", "within_noise", "violations"}
    codes = set(re.findall(r"``(\w+)``", told[0]))
    assert judged < codes
    assert {code: Verdict("", "", code).next_step for code in codes} == {**NEXT_STEPS, **dict.fromkeys(judged)}
