"""From an account or a file to a monitor, its cadence and its DAG file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from airflow_mq_provider import moving
from airflow_mq_provider.exceptions import InputError, MonitorError, OutputError, RequestError
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.sagemaker.job_definition import job_definition_request
from tests.moving.conftest import DEFINITION, Account

HOURLY = {"ScheduleExpression": "cron(0 * ? * * *)"}


def moved(account: Account, source: str, **given: Any) -> moving.Moved:
    return moving.moved(moving.in_account(source, account), **given)


def test_a_schedule_gives_name_cadence_definition_captures_and_tags(account):
    definition = account.define()
    account.serve("Blue")
    account.schedule("churn-hourly", definition, **HOURLY)
    found = moved(account, "churn-hourly")
    assert (found.monitor.name, found.schedule_name, found.cron) == ("churn-hourly", "churn-hourly", "0 * * * *")
    assert found.definition_name == definition
    assert found.monitor.capture_root == f"s3://bucket/capture/churn-{account.suffix}/Blue"
    assert found.monitor.publish_cloudwatch_metrics
    assert found.monitor.sagemaker is not None
    assert found.monitor.sagemaker.job_definition_name == definition
    assert found.monitor.sagemaker.tags == {"team": "ml"}


def test_a_user_is_told_that_both_would_write_to_one_place(account):
    definition = account.define()
    account.serve("AllTraffic")
    account.schedule("churn-hourly", definition, **HOURLY)
    (note,) = moved(account, "churn-hourly").notes
    assert f"s3://bucket/reports/churn-{account.suffix}/churn-hourly" in note
    assert "output_uri of its own" in note


def test_a_definition_is_moved_with_the_one_schedule_that_runs_it(account):
    definition = account.define()
    account.serve("AllTraffic")
    account.schedule("churn-daily", definition, ScheduleExpression="cron(0 3 ? * * *)")
    account.schedule("another", "another-definition", **HOURLY)
    found = moved(account, definition)
    assert (found.schedule_name, found.cron) == ("churn-daily", "0 3 * * *")


def test_a_definition_that_no_schedule_runs_has_no_cadence(account):
    definition = account.define()
    account.serve("AllTraffic")
    found = moved(account, definition)
    assert (found.monitor.name, found.schedule_name, found.cron, found.notes) == (definition, None, None, ())


def test_several_schedules_of_a_definition_have_to_be_told_apart(account):
    definition = account.define()
    account.schedule("one", definition, **HOURLY)
    account.schedule("two", definition, **HOURLY)
    with pytest.raises(InputError, match="2 schedules: one, two"):
        moving.in_account(definition, account)


def test_a_schedule_of_another_kind_is_refused(account):
    account.schedule("drift", "some-definition", kind="DataQuality", **HOURLY)
    with pytest.raises(RequestError, match="must be ModelQuality"):
        moving.in_account("drift", account)


def test_a_name_that_is_none_is_refused_with_the_region(account):
    with pytest.raises(InputError, match="no such name in region us-east-1"):
        moving.in_account("nobody", account)


def test_what_lies_beside_a_definition_and_is_forbidden_becomes_a_note(account):
    account.refused |= {"ListMonitoringSchedules", "ListTags"}
    definition = account.define()
    account.serve("AllTraffic")
    notes = moved(account, definition).notes
    assert [note.partition(",")[0].partition(" (")[0] for note in notes[:2]] == [
        "schedules could not be listed",
        "its tags could not be read",
    ]
    assert all("AccessDenied" in note for note in notes[:2])
    (place,) = notes[2:]
    assert "where SageMaker writes those of a schedule of that name" in place


def test_an_endpoint_that_is_gone_leaves_its_captures_unknown(account):
    definition = account.define()
    found = moved(account, definition)
    assert found.monitor.input.data_captured_destination_uri is None
    assert any("give --capture-uri" in note for note in found.notes)
    assert moved(account, definition, capture_uri="s3://bucket/old").monitor.capture_root.startswith("s3://bucket/old/")


def test_an_endpoint_that_captures_nothing_is_told(account):
    definition = account.define()
    account.serve("AllTraffic", captures=False)
    assert any("captures nothing now" in note for note in moved(account, definition).notes)


def test_a_monitor_reads_one_of_several_variants_and_says_so(account):
    definition = account.define()
    account.serve("Blue", "Green")
    found = moved(account, definition)
    assert found.monitor.capture_root.endswith("/Blue")
    assert any("Blue, Green" in note for note in found.notes)


@pytest.mark.parametrize(
    ("when", "cron", "said"),
    [
        ({}, "0 0 * * *", "SageMaker picks one each day"),
        ({"ScheduleExpression": "NOW"}, None, "it has no cadence"),
        ({"ScheduleExpression": "cron(0 0/5 ? * * *)"}, "0 */5 * * *", "how cron(0 0/5 ? * * *) goes on at midnight"),
        (
            {**HOURLY, "DataAnalysisStartTime": "-PT5H", "DataAnalysisEndTime": "-PT1H"},
            "0 * * * *",
            "a window of its own (-PT5H to -PT1H)",
        ),
    ],
)
def test_what_a_cadence_leaves_open_is_told(account, when, cron, said):
    definition = account.define()
    account.serve("AllTraffic")
    account.schedule("it", definition, **when)
    found = moved(account, "it")
    assert found.cron == cron
    assert any(said in note for note in found.notes)


def test_a_cadence_that_divides_the_day_needs_no_word(account):
    definition = account.define()
    account.serve("AllTraffic")
    account.schedule("it", definition, ScheduleExpression="cron(0 17/12 ? * * *)")
    found = moved(account, "it")
    assert found.cron == "0 5,17 * * *"
    assert len(found.notes) == 1


def written(tmp_path: Path, content: Any) -> str:
    path = tmp_path / "definition.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_a_file_holds_the_definition_alone(tmp_path):
    found = moving.moved(moving.in_file(written(tmp_path, {"JobDefinitionName": "d-1", **DEFINITION})))
    assert (found.monitor.name, found.schedule_name, found.cron) == ("d-1", None, None)
    captures, place = found.notes
    assert (
        captures == "a definition does not say where an endpoint's captures lie: give --capture-uri, or a run will ask"
    )
    assert place == (
        "its reports will go to s3://bucket/reports/churn/d-1, where SageMaker writes those of a schedule of that name: give "
        "it an output_uri of its own for as long as both run; a definition does not tell what its schedule is called: "
        "--name does"
    )


def test_a_name_given_for_a_file_is_that_of_the_schedule_and_the_definition_keeps_its_own(tmp_path):
    found = moving.moved(
        moving.in_file(written(tmp_path, {"JobDefinitionName": "d-1", **DEFINITION})),
        capture_uri="s3://bucket/capture",
        name="churn-hourly",
    )
    assert (found.monitor.name, found.definition_name) == ("churn-hourly", "d-1")
    assert job_definition_request(found.monitor)["JobDefinitionName"] == "d-1"
    (note,) = found.notes
    assert note.startswith("its reports will go to s3://bucket/reports/churn/churn-hourly, where SageMaker writes")
    assert "output_uri of its own" in note
    assert "--name" not in note


def test_a_monitor_of_another_name_than_its_schedule_writes_over_nothing(account):
    definition = account.define()
    account.serve("AllTraffic")
    account.schedule("churn-hourly", definition, **HOURLY)
    found = moved(account, "churn-hourly", name="churn-shadow")
    assert (found.monitor.name, found.schedule_name, found.cron) == ("churn-shadow", "churn-hourly", "0 * * * *")
    assert found.notes == ()


def test_what_the_monitor_would_not_give_back_is_told(tmp_path):
    """SageMaker may learn new words; none of them is lost in silence."""
    content = {"JobDefinitionName": "d-1", **DEFINITION, "NewWord": {"Depth": 3}}
    found = moving.moved(moving.in_file(written(tmp_path, content)), capture_uri="s3://bucket/capture")
    assert "not carried over: NewWord.Depth: is 3, declared None" in found.notes


def test_a_definition_without_a_role_is_moved_with_a_word_about_it(tmp_path):
    content = {"JobDefinitionName": "d-1", **{name: part for name, part in DEFINITION.items() if name != "RoleArn"}}
    found = moving.moved(moving.in_file(written(tmp_path, content)), capture_uri="s3://bucket/capture")
    assert any("sagemaker.role_arn: is needed" in note for note in found.notes)


@pytest.mark.parametrize("content", ["[]", "{", "", "null"])
def test_a_file_that_is_no_json_object_is_refused_with_the_command_that_makes_one(tmp_path, content):
    with pytest.raises(InputError) as refusal:
        moving.in_file(written(tmp_path, content))
    assert "describe-model-quality-job-definition" in refusal.value.next_step


@pytest.mark.parametrize(
    ("content", "fault", "told"),
    [
        (
            {"JobDefinitionName": "drift", "DataQualityAppSpecification": {}, "DataQualityJobInput": {}},
            "DataQualityAppSpecification: is of another kind of monitoring",
            "model-quality schedule",
        ),
        (
            {"MonitoringScheduleName": "s", "MonitoringScheduleConfig": {"MonitoringJobDefinitionName": "d"}},
            "MonitoringScheduleConfig: is a schedule's",
            "MonitoringJobDefinitionName",
        ),
    ],
    ids=["data quality", "schedule"],
)
def test_what_is_easily_taken_for_a_definition_is_refused_by_what_it_is(tmp_path, content, fault, told):
    path = written(tmp_path, content)
    with pytest.raises(RequestError) as refusal:
        moving.in_file(path)
    assert refusal.value.faults[0].startswith(fault)
    assert refusal.value.where == path
    assert told in refusal.value.next_step


def test_a_fault_within_a_definition_names_the_file(tmp_path):
    path = written(tmp_path, {"JobDefinitionName": "d-1", **DEFINITION, "ModelQualityJobInput": {"EndpointInput": {}}})
    with pytest.raises(MonitorError) as refusal:
        moving.moved(moving.in_file(path))
    assert path in refusal.value.where


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NoCredentialsError(), "set or renew the credentials"),
        (ClientError({"Error": {"Code": "ExpiredTokenException"}}, "X"), "set or renew the credentials"),
        (ClientError({"Error": {"Code": "AccessDeniedException"}}, "X"), "allow sagemaker:DescribeMonitoringSchedule"),
        (EndpointConnectionError(endpoint_url="https://api.sagemaker.nowhere"), "the region, the network or the name"),
    ],
    ids=["no credentials", "expired", "denied", "unreachable"],
)
def test_why_sagemaker_does_not_answer_decides_what_to_do(account, error, told):
    def refuse(**given: Any) -> dict[str, Any]:
        raise error

    account.describe_monitoring_schedule = refuse
    with pytest.raises(InputError) as refusal:
        moving.in_account("churn-hourly", account)
    assert told in refusal.value.next_step


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        moving.in_file(str(tmp_path / "absent.json"))


def monitor(name: str = "churn-hourly") -> ModelQualityMonitor:
    return moving.moved(moving.Found({"JobDefinitionName": name, **DEFINITION}, "a test")).monitor


@pytest.mark.parametrize(("cron", "said"), [("0 * * * *", 'schedule="0 * * * *",'), (None, "schedule=None,")])
def test_a_dag_file_is_python_with_the_cadence_and_the_monitors_file(cron, said):
    text = moving.dag_file(monitor(), monitor_file='a"b.yaml', cron=cron, moved_from="SageMaker")
    compile(text, "dag.py", "exec")
    assert said in text
    assert '"a\\"b.yaml",' in text
    assert "datetime(2020, 12, 1, tzinfo=UTC)" in text


def test_files_that_are_there_are_never_replaced_and_then_none_is_written(tmp_path):
    there = tmp_path / "dag.py"
    there.write_text("mine")
    with pytest.raises(OutputError, match="not there yet"):
        moving.write_new({str(tmp_path / "new.yaml"): "x", str(there): "y"})
    assert there.read_text() == "mine"
    assert not (tmp_path / "new.yaml").exists()


def test_a_folder_that_is_absent_is_told(tmp_path):
    with pytest.raises(OutputError, match="No such file or directory"):
        moving.write_new({str(tmp_path / "absent" / "new.yaml"): "x"})
