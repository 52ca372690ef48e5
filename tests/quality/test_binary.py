"""Binary metrics: AWS's published figures, scikit-learn's, and the edges by hand."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airflow_mq_provider.quality import binary
from airflow_mq_provider.quality.states import BINARY, SAMPLES, TALLIES, BinaryState, MergedRows, sample_flags, state_of


def counted(tn: int, fp: int, fn: int, tp: int) -> BinaryState:
    """A state of these counts, the same in the whole and in each sample."""
    return BinaryState(np.array([[[tn, fp], [fn, tp]]] * TALLIES, dtype=np.int64))


def values(state: BinaryState) -> dict[str, float]:
    return {name: metric.value for name, metric in binary.metrics(state).items()}


def scored(actual: Any, probability: Any, threshold: float = 0.5, seed: int = 0) -> BinaryState:
    actual = np.asarray(actual, dtype=np.uint8)
    probability = np.asarray(probability, dtype=np.float64)
    ids = np.random.default_rng(seed).integers(0, 2**64, (len(actual), 2), dtype=np.uint64)
    predicted = (probability > threshold).astype(np.uint8)
    state = state_of(MergedRows(BINARY, sample_flags(ids), actual, predicted, probability))
    assert isinstance(state, BinaryState)
    return state


# what AWS published of its churn example: three monitoring runs and a baseline


@pytest.mark.parametrize(
    ("counts", "published"),
    [
        pytest.param(
            (649, 97, 1749, 228),
            {
                "precision": 0.7015384615384616,
                "recall": 0.11532625189681335,
                "true_positive_rate": 0.11532625189681335,
                "f1": 0.19808861859252822,
                "f2": 0.1384671444188024,
                "accuracy": 0.32207124495042233,
                "false_positive_rate": 0.13002680965147453,
                "true_negative_rate": 0.8699731903485255,
                "false_negative_rate": 0.8846737481031867,
            },
            id="2021-02-05",
        ),
        pytest.param(
            (449, 69, 1218, 156),
            {
                "precision": 0.6933333333333334,
                "recall": 0.11353711790393013,
                "true_positive_rate": 0.11353711790393013,
                "f1": 0.19512195121951217,
                "f2": 0.13633980073413737,
                "accuracy": 0.31976744186046513,
                "false_positive_rate": 0.13320463320463322,
                "true_negative_rate": 0.8667953667953667,
                "false_negative_rate": 0.8864628820960698,
            },
            id="2021-05-18",
        ),
        pytest.param(
            (434, 65, 1167, 151),
            {
                "precision": 0.6990740740740741,
                "recall": 0.11456752655538695,
                "true_positive_rate": 0.11456752655538695,
                "f1": 0.196870925684485,
                "f2": 0.1375728862973761,
                "accuracy": 0.3219592735277931,
                "false_positive_rate": 0.13026052104208416,
                "true_negative_rate": 0.8697394789579158,
                "false_negative_rate": 0.8854324734446131,
            },
            id="2021-05-26",
        ),
        pytest.param(
            (173, 0, 12, 16),
            {
                "recall": 0.5714285714285714,
                "precision": 1.0,
                "accuracy": 0.9402985074626866,
                "true_negative_rate": 1.0,
                "false_positive_rate": 0.0,
                "false_negative_rate": 0.4285714285714286,
                "f1": 0.7272727272727273,
                "f2": 0.625,
                "recall_best_constant_classifier": 0.0,
                "precision_best_constant_classifier": 0.0,
                "f0_5_best_constant_classifier": 0.0,
                "f1_best_constant_classifier": 0.0,
                "f2_best_constant_classifier": 0.0,
            },
            id="baseline",
        ),
    ],
)
def test_the_figures_of_aws_own_runs_come_out_to_the_last_digit(counts, published):
    computed = values(counted(*counts))
    assert published == {name: computed[name] for name in published}


def test_the_baseline_file_of_aws_gives_the_baseline_that_aws_published(churn: Path):
    rows = list(csv.DictReader((churn / "churn_validation_with_predictions.csv").read_text().splitlines()))
    ids = np.random.default_rng(0).integers(0, 2**64, (len(rows), 2), dtype=np.uint64)
    state = state_of(
        MergedRows(
            BINARY,
            sample_flags(ids),
            np.array([int(row["label"]) for row in rows], dtype=np.uint8),
            np.array([int(row["prediction"]) for row in rows], dtype=np.uint8),
            np.array([float(row["probability"]) for row in rows]),
        )
    )
    assert isinstance(state, BinaryState)
    published = json.loads((churn / "churn_run_baseline_statistics_binary.json").read_text())[
        "binary_classification_metrics_as_printed"
    ]
    assert published["confusion_matrix"] == binary.confusion_matrix(state)
    computed = values(state)
    # printed with six digits there; the full ones are thresholds of the suggested constraints
    for name, metric in published.items():
        if "value" in metric:
            assert metric["value"] == pytest.approx(computed[name], rel=1e-5), name
    limits = json.loads((churn / "churn_run_constraints_binary.json").read_text())["binary_classification_constraints"]
    for name in ("recall", "precision", "accuracy", "false_negative_rate", "false_positive_rate", "f1", "f2"):
        assert limits[name]["threshold"] == computed[name]
    # AWS adds trapezoids, which costs the last digits; here pairs are counted
    assert limits["auc"]["threshold"] == pytest.approx(computed["auc"], rel=1e-14)
    assert computed["auc"] == 4551 / 4844
    curve = binary.curves(state, 0.8)["receiver_operating_characteristic_curve"]["true_positive_rates"]
    assert curve[:3] == [0.0, 1 / 28, 2 / 28]


# scikit-learn


@pytest.mark.parametrize("decimals", [1, 2, 17], ids=["many ties", "some ties", "no ties"])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_scikit_learn_agrees(decimals, share):
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(decimals)
    actual = (rng.random(3000) < share).astype(np.uint8)
    probability = np.clip(rng.normal(0.35 + 0.2 * actual, 0.2), 0, 1).round(decimals)
    predicted = (probability > 0.5).astype(np.uint8)
    state = scored(actual, probability)
    expected = {
        "recall": sk.recall_score(actual, predicted),
        "precision": sk.precision_score(actual, predicted),
        "accuracy": sk.accuracy_score(actual, predicted),
        "true_negative_rate": sk.recall_score(1 - actual, 1 - predicted),
        "auc": sk.roc_auc_score(actual, probability),
        "f0_5": sk.fbeta_score(actual, predicted, beta=0.5),
        "f1": sk.f1_score(actual, predicted),
        "f2": sk.fbeta_score(actual, predicted, beta=2),
    }
    computed = values(state)
    assert expected == pytest.approx({name: computed[name] for name in expected}, abs=1e-12)
    assert sk.confusion_matrix(actual, predicted).tolist() == [
        list(row.values()) for row in binary.confusion_matrix(state).values()
    ]


def test_scikit_learn_agrees_on_each_sample():
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(5)
    actual = (rng.random(1000) < 0.3).astype(np.uint8)
    probability = np.clip(rng.normal(0.35 + 0.2 * actual, 0.2), 0, 1).round(2)
    ids = rng.integers(0, 2**64, (1000, 2), dtype=np.uint64)
    flags = sample_flags(ids)
    state = state_of(MergedRows(BINARY, flags, actual, (probability > 0.5).astype(np.uint8), probability))
    assert isinstance(state, BinaryState)
    inside = [(flags >> sample & 1).astype(bool) for sample in range(SAMPLES)]
    aucs = [sk.roc_auc_score(actual[rows], probability[rows]) for rows in inside]
    f1s = [sk.f1_score(actual[rows], probability[rows] > 0.5) for rows in inside]
    computed = binary.metrics(state)
    assert float(np.std(aucs)) == pytest.approx(computed["auc"].standard_deviation, abs=1e-12)
    assert float(np.std(f1s)) == pytest.approx(computed["f1"].standard_deviation, abs=1e-12)


def test_scikit_learn_draws_the_same_curves():
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(6)
    actual = (rng.random(400) < 0.3).astype(np.uint8)
    probability = rng.random(400).round(2)
    drawn = binary.curves(scored(actual, probability), 0.5)
    fallouts, recalls, _ = sk.roc_curve(actual, probability, drop_intermediate=False)
    roc = drawn["receiver_operating_characteristic_curve"]
    assert fallouts.tolist() == pytest.approx(roc["false_positive_rates"])
    assert recalls.tolist() == pytest.approx(roc["true_positive_rates"])
    precisions, recalls, _ = sk.precision_recall_curve(actual, probability)
    both = drawn["precision_recall_curve"]
    # scikit-learn goes the other way, and starts from precision 1 rather than from the first threshold's
    assert precisions[::-1].tolist()[1:] == pytest.approx(both["precisions"][1:])
    assert recalls[::-1].tolist() == pytest.approx(both["recalls"])
    assert both["precisions"][0] == both["precisions"][1]


# edges


def test_metrics_come_in_sagemakers_order():
    assert list(values(scored([1, 0], [0.9, 0.1]))) == [
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
        "auc",
        "f0_5",
        "f1",
        "f2",
        "f0_5_best_constant_classifier",
        "f1_best_constant_classifier",
        "f2_best_constant_classifier",
    ]


def test_without_probabilities_there_is_neither_auc_nor_a_curve():
    state = counted(1, 2, 3, 4)
    assert "auc" not in values(state)
    assert binary.curves(state, 0.5) == {}
    assert binary.rank(state) is None


def test_without_records_everything_is_undefined():
    for state in (counted(0, 0, 0, 0), scored([], [])):
        assert all(math.isnan(value) for value in values(state).values())


def undefined(state: BinaryState) -> set[str]:
    return {name for name, value in values(state).items() if math.isnan(value)}


def test_a_model_that_never_says_positive_has_no_precision():
    state = counted(8, 0, 2, 0)
    assert undefined(state) == {"precision"}
    assert values(state)["f1"] == 0.0


def test_without_positive_rows_recall_is_undefined_and_f_is_not():
    state = counted(8, 2, 0, 0)
    assert undefined(state) == {"recall", "true_positive_rate", "false_negative_rate"}
    assert values(state)["f1"] == 0.0


def test_without_negative_rows_their_rates_are_undefined():
    assert undefined(counted(0, 0, 1, 2)) == {"true_negative_rate", "false_positive_rate"}


def test_f_is_undefined_where_there_is_nothing_to_find_and_nothing_was_found():
    assert {"f0_5", "f1", "f2"} <= undefined(counted(9, 0, 0, 0))


@pytest.mark.parametrize("counts", [(8, 1, 3, 4), (8, 0, 2, 0), (9, 0, 0, 0), (4, 0, 4, 0)])
def test_the_best_constant_classifier_is_never_undefined_and_says_the_majority(counts):
    computed = values(counted(*counts))
    assert {computed[f"{name}_best_constant_classifier"] for name in ("recall", "precision", "f0_5", "f1", "f2")} == {
        0.0
    }
    assert computed["accuracy_best_constant_classifier"] == (counts[0] + counts[1]) / sum(counts)


def test_the_best_constant_classifier_of_mostly_positive_rows_says_positive():
    computed = values(counted(1, 1, 3, 3))
    assert {name: computed[f"{name}_best_constant_classifier"] for name in ("recall", "precision", "accuracy")} == {
        "recall": 1.0,
        "precision": 0.75,
        "accuracy": 0.75,
    }
    assert computed["f1_best_constant_classifier"] == 2 * 0.75 / 1.75


def test_both_rows_and_columns_of_the_matrix_are_there_whatever_occurs():
    assert binary.confusion_matrix(counted(0, 0, 0, 3)) == {"0": {"0": 0, "1": 0}, "1": {"0": 0, "1": 3}}


def test_the_matrix_has_the_monitors_labels_with_the_negative_one_first():
    matrix = binary.confusion_matrix(counted(1, 2, 3, 4), "no", "maybe")
    assert json.dumps(matrix) == '{"no": {"no": 1, "maybe": 2}, "maybe": {"no": 3, "maybe": 4}}'


def test_auc_counts_a_tie_as_half():
    assert values(scored([1, 0], [0.5, 0.5]))["auc"] == 0.5
    assert values(scored([1, 0, 0], [0.5, 0.5, 0.1]))["auc"] == 0.75
    assert values(scored([1, 0], [0.0, -0.0]))["auc"] == 0.5


def test_auc_is_undefined_where_one_class_does_not_occur():
    assert math.isnan(values(scored([1, 1], [0.5, 0.2]))["auc"])
    assert math.isnan(values(scored([0, 0], [0.5, 0.2]))["auc"])


def test_auc_of_more_rows_than_fit_one_block_is_exact():
    """Ties that span blocks, and blocks that end inside a tie."""
    rng = np.random.default_rng(9)
    n = 300_000
    actual = rng.integers(0, 2, n)
    for probability in (rng.integers(0, 3, n) / 2, rng.random(n)):
        cells: dict[float, list[int]] = {}
        for score, label in zip(probability.tolist(), actual.tolist(), strict=True):
            cells.setdefault(score, [0, 0])[label] += 1
        pairs = below = 0
        for _, (negative, positive) in sorted(cells.items()):
            pairs += positive * (2 * below + negative)
            below += negative
        exact = pairs / (2 * below * (n - below))
        assert exact == values(scored(actual, probability))["auc"]


def test_probabilities_too_small_to_pack_are_ranked_all_the_same():
    """Between 1e-300 and 1 the bits of a probability leave no room for the row's tags."""
    assert values(scored([0, 1, 0, 1], [0.0, 1e-300, 1e-200, 1.0]))["auc"] == 0.75


def test_a_curve_without_positive_rows_is_empty():
    assert binary.curves(scored([0, 0], [0.1, 0.9]), 0.5) == {
        "receiver_operating_characteristic_curve": {"false_positive_rates": [], "true_positive_rates": []},
        "precision_recall_curve": {"precisions": [], "recalls": []},
    }


def test_without_negative_rows_only_the_precision_recall_curve_is_defined():
    drawn = binary.curves(scored([1, 1], [0.1, 0.9]), 0.5)
    assert drawn["receiver_operating_characteristic_curve"] == {"false_positive_rates": [], "true_positive_rates": []}
    assert drawn["precision_recall_curve"] == {"precisions": [1.0, 1.0, 1.0], "recalls": [0.0, 0.5, 1.0]}


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.123456, 0.5, 0.987654, 1.0])
def test_a_long_curve_has_at_most_1000_points_with_its_ends_and_the_operating_point(threshold):
    rng = np.random.default_rng(3)
    actual = (rng.random(20_000) < 0.1).astype(np.uint8)
    probability = rng.random(20_000)
    state = scored(actual, probability, threshold)
    drawn = binary.curves(state, threshold)
    roc = list(zip(*drawn["receiver_operating_characteristic_curve"].values(), strict=True))
    both = list(zip(*drawn["precision_recall_curve"].values(), strict=True))
    assert 900 < len(roc) <= 1000
    assert len(both) == len(roc)
    assert (roc[0], roc[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert both[-1] == (actual.mean(), 1.0)
    (tn, fp), (fn, tp) = state.confusion[0].tolist()
    assert (fp / (fp + tn), tp / (tp + fn)) in roc
    if tp + fp:
        assert (tp / (tp + fp), tp / (tp + fn)) in both


def test_the_operating_point_leaves_out_rows_that_equal_the_threshold():
    rng = np.random.default_rng(8)
    actual = (rng.random(20_000) < 0.3).astype(np.uint8)
    probability = rng.random(20_000)
    for threshold in probability[:5].tolist():
        state = scored(actual, probability, threshold)
        roc = binary.curves(state, threshold)["receiver_operating_characteristic_curve"]
        (tn, fp), (fn, tp) = state.confusion[0].tolist()
        assert (fp / (fp + tn), tp / (tp + fn)) in set(zip(*roc.values(), strict=True))


def test_a_long_curve_lies_where_the_whole_one_does():
    rng = np.random.default_rng(4)
    actual = (rng.random(50_000) < 0.02).astype(np.uint8)
    state = scored(actual, rng.beta(1 + 2 * actual, 3))
    roc = binary.curves(state, 0.5)["receiver_operating_characteristic_curve"]
    area = float(np.trapezoid(roc["true_positive_rates"], roc["false_positive_rates"]))
    assert area == pytest.approx(values(state)["auc"], abs=2e-3)
    steps = np.diff(roc["true_positive_rates"]) + np.diff(roc["false_positive_rates"])
    assert steps.max() < 0.005
