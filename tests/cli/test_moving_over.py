"""`model-quality import`, `export` and `compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_mq_provider import cli
from airflow_mq_provider.monitor import ModelQualityMonitor
from tests.moving.conftest import DEFINITION, Account
from tests.sagemaker.test_compare import BINARY, changed, violations
from tests.sagemaker.test_job_definition import ABALONE, CHURN

NAMED = {"JobDefinitionName": "churn-definition", **DEFINITION}


@pytest.fixture
def definition(tmp_path: Path) -> str:
    path = tmp_path / "definition.json"
    path.write_text(json.dumps(NAMED))
    return str(path)


@pytest.fixture
def account(s3_endpoint: str) -> Account:
    return Account(s3_endpoint)


def four_parts(text: str) -> bool:
    return all(f"\n  {part}  " in text for part in ("expected", "came    ", "where   ", "next    "))


# --- import


def test_import_prints_the_monitor_as_yaml_and_notes_on_standard_error(definition, capsys):
    assert cli.main(["import", definition]) == 0
    said = capsys.readouterr()
    assert ModelQualityMonitor.from_text(said.out, "monitor.yaml").name == "churn-definition"
    assert said.err.startswith("note: a definition does not say where an endpoint's captures lie")


def test_import_as_json_is_one_object(definition, capsys):
    assert cli.main(["import", definition, "--capture-uri", "s3://bucket/capture", "--json"]) == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    made = ModelQualityMonitor.model_validate(answer.pop("monitor"))
    assert made.capture_root == "s3://bucket/capture/churn/AllTraffic"
    assert answer == {
        "job_definition": "churn-definition",
        "schedule": None,
        "cron": None,
        "output": None,
        "dag": None,
        "notes": [said.err.removeprefix("note: ").rstrip("\n")],
    }
    assert "where SageMaker writes those of a schedule of that name" in said.err


@pytest.mark.parametrize("real", [CHURN, ABALONE], ids=["churn", "abalone"])
def test_monitors_of_aws_and_of_a_public_project_are_imported_exported_and_imported_unchanged(real, tmp_path, capsys):
    described = {**real, "JobDefinitionArn": "arn:aws:sagemaker:us-east-2:111122223333:model-quality-job-definition/x"}
    (tmp_path / "described.json").write_text(
        json.dumps(described | {"CreationTime": "2021-05-18T00:29:15.157000+00:00"})
    )
    written = []
    for source in ("described", "exported"):
        output = str(tmp_path / f"of-{source}.yaml")
        asked = ["--output", output, "--capture-uri", "s3://bucket/capture", "--name", "hourly"]
        assert cli.main(["import", str(tmp_path / f"{source}.json"), *asked]) == 0
        capsys.readouterr()
        assert cli.main(["export", output]) == 0
        exported = capsys.readouterr().out
        assert json.loads(exported) == real
        (tmp_path / "exported.json").write_text(exported)
        written.append(Path(output).read_text())
    assert written[0] == written[1]


@pytest.mark.parametrize("name", ["monitor.yaml", "monitor.json"])
def test_what_is_imported_to_a_file_is_exported_as_it_was(definition, tmp_path, capsys, name):
    output = str(tmp_path / name)
    assert cli.main(["import", definition, "--output", output]) == 0
    assert output in capsys.readouterr().out
    assert cli.main(["export", output]) == 0
    assert json.loads(capsys.readouterr().out) == NAMED


def test_a_live_schedule_is_imported_by_name_with_the_client_of_the_region(account, tmp_path, capsys):
    account.schedule("churn-hourly", account.define(), ScheduleExpression="cron(0 * ? * * *)")
    account.serve("AllTraffic")
    asked = []

    def client(region: str | None) -> Any:
        asked.append(region)
        return account

    arguments = ["import", "churn-hourly", "--region", "us-east-1", "--json"]
    assert cli.main(arguments, sagemaker_client=client) == 0
    answer = json.loads(capsys.readouterr().out)
    assert asked == ["us-east-1"]
    assert (answer["schedule"], answer["cron"]) == ("churn-hourly", "0 * * * *")
    assert answer["monitor"]["endpoint_input"]["data_captured_destination_uri"] == "s3://bucket/capture"


def test_the_client_of_the_command_line_asks_the_configured_account(account, capsys, monkeypatch, s3_endpoint):
    """Here it leads to a server that knows no schedules, and the refusal says what is missing."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    client = cli._sagemaker_client("us-east-1")
    assert client.meta.endpoint_url == s3_endpoint
    assert client.describe_model_quality_job_definition(JobDefinitionName=account.define())["RoleArn"]


def test_without_any_region_import_says_what_to_give(capsys, monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert cli.main(["import", "churn-hourly"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "--region" in said.err
    assert four_parts(said.err)


def test_a_dag_file_goes_with_the_monitors_file(account, tmp_path, capsys):
    account.schedule("churn-hourly", account.define(), ScheduleExpression="cron(0 3 ? * * *)")
    account.serve("AllTraffic")
    dag, output = tmp_path / "dags" / "churn.py", tmp_path / "monitors" / "churn.yaml"
    dag.parent.mkdir()
    output.parent.mkdir()
    arguments = ["import", "churn-hourly", "--dag", str(dag), "--output", str(output)]
    assert cli.main(arguments, sagemaker_client=lambda _: account) == 0
    assert '"../monitors/churn.yaml",' in dag.read_text()
    assert 'schedule="0 3 * * *",' in dag.read_text()
    assert ModelQualityMonitor.from_file(output).name == "churn-hourly"


def test_without_output_the_monitors_file_stands_beside_the_dag(definition, tmp_path, capsys):
    dag = tmp_path / "churn.py"
    assert cli.main(["import", definition, "--dag", str(dag), "--schedule", "0 6 * * 1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["output"], answer["dag"]) == (str(tmp_path / "churn.yaml"), str(dag))
    assert '"churn.yaml",' in dag.read_text()
    assert 'schedule="0 6 * * 1",' in dag.read_text()


def test_a_dag_needs_a_cadence(definition, tmp_path, capsys):
    dag = tmp_path / "churn.py"
    assert cli.main(["import", definition, "--dag", str(dag)]) == 2
    said = capsys.readouterr()
    assert "--schedule" in said.err
    assert four_parts(said.err)
    assert not dag.exists()


def test_a_bad_cron_is_a_fault_of_usage(definition, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["import", definition, "--schedule", "daily"])
    assert ended.value.code == 2
    assert "five fields" in capsys.readouterr().err


def test_a_file_that_is_there_is_not_replaced(definition, tmp_path, capsys):
    output = tmp_path / "monitor.yaml"
    output.write_text("mine")
    assert cli.main(["import", definition, "--output", str(output)]) == 1
    assert output.read_text() == "mine"
    assert four_parts(capsys.readouterr().err)


def test_a_definition_that_is_no_monitor_is_a_fault_of_usage_with_each_fault(tmp_path, capsys):
    path = tmp_path / "definition.json"
    path.write_text(json.dumps({"JobDefinitionName": "a", "ModelQualityAppSpecification": {"ProblemType": "Other"}}))
    assert cli.main(["import", str(path)]) == 2
    said = capsys.readouterr()
    assert "ModelQualityJobInput: is missing" in said.err
    assert four_parts(said.err)


# --- export


def exportable(tmp_path: Path, **changes: Any) -> str:
    fields = {
        "name": "churn",
        "problem_type": "BinaryClassification",
        "endpoint_input": {"endpoint_name": "churn", "probability_attribute": "0"},
        "ground_truth_uri": "s3://bucket/labels",
        "output_uri": "s3://bucket/reports",
        "sagemaker": {"role_arn": "arn:aws:iam::123456789012:role/monitor"},
        **changes,
    }
    path = tmp_path / "monitor.json"
    path.write_text(json.dumps(fields))
    return str(path)


def test_export_looks_up_the_image_of_the_region(tmp_path, capsys):
    assert cli.main(["export", exportable(tmp_path), "--region", "us-west-2", "--json"]) == 0
    request = json.loads(capsys.readouterr().out)
    assert request["ModelQualityAppSpecification"]["ImageUri"].startswith("159807026194.dkr.ecr.us-west-2.")


def test_export_takes_the_region_of_the_environment(tmp_path, capsys):
    assert cli.main(["export", exportable(tmp_path)]) == 0
    assert ".ecr.eu-central-1." in capsys.readouterr().out


def test_export_tells_which_settings_sagemaker_has_not(tmp_path, capsys):
    assert cli.main(["export", exportable(tmp_path, min_label_coverage=0.5)]) == 0
    assert capsys.readouterr().err == "note: SageMaker has no min_label_coverage, and will judge without it\n"


def test_a_monitor_that_sagemaker_would_refuse_is_a_fault_of_usage_with_each_fault(tmp_path, capsys):
    assert cli.main(["export", exportable(tmp_path, sagemaker={}, ground_truth_uri="/labels")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "2 faults" in said.err
    assert four_parts(said.err)


# --- compare


def execution(folder: Path, statistics: dict[str, Any], reported: dict[str, Any] | None = None) -> str:
    folder.mkdir()
    (folder / "statistics.json").write_text(json.dumps(statistics))
    if reported is not None:
        (folder / "constraint_violations.json").write_text(json.dumps(reported))
    return str(folder)


def test_compare_tells_two_executions_apart_metric_by_metric(tmp_path, capsys):
    a = execution(tmp_path / "a", BINARY, violations("auc"))
    b = execution(tmp_path / "b", changed(BINARY, recall=0.71, accuracy=0.5), violations("auc", "f0_5"))
    assert cli.main(["compare", a, b, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "different"
    assert {row["name"]: row["verdict"] for row in answer["metrics"] if row["verdict"] != "same"} == {
        "recall": "noise",
        "accuracy": "different",
    }
    assert {row["name"]: row["verdict"] for row in answer["violations"]} == {"auc": "same", "f0_5": "quirk"}


def test_compare_for_people_has_a_line_for_each_metric(tmp_path, capsys):
    a = execution(tmp_path / "a", BINARY)
    b = execution(tmp_path / "b", changed(BINARY, recall=0.71, auc=None))
    assert cli.main(["compare", f"{a}/statistics.json", b]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "different"
    told = {line.split()[0]: line.split()[1:] for line in lines[3:]}
    assert told["recall"] == ["0.7", "0.71", "noise"]
    assert told["auc"][:3] == ["0.9", "–", "different:"]
    assert "one side has no constraint_violations.json" in lines[-1]


def test_violations_beside_a_file_of_another_name_are_not_taken_for_its_own(tmp_path, capsys):
    """Two copies in one folder would both seem to have them, and be the same in them."""
    folder = Path(execution(tmp_path / "both", BINARY, violations("auc")))
    for name in ("theirs.json", "ours.json"):
        (folder / name).write_text(json.dumps(BINARY))
    assert cli.main(["compare", str(folder / "theirs.json"), str(folder / "ours.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["violations"] is None


def test_compare_reads_s3(tmp_path, capsys, s3_client, s3_bucket, s3_endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    s3_client.put_object(Bucket=s3_bucket, Key="report/statistics.json", Body=json.dumps(BINARY).encode())
    assert cli.main(["compare", f"s3://{s3_bucket}/report", execution(tmp_path / "b", BINARY)]) == 0
    assert capsys.readouterr().out.startswith("same\n")


def test_compare_of_what_is_not_there_fails_in_four_parts(tmp_path, capsys):
    assert cli.main(["compare", str(tmp_path), str(tmp_path)]) == 1
    assert four_parts(capsys.readouterr().err)
