"""Moving over: what an account or a file says of a job definition, as a monitor and as a DAG file.

A definition does not say where an endpoint's captures lie, nor when it runs: the endpoint and a schedule do. `in_account`
asks for all three; a file holds the definition alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, TypeVar

from airflow_mq_provider.exceptions import InputError, MonitorError, OutputError, RequestError
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.sagemaker.job_definition import (
    definition_diff,
    job_definition_request,
    monitor_from_definition,
)
from airflow_mq_provider.sagemaker.schedule import NOW, airflow_cron

_T = TypeVar("_T")

#: when SageMaker got model quality
FIRST_WINDOWS: Final = date(2020, 12, 1)

_MISSING: Final = "ResourceNotFound"
_DENIED: Final = frozenset({"AccessDeniedException", "AccessDenied"})
_STALE: Final = frozenset({"ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException"})
_OTHER_KINDS: Final = ("DataQuality", "ModelBias", "ModelExplainability")


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a job definition: the answers of SageMaker, as they came.

    Attributes:
        definition: what describing it answers, its tags among it where they could be read; or the request that made it.
        source: where that comes from, as errors call it.
        schedule: what describing its schedule answers; None where there is none, or none is known.
        unscheduled: whether it is known that no schedule runs it.
        endpoint: what describing its endpoint answers, likewise.
        notes: what could not be found out, in sentences.
    """

    definition: Mapping[str, Any]
    source: str
    schedule: Mapping[str, Any] | None = None
    unscheduled: bool = False
    endpoint: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """A job definition as it is here.

    Attributes:
        monitor: the same declaration.
        definition_name: what it was called.
        schedule_name: the schedule that runs it; None where none is known.
        cron: when that does, as Airflow's cron in UTC; None where it runs once, or none is known.
        notes: what its user has to know, in sentences.
    """

    monitor: ModelQualityMonitor
    definition_name: str
    schedule_name: str | None
    cron: str | None
    notes: tuple[str, ...]


# --- finding


def in_file(path: str) -> Found:
    """The definition of a file: what describing it answered, or the request that made it, as one JSON object.

    Raises:
        InputError: the file cannot be read, or holds no JSON object.
        RequestError: it holds something else of SageMaker's: a schedule, a definition of another kind of monitoring.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = json.load(file)
        came = f"a JSON {type(content).__name__}"
    except OSError as error:
        content, came = None, f"{error.strerror}"
    except ValueError as error:
        content, came = None, f"{error}"
    if not isinstance(content, dict):
        raise InputError(
            expected="a file with one JSON object: what describe-model-quality-job-definition answers, or a create request",
            came=came,
            where=path,
            next_step="save that answer in a file: aws sagemaker describe-model-quality-job-definition "
            "--job-definition-name NAME --output json > definition.json",
        )
    _refuse_others(content, path)
    return Found(content, path)


def _refuse_others(content: Mapping[str, Any], path: str) -> None:
    """Refuse what lies next to a definition of model quality in SageMaker, and is easily taken for one."""
    others = [f"{kind}AppSpecification" for kind in _OTHER_KINDS]
    faults = [
        f"{key}: is of another kind of monitoring; this package has model quality only"
        for key in others
        if key in content
    ]
    next_step = "give the definition of a model-quality schedule"
    if "MonitoringScheduleConfig" in content:
        faults.append("MonitoringScheduleConfig: is a schedule's, which names its job definition and does not hold it")
        next_step = (
            "give what describe-model-quality-job-definition answers of its MonitoringJobDefinitionName, or the name of the "
            "schedule in place of a file"
        )
    if faults:
        raise RequestError(faults, where=path, next_step=next_step)


def in_account(name: str, client: Any) -> Found:
    """The definition that a name stands for, its schedule and its endpoint, asked of SageMaker.

    ``name`` is a schedule's, else a definition's; of a definition that one schedule runs, that one counts. What is beside
    the definition may be absent or forbidden: that becomes a note.

    Args:
        name: a schedule or a job definition.
        client: boto3's of SageMaker.

    Raises:
        InputError: there is neither, several schedules run the definition, or SageMaker does not answer.
        RequestError: the schedule is of another kind of monitoring.
    """
    notes: list[str] = []
    schedule = _asked(client, "describe_monitoring_schedule", MonitoringScheduleName=name)
    definition_name = name if schedule is None else _definition_of(schedule, name)
    definition = _asked(client, "describe_model_quality_job_definition", JobDefinitionName=definition_name)
    if definition is None:
        raise InputError(
            expected="the name of a monitoring schedule or of a model-quality job definition, or the path of a file",
            came=f"no such name in region {client.meta.region_name}",
            where=repr(definition_name),
            next_step="list them with aws sagemaker list-monitoring-schedules, or give another region with --region",
        )
    unscheduled = False
    if schedule is None:
        listed = _schedules_of(client, definition_name, notes)
        unscheduled = listed == []
        if listed:
            schedule = _asked(client, "describe_monitoring_schedule", MonitoringScheduleName=listed[0])
    tags = _beside(notes, "its tags could not be read", lambda: _tags(client, definition["JobDefinitionArn"]))
    endpoint_name = definition["ModelQualityJobInput"].get("EndpointInput", {}).get("EndpointName")
    endpoint = None
    if endpoint_name:
        endpoint = _beside(
            notes,
            f"its endpoint {endpoint_name} could not be described, so where captures lie is not known: give --capture-uri",
            lambda: _asked(client, "describe_endpoint", EndpointName=endpoint_name, missing="ValidationException"),
        )
    described = {key: value for key, value in definition.items() if key != "ResponseMetadata"}
    return Found(
        {**described, "Tags": tags or []},
        f"region {client.meta.region_name}",
        schedule=schedule,
        unscheduled=unscheduled,
        endpoint=endpoint,
        notes=tuple(notes),
    )


def _definition_of(schedule: Mapping[str, Any], name: str) -> str:
    config = schedule["MonitoringScheduleConfig"]
    kind = config.get("MonitoringType") or schedule.get("MonitoringType")
    definition_name = config.get("MonitoringJobDefinitionName")
    if kind != "ModelQuality" or not definition_name:
        raise RequestError(
            [f"MonitoringType: must be ModelQuality with a job definition of its own, came {kind}"],
            where=f"monitoring schedule {name!r}",
            next_step="give a schedule of model quality; this package has no other kind of monitoring",
        )
    return str(definition_name)


def _schedules_of(client: Any, definition_name: str, notes: list[str]) -> list[str] | None:
    """The names of the schedules that run a definition: one, or none; None where they could not be listed.

    Raises:
        InputError: there are several.
    """
    listed = _beside(
        notes,
        "schedules could not be listed, so when it runs is not known",
        lambda: _asked(
            client,
            "list_monitoring_schedules",
            MonitoringJobDefinitionName=definition_name,
            MonitoringTypeEquals="ModelQuality",
            MaxResults=100,
        ),
    )
    if listed is None:
        return None
    names = [str(one["MonitoringScheduleName"]) for one in listed.get("MonitoringScheduleSummaries", ())]
    if len(names) > 1:
        raise InputError(
            expected="a job definition that one schedule runs, or a schedule's name",
            came=f"{len(names)} schedules: {', '.join(names)}",
            where=f"job definition {definition_name!r}",
            next_step="give the name of the schedule to move over",
        )
    return names


def _tags(client: Any, arn: str) -> list[dict[str, str]]:
    """A definition's tags, without those of AWS's own, which nobody else may set."""
    tags: list[dict[str, str]] = []
    token: dict[str, str] = {}
    while True:
        answer = _asked(client, "list_tags", ResourceArn=arn, **token) or {}
        tags += [tag for tag in answer.get("Tags", ()) if not tag["Key"].startswith("aws:")]
        if not answer.get("NextToken"):
            return tags
        token = {"NextToken": answer["NextToken"]}


def _beside(notes: list[str], note: str, ask: Callable[[], _T]) -> _T | None:
    """What lies beside the definition; where it is absent or cannot be had, None and a note that says so."""
    try:
        found = ask()
    except InputError as error:
        notes.append(f"{note} ({error.came})")
        return None
    if found is None:
        notes.append(f"{note} (there is none of that name)")
    return found


def _asked(client: Any, operation: str, *, missing: str = _MISSING, **parameters: Any) -> dict[str, Any] | None:
    """SageMaker's answer; None where it says that there is no such thing.

    Raises:
        InputError: it does not answer, or refuses to.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    try:
        answer: dict[str, Any] = getattr(client, operation)(**parameters)
    except (BotoCoreError, ClientError) as error:
        code = getattr(error, "response", {}).get("Error", {}).get("Code")
        if code == missing:
            return None
        action = "".join(word.capitalize() for word in operation.split("_"))
        if code in _STALE or isinstance(error, (NoCredentialsError, PartialCredentialsError)):
            remedy = "set or renew the credentials (AWS_PROFILE, or what aws configure sets)"
        elif code in _DENIED:
            remedy = f"allow sagemaker:{action} to these credentials"
        else:
            remedy = "look at what came: the region, the network or the name is at fault"
        raise InputError(
            expected=f"SageMaker's answer to {action}",
            came=f"{type(error).__name__}: {error}",
            where=f"region {client.meta.region_name}",
            next_step=f"{remedy}; or save the definition in a file and import that",
        ) from error
    return answer


# --- moving


def moved(found: Found, *, capture_uri: str | None = None, name: str | None = None) -> Moved:
    """The monitor of what was found, and what its user has to know.

    Args:
        found: the definition, and what is known beside it.
        capture_uri: where captures lie; goes before what the endpoint says.
        name: what the monitor is to be called; else as its schedule, where one is known, else as the definition. SageMaker
            calls the folder of its reports after the schedule.

    Raises:
        MonitorError: what is no monitor here, by its field.
        RequestError: what was found is no job definition, or runs at times that are none of SageMaker's.
    """
    notes = list(found.notes)
    variant = None
    if found.endpoint is not None:
        variants = [one["VariantName"] for one in found.endpoint.get("ProductionVariants", ())]
        variant = variants[0] if variants else None
        if len(variants) > 1:
            notes.append(
                f"the endpoint has the variants {', '.join(variants)}, and a monitor reads one: this one reads {variant}; "
                "make another with another variant_name for each other one"
            )
        capture_uri = capture_uri or found.endpoint.get("DataCaptureConfig", {}).get("DestinationS3Uri")
        if capture_uri is None:
            notes.append("the endpoint captures nothing now, so where captures lie is not known: give --capture-uri")
    schedule_name = found.schedule["MonitoringScheduleName"] if found.schedule else None
    try:
        monitor = monitor_from_definition(
            found.definition, name=name or schedule_name, capture_uri=capture_uri, variant_name=variant
        )
    except MonitorError as error:
        raise type(error)(error.faults, where=f"{error.where}, {found.source}", next_step=error.next_step) from None
    source = monitor.endpoint_input
    if (
        source is not None
        and source.data_captured_destination_uri is None
        and found.endpoint is None
        and not found.notes
    ):
        notes.append(
            "a definition does not say where an endpoint's captures lie: give --capture-uri, or a run will ask"
        )
    notes += _not_carried(found.definition, monitor)
    cron = None
    if found.schedule is not None:
        cron = _cron(found.schedule, notes)
    own = "give it an output_uri of its own for as long as both run"
    if monitor.name == schedule_name:
        notes.append(f"its reports will go where SageMaker's go, {monitor.report_root}: {own}")
    elif schedule_name is None and not found.unscheduled:
        unknown = "" if name else "; a definition does not tell what its schedule is called: --name does"
        notes.append(
            f"its reports will go to {monitor.report_root}, where SageMaker writes those of a schedule of that name: {own}{unknown}"
        )
    return Moved(
        monitor=monitor,
        definition_name=found.definition["JobDefinitionName"],
        schedule_name=schedule_name,
        cron=cron,
        notes=tuple(notes),
    )


def _not_carried(definition: Mapping[str, Any], monitor: ModelQualityMonitor) -> Iterator[str]:
    """What of the definition the monitor would not give back; nothing, as far as SageMaker's present API goes."""
    try:
        again = job_definition_request(monitor)
    except RequestError as error:
        yield f"the definition is incomplete, so SageMaker could not run it again: {' | '.join(error.faults)}"
        return
    for difference in definition_diff(definition, again):
        yield f"not carried over: {difference}"


def _cron(schedule: Mapping[str, Any], notes: list[str]) -> str | None:
    when = schedule["MonitoringScheduleConfig"].get("ScheduleConfig", {})
    expression = when.get("ScheduleExpression")
    if expression is None:
        notes.append("the schedule names no time: SageMaker picks one each day, Airflow runs at midnight UTC")
        return "0 0 * * *"
    if expression == NOW:
        notes.append("the schedule ran once (NOW): it has no cadence")
    elif re.search(r"/(?!1\b|2\b|3\b|4\b|6\b|8\b|12\b|24\b)", expression):
        notes.append(f"SageMaker does not say how {expression} goes on at midnight; here each day begins anew")
    window = [when[end] for end in ("DataAnalysisStartTime", "DataAnalysisEndTime") if when.get(end)]
    if window and expression != NOW:
        notes.append(
            f"the schedule gives a window of its own ({' to '.join(window)}): write it as start_time_offset and "
            "end_time_offset"
        )
    return airflow_cron(expression)


# --- the DAG file


def dag_file(monitor: ModelQualityMonitor, *, monitor_file: str, cron: str | None, moved_from: str) -> str:
    """A DAG file that runs a monitor from its file: Python, ready for the folder of DAGs.

    Its start lies before any window that SageMaker can have judged, so that all of them can be judged again, by hand or in a
    backfill; without catch-up it begins with the newest one all the same.

    Args:
        monitor: names the DAG.
        monitor_file: the monitor's YAML or JSON, relative to the DAG file or absolute.
        cron: when to run, in UTC; None for by hand only.
        moved_from: what the monitor was, in words.
    """
    return f'''"""Model quality of {monitor.name}, moved over from {moved_from}.

The monitor stands in {os.path.basename(monitor_file)}; the window of each run follows from its offsets and the data interval.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_mq_provider import model_quality_dag

dag = model_quality_dag(
    {json.dumps(monitor_file, ensure_ascii=False)},
    dag_id={json.dumps(monitor.name)},
    schedule={json.dumps(cron) if cron is not None else None},
    start_date=datetime({FIRST_WINDOWS.year}, {FIRST_WINDOWS.month}, {FIRST_WINDOWS.day}, tzinfo=UTC),
)
'''


def write_new(files: Mapping[str, str]) -> None:
    """Write files that are not there yet, none if one is: what was edited by hand is never replaced.

    Raises:
        OutputError: one is there, or cannot be written.
    """
    for path in files:
        if os.path.lexists(path):
            raise _not_written(path, "one that is there")
    for path, text in files.items():
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise _not_written(path, str(error.strerror)) from None


def _not_written(path: str, came: str) -> OutputError:
    return OutputError(
        expected="a file that can be written and is not there yet",
        came=came,
        where=path,
        next_step="name another file, or remove that one first",
    )
