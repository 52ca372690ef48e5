"""Segments: where they are read from, what is said of them, and that they change nothing of the whole."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.storage import Storage, join
from tests.pages import constraints
from tests.world import T, World, capture_line, label_line


def sizes(report: dict[str, Any]) -> dict[str | None, int]:
    """Rows by segment."""
    found = report["segments"]
    listed = {one["segment"]: one["records"] for one in found["listed"]}
    assert (
        sum(listed.values())
        + (found["others"] or {}).get("records", 0)
        + (found["without_segment"] or {}).get("records", 0)
        == report["merge"]["matched"]
    )
    return listed


# --- where a segment stands


@pytest.mark.parametrize(
    ("attribute", "encoding", "inputs"),
    [
        (1, "CSV", ["7,de", "7, de ", '7,"de"', "7,fr", "7", "7,"]),
        ("country", "CSV", ["age,country\n7,de", "country\nde", "country,age\nde,1", "country\nfr", "age\n1", "country"]),
        ("country", "JSON", ['{"country": "de"}', '{"country": " de"}', '{"country": ["de"]}', '{"country": "fr"}', "{}", "{"]),
        ("user.at[0]", "JSON", ['{"user": {"at": ["de"]}}'] * 3 + ['{"user": {"at": ["fr"]}}', '{"user": 1}', '{"user": {"at": [{}]}}']),
        ("[0].country || country", "JSON", ['{"country": "de"}'] * 3 + ['[{"country": "fr"}]', "[]", '{"country": ""}']),
        ("country", "JSON", ['{"country": "de"}'] * 3 + ['{"country": "fr"}', '{"country": "' + "x" * 257 + '"}', '{"country": null}']),
    ],
)  # fmt: skip
def test_a_segment_stands_in_the_captured_input(world: World, attribute: Any, encoding: str, inputs: list[str]) -> None:
    world.settings["segments"] = {"input_attribute": attribute}
    world.captures(
        *[capture_line(f"i{n}", "0.9", given=text, given_encoding=encoding) for n, text in enumerate(inputs)]
    )
    world.labels(*[label_line(f"i{n}", "1") for n in range(len(inputs))])
    report = world.run()
    assert sizes(report) == {"de": 3, "fr": 1}
    assert report["segments"]["without_segment"]["records"] == 2
    assert report["segments"]["segments"] == 2


def test_values_have_the_one_form_of_labels(local_world: World) -> None:
    world = local_world
    world.settings["segments"] = {"input_attribute": "v"}
    values = ["1", "1.0", '"1"', '" 1.0 "', "true", '"True"']
    world.captures(
        *[capture_line(f"i{n}", "0.9", given=f'{{"v": {v}}}', given_encoding="JSON") for n, v in enumerate(values)]
    )
    world.labels(*[label_line(f"i{n}", "1") for n in range(len(values))])
    assert sizes(world.run()) == {"1": 4, "true": 2}


def test_a_segment_stands_in_the_last_label_s_line(world: World) -> None:
    world.settings["segments"] = {"ground_truth_attribute": "eventMetadata.country"}
    world.captures(*[capture_line(id, "0.9") for id in "abcd"])
    world.labels(label_line("a", "1", country="fr"), label_line("b", "1", country="fr"), label_line("c", "1"))
    world.labels(label_line("a", "1", country="de"), label_line("d", "1", country={"no": "text"}), name="b.jsonl")
    report = world.run()
    assert sizes(report) == {"de": 1, "fr": 1}
    assert report["segments"]["without_segment"]["records"] == 2


def test_each_row_of_a_record_has_its_own_segment_or_all_have_one(world: World) -> None:
    world.settings["segments"] = {"input_attribute": 0}
    world.captures(
        capture_line("a", "0.9\n0.8\n0.1", given="de\nfr\nfr"),
        capture_line("b", "0.9\n0.8", given="de"),
        capture_line("c", "0.9\n0.8\n0.7", given="de\nfr"),  # whose is whose?
        capture_line("d", "0.9", given="fr"),
    )
    world.labels(*[label_line(id, "\n".join("1" * rows)) for id, rows in zip("abcd", (3, 2, 3, 1), strict=True)])
    report = world.run()
    assert sizes(report) == {"de": 3, "fr": 3}
    assert report["segments"]["without_segment"]["records"] == 3


def test_each_row_of_a_label_has_its_own_segment(world: World) -> None:
    world.settings["segments"] = {"ground_truth_attribute": "eventMetadata.by"}
    world.captures(capture_line("a", "0.9\n0.8"), capture_line("b", "0.9\n0.8"), capture_line("c", "0.9"))
    world.labels(label_line("a", "1\n1", by=["x", "y"]), label_line("b", "1\n1", by="x"), label_line("c", "1", by="y"))
    assert sizes(world.run()) == {"x": 3, "y": 2}


def batch(world: World, dataset_format: dict[str, Any], attribute: str, body: str) -> None:
    world.settings["batch_transform_input"] = {
        "data_captured_destination_uri": join(world.root, "batch"),
        "dataset_format": dataset_format,
        "probability_attribute": attribute,
    }
    world.put("results/x.out", body.encode())
    manifest = [{"prefix": f"{join(world.root, 'results')}/"}, "x.out"]
    world.put("batch/output/2026/11/02/11/m.json", json.dumps(manifest).encode())
    world.labels(label_line("id-1", "1"), label_line("id-2", "0"))


WHEN = (T - timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("dataset_format", "segment", "body"),
    [
        ({"csv": {"header": False}}, 0, f"de,0.9,id-1,{WHEN}\nfr,0.1,id-2,{WHEN}\n"),
        ({"csv": {"header": True}}, "country", f"country,score,id,time\nde,0.9,id-1,{WHEN}\nfr,0.1,id-2,{WHEN}\n"),
        (
            {"json": {"line": True}},
            "country",
            "".join(
                json.dumps(
                    {
                        "country": country,
                        "SageMakerOutput": {"score": score},
                        "SageMakerInferenceId": id,
                        "SageMakerInferenceTime": WHEN,
                    }
                )
                + "\n"
                for country, score, id in (("de", 0.9, "id-1"), ("fr", 0.1, "id-2"))
            ),
        ),
    ],
)
def test_of_a_batch_transform_a_segment_stands_in_the_joined_output(
    world: World, dataset_format: dict[str, Any], segment: Any, body: str
) -> None:
    world.settings["segments"] = {"input_attribute": segment}
    batch(world, dataset_format, "1" if dataset_format.get("csv") == {"header": False} else "score", body)
    assert sizes(world.run()) == {"de": 1, "fr": 1}


# --- what is said of them


def countries(world: World, records: int = 900) -> list[tuple[str, float, int]]:
    """Rows of three countries, of which the model is good in one, bad in another; a fourth has three rows."""
    draw = random.Random(7)
    rows = []
    for number in range(records):
        country = "it" if number in (5, 77, 500) else draw.choice(["de", "fr", "es"])
        actual = int(draw.random() < 0.5)
        right = draw.random() < {"de": 0.95, "fr": 0.8, "es": 0.6, "it": 0.5}[country]
        probability = round(draw.uniform(0.5, 1.0) if right == bool(actual) else draw.uniform(0, 0.5), 3)
        rows.append((country, probability, actual))
    lines = [capture_line(f"id{n}", str(p), given=f"1,{country}") for n, (country, p, _) in enumerate(rows)]
    world.captures(*lines[: records // 2], hour=T - timedelta(hours=1))
    world.captures(*lines[records // 2 :], hour=T)
    world.labels(*[label_line(f"id{n}", str(actual)) for n, (_, _, actual) in enumerate(rows)])
    world.settings |= {"segments": {"input_attribute": 1}, "min_records": 10}
    constraints(world, "binary_classification_constraints", recall=(0.75, "LessThanThreshold"))
    return rows


def test_the_metrics_of_a_segment_are_those_of_its_rows_alone(local_world: World) -> None:
    """An independent computation: scikit-learn on the rows of each segment."""
    metrics = pytest.importorskip("sklearn.metrics")
    rows = countries(local_world)
    report = local_world.run()
    assert set(sizes(report)) == {"de", "fr", "es", "it"}
    for one in report["segments"]["listed"]:
        own = [(probability, actual) for country, probability, actual in rows if country == one["segment"]]
        scores, actual = [score for score, _ in own], [label for _, label in own]
        predicted = [int(score > 0.5) for score in scores]
        assert one["records"] == len(own)
        expected = {
            "recall": metrics.recall_score(actual, predicted, zero_division=float("nan")),
            "precision": metrics.precision_score(actual, predicted, zero_division=float("nan")),
            "accuracy": metrics.accuracy_score(actual, predicted),
            "f1": metrics.f1_score(actual, predicted),
            "auc": metrics.roc_auc_score(actual, scores) if len(set(actual)) == 2 else float("nan"),
        }
        found = {name: float(one["metrics"][name]["value"]) for name in expected}
        assert found == pytest.approx(expected, rel=1e-12, nan_ok=True)
        assert (one["metrics"]["recall"]["standard_deviation"] == "NaN") is (len(own) < 200)
        assert set(one["metrics"]) == set(report["metrics"]) - {"confusion_matrix"}


def test_segments_are_judged_by_the_constraints_worst_first_and_small_ones_not(local_world: World) -> None:
    countries(local_world)
    report = local_world.run()
    found = report["segments"]
    assert [one["segment"] for one in found["listed"]] == ["es", "fr", "de", "it"]
    assert [one["status"] for one in found["listed"]] == [
        "CompletedWithViolations", "Completed", "Completed", "NotJudged",
    ]  # fmt: skip
    assert [one["reason_code"] for one in found["listed"]][-1] == "too_few_records"
    assert [[v["metric_name"] for v in one["violations"]] for one in found["listed"]] == [["recall"], [], [], []]
    assert found["listed"][0]["violations"][0].keys() >= {"sd_beyond", "within_noise"}
    assert found["worst_by"] == "recall"
    assert (found["segments"], found["others"], found["without_segment"]) == (4, None, None)


def test_segments_of_a_run_that_was_not_judged_are_not_judged(local_world: World) -> None:
    countries(local_world)
    local_world.settings["min_records"] = 10_000
    report = local_world.run()
    assert report["reason_code"] == "too_few_records"
    assert {(one["status"], one["reason_code"]) for one in report["segments"]["listed"]} == {
        ("NotJudged", "too_few_records")
    }


@pytest.mark.parametrize("problem_type", ["MulticlassClassification", "Regression"])
def test_segments_of_other_problems_come_worst_first(local_world: World, problem_type: str) -> None:
    world = local_world
    world.settings |= {
        "problem_type": problem_type,
        "endpoint": {"inference_attribute": "0", "probability_attribute": None},
        "segments": {"input_attribute": 0},
    }
    world.captures(*[capture_line(f"id{n}", str(n % 3), given="good" if n % 2 else "bad") for n in range(60)])
    world.labels(*[label_line(f"id{n}", str(n % 3 if n % 2 else (n + 1) % 3)) for n in range(60)])
    listed = world.run()["segments"]["listed"]
    assert [one["segment"] for one in listed] == ["bad", "good"]
    name, expected = ("accuracy", 1.0) if problem_type == "MulticlassClassification" else ("mae", 0.0)
    assert listed[1]["metrics"][name]["value"] == expected


def test_a_column_of_many_values_lists_the_largest_and_tells_the_others_together(local_world: World) -> None:
    world = local_world
    world.settings["segments"] = {"input_attribute": 0}
    given = [f"user{n}" for n in range(300)] + ["often"] * 20
    world.captures(*[capture_line(f"id{n}", "0.9", given=text) for n, text in enumerate(given)])
    world.labels(*[label_line(f"id{n}", "1") for n in range(len(given))])
    report = world.run()
    found = sizes(report)
    assert len(found) == 50
    assert found["often"] == 20
    assert report["segments"]["segments"] == 301
    assert report["segments"]["others"]["records"] == 320 - 20 - 49


# --- nothing else changes


@pytest.mark.parametrize("segments", [{"input_attribute": 1}, {"ground_truth_attribute": "eventMetadata.nothing"}])
def test_the_documents_of_the_whole_are_the_same_bytes_with_segments(local_world: World, segments: Any) -> None:
    world = local_world
    countries(world)
    names = ("statistics.json", "constraint_violations.json", "rejected.jsonl")
    world.settings.pop("segments")
    plain, without = world.run(), {name: world.read(name) for name in names}
    world.settings["segments"] = segments
    found = world.run()
    assert {name: world.read(name) for name in names} == without
    assert "segments" not in plain
    kept = set(plain) - {"definition_hash", "timings", "replaces"}
    assert {key: found[key] for key in kept} == {key: plain[key] for key in kept}


@pytest.mark.spark
def test_engines_and_any_number_of_workers_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spark: object
) -> None:
    from airflow_mq_provider.engines import reading, task

    monkeypatch.setattr(task, "UNIT", 20_000)
    monkeypatch.setattr(reading, "PIECE", 7_000)
    monkeypatch.setattr("airflow_mq_provider.engines.memory.SMALL", 0)
    said = []
    for number, (engine, workers) in enumerate((("reference", None), ("local", 1), ("local", 3), ("spark", None))):
        world = World(Storage(), str(tmp_path / str(number)), engine, workers=workers)
        countries(world)
        said.append(world.run()["segments"])
    assert said[0] == said[1] == said[2] == said[3]


def test_a_run_without_rows_says_nothing_of_segments(local_world: World) -> None:
    countries(local_world)
    local_world.storage.delete([one.uri for one in local_world.storage.list(join(local_world.root, "labels"))])
    assert "segments" not in local_world.run()
