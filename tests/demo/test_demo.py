"""The demo: what its files are, and that its table shows what it promises."""

from __future__ import annotations

import base64
import json
import re
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider import cli, demo
from airflow_mq_provider.exceptions import InputError, OutputError
from airflow_mq_provider.monitor import ModelQualityMonitor

pytest.importorskip("sklearn", reason="the extra `demo` is not installed")

MONITORS = ("diabetes-model-quality", "digits-model-quality", "tumours-model-quality")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo's data, without reports."""
    root = tmp_path_factory.mktemp("demo")
    demo.make(root)
    return root


@pytest.fixture(scope="module")
def reports(root: Path) -> list[dict[str, Any]]:
    """Every window of every monitor, judged."""
    return demo.judge(root)


def data(root: Path) -> dict[str, bytes]:
    """All files of a demo but its reports, by their path."""
    paths = (path for path in root.rglob("*") if path.is_file())
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    return {name: content for name, content in found.items() if not name.startswith("reports/")}


def lines(root: Path, side: str) -> list[tuple[datetime, dict[str, Any]]]:
    """The readable lines of one side with the hour of their folder."""
    found = []
    for path in sorted((root / side).rglob("*.jsonl")):
        hour = datetime.strptime("/".join(path.parts[-5:-1]), "%Y/%m/%d/%H").replace(tzinfo=UTC)
        for line in path.read_text().splitlines():
            try:
                found.append((hour, json.loads(line)))
            except ValueError:
                continue
    return found


def captured(root: Path) -> list[tuple[datetime, dict[str, Any]]]:
    return lines(root, "capture")


def test_the_same_bytes_come_out_every_time(root: Path, tmp_path: Path) -> None:
    demo.make(tmp_path / "again")
    assert data(tmp_path / "again") == data(root)


def test_making_it_again_takes_away_what_is_no_part_of_it_and_keeps_reports(tmp_path: Path) -> None:
    demo.make(tmp_path)
    before = data(tmp_path)
    (tmp_path / "labels" / "of-another-version.jsonl").write_text("{}")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "report.json").write_text("{}")
    demo.make(tmp_path)
    assert data(tmp_path) == before
    assert (tmp_path / "reports" / "report.json").exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "capture").mkdir()
    (tmp_path / "capture" / "mine.jsonl").write_text("{}")
    with pytest.raises(OutputError, match="something else"):
        demo.make(tmp_path)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["mine.jsonl"]


def test_there_is_one_monitor_of_each_problem_type(root: Path) -> None:
    files = sorted(root.glob("monitors/*/monitor.yaml"))
    monitors = [ModelQualityMonitor.from_file(str(path)) for path in files]
    assert tuple(monitor.name for monitor in monitors) == MONITORS
    assert len({monitor.problem_type for monitor in monitors}) == 3


def test_a_demo_that_was_moved_still_finds_its_own_files(root: Path) -> None:
    for path in root.glob("monitors/*/monitor.yaml"):
        assert str(root) not in path.read_text()
        monitor = ModelQualityMonitor.from_file(str(path))
        assert monitor.capture_root.startswith(str(root))


def test_captures_lie_where_sagemaker_puts_them(root: Path) -> None:
    place = re.compile(
        r"(diabetes|digits|tumours)/AllTraffic/2026/11/\d\d/\d\d/\d\d-\d\d-\d{3}-"
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.jsonl"
    )
    paths = [path.relative_to(root / "capture").as_posix() for path in (root / "capture").rglob("*") if path.is_file()]
    assert len(paths) > 500
    assert [path for path in paths if not place.fullmatch(path)] == []


def test_captures_are_records_as_sagemaker_writes_them(root: Path) -> None:
    encodings = set()
    for _, record in captured(root):
        assert list(record) == ["captureData", "eventMetadata", "eventVersion"]
        for name, mode in (("endpointInput", "INPUT"), ("endpointOutput", "OUTPUT")):
            side = record["captureData"][name]
            assert list(side) == ["observedContentType", "mode", "data", "encoding"]
            assert side["mode"] == mode
            encodings.add(side["encoding"])
        assert uuid.UUID(record["eventMetadata"]["eventId"]).version == 4
    assert encodings == {"CSV", "JSON", "BASE64"}


def test_some_callers_give_an_inference_id(root: Path) -> None:
    named = [record for _, record in captured(root) if "inferenceId" in record["eventMetadata"]]
    assert 0 < len(named) < len(captured(root)) / 2


def test_eight_full_days_are_captured_and_some_records_are_flushed_into_the_next_hour(root: Path) -> None:
    late = 0
    days = set()
    for hour, record in captured(root):
        time = datetime.fromisoformat(record["eventMetadata"]["inferenceTime"])
        assert hour - timedelta(hours=1) <= time < hour + timedelta(hours=1)
        late += time < hour
        days.add(time.date())
    assert len(days) == demo.DAYS >= 8
    assert late > 0


def test_labels_come_within_two_days_shuffled_and_some_never(root: Path) -> None:
    asked = {
        record["eventMetadata"].get("inferenceId") or record["eventMetadata"]["eventId"]: datetime.fromisoformat(
            record["eventMetadata"]["inferenceTime"]
        )
        for _, record in captured(root)
        if record["captureData"]["endpointInput"]["observedContentType"] == "application/json"
    }
    told = [(hour, record["eventMetadata"]["eventId"]) for hour, record in lines(root, "labels/digits-model-quality")]
    delays = [hour - asked[id] for hour, id in told if id in asked]
    assert max(delays) < timedelta(days=2)
    assert max(delays) > timedelta(days=1)
    assert min(delays) > timedelta(hours=-1)
    times = [asked[id] for _, id in told if id in asked]
    assert times != sorted(times)
    assert 0.90 < len({id for _, id in told} & asked.keys()) / len(asked) < 0.99


def test_every_window_of_every_monitor_is_judged(reports: list[dict[str, Any]]) -> None:
    assert [(report["monitor"], report["window"]["start"][:10]) for report in reports] == [
        (monitor, f"2026-11-{day:02d}") for monitor in MONITORS for day in range(1, 9)
    ]


def test_only_the_changed_model_violates_and_only_after_the_change(root: Path, reports: list[dict[str, Any]]) -> None:
    changed = json.loads((root / "what-changed.json").read_text())
    for report in reports:
        after = report["monitor"] == changed["monitor"] and report["window"]["start"] >= changed["from"]
        assert report["status"] == ("CompletedWithViolations" if after else "Completed"), report["reason"]
        assert report["not_judged"] == []


def test_ordinary_windows_keep_a_distance_from_their_limits(root: Path, reports: list[dict[str, Any]]) -> None:
    """At least a third of the tolerance is left: another release of scikit-learn may move figures a little."""
    for report in (one for one in reports if one["status"] == "Completed"):
        folder = root / "baseline" / report["monitor"]
        (limits,) = (
            block for name, block in json.loads((folder / "constraints.json").read_text()).items() if name != "version"
        )
        statistics = json.loads((folder / "statistics.json").read_text())
        (metrics,) = (block for name, block in statistics.items() if name.endswith("_metrics"))
        for name, limit in limits.items():
            distance = report["metrics"][name]["value"] - limit["threshold"]
            if limit["comparison_operator"] == "GreaterThanThreshold":
                distance = -distance
            assert distance > demo.TOLERANCE_SD / 3 * metrics[name]["standard_deviation"], (report["window"], name)


def test_no_line_is_lost_and_a_few_are_malformed(reports: list[dict[str, Any]]) -> None:
    for report in reports:
        capture, labels = report["capture"], report["ground_truth"]
        told = capture["used"] + capture["outside_window"] + capture["dropped"] + sum(capture["rejected"].values())
        assert capture["lines"] == told
        assert 0 < sum(labels["rejected"].values()) < 0.05 * labels["lines"]
        assert 0.85 < report["merge"]["label_coverage"] < 1
    assert sum(report["capture"]["rejected"].get("invalid_json", 0) for report in reports) > 0
    assert sum(report["ground_truth"]["duplicate_labels"] for report in reports) > 0


def test_what_changed_is_what_the_requests_carry(root: Path) -> None:
    """Column `bp` is a pressure in mmHg before, in kPa after."""
    changed = json.loads((root / "what-changed.json").read_text())
    at = datetime.fromisoformat(changed["from"])
    pressures: dict[bool, list[float]] = {False: [], True: []}
    for path in sorted((root / "capture" / "diabetes").rglob("*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            sent = record["captureData"]["endpointInput"]
            text = base64.b64decode(sent["data"]).decode() if sent["encoding"] == "BASE64" else sent["data"]
            after = datetime.fromisoformat(record["eventMetadata"]["inferenceTime"]) >= at
            pressures[after].append(float(text.split(",")[3]))
    assert min(pressures[False]) > 50
    assert max(pressures[True]) < 20
    assert changed["column"] == "bp"
    assert "`bp`" in (root / "what-changed.md").read_text()


def test_the_table_has_a_row_for_each_window_and_names_the_changed_column(
    root: Path, reports: list[dict[str, Any]]
) -> None:
    text = demo.table(reports, root)
    rows = text.splitlines()
    assert rows[0].split() == [
        "monitor", "window", "captured", "labelled", "coverage", "status", "metrics", "violations", "report",
    ]  # fmt: skip
    assert sum(row.startswith(("diabetes", "digits", "tumours")) for row in rows) == len(reports) == 24
    last = next(row for row in rows if row.startswith("diabetes") and "2026-11-08" in row)
    assert "CompletedWithViolations" in last
    assert "mae, mse, rmse, r2" in last
    where = last.split()[-1]
    assert (root / where / "report.json").exists()
    assert "column 'bp' of diabetes-model-quality" in text


def test_a_demo_reached_by_a_link_tells_the_same_places(
    root: Path, reports: list[dict[str, Any]], tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    by_link = [{**report, "output": report["output"].replace(str(root), str(link))} for report in reports]
    direct, linked = demo.table(reports, root).splitlines(), demo.table(by_link, link).splitlines()
    assert direct[:-1] == linked[:-1]  # but for the last line, which names the folder as it was given


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError) as refused:
        demo.models()
    assert "airflow-mq-provider[demo]" in refused.value.next_step
    assert cli.main(["demo", str(tmp_path / "demo"), "--json"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "airflow-mq-provider[demo]" in said.err


def test_the_command_makes_data_only_and_says_how_to_judge_them(tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "demo"
    assert cli.main(["demo", str(folder)]) == 0
    assert not (folder / "reports").exists()
    said = capsys.readouterr().out
    told = [line.split() for line in said.splitlines() if "model-quality run" in line]
    assert len(told) == 3
    assert "docs/formats.md" in said.splitlines()[-1]
    assert cli.main([*told[0][1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "CompletedWithViolations"


def test_the_command_as_json_names_monitors_and_times(tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["demo", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [Path(path).parent.name for path in answer["monitors"]] == list(MONITORS)
    assert answer["scheduled_times"][0] == "2026-11-04T00:00:00Z"
    assert answer["scheduled_times"][-1] == "2026-11-11T00:00:00Z"


@pytest.mark.parametrize("arguments", [[], ["one", "two"], ["--help"]])
def test_the_module_takes_one_folder(arguments: list[str], capsys: Any) -> None:
    assert demo.main(arguments) == 2
    assert "usage" in capsys.readouterr().err
