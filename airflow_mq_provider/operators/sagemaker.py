"""SageMaker's Model Monitor kept by Airflow: job definitions, schedules, baselines.

Each operator says how things are to stand. It looks, does the next thing that is missing, waits, and looks again; so a retry,
a deferral and a worker that died go on from where things are, nothing is made twice, and a second run changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_mq_provider.exceptions import ModelQualityError, SageMakerError
from airflow_mq_provider.hooks.task_context import (
    ON_NOT_JUDGED,
    ON_VIOLATION,
    Declaration,
    connection_of,
    declaration,
    read_monitor,
)
from airflow_mq_provider.links.sagemaker import (
    JobDefinitionLink,
    MonitoringScheduleLink,
    SageMakerReportLink,
    definition_page,
    folder_page,
    schedule_page,
)
from airflow_mq_provider.operators.stepwise import JobOperator, StepwiseOperator, Wait

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mq_provider.hooks.sagemaker import ModelQualityHook
    from airflow_mq_provider.monitor import ModelQualityMonitor

IF_EXISTS = ("reuse", "replace", "fail")
COMPUTE = ("sagemaker", "local")


class SageMakerModelQualityJobDefinitionOperator(StepwiseOperator):
    """Has SageMaker hold a monitor as its job definition.

    Definitions cannot be changed. Where there is one of the name already, ``if_exists`` decides:

    - ``reuse``: an equal one is used; another one fails the task, and the message names every field that differs.
    - ``replace``: an equal one is used; else a new one is made, named with a digest of its content behind the name. Every
      schedule that ran the old one is pointed to the new one, and once it has settled the old one is deleted.
    - ``fail``: any fails the task, but one that an earlier try of this task made.

    Returns ``{"job_definition_name", "job_definition_arn", "done"}``, where ``done`` tells in words what was changed. Hand
    the name to `SageMakerMonitoringScheduleOperator`.

    Args:
        monitor: A `ModelQualityMonitor` with a role under ``sagemaker``, its fields as a mapping, or the path or URI of its
            YAML or JSON. Strings may hold templates.
        job_definition_name: The name; else the monitor's ``sagemaker.job_definition_name``, else its name.
        if_exists: ``reuse``, ``replace`` or ``fail``.
        tags: Tags of a new definition, beside those of the monitor.
        **kwargs: The connection as in the amazon provider's operators (``aws_conn_id``, ``region_name``, ``verify``,
            ``botocore_config``); ``deferrable``, whether it waits in the triggerer; ``waiter_delay``, the seconds between two
            looks, and ``waiter_max_attempts``, how many looks one wait takes; what every operator takes.
    """

    template_fields: Sequence[str] = ("monitor", "job_definition_name", "tags", *StepwiseOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {"monitor": "json"}
    operator_extra_links = (JobDefinitionLink(),)

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        job_definition_name: str | None = None,
        if_exists: str = "reuse",
        tags: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_choice("if_exists", if_exists, IF_EXISTS)
        self.monitor = declaration(monitor)
        self.job_definition_name = job_definition_name
        self.if_exists = if_exists
        self.tags: Any = tags

    def _step(self, hook: ModelQualityHook, context: Context, done: list[str]) -> Wait | dict[str, Any]:
        from airflow_mq_provider.sagemaker.job_definition import job_definition_request, same_definition

        monitor = read_monitor(self, context)
        region = hook.conn_region_name
        request = job_definition_request(monitor, name=self.job_definition_name, region=region, tags=self.tags)
        base = request["JobDefinitionName"]
        family = self._family(hook, base)
        equal = [name for name, described in family.items() if same_definition(described, request)]
        if self.if_exists == "fail" and family and not (equal and _tried_before(context)):
            raise _exists(next(iter(family)), "if_exists='fail'", "give another job_definition_name, or let it reuse")
        if equal:
            # of two equal ones that which a schedule runs, so that nothing has to be pointed elsewhere
            name = next((one for one in equal if len(equal) > 1 and hook.schedules_of(one)), equal[0])
            arn = family[name]["JobDefinitionArn"]
        elif family and self.if_exists == "reuse":
            raise _differs(base, family, request)
        else:
            name = base if base not in family else _successor(request)
            arn = hook.create_definition({**request, "JobDefinitionName": name})
            self._note(done, f"created job definition {name}")
        self.pages = {"job_definition": definition_page(arn, region)}
        if self.if_exists == "replace":
            replaced = [one for one in family if one != name]
            if (wait := self._replace(hook, replaced, name, done)) is not None:
                return wait
        return {"job_definition_name": name, "job_definition_arn": arn, "done": done}

    def _family(self, hook: ModelQualityHook, base: str) -> dict[str, dict[str, Any]]:
        """Return the definitions of the name, and those that replaced it, as SageMaker describes them."""
        own = re.compile(f"{re.escape(base)}|{re.escape(base[:_ROOM])}-[0-9a-f]{{8}}")
        found = {}
        for name in hook.definitions(base[:_ROOM]):
            if own.fullmatch(name) and (described := hook.definition(name)) is not None:
                found[name] = described
        return found

    def _replace(self, hook: ModelQualityHook, replaced: list[str], name: str, done: list[str]) -> Wait | None:
        """Point the schedules of the replaced definitions to the new one, and when they have settled delete the old ones."""
        for old in replaced:
            for schedule in hook.schedules_of(old):
                described = hook.schedule(schedule)
                if described is None:
                    continue
                if described["MonitoringScheduleStatus"] == "Pending":
                    return _settled(schedule)
                config = {**described["MonitoringScheduleConfig"], "MonitoringJobDefinitionName": name}
                hook.ask("UpdateMonitoringSchedule", MonitoringScheduleName=schedule, MonitoringScheduleConfig=config)
                self._note(done, f"pointed schedule {schedule} from {old} to {name}")
        for schedule in hook.schedules_of(name) if replaced else ():
            described = hook.schedule(schedule)
            if described is not None and described["MonitoringScheduleStatus"] == "Pending":
                return _settled(schedule)
            if described is not None and described["MonitoringScheduleStatus"] == "Failed":
                raise _failed_schedule(schedule, described)
        for old in replaced:
            hook.delete_definition(old)
            self._note(done, f"deleted job definition {old}, which {name} replaces")
        return None


class SageMakerMonitoringScheduleOperator(StepwiseOperator):
    """Has SageMaker run a job definition on a schedule, as declared, and waits until it does.

    A schedule that is not there is created, one that is otherwise is updated, one that is as declared is left alone. A
    schedule that somebody stopped stays stopped: `SageMakerStartMonitoringScheduleOperator` starts it.

    Returns ``{"schedule_name", "schedule_arn", "status", "job_definition_name", "done"}``; ``done`` names each field that was
    updated, with what it was and what it is to be.

    Args:
        monitor: As of `SageMakerModelQualityJobDefinitionOperator`. Its name is the schedule's, and the folder of its reports.
        schedule: ``hourly``, ``daily``, a cron expression that fires on the hour every day, one of SageMaker's own, or
            ``NOW``. Another cadence is refused: `model_quality_dag` can.
        job_definition_name: The definition to run, such as
            ``definition.output["job_definition_name"]``; else the monitor's ``sagemaker.job_definition_name``, else its name.
        schedule_name: Another name than the monitor's.
        data_analysis_start: The start of the window, an offset from the scheduled time; ``NOW`` needs it.
        data_analysis_end: The end of the window, likewise.
        tags: Tags of a new schedule, beside those of the monitor.
        **kwargs: As of `SageMakerModelQualityJobDefinitionOperator`.
    """

    template_fields: Sequence[str] = (
        "monitor",
        "schedule",
        "job_definition_name",
        "schedule_name",
        "data_analysis_start",
        "data_analysis_end",
        "tags",
        *StepwiseOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"monitor": "json"}
    operator_extra_links = (MonitoringScheduleLink(),)

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        schedule: str,
        job_definition_name: Any = None,
        schedule_name: str | None = None,
        data_analysis_start: str | None = None,
        data_analysis_end: str | None = None,
        tags: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.monitor = declaration(monitor)
        self.schedule = schedule
        self.job_definition_name = job_definition_name
        self.schedule_name = schedule_name
        self.data_analysis_start = data_analysis_start
        self.data_analysis_end = data_analysis_end
        self.tags: Any = tags

    def _step(self, hook: ModelQualityHook, context: Context, done: list[str]) -> Wait | dict[str, Any]:
        from airflow_mq_provider.sagemaker.schedule import schedule_diff, schedule_request

        monitor = read_monitor(self, context)
        named = monitor.sagemaker.job_definition_name if monitor.sagemaker else None
        request = schedule_request(
            monitor,
            schedule=self.schedule,
            definition_name=self.job_definition_name or named or monitor.name,
            schedule_name=self.schedule_name,
            data_analysis_start=self.data_analysis_start,
            data_analysis_end=self.data_analysis_end,
            tags=self.tags,
        )
        name = request["MonitoringScheduleName"]
        self.pages = {"schedule": schedule_page(name, hook.conn_region_name)}
        described = hook.schedule(name)
        if described is None:
            hook.ask("CreateMonitoringSchedule", **request)
            self._note(done, f"created schedule {name}")
            return _settled(name)
        if described["MonitoringScheduleStatus"] == "Pending":
            return _settled(name)
        if changes := [str(change) for change in schedule_diff(described, request)]:
            hook.ask("UpdateMonitoringSchedule", **{key: request[key] for key in request if key != "Tags"})
            for change in changes:
                self._note(done, f"updated schedule {name}: {change}")
            return _settled(name)
        if described["MonitoringScheduleStatus"] == "Failed":
            raise _failed_schedule(name, described)
        if described["MonitoringScheduleStatus"] == "Stopped":
            self.log.warning(
                "Schedule %s is stopped and stays so; SageMakerStartMonitoringScheduleOperator starts it.", name
            )
        return {
            "schedule_name": name,
            "schedule_arn": described["MonitoringScheduleArn"],
            "status": described["MonitoringScheduleStatus"],
            "job_definition_name": request["MonitoringScheduleConfig"]["MonitoringJobDefinitionName"],
            "done": done,
        }


class _ScheduleOperator(StepwiseOperator):
    """What the operators of a schedule that is there share: its name."""

    template_fields: Sequence[str] = ("schedule_name", *StepwiseOperator.template_fields)
    operator_extra_links: tuple[MonitoringScheduleLink, ...] = (MonitoringScheduleLink(),)

    def __init__(self, *, schedule_name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.schedule_name = schedule_name

    def _bring_to(
        self, hook: ModelQualityHook, done: list[str], *, status: str, call: str, word: str
    ) -> Wait | dict[str, Any]:
        """Bring the schedule to a status by a call, and wait until it has it."""
        name = self.schedule_name
        self.pages = {"schedule": schedule_page(name, hook.conn_region_name)}
        described = hook.schedule(name)
        if described is None:
            raise SageMakerError(
                expected=f"a monitoring schedule {name}",
                came="none of that name",
                where=f"{hook.conn_region_name}, account of the connection",
                next_step="create it with SageMakerMonitoringScheduleOperator, or correct schedule_name or region_name",
            )
        if described["MonitoringScheduleStatus"] == "Pending":
            return Wait(f"MonitoringSchedule{status}" if done else "MonitoringScheduleSettled", _named(name))
        if described["MonitoringScheduleStatus"] == status:
            return {"schedule_name": name, "status": status, "done": done}
        if described["MonitoringScheduleStatus"] == "Failed":
            raise _failed_schedule(name, described)
        hook.ask(call, MonitoringScheduleName=name)
        self._note(done, f"{word} schedule {name}")
        return Wait(f"MonitoringSchedule{status}", _named(name))


class SageMakerStartMonitoringScheduleOperator(_ScheduleOperator):
    """Starts a schedule that is stopped, and waits until it is scheduled; one that is scheduled is left alone.

    Args:
        schedule_name: Its name.
        **kwargs: As of `SageMakerModelQualityJobDefinitionOperator`.
    """

    def _step(self, hook: ModelQualityHook, context: Context, done: list[str]) -> Wait | dict[str, Any]:  # noqa: ARG002
        return self._bring_to(hook, done, status="Scheduled", call="StartMonitoringSchedule", word="started")


class SageMakerStopMonitoringScheduleOperator(_ScheduleOperator):
    """Stops a schedule, and waits until it is stopped; an execution that runs already goes on.

    Args:
        schedule_name: Its name.
        **kwargs: As of `SageMakerModelQualityJobDefinitionOperator`.
    """

    def _step(self, hook: ModelQualityHook, context: Context, done: list[str]) -> Wait | dict[str, Any]:  # noqa: ARG002
        return self._bring_to(hook, done, status="Stopped", call="StopMonitoringSchedule", word="stopped")


class SageMakerDeleteMonitoringScheduleOperator(_ScheduleOperator):
    """Deletes a schedule, and waits until it is gone. One that is not there is what was wanted.

    It is stopped first, and an execution that runs is waited for, as SageMaker deletes no schedule under it. Reports and
    the job definition stay: `SageMakerDeleteModelQualityJobDefinitionOperator` deletes the latter.

    Args:
        schedule_name: Its name.
        **kwargs: As of `SageMakerModelQualityJobDefinitionOperator`.
    """

    operator_extra_links: tuple[MonitoringScheduleLink, ...] = ()

    def _step(self, hook: ModelQualityHook, context: Context, done: list[str]) -> Wait | dict[str, Any]:  # noqa: ARG002
        name = self.schedule_name
        described = hook.schedule(name)
        deleted = f"deleted schedule {name}"
        if described is None:
            return {"schedule_name": name, "done": done}
        if deleted in done:
            return Wait("MonitoringScheduleDeleted", _named(name))
        if described["MonitoringScheduleStatus"] == "Pending":
            return _settled(name)
        if described["MonitoringScheduleStatus"] == "Scheduled":
            hook.ask("StopMonitoringSchedule", MonitoringScheduleName=name)
            self._note(done, f"stopped schedule {name}")
            return Wait("MonitoringScheduleStopped", _named(name))
        last = described.get("LastMonitoringExecutionSummary", {}).get("MonitoringExecutionStatus")
        if last in ("Pending", "InProgress", "Stopping"):
            return Wait("MonitoringExecutionEnded", _named(name))
        hook.ask("DeleteMonitoringSchedule", MonitoringScheduleName=name)
        self._note(done, deleted)
        return Wait("MonitoringScheduleDeleted", _named(name))


class SageMakerDeleteModelQualityJobDefinitionOperator(StepwiseOperator):
    """Deletes a job definition. One that is not there is what was wanted; one that a schedule runs is not deleted.

    Args:
        job_definition_name: Its name.
        **kwargs: As of `SageMakerModelQualityJobDefinitionOperator`.
    """

    template_fields: Sequence[str] = ("job_definition_name", *StepwiseOperator.template_fields)

    def __init__(self, *, job_definition_name: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_definition_name = job_definition_name

    def _step(self, hook: ModelQualityHook, context: Context, done: list[str]) -> dict[str, Any]:  # noqa: ARG002
        name = self.job_definition_name
        if schedules := hook.schedules_of(name):
            raise SageMakerError(
                expected=f"a job definition that no schedule runs, to delete {name}",
                came=f"schedules {', '.join(schedules)}",
                where=f"{hook.conn_region_name}, account of the connection",
                next_step="delete them first (SageMakerDeleteMonitoringScheduleOperator), or point them to another one",
            )
        if hook.definition(name) is not None:
            hook.delete_definition(name)
            self._note(done, f"deleted job definition {name}")
        return {"job_definition_name": name, "done": done}


class SageMakerModelQualityBaselineOperator(JobOperator):
    """Makes ``statistics.json`` and ``constraints.json`` from a labelled dataset: a baseline.

    With ``compute="sagemaker"`` SageMaker's analyzer does it in a Processing job, which needs no Model Monitor; with
    ``"local"`` the worker does, by this package's own engine and without SageMaker. The documents are the same.

    A retry picks up the job that an earlier try of the same run started; one that failed is followed by another, with a
    number behind its name. A task that is cancelled stops its job; while it waits in the triggerer that needs
    Airflow 3.3, the first that tells it.

    Returns ``{"output", "records", "statistics", "constraints", "done"}``, the documents without curves.

    Args:
        monitor: As of `SageMakerModelQualityJobDefinitionOperator`; a role is needed for ``compute="sagemaker"`` only.
        dataset_uri: The labelled file.
        output_uri: The folder for the documents; point the monitor's ``constraints_uri`` at the ``constraints.json`` there.
        dataset_format: ``csv``, ``csv-header``, ``jsonl`` or ``parquet``.
        ground_truth_attribute: The column of the label; else the monitor's.
        inference_attribute: The column of the prediction; else the monitor's.
        probability_attribute: The column of the probability; else the monitor's.
        compute: ``sagemaker`` or ``local``.
        tags: Tags of the job, beside those of the monitor.
        **kwargs: As of `SageMakerModelQualityJobDefinitionOperator`.
    """

    template_fields: Sequence[str] = (
        "monitor",
        "dataset_uri",
        "output_uri",
        "dataset_format",
        "ground_truth_attribute",
        "inference_attribute",
        "probability_attribute",
        "compute",
        "tags",
        *StepwiseOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"monitor": "json"}
    operator_extra_links = (*JobOperator.operator_extra_links, SageMakerReportLink())

    def __init__(
        self,
        *,
        monitor: ModelQualityMonitor | Declaration,
        dataset_uri: str,
        output_uri: str,
        dataset_format: str = "csv-header",
        ground_truth_attribute: str | None = None,
        inference_attribute: str | None = None,
        probability_attribute: str | None = None,
        compute: str = "sagemaker",
        tags: Mapping[str, str] | None = None,
        waiter_delay: float = 30,
        **kwargs: Any,
    ) -> None:
        super().__init__(waiter_delay=waiter_delay, **kwargs)
        self.monitor = declaration(monitor)
        self.dataset_uri = dataset_uri
        self.output_uri = output_uri
        self.dataset_format = dataset_format
        self.ground_truth_attribute = ground_truth_attribute
        self.inference_attribute = inference_attribute
        self.probability_attribute = probability_attribute
        self.compute = compute
        self.tags: Any = tags

    def _step(self, hook: ModelQualityHook, context: Context, done: list[str]) -> Wait | dict[str, Any]:
        _check_choice("compute", self.compute, COMPUTE)
        monitor = read_monitor(self, context)
        given: dict[str, Any] = {
            "dataset_format": self.dataset_format,
            "ground_truth_attribute": self.ground_truth_attribute,
            "inference_attribute": self.inference_attribute,
            "probability_attribute": self.probability_attribute,
        }
        if self.compute == "local":
            return self._made_here(monitor, given, done)
        return self._made_by_sagemaker(hook, monitor, given, context, done)

    def _made_here(self, monitor: ModelQualityMonitor, given: dict[str, Any], done: list[str]) -> dict[str, Any]:
        from airflow_mq_provider import run
        from airflow_mq_provider.hooks.model_quality import storage_for

        key = monitor.sagemaker.output_kms_key_id if monitor.sagemaker else None
        storage, region = storage_for([self.dataset_uri, self.output_uri], **connection_of(self), kms_key_id=key)
        if given["ground_truth_attribute"] is None:
            # the name that SageMaker's job looks for, too
            given = {**given, "ground_truth_attribute": monitor.ground_truth_attribute or "label"}
        made = run.baseline(monitor, self.dataset_uri, self.output_uri, storage=storage, **given)
        self._note(done, f"wrote the baseline to {self.output_uri}")
        if region:
            self.pages = {"report": folder_page(self.output_uri, region)}
        return {
            "output": self.output_uri,
            "records": made["records"],
            "statistics": _without_curves(made["statistics"]),
            "constraints": made["constraints"],
            "done": done,
        }

    def _made_by_sagemaker(
        self,
        hook: ModelQualityHook,
        monitor: ModelQualityMonitor,
        given: dict[str, Any],
        context: Context,
        done: list[str],
    ) -> Wait | dict[str, Any]:
        from airflow_mq_provider.sagemaker.processing import baseline_request

        region = hook.conn_region_name
        request = baseline_request(
            monitor,
            dataset_uri=self.dataset_uri,
            output_uri=self.output_uri,
            region=region,
            tags=self.tags,
            job_name=_job_name(monitor.name, context),
            **given,
        )
        base = request["ProcessingJobName"]

        def numbered(number: int) -> dict[str, Any]:
            name = base if number == 1 else f"{base[: 62 - len(str(number))]}-{number}"
            return {**request, "ProcessingJobName": name}

        self.pages = {"report": folder_page(self.output_uri, region)}
        job = self._job_of(hook, done, numbered)
        return job if isinstance(job, Wait) else self._written(hook, monitor, done)

    def _written(self, hook: ModelQualityHook, monitor: ModelQualityMonitor, done: list[str]) -> dict[str, Any]:
        """Return the documents that SageMaker wrote, read and checked: its analyzer has been seen to write others."""
        from airflow_mq_provider.quality import documents
        from airflow_mq_provider.storage import join

        storage = hook.storage(self.output_uri)
        where = {name: join(self.output_uri, f"{name}.json") for name in ("statistics", "constraints")}
        read = {name: documents.loads(storage.read(uri), uri) for name, uri in where.items()}
        statistics = documents.read_statistics(read["statistics"], where["statistics"], monitor.problem_type)
        documents.read_constraints(read["constraints"], monitor.problem_type, where["constraints"])
        return {
            "output": self.output_uri,
            "records": statistics.item_count,
            "statistics": _without_curves(read["statistics"]),
            "constraints": read["constraints"],
            "done": done,
        }


class CompareExecutionsOperator(BaseOperator):
    """Lays SageMaker's documents of an execution beside ours of the same scheduled time, metric by metric.

    Each row is ``same``, ``noise`` (within two standard deviations), ``quirk`` (SageMaker is known to write that otherwise) or
    ``different``. Where one side reports no violations because it was not judged, violations are not compared.

    Returns ``{"verdict", "problem_type", "a", "b", "metrics", "violations"}``: ``a`` is SageMaker's side, the verdict is the
    worst of the rows but for quirks, and None where nothing could be compared.

    Args:
        sagemaker: What `SageMakerMonitoringExecutionSensor` returned, or the folder of SageMaker's report.
        airflow: What `QualityAnalysisOperator` returned, or the folder of our report.
        on_difference: ``continue``, or ``fail`` to fail the task, without retries, where a row is ``different``.
        on_not_comparable: What to do where a side has no statistics, as nothing was there to judge: ``skip`` (the default),
            ``fail`` or ``continue``.
        **kwargs: The connection for S3 as of `SageMakerModelQualityJobDefinitionOperator`; what every operator takes.
    """

    template_fields: Sequence[str] = ("sagemaker", "airflow", "aws_conn_id", "region_name", "verify")
    ui_color = "#e7f0fb"

    def __init__(
        self,
        *,
        sagemaker: Any,
        airflow: Any,
        on_difference: str = "continue",
        on_not_comparable: str = "skip",
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_choice("on_difference", on_difference, ON_VIOLATION)
        _check_choice("on_not_comparable", on_not_comparable, ON_NOT_JUDGED)
        self.sagemaker: Any = sagemaker
        self.airflow: Any = airflow
        self.on_difference = on_difference
        self.on_not_comparable = on_not_comparable
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - all is in the two reports
        """Read both sides, compare, and say what was found."""
        from airflow_mq_provider.airflow_internals import of_airflow
        from airflow_mq_provider.sagemaker.compare import compare

        folders = {"sagemaker": _report_folder(self.sagemaker), "airflow": _report_folder(self.airflow)}
        sides = {name: self._documents(folder) for name, folder in folders.items()}
        absent = [name for name, (statistics, _) in sides.items() if statistics is None]
        if absent:
            told = f"nothing to compare: no statistics of {' and '.join(absent)}, under {folders}"
            self.log.warning("%s", told)
            if self.on_not_comparable == "fail":
                raise of_airflow("AirflowFailException")(told)
            if self.on_not_comparable == "skip":
                raise of_airflow("AirflowSkipException")(told)
            return {"verdict": None, "problem_type": None, "metrics": [], "violations": None} | {
                "a": folders["sagemaker"],
                "b": folders["airflow"],
            }
        (theirs, their_violations), (ours, our_violations) = sides["sagemaker"], sides["airflow"]
        found = compare(
            theirs or {},
            ours or {},
            a_violations=their_violations,
            b_violations=our_violations,
            a_source=str(folders["sagemaker"]),
            b_source=str(folders["airflow"]),
        )
        differing = [row for row in (*found.metrics, *(found.violations or ())) if row.verdict == "different"]
        for row in (*found.metrics, *(found.violations or ())):
            self.log.info("%s: SageMaker %s, here %s: %s %s", row.name, row.a, row.b, row.verdict, row.note)
        if differing and self.on_difference == "fail":
            names = ", ".join(dict.fromkeys(row.name for row in differing))
            raise of_airflow("AirflowFailException")(f"SageMaker's report and ours differ in {names}: {folders}")
        return found.as_dict()

    def _documents(self, folder: str | None) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Return the statistics and the violations of a report; None what is not there."""
        from airflow_mq_provider.hooks.model_quality import storage_for
        from airflow_mq_provider.quality import documents
        from airflow_mq_provider.storage import join

        if folder is None:
            return None, None
        storage, _ = storage_for([folder], **connection_of(self))
        statistics, violations = (
            documents.loads(storage.read(uri), uri) if storage.exists(uri) else None
            for uri in (join(folder, "statistics.json"), join(folder, "constraint_violations.json"))
        )
        return statistics, violations


# --- in the small


def _report_folder(side: Mapping[str, Any] | str) -> str | None:
    """Return where the report of one side lies: a folder, or that of what a task returned."""
    if isinstance(side, str):
        return side.rstrip("/")
    if "report_prefix" in side:
        prefix: str | None = side["report_prefix"]
        return prefix
    return str(side["report_uri"]).removesuffix("/report.json")


#: what of a name is kept where eight digits and a hyphen come behind it
_ROOM = 54


def _named(schedule: str) -> dict[str, str]:
    return {"MonitoringScheduleName": schedule}


def _settled(schedule: str) -> Wait:
    return Wait("MonitoringScheduleSettled", _named(schedule))


def _tried_before(context: Context) -> bool:
    return (context["ti"].try_number or 1) > 1


def _successor(request: Mapping[str, Any]) -> str:
    """Return the name of what replaces a definition: the same content gives the same name, so a retry finds it."""
    content = {key: value for key, value in request.items() if key not in ("JobDefinitionName", "Tags")}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    return f"{request['JobDefinitionName'][:_ROOM]}-{digest}"


def _job_name(monitor_name: str, context: Context) -> str:
    """Return the name of a run's job: every try of the same task instance gives the same one."""
    ti = context["ti"]
    told = json.dumps([ti.dag_id, ti.run_id, ti.task_id, ti.map_index])
    digest = hashlib.sha256(told.encode()).hexdigest()[:12]
    return f"{monitor_name[:40].rstrip('-')}-baseline-{digest}"


def _without_curves(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document without what grows with the data: an XCom is no place for curves."""
    return {
        key: {name: item for name, item in value.items() if not name.endswith("_curve")}
        if isinstance(value, Mapping)
        else value
        for key, value in statistics.items()
    }


def _exists(name: str, why: str, next_step: str) -> SageMakerError:
    return SageMakerError(
        expected=f"no job definition of the name, as {why}", came="there is one", where=name, next_step=next_step
    )


def _differs(base: str, family: Mapping[str, Mapping[str, Any]], request: Mapping[str, Any]) -> SageMakerError:
    """Say in which fields a definition differs from what is declared; of several the one of the name itself."""
    from airflow_mq_provider.sagemaker.job_definition import definition_diff

    name = base if base in family else next(iter(family))
    found = definition_diff(family[name], request)
    return SageMakerError(
        expected=f"a job definition {name} as the monitor declares it",
        came=f"{len(found)} field{'s' if len(found) != 1 else ''} that differ: {'; '.join(map(str, found))}",
        where=name,
        next_step="definitions cannot be changed: if_exists='replace' makes a new one, points the schedules to it and "
        "deletes this one; or correct the monitor",
    )


def _failed_schedule(name: str, described: Mapping[str, Any]) -> SageMakerError:
    return SageMakerError(
        expected=f"a schedule {name} that SageMaker runs",
        came=f"Failed: {described.get('FailureReason', 'SageMaker gives no reason')}",
        where=name,
        next_step="mend what it names, then delete the schedule (SageMakerDeleteMonitoringScheduleOperator) and create it anew",
    )


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ModelQualityError(
            expected=f"one of {', '.join(choices)}",
            came=repr(value),
            where=name,
            next_step="correct it in the DAG file",
        )
