"""What a run leaves under its report prefix (rules O1, O2), and when a verdict is none (rule A6)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider import run
from airflow_mq_provider.exceptions import DocumentError, InputError, OutputError
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import AsOf, explicit_window
from tests.world import T, World, capture_line, label_line

CONSTRAINTS = {
    "version": 0.0,
    "binary_classification_constraints": {"recall": {"threshold": 0.9, "comparison_operator": "LessThanThreshold"}},
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two labelled captures: one right, one missed; constraints that the recall of 0.5 violates."""
    world = World(Storage(), str(tmp_path / "root"), "local")
    world.captures(capture_line("a", "0.9"), capture_line("b", "0.1"))
    world.labels(label_line("a", "1"), label_line("b", "1"))
    world.put("constraints.json", json.dumps(CONSTRAINTS).encode())
    world.settings["constraints_uri"] = join(world.root, "constraints.json")
    return world


def timeless(written: dict[str, bytes]) -> dict[str, Any]:
    """What was written, without what may differ between two runs: the report's times."""
    found: dict[str, Any] = dict(written)
    report = json.loads(written["report.json"])
    report.pop("timings")
    found["report.json"] = report
    return found


def test_the_documents_lie_where_sagemaker_puts_them(world: World) -> None:
    world.run()
    assert world.prefix().endswith("/out/churn/churn-quality/2026/11/02/12")
    assert sorted(world.written()) == [
        "constraint_violations.json",
        "rejected.jsonl",
        "report.html",
        "report.json",
        "statistics.json",
    ]


def test_violations_are_written_in_sagemakers_words(world: World) -> None:
    report = world.run()
    assert report["status"] == "CompletedWithViolations"
    assert json.loads(world.read("constraint_violations.json")) == {
        "violations": [
            {
                "constraint_check_type": "LessThanThreshold",
                "description": "Metric recall with 0.5 +/- NaN was LessThanThreshold '0.9'",
                "metric_name": "recall",
            }
        ]
    }


def test_noise_is_told_and_leaves_sagemakers_document_as_it_is(world: World) -> None:
    """Three hundred captures of which four fifths are found: the limit lies one standard deviation above that."""
    world.captures(*[capture_line(f"id{number}", "0.1" if number % 5 == 0 else "0.9") for number in range(300)])
    world.labels(*[label_line(f"id{number}", "1") for number in range(300)])
    world.settings.pop("constraints_uri")
    recall = world.run()["metrics"]["recall"]
    limit = {"threshold": recall["value"] + recall["standard_deviation"], "comparison_operator": "LessThanThreshold"}
    world.put("constraints.json", json.dumps({"binary_classification_constraints": {"recall": limit}}).encode())
    world.settings["constraints_uri"] = join(world.root, "constraints.json")
    found = {}
    for noise_sd in (None, 0.5, 2.0):
        world.settings["noise_sd"] = noise_sd
        report = world.run()
        [violation] = report["violations"]
        assert violation["sd_beyond"] == pytest.approx(1.0)
        found[noise_sd] = (report["status"], violation["within_noise"], world.read("constraint_violations.json"))
    document = found[None][2]
    assert document.count(b"metric_name") == 1
    assert b"within_noise" not in document
    assert found == {
        None: ("CompletedWithViolations", True, document),
        0.5: ("CompletedWithViolations", False, document),
        2.0: ("Completed", True, document),
    }


def test_what_run_returns_is_what_the_report_says(world: World) -> None:
    assert world.run() == json.loads(world.read("report.json"))


def test_a_second_run_gives_the_same_bytes(world: World) -> None:
    world.run()
    first = timeless(world.written())
    world.run()
    assert timeless(world.written()) == first


def test_a_later_as_of_replaces_the_whole_report(world: World) -> None:
    world.labels(label_line("b", "0"), hour=T)
    world.run()
    report = world.run(as_of=AsOf(T + timedelta(hours=1), "time"))
    assert report["status"] == "Completed"
    assert json.loads(world.read("constraint_violations.json")) == {"violations": []}


def test_a_report_of_another_definition_is_named_by_its_successor(world: World) -> None:
    former = world.run()
    world.settings["min_records"] = 5
    report = world.run()
    assert report["replaces"]["definition_hash"] == former["definition_hash"]
    assert report["status"] == "NotJudged"


def test_a_report_of_the_same_definition_is_not(world: World) -> None:
    world.run()
    assert "replaces" not in world.run()


def test_an_explicit_window_has_a_folder_of_its_own(world: World) -> None:
    report = run.run(world.monitor(), explicit_window(T - timedelta(hours=1), T), storage=world.storage)
    assert report["output"].endswith("/churn-quality/windows/20261102T110000Z_20261102T120000Z")


def test_merge_hands_over_plain_json_and_analyze_takes_it(world: World) -> None:
    handover = run.merge(world.monitor(), world.window(), storage=world.storage)
    assert json.loads(json.dumps(handover)) == handover
    assert "report.json" not in world.written()
    report = run.analyze(world.monitor(), world.window(), handover=handover, storage=world.storage)
    assert report["merge"]["matched"] == 2


def test_analyze_alone_merges_first(world: World) -> None:
    assert run.analyze(world.monitor(), world.window(), storage=world.storage)["merge"]["matched"] == 2


def test_analyze_cleared_after_its_report_reads_the_labels_of_its_hand_over(world: World) -> None:
    world.labels(label_line("b", "0"), hour=T)
    handover = run.merge(
        world.monitor(), world.window(), storage=world.storage, as_of=AsOf(T + timedelta(hours=1), "time")
    )
    first = run.analyze(world.monitor(), world.window(), handover=handover, storage=world.storage)
    again = run.analyze(world.monitor(), world.window(), handover=handover, storage=world.storage)
    assert again["metrics"] == first["metrics"]
    assert again["ground_truth_as_of"] == "2026-11-02T13:00:00Z"


def test_a_hand_over_of_another_definition_is_not_taken(world: World) -> None:
    handover = run.merge(world.monitor(), world.window(), storage=world.storage)
    world.settings["endpoint"] = {"probability_threshold_attribute": 0.05}
    report = run.analyze(world.monitor(), world.window(), handover=handover, storage=world.storage)
    assert report["status"] == "Completed"


@pytest.mark.parametrize("keep", ["jsonl", "parquet"])
def test_kept_rows_stay_beside_the_report(world: World, keep: str) -> None:
    world.settings["keep_merged"] = keep
    world.run()
    assert [key for key in world.written() if key.startswith("merged/")] == [
        f"merged/2026/11/02/11/part-00000-000.{keep}"
    ]


def half_labelled(world: World) -> None:
    world.labels(label_line("a", "1"))
    world.settings["min_label_coverage"] = 0.6


NOT_JUDGED: dict[str, Callable[[World], Any]] = {
    "no_labels": lambda world: world.storage.delete([join(world.root, "labels/2026/11/02/11/a.jsonl")]),
    "no_matches": lambda world: world.labels(label_line("z", "1")),
    "too_few_records": lambda world: world.settings.update(min_records=3),
    "low_coverage": half_labelled,
    "no_constraints": lambda world: world.settings.update(constraints_uri=None),
    "no_captures": lambda world: world.captures(capture_line("a", "0.9", time=T + timedelta(hours=9))),
}


@pytest.mark.parametrize("code", sorted(NOT_JUDGED))
def test_a_run_that_cannot_be_judged_says_why_and_writes_no_list_of_violations(world: World, code: str) -> None:
    world.run()
    NOT_JUDGED[code](world)
    report = world.run()
    assert (report["status"], report["reason_code"]) == ("NotJudged", code)
    assert report["violations"] == []
    assert "constraint_violations.json" not in world.written()
    assert ("statistics.json" in world.written()) == bool(report["merge"]["matched"])
    assert b"Not judged:" in world.read("report.html")


def test_constraints_of_another_problem_type_are_refused_before_anything_is_taken_away(world: World) -> None:
    world.run()
    world.put("constraints.json", json.dumps({"version": 0.0, "regression_constraints": {}}).encode())
    with pytest.raises(DocumentError):
        world.run()
    assert "report.json" in world.written()


def test_data_quality_constraints_are_refused(world: World) -> None:
    world.put("constraints.json", b'{"version": 0.0, "features": []}')
    with pytest.raises(DocumentError):
        world.run()


def test_absent_constraints_are_refused(world: World) -> None:
    world.settings["constraints_uri"] = join(world.root, "nowhere.json")
    with pytest.raises(InputError, match=r"nowhere\.json"):
        world.run()


def test_an_output_that_cannot_be_written_is_told(world: World) -> None:
    world.put("out", b"a file stands where the folder should")
    with pytest.raises(OutputError):
        world.run()


def test_rows_of_another_run_are_noticed(world: World) -> None:
    handover = run.merge(world.monitor(), world.window(), storage=world.storage)
    world.storage.delete([join(world.prefix(), "merged/part-00000.rows")])
    with pytest.raises(InputError, match="the 2 merged rows of the hand-over"):
        run.analyze(world.monitor(), world.window(), handover=handover, storage=world.storage)


def test_a_baseline_of_the_churn_sample_equals_awss_figures(world: World, tmp_path: Path) -> None:
    # 173 true negatives, 12 missed, 16 found of AWS's sample
    rows = ["0.1,0,0"] * 173 + ["0.2,0,1"] * 12 + ["0.9,1,1"] * 16
    (tmp_path / "baseline.csv").write_text("probability,prediction,label\n" + "\n".join(rows) + "\n")
    made = run.baseline(world.monitor(), str(tmp_path / "baseline.csv"), str(tmp_path / "made"))
    constraints = json.loads((tmp_path / "made/constraints.json").read_text())["binary_classification_constraints"]
    assert constraints["recall"] == {"threshold": 0.5714285714285714, "comparison_operator": "LessThanThreshold"}
    assert constraints["f0_5"]["threshold"] == pytest.approx(0.8695652173913043, abs=1e-15)
    assert made["records"] == 201


def test_a_baseline_does_not_depend_on_the_order_of_its_rows(world: World, tmp_path: Path) -> None:
    rows = [f"{n % 97 / 97},{n % 2},{int(n % 97 > 50)}" for n in range(400)]
    made = []
    for name, order in (("up", rows), ("down", rows[::-1])):
        (tmp_path / f"{name}.csv").write_text("probability,prediction,label\n" + "\n".join(order) + "\n")
        made.append(run.baseline(world.monitor(), str(tmp_path / f"{name}.csv"), str(tmp_path / name))["statistics"])
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("probability,label\n0.5,maybe\n", "line 2"),
        ("probability,label\n1.5,1\n", "bad_probability"),
        ("score,label\n0.5,1\n", "'prediction'"),
        ("probability,truth\n0.5,1\n", "'label'"),
        ("", "without any"),
    ],
)
def test_a_baseline_that_cannot_be_read_is_refused(world: World, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        run.baseline(world.monitor(), str(tmp_path / "bad.csv"), str(tmp_path / "made"))


@pytest.mark.parametrize("dataset_format", ["jsonl", "parquet", "csv"])
def test_a_baseline_reads_every_format_alike(world: World, tmp_path: Path, dataset_format: str) -> None:
    rows = [{"probability": n / 10, "prediction": int(n > 5), "label": int(n > 3)} for n in range(10)]
    file = tmp_path / "rows"
    names: dict[str, Any] = {}
    if dataset_format == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    elif dataset_format == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        import pyarrow.parquet as parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    else:
        file.write_text("\n".join(f"{row['probability']},{row['prediction']},{row['label']}" for row in rows))
        names = {"probability_attribute": "0", "inference_attribute": "1", "ground_truth_attribute": "_c2"}
    made = run.baseline(world.monitor(), str(file), str(tmp_path / "made"), dataset_format=dataset_format, **names)
    assert made["statistics"]["binary_classification_metrics"]["confusion_matrix"] == {
        "0": {"0": 4, "1": 0},
        "1": {"0": 2, "1": 4},
    }


# --- how long it took


@pytest.mark.parametrize(("cadence", "longer"), [(timedelta(microseconds=1), True), (timedelta(days=1), False)])
def test_a_run_that_took_longer_than_its_cadence_says_so_in_the_report(
    world: World, cadence: timedelta, longer: bool
) -> None:
    run.analyze(world.monitor(), world.window(), storage=world.storage, cadence=cadence)
    timings = json.loads(world.read("report.json"))["timings"]
    assert timings["cadence_seconds"] == cadence.total_seconds()
    assert timings["longer_than_cadence"] is longer


def test_a_run_without_a_cadence_says_nothing_of_one(world: World) -> None:
    assert set(world.run()["timings"]) == {"merge_seconds", "analyze_seconds"}
