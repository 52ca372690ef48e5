"""The commands of `model-quality`: what they print where, and how they end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_mq_provider import __version__, cli
from airflow_mq_provider.quality.constraints import NEXT_STEPS, Constraint
from airflow_mq_provider.window import hour_folder
from tests.world import T, capture_line, label_line

AT = "2026-11-02T12:00:00Z"
BEFORE = "2026-11-02T11:00:00Z"
HOUR = T - timedelta(hours=1)


def write(root: Path, side: str, *lines: bytes) -> None:
    path = root / side / hour_folder(HOUR) / "a.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join(lines) + b"\n")


def constraints(root: Path, metric: str, threshold: float) -> None:
    limit = {"threshold": threshold, "comparison_operator": "LessThanThreshold"}
    document = {"version": 0.0, "binary_classification_constraints": {metric: limit}}
    (root / "constraints.json").write_text(json.dumps(document))


@pytest.fixture
def churn(tmp_path: Path) -> Callable[..., str]:
    """Makes a monitor file over five captures, four labels (three of them agreeing) and one broken line."""
    probabilities = {"a": "0.9", "b": "0.8", "c": "0.1", "d": "0.2", "e": "0.3"}
    write(
        tmp_path,
        "capture/churn/AllTraffic",
        *(capture_line(id, data) for id, data in probabilities.items()),
        b'{"captureData":',
    )
    write(tmp_path, "labels", *(label_line(id, data) for id, data in {"a": "1", "b": "1", "c": "0", "d": "1"}.items()))
    constraints(tmp_path, "accuracy", 0.5)

    def make(name: str = "monitor.json", *, endpoint: dict[str, Any] | None = None, **settings: Any) -> str:
        monitor: dict[str, Any] = {
            "name": "churn-quality",
            "problem_type": "BinaryClassification",
            "endpoint_input": {
                "endpoint_name": "churn",
                "data_captured_destination_uri": "capture",
                "probability_attribute": "0",
                "start_time_offset": "-PT1H",
                **(endpoint or {}),
            },
            "ground_truth_uri": "labels",
            "output_uri": "reports",
            "constraints_uri": "constraints.json",
            "max_rejected_ratio": 0.5,
            **settings,
        }
        path = tmp_path / name
        path.write_text(json.dumps(monitor))
        return str(path)

    return make


def four_parts(text: str) -> bool:
    return all(f"\n  {part}  " in text for part in ("expected", "came    ", "where   ", "next    "))


# --- window -----------------------------------------------------------------------------------------------------------


def test_window_as_json_is_one_object_with_its_four_names(churn: Callable[..., str], capsys: Any) -> None:
    assert cli.main(["window", churn(), "--at", AT, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "start": BEFORE,
        "end": AT,
        "scheduled_time": AT,
        "source": "command_line",
    }


def test_window_for_people_names_start_and_end(churn: Callable[..., str], capsys: Any) -> None:
    assert cli.main(["window", churn(), "--at", AT]) == 0
    out = capsys.readouterr().out
    assert f"start           {BEFORE}" in out
    assert f"end             {AT}" in out


def test_a_window_without_start_offset_starts_at_interval_start(churn: Callable[..., str], capsys: Any) -> None:
    monitor = churn(endpoint={"start_time_offset": None})
    assert cli.main(["window", monitor, "--at", AT, "--interval-start", "2026-11-02T06:00:00Z", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["start"] == "2026-11-02T06:00:00Z"


@pytest.mark.parametrize("command", ["window", "run"])
def test_a_needed_interval_start_that_is_missing_is_a_fault_of_usage(
    churn: Callable[..., str], capsys: Any, command: str
) -> None:
    assert cli.main([command, churn(endpoint={"start_time_offset": None}), "--at", AT]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "--interval-start" in said.err
    assert four_parts(said.err)


def test_an_empty_window_is_a_fault_of_usage(churn: Callable[..., str], capsys: Any) -> None:
    monitor = churn(endpoint={"start_time_offset": None, "end_time_offset": "-PT1H"})
    assert cli.main(["run", monitor, "--at", AT, "--interval-start", BEFORE, "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "empty window" in said.err
    assert four_parts(said.err)


def test_a_rewritten_offset_warns_on_standard_error_only(churn: Callable[..., str], capsys: Any) -> None:
    assert cli.main(["window", churn(endpoint={"start_time_offset": "-P1H"}), "--at", AT, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["start"] == BEFORE
    assert said.err.startswith("warning: ")
    assert "-PT1H" in said.err


# --- run --------------------------------------------------------------------------------------------------------------


def test_run_as_json_prints_the_report_that_it_wrote(churn: Callable[..., str], capsys: Any, tmp_path: Path) -> None:
    assert cli.main(["run", churn(), "--at", AT, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "reports/churn/churn-quality/2026/11/02/12/report.json").read_text())
    assert report["status"] == "Completed"
    assert report["window"]["source"] == "command_line"
    assert report["capture"]["rejected"] == {"invalid_json": 1}


def test_json_is_strict_where_a_metric_is_undefined(churn: Callable[..., str], capsys: Any, tmp_path: Path) -> None:
    write(tmp_path, "labels", label_line("c", "0"), label_line("d", "0"))
    assert cli.main(["run", churn(), "--at", AT, "--json"]) == 0

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    report = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert report["metrics"]["recall"]["value"] == "NaN"


def test_run_for_people_tells_noise_from_change() -> None:
    metric, limit = {"value": 0.55}, Constraint(0.57, "LessThanThreshold")
    far = {"sd_beyond": 0.8, "within_noise": True}
    assert cli._held(metric, limit, far).endswith("0.55  at least 0.57  VIOLATED, 0.8 sd below: within noise")
    assert cli._held(metric, limit, far | {"sd_beyond": "NaN", "within_noise": False}).endswith("0.57  VIOLATED")


def test_run_for_people_names_the_worst_segments_as_text_that_does_nothing() -> None:
    def one(name: str, recall: float | str, status: str = "Completed") -> dict[str, Any]:
        return {"segment": name, "status": status, "metrics": {"recall": {"value": recall}}}

    listed = [one("\x1b[31mfr", 0.25), one("de", 0.5), one("x", "NaN"), one("es", 0.75), one("it", 0.0, "NotJudged")]
    found = {"worst_by": "recall", "segments": 5, "listed": listed}
    assert cli._worst(found) == "5; worst recall: '\\x1b[31mfr' 0.25, 'de' 0.5, 'x' NaN"
    assert cli._worst(found | {"segments": None, "listed": listed[-1:]}) == "over 100,000; none judged"


def test_run_for_people_says_verdict_counts_limits_rejections_and_place(
    churn: Callable[..., str], capsys: Any, tmp_path: Path
) -> None:
    constraints(tmp_path, "accuracy", 0.99)
    assert cli.main(["run", churn(), "--at", AT]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].startswith("CompletedWithViolations: 1 of 1 judged metric")
    assert f"{BEFORE} to {AT}" in said.out
    assert "5 used of 6 lines in 1 file" in said.out
    assert "80.0%: 4 rows matched, 1 capture without label" in said.out
    accuracy = next(line for line in lines if line.split()[0] == "accuracy")
    assert accuracy.split() == ["accuracy", "0.75", "at", "least", "0.99", "VIOLATED"]
    assert "captures: invalid_json 1" in said.out
    assert [line.split() for line in lines[-2:]] == [
        ["page", f"{tmp_path}/reports/churn/churn-quality/2026/11/02/12/report.html"],
        ["report", f"{tmp_path}/reports/churn/churn-quality/2026/11/02/12/report.json"],
    ]
    assert said.err == ""


def test_run_says_what_to_do_where_it_could_not_judge(churn: Callable[..., str], capsys: Any, tmp_path: Path) -> None:
    constraints(tmp_path, "accuracy", 0.5)
    write(tmp_path, "labels", label_line("of nobody", "1"))
    assert cli.main(["run", churn(), "--at", AT]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("NotJudged: no row to analyze")
    assert lines[-1].startswith("next          Compare an id of each side")


@pytest.mark.parametrize(
    ("threshold", "labels", "status", "strict"),
    [
        (0.5, True, "Completed", 0),
        (0.99, True, "CompletedWithViolations", 3),
        (0.5, False, "NotJudged", 4),
    ],
)
def test_strict_turns_the_verdict_into_an_exit_code(
    churn: Callable[..., str], capsys: Any, tmp_path: Path, threshold: float, labels: bool, status: str, strict: int
) -> None:
    constraints(tmp_path, "accuracy", threshold)
    if not labels:
        write(tmp_path, "labels", label_line("of nobody", "1"))
    assert cli.main(["run", churn(), "--at", AT, "--strict", "--json"]) == strict
    assert json.loads(capsys.readouterr().out)["status"] == status
    assert cli.main(["run", churn(), "--at", AT]) == 0
    assert capsys.readouterr().out.startswith(f"{status}: ")


@pytest.mark.parametrize(
    ("at", "labels", "code"),
    [
        ("2026-11-02T16:00:00Z", ["a", "b"], "no_captures"),
        (AT, [], "no_labels"),
        (AT, ["of nobody"], "no_matches"),
    ],
    ids=["empty hour", "no labels", "labels of other ids"],
)
def test_a_window_with_nothing_to_judge_is_done_and_only_strict_tells(
    churn: Callable[..., str], capsys: Any, tmp_path: Path, at: str, labels: list[str], code: str
) -> None:
    shutil.rmtree(tmp_path / "labels")
    if labels:
        write(tmp_path, "labels", *(label_line(id, "1") for id in labels))
    assert cli.main(["run", churn(), "--at", at, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reason_code"] == code
    assert cli.main(["run", churn(), "--at", at, "--strict", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["next_step"] == NEXT_STEPS[code]


def clock(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    """What the command line's clock shows each time it is looked at, and the last of it from then on."""
    left = list(seconds)
    monkeypatch.setattr(cli, "time", SimpleNamespace(monotonic=lambda: left.pop(0) if len(left) > 1 else left[0]))


def test_progress_of_long_work_goes_to_standard_error_only(
    churn: Callable[..., str], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, *range(0, 300, 3))
    assert cli.main(["run", churn(), "--at", AT, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["status"] == "Completed"
    assert said.err.splitlines() == ["ground truth: 100% of 0.0 MB", "captures: 100% of 0.0 MB"]


def test_progress_is_said_at_most_every_two_seconds(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # each look at the clock that leads to a line is followed by another
    clock(monkeypatch, 0, 1.9, 2, 2, 3.9, 4, 4)
    progress = cli._Progress()
    for done in range(1, 5):
        progress("captures", done * 500_000, 10_000_000)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["captures:  10% of 10.0 MB", "captures:  20% of 10.0 MB"]


def test_a_memory_limit_that_is_too_small_fails_the_run(churn: Callable[..., str], capsys: Any, tmp_path: Path) -> None:
    assert cli.main(["run", churn(), "--at", AT, "--memory-limit", "1MiB", "--json"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: InputError\n  expected  a window that can be judged within 1 MiB of memory\n")
    assert four_parts(said.err)
    assert not list(tmp_path.rglob("report.json"))


def test_an_explicit_window_reports_in_a_folder_of_its_own(churn: Callable[..., str], capsys: Any) -> None:
    monitor = churn(endpoint={"start_time_offset": None})
    ends = ["--window-start", BEFORE, "--window-end", AT]
    assert cli.main(["run", monitor, *ends, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["window"]["start"], report["window"]["end"]) == (BEFORE, AT)
    assert report["output"].endswith("/windows/20261102T110000Z_20261102T120000Z")


@pytest.mark.parametrize(
    "ends",
    [
        [],
        ["--window-start", BEFORE],
        ["--window-end", AT],
        ["--window-start", BEFORE, "--window-end", AT, "--at", AT],
        ["--window-start", BEFORE, "--window-end", AT, "--interval-start", BEFORE],
        ["--window-start", AT, "--window-end", BEFORE],
        ["--at", "yesterday"],
        ["--at", AT, "--as-of", "soon"],
    ],
)
def test_times_that_make_no_window_are_faults_of_usage(churn: Callable[..., str], capsys: Any, ends: list[str]) -> None:
    assert cli.main(["run", churn(), *ends, "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert four_parts(said.err)


def test_labels_that_came_late_count_as_of_a_later_time(churn: Callable[..., str], capsys: Any, tmp_path: Path) -> None:
    late = tmp_path / "labels" / hour_folder(T + timedelta(hours=3)) / "late.jsonl"
    late.parent.mkdir(parents=True)
    late.write_bytes(label_line("e", "0") + b"\n")
    matched = {}
    for as_of in ("schedule", "2026-11-02T16:00:00Z", "now"):
        assert cli.main(["run", churn(), "--at", AT, "--as-of", as_of, "--json"]) == 0
        matched[as_of] = json.loads(capsys.readouterr().out)["merge"]["matched"]
    assert matched == {"schedule": 4, "2026-11-02T16:00:00Z": 5, "now": 5}


def test_both_engines_and_any_number_of_workers_say_the_same(churn: Callable[..., str], capsys: Any) -> None:
    metrics = []
    for arguments in (["--engine", "reference"], ["--engine", "local", "--workers", "1"], ["--workers", "2"]):
        assert cli.main(["run", churn(), "--at", AT, *arguments, "--json"]) == 0
        metrics.append(json.loads(capsys.readouterr().out)["metrics"])
    assert metrics[0] == metrics[1] == metrics[2]


# --- baseline ---------------------------------------------------------------------------------------------------------


def labelled(tmp_path: Path, rows: int = 300) -> str:
    lines = ["score,truth"]
    for number in range(rows):
        truth = number % 3 == 0
        wrong = number % 10 == 0
        lines.append(f"{0.8 if truth != wrong else 0.2},{int(truth)}")
    path = tmp_path / "labelled.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_baseline_writes_both_documents_and_its_constraints_are_the_values(
    churn: Callable[..., str], capsys: Any, tmp_path: Path
) -> None:
    output = str(tmp_path / "baseline")
    columns = ["--ground-truth-attribute", "truth", "--probability-attribute", "score"]
    dataset = ["--dataset", labelled(tmp_path), "--output", output]
    assert cli.main(["baseline", churn(), *dataset, *columns, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    for name in ("statistics", "constraints"):
        assert made[name] == json.loads((tmp_path / "baseline" / f"{name}.json").read_text())
    accuracy = made["statistics"]["binary_classification_metrics"]["accuracy"]["value"]
    assert accuracy == pytest.approx(0.9)
    assert made["constraints"]["binary_classification_constraints"]["accuracy"]["threshold"] == accuracy


def test_tolerance_loosens_the_constraints_of_a_baseline(
    churn: Callable[..., str], capsys: Any, tmp_path: Path
) -> None:
    columns = ["--ground-truth-attribute", "truth", "--probability-attribute", "score"]
    dataset = ["--dataset", labelled(tmp_path), "--output", str(tmp_path / "baseline")]
    assert cli.main(["baseline", churn(), *dataset, *columns, "--tolerance-sd", "2", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    accuracy = made["statistics"]["binary_classification_metrics"]["accuracy"]
    threshold = made["constraints"]["binary_classification_constraints"]["accuracy"]["threshold"]
    assert threshold == accuracy["value"] - 2 * accuracy["standard_deviation"]
    assert threshold < accuracy["value"]


def test_baseline_for_people_names_each_limit(churn: Callable[..., str], capsys: Any, tmp_path: Path) -> None:
    columns = ["--ground-truth-attribute", "truth", "--probability-attribute", "score"]
    dataset = ["--dataset", labelled(tmp_path), "--output", str(tmp_path / "baseline")]
    assert cli.main(["baseline", churn(), *dataset, *columns]) == 0
    out = capsys.readouterr().out
    assert out.startswith("baseline of 300 records")
    assert ["accuracy", "at", "least", "0.9"] in [line.split() for line in out.splitlines()]
    assert str(tmp_path / "baseline") in out


def test_the_path_that_a_baseline_tells_to_name_holds_wherever_the_monitor_lies(
    churn: Callable[..., str], capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = ["--ground-truth-attribute", "truth", "--probability-attribute", "score"]
    dataset = ["--dataset", labelled(tmp_path), "--output", "baseline"]
    monkeypatch.chdir(tmp_path)
    monitor = churn()
    assert cli.main(["baseline", monitor, *dataset, *columns]) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told == f"next          name {tmp_path}/baseline/constraints.json in constraints_uri of {monitor}"


def test_a_dataset_that_is_absent_fails_the_command(churn: Callable[..., str], capsys: Any, tmp_path: Path) -> None:
    arguments = ["--dataset", str(tmp_path / "absent.csv"), "--output", str(tmp_path / "baseline")]
    assert cli.main(["baseline", churn(), *arguments, "--json"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert four_parts(said.err)


# --- what is wrong, and how it is said --------------------------------------------------------------------------------


def test_a_failed_run_is_1_and_says_so_on_standard_error(
    churn: Callable[..., str], capsys: Any, tmp_path: Path
) -> None:
    assert cli.main(["run", churn(max_rejected_ratio=0.1), "--at", AT, "--json"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: RejectedLinesError\n")
    assert four_parts(said.err)


Change = Callable[[Path], dict[str, Any]]
"""Makes something wrong under a root, and says which settings of the monitor go with it."""


def of_data_quality(root: Path) -> dict[str, Any]:
    document = {"version": 0.0, "features": [{"name": "age", "inferred_type": "Integral", "completeness": 1.0}]}
    (root / "constraints.json").write_text(json.dumps(document))
    return {}


def of_regression(root: Path) -> dict[str, Any]:
    limit = {"threshold": 1.0, "comparison_operator": "GreaterThanThreshold"}
    (root / "constraints.json").write_text(json.dumps({"version": 0.0, "regression_constraints": {"mae": limit}}))
    return {}


def under_a_file(root: Path) -> dict[str, Any]:
    (root / "taken").write_text("no folder")
    return {"output_uri": "taken/reports"}


def labels_without_the_key(root: Path) -> dict[str, Any]:
    write(root, "labels", *(label_line(id, '{"truth": 1}', encoding="JSON") for id in "abcd"))
    return {"ground_truth_attribute": "nowhere"}


BATCH = {"data_captured_destination_uri": "batch", "dataset_format": "csv", "probability_attribute": "0"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "bad offset": ({"endpoint": {"start_time_offset": "-P1M"}}, "start_time_offset"),
    "both inputs": ({"batch_transform_input": BATCH}, "endpoint_input"),
    "no input": ({"endpoint_input": None}, "endpoint_input"),
}
FAILED: dict[str, tuple[Change, str, str]] = {
    "missing capture prefix": (
        lambda _: {"endpoint": {"data_captured_destination_uri": "nowhere"}},
        "InputError",
        "nowhere/churn/AllTraffic",
    ),
    "constraints of another problem type": (of_regression, "DocumentError", "regression_constraints"),
    "constraints of data quality": (of_data_quality, "DocumentError", "constraints.json"),
    "unwritable output": (under_a_file, "OutputError", "taken/reports"),
    "no such column in the captures": (
        lambda _: {"endpoint": {"probability_attribute": "7"}},
        "RejectedLinesError",
        "next      look at inference_attribute or probability_attribute;",
    ),
    "no such key in the labels": (
        labels_without_the_key,
        "RejectedLinesError",
        "next      look at ground_truth_attribute;",
    ),
}


@pytest.mark.parametrize(("settings", "field"), REFUSED.values(), ids=REFUSED)
def test_a_run_of_what_is_no_monitor_is_a_fault_of_usage(
    churn: Callable[..., str], capsys: Any, tmp_path: Path, settings: dict[str, Any], field: str
) -> None:
    assert cli.main(["run", churn(**settings), "--at", AT, "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: MonitorError\n")
    assert field in said.err
    assert four_parts(said.err)
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(("change", "error", "named"), FAILED.values(), ids=FAILED)
def test_a_run_that_wrong_input_fails_names_it_and_leaves_no_report(
    churn: Callable[..., str], capsys: Any, tmp_path: Path, change: Change, error: str, named: str
) -> None:
    assert cli.main(["run", churn(**change(tmp_path)), "--at", AT, "--json"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {error}\n")
    assert named in said.err
    assert four_parts(said.err)
    assert not list(tmp_path.rglob("report.json"))


def test_a_bad_monitor_is_2_and_each_fault_stands_on_its_own_line(churn: Callable[..., str], capsys: Any) -> None:
    assert cli.main(["run", churn(min_records=-1, positiv_label="yes"), "--at", AT]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: MonitorError"
    assert "2 faults" in lines[2]
    assert any("min_records" in line for line in lines[3:5])
    assert any("positive_label" in line for line in lines[3:5])


def test_a_monitor_file_that_is_absent_ends_without_a_traceback(capsys: Any, tmp_path: Path) -> None:
    assert cli.main(["run", str(tmp_path / "absent.yaml"), "--at", AT]) in (1, 2)
    assert four_parts(capsys.readouterr().err)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["judge"],
        ["run"],
        ["run", "m.yaml", "--at", AT, "--workers", "0"],
        ["run", "m.yaml", "--at", AT, "--workers", "two"],
        ["run", "m.yaml", "--at", AT, "--engine", "duckdb"],
        ["run", "m.yaml", "--at", AT, "--memory-limit", "much"],
        ["window", "m.yaml"],
        ["baseline", "m.yaml", "--dataset", "d.csv"],
        ["baseline", "m.yaml", "--dataset", "d.csv", "--output", "o", "--tolerance-sd", "-1"],
        ["baseline", "m.yaml", "--dataset", "d.csv", "--output", "o", "--tolerance-sd", "nan"],
    ],
)
def test_arguments_that_make_no_command_exit_with_2(capsys: Any, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "error: " in said.err
    assert "--help" in said.err


def test_version_is_the_packages(capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"model-quality {__version__}\n"


@pytest.mark.parametrize("command", ["window", "run", "baseline", "demo"])
def test_every_command_explains_its_options(capsys: Any, command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out


# --- as a process -----------------------------------------------------------------------------------------------------

CALL = [sys.executable, "-c", "import sys; from airflow_mq_provider.cli import main; sys.exit(main())"]


def test_a_reader_that_closes_the_pipe_early_gets_no_traceback(churn: Callable[..., str]) -> None:
    read, write_end = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(
            [*CALL, "window", churn(), "--at", AT, "--json"], stdout=write_end, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(write_end)
    assert ended.stderr == b""
    assert ended.returncode == 1


def test_ctrl_c_ends_quietly(churn: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("airflow_mq_provider.run.run", interrupted)
    assert cli.main(["run", churn(), "--at", AT]) == 128 + signal.SIGINT
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


HEAVY = ("airflow", "boto3", "pandas", "pyarrow", "scipy", "sklearn")


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [(["window", "--at", AT], (*HEAVY, "numpy")), (["run", "--at", AT], HEAVY)],
    ids=["window", "run"],
)
def test_a_command_imports_only_what_it_needs(
    churn: Callable[..., str], arguments: list[str], unwanted: tuple[str, ...]
) -> None:
    """Start-up is most of a small run, so what it must not import is named."""
    command = [arguments[0], churn(), *arguments[1:], "--json"]
    program = (
        "import sys; from airflow_mq_provider.cli import main; "
        f"code = main({command!r}); print(sorted(set(sys.modules) & set({unwanted!r})), file=sys.stderr); sys.exit(code)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stderr == "[]\n"
