"""A monitor as YAML or JSON, in and out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider.exceptions import MonitorError
from airflow_mq_provider.monitor import CsvFormat, ModelQualityMonitor

YAML = """
name: churn-model-quality
problem_type: BinaryClassification
endpoint_input:
  endpoint_name: churn
  data_captured_destination_uri: s3://bucket/capture
  probability_attribute: 0
  probability_threshold_attribute: 0.8
  start_time_offset: -P8D
  end_time_offset: -P1D
ground_truth_uri: s3://bucket/labels
output_uri: s3://bucket/reports
positive_label: 1.0
constraints_uri:
"""


def refused(text: str, source: str = "monitor.yaml") -> MonitorError:
    with pytest.raises(MonitorError) as refusal:
        ModelQualityMonitor.from_text(text, source)
    return refusal.value


def test_a_monitor_in_yaml():
    made = ModelQualityMonitor.from_text(YAML, "monitor.yaml")
    assert made.name == "churn-model-quality"
    assert made.input.probability_attribute == "0"
    assert made.threshold == 0.8
    assert made.positive_label == "1"
    assert made.constraints_uri is None


def test_the_same_in_json():
    made = ModelQualityMonitor.from_text(YAML, "monitor.yaml")
    text = made.to_json()
    assert ModelQualityMonitor.from_text(text, "monitor.json") == made
    assert ModelQualityMonitor.from_text("\n " + text, "") == made


def test_tabs_are_no_fault_of_json_whatever_the_file_is_called():
    text = json.dumps(json.loads(ModelQualityMonitor.from_text(YAML, "m.yaml").to_json()), indent="\t")
    assert ModelQualityMonitor.from_text(text, "monitor.conf").name == "churn-model-quality"


def test_what_is_written_names_what_differs_from_the_defaults():
    made = ModelQualityMonitor.from_text(YAML, "monitor.yaml")
    assert json.loads(made.to_json()) == {
        "name": "churn-model-quality",
        "problem_type": "BinaryClassification",
        "endpoint_input": {
            "endpoint_name": "churn",
            "data_captured_destination_uri": "s3://bucket/capture",
            "probability_attribute": "0",
            "probability_threshold_attribute": 0.8,
            "start_time_offset": "-P8D",
            "end_time_offset": "-P1D",
        },
        "ground_truth_uri": "s3://bucket/labels",
        "output_uri": "s3://bucket/reports",
    }
    assert made.to_yaml().startswith("name: churn-model-quality\nproblem_type: BinaryClassification\n")
    assert ModelQualityMonitor.from_text(made.to_yaml(), "monitor.yaml") == made


def test_a_batch_transform_in_yaml():
    made = ModelQualityMonitor.from_text(
        """
name: b
problem_type: Regression
batch_transform_input:
  data_captured_destination_uri: s3://bucket/capture
  dataset_format: {csv: {header: true}}
  inference_attribute: score
ground_truth_uri: s3://bucket/labels
output_uri: s3://bucket/reports
sagemaker:
  tags: {team: ml}
  container_entrypoint: [python, run.py]
""",
        "monitor.yaml",
    )
    assert made.batch_transform_input is not None
    assert made.batch_transform_input.dataset_format == CsvFormat(header=True)
    assert made.sagemaker is not None
    assert made.sagemaker.container_entrypoint == ("python", "run.py")
    assert ModelQualityMonitor.from_text(made.to_yaml(), "monitor.yaml") == made


# --- what YAML makes of words


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("yes", "yes"),
        ("NO", "NO"),
        ("on", "on"),
        ("y", "y"),
        ("true", "true"),
        ("True", "true"),
        ("'true'", "true"),
        ("1", "1"),
        ("'1.0'", "1"),
        ("007", "7"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("0x1F", "0x1F"),
    ],
)
def test_a_label_of_a_yaml_file_is_the_text_that_stands_there(written, label):
    """YAML 1.1 would make yes a truth value, 12:30 a number of minutes and 2020-01-01 a date."""
    made = ModelQualityMonitor.from_text(YAML.replace("positive_label: 1.0", f"positive_label: {written}"), "m.yaml")
    assert made.positive_label == label


# --- what is refused


def test_the_error_names_the_file_and_every_fault():
    error = refused(YAML.replace("name: churn-model-quality", "nme: x") + "min_records: 0\n")
    assert error.where == "monitor.yaml"
    assert [fault.partition(":")[0] for fault in error.faults] == ["name", "min_records", "nme"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing"),
        ("# only a comment\n", "nothing"),
        ("- a\n- b\n", "list"),
        ("churn", "str"),
        ("name: [", "line 1"),
        ("name: a\n\tproblem_type: b", "line 2"),
        ("name: a\n---\nname: b", "document"),
        ("name: !!python/object/apply:os.system ['true']", "python"),
        ("name: a\nname: b", "'name'"),
        ("endpoint_input: {endpoint_name: a, endpoint_name: b}", "'endpoint_name'"),
        ("? [a, b]\n: c", "line 1"),
        ("name: !!int abc", "abc"),
        ("a: &x [*x]", "a"),
        ("[" * 5000, "deep"),
        ("name: \x07", "special characters"),
    ],
)
def test_yaml_that_is_no_monitor_is_refused(text, said):
    assert said in " | ".join(refused(text).faults)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "list"),
        ("{", "line 1"),
        ('{"name": "a", "name": "b"}', "'name'"),
        ('{"min_records": NaN}', "NaN"),
        ("[" * 100_000, "deep"),
    ],
)
def test_json_that_is_no_monitor_is_refused(text, said):
    assert said in " | ".join(refused(text, "monitor.json").faults)


# --- files, and what paths are relative to


def write(folder: Path, **uris: Any) -> Path:
    path = folder / "monitor.yaml"
    path.write_text(
        "\n".join(
            [
                "name: m",
                "problem_type: Regression",
                "endpoint_input:",
                "  endpoint_name: e",
                "  inference_attribute: 0",
                f"  data_captured_destination_uri: {uris.get('capture', 'capture')}",
                f"ground_truth_uri: {uris.get('labels', '../labels/')}",
                f"output_uri: {uris.get('output', './reports')}",
                f"constraints_uri: {uris.get('constraints', '/elsewhere/constraints.json')}",
            ]
        )
    )
    return path


def test_plain_paths_in_a_file_are_relative_to_its_folder(tmp_path, monkeypatch):
    folder = tmp_path / "monitors"
    folder.mkdir()
    path = write(folder)
    monkeypatch.chdir(tmp_path)
    for given in (str(path), path, f"file://{path}", "monitors/monitor.yaml", "monitors/../monitors/monitor.yaml"):
        made = ModelQualityMonitor.from_file(given)
        assert made.input.data_captured_destination_uri == f"{folder}/capture"
        assert made.ground_truth_uri == f"{tmp_path}/labels"
        assert made.output_uri == f"{folder}/reports"
        assert made.constraints_uri == "/elsewhere/constraints.json"


def test_uris_and_templates_in_a_file_are_relative_to_nothing(tmp_path):
    path = write(
        tmp_path,
        capture="s3://bucket/capture",
        labels="'{{ var.value.labels }}/x'",
        output="'out/{{ ds }}'",
        constraints="file:///x/constraints.json",
    )
    made = ModelQualityMonitor.from_file(path)
    assert made.input.data_captured_destination_uri == "s3://bucket/capture"
    assert made.ground_truth_uri == "{{ var.value.labels }}/x"
    assert made.output_uri == f"{tmp_path}/out/{{{{ ds }}}}"
    assert made.constraints_uri == "file:///x/constraints.json"


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        ("s3://bucket/monitors/churn/monitor.yaml", "s3://bucket/monitors/churn"),
        ("/etc/monitors/monitor.yaml", "/etc/monitors"),
        ("/monitor.yaml", ""),
        ("file:///etc/my%20monitors/monitor.yaml", "/etc/my monitors"),
    ],
)
def test_a_text_whose_source_says_where_it_lies_is_relative_to_that(source, folder):
    made = ModelQualityMonitor.from_text(YAML.replace("s3://bucket/reports", "reports/daily"), source)
    assert made.output_uri == f"{folder}/reports/daily"


def test_a_text_from_elsewhere_is_relative_to_the_working_directory():
    made = ModelQualityMonitor.from_text(YAML.replace("s3://bucket/reports", "reports/daily"), "a test")
    assert made.output_uri == "reports/daily"


def test_a_path_cannot_climb_out_of_a_bucket():
    made = ModelQualityMonitor.from_text(YAML.replace("s3://bucket/reports", "../../../x"), "s3://bucket/a/m.yaml")
    assert made.output_uri == "s3://bucket/x"


def test_a_bad_path_in_a_file_is_told_as_it_was_written(tmp_path):
    with pytest.raises(MonitorError) as refusal:
        ModelQualityMonitor.from_file(write(tmp_path, output="gs://x", labels="~/labels"))
    assert [fault.partition(":")[0] for fault in refusal.value.faults] == ["ground_truth_uri", "output_uri"]
    assert "gs://x" in refusal.value.faults[1]
    assert str(tmp_path) in refusal.value.where


def test_a_file_that_is_not_there_is_a_monitor_error(tmp_path):
    with pytest.raises(MonitorError, match="No such file") as refusal:
        ModelQualityMonitor.from_file(tmp_path / "monitor.yaml")
    assert str(tmp_path / "monitor.yaml") in refusal.value.where
    with pytest.raises(MonitorError, match="directory"):
        ModelQualityMonitor.from_file(tmp_path)


def test_a_file_that_is_no_utf_8_is_refused(tmp_path):
    path = tmp_path / "monitor.yaml"
    path.write_bytes(b"name: \xff")
    with pytest.raises(MonitorError, match="UTF-8"):
        ModelQualityMonitor.from_file(path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = write(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert ModelQualityMonitor.from_file(path).name == "m"


def test_a_file_on_s3_is_not_read_here():
    with pytest.raises(MonitorError, match="from_text"):
        ModelQualityMonitor.from_file("s3://bucket/monitor.yaml")
