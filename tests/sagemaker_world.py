"""SageMaker as far as Model Monitor needs it, on 127.0.0.1: what moto lacks, with a clock that the test sets.

`SageMaker` keeps definitions, schedules, executions and Processing jobs, and answers every call about them in the shapes of
botocore's own service model. Executions are produced by this package's engine on the data that lies on the loopback S3. Its
time is the test's: it stands still but for a step with each request, so that who polls sees things move and nobody sleeps.
Where AWS says nothing about a behaviour, the one that is less convenient for a caller is taken.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import version
from typing import Any

import pytest

from airflow_mq_provider import run
from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.report_folder import STATISTICS, VIOLATIONS
from airflow_mq_provider.sagemaker.job_definition import job_definition_request, monitor_from_definition
from airflow_mq_provider.sagemaker.schedule import cadence, has_slot, schedule_request
from airflow_mq_provider.storage import Storage, join
from airflow_mq_provider.window import analysis_window, hour_folder
from tests import sagemaker_containers as containers
from tests.sagemaker_containers import NO_DATA as NO_DATA

ACCOUNT, REGION = "123456789012", "eu-central-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/monitoring"
MAINTENANCE = (
    "The operation is in maintenance mode and is not available to new customers. For more information see the "
    "Amazon SageMaker Model Monitor documentation."
)
RUNNING = ("Pending", "InProgress", "Stopping")

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Refused(Exception):
    """An answer of the service that is an error: its code, its message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Schedule:
    """A monitoring schedule. ``becomes`` is the status once it has settled."""

    name: str
    config: dict[str, Any]
    created: datetime
    modified: datetime
    becomes: str
    settled: datetime
    considered: datetime
    failure: str | None = None
    gone: datetime | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    points: tuple[int, int] = (1, 1)

    def status(self, now: datetime) -> str:
        return "Pending" if now < self.settled else self.becomes


@dataclass
class Job:
    """A Processing job: its request, and how it goes on with the clock."""

    request: dict[str, Any]
    created: datetime
    ends: datetime
    outcome: Callable[[], tuple[str, str | None, str | None]]
    schedule_arn: str | None = None
    ended: tuple[str, str | None, str | None] | None = None
    stopping: datetime | None = None


@dataclass
class Execution:
    """One monitoring execution: a merge job, then an analysis job."""

    schedule: str
    definition: dict[str, Any]
    scheduled: datetime
    created: datetime
    modified: datetime
    slot: datetime
    merge: str
    analysis: str
    merged: datetime
    ends: datetime
    status: str = "Pending"
    failure: str | None = None
    stage: int = 0
    result: tuple[str, str | None] = ("Failed", None)


class SageMaker:
    """The service of one account and region.

    Attributes:
        now: its clock; each request moves it on by ``step``.
        closed: whether the account is one of those that may no longer have Model Monitor.
        endpoints: by name the URI under which the endpoint captures.
        settling: how long schedules are ``Pending``.
        lag: how long after its slot an execution starts (0 to 20 minutes with AWS).
        late: by how much its ScheduledTime lies after the slot.
        skipped: slots for which no execution comes.
        failing: by slot the failure reason of its execution.
        failing_jobs: failure reasons of the Processing jobs that are created next.
        throttled: how often each operation is throttled next.
        failing_schedules: whether what is created or updated next settles as ``Failed``, and why.
        calls: every request that was answered, as (operation, parameters).
    """

    def __init__(self, storage: Storage, now: datetime) -> None:
        self.storage = storage
        self.now = now
        self.step = timedelta(seconds=5)
        self.closed = False
        self.endpoints: dict[str, str] = {}
        self.settling = timedelta(seconds=12)
        self.lag = timedelta(minutes=1, seconds=14)
        self.late = timedelta(0)
        self.merging = timedelta(minutes=6)
        self.analyzing = timedelta(minutes=6)
        self.stopping = timedelta(seconds=12)
        self.skipped: set[datetime] = set()
        self.failing: dict[datetime, str] = {}
        self.failing_jobs: list[str] = []
        self.failing_schedules: str | None = None
        self.throttled: dict[str, int] = {}
        self.definitions: dict[str, dict[str, Any]] = {}
        self.schedules: dict[str, Schedule] = {}
        self.executions: list[Execution] = []
        self.jobs: dict[str, Job] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._lock = threading.RLock()

    # --- what tests ask

    def asked(self, *operations: str) -> list[str]:
        """The operations that were called, in order; only these where some are given."""
        return [name for name, _ in self.calls if not operations or name in operations]

    def changed(self) -> list[str]:
        """The calls that change something, in order."""
        return [name for name, _ in self.calls if not name.startswith(("Describe", "List"))]

    def pass_time(self, until: datetime | timedelta) -> None:
        """Set the clock, or move it on, and let happen what was due."""
        with self._lock:
            self.now = self.now + until if isinstance(until, timedelta) else until
            self._happen()

    # --- answers

    def answer(self, operation: str, given: dict[str, Any]) -> dict[str, Any] | None:
        """Answer one request, checked against botocore's shapes."""
        with self._lock:
            self.now += self.step
            self._happen()
            self.calls.append((operation, given))
            if self.throttled.get(operation, 0) > 0:
                self.throttled[operation] -= 1
                raise Refused("ThrottlingException", "Rate exceeded")
            answer: dict[str, Any] | None = getattr(self, f"_{operation}")(given)
            check_shape(operation, answer)
            return answer

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{kind}/{name.lower()}"

    # --- job definitions

    def _CreateModelQualityJobDefinition(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given["JobDefinitionName"]
        self._refuse_new(name)
        inputs = given["ModelQualityJobInput"]
        if ("EndpointInput" in inputs) == ("BatchTransformInput" in inputs):
            raise Refused("ValidationException", "Exactly one of EndpointInput or BatchTransformInput is required")
        if "EndpointInput" in inputs and inputs["EndpointInput"]["EndpointName"] not in self.endpoints:
            raise Refused("ValidationException", f"Could not find endpoint {inputs['EndpointInput']['EndpointName']}")
        if name in self.definitions:
            raise Refused("ResourceInUse", f"Job Definition {name} already exists")
        kept = {key: value for key, value in given.items() if key != "Tags"}
        arn = self._arn("model-quality-job-definition", name)
        self.definitions[name] = {**kept, "JobDefinitionArn": arn, "CreationTime": self.now}
        return {"JobDefinitionArn": arn}

    def _DescribeModelQualityJobDefinition(self, given: dict[str, Any]) -> dict[str, Any]:
        return dict(self._definition(given["JobDefinitionName"]))

    def _DeleteModelQualityJobDefinition(self, given: dict[str, Any]) -> None:
        self._definition(given["JobDefinitionName"])
        del self.definitions[given["JobDefinitionName"]]

    def _ListModelQualityJobDefinitions(self, given: dict[str, Any]) -> dict[str, Any]:
        found = [
            {
                "MonitoringJobDefinitionName": name,
                "MonitoringJobDefinitionArn": one["JobDefinitionArn"],
                "CreationTime": one["CreationTime"],
                "EndpointName": _endpoint(one) or "",
            }
            for name, one in self.definitions.items()
            if given.get("NameContains", "") in name and given.get("EndpointName") in (None, _endpoint(one))
        ]
        key = {"Name": "MonitoringJobDefinitionName"}.get(given.get("SortBy", ""), "CreationTime")
        return self._page(given, found, key, "JobDefinitionSummaries")

    def _definition(self, name: str) -> dict[str, Any]:
        if name not in self.definitions:
            raise Refused("ResourceNotFound", f"Could not find model quality job definition {name!r}")
        return self.definitions[name]

    def _refuse_new(self, name: str) -> None:
        if self.closed:
            raise Refused("ValidationException", MAINTENANCE)
        if not _NAME.fullmatch(name):
            raise Refused(
                "ValidationException", f"1 validation error detected: Value {name!r} failed to satisfy pattern"
            )

    # --- schedules

    def _CreateMonitoringSchedule(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given["MonitoringScheduleName"]
        self._refuse_new(name)
        if name in self._live():
            raise Refused("ResourceInUse", f"Monitoring Schedule {name} already exists")
        config = self._checked(given["MonitoringScheduleConfig"])
        made = Schedule(name, config, self.now, self.now, "Scheduled", self.now, self.now)
        self.schedules[name] = made
        self._settle(made, "Scheduled")
        return {"MonitoringScheduleArn": self._arn("monitoring-schedule", name)}

    def _UpdateMonitoringSchedule(self, given: dict[str, Any]) -> dict[str, Any]:
        schedule = self._settled_schedule(given)
        schedule.config = self._checked(given["MonitoringScheduleConfig"])
        self._settle(schedule, schedule.becomes if schedule.becomes != "Failed" else "Scheduled")
        return {"MonitoringScheduleArn": self._arn("monitoring-schedule", schedule.name)}

    def _StartMonitoringSchedule(self, given: dict[str, Any]) -> None:
        schedule = self._settled_schedule(given)
        if schedule.becomes == "Scheduled":
            raise Refused("ValidationException", f"Monitoring Schedule {schedule.name} is not stopped")
        self._settle(schedule, "Scheduled")

    def _StopMonitoringSchedule(self, given: dict[str, Any]) -> None:
        schedule = self._settled_schedule(given)
        if schedule.becomes == "Stopped":
            raise Refused("ValidationException", f"Monitoring Schedule {schedule.name} is stopped already")
        self._settle(schedule, "Stopped")

    def _DeleteMonitoringSchedule(self, given: dict[str, Any]) -> None:
        schedule = self._settled_schedule(given)
        if any(one.schedule == schedule.name and one.status in RUNNING for one in self.executions):
            raise Refused(
                "ValidationException",
                f"Monitoring Schedule {schedule.name} cannot be deleted while it has executions in progress",
            )
        self._settle(schedule, "Stopped")
        schedule.gone = schedule.settled

    def _DescribeMonitoringSchedule(self, given: dict[str, Any]) -> dict[str, Any]:
        schedule = self._schedule(given["MonitoringScheduleName"])
        definition = self.definitions.get(schedule.config["MonitoringJobDefinitionName"], {})
        answer = {
            "MonitoringScheduleArn": self._arn("monitoring-schedule", schedule.name),
            "MonitoringScheduleName": schedule.name,
            "MonitoringScheduleStatus": schedule.status(self.now),
            "MonitoringType": "ModelQuality",
            "CreationTime": schedule.created,
            "LastModifiedTime": schedule.modified,
            "MonitoringScheduleConfig": schedule.config,
        }
        if schedule.failure:
            answer["FailureReason"] = schedule.failure
        if endpoint := _endpoint(definition):
            answer["EndpointName"] = endpoint
        own = [one for one in self.executions if one.schedule == schedule.name]
        if own:
            answer["LastMonitoringExecutionSummary"] = self._summary(own[-1])
        return answer

    def _ListMonitoringSchedules(self, given: dict[str, Any]) -> dict[str, Any]:
        found = []
        for name, one in self._live().items():
            definition = one.config["MonitoringJobDefinitionName"]
            endpoint = _endpoint(self.definitions.get(definition, {}))
            status = one.status(self.now)
            if (
                given.get("MonitoringJobDefinitionName") in (None, definition)
                and given.get("EndpointName") in (None, endpoint)
                and given.get("StatusEquals") in (None, status)
                and given.get("MonitoringTypeEquals") in (None, "ModelQuality")
                and given.get("NameContains", "") in name
            ):
                found.append(
                    {
                        "MonitoringScheduleName": name,
                        "MonitoringScheduleArn": self._arn("monitoring-schedule", name),
                        "CreationTime": one.created,
                        "LastModifiedTime": one.modified,
                        "MonitoringScheduleStatus": status,
                        "MonitoringJobDefinitionName": definition,
                        "MonitoringType": "ModelQuality",
                        **({"EndpointName": endpoint} if endpoint else {}),
                    }
                )
        key = {"Name": "MonitoringScheduleName", "Status": "MonitoringScheduleStatus"}.get(
            given.get("SortBy", ""), "CreationTime"
        )
        return self._page(given, found, key, "MonitoringScheduleSummaries")

    def _live(self) -> dict[str, Schedule]:
        return {name: one for name, one in self.schedules.items() if one.gone is None or self.now < one.gone}

    def _schedule(self, name: str) -> Schedule:
        if name not in self._live():
            raise Refused("ResourceNotFound", f"Monitoring Schedule {self._arn('monitoring-schedule', name)} not found")
        return self.schedules[name]

    def _settled_schedule(self, given: dict[str, Any]) -> Schedule:
        schedule = self._schedule(given["MonitoringScheduleName"])
        if schedule.status(self.now) == "Pending":
            raise Refused("ValidationException", f"Monitoring Schedule {schedule.name} is in Pending state")
        return schedule

    def _settle(self, schedule: Schedule, becomes: str) -> None:
        schedule.failure, self.failing_schedules = self.failing_schedules, None
        schedule.becomes = "Failed" if schedule.failure else becomes
        schedule.modified, schedule.settled, schedule.considered = self.now, self.now + self.settling, self.now

    def _checked(self, config: dict[str, Any]) -> dict[str, Any]:
        self._definition(config["MonitoringJobDefinitionName"])
        times = config.get("ScheduleConfig", {})
        expression = times.get("ScheduleExpression", "cron(0 5 ? * * *)")
        if expression == "NOW":
            if not {"DataAnalysisStartTime", "DataAnalysisEndTime"} <= set(times):
                raise Refused(
                    "ValidationException", "DataAnalysisStartTime and DataAnalysisEndTime are required with NOW"
                )
        elif not re.fullmatch(r"cron\(0 (\*|\d+(/\d+)?) \? \* \* \*\)", expression):
            raise Refused("ValidationException", f"Unsupported cron expression {expression!r}")
        return {**config, "ScheduleConfig": {**times, "ScheduleExpression": expression}}

    # --- executions

    def _ListMonitoringExecutions(self, given: dict[str, Any]) -> dict[str, Any]:
        def within(one: dict[str, Any], name: str) -> bool:
            after, before = given.get(f"{name}After", _EPOCH), given.get(f"{name}Before")
            return bool(after < one[name] and (before is None or one[name] < before))

        found = [
            summary
            for summary in map(self._summary, self.executions)
            if given.get("MonitoringScheduleName") in (None, summary["MonitoringScheduleName"])
            and given.get("EndpointName") in (None, summary.get("EndpointName"))
            and given.get("MonitoringJobDefinitionName") in (None, summary["MonitoringJobDefinitionName"])
            and given.get("StatusEquals") in (None, summary["MonitoringExecutionStatus"])
            and given.get("MonitoringTypeEquals") in (None, "ModelQuality")
            and all(within(summary, name) for name in ("ScheduledTime", "CreationTime", "LastModifiedTime"))
        ]
        key = {"Status": "MonitoringExecutionStatus", "ScheduledTime": "ScheduledTime"}.get(
            given.get("SortBy", ""), "CreationTime"
        )
        return self._page(given, found, key, "MonitoringExecutionSummaries")

    def _summary(self, one: Execution) -> dict[str, Any]:
        summary = {
            "MonitoringScheduleName": one.schedule,
            "ScheduledTime": one.scheduled,
            "CreationTime": one.created,
            "LastModifiedTime": one.modified,
            "MonitoringExecutionStatus": one.status,
            "MonitoringJobDefinitionName": one.definition["JobDefinitionName"],
            "MonitoringType": "ModelQuality",
        }
        if one.stage:
            summary["ProcessingJobArn"] = self._arn("processing-job", one.merge if one.stage == 1 else one.analysis)
        if endpoint := _endpoint(one.definition):
            summary["EndpointName"] = endpoint
        if one.failure:
            summary["FailureReason"] = one.failure
        return summary

    def _happen(self) -> None:
        """Let everything happen that is due by now: slots, executions, jobs."""
        for schedule in self._live().values():
            if schedule.status(self.now) == "Scheduled" and schedule.settled <= self.now - self.lag:
                for slot in slots(schedule, self.now - self.lag):
                    schedule.considered = slot
                    if slot not in self.skipped:
                        self._execute(schedule, slot)
        for execution in self.executions:
            self._go_on(execution)
        for job in self.jobs.values():
            self._job_goes_on(job)

    def _execute(self, schedule: Schedule, slot: datetime) -> None:
        definition = self.definitions.get(schedule.config["MonitoringJobDefinitionName"])
        if definition is None:
            return
        created = slot + self.lag
        merged = created + self.merging
        stamp = f"{slot:%Y%m%d%H%M}-{len(self.executions):024x}"
        execution = Execution(
            schedule=schedule.name,
            definition=definition,
            scheduled=slot + self.late,
            created=created,
            modified=created,
            slot=slot,
            merge=f"groundtruth-merge-{stamp}",
            analysis=f"model-quality-monitoring-{stamp}",
            merged=merged,
            ends=merged + self.analyzing,
        )
        self.executions.append(execution)

    def _go_on(self, one: Execution) -> None:
        schedule_arn = self._arn("monitoring-schedule", one.schedule)
        prefix = one.definition["ModelQualityJobOutputConfig"]["MonitoringOutputs"][0]["S3Output"]["S3Uri"]
        if one.stage == 0 and self.now >= one.created + timedelta(seconds=10):
            one.stage, one.status, one.modified = 1, "InProgress", one.created + timedelta(seconds=10)
            request = job_request(one.merge, one.definition, join(prefix, "merge"))
            self.jobs[one.merge] = Job(
                request, one.created, one.merged, lambda: ("Completed", None, None), schedule_arn
            )
        if one.stage == 1 and self.now >= one.merged:
            one.modified = one.merged
            result = self._judge(one)
            if result is None:
                # the analysis never starts: the execution goes on naming the merge
                one.status, one.failure, one.stage, one.analysis = "Failed", NO_DATA, 3, one.merge
                self.jobs[one.merge].ended = ("Failed", None, NO_DATA)
            else:
                folder = join(*filter(None, (prefix, _endpoint(one.definition), one.schedule, hour_folder(one.slot))))
                request = job_request(one.analysis, one.definition, folder)
                status, told, failure = result
                ended = ("Failed" if failure else "Completed", told, failure)
                self.jobs[one.analysis] = Job(request, one.merged, one.ends, lambda: ended, schedule_arn)
                one.stage, one.result = 2, (status, failure)
        if one.stage == 2 and self.now >= one.ends:
            one.stage, one.modified = 3, one.ends
            one.status, one.failure = one.result

    def _judge(self, one: Execution) -> tuple[str, str | None, str | None] | None:
        """Run our own engine on the window of the slot. Returns status, exit message and failure; None without data."""
        if failure := self.failing.get(one.slot):
            return "Failed", None, failure
        schedule = self.schedules[one.schedule]
        monitor = self._monitor(one.definition, one.schedule)
        if not any(self.storage.list(monitor.capture_root)):
            return None
        times = schedule.config["ScheduleConfig"]
        now = times["ScheduleExpression"] == "NOW"
        window = analysis_window(
            one.slot,
            times["DataAnalysisStartTime"] if now else monitor.input.start_time_offset,
            times["DataAnalysisEndTime"] if now else monitor.input.end_time_offset,
            interval_start=one.slot - (cadence(times["ScheduleExpression"]) or timedelta(hours=1)),
            source="schedule",
        )
        prefix = monitor.report_prefix(window)
        try:
            report = run.run(monitor, window, storage=self.storage, engine="reference")
        except ModelQualityError as error:
            return "Failed", None, f"AlgorithmError: {str(error)[:900]}, exit code: 255"
        # of all that a run of ours writes SageMaker has two documents, always in the folder of the hour
        documents = {
            each.key: self.storage.read(each.uri)
            for each in self.storage.list(prefix)
            if each.key in (STATISTICS, VIOLATIONS)
        }
        self.storage.delete([each.uri for each in self.storage.list(prefix)])
        for name, document in documents.items():
            self.storage.write(join(monitor.report_root, hour_folder(one.slot), name), document)
        if report["reason_code"] in ("no_captures", "no_labels", "no_matches"):
            return None
        count = len(report["violations"])
        if count:
            told = f"CompletedWithViolations: Job completed successfully with {count} violations."
            return "CompletedWithViolations", told, None
        return "Completed", "Completed: Job completed successfully with no violations.", None

    def _monitor(self, definition: dict[str, Any], schedule: str) -> ModelQualityMonitor:
        """What a definition judges, named as its schedule, with the captures of its endpoint."""
        monitor = monitor_from_definition(definition)
        endpoint = _endpoint(definition)
        if endpoint is None:
            return monitor.model_copy(update={"name": schedule})
        source = monitor.input.model_copy(update={"data_captured_destination_uri": self.endpoints.get(endpoint)})
        return monitor.model_copy(update={"name": schedule, "endpoint_input": source})

    # --- Processing jobs

    def _CreateProcessingJob(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given["ProcessingJobName"]
        if name in self.jobs:
            raise Refused("ResourceInUse", f"Job name must be unique within an AWS account and region: {name}")
        if missing := containers.missing_input(given, self.storage):
            # what CreateTrainingJob answers; of this call AWS says nothing
            told = f'No S3 objects found under S3 URL "{missing}" given in input data source.'
            raise Refused("ValidationException", told)
        if self.failing_jobs:
            reason = self.failing_jobs.pop(0)
            outcome: Callable[[], tuple[str, str | None, str | None]] = lambda: ("Failed", None, reason)  # noqa: E731
        else:
            outcome = lambda: containers.work(given, self.storage)  # noqa: E731
        merges = "groundtruth-merger" in given["AppSpecification"]["ImageUri"]
        self.jobs[name] = Job(given, self.now, self.now + (self.merging if merges else self.analyzing), outcome)
        return {"ProcessingJobArn": self._arn("processing-job", name)}

    def _DescribeProcessingJob(self, given: dict[str, Any]) -> dict[str, Any]:
        job = self._job(given["ProcessingJobName"])
        status, told, failure = job.ended or ("Stopping" if job.stopping else "InProgress", None, None)
        answer = {key: value for key, value in job.request.items() if key != "Tags"} | {
            "ProcessingJobArn": self._arn("processing-job", job.request["ProcessingJobName"]),
            "ProcessingJobStatus": status,
            "CreationTime": job.created,
        }
        for key, value in (
            ("ExitMessage", told),
            ("FailureReason", failure),
            ("MonitoringScheduleArn", job.schedule_arn),
        ):
            if value:
                answer[key] = value
        if job.ended:
            answer["ProcessingEndTime"] = min(job.ends, self.now)
        return answer

    def _StopProcessingJob(self, given: dict[str, Any]) -> None:
        job = self._job(given["ProcessingJobName"])
        if job.ended:
            raise Refused(
                "ValidationException", "The request was rejected because the processing job is in status ended"
            )
        job.stopping = self.now

    def _job(self, name: str) -> Job:
        if name not in self.jobs:
            # as AWS has it, a missing job is no ResourceNotFound
            raise Refused("ValidationException", f"Could not find requested job with name: {name}")
        return self.jobs[name]

    def _job_goes_on(self, job: Job) -> None:
        if job.ended:
            return
        if job.stopping and self.now >= job.stopping + self.stopping:
            job.ended = ("Stopped", None, None)
        elif not job.stopping and self.now >= job.ends:
            job.ended = job.outcome()

    # --- alerts

    def _ListMonitoringAlerts(self, given: dict[str, Any]) -> dict[str, Any]:
        schedule = self._schedule(given["MonitoringScheduleName"])
        datapoints, period = schedule.points
        alert = {
            "MonitoringAlertName": "DefaultAlert",
            "CreationTime": schedule.created,
            "LastModifiedTime": schedule.modified,
            "AlertStatus": "InAlert" if self._in_alert(schedule) else "OK",
            "DatapointsToAlert": datapoints,
            "EvaluationPeriod": period,
            "Actions": {"ModelDashboardIndicator": {"Enabled": True}},
        }
        return self._page(given, [alert], "CreationTime", "MonitoringAlertSummaries")

    def _UpdateMonitoringAlert(self, given: dict[str, Any]) -> dict[str, Any]:
        schedule = self._schedule(given["MonitoringScheduleName"])
        if given["MonitoringAlertName"] != "DefaultAlert":
            raise Refused("ResourceNotFound", f"Monitoring Alert {given['MonitoringAlertName']} not found")
        schedule.points = (given["DatapointsToAlert"], given["EvaluationPeriod"])
        return {
            "MonitoringScheduleArn": self._arn("monitoring-schedule", schedule.name),
            "MonitoringAlertName": "DefaultAlert",
        }

    def _ListMonitoringAlertHistory(self, given: dict[str, Any]) -> dict[str, Any]:
        found = [
            {
                "MonitoringScheduleName": one.schedule,
                "MonitoringAlertName": "DefaultAlert",
                "CreationTime": one.modified,
                "AlertStatus": "InAlert" if one.status == "CompletedWithViolations" else "OK",
            }
            for one in self.executions
            if one.schedule == given.get("MonitoringScheduleName", one.schedule)
            and one.status in ("Completed", "CompletedWithViolations")
        ]
        return self._page(given, found, "CreationTime", "MonitoringAlertHistory")

    def _in_alert(self, schedule: Schedule) -> bool:
        datapoints, period = schedule.points
        last = [one.status for one in self.executions if one.schedule == schedule.name][-period:]
        return last.count("CompletedWithViolations") >= datapoints

    # --- pages

    def _page(self, given: dict[str, Any], found: list[dict[str, Any]], key: str, name: str) -> dict[str, Any]:
        """A page of what was found, newest first unless asked otherwise; ten to a page, as with AWS."""
        found = sorted(found, key=lambda one: one[key], reverse=given.get("SortOrder", "Descending") == "Descending")
        first = int(given.get("NextToken") or 0)
        last = first + int(given.get("MaxResults") or 10)
        return {name: found[first:last], **({"NextToken": str(last)} if last < len(found) else {})}


OPERATIONS = [name[1:] for name in vars(SageMaker) if re.match(r"_[A-Z]", name)]


def slots(schedule: Schedule, until: datetime) -> Iterator[datetime]:
    """The slots of a schedule since it was last considered, up to a time."""
    expression = schedule.config["ScheduleConfig"]["ScheduleExpression"]
    if expression == "NOW":
        if schedule.considered < schedule.settled <= until:
            yield schedule.settled
        return
    slot = schedule.considered.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    while slot <= until:
        if has_slot(expression, slot):
            yield slot
        slot += timedelta(hours=1)


def job_request(name: str, definition: dict[str, Any], output: str) -> dict[str, Any]:
    """As much of a job of a schedule as describes where it writes."""
    return {
        "ProcessingJobName": name,
        "ProcessingResources": definition["JobResources"],
        "AppSpecification": {"ImageUri": definition["ModelQualityAppSpecification"]["ImageUri"]},
        "RoleArn": definition["RoleArn"],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "result",
                    "AppManaged": False,
                    "S3Output": {
                        "S3Uri": output,
                        "LocalPath": "/opt/ml/processing/output",
                        "S3UploadMode": "Continuous",
                    },
                }
            ]
        },
    }


def _endpoint(definition: dict[str, Any]) -> str | None:
    name: str | None = definition.get("ModelQualityJobInput", {}).get("EndpointInput", {}).get("EndpointName")
    return name


@cache
def _service() -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model("sagemaker")


def check_shape(operation: str, answer: dict[str, Any] | None) -> None:
    """Refuse an answer that AWS could not give: unknown or missing members, values of other types or enums."""
    from botocore.validate import ParamValidator

    shape = _service().operation_model(operation).output_shape
    if shape is None:
        assert answer is None, f"{operation} answers nothing"
        return
    report = ParamValidator().validate(answer, shape)
    assert not report.has_errors(), f"{operation}: {report.generate_report()}"
    faults = list(_enum_faults(answer, shape, operation))
    assert not faults, faults


def _enum_faults(value: Any, shape: Any, where: str) -> Iterator[str]:
    if shape.type_name == "structure":
        for name, item in value.items():
            yield from _enum_faults(item, shape.members[name], f"{where}.{name}")
    elif shape.type_name == "list":
        for item in value:
            yield from _enum_faults(item, shape.member, where)
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        yield f"{where}: {value!r}"


def make_schedule(
    service: SageMaker,
    declared: dict[str, Any],
    *,
    schedule: str = "hourly",
    window: tuple[str | None, str | None] = (None, None),
) -> str:
    """Have the service hold a monitor's definition and schedule, as if somebody had made them by hand."""
    monitor = ModelQualityMonitor.model_validate(declared)
    service.answer("CreateModelQualityJobDefinition", job_definition_request(monitor, region=REGION))
    request = schedule_request(
        monitor,
        schedule=schedule,
        definition_name=monitor.name,
        data_analysis_start=window[0],
        data_analysis_end=window[1],
    )
    service.answer("CreateMonitoringSchedule", request)
    return monitor.name


def install(monkeypatch: pytest.MonkeyPatch, service: SageMaker) -> None:
    """Have moto's servers of this process answer these calls with the service; an older moto skips the test."""
    if tuple(map(int, version("moto").split(".")[:2])) < (5, 2):
        pytest.skip("the stand-in of SageMaker answers through moto 5.2 or newer")
    from moto.core.responses import ActionResult, EmptyResult
    from moto.core.utils import camelcase_to_underscores
    from moto.sagemaker.exceptions import SagemakerClientError
    from moto.sagemaker.responses import SageMakerResponse

    def answering(operation: str) -> Callable[[Any], Any]:
        def answer(response: Any) -> Any:
            try:
                result = service.answer(operation, aware(dict(response.params)))
            except Refused as refused:
                error = SagemakerClientError(str(refused))
                error.code = refused.code
                raise error from None
            return EmptyResult() if result is None else ActionResult(result)

        return answer

    for operation in OPERATIONS:
        monkeypatch.setattr(SageMakerResponse, camelcase_to_underscores(operation), answering(operation), raising=False)


def aware(value: Any) -> Any:
    """Parameters with times in UTC, whatever moto made of them."""
    if isinstance(value, dict):
        return {key: aware(item) for key, item in value.items()}
    if isinstance(value, list):
        return [aware(item) for item in value]
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value
